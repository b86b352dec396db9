#!/usr/bin/env bash
# A container engine for the tests, also on a machine that has none and reaches no image registry.
#
#   scripts/container-engine.sh up           an engine runs: the one that is there, else Debian's, started (and installed) here
#   scripts/container-engine.sh image NAME   NAME can be built from: as it is, pulled, or as a stand-in made of Debian and npm packages
#   scripts/container-engine.sh down         stops the engine that `up` started; leaves any other alone
#
# Ends with 3 and one line that says why when this machine can run no engine. FLOTILLA_TEST_INSTALL=0 forbids installing packages.
# A stand-in carries this machine's npm settings and certificates: it is for tests and must never be pushed anywhere.
set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
state=${FLOTILLA_ENGINE_STATE:-${TMPDIR:-/tmp}/flotilla-container-engine}
start_seconds=30

say() { echo "container engine: $*" >&2; }
cannot() {
  say "$*"
  exit 3
}

# Debian's own client, where there is one: others on the PATH may be wrappers.
docker=/usr/bin/docker
[[ -x $docker ]] || docker=docker

runs() { command -v "$docker" >/dev/null && "$docker" info >/dev/null 2>&1; }

install_packages() {
  local missing=()
  command -v dockerd >/dev/null || missing+=(docker.io iproute2)
  command -v docker-compose >/dev/null || missing+=(docker-compose)
  [[ ${#missing[@]} -eq 0 ]] && return
  [[ ${FLOTILLA_TEST_INSTALL:-1} != 0 ]] || cannot "none runs, and FLOTILLA_TEST_INSTALL=0 forbids to install one"
  [[ $(id -u) -eq 0 ]] || cannot "none runs, and only root could install one"
  command -v apt-get >/dev/null || cannot "none runs, and this is not a Debian that could install one"
  say "installing ${missing[*]}"
  {
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" iptables
  } >"$state/install.log" 2>&1 || cannot "Debian's packages cannot be installed, see $state/install.log"
}

up() {
  mkdir -p "$state"
  if runs && command -v docker-compose >/dev/null; then
    return
  fi
  install_packages
  runs && return
  [[ $(id -u) -eq 0 ]] || cannot "none runs, and only root can start one"
  say "starting dockerd"
  setsid dockerd --data-root "$state/data" --exec-root "$state/exec" --pidfile "$state/pid" \
    >"$state/dockerd.log" 2>&1 </dev/null &
  for ((i = 0; i < start_seconds * 2; i++)); do
    runs && return
    sleep 0.5
  done
  say "$(tail -n 3 "$state/dockerd.log")"
  cannot "dockerd does not start here, see $state/dockerd.log"
}

image() {
  local name=$1
  "$docker" image inspect "$name" >/dev/null 2>&1 && return
  timeout 120 "$docker" pull --quiet "$name" >/dev/null 2>&1 && return
  stand_in "$name"
}

# What the Dockerfile needs of its base image: Debian bookworm, Node 24, npm, a user `node`.
stand_in() {
  local name=$1 tree=$state/tree mirror
  say "$name cannot be pulled; building a stand-in from Debian's packages"
  if ! command -v debootstrap >/dev/null; then
    [[ ${FLOTILLA_TEST_INSTALL:-1} != 0 && $(id -u) -eq 0 ]] || cannot "debootstrap is missing"
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq debootstrap >>"$state/install.log" 2>&1 ||
      cannot "debootstrap cannot be installed"
  fi
  mirror=$(apt-get indextargets --format '$(SITE)' | head -n 1)
  rm -rf "$tree"
  debootstrap --variant=minbase --include=ca-certificates,libstdc++6 bookworm "$tree" "$mirror" \
    >"$state/debootstrap.log" 2>&1 || cannot "debootstrap failed, see $state/debootstrap.log"
  # Node itself is here already: a development dependency of this project.
  install -m 755 "$root/node_modules/node/bin/node" "$tree/usr/local/bin/node"
  mkdir -p "$tree/usr/local/lib/node_modules" "$tree/usr/local/etc"
  # The npm in use: its command is a link into its package.
  cp -r "$(dirname "$(readlink -f "$(command -v npm)")")/.." "$tree/usr/local/lib/node_modules/npm"
  ln -s ../lib/node_modules/npm/bin/npm-cli.js "$tree/usr/local/bin/npm"
  [[ ! -f $HOME/.npmrc ]] || cp "$HOME/.npmrc" "$tree/usr/local/etc/npmrc"
  cp /etc/ssl/certs/ca-certificates.crt "$tree/etc/ssl/certs/ca-certificates.crt"
  echo "node:x:1000:1000::/:/bin/sh" >>"$tree/etc/passwd"
  echo "node:x:1000:" >>"$tree/etc/group"
  rm -rf "$tree"/var/cache/apt/* "$tree"/var/lib/apt/lists/*
  tar -C "$tree" -c . | "$docker" import \
    --change "ENV NODE_EXTRA_CA_CERTS=/etc/ssl/certs/ca-certificates.crt" --change 'CMD ["node"]' - "$name" >/dev/null
  rm -rf "$tree"
}

down() {
  [[ -f $state/pid ]] || return 0
  local pid
  pid=$(cat "$state/pid")
  # The number may belong to somebody else by now.
  grep -q dockerd "/proc/$pid/cmdline" 2>/dev/null || return 0
  kill "$pid"
  # Its data is only test images: dockerd removes its pid file when it is done.
  for ((i = 0; i < start_seconds * 2; i++)); do
    kill -0 "$pid" 2>/dev/null || return 0
    sleep 0.5
  done
}

case ${1:-} in
  up) up ;;
  image) image "${2:?which image}" ;;
  down) down ;;
  *)
    sed -n '2,10s/^# \{0,1\}//p' "$0"
    exit 2
    ;;
esac
