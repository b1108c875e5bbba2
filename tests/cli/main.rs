//! The command line as its users meet it: outputs, artifacts, and what is said about faulty input.
//!
//! A part of the root package, whose binary it runs. Each `filetests/cli/*.ir` is a test too: `// args:` are the
//! arguments, `model.ir` standing for the file, `// status:` is the exit code if not 0.

mod artifacts;
mod export;
mod faults;
mod onnx;
#[path = "../../frontend/onnx/tests/build/protos.rs"]
mod protos;
mod sandbox;

use libtest_mimic::{Arguments, Failed, Trial};
use nnc_tests::filetest::{FileTest, files};

use self::sandbox::Sandbox;

fn main() {
    let mut trials = Vec::new();
    for path in files("cli") {
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        trials.push(Trial::test(format!("file::{name}"), move || file_test(&path)));
    }
    let functions = artifacts::TESTS.iter().chain(export::TESTS).chain(faults::TESTS).chain(onnx::TESTS);
    trials.extend(functions.map(|&(name, test)| {
        Trial::test(name, move || {
            test();
            Ok(())
        })
    }));
    libtest_mimic::run(&Arguments::from_args(), trials).exit()
}

/// Runs the binary in a folder that holds the file as `model.ir`, with its weights beside it.
fn file_test(path: &std::path::Path) -> Result<(), Failed> {
    let test = FileTest::read(path)?;
    let sandbox = Sandbox::new();
    sandbox.write("model.ir", test.text.as_bytes());
    let weights = nnc::ir::WeightFile { tensors: test.weights()?, ..Default::default() };
    if !weights.tensors.is_empty() {
        sandbox.write("model.safetensors", &weights.to_bytes());
    }
    let mut text = String::new();
    for args in test.directives("args") {
        let output = sandbox.run(&args.split_whitespace().collect::<Vec<_>>());
        let status = test.directives("status").next().unwrap_or("0");
        if output.status.to_string() != status {
            return Err(
                format!("exit code {}, expected {status}\n{}{}", output.status, output.stdout, output.stderr).into()
            );
        }
        text.push_str(&output.stdout);
        text.push_str(&output.stderr);
    }
    Ok(test.check_outcome(Ok(text))?)
}
