#!/usr/bin/env bash
# Everything there is to do on a machine with a GPU: bash benchmarks/gpu.sh OUT
#
# Builds the CUDA kernels with nvcc, measures, runs the tests that need a GPU and compute-sanitizer over a small case. Needs
# Python 3.11 or newer with torch, triton and numpy; no network, no faiss, no installation. What a machine lacks is skipped
# by name. Where flash-maxsim, late-interaction-kernels or fast-plaid can be imported, they are measured on the same vectors in
# the same run. About five minutes. Results: OUT/gpu.json, OUT/gpu.png, OUT/training-maxsim-cuda.json, OUT/log.txt.
set -uo pipefail
[ $# -eq 1 ] || { echo "usage: bash benchmarks/gpu.sh OUT" >&2; exit 2; }
mkdir -p "$1" && out=$(cd "$1" && pwd) || exit 2
cd "$(dirname "$0")/.." || exit 2
python=${PYTHON:-$(command -v python3 || command -v python)}

export PYTHONUNBUFFERED=1

step() { # name, command ..: runs it, and says where it failed
  echo "== $1"
  "${@:2}" || { echo "FAILED: $1" >&2; return 1; }
}
skip() { echo "skipped: $1: $2"; }
sees_gpu() { "$python" -c "import torch, sys; sys.exit(not torch.cuda.is_available())" 2>/dev/null; }

build() {
  library=$out/libjcb_cuda.so
  nvcc=$(command -v nvcc || ls "${CUDA_HOME:-/usr/local/cuda}/bin/nvcc" 2>/dev/null)
  if [[ $(nvidia-smi -L 2>/dev/null) != *GPU* ]]; then
    skip "building for this GPU" "nvidia-smi sees none"
    library=""
  elif [ -z "$nvcc" ]; then
    skip "building the CUDA kernels" "nvcc was not found; the Triton kernels do without"
    library=""
  else
    step "building the CUDA kernels" "$nvcc" -t 0 -std=c++20 -O3 -arch=native -shared -Xcompiler -fPIC,-pthread \
      -Icsrc -Icsrc/include csrc/cuda/*.cu csrc/cuda/*.cpp -o "$library" || library=""
  fi
}

tests() {
  if [ -z "$library" ] && ! sees_gpu; then
    skip "tests that need a GPU" "there is none"
  elif ! "$python" -c "import pytest" 2>/dev/null; then
    skip "tests that need a GPU" "pytest is not installed; benchmarks.gpu.measure checks answers too"
  else # warnings of packages that are other versions here are no failures
    TRITON_INTERPRET=0 JCB_CUDA_LIBRARY=$library step "tests that need a GPU" "$python" -m pytest -q -m gpu -W default \
      tests/kernels/test_gpu.py tests/kernels/test_gpu_differentiable.py -p no:cacheprovider
  fi
}

sanitize() { # memcheck, racecheck or synccheck
  local sanitizer code
  sanitizer=$(command -v compute-sanitizer || ls "${CUDA_HOME:-/usr/local/cuda}/bin/compute-sanitizer" 2>/dev/null)
  if [ -z "$library" ]; then
    skip "compute-sanitizer $1" "there is no GPU, or the kernels were not built"
    return
  elif [ -z "$sanitizer" ]; then
    skip "compute-sanitizer $1" "it was not found"
    return
  fi
  echo "== compute-sanitizer $1"
  timeout -k 5 90 "$sanitizer" --tool "$1" --error-exitcode 9 "$python" -m benchmarks.gpu.sanitized "$library" \
    >"$out/sanitizer.txt" 2>&1
  code=$?
  tail -n 20 "$out/sanitizer.txt"
  if [ $code -eq 124 ] || [ $code -eq 137 ]; then
    skip "compute-sanitizer $1" "90 seconds were too few; nothing was found until then"
  elif grep -qi "device not supported" "$out/sanitizer.txt"; then
    skip "compute-sanitizer $1" "it does not support this GPU, or how it is lent"
  elif [ $code -ne 0 ]; then
    echo "FAILED: compute-sanitizer $1" >&2
  fi
}

# What is worth most comes first: a machine may be taken back before the end.
run() {
  build
  step "measuring" "$python" -m benchmarks.gpu.measure "$out" ${library:+--library "$library"}
  tests
  if sees_gpu; then
    step "measuring differentiable MaxSim" "$python" -m benchmarks.training_maxsim --device cuda --out "$out"
  else
    skip "measuring differentiable MaxSim" "torch is missing, or sees no GPU"
  fi
  for tool in memcheck racecheck synccheck; do sanitize $tool; done
}
run 2>&1 | tee "$out/log.txt"
! grep -q "^FAILED" "$out/log.txt"
