#!/usr/bin/env bash
# Everything there is to do on a machine with a GPU: bash benchmarks/gpu.sh OUT
#
# Builds the CUDA kernels with nvcc, runs the tests that need a GPU, compute-sanitizer over a small case, and measures. Needs
# Python 3.11 or newer with torch, triton and numpy; no network, no faiss, no installation. What a machine lacks is skipped
# by name. Where flash-maxsim, late-interaction-kernels or fast-plaid can be imported, they are measured on the same vectors in
# the same run. About five minutes. Results: OUT/gpu.json, OUT/gpu.png, OUT/training-maxsim-cuda.json, OUT/log.txt.
set -uo pipefail
[ $# -eq 1 ] || { echo "usage: bash benchmarks/gpu.sh OUT" >&2; exit 2; }
mkdir -p "$1" && out=$(cd "$1" && pwd) || exit 2
cd "$(dirname "$0")/.." || exit 2
python=${PYTHON:-$(command -v python3 || command -v python)}

step() { # name, command ..: runs it, and says where it failed
  echo "== $1"
  "${@:2}" || { echo "FAILED: $1" >&2; return 1; }
}
skip() { echo "skipped: $1: $2"; }

run() {
  library=$out/libjcb_cuda.so
  nvcc=$(command -v nvcc || ls "${CUDA_HOME:-/usr/local/cuda}/bin/nvcc" 2>/dev/null)
  if ! command -v nvidia-smi >/dev/null || ! nvidia-smi -L 2>/dev/null | grep -q GPU; then
    skip "building for this GPU" "nvidia-smi sees none"
    library=""
  elif [ -z "$nvcc" ]; then
    skip "building the CUDA kernels" "nvcc was not found; the Triton kernels do without"
    library=""
  else
    step "building the CUDA kernels" "$nvcc" -std=c++20 -O3 -arch=native -shared -Xcompiler -fPIC,-pthread \
      -Icsrc -Icsrc/include csrc/cuda/*.cu csrc/cuda/*.cpp -o "$library" || library=""
  fi

  if [ -z "$library" ] && ! "$python" -c "import torch, sys; sys.exit(not torch.cuda.is_available())" 2>/dev/null; then
    skip "tests that need a GPU" "there is none"
    skip "compute-sanitizer" "there is no GPU"
  else
    if "$python" -c "import pytest" 2>/dev/null; then
      TRITON_INTERPRET=0 JCB_CUDA_LIBRARY=$library step "tests that need a GPU" "$python" -m pytest -q -m gpu tests/kernels/test_gpu.py \
        tests/kernels/test_gpu_differentiable.py -p no:cacheprovider
    else
      skip "tests that need a GPU" "pytest is not installed; benchmarks.gpu.measure checks answers too"
    fi
    sanitizer=$(command -v compute-sanitizer || ls "${CUDA_HOME:-/usr/local/cuda}/bin/compute-sanitizer" 2>/dev/null)
    if [ -z "$sanitizer" ] || [ -z "$library" ]; then
      skip "compute-sanitizer" "it was not found, or the kernels were not built"
    else
      for tool in memcheck racecheck synccheck; do
        step "compute-sanitizer $tool" timeout 90 "$sanitizer" --tool "$tool" --error-exitcode 9 \
          "$python" -m benchmarks.gpu.sanitized "$library"
      done
    fi
  fi
  if "$python" -c "import torch, sys; sys.exit(not torch.cuda.is_available())" 2>/dev/null; then
    step "measuring differentiable MaxSim" "$python" -m benchmarks.training_maxsim --device cuda --out "$out"
  else
    skip "measuring differentiable MaxSim" "torch is missing, or sees no GPU"
  fi
  step "measuring" "$python" -m benchmarks.gpu.measure "$out" ${library:+--library "$library"}
}
run 2>&1 | tee "$out/log.txt"
! grep -q "^FAILED" "$out/log.txt"
