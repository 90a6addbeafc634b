/* The pages of this process's own executable. */
#ifndef FLANNELD_MEMORY_EXECUTABLE_H
#define FLANNELD_MEMORY_EXECUTABLE_H

#include <stddef.h>

/**
 * Unmaps the pages of the executable's code and constants that are in memory. The file keeps them in the page cache, and
 * whichever is used again comes back by a minor fault (or, where the kernel has needed the memory, is read from the file
 * again, as it would be had it been mapped). It lowers the resident set, which counts every page that start-up has touched
 * once; it frees no page cache.
 *
 * Only segments that the program header says are never written (ELF: PT_LOAD without PF_W) of the main program, which stays
 * mapped as long as the process; within them only pages that the kernel says are the file's. Pages with a change of their own
 * (a debugger's breakpoint) and code that was moved to anonymous memory (node --use-largepages) stay.
 *
 * @returns 0, or the errno of what failed; `*bytes` is what was unmapped either way
 */
int executable_release(size_t *bytes);

#endif
