/* The Internet checksum over long data: 32-bit words into 64-bit lanes, which compilers turn into vector code. */
#include "checksum.h"

#define LANES 8

static inline __attribute__((always_inline)) uint64_t add_words(uint64_t sum, const uint8_t *data, size_t length) {
  uint64_t lanes[LANES] = {0};
  while (length >= LANES * 4) {
    uint32_t words[LANES];
    memcpy(words, data, sizeof words);
    for (int i = 0; i < LANES; i++) lanes[i] += words[i];
    data += LANES * 4;
    length -= LANES * 4;
  }
  /* At most 64 KiB are added here: no lane can overflow. */
  for (int i = 0; i < LANES; i++) sum += lanes[i];
  while (length >= 4) {
    sum += load32(data);
    data += 4;
    length -= 4;
  }
  if (length > 0) {
    uint8_t rest[4] = {0};
    memcpy(rest, data, length);
    sum += load32(rest);
  }
  return sum;
}

#if defined(__x86_64__)
__attribute__((target("avx2"), optimize("O3"))) static uint64_t add_avx2(uint64_t sum, const uint8_t *data, size_t length) {
  return add_words(sum, data, length);
}
#endif

__attribute__((optimize("O3"))) static uint64_t add_plain(uint64_t sum, const uint8_t *data, size_t length) {
  return add_words(sum, data, length);
}

uint64_t checksum_add(uint64_t sum, const uint8_t *data, size_t length) {
#if defined(__x86_64__)
  if (length >= 64 && __builtin_cpu_supports("avx2")) return add_avx2(sum, data, length);
#endif
  return add_plain(sum, data, length);
}
