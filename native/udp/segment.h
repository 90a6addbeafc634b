/* What leaves a TUN device with offload, as packets of the wire: checksums completed, super-packets cut. No I/O. */
#ifndef FLANNELD_UDP_SEGMENT_H
#define FLANNELD_UDP_SEGMENT_H

#include <linux/virtio_net.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "packet.h"

/** Longest header that is copied per segment: IP with options or extension headers, and TCP's 60 bytes. */
#define SEGMENT_HEADER_MAX 256

struct segment {
  /** Headers, to be sent first; for an unsegmented packet the whole packet. */
  const uint8_t *header;
  size_t header_length;
  const uint8_t *payload;
  size_t payload_length;
};

/** Cuts one packet; made by `segmenter_start`. */
struct segmenter {
  uint8_t *packet;
  struct ip_view view;
  size_t transport;
  size_t header_length;
  size_t mss;
  size_t offset;
  uint16_t index;
  uint8_t protocol;
  bool whole;
  bool done;
};

/**
 * Prepares a packet as read from a TUN device with IFF_VNET_HDR. Completes the checksum of one that is not cut.
 * @param packet is changed
 * @param view of the packet
 * @returns false if header and packet contradict each other
 */
bool segmenter_start(struct segmenter *segmenter, const struct virtio_net_hdr *hints, uint8_t *packet,
                     const struct ip_view *view);

/**
 * The next packet, or false when there is none.
 * @param header room of SEGMENT_HEADER_MAX bytes that lives as long as the segment
 */
bool segmenter_next(struct segmenter *segmenter, uint8_t *header, struct segment *segment);

#endif
