/* Joins neighbouring packets of one flow to a super-packet, as the kernel's GRO does, so that one write carries many. No I/O. */
#ifndef FLANNELD_UDP_COALESCE_H
#define FLANNELD_UDP_COALESCE_H

#include <linux/virtio_net.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "packet.h"

/** IPv6 40 and TCP 60 bytes; packets with IP options or extension headers are left alone. */
#define COALESCE_HEADER_MAX 100
/** Packets in one super-packet: 64 KiB hold 45 of the usual size, and the kernel takes no more than 64 datagrams. */
#define COALESCE_PACKETS_MAX 64

struct coalescer {
  /** Join UDP datagrams too (kernel 6.2; TUN_F_USO4). */
  bool udp;
  /** The packets so far: the first one whole, then payloads. None: nothing is held. */
  size_t count;
  uint8_t *first;
  struct ip_view view;
  size_t header_length;
  size_t payload_length;
  size_t total_length;
  uint32_t next_sequence;
  uint16_t last_id;
  uint8_t protocol;
  /** The first packet can be joined at all. */
  bool joinable;
  /** The first packet's checksums were found right. */
  bool verified;
  bool push;
  /** A shorter or pushed packet was the last one. */
  bool closed;
  struct iovec payloads[COALESCE_PACKETS_MAX];
  uint8_t header[COALESCE_HEADER_MAX];
};

/** What is to be written to the TUN device: hints, then parts. */
struct super_packet {
  struct virtio_net_hdr hints;
  struct iovec parts[COALESCE_PACKETS_MAX + 1];
  size_t part_count;
  size_t packet_count;
  size_t length;
};

/** Adds a packet to what is held. False: it does not belong to it; take that first (`coalescer_take`) and offer it again. */
bool coalescer_add(struct coalescer *coalescer, uint8_t *packet, const struct ip_view *view);

/** Takes what is held: one packet as it came, or several as one. False if nothing is held. */
bool coalescer_take(struct coalescer *coalescer, struct super_packet *super);

#endif
