//! The example `rank_sentences` finds the similarities that the model's own package gives (`golden/minilm.py`), from
//! every emitter. Without the model, which `scripts/fetch_models.sh` fetches, its trials are reported as ignored.

use std::path::Path;
use std::process::Command;

use libtest_mimic::{Arguments, Failed, Trial};
use nnc_tests::golden::{Golden, folder};

const ABSOLUTE: f32 = 1e-4;

fn main() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let is_missing = !root.join("out/models/minilm").is_dir();
    let tiers = if cfg!(feature = "llvm") { &["cranelift", "llvm"][..] } else { &["cranelift"] };
    let trial = |tier: &'static str| Trial::test(tier, move || check(tier)).with_ignored_flag(is_missing);
    libtest_mimic::run(&Arguments::from_args(), tiers.iter().copied().map(trial).collect()).exit()
}

/// All similarities of sentences of 3 to 40 words.
fn check(tier: &str) -> Result<(), Failed> {
    let test = std::env::current_exe()?;
    let profile = test.ancestors().nth(2).expect("tests lie in target/PROFILE/deps");
    let program = profile.join("examples/rank_sentences").with_extension(std::env::consts::EXE_EXTENSION);
    let sentences = folder().join("minilm.txt");
    let mut command = Command::new(program);
    command.args(["--matrix", "--tier", tier, "--sentences"]).arg(sentences);
    let output = command.output()?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned().into());
    }
    let text = String::from_utf8(output.stdout)?;
    let found = text.split_whitespace().map(str::parse).collect::<Result<Vec<f32>, _>>()?;
    let expected = Golden::read("minilm").get("similarities").to_f32();
    if found.len() != expected.len() {
        return Err(format!("{} similarities, expected {}", found.len(), expected.len()).into());
    }
    let largest = found.iter().zip(&expected).map(|(lhs, rhs)| (lhs - rhs).abs()).fold(0.0, f32::max);
    if largest <= ABSOLUTE { Ok(()) } else { Err(format!("similarities differ by up to {largest}").into()) }
}
