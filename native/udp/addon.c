/* The engine for Node: N-API's C interface, so that one build serves every version. Argument order: src/kernel/udp-addon.ts. */
#include <node_api.h>
#include <stdlib.h>
#include <string.h>

#include "engine.h"

/** Passed through every call; an exception is pending when one fails. */
#define TRY(call)                       \
  do {                                  \
    if ((call) != napi_ok) return NULL; \
  } while (0)

struct handle {
  /** NULL once stopped. */
  struct engine *engine;
  uint16_t port;
};

static napi_value throw_type(napi_env env, const char *message) {
  napi_throw_type_error(env, NULL, message);
  return NULL;
}

static bool get_bytes(napi_env env, napi_value value, const uint8_t **data, size_t *length) {
  napi_typedarray_type type;
  void *bytes;
  bool is_array = false;
  if (napi_is_typedarray(env, value, &is_array) != napi_ok || !is_array) return false;
  if (napi_get_typedarray_info(env, value, &type, length, &bytes, NULL, NULL) != napi_ok) return false;
  *data = bytes;
  return type == napi_uint8_array;
}

/** An address of 4 or 16 bytes, or of none. */
static bool get_address(napi_env env, napi_value value, size_t wanted, bool *has, uint8_t *address) {
  const uint8_t *data;
  size_t length;
  if (!get_bytes(env, value, &data, &length)) return false;
  *has = length > 0;
  if (*has && length != wanted) return false;
  if (*has) memcpy(address, data, length);
  return true;
}

static struct handle *get_handle(napi_env env, napi_value value) {
  void *data = NULL;
  napi_valuetype type;
  if (napi_typeof(env, value, &type) == napi_ok && type == napi_external) napi_get_value_external(env, value, &data);
  struct handle *handle = data;
  if (handle != NULL && handle->engine != NULL) return handle;
  napi_throw_error(env, "ERR_STOPPED", "the packet path does not run");
  return NULL;
}

/** The process ends, or a worker that forgot to stop. */
static void stop_at_exit(void *data) {
  struct handle *handle = data;
  if (handle->engine != NULL) engine_stop(handle->engine);
  handle->engine = NULL;
}

static void free_handle(napi_env env, void *data, void *hint) {
  (void)hint;
  napi_remove_env_cleanup_hook(env, stop_at_exit, data);
  stop_at_exit(data);
  free(data);
}

static bool read_options(napi_env env, napi_value *arguments, struct engine_options *options) {
  uint32_t port;
  size_t name_length;
  memset(options, 0, sizeof *options);
  if (napi_get_value_string_utf8(env, arguments[0], options->tun, sizeof options->tun, &name_length) != napi_ok) return false;
  if (napi_get_value_uint32(env, arguments[1], &port) != napi_ok || port == 0 || port > 65535) return false;
  options->port = (uint16_t)port;
  for (int family = 0; family < 2; family++) {
    size_t wanted = family == 1 ? 16 : 4;
    if (!get_address(env, arguments[2 + family], wanted, &options->has_local[family], options->local[family]) ||
        !get_address(env, arguments[4 + family], wanted, &options->has_inner[family], options->inner[family]))
      return false;
  }
  return napi_get_value_bool(env, arguments[6], &options->offload) == napi_ok &&
         napi_get_value_bool(env, arguments[7], &options->open) == napi_ok && name_length > 0;
}

static napi_value throw_start_error(napi_env env, const struct engine_error *error) {
  napi_value message, code, object, number;
  const char *words = strerror(error->number);
  TRY(napi_create_string_utf8(env, words, NAPI_AUTO_LENGTH, &message));
  TRY(napi_create_string_utf8(env, error->step, NAPI_AUTO_LENGTH, &code));
  TRY(napi_create_error(env, code, message, &object));
  TRY(napi_create_int32(env, error->number, &number));
  TRY(napi_set_named_property(env, object, "errno", number));
  napi_throw(env, object);
  return NULL;
}

