/* One IP packet: parse, hop limit, ICMP errors. */
#include "packet.h"

#include <netinet/in.h>
#include <string.h>

#include "checksum.h"

static enum packet_fault parse_ipv4(const uint8_t *packet, size_t length, struct ip_view *view) {
  if (length < IPV4_HEADER) return PACKET_TRUNCATED;
  size_t header_length = (size_t)(packet[0] & 0x0f) * 4;
  size_t total_length = load_be16(packet + 2);
  if (header_length < IPV4_HEADER || total_length < header_length) return PACKET_MALFORMED;
  if (total_length > length) return PACKET_TRUNCATED;
  if (total_length < length) return PACKET_MALFORMED;
  uint16_t fragment = load_be16(packet + 6);
  *view = (struct ip_view){
      .version = 4,
      .protocol = packet[9],
      .header_length = (uint16_t)header_length,
      .total_length = (uint16_t)total_length,
      .address_length = 4,
      .source = packet + 12,
      .destination = packet + 16,
      .fragment = (fragment & 0x3fff) != 0,
      .later_fragment = (fragment & 0x1fff) != 0,
  };
  return PACKET_OK;
}

static enum packet_fault parse_ipv6(const uint8_t *packet, size_t length, struct ip_view *view) {
  if (length < IPV6_HEADER) return PACKET_TRUNCATED;
  size_t total_length = IPV6_HEADER + (size_t)load_be16(packet + 4);
  if (total_length > length) return PACKET_TRUNCATED;
  if (total_length < length || total_length > PACKET_MAX) return PACKET_MALFORMED;
  bool has_fragment_header = packet[6] == IPPROTO_FRAGMENT;
  if (has_fragment_header && total_length < IPV6_HEADER + 8) return PACKET_MALFORMED;
  *view = (struct ip_view){
      .version = 6,
      .protocol = packet[6],
      .header_length = IPV6_HEADER,
      .total_length = (uint16_t)total_length,
      .address_length = 16,
      .source = packet + 8,
      .destination = packet + 24,
      .fragment = has_fragment_header,
      .later_fragment = has_fragment_header && (load_be16(packet + IPV6_HEADER + 2) & 0xfff8) != 0,
  };
  return PACKET_OK;
}

enum packet_fault packet_parse(const uint8_t *packet, size_t length, struct ip_view *view) {
  if (length == 0) return PACKET_TRUNCATED;
  switch (packet[0] >> 4) {
    case 4:
      return parse_ipv4(packet, length, view);
    case 6:
      return parse_ipv6(packet, length, view);
    default:
      return PACKET_MALFORMED;
  }
}

bool packet_decrement_ttl(uint8_t *packet, const struct ip_view *view) {
  if (view->version == 6) {
    if (packet[7] <= 1) return false;
    packet[7] -= 1;
    return true;
  }
  if (packet[8] <= 1) return false;
  packet[8] -= 1;
  /* As the kernel's ip_decrease_ttl. */
  uint32_t check = load_be16(packet + 10);
  check += 0x0100;
  store_be16(packet + 10, (uint16_t)(check + (check >= 0xffff)));
  return true;
}

bool packet_header_checksum_ok(const uint8_t *packet, const struct ip_view *view) {
  return view->version == 6 || checksum_fold(checksum_add(0, packet, view->header_length)) == 0xffff;
}

uint64_t packet_pseudo_sum(const struct ip_view *view, uint8_t protocol, size_t length) {
  uint64_t sum = checksum_add(0, view->source, (size_t)view->address_length * 2);
  return sum + htons(protocol) + htons((uint16_t)length);
}

bool packet_is_multicast(const struct ip_view *view) {
  return view->version == 6 ? view->destination[0] == 0xff : view->destination[0] >= 224;
}

static bool is_icmp_error(const uint8_t *packet, const struct ip_view *view) {
  if (view->total_length <= view->header_length) return true;
  uint8_t type = packet[view->header_length];
  if (view->version == 6) return type < 128;
  /* Everything but echo, timestamp and their answers counts as an error (RFC 1122 3.2.2). */
  return type != 0 && type != 8 && type != 13 && type != 14;
}

