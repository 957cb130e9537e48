#!/usr/bin/env bash
# toolchain-c.sh DIR
#
# Leaves DIR/bin/guest-clang: clang, set up to build guests in C as WebAssembly components (target wasm32-wasip2).
#
# 1. Where WASI_SDK_PATH names a wasi-sdk, the wrapper is its clang.
# 2. Else, on Debian with apt, it unpacks Debian's clang of the same LLVM as toolchain.sh's linker, and a wasi-libc for
#    wasip2, without installing anything. DIR must be where toolchain.sh has made its toolchain from packages.
#
# It also leaves DIR/c/libc-tests, the tests of that wasi-libc, from the same source package; where that cannot be had, not.
# Does nothing where all is there. Environment: TOOLPOST_GUEST_LIBC_SUITES, as for toolchain.sh.
set -euo pipefail

REVISION=1 # raise it when this script makes something else out of the same packages
LIBC_SUITES=${TOOLPOST_GUEST_LIBC_SUITES-trixie-backports forky}
export LC_ALL=C
say() { printf 'toolchain-c: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }
[ $# -eq 1 ] || die "usage: toolchain-c.sh DIR"
mkdir -p "$1/bin"
DIR=$(cd "$1" && pwd -P)

wrapper() { # $1: lines for the environment, $2...: the command
  printf '#!/bin/sh\n# Made by toolchain-c.sh: clang for guests in C.\n%s\nexec %s --target=wasm32-wasip2 "$@"\n' "$1" "${*:2}" \
    > "$DIR/bin/guest-clang"
  chmod +x "$DIR/bin/guest-clang"
}

if [ -n "${WASI_SDK_PATH:-}" ]; then
  wrapper "" "$WASI_SDK_PATH/bin/clang"
  say "using the wasi-sdk at $WASI_SDK_PATH"
  exit 0
fi

command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null || die "there is no apt; set WASI_SDK_PATH to a wasi-sdk"
[ -x "$DIR/libexec/wasm-component-ld" ] || die "$DIR has no linker of toolchain.sh's; set WASI_SDK_PATH to a wasi-sdk"
LLVM=$(basename "$(readlink -f "$DIR/libexec/wasm-ld")" | grep -x lld >/dev/null && ls "$DIR/root/usr/lib" | sed -n 's/^llvm-//p')
[ -n "$LLVM" ] || die "cannot tell the LLVM of $DIR"
STAMP="guest-clang $REVISION: llvm $LLVM"
if [ -x "$DIR/bin/guest-clang" ] && [ "$(head -n1 "$DIR/c/stamp" 2>/dev/null)" = "$STAMP" ]; then
  say "up to date ($STAMP)"
  exit 0
fi
say "making $STAMP"
rm -rf "$DIR/c"
mkdir -p "$DIR"/c/{root,debs,source} "$DIR"/c/apt/{state/lists/partial,cache/archives/partial}
APT=(apt-get -q)
[ "$(id -u)" != 0 ] || APT+=(-o APT::Sandbox::User=root)

(cd "$DIR/c/debs" && "${APT[@]}" download "clang-$LLVM" "libclang-cpp$LLVM" "libclang-common-$LLVM-dev" \
  "libclang-rt-$LLVM-dev-wasm32" >&2) || die "apt does not offer clang-$LLVM; apt-get update, or set WASI_SDK_PATH"

# As in toolchain.sh: only newer suites have a libc for wasip2. Its source package has the tests.
fetch_libc() { # $1: a suite
  local uri key=/usr/share/keyrings/debian-archive-keyring.gpg opts
  uri=$(apt-get indextargets --format '$(LABEL)|$(REPO_URI)' 'Created-By: Packages' | sed -n 's/^Debian|//p' | head -n1)
  [ -n "$uri" ] || return 1
  [ -f "$key" ] || key=
  printf '%s '"${key:+[signed-by=$key] }$uri $1 main"'\n' deb deb-src > "$DIR/c/apt/sources.list"
  : > "$DIR/c/apt/state/status"
  opts=(-o Dir::Etc::SourceList="$DIR/c/apt/sources.list" -o Dir::Etc::SourceParts=/dev/null
    -o Dir::State="$DIR/c/apt/state" -o Dir::State::status="$DIR/c/apt/state/status" -o Dir::Cache="$DIR/c/apt/cache"
    -o Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false -o Acquire::Languages=none)
  (cd "$DIR/c/debs" && "${APT[@]}" "${opts[@]}" update >&2 && "${APT[@]}" "${opts[@]}" download wasi-libc >&2) || return 1
  (cd "$DIR/c/source" && "${APT[@]}" "${opts[@]}" source --download-only --tar-only wasi-libc >&2) ||
    say "no source of wasi-libc, so not its tests"
}
fetched=
for suite in $LIBC_SUITES; do
  if fetch_libc "$suite"; then fetched=1 && break; fi
done
[ -n "$fetched" ] || die "apt has no wasi-libc for wasip2"
for deb in "$DIR"/c/debs/*.deb; do dpkg-deb -x "$deb" "$DIR/c/root"; done
for tar in "$DIR"/c/source/*.orig.tar.*; do
  [ -f "$tar" ] || continue
  mkdir -p "$DIR/c/libc-tests"
  tar -xf "$tar" -C "$DIR/c/libc-tests" --strip-components=3 --wildcards '*/test/src/*.c'
done
rm -rf "$DIR"/c/{debs,source,apt}

USR=$DIR/c/root/usr
LIBS=$(echo "$DIR"/root/usr/lib/*-linux-gnu "$USR"/lib/*-linux-gnu | tr ' ' :)
wrapper "LD_LIBRARY_PATH=\"$LIBS\${LD_LIBRARY_PATH:+:\$LD_LIBRARY_PATH}\"
PATH=\"$DIR/libexec:\$PATH\"
export LD_LIBRARY_PATH PATH" "$USR/lib/llvm-$LLVM/bin/clang" "--sysroot=$USR" "-resource-dir=$USR/lib/llvm-$LLVM/lib/clang/$LLVM"
echo "$STAMP" > "$DIR/c/stamp"
say "made $STAMP"
