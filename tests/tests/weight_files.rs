//! Files of weights in every format (`golden/weights`, written by PyTorch) give one state dict, and damaged ones a
//! diagnostic.

use std::path::PathBuf;

use nnc_frontend::module::StateDict;
use nnc_frontend::prelude::*;
use pretty_assertions::assert_eq;

fn path(name: &str) -> PathBuf {
    nnc_tests::golden::folder().join("weights").join(name)
}

fn load(name: &str) -> StateDict {
    StateDict::load(path(name)).unwrap_or_else(|fault| panic!("{fault}"))
}

/// The message, with only the file names of paths.
fn refusal(path: &std::path::Path) -> String {
    let fault = StateDict::load(path).expect_err("the file is faulty").to_string();
    let folder = format!("{}/", path.parent().expect("a file lies in a folder").display());
    fault.replace(&folder, "")
}

#[test]
fn every_format_gives_the_same_tensors() {
    let expected = load("expected.safetensors");
    assert_eq!(expected.len(), 16);
    let files = ["zip.pt", "legacy.pt", "model.safetensors.index.json", "pytorch_model.bin.index.json"];
    for file in files {
        assert_eq!(load(file), expected, "{file}");
    }
    assert_eq!(load("nested.pt").below("model."), expected);
    assert_eq!(load(""), expected, "the folder's index");
    let mut without_bf16 = expected;
    without_bf16.remove("bf16");
    assert_eq!(load("arrays.npz"), without_bf16);
}

#[test]
fn tensors_have_pytorchs_values_and_an_order() {
    let state = load("zip.pt");
    let names: Vec<&str> = state.keys().collect();
    let layers: Vec<&str> = names.iter().copied().filter(|name| name.starts_with("layers.")).collect();
    assert_eq!(layers, ["layers.2.weight", "layers.10.weight"]);
    assert!(names.is_sorted_by_key(|name| name.split('.').next()), "{names:?}");
    let get = |name: &str| state.get(name).expect("it is there");
    assert_eq!(get("strided").to_f32(), [0.75, 1.125, 2.25, 2.625]);
    assert_eq!(get("expanded").to_f32(), [1.5, 1.5, 1.5, -2.5, -2.5, -2.5]);
    assert_eq!(get("transposed").shape, [6, 4]);
    assert_eq!(get("i64").scalars().map(|scalar| scalar.to_i64()).collect::<Vec<_>>(), [-3 << 40, 0, 100 << 40]);
}

#[test]
fn a_whole_module_is_its_state() {
    let model = sequential![Linear::new(3, 2), BatchNorm1d::new(2)];
    model.load_state_dict(&load("module.pt")).expect("the same layers");
}

/// Unpickling with Python would call `pathlib.Path("executed").write_text("")`.
#[test]
fn nothing_in_a_file_is_executed() {
    assert_eq!(load("unsafe.pt").keys().collect::<Vec<_>>(), ["weight"]);
    assert!(!PathBuf::from("executed").exists());
}

#[test]
fn what_does_not_fit_is_listed_with_the_file() {
    let error = Linear::new(3, 2).load_state_dict(&load("module.pt")).expect_err("other names").to_string();
    assert!(error.contains("module.pt: the state dict does not fit the module\n  missing: weight, bias\n"), "{error}");
}

#[test]
fn faulty_files_are_refused() {
    let refused = refusal(&path("complex.pt"));
    assert!(refused.starts_with("complex.pt: the file is no weights that nnc reads: "), "{refused}");
    let dir = tempfile::tempdir().expect("a temporary folder");
    let write = |name: &str, content: &[u8]| {
        let path = dir.path().join(name);
        std::fs::write(&path, content).expect("written");
        path
    };
    assert!(refusal(&write("noise.pt", b"noise")).contains("not a PyTorch checkpoint"));
    assert!(refusal(&write("empty.pt", b"")).contains("not a PyTorch checkpoint"));
    assert!(refusal(&write("short.safetensors", b"abc")).contains("the file has 3 bytes"));
    assert!(refusal(&write("short.npz", b"PK\x03\x04")).contains("unreadable archive"));
    assert!(refusal(&write("one.npy", b"\x93NUMPY\x01\x00")).contains("expected an .npz archive"));
    assert!(refusal(&write("a.json", b"{}")).contains("malformed index of weights: missing field `weight_map`"));
    let listed = refusal(&write("b.json", br#"{"weight_map": {"x": "../b", "y": "gone.safetensors", "z": "b.json"}}"#));
    let expected = "b.json: 3 shards cannot be read\
        \n  note: `../b` is not the name of a file beside the index\
        \n  note: b.json: the file is an index of weights, expected weights\
        \n  note: gone.safetensors: cannot read the file: No such file or directory (os error 2)";
    let mut sorted: Vec<&str> = listed.lines().collect();
    sorted[1..].sort_unstable();
    assert_eq!(sorted.join("\n"), expected);
    std::fs::copy(path("expected.safetensors"), dir.path().join("w.safetensors")).expect("copied");
    let missing = refusal(&write("c.json", br#"{"weight_map": {"f16": "w.safetensors", "nothing": "w.safetensors"}}"#));
    assert_eq!(missing, "c.json: tensor `nothing` is not in `w.safetensors`");
    let folder = tempfile::tempdir().expect("a temporary folder");
    let fault = StateDict::load(folder.path()).expect_err("nothing in it").to_string();
    assert!(fault.contains("the folder has none of model.safetensors, "), "{fault}");
}

/// Every prefix, and every byte changed: some state dict or a fault, never a panic.
#[test]
fn damaged_files_do_not_panic() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    for name in ["zip.pt", "legacy.pt", "module.pt", "arrays.npz"] {
        let bytes = std::fs::read(path(name)).expect("a golden file");
        let damaged = dir.path().join(name);
        let try_load = |bytes: &[u8]| {
            std::fs::write(&damaged, bytes).expect("written");
            let _ = StateDict::load(&damaged);
        };
        for at in (0..bytes.len()).step_by(31) {
            try_load(&bytes[..at]);
            let mut flipped = bytes.clone();
            flipped[at] ^= 1 << (at % 8);
            try_load(&flipped);
        }
    }
}

#[test]
fn what_is_saved_is_read() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let state = load("expected.safetensors");
    state.save(dir.path().join("w.safetensors")).expect("saved");
    assert_eq!(StateDict::load(dir.path().join("w.safetensors")).expect("sound"), state);
    let refused = state.save(dir.path().join("w.npz")).expect_err("NumPy has no bf16").to_string();
    assert!(refused.contains("NumPy has no element type bf16"), "{refused}");
    let floats = state.to_dtype(DType::F32);
    floats.save(dir.path().join("w.npz")).expect("saved");
    assert_eq!(StateDict::load(dir.path().join("w.npz")).expect("sound"), floats);
}
