#!/usr/bin/env bash
# toolchain.sh DIR
#
# Leaves DIR/bin/guest-cargo: cargo, set up to build Rust guests as WebAssembly components (target wasm32-wasip2).
#
# 1. Where the active Rust toolchain has that target (`rustup target add wasm32-wasip2`), the wrapper is cargo with it.
# 2. Else, on Debian with apt, it makes a toolchain without installing anything: it unpacks Debian's `rustc-web` (a
#    current rustc with a wasm backend), `lld`, `rust-web-llvm` (the component linker) and `wasi-libc`, and builds std
#    once from `rust-web-src`. Std's few dependencies come from crates.io, as locked by std's own Cargo.lock.
#    Root is needed only where apt's package lists are missing or too old (`apt-get update`).
#
# Does nothing where DIR already holds the versions that apt offers.
# Environment: TOOLPOST_GUEST_TOOLCHAIN_MODE=auto|rustup|apt (default auto); CARGO (default cargo);
#   TOOLPOST_GUEST_LIBC_SUITES: the Debian suites to look for a wasi-libc for wasip2 in, in order.
set -euo pipefail

REVISION=3 # raise it when this script makes something else out of the same packages
TARGET=wasm32-wasip2
MODE=${TOOLPOST_GUEST_TOOLCHAIN_MODE:-auto}
CARGO=${CARGO:-cargo}
LIBC_SUITES=${TOOLPOST_GUEST_LIBC_SUITES-trixie-backports forky}
export LC_ALL=C
say() { printf 'toolchain: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }
[ $# -eq 1 ] || die "usage: toolchain.sh DIR"
mkdir -p "$1/bin"
DIR=$(cd "$1" && pwd -P)
case $DIR in *[[:space:]]*) die "DIR must not contain white space" ;; esac
command -v "$CARGO" >/dev/null || die "no cargo"
if command -v flock >/dev/null; then exec 9>"$DIR/.lock"; flock 9; fi
# What an enclosing build set must not reach the builds below.
unset RUSTC RUSTDOC RUSTC_WRAPPER RUSTC_WORKSPACE_WRAPPER RUSTFLAGS CARGO_ENCODED_RUSTFLAGS \
  CARGO_BUILD_TARGET CARGO_BUILD_RUSTFLAGS CARGO_TARGET_DIR CARGO_MAKEFLAGS MAKEFLAGS || true

write_wrapper() { # $1: lines for the wrapper's environment
  cat > "$DIR/bin/guest-cargo.new" <<EOF
#!/usr/bin/env bash
# Made by toolchain.sh: cargo for Rust guests ($TARGET components).
set -euo pipefail
export CARGO_BUILD_TARGET=$TARGET
# Panic messages name dependencies' source files: keep this machine's cargo home out of the component.
cargo_home=\${CARGO_HOME:-\$HOME/.cargo}
case \$cargo_home in
  *[[:space:]]*) ;;
  *) export CARGO_TARGET_WASM32_WASIP2_RUSTFLAGS="\${CARGO_TARGET_WASM32_WASIP2_RUSTFLAGS:-} --remap-path-prefix=\$cargo_home=/cargo" ;;
esac
$1
exec "\${CARGO:-$CARGO}" "\$@"
EOF
  chmod +x "$DIR/bin/guest-cargo.new"
  mv -f "$DIR/bin/guest-cargo.new" "$DIR/bin/guest-cargo"
}

# ---- 1. The toolchain has the target already --------------------------------------------------------
has_target() {
  if command -v rustup >/dev/null && rustup target list --installed 2>/dev/null | grep -x "$TARGET" >/dev/null; then return 0; fi
  local libdir
  libdir=$(rustc --print target-libdir --target "$TARGET" 2>/dev/null) || return 1
  compgen -G "$libdir/libstd-*.rlib" >/dev/null
}
if [ "$MODE" != apt ] && has_target; then
  write_wrapper ""
  rm -f "$DIR/stamp"
  say "using the installed target $TARGET"
  exit 0
fi
[ "$MODE" != rustup ] || die "the target is not installed: rustup target add $TARGET"

# ---- 2. Std for the target, built with Debian's rustc -----------------------------------------------
command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null ||
  die "the target is not installed (rustup target add $TARGET), and there is no apt to make it from"

candidate() { apt-cache policy "$1" 2>/dev/null | sed -n 's/^ *Candidate: //p' | grep -v '(none)' || true; }
offered() { [ -n "$(apt-cache show "$1" 2>/dev/null | sed -n '/^Filename: /p')" ]; } # $1: package=version

