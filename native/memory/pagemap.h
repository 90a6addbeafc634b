/* Entries of /proc/PID/pagemap (Documentation/admin-guide/mm/pagemap.rst): which pages of a mapping hold what a file holds. */
#ifndef FLANNELD_MEMORY_PAGEMAP_H
#define FLANNELD_MEMORY_PAGEMAP_H

#include <stddef.h>
#include <stdint.h>

/** In memory. */
#define PAGEMAP_PRESENT (UINT64_C(1) << 63)
/** A page of a file (or of shared memory), not a private copy; clear for a page that was written to, a breakpoint's for one. */
#define PAGEMAP_FILE (UINT64_C(1) << 61)

struct page_run {
  /** Index of the first page. */
  size_t first;
  /** 0: there is no further run. */
  size_t count;
};

/** The next pages in a row, from `from` on, that are in memory and the file's own. */
struct page_run pagemap_next_run(const uint64_t *entries, size_t count, size_t from);

#endif
