/* One IP packet: is it what its lengths say, its hop limit, and the ICMP errors about it. No I/O, no allocation. */
#ifndef FLANNELD_UDP_PACKET_H
#define FLANNELD_UDP_PACKET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define IPV4_HEADER 20
#define IPV6_HEADER 40
#define TCP_HEADER 20
#define UDP_HEADER 8
/** Largest packet that an IP header can tell of, bytes; an IPv6 header says 40 more, which no TUN device carries. */
#define PACKET_MAX 65535

enum packet_fault {
  PACKET_OK,
  /** Lengths or version that no sender writes. */
  PACKET_MALFORMED,
  /** Says that it is longer than it is. */
  PACKET_TRUNCATED,
};

/** What was read from a checked header. */
struct ip_view {
  /** 4 or 6. */
  uint8_t version;
  /** Protocol of the first header behind IP (in IPv6 possibly an extension header). */
  uint8_t protocol;
  /** Bytes before that. */
  uint16_t header_length;
  uint16_t total_length;
  /** 4 or 16 bytes. */
  uint8_t address_length;
  const uint8_t *source;
  const uint8_t *destination;
  /** Has more fragments or is not the first one. */
  bool fragment;
  /** Is not the first fragment. */
  bool later_fragment;
};

/**
 * Checks version and lengths against `length`, which must be the packet's exactly: a datagram carries one packet and
 * nothing else (flannel 4.3). Reads nothing beyond `length`.
 */
enum packet_fault packet_parse(const uint8_t *packet, size_t length, struct ip_view *view);

/** Decrements TTL or hop limit and keeps the header checksum right (RFC 1624). False if the packet has come to its end. */
bool packet_decrement_ttl(uint8_t *packet, const struct ip_view *view);

/** True if the IPv4 header's own checksum is right; IPv6 has none. */
bool packet_header_checksum_ok(const uint8_t *packet, const struct ip_view *view);

/** Sum of the pseudo header that TCP, UDP and ICMPv6 include (RFC 9293, RFC 768, RFC 8200 8.1). */
uint64_t packet_pseudo_sum(const struct ip_view *view, uint8_t protocol, size_t length);

/** To a group, or to everybody. */
bool packet_is_multicast(const struct ip_view *view);

enum icmp_error { ICMP_ERROR_NET_UNREACHABLE, ICMP_ERROR_TIME_EXCEEDED };

/** Room for any ICMP error that `packet_icmp_error` makes. */
#define ICMP_ERROR_MAX 1280

/**
 * Builds the ICMP error about `packet` into `out` (ICMP_ERROR_MAX bytes): net unreachable as flannel's (the header and 8
 * bytes; not about ICMP, only about first fragments), its IPv6 counterpart (RFC 4443), or time exceeded.
 * @param from address of ours, of the packet's family
 * @returns its length, or 0 where none may be sent
 */
size_t packet_icmp_error(uint8_t *out, enum icmp_error error, const uint8_t *packet, const struct ip_view *view,
                         const uint8_t *from);

#endif
