#!/usr/bin/env bash
# Make an environment, install with all that the tests need, and pass lint, types, import contracts and tests.
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"

# Editable: tests and tools read the sources here, and the native extension is built beside them.
install_package --editable ".[cpu,mini,models,readers,dev]"
"$VENV/bin/ruff" check .
"$VENV/bin/ruff" format --check .
"$VENV/bin/mypy"
"$VENV/bin/lint-imports"
"$VENV/bin/python" -m pytest "$@"
