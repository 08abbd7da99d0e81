// What malloc has given out in the process that loads this: the text of malloc_info(3), as a string. Only the process
// itself can tell: from outside, memory in use looks like memory that was given back and is kept for the next time.
#include <malloc.h>
#include <node_api.h>
#include <stdio.h>
#include <stdlib.h>

static napi_value malloc_text(napi_env env, napi_callback_info info) {
  (void)info;
  char *text = NULL;
  size_t length = 0;
  FILE *stream = open_memstream(&text, &length);
  if (stream == NULL || malloc_info(0, stream) != 0 || fclose(stream) != 0) {
    napi_throw_error(env, "ENOMEM", "malloc_info failed");
    return NULL;
  }
  napi_value result = NULL;
  napi_create_string_latin1(env, text, length, &result);
  free(text);
  return result;
}

NAPI_MODULE_INIT() {
  napi_value function = NULL;
  if (napi_create_function(env, "mallocInfo", NAPI_AUTO_LENGTH, malloc_text, NULL, &function) == napi_ok)
    napi_set_named_property(env, exports, "mallocInfo", function);
  return exports;
}
