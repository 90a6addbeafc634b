/* The peer table: per family and prefix length one hash of prefixes, and one hash of outer addresses. */
#include "peers.h"

#include <stdlib.h>
#include <string.h>

#define FAMILIES 2
#define LENGTHS (128 + 1)
#define EMPTY UINT32_MAX

struct entry {
  uint8_t key[16];
  struct peer peer;
};

/** Open addressing; slots hold indexes of entries. */
struct hash {
  uint32_t *slots;
  uint32_t mask;
};

struct prefix_hash {
  uint8_t bits;
  struct hash hash;
};

struct peer_table {
  struct entry *entries;
  size_t count;
  /** Per family, longest prefix first. */
  struct prefix_hash *prefixes[FAMILIES];
  size_t prefix_lengths[FAMILIES];
  struct hash sources[FAMILIES];
};

static int family_index(uint8_t version) { return version == 6; }
static size_t address_bytes(int family) { return family == 1 ? 16 : 4; }

static uint32_t hash_key(const uint8_t key[16]) {
  uint64_t halves[2];
  memcpy(halves, key, 16);
  uint64_t h = (halves[0] ^ (halves[1] * 0x9e3779b97f4a7c15ull)) * 0xff51afd7ed558ccdull;
  return (uint32_t)(h >> 32 ^ h);
}

static bool hash_make(struct hash *hash, size_t entries) {
  uint32_t size = 8;
  while (size < entries * 2) size *= 2;
  hash->slots = malloc(size * sizeof *hash->slots);
  if (hash->slots == NULL) return false;
  memset(hash->slots, 0xff, size * sizeof *hash->slots);
  hash->mask = size - 1;
  return true;
}

/** Zeroes the bits of `address` behind the prefix. */
static void mask_key(uint8_t key[16], const uint8_t *address, size_t bytes, unsigned bits) {
  memset(key, 0, 16);
  memcpy(key, address, bytes);
  for (size_t i = bits / 8; i < bytes; i++) {
    unsigned kept = i == bits / 8 ? bits % 8 : 0;
    key[i] &= (uint8_t)(0xff00 >> kept);
  }
}

static const struct entry *hash_find(const struct hash *hash, const struct entry *entries, const uint8_t key[16]) {
  if (hash->slots == NULL) return NULL;
  for (uint32_t slot = hash_key(key) & hash->mask;; slot = (slot + 1) & hash->mask) {
    uint32_t index = hash->slots[slot];
    if (index == EMPTY) return NULL;
    if (memcmp(entries[index].key, key, 16) == 0) return &entries[index];
  }
}

static void hash_add(struct hash *hash, const struct entry *entries, uint32_t index) {
  uint32_t slot = hash_key(entries[index].key) & hash->mask;
  while (hash->slots[slot] != EMPTY) {
    if (memcmp(entries[hash->slots[slot]].key, entries[index].key, 16) == 0) return;
    slot = (slot + 1) & hash->mask;
  }
  hash->slots[slot] = index;
}

static void set_peer(struct peer *peer, uint8_t outer_family, const uint8_t *address, uint16_t port) {
  memset(peer, 0, sizeof *peer);
  peer->outer_family = outer_family;
  if (outer_family == 6) {
    peer->address.in6.sin6_family = AF_INET6;
    peer->address.in6.sin6_port = htons(port);
    memcpy(&peer->address.in6.sin6_addr, address, 16);
    peer->address_length = sizeof peer->address.in6;
  } else {
    peer->address.in.sin_family = AF_INET;
    peer->address.in.sin_port = htons(port);
    memcpy(&peer->address.in.sin_addr, address, 4);
    peer->address_length = sizeof peer->address.in;
  }
}

static const char *record_problem(const uint8_t *record) {
  if (record[0] != 4 && record[0] != 6) return "a record's inner family is neither 4 nor 6";
  if (record[2] != 4 && record[2] != 6) return "a record's outer family is neither 4 nor 6";
  if (record[1] > (record[0] == 6 ? 128 : 32)) return "a record's prefix is longer than an address";
  return NULL;
}

