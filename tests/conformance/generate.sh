#!/bin/sh
# Makes ONNX's backend test data in a virtual environment of its own, and prints the folder it lies in. Does nothing where it is there already.
set -eu
cd "$(dirname "$0")/../.."

venv=.venv-onnx
here=tests/conformance
stamp=$(cat "$here/requirements.txt" "$here/generate.py")
if [ "$(cat "$venv/cases/stamp" 2>/dev/null || true)" != "$stamp" ]; then
    echo "installing ONNX and ONNX Runtime into $venv (about 80 MB to download) and generating its backend test data" >&2
    python3 -m venv "$venv"
    "$venv/bin/pip" install --quiet --disable-pip-version-check -r "$here/requirements.txt" >&2
    rm -rf "$venv/cases"
    "$venv/bin/python" "$here/generate.py" "$venv/cases" >&2
    printf '%s' "$stamp" >"$venv/cases/stamp"
fi
echo "$venv/cases"
