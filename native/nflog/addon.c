/* A group of NFLOG for Node: N-API's C interface, so that one build serves every version. See src/kernel/nflog/addon.ts. */
#include <node_api.h>
#include <string.h>

#include "reader.h"

/* open(group, copyBytes): the file descriptor of a pipe with pcap's file format. Throws {code: step, errno}. */
static napi_value open_group(napi_env env, napi_callback_info info) {
  size_t count = 2;
  napi_value arguments[2], result;
  uint32_t group, copy_bytes;
  if (napi_get_cb_info(env, info, &count, arguments, NULL, NULL) != napi_ok || count < 2 ||
      napi_get_value_uint32(env, arguments[0], &group) != napi_ok || group > UINT16_MAX ||
      napi_get_value_uint32(env, arguments[1], &copy_bytes) != napi_ok) {
    napi_throw_type_error(env, NULL, "open(group, copyBytes)");
    return NULL;
  }
  const char *step;
  int fd = nflog_open((uint16_t)group, copy_bytes, &step);
  if (fd < 0) {
    napi_value code, message, error, number;
    if (napi_create_string_utf8(env, step, NAPI_AUTO_LENGTH, &code) == napi_ok &&
        napi_create_string_utf8(env, strerror(-fd), NAPI_AUTO_LENGTH, &message) == napi_ok &&
        napi_create_error(env, code, message, &error) == napi_ok &&
        napi_create_int32(env, -fd, &number) == napi_ok &&
        napi_set_named_property(env, error, "errno", number) == napi_ok)
      napi_throw(env, error);
    return NULL;
  }
  return napi_create_int32(env, fd, &result) == napi_ok ? result : NULL;
}

NAPI_MODULE_INIT() {
  const napi_property_descriptor functions[] = {
      {"open", NULL, open_group, NULL, NULL, NULL, napi_enumerable, NULL},
  };
  if (napi_define_properties(env, exports, sizeof functions / sizeof *functions, functions) != napi_ok) return NULL;
  return exports;
}
