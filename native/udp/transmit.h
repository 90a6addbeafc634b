/* Collects packets for peers and sends them with few system calls: equal packets to one peer become one GSO datagram. */
#ifndef FLANNELD_UDP_TRANSMIT_H
#define FLANNELD_UDP_TRANSMIT_H

#include "engine-internal.h"
#include "segment.h"

struct transmitter;

struct transmitter *transmitter_make(struct worker *worker);
void transmitter_free(struct transmitter *transmitter);

/** Room for the headers of the next segment; lives until the flush. May flush to get some. */
uint8_t *transmitter_header(struct transmitter *transmitter);

/** Adds a packet for `peer`; what it points to must live until the flush. */
void transmitter_add(struct transmitter *transmitter, const struct peer *peer, const struct segment *segment);

void transmitter_flush(struct transmitter *transmitter);

#endif
