/* The peer table: which node has an address (longest prefix), and whose outer address may send to us. Immutable once built. */
#ifndef FLANNELD_UDP_PEERS_H
#define FLANNELD_UDP_PEERS_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/**
 * One record of the text that TypeScript hands over (src/kernel/udp-peer-codec.ts): inner family (4 or 6), prefix length in
 * bits, outer family, 0; prefix in 16 bytes, IPv4 in the first 4; outer address alike.
 */
#define PEER_RECORD_BYTES 36

struct peer {
  union {
    struct sockaddr any;
    struct sockaddr_in in;
    struct sockaddr_in6 in6;
  } address;
  socklen_t address_length;
  /** 4 or 6. */
  uint8_t outer_family;
};

struct peer_table;

/**
 * Builds a table. Records of one prefix: the first wins.
 * @param port UDP port of all peers, host byte order
 * @returns NULL, with `*problem` a constant text, when a record is not as described or memory is out
 */
struct peer_table *peer_table_build(const uint8_t *records, size_t length, uint16_t port, const char **problem);

void peer_table_free(struct peer_table *table);

/** Longest prefix match. @param version 4 or 6 @param address 4 or 16 bytes */
const struct peer *peer_table_lookup(const struct peer_table *table, uint8_t version, const uint8_t *address);

/** True if a peer has this outer address. @param version 4 or 6 */
bool peer_table_has_source(const struct peer_table *table, uint8_t version, const uint8_t *address);

size_t peer_table_count(const struct peer_table *table);

#endif
