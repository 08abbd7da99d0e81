# docker build -t ravel-agent:0.1.0 .
#
# The same Node.js as scripts/node pins, with its headers: what is tested is what is shipped.
ARG NODE_VERSION=24.21.0
# Any base with glibc 2.35 or later and libstdc++ will do. One without a shell:
#   --build-arg RUNTIME=gcr.io/distroless/cc-debian12
ARG RUNTIME=debian:bookworm-slim

# The backend for legacy iptables needs libip4tc and libip6tc (GPL-2.0, docs/iptables.md). Without them, and without that one backend:
#   --build-arg IPTABLES=no
ARG IPTABLES=yes

FROM node:${NODE_VERSION}-bookworm AS build
ARG IPTABLES
WORKDIR /src
RUN [ "$IPTABLES" = no ] || { apt-get update && apt-get install -y --no-install-recommends libip4tc-dev libip6tc-dev && rm -rf /var/lib/apt/lists/*; }
# What the packages follow from, first: this layer lasts until they change.
COPY package.json package-lock.json Makefile ./
COPY scripts/node scripts/deps scripts/cache-dir scripts/
RUN make deps
COPY . .
# The addon is compiled against the headers in this image; nothing is fetched here any more.
RUN make bundle && scripts/image-root /image

FROM ${RUNTIME}
COPY --from=build /image/ /
# It runs as root, with all capabilities but two dropped by whoever starts it (charts/ravel-agent does): netlink asks for
# CAP_NET_ADMIN, and container runtimes give no ambient capabilities to other users. It writes to /run/ravel-agent only, so the root
# file system can be read-only. No process is ever started, so node may be process 1.
ENTRYPOINT ["/usr/local/bin/ravel-agent"]
