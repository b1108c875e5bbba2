//! Models that others trained and ship (`scripts/fetch_models.sh`): what compiled code gives for them is what ONNX
//! Runtime gives, at two shapes each. The expected outputs are stored (`tests/golden/pretrained.py`); where the models
//! are not there, the trials are reported as ignored.

use std::path::{Path, PathBuf};
use std::process::Command;

use libtest_mimic::{Arguments, Failed, Trial};
use nnc::onnx::OnnxModule;
use nnc::prelude::*;
use nnc::{Options, Tier};
use nnc_ir::{Bindings, TensorData};
use nnc_tests::golden::{Golden, Scale, close};

/// Greatest difference allowed, relative to 1 or the greatest output.
const TOLERANCE: f64 = 1e-4;

fn main() {
    let arguments = Arguments::from_args();
    let tiers: &[Tier] = if cfg!(feature = "llvm") { &[Tier::Cranelift, Tier::Llvm] } else { &[Tier::Cranelift] };
    let mut trials = Vec::new();
    for name in ["magika", "det", "cls", "rec", "pitch"] {
        let golden = Golden::read(&format!("pretrained/{name}"));
        let file = models().join(golden.about()["model"].as_str().expect("a golden file names its model"));
        let cases = golden.about()["cases"].as_object().expect("a golden file lists its cases").clone();
        for (case, about) in cases {
            for &tier in tiers {
                let (file, expected, about) = (file.clone(), golden.get(&case).clone(), about.clone());
                let input = golden.about()["input"].as_str().expect("a golden file names the input").to_string();
                let missing = !file.exists();
                let trial =
                    Trial::test(format!("{name}/{case}/{tier:?}"), move || run(&file, &input, &about, &expected, tier));
                trials.push(trial.with_ignored_flag(missing));
            }
        }
    }
    for &tier in tiers {
        let missing = !models().join("silero_vad").exists();
        trials.push(Trial::test(format!("speech/{tier:?}"), move || speech(tier)).with_ignored_flag(missing));
    }
    let missing = !models().join("rapidocr").exists();
    trials.push(Trial::test("example/read_text", read_text).with_ignored_flag(missing));
    trials.push(Trial::test("fine_tune/cls", || Ok(fine_tune()?)).with_ignored_flag(missing));
    libtest_mimic::run(&arguments, trials).exit();
}

/// The three models of a reader of text, one after the other, on a picture.
fn read_text() -> Result<(), Failed> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let test = std::env::current_exe()?;
    let profile = test.ancestors().nth(2).expect("tests lie in target/PROFILE/deps");
    let program = profile.join("examples/read_text").with_extension(std::env::consts::EXE_EXTENSION);
    let output = Command::new(program).current_dir(&root).arg("examples/data/note.png").output()?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned().into());
    }
    let golden = root.join("examples/golden/read_text.txt");
    let found = String::from_utf8(output.stdout)?;
    if std::env::var_os("NNC_BLESS").is_some() {
        std::fs::write(&golden, &found)?;
    }
    pretty_assertions::assert_str_eq!(found, std::fs::read_to_string(&golden)?);
    Ok(())
}

/// The model that tells which way up a text is, trained for a few steps: the loss falls, all that is a weight changes and
/// nothing else, and the model that is written gives what the trained one gives.
fn fine_tune() -> Result<(), nnc::Error> {
    let golden = Golden::read("pretrained/cls");
    let file = models().join(golden.about()["model"].as_str().expect("a golden file names its model"));
    let x = fill(&[2, 3, 48, 192], nnc_ir::DType::F32);
    let y = TensorData::from_f32(vec![2, 2], &[0.0, 1.0, 1.0, 0.0]);
    let before = OnnxModule::load(&file)?.state_dict();
    let mut trainer = Trainer::from_onnx(&file, Loss::mse(), Sgd::new(0.002))?.build()?;
    let losses = (0..4).map(|_| trainer.step(&x, &y)).collect::<Result<Vec<f64>, _>>()?;
    assert!(losses.is_sorted_by(|first, second| first > second), "the losses do not fall: {losses:?}");

    let found = trainer.predict(&x)?;
    let after = trainer.sync()?.state_dict();
    let (mut n_trained, mut n_kept) = (0, 0);
    for (name, data) in after.iter() {
        let is_kept = before.get(name) == Some(data);
        *(if is_kept { &mut n_kept } else { &mut n_trained }) += 1;
    }
    // A batch normalization keeps its mean and variance, two of four tensors.
    assert!(n_trained > 100 && n_kept > 50 && n_trained > n_kept, "{n_trained} trained, {n_kept} kept");
    let dir = tempfile::tempdir().expect("a temporary folder");
    let saved = dir.path().join("tuned.onnx");
    trainer.model().save(&saved)?;
    let input = golden.about()["input"].as_str().expect("a golden file names the input");
    let results = nnc::Session::load(&saved)?.run(&[(input, &x)])?;
    close(&found, &results[0], TOLERANCE, Scale::Tensor).unwrap_or_else(|why| panic!("the saved model: {why}"));
    Ok(())
}

