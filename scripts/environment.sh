# Sourced by the other scripts: makes the virtual environment .venv once, and brings it up to date when pyproject.toml
# or the native sources have changed. PYTHON names the interpreter (3.11 or newer), VENV the folder.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

PYTHON=${PYTHON:-python3}
VENV=${VENV:-.venv}

"$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
  echo "error: $PYTHON is $("$PYTHON" -V 2>&1); jcb-engine needs Python 3.11 or newer (set PYTHON=...)" >&2
  exit 2
}

# install_package EXTRAS [pip options]: into the environment. torch is pinned because a plain `torch` brings several
# gigabytes of CUDA packages to a machine that has no GPU; the package itself takes any recent torch.
install_package() {
  local extras=$1
  shift
  [ -x "$VENV/bin/python" ] || "$PYTHON" -m venv "$VENV"
  "$VENV/bin/pip" install --quiet --disable-pip-version-check "torch==${TORCH_VERSION:-2.13.0}"
  "$VENV/bin/pip" install --quiet --disable-pip-version-check "$@" ".[$extras]"
}
