/*
 * Fuzzes what reads strangers' bytes: datagrams from the network, and what a TUN device gives. Beside memory errors it checks
 * promises: packets handed on are whole, and what was joined comes apart again as it was.
 * Build: see scripts/fuzz.ts. With libFuzzer this is its target; with -DSTANDALONE it mutates inputs itself.
 */
#include <assert.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../udp/checksum.h"
#include "../udp/peers.h"
#include "../udp/receive.h"
#include "../udp/segment.h"

#define INPUT_MAX 65535

static const uint8_t *current;
static size_t current_length;

/** What broke it, to be looked at, and to become a file of the corpus. libFuzzer saves its own. */
static void save_input(void) {
  FILE *file = fopen("crash-input", "wb");
  if (file == NULL) return;
  fwrite(current, 1, current_length, file);
  fclose(file);
  fputs("the input is in ./crash-input\n", stderr);
}

#define CHECK(promise)                                                                  \
  do {                                                                                  \
    if (!(promise)) {                                                                   \
      fprintf(stderr, "%s:%d: broken promise: %s\n", __FILE__, __LINE__, #promise);     \
      save_input();                                                                     \
      abort();                                                                          \
    }                                                                                   \
  } while (0)

/** What went in and came out, in order: packets behind each other. */
struct record {
  uint8_t *bytes;
  size_t length;
  size_t packets;
};

struct run {
  struct record out;
  size_t faults;
};

static void append(struct record *record, const void *bytes, size_t length) {
  CHECK(record->length + length <= 4 * INPUT_MAX);
  if (length == 0) return;
  memcpy(record->bytes + record->length, bytes, length);
  record->length += length;
}

/** Cuts a super-packet as the sending side would, and notes the packets. */
static void cut(struct run *run, const struct virtio_net_hdr *hints, uint8_t *packet, size_t length, size_t wanted) {
  struct ip_view view;
  CHECK(packet_parse(packet, length, &view) == PACKET_OK);
  struct segmenter segmenter;
  CHECK(segmenter_start(&segmenter, hints, packet, &view));
  uint8_t header[SEGMENT_HEADER_MAX];
  struct segment segment;
  size_t count = 0;
  while (segmenter_next(&segmenter, header, &segment)) {
    append(&run->out, segment.header, segment.header_length);
    append(&run->out, segment.payload, segment.payload_length);
    count++;
  }
  CHECK(count == wanted);
  run->out.packets += count;
}

static void on_write(void *context, const struct super_packet *super) {
  struct run *run = context;
  uint8_t *whole = malloc(super->length);
  size_t length = 0;
  CHECK(whole != NULL && super->part_count <= COALESCE_PACKETS_MAX + 1);
  for (size_t i = 0; i < super->part_count; i++) {
    CHECK(length + super->parts[i].iov_len <= super->length);
    memcpy(whole + length, super->parts[i].iov_base, super->parts[i].iov_len);
    length += super->parts[i].iov_len;
  }
  CHECK(length == super->length && length <= PACKET_MAX);
  cut(run, &super->hints, whole, length, super->packet_count);
  free(whole);
}

static void on_fault(void *context, enum unpack_fault fault, const uint8_t *packet, const struct ip_view *view) {
  struct run *run = context;
  run->faults++;
  if (fault != UNPACK_TTL_EXPIRED) return;
  static const uint8_t from[16] = {10, 244, 1, 0};
  uint8_t message[ICMP_ERROR_MAX];
  size_t length = packet_icmp_error(message, ICMP_ERROR_TIME_EXCEEDED, packet, view, from);
  struct ip_view told;
  if (length > 0) CHECK(packet_parse(message, length, &told) == PACKET_OK);
}

/** Bytes that joining and cutting may change: IDs without meaning, and what follows from them. */
static void blank_ids(struct record *record) {
  for (size_t at = 0; at < record->length;) {
    struct ip_view view;
    uint8_t *packet = record->bytes + at;
    size_t length = packet[0] >> 4 == 4 ? load_be16(packet + 2) : IPV6_HEADER + (size_t)load_be16(packet + 4);
    CHECK(packet_parse(packet, length, &view) == PACKET_OK);
    if (view.version == 4) store16(packet + 10, 0);
    if (view.version == 4 && (packet[6] & 0x40) != 0) store16(packet + 4, 0);
    /* PSH marks the end of what was written: it may move to the end of the super-packet, and 0 and ~0 are one sum. */
    if (!view.fragment && view.protocol == 6 && view.total_length >= view.header_length + TCP_HEADER) {
      packet[view.header_length + 13] &= (uint8_t)~8;
      store16(packet + view.header_length + 16, 0);
    }
    if (!view.fragment && view.protocol == 17 && view.total_length >= view.header_length + UDP_HEADER)
      store16(packet + view.header_length + 6, 0);
    at += length;
  }
}

static void fuzz_unpack(const uint8_t *data, size_t length, bool coalesce, size_t segment_length, struct record *out) {
  uint8_t *copy = malloc(length + 1);
  CHECK(copy != NULL);
  memcpy(copy, data, length);
  struct run run = {.out = {.bytes = malloc(4 * INPUT_MAX)}};
  CHECK(run.out.bytes != NULL);
  struct unpacker unpacker = {
      .context = &run, .write = on_write, .fault = on_fault, .coalesce = coalesce, .coalescer = {.udp = true}};
  unpack(&unpacker, copy, length, segment_length);
  unpack_flush(&unpacker);
  size_t segments = segment_length == 0 || length == 0 ? 1 : (length + segment_length - 1) / segment_length;
  CHECK(run.out.packets + run.faults == segments);
  free(copy);
  *out = run.out;
}

/** Joined and cut again, the packets are those that come out when none are joined. */
static void fuzz_receive(const uint8_t *data, size_t length) {
  if (length < 2) return;
  size_t segment_length = load_be16(data) % 1500;
  struct record alone, joined;
  fuzz_unpack(data + 2, length - 2, false, segment_length, &alone);
  fuzz_unpack(data + 2, length - 2, true, segment_length, &joined);
  CHECK(alone.packets == joined.packets && alone.length == joined.length);
  blank_ids(&alone);
  blank_ids(&joined);
  CHECK(memcmp(alone.bytes, joined.bytes, alone.length) == 0);
  free(alone.bytes);
  free(joined.bytes);
}

/** A frame of a TUN device, hints and all. The kernel writes them, yet none may lead us astray. */
static void fuzz_send(const uint8_t *data, size_t length) {
  struct virtio_net_hdr hints;
  if (length < sizeof hints) return;
  memcpy(&hints, data, sizeof hints);
  size_t packet_length = length - sizeof hints;
  uint8_t *packet = malloc(packet_length + 1);
  CHECK(packet != NULL);
  memcpy(packet, data + sizeof hints, packet_length);
  struct ip_view view;
  struct segmenter segmenter;
  if (packet_parse(packet, packet_length, &view) == PACKET_OK && packet_decrement_ttl(packet, &view) &&
      segmenter_start(&segmenter, &hints, packet, &view)) {
    uint8_t header[SEGMENT_HEADER_MAX];
    struct segment segment;
    size_t sum = 0;
    while (segmenter_next(&segmenter, header, &segment)) {
      sum += checksum_add(0, segment.header, segment.header_length) + segment.payload_length;
      CHECK(segment.payload_length == 0 || segment.payload + segment.payload_length <= packet + packet_length);
    }
    if (sum == 1) fputs("", stderr);
  }
  free(packet);
}

static bool has_prefix(const uint8_t *address, const uint8_t *prefix, unsigned bits) {
  for (unsigned bit = 0; bit < bits; bit++)
    if (((address[bit / 8] ^ prefix[bit / 8]) >> (7 - bit % 8) & 1) != 0) return false;
  return true;
}

/** The longest prefix, found one record after the other; of equal ones the first. */
static const uint8_t *look_up_slowly(const uint8_t *records, size_t length, uint8_t family, const uint8_t *address) {
  const uint8_t *best = NULL;
  for (const uint8_t *record = records; record < records + length; record += PEER_RECORD_BYTES) {
    if (record[0] != family || !has_prefix(address, record + 4, record[1])) continue;
    if (best == NULL || record[1] > best[1]) best = record;
  }
  return best;
}

static void fuzz_peers(const uint8_t *data, size_t length) {
  const char *problem;
  size_t records = length / PEER_RECORD_BYTES * PEER_RECORD_BYTES;
  struct peer_table *table = peer_table_build(data, records, 8285, &problem);
  if (table == NULL) {
    CHECK(problem != NULL);
    return;
  }
  for (size_t at = 0; at < records; at += PEER_RECORD_BYTES) {
    const struct peer *peer = peer_table_lookup(table, data[at], data + at + 4);
    const uint8_t *best = look_up_slowly(data, records, data[at], data + at + 4);
    CHECK(peer != NULL && best != NULL && peer->outer_family == best[2]);
    if (best[2] == 6) CHECK(memcmp(&peer->address.in6.sin6_addr, best + 20, 16) == 0);
    if (best[2] == 4) CHECK(memcmp(&peer->address.in.sin_addr, best + 20, 4) == 0);
    CHECK(peer_table_has_source(table, data[at + 2], data + at + 20));
  }
  peer_table_free(table);
}

/** Called by AddressSanitizer before it ends the process. */
void __asan_on_error(void);
void __asan_on_error(void) { save_input(); }

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t length) {
  current = data;
  current_length = length;
  if (length < 1 || length > INPUT_MAX) return 0;
  switch (data[0] % 3) {
    case 0:
      fuzz_receive(data + 1, length - 1);
      break;
    case 1:
      fuzz_send(data + 1, length - 1);
      break;
    case 2:
      fuzz_peers(data + 1, length - 1);
      break;
  }
  return 0;
}

