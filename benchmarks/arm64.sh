#!/bin/bash
# Builds the core without Python for arm64 and runs its checks under QEMU's user mode. Needs Debian's g++-aarch64-linux-gnu
# and qemu-user-static. The build goes to a temporary folder.
#
# Run: benchmarks/arm64.sh
set -euo pipefail
cd "$(dirname "$0")/.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
sources=()
for file in csrc/*.cpp csrc/encode/*.cpp csrc/decode/*.cpp; do
  grep -q "binding.hpp\|nanobind" "$file" || sources+=("$file")
done
for file in "${sources[@]}" benchmarks/core_check.cpp; do
  aarch64-linux-gnu-g++ -std=c++17 -O2 -Wall -Wextra -ffp-contract=off -Icsrc -c "$file" -o "$work/$(echo "$file" | tr / _).o"
done
aarch64-linux-gnu-g++ -static "$work"/*.o -pthread -Wl,--whole-archive -lpthread -Wl,--no-whole-archive -o "$work/check"
qemu-aarch64-static "$work/check"
