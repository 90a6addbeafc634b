/* The thread from the peers to the TUN device. */
#define _GNU_SOURCE
#include <errno.h>
#include <netinet/udp.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "burst.h"
#include "engine-internal.h"
#include "receive.h"

#ifndef UDP_GRO
#define UDP_GRO 104
#endif

/**
 * Datagrams of one system call: many, where each holds one packet; few, where the kernel has put them together to 64 KiB each,
 * so that all stay in a core's cache.
 */
#define BATCH 64
#define BATCH_OF_LONG 8
/** Bytes from which a datagram counts as long. */
#define LONG 16384

struct slot {
  uint8_t *buffer;
  struct iovec part;
  union {
    struct sockaddr any;
    struct sockaddr_in in;
    struct sockaddr_in6 in6;
  } from;
  union {
    char bytes[CMSG_SPACE(sizeof(int))];
    struct cmsghdr align;
  } control;
};

struct receiver {
  struct worker *worker;
  struct engine *engine;
  struct peer_table *table;
  struct slot slots[BATCH];
  struct mmsghdr vector[BATCH];
  struct unpacker unpacker;
  /** Of the next system call. */
  unsigned batch;
};

static void write_super(void *context, const struct super_packet *super) {
  struct receiver *receiver = context;
  struct counters *counters = &receiver->worker->counters;
  struct iovec parts[COALESCE_PACKETS_MAX + 2];
  parts[0] = (struct iovec){(void *)&super->hints, sizeof super->hints};
  memcpy(parts + 1, super->parts, super->part_count * sizeof *parts);
  bool with_hints = receiver->engine->offloads.vnet_header;
  ssize_t written = writev(receiver->engine->tun, with_hints ? parts : parts + 1, (int)super->part_count + with_hints);
  if (written < 0) {
    COUNT(counters->writeErrors, super->packet_count);
    if (errno == EBADFD) engine_fail(receiver->engine, errno);
    return;
  }
  COUNT(counters->receivedPackets, super->packet_count);
  COUNT(counters->receivedBytes, super->length);
  COUNT(counters->receivedMessages, 1);
}

/** Tells the sender, at the peer that the packet came from. */
static void answer(struct receiver *receiver, const uint8_t *packet, const struct ip_view *view) {
  struct engine *engine = receiver->engine;
  int family = view->version == 6;
  if (!engine->options.has_inner[family]) return;
  const struct peer *peer = peer_table_lookup(receiver->table, view->version, view->source);
  if (peer == NULL || engine->sockets[peer->outer_family == 6] < 0) return;
  uint8_t message[ICMP_ERROR_MAX];
  size_t length = packet_icmp_error(message, ICMP_ERROR_TIME_EXCEEDED, packet, view, engine->options.inner[family]);
  if (length == 0 || !icmp_allowed(receiver->worker)) return;
  ssize_t sent = sendto(engine->sockets[peer->outer_family == 6], message, length, MSG_DONTWAIT | MSG_NOSIGNAL,
                        &peer->address.any, peer->address_length);
  if (sent >= 0) COUNT(receiver->worker->counters.icmpSent, 1);
}

static void count_fault(void *context, enum unpack_fault fault, const uint8_t *packet, const struct ip_view *view) {
  struct receiver *receiver = context;
  struct counters *counters = &receiver->worker->counters;
  switch (fault) {
    case UNPACK_MALFORMED:
      COUNT(counters->malformed, 1);
      break;
    case UNPACK_TRUNCATED:
      COUNT(counters->truncated, 1);
      break;
    case UNPACK_TTL_EXPIRED:
      COUNT(counters->ttlExpired, 1);
      answer(receiver, packet, view);
      break;
  }
}

static bool is_peer(const struct receiver *receiver, const struct slot *slot) {
  if (receiver->engine->options.open) return true;
  if (slot->from.any.sa_family == AF_INET6)
    return peer_table_has_source(receiver->table, 6, slot->from.in6.sin6_addr.s6_addr);
  return slot->from.any.sa_family == AF_INET &&
         peer_table_has_source(receiver->table, 4, (const uint8_t *)&slot->from.in.sin_addr);
}

