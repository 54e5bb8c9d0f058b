# Sourced by the other scripts: makes the virtual environment .venv and installs jcb-engine into it.
# PYTHON names the interpreter (3.11 or newer), VENV the folder, TORCH_VERSION another torch.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

PYTHON=${PYTHON:-python3}
VENV=${VENV:-.venv}

"$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
  echo "error: $PYTHON is $("$PYTHON" -V 2>&1); jcb-engine needs Python 3.11 or newer (set PYTHON=...)" >&2
  exit 2
}

# install_package TARGET: what pip installs, such as ".[cpu]" or "--editable .[dev]".
# torch is installed first and pinned, so that every machine runs the version that was tested; the package itself takes
# any recent one. To use another build of it (a CPU-only one, say), install that into the environment beforehand.
install_package() {
  [ -x "$VENV/bin/python" ] || "$PYTHON" -m venv "$VENV"
  local pip=("$VENV/bin/pip" --quiet --disable-pip-version-check)
  "$VENV/bin/python" -c 'import torch' 2>/dev/null || "${pip[@]}" install "torch==${TORCH_VERSION:-2.13.0}"
  "${pip[@]}" install "$@"
}