/// A detector of speech on the pieces of one and of two recordings, each with the state that the last one left. Its graph
/// is another for another sampling rate: one of two branches, of which the other does not fit the piece.
fn speech(tier: Tier) -> Result<(), Failed> {
    let golden = Golden::read("pretrained/speech");
    let file = models().join(golden.about()["model"].as_str().expect("a golden file names its model"));
    let n_pieces = golden.about()["pieces"].as_u64().expect("a number of pieces") as usize;
    let options = Options { tier, freeze: true, ..Options::default() };
    let mut session = Session::load(file)?.options(options).threads(2);
    let rate = TensorData::from_i64(vec![], &[16000]);
    for n in [1, 2] {
        let sound = fill(&[n_pieces, n, 576], nnc_ir::DType::F32).to_f32();
        let mut state = TensorData::from_f32(vec![2, n, 128], &vec![0.0; 2 * n * 128]);
        let mut found = Vec::new();
        for piece in sound.chunks(n * 576) {
            let piece = TensorData::from_f32(vec![n, 576], piece);
            let mut results = session.run(&[("input", &piece), ("state", &state), ("sr", &rate)])?;
            found.extend(results["output"].to_f64());
            state = results.swap_remove("stateN").ok_or("the model gives no state")?;
        }
        agree(&found, &golden.get(&format!("{n}.output")).to_f64(), 1)?;
        agree(&state.to_f64(), &golden.get(&format!("{n}.state")).to_f64(), 1)?;
    }
    // One compilation for each shape, however many pieces.
    assert_eq!(session.compilations().len(), 2);
    Ok(())
}

/// Where the models are.
fn models() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../out/models")
}

fn extents(about: &serde_json::Value, key: &str) -> Vec<usize> {
    let extents = about[key].as_array().expect("a list of extents");
    extents.iter().map(|extent| extent.as_u64().expect("an extent") as usize).collect()
}

fn run(file: &Path, input: &str, about: &serde_json::Value, expected: &TensorData, tier: Tier) -> Result<(), Failed> {
    let shape = extents(about, "shape");
    let data = fill(&shape, if input == "bytes" { nnc_ir::DType::I32 } else { nnc_ir::DType::F32 });
    let model = nnc::load_with(file, &Bindings::new(), &[(input.to_string(), data.clone())].into_iter().collect())?;
    let options = Options { tier, freeze: true, ..Options::default() };
    let results = nnc::jit(model.module)?.options(options).threads(2).call(&[&data])?;
    let result = &results[0];
    if result.shape != extents(about, "output") {
        return Err(format!("the output is {}, expected shape {}", result.ty(), about["output"]).into());
    }
    let step = about["step"].as_u64().expect("a step") as usize;
    let found: Vec<f64> = result.to_f64().into_iter().step_by(step).collect();
    agree(&found, &expected.to_f64(), step)
}

/// Compares what was found, every `step`-th element, with what is expected.
fn agree(found: &[f64], expected: &[f64], step: usize) -> Result<(), Failed> {
    if found.len() != expected.len() {
        return Err(format!("{} elements, expected {}", found.len(), expected.len()).into());
    }
    let scale = expected.iter().fold(1.0f64, |scale, value| scale.max(value.abs()));
    for (idx, (found, expected)) in found.iter().zip(expected).enumerate() {
        let difference = (found - expected).abs() / scale;
        if difference.is_nan() || difference > TOLERANCE {
            return Err(format!("element {} is {found}, expected {expected}", idx * step).into());
        }
    }
    Ok(())
}

/// The inputs of `pretrained.py`.
fn fill(shape: &[usize], dtype: nnc_ir::DType) -> TensorData {
    let n: usize = shape.iter().product();
    let hash = |idx: usize| {
        let mut h = idx as u32;
        h ^= h >> 16;
        h = h.wrapping_mul(0x85EB_CA6B);
        h ^= h >> 13;
        h = h.wrapping_mul(0xC2B2_AE35);
        h ^ (h >> 16)
    };
    if dtype.is_int() {
        return TensorData::from_integers(dtype, shape.to_vec(), (0..n).map(|idx| i64::from(hash(idx) % 257)));
    }
    let unit = |idx: usize| (hash(idx) >> 8) as f32 * (-24f32).exp2();
    let elements: Vec<f32> = (0..n).map(|idx| 2.0 * unit(idx) - 1.0).collect();
    TensorData::from_f32(shape.to_vec(), &elements)
}
