/* Sets up device, sockets and threads, and swaps the peer table under them. */
#define _GNU_SOURCE
#include "engine-internal.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <netinet/udp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/uio.h>
#include <unistd.h>

#ifndef TUN_F_USO4
#define TUN_F_USO4 0x20
#define TUN_F_USO6 0x40
#endif
#ifndef UDP_GRO
#define UDP_GRO 104
#endif
#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103
#endif

/** A burst of many peers' windows, bytes. */
#define SOCKET_BUFFER (4 * 1024 * 1024)

static bool failed(struct engine_error *error, const char *step) {
  *error = (struct engine_error){step, errno};
  return false;
}

/** Offloads that need each other, from all to none; the kernel refuses a set of which it does not know one. */
static void set_tun_offloads(struct engine *engine) {
  const unsigned tcp = TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6, udp = TUN_F_USO4 | TUN_F_USO6;
  struct engine_offloads *offloads = &engine->offloads;
  offloads->udp = ioctl(engine->tun, TUNSETOFFLOAD, tcp | udp) == 0;
  offloads->tcp = offloads->udp || ioctl(engine->tun, TUNSETOFFLOAD, tcp) == 0;
  if (!offloads->tcp) ioctl(engine->tun, TUNSETOFFLOAD, 0);
}

static bool attach(int tun, struct ifreq *request, short flags) {
  request->ifr_flags = flags;
  return ioctl(tun, TUNSETIFF, request) == 0;
}

static bool open_tun(struct engine *engine, struct engine_error *error) {
  /* TUNSETIFF would make a device of its own, which goes with us. */
  engine->tun_index = if_nametoindex(engine->options.tun);
  if (engine->tun_index == 0) return failed(error, "tun-missing");
  engine->tun = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
  if (engine->tun < 0) return failed(error, "tun-open");
  struct ifreq request = {0};
  memcpy(request.ifr_name, engine->options.tun, IFNAMSIZ);
  bool offload = engine->options.offload;
  engine->offloads.vnet_header = offload && attach(engine->tun, &request, IFF_TUN | IFF_NO_PI | IFF_VNET_HDR);
  if (!engine->offloads.vnet_header && !attach(engine->tun, &request, IFF_TUN | IFF_NO_PI))
    return failed(error, "tun-attach");
  if (engine->offloads.vnet_header) {
    int size = sizeof(struct virtio_net_hdr);
    if (ioctl(engine->tun, TUNSETVNETHDRSZ, &size) != 0) return failed(error, "tun-attach");
    set_tun_offloads(engine);
  } else {
    ioctl(engine->tun, TUNSETOFFLOAD, 0);
  }
  return true;
}

static void set_buffer(int socket, int force, int plain) {
  int size = SOCKET_BUFFER;
  if (setsockopt(socket, SOL_SOCKET, force, &size, sizeof size) != 0)
    setsockopt(socket, SOL_SOCKET, plain, &size, sizeof size);
}

static bool open_socket(struct engine *engine, int family, struct engine_error *error) {
  int fd = socket(family == 1 ? AF_INET6 : AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return failed(error, "socket");
  engine->sockets[family] = fd;
  set_buffer(fd, SO_RCVBUFFORCE, SO_RCVBUF);
  set_buffer(fd, SO_SNDBUFFORCE, SO_SNDBUF);
  /* A sender waits for room in the device's queue, but not for ever. */
  struct timeval patience = {.tv_usec = 100 * 1000};
  setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
  int on = 1, value = 0;
  socklen_t length = sizeof value;
  if (engine->options.offload) {
    engine->offloads.segment = getsockopt(fd, IPPROTO_UDP, UDP_SEGMENT, &value, &length) == 0;
    engine->offloads.coalesce = setsockopt(fd, IPPROTO_UDP, UDP_GRO, &on, sizeof on) == 0;
  }
  const uint8_t *local = engine->options.local[family];
  struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons(engine->options.port)};
  struct sockaddr_in6 in6 = {.sin6_family = AF_INET6, .sin6_port = htons(engine->options.port)};
  memcpy(&in.sin_addr, local, 4);
  memcpy(&in6.sin6_addr, local, 16);
  if (family == 1) setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on);
  int bound = family == 1 ? bind(fd, (struct sockaddr *)&in6, sizeof in6) : bind(fd, (struct sockaddr *)&in, sizeof in);
  return bound == 0 || failed(error, family == 1 ? "bind6" : "bind4");
}

static bool start_worker(struct worker *worker, struct engine *engine, void *(*run)(void *), struct engine_error *error) {
  worker->engine = engine;
  /* Node's signals are for Node's threads. */
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  errno = pthread_create(&worker->thread, NULL, run, worker);
  worker->started = errno == 0;
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  return worker->started || failed(error, "thread");
}

