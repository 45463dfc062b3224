#!/bin/sh
# Build guests: every .c and .wat of this folder, or those named, into build/NAME.wasm (or $OUT/NAME.wasm).
#
#   tools/guests/build.sh                   all of them
#   tools/guests/build.sh my/guest.c        one, from anywhere; the result lands in build/
#   OUT=/tmp CLANG=clang-19 tools/guests/build.sh manifest.c
#
# Same compiler, same bytes: no paths, no dates, no debug or name section. The committed files come from Debian 12's
# clang and lld 14.0.6; another version gives other bytes that behave alike.
set -eu

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
out=${OUT:-$here/build}
clang=${CLANG:-clang}

need() {
    command -v "$1" >/dev/null 2>&1 && return 0
    echo "build.sh: $1 is missing; on Debian: apt-get install $2, in Termux: pkg install $3" >&2
    exit 1
}

build_c() {
    need "$clang" "clang lld" "clang lld"
    # mvp: what every engine runs. The stack stands first, so that running out of it traps instead of eating data.
    "$clang" --target=wasm32-unknown-unknown -mcpu=mvp -O2 -std=c11 -Wall -Wextra -Werror \
        -ffreestanding -nostdlib -I"$here" "$1" -o "$2" \
        -Wl,--no-entry -Wl,--stack-first -Wl,-z,stack-size=16384 -Wl,--strip-all
}

build_one() {
    source=$1
    [ -f "$source" ] || source=$here/$1
    [ -f "$source" ] || { echo "build.sh: no source $1, neither here nor in $here" >&2; exit 2; }
    name=$(basename "$source")
    case $name in
    *.c) build_c "$source" "$out/${name%.c}.wasm" ;;
    *.wat)
        need wat2wasm wabt wabt
        wat2wasm "$source" -o "$out/${name%.wat}.wasm"
        ;;
    *) echo "build.sh: $1 is neither .c nor .wat" >&2; exit 2 ;;
    esac
    echo "${name%.*}.wasm: $(($(wc -c <"$out/${name%.*}.wasm"))) bytes" >&2
}

mkdir -p "$out"
if [ $# -eq 0 ]; then
    set -- "$here"/*.c "$here"/*.wat
fi
for source in "$@"; do
    build_one "$source"
done
