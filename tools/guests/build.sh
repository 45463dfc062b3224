#!/bin/sh
# Build guests: every .c and .wat of this folder, or those named, into build/NAME.wasm (or $OUT/NAME.wasm).
#
#   tools/guests/build.sh                   all of them
#   tools/guests/build.sh my/guest.c        one, from anywhere; the result lands in build/
#   OUT=. tools/guests/build.sh guest.rs    Rust, with icn.rs beside it
#   OUT=. tools/guests/build.sh guest.ts    AssemblyScript, with icn.ts beside it
#   OUT=/tmp CLANG=clang-19 tools/guests/build.sh manifest.c
#
# CLANG, RUSTC and ASC name other compilers. Same compiler, same bytes: no paths, no dates, no debug or name section.
# The committed files come from Debian 12's clang and lld 14.0.6; another version gives other bytes that behave alike.
set -eu

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
out=${OUT:-$here/build}
clang=${CLANG:-clang}
rustc=${RUSTC:-rustc}
asc=${ASC:-asc}

need() {
    command -v "$1" >/dev/null 2>&1 && return 0
    echo "build.sh: $1 is missing; $2" >&2
    exit 1
}

need_packages() { need "$1" "on Debian: apt-get install $2, in Termux: pkg install $3"; }

need_kit() {
    [ -f "$(dirname "$1")/$2" ] && return 0
    echo "build.sh: $2 is not beside $1; cp '$here/$2' '$(dirname "$1")'" >&2
    exit 2
}

build_c() {
    need_packages "$clang" "clang lld" "clang lld"
    # mvp: what every engine runs. The stack stands first, so that running out of it traps instead of eating data.
    "$clang" --target=wasm32-unknown-unknown -mcpu=mvp -O2 -std=c11 -Wall -Wextra -Werror \
        -ffreestanding -nostdlib -I"$here" "$1" -o "$2" \
        -Wl,--no-entry -Wl,--stack-first -Wl,-z,stack-size=16384 -Wl,--strip-all
}

build_rust() {
    need_packages "$rustc" "rustc libstd-rust-dev-wasm32 lld" "rust rust-std-wasm32-unknown-unknown"
    need_kit "$1" icn.rs
    "$rustc" --edition 2021 --target wasm32-unknown-unknown --crate-type cdylib \
        -C opt-level=2 -C panic=abort -C strip=symbols "$1" -o "$2"
}

build_assemblyscript() {
    need "$asc" "with Node.js: npm install -g assemblyscript"
    need_kit "$1" icn.ts
    "$asc" "$1" -o "$2" -O
}

build_one() {
    source=$1
    [ -f "$source" ] || source=$here/$1
    [ -f "$source" ] || { echo "build.sh: no source $1, neither here nor in $here" >&2; exit 2; }
    name=$(basename "$source")
    result=$out/${name%.*}.wasm
    case $name in
    *.c) build_c "$source" "$result" ;;
    *.rs) build_rust "$source" "$result" ;;
    *.ts) build_assemblyscript "$source" "$result" ;;
    *.wat)
        need_packages wat2wasm wabt wabt
        wat2wasm "$source" -o "$result"
        ;;
    *) echo "build.sh: $1 is none of .c, .rs, .ts, .wat" >&2; exit 2 ;;
    esac
    echo "${name%.*}.wasm: $(($(wc -c <"$result"))) bytes" >&2
}

mkdir -p "$out"
if [ $# -eq 0 ]; then
    set -- "$here"/*.c "$here"/*.wat
fi
for source in "$@"; do
    build_one "$source"
done
