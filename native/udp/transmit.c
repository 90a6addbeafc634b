/* Batches of datagrams: sendmmsg with UDP_SEGMENT, and the way back to plain datagrams where that is refused. */
#define _GNU_SOURCE
#include "transmit.h"

#include <errno.h>
#include <netinet/udp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103
#endif

#define MESSAGES_MAX 64
#define SEGMENTS_MAX 1024
/** UDP_MAX_SEGMENTS of older kernels. */
#define SEGMENTS_PER_MESSAGE 64
/** A datagram's 65,507 bytes, less what IPv6 takes more. */
#define BYTES_PER_MESSAGE 65000

struct message {
  const struct peer *peer;
  size_t segment_length;
  size_t segments;
  size_t bytes;
  /** A shorter segment ended it. */
  bool closed;
  union {
    char bytes[CMSG_SPACE(sizeof(uint16_t))];
    struct cmsghdr align;
  } control;
};

struct transmitter {
  struct worker *worker;
  size_t message_count;
  size_t part_count;
  size_t header_count;
  struct message messages[MESSAGES_MAX];
  struct mmsghdr vector[MESSAGES_MAX];
  /** Two per segment. */
  struct iovec parts[SEGMENTS_MAX * 2];
  uint8_t headers[SEGMENTS_MAX][SEGMENT_HEADER_MAX];
};

struct transmitter *transmitter_make(struct worker *worker) {
  struct transmitter *transmitter = calloc(1, sizeof *transmitter);
  if (transmitter != NULL) transmitter->worker = worker;
  return transmitter;
}

void transmitter_free(struct transmitter *transmitter) { free(transmitter); }

uint8_t *transmitter_header(struct transmitter *transmitter) {
  if (transmitter->header_count == SEGMENTS_MAX) transmitter_flush(transmitter);
  return transmitter->headers[transmitter->header_count++];
}

static bool use_segment(const struct engine *engine) {
  return engine->offloads.segment && !atomic_load_explicit(&engine->segment_refused, memory_order_relaxed);
}

static bool fits(const struct transmitter *transmitter, const struct message *message, const struct peer *peer,
                 size_t length) {
  return use_segment(transmitter->worker->engine) && message->peer == peer && !message->closed &&
         length <= message->segment_length && message->segments < SEGMENTS_PER_MESSAGE &&
         message->bytes + length <= BYTES_PER_MESSAGE;
}

void transmitter_add(struct transmitter *transmitter, const struct peer *peer, const struct segment *segment) {
  size_t length = segment->header_length + segment->payload_length;
  struct message *message =
      transmitter->message_count > 0 ? &transmitter->messages[transmitter->message_count - 1] : NULL;
  if (message == NULL || !fits(transmitter, message, peer, length)) {
    /* There is room: it is made after each packet, never here, since this one's header lies with those of the batch. */
    message = &transmitter->messages[transmitter->message_count];
    struct msghdr *header = &transmitter->vector[transmitter->message_count].msg_hdr;
    *message = (struct message){.peer = peer, .segment_length = length};
    *header = (struct msghdr){
        .msg_name = (void *)&peer->address,
        .msg_namelen = peer->address_length,
        .msg_iov = transmitter->parts + transmitter->part_count,
    };
    transmitter->message_count++;
  }
  struct msghdr *header = &transmitter->vector[transmitter->message_count - 1].msg_hdr;
  header->msg_iov[header->msg_iovlen++] = (struct iovec){(void *)segment->header, segment->header_length};
  if (segment->payload_length > 0)
    header->msg_iov[header->msg_iovlen++] = (struct iovec){(void *)segment->payload, segment->payload_length};
  transmitter->part_count = (size_t)(header->msg_iov + header->msg_iovlen - transmitter->parts);
  message->segments++;
  message->bytes += length;
  message->closed = length < message->segment_length;
  if (transmitter->message_count == MESSAGES_MAX || transmitter->part_count + 2 > SEGMENTS_MAX * 2)
    transmitter_flush(transmitter);
}

