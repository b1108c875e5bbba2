#!/bin/sh
# Installs what building and running nnc needs on Debian and Ubuntu; says first what it will install. Safe to run again: where
# nothing is missing it does nothing and needs no network.
#
#   scripts/setup.sh           to build and run
#   scripts/setup.sh --test    also what the tests use (ptxas, NVIDIA's assembler, in .venv)
set -eu
cd "$(dirname "$0")/.."

say() { echo "setup: $*" >&2; }
die() { say "$*"; exit 1; }

# Rust: its version is the user's to choose, so it is only checked.
required=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)
if ! command -v cargo >/dev/null 2>&1 && [ -x "$HOME/.cargo/bin/cargo" ]; then
    die "cargo is in $HOME/.cargo/bin but not in PATH: run '. $HOME/.cargo/env' first"
fi
command -v cargo >/dev/null 2>&1 ||
    die "Rust $required or newer is needed and there is no cargo: install rustup (https://rustup.rs), then 'rustup toolchain install stable'"
found=$(cargo --version | cut -d' ' -f2)
if [ "$(printf '%s\n%s\n' "$required" "$found" | sort -V | head -n1)" != "$required" ]; then
    die "Rust $required or newer is needed, found $found at $(command -v cargo):" \
        "run 'rustup update stable' (a distribution's own cargo package is usually too old; see https://rustup.rs)"
fi

# Debian packages. Each is asked for only if what it provides is missing.
missing=""
want() { missing="$missing $1"; }
command -v cc >/dev/null 2>&1 || want build-essential
command -v llvm-config-22 >/dev/null 2>&1 || [ -n "${LLVM_SYS_221_PREFIX:-}" ] || want llvm-22-dev
[ -e /usr/share/datasets/fashion-mnist/train-images-idx3-ubyte.gz ] || want dataset-fashion-mnist
if [ "${1:-}" = --test ] && [ ! -x .venv/bin/ptxas ] && ! python3 -c 'import venv, ensurepip' 2>/dev/null; then
    want python3-venv
fi

if [ -n "$missing" ]; then
    command -v apt-get >/dev/null 2>&1 ||
        die "this system has no apt-get; install what corresponds to:$missing"
    root=""
    if [ "$(id -u)" != 0 ]; then
        command -v sudo >/dev/null 2>&1 || die "run as root, or install sudo; missing:$missing"
        root="sudo"
    fi
    apt() { $root env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 "$@"; }

    say "will install these Debian packages:$missing"
    case "$missing" in *llvm-22-dev*) say "(llvm-22-dev is about 120 MB to download, 450 MB on disk)" ;; esac
    apt -qq update || say "apt-get update failed; trying with the package lists at hand"
    available=""
    for package in $missing; do
        candidate=$(LC_ALL=C apt-cache policy "$package" | sed -n 's/^ *Candidate: //p')
        if [ -n "$candidate" ] && [ "$candidate" != "(none)" ]; then
            available="$available $package"
            continue
        fi
        case "$package" in
        llvm-22-dev)
            say "this system's archive has no llvm-22-dev: building WITHOUT the LLVM back ends (optimized CPU code, PTX)."
            say "The Cranelift back end needs nothing. To have them, install LLVM 22 from LLVM's own package archive and run this again."
            ;;
        dataset-fashion-mnist)
            say "this system's archive has no dataset-fashion-mnist: give the example the folder with the four IDX files as --data DIR"
            ;;
        *) die "this system's archive has no package $package" ;;
        esac
    done
    # shellcheck disable=SC2086 # a list of words
    [ -z "$available" ] || apt -qq install -y --no-install-recommends $available >&2 || die "installing$available failed"
fi

# ptxas checks that the generated PTX assembles. The tests report a skip where it cannot be had.
if [ "${1:-}" = --test ] && [ ! -x .venv/bin/ptxas ]; then
    say "will install ptxas 12.9 (the Python package nvidia-cuda-nvcc-cu12, 40 MB) into .venv"
    if python3 -m venv .venv && .venv/bin/pip install --quiet --disable-pip-version-check nvidia-cuda-nvcc-cu12==12.9.86; then
        ptxas=$(echo .venv/lib/python3*/site-packages/nvidia/cuda_nvcc/bin/ptxas)
        ln -sf "../../$ptxas" .venv/bin/ptxas
    else
        say "ptxas could not be installed: the tests that assemble PTX will report a skip"
    fi
fi
