#!/bin/sh
# Build the verification guests, all of them or those named, into ../build/NAME.wasm (or $OUT/NAME.wasm).
#
#   tools/guests/verify/build.sh merkle ed25519
#   BLST=…/blst tools/guests/verify/build.sh groth16
#
# groth16 needs the sources of blst (Apache-2.0), as ckzg's source package has them:
#
#   pip download --no-deps --no-binary :all: ckzg==2.1.8
#   sha256: d7bef6b425dca6995457fc59fc5b30211d9b28cbbeee0e7a7bef1372e13f29ca
#   tar xzf ckzg-2.1.8.tar.gz && BLST=$PWD/ckzg-2.1.8/blst
#
# Without BLST it is left out when nobody asks for it by name.
set -eu

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
kit=$(dirname "$here")
out=${OUT:-$kit/build}
clang=${CLANG:-clang}
plain='merkle ed25519 ed25519_native wellformed'

build_groth16() {
    if [ ! -f "${BLST:-}/src/server.c" ]; then
        echo "build.sh: groth16 needs the sources of blst: set BLST; the head of this script says where to get them" >&2
        exit 1
    fi
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
    # the flags of ../build.sh; each function in a section of its own, so that the linker leaves out what isn't used
    set -- --target=wasm32-unknown-unknown -mcpu=mvp -O2 -std=c11 -ffreestanding -ffunction-sections -fdata-sections
    "$clang" "$@" -w -D__BLST_NO_ASM__ -D__BLST_NO_CPUID__ -I"$BLST/src" -c "$BLST/src/server.c" -o "$work/blst.o"
    "$clang" "$@" -Wall -Wextra -Werror -I"$kit" -isystem "$BLST/bindings" -c "$here/groth16.c" -o "$work/groth16.o"
    "$clang" --target=wasm32-unknown-unknown -nostdlib "$work/blst.o" "$work/groth16.o" -o "$out/groth16.wasm" \
        -Wl,--no-entry -Wl,--stack-first -Wl,-z,stack-size=65536 -Wl,--strip-all
    echo "groth16.wasm: $(($(wc -c <"$out/groth16.wasm"))) bytes" >&2
}

if [ $# -eq 0 ]; then
    # shellcheck disable=SC2086 # a list of words
    set -- $plain ${BLST:+groth16}
fi
mkdir -p "$out"
for name in "$@"; do
    case " $plain " in
    *" $name "*) OUT=$out CLANG=$clang "$kit/build.sh" "$here/$name.c" ;;
    *)
        [ "$name" = groth16 ] || { echo "build.sh: no guest $name; there are $plain groth16" >&2; exit 2; }
        build_groth16
        ;;
    esac
done
