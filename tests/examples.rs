//! Runs every example on little data and compares the form of what it prints with `examples/golden/*.txt`.
//!
//! Numbers with a decimal point are masked, since they differ with data and machine. `NNC_BLESS=1` rewrites the golden
//! files.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use pretty_assertions::assert_eq;
use tempfile::TempDir;

/// Images of the generated data set: five sixths train.
const N_IMAGES: usize = 768;

/// The program of an example, which cargo builds beside the tests.
fn program(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("a running program has a path");
    let profile = test.ancestors().nth(2).expect("tests lie in target/PROFILE/deps");
    let path = profile.join("examples").join(name).with_extension(std::env::consts::EXE_EXTENSION);
    assert!(path.exists(), "{} is not built; `cargo build --examples` builds it", path.display());
    path
}

/// What an example prints on standard output.
fn run(name: &str, args: &[&str]) -> String {
    let output = Command::new(program(name)).args(args).output().expect("the example starts");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{name} {args:?}: {}\n{stderr}", output.status);
    String::from_utf8(output.stdout).expect("examples print UTF-8")
}

/// The text with every decimal number as `#`, and runs of spaces before numbers, which align signs, as one.
fn mask(text: &str) -> String {
    let mut masked = String::new();
    for line in text.lines() {
        let indent = line.len() - line.trim_start().len();
        masked.push_str(&line[..indent]);
        let words = line[indent..].split(' ').filter(|word| !word.is_empty()).map(mask_word);
        masked.push_str(&words.collect::<Vec<_>>().join(" "));
        masked.push('\n');
    }
    masked
}

/// `[[0.25,` becomes `[[#,`; names with numbers in them, such as `stack.0.weight`, stay.
fn mask_word(word: &str) -> String {
    let start = word.find(|c: char| c.is_ascii_digit() || c == '-').unwrap_or(0);
    let is_number = |c: char| c.is_ascii_digit() || matches!(c, '-' | '+' | '.' | 'e');
    let len = word[start..].find(|c| !is_number(c)).unwrap_or(word.len() - start);
    let (before, number, after) = (&word[..start], &word[start..start + len], &word[start + len..]);
    let is_decimal = number.contains('.') && !number.ends_with('.') && number.parse::<f64>().is_ok();
    if is_decimal { format!("{before}#{after}") } else { word.to_string() }
}