#ifdef STANDALONE
#include <dirent.h>
#include <time.h>

/** Without libFuzzer: inputs of the corpus, changed at random, without regard to what code they reach. */
struct input {
  uint8_t *bytes;
  size_t length;
};

static struct input *inputs;
static size_t input_count;

static void load(const char *folder) {
  DIR *directory = opendir(folder);
  if (directory == NULL) perror(folder), exit(2);
  for (struct dirent *entry; (entry = readdir(directory)) != NULL;) {
    if (entry->d_name[0] == '.') continue;
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
    FILE *file = fopen(path, "rb");
    if (file == NULL) perror(path), exit(2);
    struct input input = {malloc(INPUT_MAX), 0};
    input.length = fread(input.bytes, 1, INPUT_MAX, file);
    fclose(file);
    inputs = realloc(inputs, (input_count + 1) * sizeof *inputs);
    inputs[input_count++] = input;
  }
  closedir(directory);
}

static uint64_t state;
static uint64_t next_random(void) {
  state ^= state << 13, state ^= state >> 7, state ^= state << 17;
  return state;
}

static size_t mutate(uint8_t *bytes, size_t length) {
  static const uint8_t interesting[] = {0, 1, 0x45, 0x4f, 0x60, 0x7f, 0x80, 0xff, 6, 17, 58, 44};
  for (uint64_t changes = 1 + next_random() % 8; changes > 0 && length > 0; changes--) {
    size_t at = next_random() % 3 == 0 ? next_random() % length : next_random() % (length < 80 ? length : 80);
    switch (next_random() % 7) {
      case 0:
        bytes[at] ^= (uint8_t)(1 << next_random() % 8);
        break;
      case 1:
        bytes[at] = (uint8_t)next_random();
        break;
      case 2:
        bytes[at] = interesting[next_random() % sizeof interesting];
        break;
      case 3:
        bytes[at] = (uint8_t)(bytes[at] + next_random() % 9 - 4);
        break;
      case 4:
        length = 1 + next_random() % length;
        break;
      case 5: {
        size_t more = next_random() % 64;
        if (length + more > INPUT_MAX) break;
        memmove(bytes + at + more, bytes + at, length - at);
        length += more;
        break;
      }
      case 6: {
        const struct input *other = &inputs[next_random() % input_count];
        size_t count = next_random() % (other->length + 1);
        if (at + count > INPUT_MAX) break;
        memcpy(bytes + at, other->bytes, count);
        if (at + count > length) length = at + count;
        break;
      }
    }
  }
  return length;
}

/** Arguments: corpus, seconds, seed. */
int main(int argc, char **argv) {
  if (argc != 4) return fprintf(stderr, "usage: %s CORPUS SECONDS SEED\n", argv[0]), 2;
  load(argv[1]);
  if (input_count == 0) return fprintf(stderr, "%s is empty\n", argv[1]), 2;
  state = strtoull(argv[3], NULL, 10) * 2654435761u + 1;
  for (size_t i = 0; i < input_count; i++) LLVMFuzzerTestOneInput(inputs[i].bytes, inputs[i].length);
  time_t end = time(NULL) + atoi(argv[2]);
  uint8_t *bytes = malloc(2 * INPUT_MAX);
  unsigned long runs = 0;
  while (time(NULL) < end) {
    for (int i = 0; i < 256; i++, runs++) {
      const struct input *input = &inputs[next_random() % input_count];
      memcpy(bytes, input->bytes, input->length);
      size_t length = mutate(bytes, input->length);
      LLVMFuzzerTestOneInput(bytes, length);
    }
  }
  printf("%lu inputs from %zu of the corpus, none broke a promise\n", runs, input_count);
  return 0;
}
#endif
