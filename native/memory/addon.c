/* The executable's pages for Node: N-API's C interface, so that one build serves every version. See src/kernel/memory/addon.ts. */
#include <node_api.h>
#include <string.h>

#include "executable.h"

/** release(): bytes unmapped. */
static napi_value release(napi_env env, napi_callback_info info) {
  (void)info;
  size_t bytes;
  int failure = executable_release(&bytes);
  if (failure != 0) {
    napi_throw_error(env, NULL, strerror(failure));
    return NULL;
  }
  napi_value result;
  return napi_create_double(env, (double)bytes, &result) == napi_ok ? result : NULL;
}

NAPI_MODULE_INIT() {
  const napi_property_descriptor functions[] = {
      {"release", NULL, release, NULL, NULL, NULL, napi_enumerable, NULL},
  };
  if (napi_define_properties(env, exports, sizeof functions / sizeof *functions, functions) != napi_ok) return NULL;
  return exports;
}