static bool set_up(struct engine *engine, struct engine_error *error) {
  const char *problem = NULL;
  atomic_init(&engine->table, peer_table_build(NULL, 0, engine->options.port, &problem));
  if (problem != NULL) {
    errno = ENOMEM;
    return failed(error, "memory");
  }
  engine->stop = eventfd(0, EFD_CLOEXEC);
  if (engine->stop < 0) return failed(error, "eventfd");
  if (!open_tun(engine, error)) return false;
  for (int family = 0; family < 2; family++)
    if (engine->options.has_local[family] && !open_socket(engine, family, error)) return false;
  return start_worker(&engine->workers[SENDING], engine, run_sending, error) &&
         start_worker(&engine->workers[RECEIVING], engine, run_receiving, error);
}

struct engine *engine_start(const struct engine_options *options, struct engine_error *error) {
  struct engine *engine = calloc(1, sizeof *engine);
  if (engine == NULL) {
    failed(error, "memory");
    return NULL;
  }
  engine->options = *options;
  engine->tun = engine->stop = engine->sockets[0] = engine->sockets[1] = -1;
  if (set_up(engine, error)) return engine;
  engine_stop(engine);
  return NULL;
}

void engine_stop(struct engine *engine) {
  uint64_t one = 1;
  if (engine->stop >= 0 && write(engine->stop, &one, sizeof one) < 0) abort();
  for (int i = 0; i < DIRECTIONS; i++)
    if (engine->workers[i].started) pthread_join(engine->workers[i].thread, NULL);
  /* A program that takes the device up after us may not know super-packets. */
  if (engine->tun >= 0) ioctl(engine->tun, TUNSETOFFLOAD, 0);
  const int files[] = {engine->tun, engine->stop, engine->sockets[0], engine->sockets[1]};
  for (size_t i = 0; i < sizeof files / sizeof *files; i++)
    if (files[i] >= 0) close(files[i]);
  while (engine->retired != NULL) {
    struct retired_table *retired = engine->retired;
    engine->retired = retired->next;
    peer_table_free(retired->table);
    free(retired);
  }
  peer_table_free(atomic_load(&engine->table));
  free(engine);
}

struct peer_table *table_acquire(struct worker *worker) {
  struct peer_table *table = atomic_load(&worker->engine->table);
  for (;;) {
    atomic_store(&worker->reading, table);
    /* Swapped in between: the swapper may not have seen what we noted. */
    struct peer_table *now = atomic_load(&worker->engine->table);
    if (now == table) return table;
    table = now;
  }
}

void table_release(struct worker *worker) { atomic_store(&worker->reading, NULL); }

static bool is_read(struct engine *engine, const struct peer_table *table) {
  for (int i = 0; i < DIRECTIONS; i++)
    if (atomic_load(&engine->workers[i].reading) == table) return true;
  return false;
}

static void free_retired(struct engine *engine) {
  for (struct retired_table **at = &engine->retired; *at != NULL;) {
    struct retired_table *retired = *at;
    if (is_read(engine, retired->table)) {
      at = &retired->next;
      continue;
    }
    *at = retired->next;
    peer_table_free(retired->table);
    free(retired);
  }
}

void engine_set_peers(struct engine *engine, struct peer_table *table) {
  struct retired_table *retired = malloc(sizeof *retired);
  struct peer_table *before = atomic_exchange(&engine->table, table);
  /* Without memory for the note the old table is lost, which is better than a wait here. */
  if (retired != NULL) {
    *retired = (struct retired_table){before, engine->retired};
    engine->retired = retired;
  }
  free_retired(engine);
}

void engine_read_counters(const struct engine *engine, struct counters *sum) {
  memset(sum, 0, sizeof *sum);
  for (int i = 0; i < DIRECTIONS; i++) {
#define ADD(name) sum->name += __atomic_load_n(&engine->workers[i].counters.name, __ATOMIC_RELAXED);
    COUNTERS(ADD)
#undef ADD
  }
}

struct engine_offloads engine_get_offloads(const struct engine *engine) {
  struct engine_offloads offloads = engine->offloads;
  if (atomic_load(&engine->segment_refused)) offloads.segment = false;
  return offloads;
}

int engine_failure(const struct engine *engine) { return atomic_load(&engine->failure); }

unsigned engine_tun_index(const struct engine *engine) {
  /* A device that went and came again under its name is another one. */
  return if_nametoindex(engine->options.tun) == engine->tun_index ? engine->tun_index : 0;
}

void engine_fail(struct engine *engine, int number) {
  int none = 0;
  atomic_compare_exchange_strong(&engine->failure, &none, number);
}

bool icmp_allowed(struct worker *worker) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
  if (now.tv_sec != worker->icmp_second) {
    worker->icmp_second = now.tv_sec;
    worker->icmp_left = ICMP_PER_SECOND;
  }
  if (worker->icmp_left == 0) return false;
  worker->icmp_left--;
  return true;
}

bool tun_write(struct engine *engine, const uint8_t *packet, size_t length) {
  struct virtio_net_hdr none = {0};
  struct iovec parts[2] = {{&none, sizeof none}, {(void *)packet, length}};
  bool with_hints = engine->offloads.vnet_header;
  return writev(engine->tun, with_hints ? parts : parts + 1, with_hints ? 2 : 1) >= 0;
}