# Sets VER, LIBSTD, LLVM and LLD, when apt knows every package that is needed, in versions that fit each other.
choose_packages() {
  local package
  VER=$(candidate rustc-web)
  [ -n "$VER" ] || { say "apt has no rustc-web"; return 1; }
  for package in libstd-rust-web-dev rust-web-src rust-web-llvm; do
    offered "$package=$VER" || { say "apt has no $package $VER"; return 1; }
  done
  # libstd-rust-web-dev names the package with the compiler's library, and that one the LLVM it is built with.
  LIBSTD=$(apt-cache show "libstd-rust-web-dev=$VER" | sed -n 's/^Depends: *\(libstd-rust-web-[0-9.]*\).*/\1/p' | head -n1)
  [ -n "$LIBSTD" ] && offered "$LIBSTD=$VER" || { say "apt has no library package of rustc-web $VER"; return 1; }
  LLVM=$(apt-cache show "$LIBSTD=$VER" | sed -n 's/^Depends:.*libllvm\([0-9]*\).*/\1/p' | head -n1)
  [ -n "$LLVM" ] || { say "cannot tell the LLVM of rustc-web $VER"; return 1; }
  LLD=$(candidate "lld-$LLVM")
  [ -n "$LLD" ] || { say "apt has no lld-$LLVM"; return 1; }
}
update_lists() {
  say "apt's package lists are missing or too old: apt-get update"
  if [ "$(id -u)" = 0 ]; then apt-get update -qq >&2; else sudo -n apt-get update -qq >&2; fi
}
choose_packages || { update_lists && choose_packages; } || die "apt does not offer the toolchain; try: rustup target add $TARGET"

stamp() { printf '%s' "guest-toolchain $REVISION: rustc-web $VER, lld-$LLVM $LLD"; }
STAMP=$(stamp)
if [ -x "$DIR/bin/guest-cargo" ] && [ "$(head -n1 "$DIR/stamp" 2>/dev/null)" = "$STAMP" ]; then
  say "up to date ($STAMP)"
  exit 0
fi
say "making $STAMP"
rm -rf "$DIR"/{stamp,root,debs,build,libc,apt,libexec,selftest}
mkdir -p "$DIR"/{root,debs,build,libc,libexec}
APT=(apt-get -q)
[ "$(id -u)" != 0 ] || APT+=(-o APT::Sandbox::User=root)

# The packages, and those of their dependencies that this machine lacks (as `apt-get install` would choose).
download_packages() {
  local deps
  rm -f "$DIR"/debs/*
  mapfile -t deps < <(apt-get -s --no-install-recommends install "rustc-web=$VER" "lld-$LLVM=$LLD" 2>/dev/null |
    awk '/^Inst /{print $2}' | sed 's/:.*//' | grep -vE '^(rustc-web|libstd-rust-web-.*|lld-[0-9]+)$' || true)
  mapfile -t deps < <(printf '%s\n' "${deps[@]}" "libllvm$LLVM" | grep . | sort -u)
  (cd "$DIR/debs" && "${APT[@]}" download "rustc-web=$VER" "libstd-rust-web-dev=$VER" "$LIBSTD=$VER" "rust-web-src=$VER" \
    "rust-web-llvm=$VER" "lld-$LLVM=$LLD" "${deps[@]}" >&2)
}
# Old lists may name versions that the mirror has replaced since: then once more, with new ones.
download_packages ||
  { update_lists && choose_packages && download_packages && STAMP=$(stamp); } || die "apt cannot download the packages"