/** The entries lie in two halves: by prefix, then by outer address. */
static bool fill(struct peer_table *table, const uint8_t *records, size_t count, uint16_t port) {
  size_t per_length[FAMILIES][LENGTHS] = {{0}};
  size_t per_outer[FAMILIES] = {0};
  for (size_t i = 0; i < count; i++) {
    const uint8_t *record = records + i * PEER_RECORD_BYTES;
    per_length[family_index(record[0])][record[1]]++;
    per_outer[family_index(record[2])]++;
  }
  struct hash *by_length[FAMILIES][LENGTHS] = {{NULL}};
  for (int family = 0; family < FAMILIES; family++) {
    size_t lengths = 0;
    for (int bits = 0; bits < LENGTHS; bits++) lengths += per_length[family][bits] > 0;
    table->prefixes[family] = calloc(lengths + 1, sizeof *table->prefixes[family]);
    if (table->prefixes[family] == NULL || !hash_make(&table->sources[family], per_outer[family])) return false;
    for (int bits = LENGTHS - 1; bits >= 0; bits--) {
      if (per_length[family][bits] == 0) continue;
      struct prefix_hash *prefixes = &table->prefixes[family][table->prefix_lengths[family]++];
      prefixes->bits = (uint8_t)bits;
      by_length[family][bits] = &prefixes->hash;
      if (!hash_make(&prefixes->hash, per_length[family][bits])) return false;
    }
  }
  for (size_t i = 0; i < count; i++) {
    const uint8_t *record = records + i * PEER_RECORD_BYTES;
    int inner = family_index(record[0]), outer = family_index(record[2]);
    struct entry *by_prefix = &table->entries[i], *by_source = &table->entries[count + i];
    mask_key(by_prefix->key, record + 4, address_bytes(inner), record[1]);
    mask_key(by_source->key, record + 20, address_bytes(outer), (unsigned)address_bytes(outer) * 8);
    set_peer(&by_prefix->peer, record[2], record + 20, port);
    hash_add(by_length[inner][record[1]], table->entries, (uint32_t)i);
    hash_add(&table->sources[outer], table->entries, (uint32_t)(count + i));
  }
  return true;
}

struct peer_table *peer_table_build(const uint8_t *records, size_t length, uint16_t port, const char **problem) {
  *problem = NULL;
  if (length % PEER_RECORD_BYTES != 0) *problem = "the length is not that of whole records";
  size_t count = length / PEER_RECORD_BYTES;
  if (count > UINT32_MAX / 4) *problem = "too many records";
  for (size_t i = 0; i < count && *problem == NULL; i++) *problem = record_problem(records + i * PEER_RECORD_BYTES);
  if (*problem != NULL) return NULL;
  struct peer_table *table = calloc(1, sizeof *table);
  if (table != NULL) {
    table->count = count;
    table->entries = calloc(count * 2 + 1, sizeof *table->entries);
    if (table->entries != NULL && fill(table, records, count, port)) return table;
  }
  peer_table_free(table);
  *problem = "out of memory";
  return NULL;
}

void peer_table_free(struct peer_table *table) {
  if (table == NULL) return;
  for (int family = 0; family < FAMILIES; family++) {
    for (size_t i = 0; i < table->prefix_lengths[family]; i++) free(table->prefixes[family][i].hash.slots);
    free(table->prefixes[family]);
    free(table->sources[family].slots);
  }
  free(table->entries);
  free(table);
}

const struct peer *peer_table_lookup(const struct peer_table *table, uint8_t version, const uint8_t *address) {
  int family = family_index(version);
  for (size_t i = 0; i < table->prefix_lengths[family]; i++) {
    const struct prefix_hash *prefixes = &table->prefixes[family][i];
    uint8_t key[16];
    mask_key(key, address, address_bytes(family), prefixes->bits);
    const struct entry *entry = hash_find(&prefixes->hash, table->entries, key);
    if (entry != NULL) return &entry->peer;
  }
  return NULL;
}

bool peer_table_has_source(const struct peer_table *table, uint8_t version, const uint8_t *address) {
  int family = family_index(version);
  uint8_t key[16];
  mask_key(key, address, address_bytes(family), (unsigned)address_bytes(family) * 8);
  return hash_find(&table->sources[family], table->entries, key) != NULL;
}

size_t peer_table_count(const struct peer_table *table) { return table->count; }
