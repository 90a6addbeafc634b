/* Segmentation of TCP and UDP super-packets (virtio_net_hdr, VIRTIO 1.2 section 5.1.6.2). */
#include "segment.h"

#include <netinet/in.h>
#include <string.h>

#include "checksum.h"

#ifndef VIRTIO_NET_HDR_GSO_UDP_L4
#define VIRTIO_NET_HDR_GSO_UDP_L4 5
#endif

#define TCP_FLAGS 13
#define TCP_FIN 0x01
#define TCP_PSH 0x08
#define TCP_CWR 0x80

static size_t checksum_offset(uint8_t protocol) { return protocol == IPPROTO_TCP ? 16 : 6; }

/** A sum of zero is no checksum in UDP (RFC 768). */
static uint16_t nonzero(uint16_t checksum) { return checksum == 0 ? 0xffff : checksum; }

/** The kernel left the pseudo header's sum in the field. */
static bool complete_checksum(const struct virtio_net_hdr *hints, uint8_t *packet, size_t length) {
  size_t start = hints->csum_start, field = start + hints->csum_offset;
  if (start > length || field + 2 > length) return false;
  store16(packet + field, nonzero(checksum_finish(checksum_add(0, packet + start, length - start))));
  return true;
}

bool segmenter_start(struct segmenter *segmenter, const struct virtio_net_hdr *hints, uint8_t *packet,
                     const struct ip_view *view) {
  *segmenter = (struct segmenter){.packet = packet, .view = *view};
  size_t length = view->total_length;
  bool needs_checksum = (hints->flags & VIRTIO_NET_HDR_F_NEEDS_CSUM) != 0;
  switch (hints->gso_type & ~VIRTIO_NET_HDR_GSO_ECN) {
    case VIRTIO_NET_HDR_GSO_NONE:
      segmenter->whole = true;
      return !needs_checksum || complete_checksum(hints, packet, length);
    case VIRTIO_NET_HDR_GSO_TCPV4:
    case VIRTIO_NET_HDR_GSO_TCPV6:
      segmenter->protocol = IPPROTO_TCP;
      break;
    case VIRTIO_NET_HDR_GSO_UDP_L4:
      segmenter->protocol = IPPROTO_UDP;
      break;
    default:
      return false;
  }
  /* The kernel leaves the checksum of every super-packet to us, and so tells where its transport header is. */
  size_t transport = hints->csum_start;
  if (!needs_checksum || view->fragment || transport < view->header_length) return false;
  size_t least = segmenter->protocol == IPPROTO_TCP ? TCP_HEADER : UDP_HEADER;
  if (transport + least > length || hints->gso_size == 0) return false;
  size_t header_length = transport + least;
  if (segmenter->protocol == IPPROTO_TCP) {
    size_t tcp_length = (size_t)(packet[transport + 12] >> 4) * 4;
    if (tcp_length < TCP_HEADER || transport + tcp_length > length) return false;
    header_length = transport + tcp_length;
  }
  if (header_length > SEGMENT_HEADER_MAX) return false;
  segmenter->transport = transport;
  segmenter->header_length = header_length;
  segmenter->mss = hints->gso_size;
  return true;
}

static void finish_ip_header(uint8_t *header, const struct segmenter *segmenter, size_t length) {
  if (segmenter->view.version == 6) {
    store_be16(header + 4, (uint16_t)(length - IPV6_HEADER));
    return;
  }
  store_be16(header + 2, (uint16_t)length);
  store_be16(header + 4, (uint16_t)(load_be16(header + 4) + segmenter->index));
  store16(header + 10, 0);
  store16(header + 10, checksum_finish(checksum_add(0, header, segmenter->view.header_length)));
}

static void finish_transport_header(uint8_t *header, const struct segmenter *segmenter, const struct segment *segment,
                                    bool last) {
  uint8_t *transport = header + segmenter->transport;
  size_t transport_length = segmenter->header_length - segmenter->transport + segment->payload_length;
  if (segmenter->protocol == IPPROTO_TCP) {
    store_be32(transport + 4, load_be32(transport + 4) + (uint32_t)segmenter->offset);
    if (!last) transport[TCP_FLAGS] &= (uint8_t)~(TCP_FIN | TCP_PSH);
    if (segmenter->index > 0) transport[TCP_FLAGS] &= (uint8_t)~TCP_CWR;
  } else {
    store_be16(transport + 4, (uint16_t)transport_length);
  }
  uint8_t *field = transport + checksum_offset(segmenter->protocol);
  store16(field, 0);
  uint64_t sum = packet_pseudo_sum(&segmenter->view, segmenter->protocol, transport_length);
  sum = checksum_add(sum, transport, segmenter->header_length - segmenter->transport);
  sum = checksum_add(sum, segment->payload, segment->payload_length);
  store16(field, nonzero(checksum_finish(sum)));
}

bool segmenter_next(struct segmenter *segmenter, uint8_t *header, struct segment *segment) {
  if (segmenter->done) return false;
  size_t length = segmenter->view.total_length;
  if (segmenter->whole) {
    *segment = (struct segment){.header = segmenter->packet, .header_length = length};
    segmenter->done = true;
    return true;
  }
  size_t left = length - segmenter->header_length - segmenter->offset;
  size_t payload_length = left < segmenter->mss ? left : segmenter->mss;
  bool last = payload_length == left;
  *segment = (struct segment){
      .header = header,
      .header_length = segmenter->header_length,
      .payload = segmenter->packet + segmenter->header_length + segmenter->offset,
      .payload_length = payload_length,
  };
  memcpy(header, segmenter->packet, segmenter->header_length);
  finish_ip_header(header, segmenter, segmenter->header_length + payload_length);
  finish_transport_header(header, segmenter, segment, last);
  segmenter->offset += payload_length;
  segmenter->index++;
  segmenter->done = last;
  return true;
}
