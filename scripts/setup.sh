#!/usr/bin/env bash
# Prepares a fresh machine: npm packages, Debian packages and the build. Usage: setup.sh node|build|lab|test.
# node = npm packages (they carry the pinned Node 24); build adds the C compiler; lab and test add Debian packages and the build.
# Says nothing and is done at once when there is nothing to do.
set -euo pipefail
cd "$(dirname "$0")/.."
tier=${1:-lab}
# `su` without `-` leaves root without the directories where ip and iptables lie.
export PATH="$PWD/node_modules/.bin:$PATH:/usr/sbin:/sbin"
say() { echo "setup: $*" >&2; }

# Two terminals may do this at once; the second waits. The lock is the directory itself and goes with this process.
exec 9<.
flock 9

# An installed lock file that equals ours means that `npm ci` has nothing to do.
stamp=node_modules/.installed-lock
if ! cmp -s package-lock.json "$stamp"; then
  say "installing npm packages (Node 24 among them)"
  # --ignore-scripts: nothing we depend on needs an install script, so none may run as root.
  npm ci --ignore-scripts --no-audit --no-fund --loglevel=error >&2
  cp package-lock.json "$stamp"
  hash -r
fi
case $(node --version) in
  v24.*) ;;
  *)
    say "node is $(node --version), not the pinned v24: there is none for $(uname -sm) among the npm packages"
    exit 1
    ;;
esac
[ "$tier" = node ] && exit 0

# The udp backend's packet path is C; everything else does without.
compiler_missing() {
  ! command -v cc >/dev/null 2>&1 || ! echo '#include <linux/if_tun.h>' | cc -fsyntax-only -x c - 2>/dev/null
}
if [ "$tier" = build ]; then
  # Where it cannot be installed, the build itself says what is missing and leaves the udp backend out.
  if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null 2>&1 || ! compiler_missing; then exit 0; fi
fi

# command=Debian package that brings it. The product needs iproute2, iptables and containernetworking-plugins.
needs=()
[ "$tier" = build ] || needs+=(ip=iproute2 iptables=iptables ipset=ipset etcd=etcd-server etcdctl=etcd-client
  /usr/lib/cni/bridge=containernetworking-plugins c++=g++ ping=iputils-ping nsenter=util-linux mount=mount sysctl=procps)
[ "$tier" = test ] && needs+=(nft=nftables tcpdump=tcpdump iperf3=iperf3 ethtool=ethtool conntrack=conntrack containerd=containerd
  runc=runc busybox=busybox-static openssl=openssl python3=python3-minimal systemd-notify=systemd)
missing=()
if compiler_missing; then missing+=(gcc libc6-dev); fi
for pair in "${needs[@]}"; do
  command -v "${pair%%=*}" >/dev/null 2>&1 || missing+=("${pair#*=}")
done
if [ ${#missing[@]} -gt 0 ]; then
  if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null 2>&1; then
    say "missing Debian packages: ${missing[*]}"
    say "run as root:  apt-get install ${missing[*]}"
    exit 1
  fi
  say "installing Debian packages: ${missing[*]}"
  export DEBIAN_FRONTEND=noninteractive
  # Packages such as etcd-server and containerd start a service when installed; the lab runs its own.
  policy=/usr/sbin/policy-rc.d
  if [ ! -e "$policy" ]; then
    trap 'rm -f "$policy"' EXIT
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod +x "$policy"
  fi
  # Another apt-get (unattended upgrades of a new machine) may hold the lock for a while.
  apt=(apt-get -qq -o DPkg::Lock::Timeout=120)
  "${apt[@]}" update >/dev/null || say "apt-get update failed; trying with the package lists that are there"
  if ! log=$("${apt[@]}" install -y --no-install-recommends "${missing[@]}" 2>&1); then
    say "apt-get install ${missing[*]} failed:"
    echo "$log" >&2
    [ "$tier" = build ] && exit 0
    exit 1
  fi
fi
[ "$tier" = build ] && exit 0
if [ "$(id -u)" != 0 ]; then
  say "network namespaces need root; run this as root (sudo npm run ...)"
  exit 1
fi
# flannel wants bridged packets to pass iptables; the kernel has this built in or as a module that nothing loads by itself.
[ -e /proc/sys/net/bridge ] || modprobe br_netfilter 2>/dev/null || true

# Built already, from sources that have not changed since (a removed file changes its directory).
built=dist/.built
outputs=(dist/flanneld.mjs dist/flannel dist/udp.node dist/memory.node dist/nflog.node)
for output in "${outputs[@]}"; do
  [ -e "$output" ] || rm -f "$built"
done
# Nor has a build without a compiler all it should have.
compgen -G 'dist/flanneld-chunks/raw-*.node' >/dev/null || rm -f "$built"
if [ ! -e "$built" ] || [ -n "$(find src cni-plugin native/udp native/memory native/nflog scripts package.json package-lock.json -newer "$built" -print -quit)" ]; then
  mkdir -p dist
  # The stamp is older than any source that changes while the build runs.
  touch dist/.building
  say "building"
  node scripts/build.ts
  mv dist/.building "$built"
fi