static bool is_unicast_source(const struct ip_view *view) {
  if (view->version == 6) {
    static const uint8_t unspecified[16] = {0};
    return view->source[0] != 0xff && memcmp(view->source, unspecified, 16) != 0;
  }
  return view->source[0] != 0 && view->source[0] != 127 && view->source[0] < 224;
}

static bool may_answer(enum icmp_error error, const uint8_t *packet, const struct ip_view *view) {
  if (view->later_fragment || packet_is_multicast(view) || !is_unicast_source(view)) return false;
  if (view->version == 6) {
    /* Extension headers could hide an ICMP error; none is answered that does not begin with what it carries. */
    if (view->protocol == IPPROTO_ICMPV6) return !is_icmp_error(packet, view);
    return view->protocol == IPPROTO_TCP || view->protocol == IPPROTO_UDP || view->protocol == IPPROTO_SCTP;
  }
  if (view->protocol != IPPROTO_ICMP) return true;
  return error == ICMP_ERROR_TIME_EXCEEDED && !is_icmp_error(packet, view);
}

static size_t icmp_error_ipv4(uint8_t *out, enum icmp_error error, const uint8_t *packet, const struct ip_view *view,
                              const uint8_t *from) {
  size_t quoted = (size_t)view->header_length + 8;
  if (quoted > view->total_length) quoted = view->total_length;
  size_t length = IPV4_HEADER + 8 + quoted;
  memset(out, 0, IPV4_HEADER + 8);
  out[0] = 0x45;
  store_be16(out + 2, (uint16_t)length);
  out[8] = 64;
  out[9] = IPPROTO_ICMP;
  memcpy(out + 12, from, 4);
  memcpy(out + 16, view->source, 4);
  store16(out + 10, checksum_finish(checksum_add(0, out, IPV4_HEADER)));
  uint8_t *icmp = out + IPV4_HEADER;
  icmp[0] = error == ICMP_ERROR_TIME_EXCEEDED ? 11 : 3;
  memcpy(icmp + 8, packet, quoted);
  store16(icmp + 2, checksum_finish(checksum_add(0, icmp, 8 + quoted)));
  return length;
}

static size_t icmp_error_ipv6(uint8_t *out, enum icmp_error error, const uint8_t *packet, const struct ip_view *view,
                              const uint8_t *from) {
  size_t quoted = view->total_length;
  if (quoted > ICMP_ERROR_MAX - IPV6_HEADER - 8) quoted = ICMP_ERROR_MAX - IPV6_HEADER - 8;
  size_t payload = 8 + quoted;
  memset(out, 0, IPV6_HEADER + 8);
  out[0] = 0x60;
  store_be16(out + 4, (uint16_t)payload);
  out[6] = IPPROTO_ICMPV6;
  out[7] = 64;
  memcpy(out + 8, from, 16);
  memcpy(out + 24, view->source, 16);
  uint8_t *icmp = out + IPV6_HEADER;
  icmp[0] = error == ICMP_ERROR_TIME_EXCEEDED ? 3 : 1;
  memcpy(icmp + 8, packet, quoted);
  struct ip_view outer = {.address_length = 16, .source = out + 8};
  uint64_t sum = packet_pseudo_sum(&outer, IPPROTO_ICMPV6, payload);
  store16(icmp + 2, checksum_finish(checksum_add(sum, icmp, payload)));
  return IPV6_HEADER + payload;
}

size_t packet_icmp_error(uint8_t *out, enum icmp_error error, const uint8_t *packet, const struct ip_view *view,
                         const uint8_t *from) {
  if (!may_answer(error, packet, view)) return 0;
  return view->version == 6 ? icmp_error_ipv6(out, error, packet, view, from)
                            : icmp_error_ipv4(out, error, packet, view, from);
}
