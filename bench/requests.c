/* TCP connections and UDP round trips per second between two hosts, one at a time: what a firewall's cost shows in.
 * requests serve ADDRESS PORT | requests tcp ADDRESS PORT SECONDS | requests udp ADDRESS PORT SECONDS */
#include <arpa/inet.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec + t.tv_nsec / 1e9;
}

static int check(int result, const char *what) {
  if (result < 0) {
    perror(what);
    exit(1);
  }
  return result;
}

static void serve(struct sockaddr_in *at) {
  int one = 1, tcp = check(socket(AF_INET, SOCK_STREAM, 0), "socket"), udp = check(socket(AF_INET, SOCK_DGRAM, 0), "socket");
  setsockopt(tcp, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  check(bind(tcp, (struct sockaddr *)at, sizeof *at), "bind");
  check(bind(udp, (struct sockaddr *)at, sizeof *at), "bind");
  check(listen(tcp, 1024), "listen");
  puts("ready");
  fflush(stdout);
  struct pollfd fds[2] = {{tcp, POLLIN, 0}, {udp, POLLIN, 0}};
  char buffer[64];
  for (;;) {
    check(poll(fds, 2, -1), "poll");
    if (fds[0].revents) {
      int connection = accept(tcp, NULL, NULL);
      if (connection >= 0) {
        if (write(connection, "x", 1) < 0) perror("write");
        close(connection);
      }
    }
    if (fds[1].revents) {
      struct sockaddr_in from;
      socklen_t length = sizeof from;
      ssize_t got = recvfrom(udp, buffer, sizeof buffer, 0, (struct sockaddr *)&from, &length);
      if (got > 0) sendto(udp, buffer, got, 0, (struct sockaddr *)&from, length);
    }
  }
}

/* A reset at the end: no TIME_WAIT, of which there are too few ports. */
static void one_connection(struct sockaddr_in *to) {
  struct linger hard = {1, 0};
  char answer;
  int s = check(socket(AF_INET, SOCK_STREAM, 0), "socket");
  setsockopt(s, SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
  check(connect(s, (struct sockaddr *)to, sizeof *to), "connect");
  check(read(s, &answer, 1), "read");
  close(s);
}

int main(int count, char **words) {
  if (count < 4) return 2;
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(atoi(words[3]))};
  if (inet_pton(AF_INET, words[2], &address.sin_addr) != 1) return 2;
  if (strcmp(words[1], "serve") == 0) serve(&address);
  double seconds = count > 4 ? atof(words[4]) : 1, begin = now();
  long done = 0;
  if (strcmp(words[1], "tcp") == 0) {
    for (; now() - begin < seconds; done++) one_connection(&address);
  } else {
    char buffer[64] = "x";
    int s = check(socket(AF_INET, SOCK_DGRAM, 0), "socket");
    check(connect(s, (struct sockaddr *)&address, sizeof address), "connect");
    for (; now() - begin < seconds; done++) {
      check(send(s, buffer, 32, 0), "send");
      check(recv(s, buffer, sizeof buffer, 0), "recv");
    }
  }
  printf("%.1f\n", done / (now() - begin));
  return 0;
}
