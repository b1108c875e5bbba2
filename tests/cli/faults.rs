//! What is said about faulty input: exit code 2 and a diagnostic, never a panic.

use nnc::ir::{DType, TensorData};

use crate::artifacts::{MODEL, sandbox, tensor};
use crate::sandbox::Sandbox;

pub(crate) const TESTS: &[(&str, fn())] = &[
    ("faults::arguments", arguments),
    ("faults::inputs", inputs),
    ("faults::weights", weights),
    ("faults::text", text),
    ("faults::truncated_files", truncated_files),
    ("faults::random_bytes", random_bytes),
    ("faults::huge_sizes", huge_sizes),
    ("faults::outputs", outputs),
];

/// Checks that the fault names `what`.
fn check(sandbox: &Sandbox, args: &[&str], what: &str) {
    let said = sandbox.refuse(args);
    assert!(said.contains(what), "nnc {}\n{said}\nexpected `{what}`", args.join(" "));
}

fn arguments() {
    let sandbox = sandbox();
    check(&sandbox, &["run", "nowhere.ir"], "nowhere.ir");
    check(&sandbox, &["compile", "."], "cannot read the file");
    check(&sandbox, &["compile", "model.ir", "--target", "tpu"], "tpu");
    check(&sandbox, &["compile", "model.ir", "--target", "cuda:sm_12"], "sm_12");
    check(
        &sandbox,
        &["compile", "model.ir", "--func", "forward"],
        "there is no function @forward; the module has @layer",
    );
    check(&sandbox, &["compile", "model.ir"], "N");
    check(&sandbox, &["compile", "model.ir", "--dim", "M=4"], "N");
    check(&sandbox, &["compile", "model.ir", "--dim", "N"], "found `N`, expected SYMBOL=EXTENT");
    check(&sandbox, &["compile", "model.ir", "--dim", "N=-1"], "`-1`, expected a whole number");
    check(&sandbox, &["compile", "model.ir", "--dim", "N=1", "--dim", "N=2"], "given twice");
    check(&sandbox, &["compile", "model.ir", "--dim", "N=99999999999999999999"], "expected a whole number");
    check(&sandbox, &["compile", "loss.ir", "--dim", "N=4", "--optimizer", "adafactor:lr=1"], "adafactor");
    check(&sandbox, &["compile", "loss.ir", "--dim", "N=4", "--optimizer", "sgd:lr=fast"], "fast");
    check(&sandbox, &["compile", "loss.ir", "--dim", "N=4", "--optimizer", "sgd:nesterov=true"], "nesterov");
    check(&sandbox, &["compile", "model.ir", "--dim", "N=4", "--grad"], "f32[N, 8]");
    check(&sandbox, &["opt", "model.ir", "--pass", "constant_fold"], "unknown pass `constant_fold`, expected one of");
    check(&sandbox, &["opt", "model.ir", "--stop-after", "nothing"], "unknown pass `nothing`");
    check(&sandbox, &["opt", "model.ir", "--print-after", "nothing"], "unknown pass `nothing`");
    // What clap refuses has its exit code too.
    assert_eq!(sandbox.run(&["compile", "model.ir", "-O", "9"]).status, 2);
    assert_eq!(sandbox.run(&["compile", "model.ir", "--emit", "elf"]).status, 2);
    assert_eq!(sandbox.run(&["frobnicate"]).status, 2);
    assert_eq!(sandbox.run(&["compile", "loss.ir", "--grad", "--optimizer", "sgd:lr=1"]).status, 2);
}

