/* The Internet checksum (RFC 1071), in the byte order of memory: results are stored as they are, without htons. */
#ifndef FLANNELD_UDP_CHECKSUM_H
#define FLANNELD_UDP_CHECKSUM_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

/** Adds the 16-bit words of `data` to `sum`; a last odd byte counts as if a zero followed. */
uint64_t checksum_add(uint64_t sum, const uint8_t *data, size_t length);

static inline uint16_t checksum_fold(uint64_t sum) {
  sum = (sum & 0xffffffff) + (sum >> 32);
  sum = (sum & 0xffffffff) + (sum >> 32);
  sum = (sum & 0xffff) + (sum >> 16);
  sum = (sum & 0xffff) + (sum >> 16);
  sum = (sum & 0xffff) + (sum >> 16);
  return (uint16_t)sum;
}

/** The value for a checksum field. */
static inline uint16_t checksum_finish(uint64_t sum) { return (uint16_t)~checksum_fold(sum); }

static inline uint16_t load16(const uint8_t *at) {
  uint16_t value;
  memcpy(&value, at, sizeof value);
  return value;
}

static inline void store16(uint8_t *at, uint16_t value) { memcpy(at, &value, sizeof value); }

static inline uint32_t load32(const uint8_t *at) {
  uint32_t value;
  memcpy(&value, at, sizeof value);
  return value;
}

/** Big-endian, as on the wire. */
static inline uint16_t load_be16(const uint8_t *at) { return (uint16_t)(at[0] << 8 | at[1]); }

static inline void store_be16(uint8_t *at, uint16_t value) {
  at[0] = (uint8_t)(value >> 8);
  at[1] = (uint8_t)value;
}

static inline uint32_t load_be32(const uint8_t *at) {
  return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

static inline void store_be32(uint8_t *at, uint32_t value) {
  store_be16(at, (uint16_t)(value >> 16));
  store_be16(at + 2, (uint16_t)value);
}

#endif
