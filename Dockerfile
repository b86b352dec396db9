# Flotilla in a container: `docker build -t flotilla .`, see docker-compose.yml for a cluster.
ARG NODE_IMAGE=node:24-bookworm-slim

# Compiles. Its dependencies stay here: install scripts are not needed, the one native module brings its binaries along.
FROM ${NODE_IMAGE} AS build
WORKDIR /src
COPY package.json package-lock.json ./
RUN npm ci --ignore-scripts --no-audit --no-fund
COPY . .
RUN node scripts/build.mjs

# What the program needs at run time, and no more.
FROM ${NODE_IMAGE} AS dependencies
WORKDIR /src
COPY package.json package-lock.json ./
RUN npm ci --omit=dev --ignore-scripts --no-audit --no-fund

FROM ${NODE_IMAGE}
ARG COMMIT=unknown
# UV_THREADPOOL_SIZE: the store syncs on libuv's threads, four would queue behind each other.
ENV NODE_ENV=production \
    UV_THREADPOOL_SIZE=16 \
    GIT_COMMIT=${COMMIT} \
    FLOTILLA_DATA=/var/lib/flotilla \
    FLOTILLA_HTTP_HOST=0.0.0.0 \
    FLOTILLA_PEER_HOST=0.0.0.0
RUN install -d -o node -g node /var/lib/flotilla
WORKDIR /opt/flotilla
COPY package.json ./
COPY --from=dependencies /src/node_modules node_modules
COPY --from=build /src/dist dist
USER node
VOLUME /var/lib/flotilla
EXPOSE 8080 7080
# Liveness only: a node without a quorum is healthy and must not be restarted for it. Slim images have no curl.
HEALTHCHECK --interval=5s --timeout=3s --start-period=30s --retries=5 \
  CMD ["node", "dist/server/healthcheck.js"]
# The process itself is pid 1 and gets SIGTERM: npm would swallow it. Reaping orphans is left to `init: true`.
# The young generation of the heap would grow to 128 MB under load, and be no faster for it.
ENTRYPOINT ["node", "--max-semi-space-size=16", "--enable-source-maps", "dist/server/main.js"]
