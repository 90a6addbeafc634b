/* What the two threads and the engine share. */
#ifndef FLANNELD_UDP_ENGINE_INTERNAL_H
#define FLANNELD_UDP_ENGINE_INTERNAL_H

#include <linux/virtio_net.h>
#include <pthread.h>
#include <stdatomic.h>
#include <time.h>

#include "engine.h"

/** The largest packet with its hints. */
#define FRAME_MAX (65536 + sizeof(struct virtio_net_hdr))

enum direction { SENDING, RECEIVING, DIRECTIONS };

struct worker {
  struct engine *engine;
  pthread_t thread;
  bool started;
  struct counters counters;
  /** The table that this thread may be reading; NULL while it waits (a hazard pointer). */
  _Atomic(struct peer_table *) reading;
  /** ICMP errors that may still be sent in this second. */
  unsigned icmp_left;
  time_t icmp_second;
};

struct retired_table {
  struct peer_table *table;
  struct retired_table *next;
};

struct engine {
  struct engine_options options;
  struct engine_offloads offloads;
  /** The kernel refused a GSO send (no checksum offload on that device): one datagram a time from then on. */
  _Atomic bool segment_refused;
  int tun;
  unsigned tun_index;
  /** By family: 4, 6; -1 where there is none. */
  int sockets[2];
  /** eventfd that ends both threads. */
  int stop;
  _Atomic int failure;
  _Atomic(struct peer_table *) table;
  struct worker workers[DIRECTIONS];
  struct retired_table *retired;
};

/** From here to `table_release` the table stays. */
struct peer_table *table_acquire(struct worker *worker);
void table_release(struct worker *worker);

/** At most this many ICMP errors per second and direction, as the kernel limits its own (icmp_msgs_per_sec). */
#define ICMP_PER_SECOND 1000
bool icmp_allowed(struct worker *worker);

/** Writes one packet, without hints, to the TUN device. */
bool tun_write(struct engine *engine, const uint8_t *packet, size_t length);

/** Threads; `worker` is theirs. */
void *run_sending(void *worker);
void *run_receiving(void *worker);

/** Notes what ended a thread. */
void engine_fail(struct engine *engine, int number);

#endif