fn inputs() {
    let sandbox = sandbox();
    sandbox.succeed(&["compile", "model.ir", "--dim", "N=5"]);
    sandbox.write_npy("narrow.npy", &tensor(&[5, 11], 0));
    sandbox.write_npy("short.npy", &tensor(&[4, 12], 0));
    sandbox.write_npy("flat.npy", &tensor(&[60], 0));
    sandbox.write_npy("double.npy", &TensorData::from_doubles(DType::F64, vec![5, 12], vec![0.0; 60]));
    for model in ["model.ir", "model.nnc"] {
        check(&sandbox, &["run", model], "not given, expected f32[");
        check(&sandbox, &["run", model, "--input", "x"], "found `x`, expected NAME=FILE");
        check(&sandbox, &["run", model, "--input", "x=nowhere.npy"], "nowhere.npy");
        check(
            &sandbox,
            &["run", model, "--input", "x=x.npy", "--input", "z=x.npy"],
            "there is no such input; expected x",
        );
        check(&sandbox, &["run", model, "--input", "x=narrow.npy"], "f32[5, 11]");
        check(&sandbox, &["run", model, "--input", "x=flat.npy"], "f32[60]");
        check(&sandbox, &["run", model, "--input", "x=double.npy"], "f64[5, 12]");
        check(&sandbox, &["run", model, "--input", "x=model.ir"], "model.ir");
        check(&sandbox, &["run", model, "--inputs", "x.npy"], "x.npy");
    }
    check(&sandbox, &["run", "model.nnc", "--input", "x=short.npy"], "found f32[4, 12], expected f32[5, 12]");
    check(&sandbox, &["run", "model.ir", "--dim", "N=5", "--input", "x=short.npy"], "N");
    check(&sandbox, &["run", "model.ir", "--seed", "1"], "expected --dim for each symbol");
    check(&sandbox, &["run", "model.nnc", "--device", "interp", "--input", "x=x.npy"], "the interpreter needs a model");
    check(&sandbox, &["run", "model.nnc", "--device", "cuda", "--input", "x=x.npy"], "cuda");
}

fn weights() {
    let sandbox = sandbox();
    let refused = |name: &str, data: TensorData, what: &str| {
        let mut weights = nnc::ir::WeightFile::default();
        weights.tensors.insert("layer.bias".into(), tensor(&[8], 2));
        weights.tensors.insert(name.into(), data);
        sandbox.write("model.safetensors", &weights.to_bytes());
        for command in ["run", "compile", "inspect", "opt", "explain"] {
            check(&sandbox, &[command, "model.ir"], what);
        }
    };
    refused("other", tensor(&[8, 12], 1), "layer.weight");
    refused("layer.weight", tensor(&[8, 13], 1), "f32[8, 13]");
    refused("layer.weight", TensorData::from_doubles(DType::F64, vec![8, 12], vec![0.0; 96]), "f64[8, 12]");
    std::fs::remove_file(sandbox.path("model.safetensors")).expect("it was there");
    check(&sandbox, &["run", "model.ir"], "model.safetensors");
    sandbox.write("model.safetensors", b"");
    check(&sandbox, &["run", "model.ir"], "model.safetensors");
}

fn text() {
    let sandbox = sandbox();
    let refused = |from: &str, to: &str, what: &str| {
        assert!(MODEL.contains(from), "{from}");
        sandbox.write("model.ir", MODEL.replacen(from, to, 1).as_bytes());
        check(&sandbox, &["compile", "model.ir", "--dim", "N=1"], what);
    };
    refused("f32[N, 12]", "f32[N, 13]", "model.ir:8:");
    refused("add", "ad", "`ad`");
    refused("%bias {", "%bias, {", "model.ir:9:");
    refused("return %4", "return %7", "`%7`");
    refused("func", "\u{0}", "model.ir:1:1");
    refused("lhs_contract = [1]", "lhs_contract = [9]", "model.ir:8:");
    refused("constant 0.0", "constant zero", "model.ir:11:");
    sandbox.write("model.ir", b"\xff\xfe func");
    check(&sandbox, &["compile", "model.ir"], "model.ir");
    sandbox.write("model.ir", b"");
    check(&sandbox, &["compile", "model.ir"], "model.ir");
}

/// Every file there is, cut short.
fn truncated_files() {
    let sandbox = sandbox();
    sandbox.succeed(&["compile", "model.ir", "--dim", "N=5"]);
    sandbox.succeed(&["run", "model.ir", "--input", "x=x.npy", "--outputs", "in.npz"]);
    let module = nnc::ir::load_module(&sandbox.path("model.ir")).expect("a module");
    nnc::ir::save_module(&sandbox.path("copy.irb"), &module).expect("a binary module");
    for (name, args) in [
        ("model.ir", &["compile", "model.ir", "--dim", "N=1"][..]),
        ("model.safetensors", &["compile", "model.ir", "--dim", "N=1"]),
        ("copy.irb", &["compile", "copy.irb", "--dim", "N=1"]),
        ("model.nnc", &["run", "model.nnc", "--input", "x=x.npy"]),
        ("x.npy", &["run", "model.ir", "--input", "x=x.npy"]),
        ("in.npz", &["run", "model.ir", "--inputs", "in.npz"]),
    ] {
        let whole = sandbox.read(name);
        for part in [0, 1, 7, whole.len() / 3, whole.len() / 2, whole.len() * 9 / 10, whole.len() - 4] {
            sandbox.write(name, &whole[..part]);
            sandbox.refuse(args);
        }
        sandbox.write(name, &whole);
    }
}

