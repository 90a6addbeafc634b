/* When to look for more packets of a burst. */
#include "burst.h"

#include <sched.h>
#include <time.h>

/** Fewer at once are no burst. */
#define PACKETS_MIN 2
/** Without a packet for so long, it is over. What a wake-up costs. */
#define PAUSE_NS 20000
#define LOOKS_MAX 32

static int64_t now_ns(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * INT64_C(1000000000) + now.tv_nsec;
}

bool burst_goes_on(struct burst *burst, size_t packets) {
  if (burst->looks == 0 && packets < PACKETS_MIN) return false;
  if (++burst->looks == LOOKS_MAX) return false;
  int64_t now = now_ns();
  if (packets > 0) burst->ends = now + PAUSE_NS;
  if (now >= burst->ends) return false;
  sched_yield();
  return true;
}