for deb in "$DIR"/debs/*.deb; do dpkg-deb -x "$deb" "$DIR/root"; done
rm -rf "$DIR/debs"

USR=$DIR/root/usr
LIBPATH=$(find "$USR/lib" -maxdepth 2 -name 'librustc_driver-*.so' -printf '%h\n' -quit)
LLDBIN=$(find "$USR/lib/llvm-$LLVM/bin" -name lld -print -quit)
CLD=$(find "$USR/lib/rustlib" -name wasm-component-ld -print -quit)
[ -n "$LIBPATH" ] && [ -n "$LLDBIN" ] && [ -n "$CLD" ] || die "the unpacked packages lack the compiler or its linkers"
ln -s "$LLDBIN" "$DIR/libexec/wasm-ld" # lld is wasm-ld under that name; wasm-component-ld finds it on PATH
ln -s "$CLD" "$DIR/libexec/wasm-component-ld"
for tool in rustc rustdoc; do
  cat > "$DIR/libexec/$tool" <<EOF
#!/bin/sh
# Debian's $tool, run from where it was unpacked.
LD_LIBRARY_PATH="$LIBPATH\${LD_LIBRARY_PATH:+:\$LD_LIBRARY_PATH}"
PATH="$DIR/libexec:\$PATH"
export LD_LIBRARY_PATH PATH
exec "$USR/bin/$tool" "\$@"
EOF
  chmod +x "$DIR/libexec/$tool"
done
RUSTC=$DIR/libexec/rustc
"$RUSTC" -vV >&2
"$RUSTC" --print target-list | grep -x "$TARGET" >/dev/null || die "this rustc does not know $TARGET"
HASH=$("$RUSTC" -vV | sed -n 's/^commit-hash: //p')

LIBRARY=$(cd "$USR/lib/rustlib/src/rust/library" && pwd -P)
OUT=$("$RUSTC" --print target-libdir --target "$TARGET")
say "building std for $TARGET"
# RUSTC_BOOTSTRAP: std is written in unstable Rust (guests are compiled without it). The other flags are those of
# rustc's own build of std; paths are remapped as in released toolchains, so std does not depend on DIR.
(cd "$LIBRARY/sysroot" &&
  RUSTC="$RUSTC" RUSTC_BOOTSTRAP=1 __CARGO_DEFAULT_LIB_METADATA=stablestd \
    RUSTFLAGS="-Zforce-unstable-if-unmarked -Cembed-bitcode=yes -Cdebuginfo=0 --remap-path-prefix=$LIBRARY=/rustc/${HASH:-$VER}/library --remap-path-prefix=${CARGO_HOME:-$HOME/.cargo}=/cargo" \
    "$CARGO" build --release --locked --target "$TARGET" --target-dir "$DIR/build" \
    --no-default-features --features panic-unwind,backtrace-trace-only >&2)
mkdir -p "$OUT/self-contained"
cp "$DIR/build/$TARGET/release/deps/"*.rlib "$OUT/"
rm -rf "$DIR/build" "$USR/src" "$USR/share"

write_wrapper "export RUSTC=\"$DIR/libexec/rustc\" RUSTDOC=\"$DIR/libexec/rustdoc\" RUSTC_WRAPPER= RUSTC_WORKSPACE_WRAPPER="

# wasi-libc: newer Debian suites have a wasip2 build (sockets, and the symbols that std's threads and realpath refer
# to); this machine's own suite may only have the old preview1 one, which links most guests: the last resort.
# It is an architecture-independent package of static libraries, so which suite it comes from does not matter.
fetch_libc() { # $1: a suite of the mirror that this machine's Debian packages come from, or "-" for its own suites
  local to=$DIR/libc/$1 uri key lib
  mkdir -p "$to"
  if [ "$1" = - ]; then
    (cd "$to" && "${APT[@]}" download wasi-libc >&2) || return 1
  else
    uri=$(apt-get indextargets --format '$(LABEL)|$(REPO_URI)' 'Created-By: Packages' | sed -n 's/^Debian|//p' | head -n1)
    [ -n "$uri" ] || return 1
    key=/usr/share/keyrings/debian-archive-keyring.gpg # of the package debian-archive-keyring
    [ -f "$key" ] || key=
    mkdir -p "$DIR"/apt/{state/lists/partial,cache/archives/partial}
    echo "deb ${key:+[signed-by=$key]} $uri $1 main" > "$DIR/apt/sources.list"
    local opts=(-o Dir::Etc::SourceList="$DIR/apt/sources.list" -o Dir::Etc::SourceParts=/dev/null
      -o Dir::State="$DIR/apt/state" -o Dir::State::status="$DIR/apt/state/status" -o Dir::Cache="$DIR/apt/cache"
      -o Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false -o Acquire::Languages=none)
    : > "$DIR/apt/state/status"
    (cd "$to" && "${APT[@]}" "${opts[@]}" update >&2 && "${APT[@]}" "${opts[@]}" download wasi-libc >&2) || return 1
    rm -rf "$DIR/apt"
  fi
  LIBC_DEB=$(ls "$to")
  dpkg-deb -x "$to/$LIBC_DEB" "$to/root"
  for lib in "$to/root/usr/lib/$TARGET" "$to/root/usr/lib/wasm32-wasi"; do
    [ -f "$lib/libc.a" ] || continue
    cp "$lib/"{libc.a,crt1-command.o,crt1-reactor.o} "$OUT/self-contained/"
    return 0
  done
  return 1
}

# A program must come out as a component (not a core module).
selftest() { # $1: the body of main
  local t=$DIR/selftest
  rm -rf "$t" && mkdir -p "$t/src"
  printf '[package]\nname = "selftest"\nversion = "0.0.0"\nedition = "2021"\n[workspace]\n' > "$t/Cargo.toml"
  printf 'fn main() { %s }\n' "$1" > "$t/src/main.rs"
  (cd "$t" && "$DIR/bin/guest-cargo" build --release --offline -q >&2) &&
    [ "$(od -An -tx1 -N8 "$t/target/$TARGET/release/selftest.wasm" | tr -d ' \n')" = 0061736d0d000100 ]
}
LITTLE='println!("{:?}", (std::env::args().count(), std::fs::read("x").is_ok()));'
MUCH="$LITTLE println!(\"{:?}\", (std::fs::canonicalize(\"x\").is_ok(), std::thread::Builder::new().spawn(|| ()).is_ok(), std::net::TcpStream::connect(\"[::1]:1\").is_ok()));"
LIBC_DEB=
found=
for suite in $LIBC_SUITES; do
  say "looking for wasi-libc in $suite"
  if fetch_libc "$suite" && selftest "$MUCH"; then found=$suite; break; fi
done
if [ -z "$found" ]; then
  say "no newer wasi-libc: using this suite's own (guests that refer to threads, sockets or canonicalize will not link)"
  fetch_libc - && selftest "$LITTLE" || die "the self-test failed"
fi
rm -rf "$DIR"/{selftest,libc,apt}

printf '%s\n%s\n' "$STAMP" "$LIBC_DEB" > "$DIR/stamp"
say "ready: $DIR/bin/guest-cargo ($(du -sh "$DIR" | cut -f1), $LIBC_DEB)"
