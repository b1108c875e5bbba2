#!/bin/sh
# Regenerates the golden files with PyTorch in a virtual environment of its own.
set -eu
cd "$(dirname "$0")/../.."

venv=.venv-golden
requirements=tests/golden/requirements.txt
if ! cmp -s "$requirements" "$venv/installed.txt"; then
    echo "installing PyTorch into $venv (about 3 GB to download)" >&2
    python3 -m venv "$venv"
    "$venv/bin/pip" install --quiet --disable-pip-version-check -r "$requirements"
    cp "$requirements" "$venv/installed.txt"
fi
rm -rf tests/golden/models tests/golden/functional tests/golden/calls tests/golden/interchange tests/golden/ops tests/golden/nn tests/golden/weights tests/golden/optim/*.safetensors
exec "$venv/bin/python" tests/golden/generate.py
