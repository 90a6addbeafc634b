/* What the packet path counts. One list, from which the fields and their names for TypeScript are made. */
#ifndef FLANNELD_UDP_COUNTERS_H
#define FLANNELD_UDP_COUNTERS_H

#include <stdint.h>

/* Sent: from the TUN device to peers. Received: from peers to the TUN device. Packets are those of the wire. */
#define COUNTERS(X)                                                                   \
  X(sentPackets)                                                                      \
  X(sentBytes)                                                                        \
  X(sentMessages)            /* what the kernel was handed: GSO batches count once */ \
  X(sendErrors)              /* packets that the kernel refused to send */            \
  X(sendFragmented)          /* packets longer than the path allows, sent in fragments */ \
  X(noRoute)                 /* packets to addresses of no peer */                    \
  X(sentTtlExpired)                                                                   \
  X(sentMalformed)                                                                    \
  X(icmpSent)                                                                         \
  X(receivedPackets)                                                                  \
  X(receivedBytes)                                                                    \
  X(receivedMessages)        /* writes to the TUN device */                           \
  X(foreignSource)           /* datagrams from addresses that are no peer's */        \
  X(malformed)                                                                        \
  X(truncated)                                                                        \
  X(ttlExpired)              /* among them those that go round in circles */          \
  X(writeErrors)             /* packets that the TUN device refused */

struct counters {
#define FIELD(name) uint64_t name;
  COUNTERS(FIELD)
#undef FIELD
};

/** Adds to a counter that one thread writes and others read. */
#define COUNT(counter, amount) \
  __atomic_store_n(&(counter), __atomic_load_n(&(counter), __ATOMIC_RELAXED) + (uint64_t)(amount), __ATOMIC_RELAXED)

#endif
