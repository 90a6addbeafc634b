/* Unmaps what is clean of the executable: segments from the program header, pages from /proc/self/pagemap. */
#define _GNU_SOURCE
#include "executable.h"

#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <sys/mman.h>
#include <unistd.h>

#include "pagemap.h"

/** Of the executable; linkers make two or three that are not written. */
#define MAX_SEGMENTS 16
/** Pages looked at in one read: 4 KiB of stack. */
#define ENTRIES 512

struct segment {
  uintptr_t start;
  uintptr_t end;
};

struct segments {
  size_t page_size;
  size_t count;
  struct segment list[MAX_SEGMENTS];
};

/** dl_iterate_phdr(3): the main program comes first; 1 ends the walk there. */
static int collect(struct dl_phdr_info *program, size_t size, void *data) {
  (void)size;
  struct segments *segments = data;
  uintptr_t mask = segments->page_size - 1;
  for (size_t i = 0; i < program->dlpi_phnum && segments->count < MAX_SEGMENTS; i += 1) {
    const ElfW(Phdr) *header = &program->dlpi_phdr[i];
    if (header->p_type != PT_LOAD || (header->p_flags & PF_W) != 0) continue;
    uintptr_t start = program->dlpi_addr + header->p_vaddr;
    // Whole pages: the first and the last one may be shared with a neighbor.
    struct segment segment = {.start = (start + mask) & ~mask, .end = (start + header->p_filesz) & ~mask};
    if (segment.start < segment.end) segments->list[segments->count++] = segment;
  }
  return 1;
}

/** @returns 0 or errno */
static int release_pages(int pagemap, uintptr_t start, size_t pages, size_t page_size, size_t *bytes) {
  uint64_t entries[ENTRIES];
  ssize_t length = pread(pagemap, entries, pages * sizeof *entries, (off_t)(start / page_size * sizeof *entries));
  if (length < 0) return errno;
  size_t count = (size_t)length / sizeof *entries;
  struct page_run run = pagemap_next_run(entries, count, 0);
  for (; run.count > 0; run = pagemap_next_run(entries, count, run.first + run.count)) {
    if (madvise((void *)(start + run.first * page_size), run.count * page_size, MADV_DONTNEED) != 0) return errno;
    *bytes += run.count * page_size;
  }
  return 0;
}

int executable_release(size_t *bytes) {
  *bytes = 0;
  struct segments segments = {.page_size = (size_t)sysconf(_SC_PAGESIZE)};
  dl_iterate_phdr(collect, &segments);
  int pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
  if (pagemap < 0) return errno;
  int failure = 0;
  for (size_t i = 0; i < segments.count && failure == 0; i += 1) {
    uintptr_t end = segments.list[i].end;
    for (uintptr_t at = segments.list[i].start; at < end && failure == 0; at += ENTRIES * segments.page_size) {
      size_t pages = (end - at) / segments.page_size;
      failure = release_pages(pagemap, at, pages < ENTRIES ? pages : ENTRIES, segments.page_size, bytes);
    }
  }
  close(pagemap);
  return failure;
}
