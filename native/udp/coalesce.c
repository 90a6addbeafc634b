/* Generic receive offload for packets out of the tunnel (compare net/ipv4/tcp_offload.c and udp_offload.c). */
#include "coalesce.h"

#include <netinet/in.h>
#include <string.h>

#include "checksum.h"

#ifndef VIRTIO_NET_HDR_GSO_UDP_L4
#define VIRTIO_NET_HDR_GSO_UDP_L4 5
#endif

#define TCP_ACK 0x10
#define TCP_PSH 0x08
#define IPV4_DF 0x4000

static uint8_t *transport_of(uint8_t *packet, const struct ip_view *view) { return packet + view->header_length; }

/** Length of all headers, or 0 if packets like this are not joined. */
static size_t joinable_header(uint8_t *packet, const struct ip_view *view, bool udp) {
  if (view->fragment) return 0;
  if (view->version == 4 && view->header_length != IPV4_HEADER) return 0;
  size_t header_length = view->header_length;
  uint8_t *transport = transport_of(packet, view);
  if (view->protocol == IPPROTO_TCP) {
    if (view->total_length < header_length + TCP_HEADER) return 0;
    size_t tcp_length = (size_t)(transport[12] >> 4) * 4;
    if (tcp_length < TCP_HEADER) return 0;
    header_length += tcp_length;
    if ((transport[13] & ~TCP_PSH) != TCP_ACK || (transport[12] & 0x0f) != 0) return 0;
  } else if (udp && view->protocol == IPPROTO_UDP) {
    header_length += UDP_HEADER;
    if (view->total_length < header_length) return 0;
    if (load_be16(transport + 4) != view->total_length - view->header_length) return 0;
    if (load16(transport + 6) == 0) return 0;
  } else {
    return 0;
  }
  return view->total_length > header_length ? header_length : 0;
}

static bool checksums_ok(uint8_t *packet, const struct ip_view *view) {
#ifdef FUZZING_BUILD_MODE_UNSAFE_FOR_PRODUCTION
  /* No fuzzer finds a checksum; what lies behind it must be reached. */
  return packet != NULL && view != NULL;
#endif
  size_t length = (size_t)view->total_length - view->header_length;
  uint64_t sum = packet_pseudo_sum(view, view->protocol, length);
  return packet_header_checksum_ok(packet, view) &&
         checksum_fold(checksum_add(sum, transport_of(packet, view), length)) == 0xffff;
}

/** IP headers differ in nothing but length, ID and checksum. */
static bool same_ip_header(const uint8_t *a, const uint8_t *b, uint8_t version) {
  if (version == 6) return memcmp(a, b, 4) == 0 && memcmp(a + 6, b + 6, IPV6_HEADER - 6) == 0;
  return memcmp(a, b, 2) == 0 && memcmp(a + 6, b + 6, 4) == 0 && memcmp(a + 12, b + 12, 8) == 0;
}

/** One flow, next in sequence, same acknowledgement, window and options. */
static bool follows_tcp(const struct coalescer *held, const uint8_t *transport) {
  const uint8_t *first = held->first + held->view.header_length;
  size_t tcp_length = held->header_length - held->view.header_length;
  return load_be32(transport + 4) == held->next_sequence && memcmp(first, transport, 4) == 0 &&
         memcmp(first + 8, transport + 8, 5) == 0 && memcmp(first + 14, transport + 14, 2) == 0 &&
         memcmp(first + 18, transport + 18, tcp_length - 18) == 0;
}

static bool follows_udp(const struct coalescer *held, const uint8_t *transport) {
  return memcmp(held->first + held->view.header_length, transport, 4) == 0;
}

static bool follows(const struct coalescer *held, uint8_t *packet, const struct ip_view *view) {
  if (!held->joinable || held->closed || held->count == COALESCE_PACKETS_MAX) return false;
  if (view->version != held->view.version || view->protocol != held->view.protocol) return false;
  if (joinable_header(packet, view, held->udp) != held->header_length) return false;
  size_t payload_length = view->total_length - held->header_length;
  if (payload_length > held->payload_length || held->total_length + payload_length > PACKET_MAX) return false;
  if (!same_ip_header(held->first, packet, view->version)) return false;
  /* Without DF the ID may be needed to put fragments together, and must come out as it went in. */
  if (view->version == 4 && (load_be16(packet + 6) & IPV4_DF) == 0 &&
      load_be16(packet + 4) != (uint16_t)(held->last_id + 1))
    return false;
  const uint8_t *transport = transport_of(packet, view);
  return view->protocol == IPPROTO_TCP ? follows_tcp(held, transport) : follows_udp(held, transport);
}