static napi_value start(napi_env env, napi_callback_info info) {
  napi_value arguments[8], result;
  size_t count = 8;
  struct engine_options options;
  TRY(napi_get_cb_info(env, info, &count, arguments, NULL, NULL));
  if (count != 8 || !read_options(env, arguments, &options))
    return throw_type(env, "start(tun, port, local4, local6, inner4, inner6, offload, open)");
  struct handle *handle = calloc(1, sizeof *handle);
  if (handle == NULL) return throw_type(env, "out of memory");
  struct engine_error error;
  handle->port = options.port;
  handle->engine = engine_start(&options, &error);
  if (handle->engine == NULL) {
    free(handle);
    return throw_start_error(env, &error);
  }
  if (napi_create_external(env, handle, free_handle, NULL, &result) != napi_ok) {
    engine_stop(handle->engine);
    free(handle);
    return throw_type(env, "out of memory");
  }
  napi_add_env_cleanup_hook(env, stop_at_exit, handle);
  return result;
}

static napi_value stop(napi_env env, napi_callback_info info) {
  napi_value argument;
  size_t count = 1;
  TRY(napi_get_cb_info(env, info, &count, &argument, NULL, NULL));
  struct handle *handle = count == 1 ? get_handle(env, argument) : NULL;
  if (handle != NULL) stop_at_exit(handle);
  return NULL;
}

static napi_value set_peers(napi_env env, napi_callback_info info) {
  napi_value arguments[2], result;
  size_t count = 2, length;
  const uint8_t *records;
  TRY(napi_get_cb_info(env, info, &count, arguments, NULL, NULL));
  struct handle *handle = count == 2 ? get_handle(env, arguments[0]) : NULL;
  if (handle == NULL) return NULL;
  if (!get_bytes(env, arguments[1], &records, &length)) return throw_type(env, "setPeers(handle, Uint8Array)");
  const char *problem;
  struct peer_table *table = peer_table_build(records, length, handle->port, &problem);
  if (table == NULL) return throw_type(env, problem);
  engine_set_peers(handle->engine, table);
  TRY(napi_get_undefined(env, &result));
  return result;
}

static bool set_number(napi_env env, napi_value object, const char *name, double number) {
  napi_value value;
  return napi_create_double(env, number, &value) == napi_ok &&
         napi_set_named_property(env, object, name, value) == napi_ok;
}

static bool set_boolean(napi_env env, napi_value object, const char *name, bool flag) {
  napi_value value;
  return napi_get_boolean(env, flag, &value) == napi_ok && napi_set_named_property(env, object, name, value) == napi_ok;
}

static napi_value counters(napi_env env, napi_callback_info info) {
  napi_value argument, result;
  size_t count = 1;
  TRY(napi_get_cb_info(env, info, &count, &argument, NULL, NULL));
  struct handle *handle = count == 1 ? get_handle(env, argument) : NULL;
  if (handle == NULL) return NULL;
  struct counters sum;
  engine_read_counters(handle->engine, &sum);
  TRY(napi_create_object(env, &result));
  bool ok = true;
#define SET(name) ok = ok && set_number(env, result, #name, (double)sum.name);
  COUNTERS(SET)
#undef SET
  return ok ? result : NULL;
}

static napi_value state(napi_env env, napi_callback_info info) {
  napi_value argument, result;
  size_t count = 1;
  TRY(napi_get_cb_info(env, info, &count, &argument, NULL, NULL));
  struct handle *handle = count == 1 ? get_handle(env, argument) : NULL;
  if (handle == NULL) return NULL;
  struct engine_offloads offloads = engine_get_offloads(handle->engine);
  TRY(napi_create_object(env, &result));
  bool ok = set_number(env, result, "tunIndex", engine_tun_index(handle->engine)) &&
            set_number(env, result, "errno", engine_failure(handle->engine)) &&
            set_boolean(env, result, "tcpSegmentation", offloads.tcp) &&
            set_boolean(env, result, "udpSegmentation", offloads.udp) &&
            set_boolean(env, result, "udpSegment", offloads.segment) &&
            set_boolean(env, result, "udpGro", offloads.coalesce);
  return ok ? result : NULL;
}

NAPI_MODULE_INIT() {
  const napi_property_descriptor functions[] = {
      {"start", NULL, start, NULL, NULL, NULL, napi_enumerable, NULL},
      {"stop", NULL, stop, NULL, NULL, NULL, napi_enumerable, NULL},
      {"setPeers", NULL, set_peers, NULL, NULL, NULL, napi_enumerable, NULL},
      {"counters", NULL, counters, NULL, NULL, NULL, napi_enumerable, NULL},
      {"state", NULL, state, NULL, NULL, NULL, napi_enumerable, NULL},
  };
  if (napi_define_properties(env, exports, sizeof functions / sizeof *functions, functions) != napi_ok) return NULL;
  return exports;
}