static void count_sent(struct transmitter *transmitter, size_t packets, size_t bytes) {
  struct counters *counters = &transmitter->worker->counters;
  COUNT(counters->sentPackets, packets);
  COUNT(counters->sentBytes, bytes);
  COUNT(counters->sentMessages, 1);
}

/** Sends each packet of a message as a datagram of its own; the kernel may fragment it. */
static void send_apart(struct transmitter *transmitter, struct message *message, const struct msghdr *whole, int fd,
                       bool fragmented) {
  struct counters *counters = &transmitter->worker->counters;
  size_t part = 0;
  for (size_t i = 0; i < message->segments; i++) {
    struct msghdr one = {.msg_name = whole->msg_name, .msg_namelen = whole->msg_namelen, .msg_iov = whole->msg_iov + part};
    size_t length = 0, left = message->bytes - i * message->segment_length;
    size_t wanted = left < message->segment_length ? left : message->segment_length;
    while (length < wanted) length += one.msg_iov[one.msg_iovlen++].iov_len;
    part += one.msg_iovlen;
    ssize_t sent = sendmsg(fd, &one, MSG_NOSIGNAL);
    /* The first EMSGSIZE tells the kernel's new idea of the path; with it the second try is fragmented. */
    if (sent < 0 && errno == EMSGSIZE) sent = sendmsg(fd, &one, MSG_NOSIGNAL);
    if (sent < 0) {
      COUNT(counters->sendErrors, 1);
      continue;
    }
    count_sent(transmitter, 1, length);
    if (fragmented) COUNT(counters->sendFragmented, 1);
  }
}

/** What to do with a message that the kernel refused. */
static void send_refused(struct transmitter *transmitter, struct message *message, const struct msghdr *header, int fd,
                         int number) {
  bool is_batch = message->segments > 1;
  if (is_batch && number == EIO) atomic_store(&transmitter->worker->engine->segment_refused, true);
  bool too_long = number == EMSGSIZE || number == EINVAL;
  if (too_long || (is_batch && number == EIO)) {
    send_apart(transmitter, message, header, fd, too_long);
    return;
  }
  COUNT(transmitter->worker->counters.sendErrors, message->segments);
}

static void set_segment_length(struct message *message, struct msghdr *header) {
  header->msg_control = message->control.bytes;
  header->msg_controllen = sizeof message->control.bytes;
  struct cmsghdr *control = CMSG_FIRSTHDR(header);
  control->cmsg_level = IPPROTO_UDP;
  control->cmsg_type = UDP_SEGMENT;
  control->cmsg_len = CMSG_LEN(sizeof(uint16_t));
  uint16_t length = (uint16_t)message->segment_length;
  memcpy(CMSG_DATA(control), &length, sizeof length);
}

/** Sends messages of one outer family, from `first` up to `end`. */
static void send_run(struct transmitter *transmitter, size_t first, size_t end, int fd) {
  while (first < end) {
    int sent = fd < 0 ? -1 : sendmmsg(fd, transmitter->vector + first, (unsigned)(end - first), MSG_NOSIGNAL);
    if (sent <= 0) {
      int number = fd < 0 ? EAFNOSUPPORT : errno;
      if (number == EINTR) continue;
      send_refused(transmitter, &transmitter->messages[first], &transmitter->vector[first].msg_hdr, fd, number);
      first++;
      continue;
    }
    for (int i = 0; i < sent; i++, first++)
      count_sent(transmitter, transmitter->messages[first].segments, transmitter->messages[first].bytes);
  }
}

void transmitter_flush(struct transmitter *transmitter) {
  size_t count = transmitter->message_count;
  for (size_t i = 0; i < count; i++)
    if (transmitter->messages[i].segments > 1)
      set_segment_length(&transmitter->messages[i], &transmitter->vector[i].msg_hdr);
  for (size_t first = 0; first < count;) {
    uint8_t family = transmitter->messages[first].peer->outer_family;
    size_t end = first + 1;
    while (end < count && transmitter->messages[end].peer->outer_family == family) end++;
    send_run(transmitter, first, end, transmitter->worker->engine->sockets[family == 6]);
    first = end;
  }
  transmitter->message_count = transmitter->part_count = transmitter->header_count = 0;
}
