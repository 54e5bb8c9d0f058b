#!/usr/bin/env bash
# Build the native tests for 64-bit ARM and run them under qemu: as a processor with dot products, and as one without, which
# must run the portable kernels alone. Says nothing about speed. Needs CMake, and of Debian
#   apt-get install g++-aarch64-linux-gnu qemu-user libsimde-dev
# BUILD names the folder, JOBS the number of compilers at a time. AVX2, AVX-512 and AMX over SIMDe are left to other machines:
# two emulations, one above the other, would take most of the time.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

BUILD=${BUILD:-build/aarch64}
export JCB_TEST_WITHOUT=avx,amx
LIBRARIES=/usr/aarch64-linux-gnu

fail() {
  echo "error: $1" >&2
  exit "${2:-1}"
}

# run PROCESSOR TEST...: prints what the tests print, and keeps it in $log.
run() {
  local processor=$1 test output
  shift
  log=
  for test in "$@"; do
    echo "== $test on $processor"
    output=$(qemu-aarch64 -cpu "$processor" -L "$LIBRARIES" "$BUILD/csrc/tests/$test") || fail "$test failed: $output"
    echo "$output"
    log+=$output
  done
}

for tool in aarch64-linux-gnu-g++ qemu-aarch64 cmake; do
  command -v "$tool" >/dev/null || fail "$tool was not found (Debian: apt-get install g++-aarch64-linux-gnu qemu-user)" 2
done

# SIMDe alone: the other headers in its folder are this processor's.
simde=
mkdir -p "$BUILD/simde"
for folder in /usr/include /usr/local/include; do
  if [ -d "$folder/simde" ]; then
    ln -sfn "$folder/simde" "$BUILD/simde/simde"
    simde=$(realpath "$BUILD/simde")
  fi
done
cmake -S . -B "$BUILD" -DCMAKE_SYSTEM_NAME=Linux -DCMAKE_SYSTEM_PROCESSOR=aarch64 \
  -DCMAKE_CXX_COMPILER=aarch64-linux-gnu-g++ -DSIMDE_INCLUDE_DIR="$simde" \
  -DJCB_BUILD_TESTS=ON -DJCB_BUILD_BINDING=OFF -DJCB_CUDA=off
cmake --build "$BUILD" --target native_tests --parallel "${JOBS:-2}"

run max test_vector_kernels test_maxsim_bad_input test_maxsim_quantized test_maxsim_error_bound test_word_table
[[ $log != *"neon skipped"* ]] || fail "the NEON kernels were left out on a processor with dot products"
run cortex-a72 test_vector_kernels test_maxsim_bad_input test_maxsim_quantized test_word_table
[[ $log == *"neon skipped"* ]] || fail "the NEON kernels were taken on a processor without dot products"
echo "all passed"
