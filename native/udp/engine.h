/* The packet path of the udp backend: two threads between a TUN device and UDP sockets. Used from one other thread. */
#ifndef FLANNELD_UDP_ENGINE_H
#define FLANNELD_UDP_ENGINE_H

#include <net/if.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "counters.h"
#include "peers.h"

struct engine_options {
  char tun[IFNAMSIZ];
  /** UDP port of this node and of all others, host byte order. */
  uint16_t port;
  /** Own outer addresses, by family: 4, 6. */
  bool has_local[2];
  uint8_t local[2][16];
  /** Own addresses on the TUN device: where ICMP errors to peers come from. */
  bool has_inner[2];
  uint8_t inner[2][16];
  /** Use what the kernel offers of segmentation and coalescing. */
  bool offload;
  /** Take packets from anybody, not only from peers. */
  bool open;
};

/** What the kernel and the options allow. */
struct engine_offloads {
  bool vnet_header;
  bool tcp;
  bool udp;
  bool segment;
  bool coalesce;
};

/** Why the engine did not start. */
struct engine_error {
  /** What was tried, e.g. "tun-open". */
  const char *step;
  /** errno, or 0. */
  int number;
};

struct engine;

/**
 * Attaches to the TUN device, which must exist, binds the sockets and starts the threads, with no peers.
 * @returns NULL, with `*error` filled
 */
struct engine *engine_start(const struct engine_options *options, struct engine_error *error);

/** Ends the threads, closes everything. A persistent TUN device stays. */
void engine_stop(struct engine *engine);

/** Swaps the peer table; the old one is freed as soon as no thread reads it. */
void engine_set_peers(struct engine *engine, struct peer_table *table);

void engine_read_counters(const struct engine *engine, struct counters *sum);

struct engine_offloads engine_get_offloads(const struct engine *engine);

/** errno of what ended a thread (the TUN device is gone), or 0 while both run. */
int engine_failure(const struct engine *engine);

/** Index of the TUN device that is attached; 0 if it is gone. */
unsigned engine_tun_index(const struct engine *engine);

#endif
