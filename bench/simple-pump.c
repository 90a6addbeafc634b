/*
 * What the udp backend is measured beside: one packet a read, one packet a send, as flannel's own proxy does it. One thread.
 * Usage: simple-pump TUN PORT LOCAL REMOTE
 */
#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <netinet/ip.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

static void fail(const char *what) {
  perror(what);
  exit(1);
}

/** Flannel decrements the TTL in both directions. */
static int decrement_ttl(struct iphdr *header) {
  if (--header->ttl == 0) return 0;
  unsigned check = header->check + htons(0x0100);
  header->check = (unsigned short)(check + (check >= 0xffff));
  return 1;
}

int main(int argc, char **argv) {
  if (argc != 5) return fprintf(stderr, "usage: %s TUN PORT LOCAL REMOTE\n", argv[0]), 2;
  int tun = open("/dev/net/tun", O_RDWR | O_NONBLOCK);
  struct ifreq request = {.ifr_flags = IFF_TUN | IFF_NO_PI};
  strncpy(request.ifr_name, argv[1], IFNAMSIZ - 1);
  if (tun < 0 || ioctl(tun, TUNSETIFF, &request) != 0) fail("tun");
  /* The device may have been somebody's who took super-packets. */
  ioctl(tun, TUNSETOFFLOAD, 0);
  int fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);
  struct sockaddr_in local = {.sin_family = AF_INET, .sin_port = htons(atoi(argv[2]))}, remote = local;
  inet_pton(AF_INET, argv[3], &local.sin_addr);
  inet_pton(AF_INET, argv[4], &remote.sin_addr);
  if (bind(fd, (struct sockaddr *)&local, sizeof local) != 0) fail("bind");
  static char packet[65536];
  struct iphdr *header = (struct iphdr *)packet;
  struct pollfd waited[] = {{.fd = tun, .events = POLLIN}, {.fd = fd, .events = POLLIN}};
  puts("ready");
  fflush(stdout);
  for (;;) {
    if (poll(waited, 2, -1) < 0) fail("poll");
    for (int activity = 1; activity;) {
      activity = 0;
      ssize_t got = read(tun, packet, sizeof packet);
      if (got >= (ssize_t)sizeof *header) {
        activity = 1;
        if (decrement_ttl(header)) sendto(fd, packet, (size_t)got, 0, (struct sockaddr *)&remote, sizeof remote);
      }
      got = recv(fd, packet, sizeof packet, 0);
      if (got >= (ssize_t)sizeof *header) {
        activity = 1;
        if (decrement_ttl(header) && write(tun, packet, (size_t)got) < 0) activity = 1;
      }
    }
  }
}
