#!/bin/sh
# Measures whole models on nnc and ONNX Runtime in one run; arguments go to models.py.
set -eu
cd "$(dirname "$0")/../.."

venv=.venv-models
requirements=benches/peers/requirements-models.txt
if ! cmp -s "$requirements" "$venv/installed.txt"; then
    echo "installing ONNX Runtime into $venv" >&2
    python3 -m venv "$venv"
    "$venv/bin/pip" install --quiet --disable-pip-version-check -r "$requirements"
    cp "$requirements" "$venv/installed.txt"
fi
scripts/fetch_models.sh
FEATURES=$(scripts/features.sh)
cargo build --release --example peer_models --example rank_sentences --features "$FEATURES"
target/release/examples/rank_sentences --export out/models/minilm/minilm.onnx >&2
exec "$venv/bin/python" benches/peers/models.py "$@"
