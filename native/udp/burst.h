/* Bursts of small packets: when to look for more of them before sleeping. */
#ifndef FLANNELD_UDP_BURST_H
#define FLANNELD_UDP_BURST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/** Bytes from which a packet counts as long: it has come together with others already, and wants to go on. */
#define BURST_LONG 4096

/** One wake-up of a thread; all zero at its beginning. */
struct burst {
  unsigned looks;
  /** Nanoseconds of CLOCK_MONOTONIC. */
  int64_t ends;
};

/**
 * To be asked after each look. While packets come in bursts it lets others have the core and says to look again: each packet
 * would otherwise wake us, and take the core from the very programs that send and receive. What comes meanwhile becomes
 * one datagram or one super-packet. Costs a lone packet nothing, and ends soon, so that a new peer table and the end get
 * their turn.
 * @param packets found by this look; 0 if long ones were among them
 */
bool burst_goes_on(struct burst *burst, size_t packets);

#endif
