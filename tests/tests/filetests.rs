//! Every `.ir` file under `filetests/` is a test; see `nnc_tests::filetest` for how they are written.

use libtest_mimic::{Arguments, Trial};
use nnc_tests::filetest::{FileTest, files};

/// The folders. Those of the command line are run by the root package's test `cli`, which has the binary.
const FOLDERS: [&str; 7] = ["parse", "verify", "opt", "grad", "plan", "kernel", "run"];

fn main() {
    let mut trials = Vec::new();
    for folder in FOLDERS {
        for path in files(folder) {
            let name = path.file_stem().unwrap_or_default().to_string_lossy();
            let check = {
                let path = path.clone();
                move || Ok(FileTest::read(&path)?.check()?)
            };
            trials.push(Trial::test(format!("{folder}::{name}"), check));
        }
    }
    libtest_mimic::run(&Arguments::from_args(), trials).exit()
}
