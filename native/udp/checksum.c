/* The Internet checksum over long data: 32-bit words into 64-bit lanes, which compilers turn into vector code. */
#include "checksum.h"

/** Four 64-bit lanes; compilers take what registers the target has. */
typedef uint64_t vector __attribute__((vector_size(32)));
#define VECTORS 4
/** Bytes below which vectors do not pay. */
#define SHORT 128

/** Headers: less than the lanes above would cost to sum up. */
static uint64_t add_short(uint64_t sum, const uint8_t *data, size_t length) {
  for (; length >= 4; data += 4, length -= 4) sum += load32(data);
  if (length > 0) {
    uint8_t rest[4] = {0};
    memcpy(rest, data, length);
    sum += load32(rest);
  }
  return sum;
}

static inline __attribute__((always_inline)) uint64_t add_words(uint64_t sum, const uint8_t *data, size_t length) {
  const vector low = {0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff};
  vector even[VECTORS] = {{0}}, odd[VECTORS] = {{0}};
  while (length >= VECTORS * sizeof(vector)) {
    for (int i = 0; i < VECTORS; i++) {
      vector words;
      memcpy(&words, data + (size_t)i * sizeof words, sizeof words);
      /* Each word of 32 bits into a lane of 64: at most 64 KiB are added here, and no lane can overflow. */
      even[i] += words & low;
      odd[i] += words >> 32;
    }
    data += VECTORS * sizeof(vector);
    length -= VECTORS * sizeof(vector);
  }
  for (int i = 0; i < VECTORS; i++)
    for (int lane = 0; lane < 4; lane++) sum += even[i][lane] + odd[i][lane];
  return add_short(sum, data, length);
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
  if (length < SHORT) return add_short(sum, data, length);
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx2")) return add_avx2(sum, data, length);
#endif
  return add_plain(sum, data, length);
}
