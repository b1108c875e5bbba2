//! What `compile`, `run`, `opt`, `inspect`, `explain` and `targets` make of good input.

use nnc::ir::npy::load_npz;
use nnc::ir::{TensorData, WeightFile};

use crate::sandbox::Sandbox;

pub(crate) const TESTS: &[(&str, fn())] = &[
    ("artifacts::compiling_twice_gives_the_same_bytes", compiling_twice_gives_the_same_bytes),
    ("artifacts::running_an_artifact_is_running_the_model", running_an_artifact_is_running_the_model),
    ("artifacts::every_number_of_threads_gives_the_same_bytes", every_number_of_threads_gives_the_same_bytes),
    ("artifacts::every_form_is_emitted", every_form_is_emitted),
    ("artifacts::what_a_build_lacks_is_said", what_a_build_lacks_is_said),
    ("artifacts::a_training_step_is_compiled_and_run", a_training_step_is_compiled_and_run),
    ("artifacts::everything_can_be_looked_at", everything_can_be_looked_at),
    ("artifacts::text_and_binary_modules_are_the_same", text_and_binary_modules_are_the_same),
    ("artifacts::weights_are_listed_and_converted", weights_are_listed_and_converted),
];

/// A layer with weights and a symbolic batch.
pub(crate) const MODEL: &str = "\
func @layer(
  %x: f32[N, 12],
  param %weight: f32[8, 12] = @layer.weight,
  param %bias: f32[8] = @layer.bias,
) -> (
  y: f32[N, 8],
) {
  %0 = dot_general %x, %weight {lhs_contract = [1], rhs_contract = [1]} : f32[N, 8]
  %1 = broadcast_in_dim %bias {dims = [1]} : f32[N, 8]
  %2 = add %0, %1 : f32[N, 8]
  %3 = constant 0.0 : f32[N, 8]
  %4 = maximum %2, %3 : f32[N, 8]
  return %4
}
";

/// The same layer with a loss.
const LOSS: &str = "\
func @loss(%x: f32[N, 12], %y: f32[N, 8], param %weight: f32[8, 12] = @layer.weight) -> (loss: f32[]) {
  %0 = dot_general %x, %weight {lhs_contract = [1], rhs_contract = [1]} : f32[N, 8]
  %1 = subtract %0, %y : f32[N, 8]
  %2 = multiply %1, %1 : f32[N, 8]
  %3 = reduce %2 {kind = sum, dims = [0, 1]} : f32[]
  return %3
}
";

pub(crate) fn tensor(shape: &[usize], salt: usize) -> TensorData {
    let n = shape.iter().product::<usize>();
    let values: Vec<f32> = (0..n).map(|idx| ((idx * 37 + salt * 11) % 29) as f32 / 14.0 - 1.0).collect();
    TensorData::from_f32(shape.to_vec(), &values)
}

/// A folder with `model.ir`, `loss.ir`, their weights, and `x.npy`, `y.npy` for a batch of 5.
pub(crate) fn sandbox() -> Sandbox {
    let sandbox = Sandbox::new();
    let mut weights = WeightFile::default();
    weights.tensors.insert("layer.weight".into(), tensor(&[8, 12], 1));
    weights.tensors.insert("layer.bias".into(), tensor(&[8], 2));
    for (name, text) in [("model", MODEL), ("loss", LOSS)] {
        sandbox.write(&format!("{name}.ir"), text.as_bytes());
        sandbox.write(&format!("{name}.safetensors"), &weights.to_bytes());
    }
    sandbox.write_npy("x.npy", &tensor(&[5, 12], 3));
    sandbox.write_npy("y.npy", &tensor(&[5, 8], 4));
    sandbox
}

fn compiling_twice_gives_the_same_bytes() {
    let sandbox = sandbox();
    for (model, args) in [("model.ir", &[][..]), ("loss.ir", &["--optimizer", "sgd:lr=0.1,momentum=0.9"][..])] {
        let compile = |output: &str| {
            let mut all = vec!["compile", model, "--dim", "N=5", "-o", output];
            all.extend(args);
            sandbox.succeed(&all);
            sandbox.read(output)
        };
        assert!(compile("first.nnc") == compile("second.nnc"), "{model} {args:?}");
    }
}

