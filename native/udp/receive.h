/* What came in one datagram, checked packet by packet and handed on as few super-packets. No I/O: it can be fuzzed. */
#ifndef FLANNELD_UDP_RECEIVE_H
#define FLANNELD_UDP_RECEIVE_H

#include "coalesce.h"
#include "packet.h"

enum unpack_fault { UNPACK_MALFORMED, UNPACK_TRUNCATED, UNPACK_TTL_EXPIRED };

struct unpacker {
  void *context;
  void (*write)(void *context, const struct super_packet *super);
  /** `view` is only told of a packet whose header is right. */
  void (*fault)(void *context, enum unpack_fault fault, const uint8_t *packet, const struct ip_view *view);
  /** Join neighbours; else each packet is written alone. */
  bool coalesce;
  struct coalescer coalescer;
};

/**
 * Takes a datagram apart.
 * @param data is changed (hop limits) and must live until `unpack_flush`
 * @param segment_length of the datagrams that the kernel has put together; 0: it is one
 */
void unpack(struct unpacker *unpacker, uint8_t *data, size_t length, size_t segment_length);

/** Hands on what is still held. */
void unpack_flush(struct unpacker *unpacker);

#endif