/** Length of the datagrams that the kernel has put together (UDP_GRO), or 0 if it is one alone. */
static size_t gro_length(struct msghdr *header) {
  for (struct cmsghdr *control = CMSG_FIRSTHDR(header); control != NULL; control = CMSG_NXTHDR(header, control)) {
    if (control->cmsg_level != IPPROTO_UDP || control->cmsg_type != UDP_GRO) continue;
    int length;
    memcpy(&length, CMSG_DATA(control), sizeof length);
    return length > 0 ? (size_t)length : 0;
  }
  return 0;
}

static void take(struct receiver *receiver, size_t i) {
  struct slot *slot = &receiver->slots[i];
  struct mmsghdr *message = &receiver->vector[i];
  if (!is_peer(receiver, slot)) {
    COUNT(receiver->worker->counters.foreignSource, 1);
    return;
  }
  if (message->msg_hdr.msg_flags & MSG_TRUNC) {
    COUNT(receiver->worker->counters.truncated, 1);
    return;
  }
  unpack(&receiver->unpacker, slot->buffer, message->msg_len, gro_length(&message->msg_hdr));
}

/** Readies slots for a system call; it changes those that it fills. */
static void arm(struct receiver *receiver, size_t count) {
  for (size_t i = 0; i < count; i++) {
    struct slot *slot = &receiver->slots[i];
    slot->part = (struct iovec){slot->buffer, FRAME_MAX};
    receiver->vector[i].msg_hdr = (struct msghdr){
        .msg_name = &slot->from,
        .msg_namelen = sizeof slot->from,
        .msg_iov = &slot->part,
        .msg_iovlen = 1,
        .msg_control = slot->control.bytes,
        .msg_controllen = sizeof slot->control.bytes,
    };
  }
}

/** One batch, so that the other socket, the end and a new table get their turn. Returns its packets, 0 if long ones were among them. */
static size_t receive_batch(struct receiver *receiver, int fd) {
  int got = recvmmsg(fd, receiver->vector, receiver->batch, MSG_DONTWAIT, NULL);
  /* Errors are what ICMP told of a datagram that we sent; they are not about this socket's future. */
  if (got <= 0) return 0;
  bool is_long = false, is_burst = true;
  for (int i = 0; i < got; i++) {
    is_long = is_long || receiver->vector[i].msg_len >= LONG;
    is_burst = is_burst && receiver->vector[i].msg_len < BURST_LONG;
    take(receiver, (size_t)i);
  }
  unpack_flush(&receiver->unpacker);
  receiver->batch = is_long ? BATCH_OF_LONG : BATCH;
  arm(receiver, (size_t)got);
  return is_burst ? (size_t)got : 0;
}

static void loop(struct receiver *receiver) {
  struct engine *engine = receiver->engine;
  struct pollfd waited[] = {
      {.fd = engine->sockets[0], .events = POLLIN},
      {.fd = engine->sockets[1], .events = POLLIN},
      {.fd = engine->stop, .events = POLLIN},
  };
  for (;;) {
    if (poll(waited, 3, -1) < 0 && errno != EINTR) return engine_fail(engine, errno);
    if (waited[2].revents != 0) return;
    receiver->table = table_acquire(receiver->worker);
    struct burst burst = {0};
    size_t found;
    do {
      found = 0;
      for (int family = 0; family < 2; family++)
        if (waited[family].revents != 0) found += receive_batch(receiver, engine->sockets[family]);
    } while (burst_goes_on(&burst, found));
    table_release(receiver->worker);
    if (engine_failure(engine) != 0) return;
  }
}

void *run_receiving(void *argument) {
  struct worker *worker = argument;
  prctl(PR_SET_NAME, "udp-receive");
  struct receiver *receiver = calloc(1, sizeof *receiver);
  uint8_t *memory = malloc(BATCH * FRAME_MAX);
  if (receiver == NULL || memory == NULL) {
    engine_fail(worker->engine, ENOMEM);
  } else {
    receiver->worker = worker;
    receiver->engine = worker->engine;
    receiver->unpacker = (struct unpacker){
        .context = receiver,
        .write = write_super,
        .fault = count_fault,
        .coalesce = worker->engine->offloads.tcp,
        .coalescer = {.udp = worker->engine->offloads.udp},
    };
    for (size_t i = 0; i < BATCH; i++) receiver->slots[i].buffer = memory + i * FRAME_MAX;
    receiver->batch = BATCH;
    arm(receiver, BATCH);
    loop(receiver);
  }
  free(receiver);
  free(memory);
  return NULL;
}