/// A sequence that is the same on every run (Knuth's MMIX generator).
fn noise(seed: u64, n: usize) -> Vec<u8> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as u8
    };
    (0..n).map(|_| next()).collect()
}

/// Files of random bytes, also behind the first bytes of a good file.
fn random_bytes() {
    let sandbox = sandbox();
    sandbox.succeed(&["compile", "model.ir", "--dim", "N=5"]);
    let starts: [(&str, &[u8]); 4] = [
        ("ir", b""),
        ("nnc", &nnc::runtime::artifact::SIGNATURE),
        ("npy", b"\x93NUMPY\x01\x00"),
        ("npz", b"PK\x03\x04"),
    ];
    for (extension, start) in starts {
        for seed in 0..4 {
            let bytes = noise(seed, 50 << (2 * seed));
            for prefix in [&b""[..], start] {
                let name = format!("noise.{extension}");
                sandbox.write(&name, &[prefix, &bytes].concat());
                let input = format!("x={name}");
                match extension {
                    "npy" => sandbox.refuse(&["run", "model.ir", "--input", &input]),
                    "npz" => sandbox.refuse(&["run", "model.ir", "--inputs", &name]),
                    _ => sandbox.refuse(&["run", &name, "--input", "x=x.npy"]),
                };
            }
        }
    }
    sandbox.write("model.safetensors", &noise(9, 1000));
    sandbox.refuse(&["run", "model.ir", "--input", "x=x.npy"]);
}

/// Sizes that no machine has memory for, in every header that announces one.
fn huge_sizes() {
    let sandbox = sandbox();
    sandbox.succeed(&["compile", "model.ir", "--dim", "N=5"]);
    check(&sandbox, &["run", "model.ir", "--dim", "N=4000000000000000000", "--seed", "1"], "no memory");
    check(&sandbox, &["compile", "model.ir", "--dim", "N=4000000000000000000"], "4000000000000000000");
    sandbox.refuse(&["run", "model.ir", "--dim", "N=400000000000000", "--seed", "1"]);
    for extent in ["9223372036854775807", "99999999999999999999"] {
        let text =
            format!("func @f(%x: f32[{extent}, {extent}]) -> (x: f32[{extent}, {extent}]) {{\n  return %x\n}}\n");
        sandbox.write("huge.ir", text.as_bytes());
        sandbox.refuse(&["compile", "huge.ir"]);
    }
    let mut artifact = sandbox.read("model.nnc");
    artifact[16..24].copy_from_slice(&u64::MAX.to_le_bytes());
    sandbox.write("huge.nnc", &artifact);
    sandbox.refuse(&["run", "huge.nnc"]);
    let mut weights = sandbox.read("model.safetensors");
    weights[..8].copy_from_slice(&(u64::MAX / 2).to_le_bytes());
    sandbox.write("model.safetensors", &weights);
    sandbox.refuse(&["compile", "model.ir", "--dim", "N=1"]);
    let header =
        format!("{:<117}\n", "{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999, 99999999999), }");
    sandbox.write("huge.npy", &[&b"\x93NUMPY\x01\x00\x76\x00"[..], header.as_bytes()].concat());
    let sandbox = crate::artifacts::sandbox();
    sandbox.write("huge.npy", &[&b"\x93NUMPY\x01\x00\x76\x00"[..], header.as_bytes()].concat());
    check(&sandbox, &["run", "model.ir", "--input", "x=huge.npy"], "huge.npy");
}

fn outputs() {
    let sandbox = sandbox();
    check(&sandbox, &["compile", "model.ir", "--dim", "N=1", "-o", "no/such/folder.nnc"], "no/such/folder.nnc");
    check(
        &sandbox,
        &["run", "model.ir", "--input", "x=x.npy", "--outputs", "no/such/folder.npz"],
        "no/such/folder.npz",
    );
    check(&sandbox, &["opt", "model.ir", "-o", "no/such/folder.ir"], "no/such/folder.ir");
}
