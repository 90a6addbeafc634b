/* Finds runs of file pages; pure. */
#include "pagemap.h"

#include <stdbool.h>

static bool is_file_page(uint64_t entry) { return (entry & PAGEMAP_PRESENT) != 0 && (entry & PAGEMAP_FILE) != 0; }

struct page_run pagemap_next_run(const uint64_t *entries, size_t count, size_t from) {
  while (from < count && !is_file_page(entries[from])) from += 1;
  size_t end = from;
  while (end < count && is_file_page(entries[end])) end += 1;
  return (struct page_run){.first = from, .count = end - from};
}
