/* See reader.h. Messages: linux/netfilter/nfnetlink_log.h; the stream: draft-ietf-opsawg-pcap, LINKTYPE_NFLOG. */
#define _GNU_SOURCE
#include "reader.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_log.h>
#include <linux/netlink.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* The kernel collects up to a page of messages (NFULNL_NLBUFSIZ_DEFAULT) before it sends them. */
#define DATAGRAM_BYTES (128 * 1024)
/* Hundredths of a second after which it sends what it has collected. */
#define FLUSH_CENTISECONDS 10
/* An answer to our own settings comes at once, or never. */
#define ANSWER_SECONDS 5
#define LINKTYPE_NFLOG 239

struct file_header {
  uint32_t magic;
  uint16_t major, minor;
  uint32_t zone, accuracy, snap_bytes, link_type;
};

struct record_header {
  uint32_t seconds, microseconds, bytes, original_bytes;
};

struct reader {
  int netlink, pipe;
  uint8_t in[DATAGRAM_BYTES];
  /* A record's header is as long as the one that netlink has in its place. */
  uint8_t out[DATAGRAM_BYTES];
};

_Static_assert(sizeof(struct record_header) == NLMSG_HDRLEN, "a datagram's records must fit");

static int wait_for_answer(int netlink) {
  uint8_t answer[4096];
  ssize_t bytes = recv(netlink, answer, sizeof answer, 0);
  if (bytes < 0) return errno;
  const struct nlmsghdr *message = (const struct nlmsghdr *)answer;
  if (!NLMSG_OK(message, (unsigned)bytes)) return EPROTO;
  /* Packets come as soon as the group is bound; then all went well. */
  if (message->nlmsg_type != NLMSG_ERROR) return 0;
  return -((const struct nlmsgerr *)NLMSG_DATA(message))->error;
}

/* One setting of the group. Returns 0 or an errno. */
static int configure(int netlink, uint16_t group, uint16_t type, const void *value, uint16_t bytes) {
  struct {
    struct nlmsghdr header;
    struct nfgenmsg family;
    struct nlattr attribute;
    uint8_t value[8];
  } request;
  memset(&request, 0, sizeof request);
  request.header.nlmsg_len = NLMSG_LENGTH(sizeof request.family + NLA_HDRLEN + NLA_ALIGN(bytes));
  request.header.nlmsg_type = (NFNL_SUBSYS_ULOG << 8) | NFULNL_MSG_CONFIG;
  request.header.nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK;
  request.family.nfgen_family = AF_UNSPEC;
  request.family.version = NFNETLINK_V0;
  request.family.res_id = htons(group);
  request.attribute.nla_type = type;
  request.attribute.nla_len = NLA_HDRLEN + bytes;
  memcpy(request.value, value, bytes);
  if (send(netlink, &request, request.header.nlmsg_len, 0) < 0) return errno;
  return wait_for_answer(netlink);
}

static int bind_group(int netlink, uint16_t group, uint32_t copy_bytes) {
  const struct timeval patience = {.tv_sec = ANSWER_SECONDS};
  if (setsockopt(netlink, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience) < 0) return errno;
  const struct nfulnl_msg_config_cmd bind = {.command = NFULNL_CFG_CMD_BIND};
  int failure = configure(netlink, group, NFULA_CFG_CMD, &bind, sizeof bind);
  if (failure != 0) return failure;
  const uint32_t flush = htonl(FLUSH_CENTISECONDS);
  failure = configure(netlink, group, NFULA_CFG_TIMEOUT, &flush, sizeof flush);
  if (failure != 0) return failure;
  const struct nfulnl_msg_config_mode mode = {.copy_range = htonl(copy_bytes), .copy_mode = NFULNL_COPY_PACKET};
  return configure(netlink, group, NFULA_CFG_MODE, &mode, sizeof mode);
}

