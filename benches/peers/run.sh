#!/bin/sh
# Measures PyTorch, JAX, and nnc in one run; arguments go to driver.py (see README.md).
set -eu
cd "$(dirname "$0")/../.."

venv=.venv-peers
requirements=benches/peers/requirements.txt
if ! cmp -s "$requirements" "$venv/installed.txt"; then
    echo "installing PyTorch and JAX into $venv (about 3 GB to download, 8 GB on disk)" >&2
    python3 -m venv "$venv"
    "$venv/bin/pip" install --quiet --disable-pip-version-check -r "$requirements"
    cp "$requirements" "$venv/installed.txt"
fi
for tool in taskset g++; do
    command -v "$tool" >/dev/null || { echo "run.sh needs $tool (packages util-linux, g++)" >&2; exit 1; }
done

FEATURES=$(scripts/features.sh)
cargo build --release --example peer_bench --features "$FEATURES"
exec "$venv/bin/python" benches/peers/driver.py "$@"
