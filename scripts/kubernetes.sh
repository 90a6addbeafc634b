#!/usr/bin/env bash
# Builds Kubernetes from Debian's source package into the user's cache, once: what `npm run test:kubernetes` tests on.
# Takes 5 to 12 minutes on two cores, 3 GB of disk while it builds and 310 MB after. Says nothing when it is there.
set -eEuo pipefail
cd "$(dirname "$0")/.."
version=1.20.2 # the newest that Debian has the whole source of (bookworm); test/support/real-kube/binaries.ts names it too
cache=${XDG_CACHE_HOME:-$HOME/.cache}/flanneld-ts/kubernetes-$version
build=$cache/build
source=$build/gopath/src/k8s.io/kubernetes
programs=(kube-apiserver kubectl kube-controller-manager kube-scheduler kubelet kube-proxy pause)
go=/usr/lib/go-1.19/bin/go # no newer Go is known to build this source
say() { echo "kubernetes: $*" >&2; }
die() {
  say "$*"
  exit 1
}

mkdir -p "$cache"
# Two terminals may do this at once; the second waits. The lock is the directory itself and goes with this process.
exec 9<"$cache"
flock 9

install_packages() {
  # file=Debian package that brings it. The first builds, the second is in the images of the tests.
  local pair missing=()
  for pair in "$go=golang-1.19-go" /bin/busybox=busybox-static; do
    [ -x "${pair%%=*}" ] || missing+=("${pair#*=}")
  done
  [ ${#missing[@]} = 0 ] && return
  [ "$(id -u)" = 0 ] || die "run as root: apt-get install ${missing[*]}"
  say "installing Debian packages: ${missing[*]}"
  local apt=(apt-get -qq -o DPkg::Lock::Timeout=120)
  "${apt[@]}" update >/dev/null || say "apt-get update failed; trying with the package lists that are there"
  DEBIAN_FRONTEND=noninteractive "${apt[@]}" install -y --no-install-recommends "${missing[@]}" >"$build/apt.log" 2>&1 ||
    die "apt-get install ${missing[*]} failed: see $build/apt.log (Debian 12 has golang-1.19-go)"
}

# From the mirror that this machine takes its packages from, with lists of our own: the machine's stay as they are.
fetch_source() {
  local mirror apt
  mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Codename: bookworm' | head -n 1)
  [ -n "$mirror" ] || die "there is no Debian bookworm among the configured package sources"
  mkdir -p "$build/apt/lists/partial" "$build/apt/cache/archives/partial"
  echo "deb-src [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror bookworm main" >"$build/apt/sources.list"
  apt=(apt-get -q -o "Dir::Etc::sourcelist=$build/apt/sources.list" -o Dir::Etc::sourceparts=-
    -o "Dir::State::Lists=$build/apt/lists" -o "Dir::Cache=$build/apt/cache")
  (
    cd "$build"
    "${apt[@]}" update && "${apt[@]}" source --download-only kubernetes && apt-get -q download golang-github-modern-go-reflect2-dev
  ) >"$build/source.log" 2>&1 || die "cannot fetch the source: see $build/source.log"
}

unpack_source() {
  rm -rf "$build/gopath" "$build/reflect2"
  mkdir -p "$(dirname "$source")"
  tar -xzf "$build"/kubernetes_*really"$version".orig.tar.gz -C "$(dirname "$source")"
  mv "$(dirname "$source")/kubernetes-$version" "$source"
  # The vendored reflect2 1.0.1 crashes the API server at the first map it encodes, with any Go since 1.18.
  dpkg-deb -x "$build"/golang-github-modern-go-reflect2-dev_*.deb "$build/reflect2"
  rm -rf "$source/vendor/github.com/modern-go/reflect2"
  cp -r "$build/reflect2/usr/share/gocode/src/github.com/modern-go/reflect2" "$source/vendor/github.com/modern-go/"
  # The node IPAM controller sleeps 10 s before its first look at nodes; tests do not want to wait.
  sed -i 's/wait.Poll(10\*time.Second, /wait.Poll(time.Second\/5, /' "$source/pkg/controller/nodeipam/ipam/cidr_allocator.go"
  mkdir -p "$source/cmd/pause"
  cp test/support/real-kube/pause.go.txt "$source/cmd/pause/main.go"
}

# Not in the tarball, and the API server does not compile without it.
generate_openapi() {
  local packages
  [ -f "$source/pkg/generated/openapi/zz_generated.openapi.go" ] && return
  nice -n 10 "$go" build -p 2 -o "$build/openapi-gen" ./vendor/k8s.io/kube-openapi/cmd/openapi-gen
  packages=$(grep -rl --include='*.go' '+k8s:openapi-gen=' cmd pkg plugin staging/src/k8s.io |
    grep -vE 'code-generator/|sample-apiserver/|_test.go|/testdata/|_examples' | xargs -n1 dirname | sort -u |
    sed 's,^staging/src/,vendor/,; s,^,k8s.io/kubernetes/,' | paste -sd,)
  nice -n 10 "$build/openapi-gen" --logtostderr -i "$packages" -p k8s.io/kubernetes/pkg/generated/openapi \
    -O zz_generated.openapi -h vendor/k8s.io/code-generator/hack/boilerplate.go.txt -r "$build/openapi-violations.txt"
}

build_programs() {
  # With modules Go refuses ("updates to go.mod needed, disabled by -mod=vendor"): GOPATH mode.
  export GO111MODULE=off GOPATH=$build/gopath CGO_ENABLED=0 GOCACHE=$build/go-cache GOTOOLCHAIN=local
  cd "$source"
  generate_openapi
  local package flags="-s -w" program started
  for package in k8s.io/kubernetes/vendor/k8s.io/{component-base,client-go/pkg}/version; do
    flags+=" -X $package.gitVersion=v$version -X $package.gitMajor=1 -X $package.gitMinor=20 -X $package.gitTreeState=clean"
    flags+=" -X $package.gitCommit=faecb196815e248d3ecfb03c680a4507229c2a56 -X $package.buildDate=2021-01-13T13:20:00Z"
  done
  mkdir -p "$cache/bin"
  for program in "${programs[@]}"; do
    [ -x "$cache/bin/$program" ] && continue
    started=$SECONDS
    # Other people share the cores.
    nice -n 10 "$go" build -p 2 -tags providerless,dockerless -ldflags "$flags" -o "$build/$program" "./cmd/$program"
    mv "$build/$program" "$cache/bin/$program"
    say "built $program in $((SECONDS - started)) s"
  done
}

is_built() {
  local program
  for program in "${programs[@]}"; do [ -x "$cache/bin/$program" ] || return 1; done
}

if is_built && [ -x /bin/busybox ]; then exit 0; fi
say "building Kubernetes $version in $cache (once; about 5 minutes, more when the machine is busy)"
mkdir -p "$build"
install_packages
if ! is_built; then
  # Kept after a failure, so that the next try goes on from there.
  compgen -G "$build/kubernetes_*really$version.orig.tar.gz" >/dev/null &&
    compgen -G "$build/golang-github-modern-go-reflect2-dev_*.deb" >/dev/null || fetch_source
  [ -e "$source/.unpacked" ] || { unpack_source && touch "$source/.unpacked"; }
  # Not in a condition, where a failing command would not end it.
  trap 'say "the build failed; what is there is kept in $build"' ERR
  build_programs
fi
rm -rf "$build"
