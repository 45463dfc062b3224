#!/bin/sh
# Build the kernels of the metering benchmark with Debian's clang and lld.
set -eu
cd "$(dirname "$0")"
for source in *.c; do
  clang --target=wasm32 -O2 -nostdlib -fno-builtin -mbulk-memory -Wl,--no-entry -Wl,--strip-all -Wl,-z,stack-size=8192 \
    -o "${source%.c}.wasm" "$source"
done
