#!/bin/sh
# Prints the cargo features this machine can build: `llvm,cuda` where LLVM 22's development package is, else `cuda`.
# (`cuda` loads the driver at run time and needs nothing to build; generating code for GPUs is part of `llvm`.)
if command -v llvm-config-22 >/dev/null 2>&1 || [ -n "${LLVM_SYS_221_PREFIX:-}" ]; then
    echo llvm,cuda
else
    echo cuda
fi
