/* Datagrams to packets to super-packets. */
#include "receive.h"

void unpack_flush(struct unpacker *unpacker) {
  struct super_packet super;
  if (coalescer_take(&unpacker->coalescer, &super)) unpacker->write(unpacker->context, &super);
}

static void unpack_one(struct unpacker *unpacker, uint8_t *packet, size_t length) {
  struct ip_view view;
  switch (packet_parse(packet, length, &view)) {
    case PACKET_OK:
      break;
    case PACKET_MALFORMED:
      unpacker->fault(unpacker->context, UNPACK_MALFORMED, packet, NULL);
      return;
    case PACKET_TRUNCATED:
      unpacker->fault(unpacker->context, UNPACK_TRUNCATED, packet, NULL);
      return;
  }
  if (!packet_decrement_ttl(packet, &view)) {
    unpacker->fault(unpacker->context, UNPACK_TTL_EXPIRED, packet, &view);
    return;
  }
  if (unpacker->coalesce && coalescer_add(&unpacker->coalescer, packet, &view)) return;
  unpack_flush(unpacker);
  coalescer_add(&unpacker->coalescer, packet, &view);
}

void unpack(struct unpacker *unpacker, uint8_t *data, size_t length, size_t segment_length) {
  if (segment_length == 0 || segment_length > length) segment_length = length;
  if (length == 0) {
    unpacker->fault(unpacker->context, UNPACK_TRUNCATED, data, NULL);
    return;
  }
  for (size_t offset = 0; offset < length; offset += segment_length) {
    size_t left = length - offset;
    unpack_one(unpacker, data + offset, left < segment_length ? left : segment_length);
  }
}