static bool write_all(int fd, const uint8_t *bytes, size_t count) {
  while (count > 0) {
    ssize_t written = write(fd, bytes, count);
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) return false;
    bytes += written;
    count -= (size_t)written;
  }
  return true;
}

/* The datagram's packets as records. */
static size_t to_records(const struct reader *reader, size_t datagram_bytes, uint8_t *out) {
  size_t bytes = 0;
  unsigned rest = (unsigned)datagram_bytes;
  for (const struct nlmsghdr *message = (const struct nlmsghdr *)reader->in; NLMSG_OK(message, rest);
       message = NLMSG_NEXT(message, rest)) {
    if (message->nlmsg_type != ((NFNL_SUBSYS_ULOG << 8) | NFULNL_MSG_PACKET)) continue;
    uint32_t length = message->nlmsg_len - NLMSG_HDRLEN;
    const struct record_header header = {.bytes = length, .original_bytes = length};
    memcpy(out + bytes, &header, sizeof header);
    memcpy(out + bytes + sizeof header, NLMSG_DATA(message), length);
    bytes += sizeof header + length;
  }
  return bytes;
}

static void *run(void *argument) {
  struct reader *reader = argument;
  const struct file_header header = {
      .magic = 0xa1b2c3d4, .major = 2, .minor = 4, .snap_bytes = 65535, .link_type = LINKTYPE_NFLOG};
  bool goes_on = write_all(reader->pipe, (const uint8_t *)&header, sizeof header);
  while (goes_on) {
    /* Of the pipe only its end is of interest, which poll tells unasked: POLLERR. */
    struct pollfd ready[] = {{.fd = reader->netlink, .events = POLLIN}, {.fd = reader->pipe}};
    if (poll(ready, 2, -1) < 0 && errno != EINTR) break;
    if (ready[1].revents != 0) break;
    ssize_t bytes = recv(reader->netlink, reader->in, sizeof reader->in, MSG_DONTWAIT);
    if (bytes < 0) {
      /* ENOBUFS: more packets than we could read; those are not told of. */
      goes_on = errno == EAGAIN || errno == EINTR || errno == ENOBUFS;
      continue;
    }
    goes_on = write_all(reader->pipe, reader->out, to_records(reader, (size_t)bytes, reader->out));
  }
  close(reader->netlink);
  close(reader->pipe);
  free(reader);
  return NULL;
}

/* With all signals left to the threads of node, SIGPIPE included: the pipe's end is an answer of write. */
static int start_thread(struct reader *reader) {
  pthread_attr_t detached;
  pthread_t thread;
  sigset_t all, before;
  sigfillset(&all);
  int failure = pthread_attr_init(&detached);
  if (failure != 0) return failure;
  pthread_attr_setdetachstate(&detached, PTHREAD_CREATE_DETACHED);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  failure = pthread_create(&thread, &detached, run, reader);
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  pthread_attr_destroy(&detached);
  return failure;
}

int nflog_open(uint16_t group, uint32_t copy_bytes, const char **step) {
  int ends[2] = {-1, -1};
  struct reader *reader = NULL;
  *step = "socket";
  int netlink = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_NETFILTER);
  if (netlink < 0) return -errno;
  *step = "bind";
  int failure = bind_group(netlink, group, copy_bytes);
  if (failure != 0) goto fail;
  *step = "pipe";
  if (pipe2(ends, O_CLOEXEC) < 0) {
    failure = errno;
    goto fail;
  }
  *step = "thread";
  reader = malloc(sizeof *reader);
  if (reader == NULL) {
    failure = ENOMEM;
    goto fail;
  }
  reader->netlink = netlink;
  reader->pipe = ends[1];
  failure = start_thread(reader);
  if (failure == 0) return ends[0];
fail:
  free(reader);
  close(netlink);
  if (ends[0] >= 0) close(ends[0]);
  if (ends[1] >= 0) close(ends[1]);
  return -failure;
}
