#!/bin/bash
# Builds the core with AddressSanitizer and UndefinedBehaviourSanitizer and runs the tests of packing and products
# with it. Needs GCC with its sanitizer runtimes. Nothing is installed; the build goes to a temporary folder.
#
# Run: benchmarks/sanitize.sh [PYTHON]
set -euo pipefail
python=$(command -v "${1:-python}")
[[ $python = /* ]] || python=$PWD/$python
cd "$(dirname "$0")/.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

cmake -S . -B "$work/build" -DKBIT_SANITIZE=ON -DCMAKE_BUILD_TYPE=Release -DPython_EXECUTABLE="$python" >/dev/null
cmake --build "$work/build" --parallel 2 --target _core

# The package as it is, with the other core in place of its own.
cp -r src/kbit "$work/kbit"
rm -f "$work"/kbit/_core*.so
cp "$work"/build/_core*.so "$work/kbit/"
for other in $("$python" -c 'import glob, os, kbit._core as c; print(*glob.glob(os.path.join(os.path.dirname(c.__file__), "_text*.so")))'); do
  cp "$other" "$work/kbit/"
done
cp -r tests "$work/tests"

# The runtimes must come first; Python itself leaks by design.
preload="$(gcc -print-file-name=libasan.so) $(gcc -print-file-name=libubsan.so)"
cd "$work"
cat >"$work/run.py" <<'PY'
import sys
sys.meta_path = [f for f in sys.meta_path if "editable" not in type(f).__module__ and "editable" not in type(f).__name__.lower()]
sys.path.insert(0, ".")
import kbit._core, pytest
assert kbit._core.__file__.startswith(sys.argv[1]), kbit._core.__file__
raise SystemExit(pytest.main(["-q", "-x", "-p", "no:cacheprovider", "--import-mode=importlib", *sys.argv[2:]]))
PY
LD_PRELOAD="$preload" ASAN_OPTIONS=detect_leaks=0:detect_stack_use_after_return=0 UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1 \
  OMP_NUM_THREADS=1 "$python" run.py "$work" tests/formats/test_packing.py tests/kernels/test_core.py tests/kernels/test_long.py
