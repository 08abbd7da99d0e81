{
  "targets": [
    {
      "target_name": "ravel",
      "sources": ["<!@(node -p \"require('fs').readdirSync('native').filter((f) => f.endsWith('.cc')).map((f) => 'native/' + f).join(' ')\")"],
      "include_dirs": ["<!(node -p \"require('node-addon-api').include_dir\")"],
      "defines": [
        "_GNU_SOURCE",
        "NAPI_VERSION=9",
        "NAPI_DISABLE_CPP_EXCEPTIONS",
        "NODE_ADDON_API_DISABLE_DEPRECATED",
        # A worker that is terminated in the middle of a call can throw nothing; without this that aborts.
        "NODE_API_SWALLOW_UNTHROWABLE_EXCEPTIONS",
      ],
      "cflags_cc!": ["-std=gnu++17", "-std=gnu++20"],
      "cflags_cc": ["-std=c++20", "-O2", "-Wall", "-Wextra", "-Werror", "-fvisibility=hidden", "-fstack-protector-strong", "-D_FORTIFY_SOURCE=2"],
      # nodelete: a worker that ends must not unmap code another thread may still return through.
      "ldflags": ["-static-libstdc++", "-static-libgcc", "-Wl,-z,relro,-z,now,-z,nodelete", "-Wl,--exclude-libs,ALL", "-Wl,--gc-sections"],
    },
  ],
}