static void hold_first(struct coalescer *held, uint8_t *packet, const struct ip_view *view) {
  size_t header_length = joinable_header(packet, view, held->udp);
  held->count = 1;
  held->first = packet;
  held->view = *view;
  held->total_length = view->total_length;
  held->joinable = header_length > 0;
  held->verified = false;
  held->push = false;
  held->closed = false;
  if (!held->joinable) return;
  const uint8_t *transport = transport_of(packet, view);
  held->header_length = header_length;
  held->payload_length = view->total_length - header_length;
  held->protocol = view->protocol;
  held->last_id = view->version == 4 ? load_be16(packet + 4) : 0;
  held->payloads[0] = (struct iovec){packet + header_length, held->payload_length};
  if (view->protocol == IPPROTO_TCP) {
    held->next_sequence = load_be32(transport + 4) + (uint32_t)held->payload_length;
    held->closed = (transport[13] & TCP_PSH) != 0;
  }
}

bool coalescer_add(struct coalescer *held, uint8_t *packet, const struct ip_view *view) {
  if (held->count == 0) {
    hold_first(held, packet, view);
    return true;
  }
  if (!follows(held, packet, view)) return false;
  /* The kernel will take a super-packet's checksums for granted. */
  if (!held->verified && !checksums_ok(held->first, &held->view)) {
    held->joinable = false;
    return false;
  }
  held->verified = true;
  if (!checksums_ok(packet, view)) return false;
  size_t payload_length = view->total_length - held->header_length;
  held->payloads[held->count++] = (struct iovec){packet + held->header_length, payload_length};
  held->total_length += payload_length;
  held->next_sequence += (uint32_t)payload_length;
  held->last_id = view->version == 4 ? load_be16(packet + 4) : 0;
  held->push = view->protocol == IPPROTO_TCP && (transport_of(packet, view)[13] & TCP_PSH) != 0;
  held->closed = held->push || payload_length < held->payload_length;
  return true;
}

/** The first packet's headers with the lengths of the whole; the transport checksum is left to the kernel. */
static void write_header(struct coalescer *held) {
  uint8_t *header = held->header;
  size_t ip_length = held->view.header_length, transport_length = held->total_length - ip_length;
  memcpy(header, held->first, held->header_length);
  if (held->view.version == 6) {
    store_be16(header + 4, (uint16_t)transport_length);
  } else {
    store_be16(header + 2, (uint16_t)held->total_length);
    store16(header + 10, 0);
    store16(header + 10, checksum_finish(checksum_add(0, header, ip_length)));
  }
  uint8_t *transport = header + ip_length;
  if (held->protocol == IPPROTO_TCP && held->push) transport[13] |= TCP_PSH;
  if (held->protocol == IPPROTO_UDP) store_be16(transport + 4, (uint16_t)transport_length);
  size_t field = held->protocol == IPPROTO_TCP ? 16 : 6;
  store16(transport + field, checksum_fold(packet_pseudo_sum(&held->view, held->protocol, transport_length)));
}

static uint8_t gso_type(const struct coalescer *held) {
  if (held->protocol == IPPROTO_UDP) return VIRTIO_NET_HDR_GSO_UDP_L4;
  return held->view.version == 6 ? VIRTIO_NET_HDR_GSO_TCPV6 : VIRTIO_NET_HDR_GSO_TCPV4;
}

bool coalescer_take(struct coalescer *held, struct super_packet *super) {
  if (held->count == 0) return false;
  super->packet_count = held->count;
  super->length = held->total_length;
  memset(&super->hints, 0, sizeof super->hints);
  if (held->count == 1) {
    super->parts[0] = (struct iovec){held->first, held->total_length};
    super->part_count = 1;
  } else {
    write_header(held);
    super->hints = (struct virtio_net_hdr){
        .flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
        .gso_type = gso_type(held),
        .hdr_len = (uint16_t)held->header_length,
        .gso_size = (uint16_t)held->payload_length,
        .csum_start = held->view.header_length,
        .csum_offset = held->protocol == IPPROTO_TCP ? 16 : 6,
    };
    super->parts[0] = (struct iovec){held->header, held->header_length};
    memcpy(super->parts + 1, held->payloads, held->count * sizeof held->payloads[0]);
    super->part_count = held->count + 1;
  }
  held->count = 0;
  return true;
}