fn running_an_artifact_is_running_the_model() {
    let sandbox = sandbox();
    let said = sandbox.succeed(&["compile", "model.ir", "--dim", "N=5"]);
    assert!(said.starts_with("model.nnc: @layer for cpu (cranelift)\npeak memory "), "{said}");
    let from_model = sandbox.succeed(&["run", "model.ir", "--input", "x=x.npy"]);
    assert!(from_model.starts_with("y: f32[5, 8]\n"), "{from_model}");
    assert_eq!(sandbox.succeed(&["run", "model.nnc", "--input", "x=x.npy"]), from_model);
    sandbox.succeed(&["run", "model.nnc", "--input", "x=x.npy", "--outputs", "out.npz"]);
    let compiled = &load_npz(&sandbox.path("out.npz")).expect("an archive")["y"];
    sandbox.succeed(&["run", "model.ir", "--input", "x=x.npy", "--device", "interp", "--outputs", "out.npz"]);
    let interpreted = &load_npz(&sandbox.path("out.npz")).expect("an archive")["y"];
    nnc_tests::golden::close(interpreted, compiled, 1e-6, nnc_tests::golden::Scale::Tensor).expect("close results");
}

fn every_number_of_threads_gives_the_same_bytes() {
    let sandbox = sandbox();
    let run = |threads: &str, seed: &str| {
        sandbox.succeed(&[
            "run",
            "model.ir",
            "--dim",
            "N=300",
            "--seed",
            seed,
            "--threads",
            threads,
            "--outputs",
            "out.npz",
        ]);
        sandbox.read("out.npz")
    };
    let one = run("1", "4");
    assert!(one == run("2", "4"));
    assert!(one == run("1", "4"), "from run to run");
    assert!(one != run("1", "5"), "another seed");
}

fn every_form_is_emitted() {
    let sandbox = sandbox();
    let emit = |form: &str| sandbox.succeed(&["compile", "model.ir", "--dim", "N=5", "--emit", form]);
    assert!(emit("ir").starts_with("func @layer(%x: f32[5, 12]) -> (y: f32[5, 8]) {\n"), "{}", emit("ir"));
    for (form, expected) in [("kernel", "kernel "), ("clif", "function "), ("llvm", "define "), ("asm", "ret")] {
        let text = emit(form);
        assert!(text.contains(expected), "{form}:\n{text}");
        assert_eq!(text, emit(form), "{form} from run to run");
    }
    sandbox.succeed(&["compile", "model.ir", "--dim", "N=5", "--emit", "kernel", "--target", "cuda"]);
    sandbox.succeed(&["compile", "model.ir", "--dim", "N=5", "--emit", "llvm", "--target", "cuda"]);
    // What was emitted as a module is a module.
    sandbox.succeed(&["compile", "model.ir", "--dim", "N=5", "--emit", "ir", "-o", "fused.ir"]);
    let again = sandbox.succeed(&["run", "fused.ir", "--input", "x=x.npy"]);
    assert_eq!(again, sandbox.succeed(&["run", "model.ir", "--input", "x=x.npy"]));
    sandbox.refuse(&["compile", "model.ir", "--dim", "N=5", "--emit", "clif", "--target", "cuda"]);
    sandbox.refuse(&["compile", "model.ir", "--dim", "N=5", "--emit", "ptx"]);
}

fn what_a_build_lacks_is_said() {
    let sandbox = sandbox();
    let to_cuda = ["compile", "model.ir", "--dim", "N=5", "--target", "cuda:sm_90", "-o", "cuda.nnc"];
    if cfg!(feature = "llvm") {
        let said = sandbox.succeed(&to_cuda);
        assert!(said.starts_with("cuda.nnc: @layer for cuda:sm_90 (nvptx)\n"), "{said}");
        let ptx = sandbox.succeed(&["compile", "model.ir", "--dim", "N=5", "--target", "cuda", "--emit", "ptx"]);
        assert!(ptx.contains(".entry"), "{ptx}");
    } else {
        for args in [&to_cuda[..], &["run", "model.ir", "--input", "x=x.npy", "--tier", "llvm"]] {
            let said = sandbox.refuse(args);
            assert!(said.contains("llvm"), "{said}");
        }
    }
    assert!(sandbox.succeed(&["targets"]).contains("cranelift"));
}

