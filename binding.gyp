{
  "variables": {
    # libiptc is GPL-2.0: only the second addon is linked with it, and that is built where its headers are (docs/iptables.md).
    "has_libiptc": "<!(node -p \"Number(['libiptc.h', 'libip6tc.h'].every((f) => require('fs').existsSync('/usr/include/libiptc/' + f)))\")",
    "addon_defines": [
      "_GNU_SOURCE",
      "NAPI_VERSION=9",
      "NAPI_DISABLE_CPP_EXCEPTIONS",
      "NODE_ADDON_API_DISABLE_DEPRECATED",
      # A worker that is terminated in the middle of a call can throw nothing; without this that aborts.
      "NODE_API_SWALLOW_UNTHROWABLE_EXCEPTIONS",
    ],
    "addon_cflags": ["-std=c++20", "-O2", "-Wall", "-Wextra", "-Werror", "-fvisibility=hidden", "-fstack-protector-strong", "-D_FORTIFY_SOURCE=2"],
    # nodelete: a worker that ends must not unmap code another thread may still return through.
    "addon_ldflags": ["-static-libstdc++", "-static-libgcc", "-Wl,-z,relro,-z,now,-z,nodelete", "-Wl,--exclude-libs,ALL", "-Wl,--gc-sections"],
  },
  "targets": [
    {
      "target_name": "ravel",
      "sources": ["<!@(node -p \"require('fs').readdirSync('native').filter((f) => f.endsWith('.cc') && !f.startsWith('iptables')).map((f) => 'native/' + f).join(' ')\")"],
      "include_dirs": ["<!(node -p \"require('node-addon-api').include_dir\")"],
      "defines": ["<@(addon_defines)"],
      "cflags_cc!": ["-std=gnu++17", "-std=gnu++20"],
      "cflags_cc": ["<@(addon_cflags)"],
      "ldflags": ["<@(addon_ldflags)"],
    },
  ],
  "conditions": [
    ["has_libiptc==1", {
      "targets": [
        {
          "target_name": "iptables",
          "sources": [
            "<!@(node -p \"require('fs').readdirSync('native').filter((f) => f.endsWith('.cc') && f.startsWith('iptables')).map((f) => 'native/' + f).join(' ')\")",
            "native/binding.cc",
            "native/executor.cc",
            "native/message.cc",
            "native/netlink.cc",
            "native/netlink_socket.cc",
          ],
          "include_dirs": ["<!(node -p \"require('node-addon-api').include_dir\")"],
          "defines": ["<@(addon_defines)"],
          "cflags_cc!": ["-std=gnu++17", "-std=gnu++20"],
          "cflags_cc": ["<@(addon_cflags)"],
          "ldflags": ["<@(addon_ldflags)"],
          "libraries": ["-lip4tc", "-lip6tc"],
        },
      ],
    }],
  ],
}
