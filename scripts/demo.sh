#!/usr/bin/env bash
# Make an environment, install, index the documentation of Python's standard library, and answer questions from it.
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"
INDEX=${1:-demo-index}

echo "== installing into $VENV"
install_package ".[cpu,mini]"
echo "== indexing the documentation strings of the standard library into $INDEX"
"$VENV/bin/jcb-index" build --from python-docs --overwrite "$INDEX"
for question in "how do I parse a date from a string?" "run a command and capture its output" "count the words of a list"; do
  echo
  echo "== jcb-search query $INDEX \"$question\" -k 3"
  "$VENV/bin/jcb-search" query "$INDEX" "$question" -k 3
done
