#!/usr/bin/env bash
# Make an environment, install with all that the tests need, and pass lint, types, import contracts and tests.
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"

install_package cpu,mini,models,readers,dev
# Tools and tests read the sources here; the native extension is built beside them.
JCB_BUILD_TESTS=ON "$VENV/bin/python" setup.py --quiet build_ext --inplace
"$VENV/bin/ruff" check .
"$VENV/bin/ruff" format --check .
"$VENV/bin/mypy"
"$VENV/bin/lint-imports"
"$VENV/bin/python" -m pytest "$@"
