/* The thread from the TUN device to the peers. */
#define _GNU_SOURCE
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "burst.h"
#include "engine-internal.h"
#include "packet.h"
#include "segment.h"
#include "transmit.h"

/** Packets of one batch lie here one after the other; small enough for a core's cache. */
#define ARENA (4 * FRAME_MAX)

struct sender {
  struct worker *worker;
  struct engine *engine;
  struct transmitter *transmitter;
  struct peer_table *table;
  uint8_t *arena;
  /** Packets of the last look, 0 if long ones were among them. */
  size_t found;
};

/** Tells the sender on this host, through the TUN device. */
static void answer(struct sender *sender, enum icmp_error error, const uint8_t *packet, const struct ip_view *view) {
  uint8_t message[ICMP_ERROR_MAX];
  /* From where the packet was to go: what claims to come from the host itself, the kernel drops (fib_validate_source). */
  size_t length = packet_icmp_error(message, error, packet, view, view->destination);
  if (length == 0 || !icmp_allowed(sender->worker)) return;
  if (tun_write(sender->engine, message, length)) COUNT(sender->worker->counters.icmpSent, 1);
}

static void send_packet(struct sender *sender, uint8_t *packet, size_t length, const struct virtio_net_hdr *hints) {
  struct counters *counters = &sender->worker->counters;
  struct ip_view view;
  if (packet_parse(packet, length, &view) != PACKET_OK) {
    COUNT(counters->sentMalformed, 1);
    return;
  }
  const struct peer *peer = peer_table_lookup(sender->table, view.version, view.destination);
  if (peer == NULL) {
    /* What the kernel says to its neighbours on any device (MLD, mDNS) is for nobody here. */
    if (packet_is_multicast(&view)) return;
    COUNT(counters->noRoute, 1);
    answer(sender, ICMP_ERROR_NET_UNREACHABLE, packet, &view);
    return;
  }
  if (!packet_decrement_ttl(packet, &view)) {
    COUNT(counters->sentTtlExpired, 1);
    answer(sender, ICMP_ERROR_TIME_EXCEEDED, packet, &view);
    return;
  }
  struct segmenter segmenter;
  if (!segmenter_start(&segmenter, hints, packet, &view)) {
    COUNT(counters->sentMalformed, 1);
    return;
  }
  struct segment segment;
  while (segmenter_next(&segmenter, transmitter_header(sender->transmitter), &segment))
    transmitter_add(sender->transmitter, peer, &segment);
}

/** Reads and sends until there is nothing to read, or the arena is full. False when the device has gone. */
static bool send_all(struct sender *sender) {
  bool is_long = false;
  sender->found = 0;
  const size_t hints_length = sender->engine->offloads.vnet_header ? sizeof(struct virtio_net_hdr) : 0;
  size_t used = 0;
  for (;;) {
    uint8_t *frame = sender->arena + used;
    ssize_t got = read(sender->engine->tun, frame, FRAME_MAX);
    if (got < 0) {
      int number = errno;
      if (number == EINTR) continue;
      transmitter_flush(sender->transmitter);
      if (number == EAGAIN) return true;
      engine_fail(sender->engine, number);
      return false;
    }
    is_long = is_long || got >= BURST_LONG;
    sender->found = is_long ? 0 : sender->found + 1;
    struct virtio_net_hdr hints = {0};
    if ((size_t)got < hints_length) continue;
    memcpy(&hints, frame, hints_length);
    send_packet(sender, frame + hints_length, (size_t)got - hints_length, &hints);
    /* Whole cache lines, so that no two packets share one. */
    used += ((size_t)got + 63) & ~(size_t)63;
    if (used + FRAME_MAX > ARENA) {
      transmitter_flush(sender->transmitter);
      used = 0;
      return true;
    }
  }
}

static void loop(struct sender *sender) {
  struct pollfd waited[] = {{.fd = sender->engine->tun, .events = POLLIN}, {.fd = sender->engine->stop, .events = POLLIN}};
  for (;;) {
    if (poll(waited, 2, -1) < 0 && errno != EINTR) return engine_fail(sender->engine, errno);
    if (waited[1].revents != 0) return;
    if (waited[0].revents == 0) continue;
    sender->table = table_acquire(sender->worker);
    struct burst burst = {0};
    bool goes_on;
    do goes_on = send_all(sender);
    while (goes_on && burst_goes_on(&burst, sender->found));
    table_release(sender->worker);
    if (!goes_on) return;
  }
}

void *run_sending(void *argument) {
  struct worker *worker = argument;
  prctl(PR_SET_NAME, "udp-send");
  struct sender sender = {
      .worker = worker,
      .engine = worker->engine,
      .transmitter = transmitter_make(worker),
      .arena = malloc(ARENA),
  };
  if (sender.transmitter == NULL || sender.arena == NULL) {
    engine_fail(worker->engine, ENOMEM);
  } else {
    loop(&sender);
  }
  transmitter_free(sender.transmitter);
  free(sender.arena);
  return NULL;
}