/// Compares with the golden file, or rewrites it.
fn check(golden: &str, found: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/golden").join(golden).with_extension("txt");
    if std::env::var_os("NNC_BLESS").is_some() {
        std::fs::write(&path, found).expect("the golden file can be written");
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(expected, found, "{} (NNC_BLESS=1 rewrites it)", path.display());
}

/// A data set in the form of Fashion-MNIST: in the image of class `c`, rows `2c` and `2c + 1` are bright.
fn data_set() -> TempDir {
    let dir = TempDir::new().expect("a temporary folder");
    for (part, n_images) in [("train", N_IMAGES), ("t10k", 64)] {
        let mut images = vec![0, 0, 8, 3];
        for extent in [n_images, 28, 28] {
            images.extend((extent as u32).to_be_bytes());
        }
        let mut labels = vec![0, 0, 8, 1];
        labels.extend((n_images as u32).to_be_bytes());
        for idx in 0..n_images {
            let class = idx * 7 % 10;
            labels.push(class as u8);
            let noise = |pixel: usize| (idx * 31 + pixel * 17) % 64;
            images.extend((0..28 * 28).map(|pixel| {
                let bright = pixel / 28 / 2 == class;
                (noise(pixel) + if bright { 160 } else { 0 }) as u8
            }));
        }
        write(&dir.path().join(format!("{part}-images-idx3-ubyte")), &images);
        write(&dir.path().join(format!("{part}-labels-idx1-ubyte")), &labels);
    }
    dir
}

fn write(path: &Path, bytes: &[u8]) {
    let mut file = std::fs::File::create(path).expect("a file in a temporary folder can be made");
    file.write_all(bytes).expect("it can be written");
}

fn text(path: &Path) -> &str {
    path.to_str().expect("temporary paths are UTF-8")
}

#[test]
fn tiny_model() {
    check("tiny_model", &mask(&run("tiny_model", &[])));
}

#[test]
fn linear_layer() {
    check("linear_layer", &mask(&run("linear_layer", &[])));
}

#[test]
fn lstm_tagger() {
    check("lstm_tagger", &mask(&run("lstm_tagger", &[])));
}

#[test]
fn transformer() {
    check("transformer", &mask(&run("transformer", &[])));
}

#[test]
fn lenet() {
    check("lenet", &mask(&run("lenet", &[])));
}

#[test]
fn pool_norm_dropout() {
    let printed = run("pool_norm_dropout", &[]);
    assert!(printed.contains("mean within 1e-7 of 0: true"), "{printed}");
    assert!(printed.contains("nothing is dropped in evaluation mode: true"), "{printed}");
    // What is dropped follows from the seed, and so does its place.
    check("pool_norm_dropout", &mask(&printed));
}

#[test]
fn what_is_nn() {
    let data = data_set();
    let climbed = run("what_is_nn", &["--data", text(data.path()), "--epochs", "1"]);
    let climbed = climbed.replace("  on the GPU\n", "  there is no GPU here: on the CPU\n");
    check("what_is_nn", &mask(&climbed));
}

#[test]
fn fashion_mnist() {
    let data = data_set();
    let out = data.path().join("out/model");
    let trained = run("fashion_mnist", &["--data", text(data.path()), "--epochs", "2", "--out", text(&out)]);
    // Which device there is and how fast it is differ from machine to machine, and so does the random image's class.
    let trained = trained.lines().map(|line| match line.split_once(": ") {
        Some(("Predicted class", _)) => "Predicted class: tensor([#])".to_string(),
        _ if line.starts_with("Using ") => "Using # device".to_string(),
        Some((epoch, _)) if epoch.starts_with("epoch ") => {
            let rest = line.rsplit_once(", ").map_or(line, |(rest, _)| rest);
            format!("{rest}, # images/s")
        }
        _ => line.replace(text(data.path()), "DIR"),
    });
    check("fashion_mnist", &mask(&trained.collect::<Vec<_>>().join("\n")));

    // The saved function gives the logits that `nnc run` would; the example names their classes.
    let module = nnc::ir::file::load_module(&out.with_extension("ir")).expect("the example wrote a module");
    let images = nnc::ir::npy::load_npz(&out.with_file_name("test_images.npz")).expect("the example wrote images");
    let mut forward = nnc::jit(module).expect("it has one function");
    let logits = forward.call(&[&images["x"]]).expect("it runs").remove(0);
    let path = data.path().join("logits.npz");
    nnc::ir::npy::save_npz(&path, &[("logits".to_string(), logits)].into_iter().collect()).expect("it can be written");
    let named = run("fashion_mnist", &["--predictions", text(&path), "--out", text(&out)]);
    let first = named.lines().next().expect("a line an image");
    assert!(first.starts_with("image  0: predicted ") && first.contains("true T-shirt/top"), "{named}");
    assert!(named.trim_end().ends_with(" of 16 right"), "{named}");
}

/// Everything below a folder: paths and contents. What an interrupted write left behind is passed over.
fn tree(dir: &Path) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).expect("the folder is there") {
        let path = entry.expect("it can be listed").path();
        let name = path.file_name().expect("it has a name").to_string_lossy().into_owned();
        if name.starts_with(".nnc-") {
            continue;
        }
        if path.is_dir() {
            found.extend(tree(&path).into_iter().map(|(below, bytes)| (format!("{name}/{below}"), bytes)));
        } else {
            found.push((name, std::fs::read(path).expect("it can be read")));
        }
    }
    found.sort();
    found
}

#[test]
fn a_killed_run_continues_to_the_same_bits() {
    let dir = TempDir::new().expect("a temporary folder");
    let args = |run: &str| ["--run", run, "--epochs", "6", "--every-steps", "2"].map(str::to_string);
    let whole = dir.path().join("whole");
    let start = std::time::Instant::now();
    let printed = run("resume", &args(text(&whole)).each_ref().map(String::as_str));
    let duration = start.elapsed();
    check("resume", &mask(&printed));

    // Killed at random moments, from before the first step to after the last; then left alone.
    let mut generator = nnc::frontend::random::Generator::new(u64::from(std::process::id()));
    let killed = dir.path().join("killed");
    let mut n_kills = 0;
    while n_kills < 12 {
        let mut command = Command::new(program("resume"));
        let mut child =
            command.args(args(text(&killed))).stdout(std::process::Stdio::null()).spawn().expect("it starts");
        std::thread::sleep(duration.mul_f64(generator.uniform()));
        // On Unix this is SIGKILL: nothing is flushed, no destructor runs.
        child.kill().expect("it can be killed");
        let status = child.wait().expect("it ends");
        n_kills += 1;
        if status.success() {
            break;
        }
    }
    let resumed = run("resume", &args(text(&killed)).each_ref().map(String::as_str));
    assert_eq!(resumed, printed, "after {n_kills} kills");
    let (found, expected) = (tree(&killed), tree(&whole));
    let names = |files: &[(String, Vec<u8>)]| files.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
    assert_eq!(names(&found), names(&expected));
    for ((name, found), (_, expected)) in found.iter().zip(&expected) {
        assert!(found == expected, "{name} differs after {n_kills} kills");
    }
}

#[test]
fn wrong_arguments_are_explained() {
    let output = Command::new(program("what_is_nn")).args(["--rungs", "0-12"]).output().expect("the example starts");
    assert!(!output.status.success());
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.contains("expected numbers from 1 to 13"), "{stderr}");
}