fn a_training_step_is_compiled_and_run() {
    let sandbox = sandbox();
    let optimizer = ["--optimizer", "sgd:lr=0.01,momentum=0.9"];
    let inputs = ["--input", "x=x.npy", "--input", "y=y.npy"];
    let from_model = sandbox.succeed(&[&["run", "loss.ir"], &optimizer[..], &inputs].concat());
    assert!(from_model.starts_with("loss: f32[]\n"), "{from_model}");
    sandbox.succeed(&[&["compile", "loss.ir", "--dim", "N=5"], &optimizer[..]].concat());
    sandbox.write_npy("lr.npy", &TensorData::from_f32(vec![], &[0.01]));
    let from_artifact = sandbox.succeed(&[&["run", "loss.nnc", "--input", "lr=lr.npy"], &inputs[..]].concat());
    assert_eq!(from_artifact, from_model);
    let gradients = sandbox.succeed(&[&["run", "loss.ir", "--grad"], &inputs[..]].concat());
    assert!(gradients.contains("weight: f32[8, 12]"), "{gradients}");
}

fn everything_can_be_looked_at() {
    let sandbox = sandbox();
    sandbox.succeed(&["compile", "model.ir", "--dim", "N=5"]);
    assert!(sandbox.succeed(&["inspect", "model.ir"]).contains("@layer"));
    assert!(sandbox.succeed(&["inspect", "model.nnc"]).contains("layer"));
    assert!(sandbox.succeed(&["inspect", "model.ir", "--graph", "dot"]).starts_with("digraph"));
    assert!(sandbox.succeed(&["inspect", "model.ir", "--graph", "svg"]).contains("<svg"));
    assert!(sandbox.succeed(&["explain", "model.ir", "--dim", "N=5"]).contains("fuse (made)"));
    let json = sandbox.succeed(&["explain", "model.ir", "--dim", "N=5", "--json"]);
    let explained: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!(explained["func"], "layer");
    assert!(sandbox.succeed(&["opt", "--list"]).contains("const_fold"));
    let stopped = sandbox.run(&["opt", "model.ir", "--stop-after", "cse", "--print-after", "all", "--timings"]);
    assert!(stopped.stderr.contains("// after cse") && !stopped.stderr.contains("// after simplify"), "{stopped:?}");
}

fn text_and_binary_modules_are_the_same() {
    let sandbox = sandbox();
    let module = nnc::ir::load_module(&sandbox.path("model.ir")).expect("a module");
    nnc::ir::save_module(&sandbox.path("copy.irb"), &module).expect("a binary module");
    let of_text = sandbox.succeed(&["run", "model.ir", "--input", "x=x.npy"]);
    assert_eq!(sandbox.succeed(&["run", "copy.irb", "--input", "x=x.npy"]), of_text);
}

fn weights_are_listed_and_converted() {
    let sandbox = Sandbox::new();
    let checkpoint = nnc_tests::golden::folder().join("weights/nested.pt");
    let checkpoint = checkpoint.to_str().expect("the path is text");
    let all = sandbox.succeed(&["weights", checkpoint]);
    assert!(all.contains("model.layers.2.weight: f32[6]\nmodel.layers.10.weight: f32[6]\n"), "{all}");
    assert!(all.contains("optimizer.state.0.momentum: f32[2]\n"), "{all}");
    let said = sandbox.succeed(&["weights", checkpoint, "--below", "model.layers.", "-o", "out.safetensors"]);
    assert_eq!(said, "out.safetensors: 2 tensors, 48 bytes\n");
    assert_eq!(
        sandbox.succeed(&["weights", "out.safetensors"]),
        "2.weight: f32[6]\n10.weight: f32[6]\n2 tensors, 48 bytes\n"
    );
    sandbox.succeed(&["weights", "out.safetensors", "--dtype", "f16", "-o", "out.npz"]);
    assert_eq!(sandbox.succeed(&["weights", "out.npz"]), "2.weight: f16[6]\n10.weight: f16[6]\n2 tensors, 24 bytes\n");
    let said = sandbox.refuse(&["weights", "nothing.pt"]);
    assert!(said.contains("error: cannot read the file: ") && said.contains("nothing.pt"), "{said}");
}
