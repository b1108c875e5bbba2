//! A folder of its own for each test, and the binary run in it.

use std::path::PathBuf;
use std::process::Command;

use nnc::ir::TensorData;

/// A folder that is removed in the end.
pub(crate) struct Sandbox(tempfile::TempDir);

/// What a run of the binary left.
#[derive(Debug)]
pub(crate) struct Output {
    pub(crate) status: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Sandbox {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().expect("a temporary folder"))
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, bytes: &[u8]) {
        std::fs::write(self.path(name), bytes).expect("the folder can be written");
    }

    pub(crate) fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    pub(crate) fn write_npy(&self, name: &str, data: &TensorData) {
        nnc::ir::npy::save_npy(&self.path(name), data).expect("the array can be written");
    }

    /// Runs the binary in the folder.
    pub(crate) fn run(&self, args: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_nnc"));
        let output = command.args(args).current_dir(self.0.path()).output().expect("the binary runs");
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("what is printed is text");
        let status = output.status.code().expect("nnc was not killed");
        Output { status, stdout: text(&output.stdout), stderr: text(&output.stderr) }
    }

    /// Runs the binary, which succeeds, and gives what it printed.
    pub(crate) fn succeed(&self, args: &[&str]) -> String {
        let output = self.run(args);
        assert_eq!(output.status, 0, "nnc {}\n{}", args.join(" "), output.stderr);
        output.stdout
    }

    /// Runs the binary, which refuses its input, and gives what it said.
    pub(crate) fn refuse(&self, args: &[&str]) -> String {
        let output = self.run(args);
        assert_eq!(output.status, 2, "nnc {}\n{}{}", args.join(" "), output.stdout, output.stderr);
        assert!(output.stderr.starts_with("error: "), "nnc {}\n{}", args.join(" "), output.stderr);
        assert_eq!(output.stdout, "", "nnc {}", args.join(" "));
        output.stderr
    }
}
