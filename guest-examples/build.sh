#!/usr/bin/env bash
# build.sh [--all] [NAME...]
#
# Builds guests into prebuilt/NAME.wasm: those that are named, else all Rust guests; with --all, those in C, JavaScript and
# Python too. Beside each it writes NAME.sources, the hash of what it was built from: a test compares it, and so tells
# when a committed component is older than its sources.
#
# Environment: TOOLPOST_GUEST_TOOLCHAIN, the folder where toolchain.sh makes a toolchain if rustup's target is not
#   installed (default ~/.cache/toolpost/guest-toolchain), and toolchain-c.sh one for C; WASI_SDK_PATH, a wasi-sdk for C.
set -euo pipefail
export LC_ALL=C

HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
ROOT=$(dirname "$HERE")
PREBUILT=$HERE/prebuilt
RUST_GUESTS=(text pi divide kitchen hostile nap fetch orders files disk notes keys database transact signer delegate busy weather mail line dynamo basket holder)
C_GUESTS=(posix libc-tests)
OTHER_GUESTS=(greet-js greet-py)
TOOLCHAIN=${TOOLPOST_GUEST_TOOLCHAIN:-$HOME/.cache/toolpost/guest-toolchain}

main() {
  local names=() all=
  for argument in "$@"; do
    case $argument in
      --all) all=1 ;;
      -*) die "usage: build.sh [--all] [NAME...]" ;;
      *) names+=("${argument%/}") ;;
    esac
  done
  [ -z "$all" ] || names+=("${RUST_GUESTS[@]}" "${C_GUESTS[@]}" "${OTHER_GUESTS[@]}")
  [ ${#names[@]} -gt 0 ] || names=("${RUST_GUESTS[@]}")
  mapfile -t names < <(printf '%s\n' "${names[@]}" | sort -u)

  mkdir -p "$PREBUILT"
  local rust=() c=() name
  for name in "${names[@]}"; do
    is_in "$name" "${RUST_GUESTS[@]}" && rust+=("$name")
    is_in "$name" "${C_GUESTS[@]}" && c+=("$name")
    is_in "$name" "${RUST_GUESTS[@]}" "${C_GUESTS[@]}" "${OTHER_GUESTS[@]}" || die "there is no guest $name"
  done
  [ ${#rust[@]} -eq 0 ] || build_rust "${rust[@]}"
  [ ${#c[@]} -eq 0 ] || build_c "${c[@]}"
  ! is_in greet-js "${names[@]}" || build_greet_js
  ! is_in greet-py "${names[@]}" || build_greet_py
  for name in "${names[@]}"; do
    sources_hash "$name" > "$PREBUILT/$name.sources"
    printf '%9d  %s\n' "$(wc -c < "$PREBUILT/$name.wasm")" "$name.wasm"
  done
}

build_rust() { # $@: names
  local name
  "$HERE/toolchain.sh" "$TOOLCHAIN"
  (cd "$HERE" && "$TOOLCHAIN/bin/guest-cargo" build --release --locked --target-dir "$HERE/target" "${@/#/--package=}")
  for name in "$@"; do
    install -m 644 "$HERE/target/wasm32-wasip2/release/$name.wasm" "$PREBUILT/$name.wasm"
  done
}

build_c() { # $@: names
  local name
  [ -n "${WASI_SDK_PATH:-}" ] || "$HERE/toolchain.sh" "$TOOLCHAIN"
  "$HERE/toolchain-c.sh" "$TOOLCHAIN"
  for name in "$@"; do
    (
      cd "$HERE/$name"
      rm -rf target && mkdir -p target
      [ "$name" != libc-tests ] || compile_libc_tests
      "$TOOLCHAIN/bin/guest-clang" -Os -Wall -Wextra -mexec-model=reactor -Wl,--component-type,wit/world.wit -Wl,--strip-all \
        src/*.c $(find target -name '*.o' | sort) -o "$PREBUILT/$name.wasm"
    )
  done
}

# The tests that src/tests.h names, each with a function of its own name for its `main`.
compile_libc_tests() {
  local sources=${TOOLPOST_LIBC_TESTS:-$TOOLCHAIN/c/libc-tests} test
  [ -f "$sources/stat.c" ] || die "there are no tests of wasi-libc; name their folder, test/src, in TOOLPOST_LIBC_TESTS"
  for test in $(printf '#include "tests.h"\n#define NAME(x) x\nWITHOUT_ARGUMENTS(NAME) WITH_FOLDER(NAME)\n' |
    "$TOOLCHAIN/bin/guest-clang" -Isrc -E -P -x c -); do
    "$TOOLCHAIN/bin/guest-clang" -Os -w -Isrc "-Dmain=test_$test" -c "$sources/$test.c" -o "target/$test.o"
  done
}

build_greet_js() {
  # The build needs no package's install script.
  (cd "$HERE/greet-js" && npm ci --ignore-scripts --no-audit --no-fund && node build.mjs "$PREBUILT/greet-js.wasm")
  copy_wit greet-js
}

build_greet_py() {
  (
    cd "$HERE/greet-py"
    [ -x .venv/bin/pip ] || python3 -m venv .venv
    .venv/bin/pip install --quiet --disable-pip-version-check --requirement requirements.txt
    # Stubs in place of WASI: this tool asks the host for nothing.
    .venv/bin/componentize-py --wit-path wit --world greet-py componentize --stub-wasi app --output "$PREBUILT/greet-py.wasm"
  )
  copy_wit greet-py
}

# These builders carry no section `toolpost:wit`; a host reads the descriptions from the WIT beside the component.
copy_wit() { install -m 644 "$HERE/$1/wit/world.wit" "$PREBUILT/$1.wit"; }

# The hash of a guest's sources: the SHA-256 of one line `SHA-256  PATH` for each file, sorted by path, with paths
# relative to the repository. A README and what a build leaves behind do not count.
sources_hash() { # $1: name
  local roots=("guest-examples/$1")
  if is_in "$1" "${RUST_GUESTS[@]}"; then
    roots+=(guest-examples/toolpost-guest guest-examples/json-service guest-examples/Cargo.lock guest-examples/Cargo.toml wit)
  fi
  (
    cd "$ROOT"
    find "${roots[@]}" \( -name target -o -name node_modules -o -name __pycache__ -o -name .venv \) -prune \
      -o -type f ! -name README.md -print | sort | while IFS= read -r path; do
      printf '%s  %s\n' "$(sha256 < "$path")" "$path"
    done | sha256
  )
}
sha256() { sha256sum | cut -d' ' -f1; }

is_in() { # $1: a word, then the list
  local word=$1 other
  shift
  for other in "$@"; do [ "$other" != "$word" ] || return 0; done
  return 1
}

die() {
  printf 'build.sh: %s\n' "$*" >&2
  exit 1
}

main "$@"
