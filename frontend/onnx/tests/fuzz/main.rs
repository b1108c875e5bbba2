//! A fuzz target for the importer: real small models with random changes of their structure (`mutate`), each of which must give
//! a sound module or diagnostics, soon and in little memory.
//!
//! ```text
//! cargo test -p nnc-onnx --test fuzz                                            a few hundred files, from the models in `corpus`
//! make fuzz SECONDS=600                                                         longer, from the models of ONNX's test suite
//! cargo test -p nnc-onnx --test fuzz -- --models FOLDER --seed 17               one file again
//! ```
//!
//! Files are made from seeds. They are tried in a process of its own, which is started again behind the seed that ended it; what
//! it was is kept in `target/tmp/fuzz`.

mod corpus;
mod mutate;
#[path = "../build/protos.rs"]
mod protos;
mod random;
mod wire;

use std::alloc::{GlobalAlloc, Layout, System};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use nnc_ir::binary;
use nnc_onnx::{Options, import_bytes};

use self::mutate::mutate;
use self::random::Random;

/// Refuses memory beyond a limit, which ends the process.
struct Limited;

static IN_USE: AtomicUsize = AtomicUsize::new(0);

/// The models are smaller than a megabyte or two.
const MAX_BYTES: usize = 2 << 30;
/// One file must be done in this time, in a debug build on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

// SAFETY: forwards to the system's allocator, or gives null, which stands for no memory.
unsafe impl GlobalAlloc for Limited {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if IN_USE.fetch_add(layout.size(), Ordering::Relaxed) + layout.size() > MAX_BYTES {
            IN_USE.fetch_sub(layout.size(), Ordering::Relaxed);
            return std::ptr::null_mut();
        }
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, start: *mut u8, layout: Layout) {
        IN_USE.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(start, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Limited = Limited;

/// What was asked for.
#[derive(Debug, Default)]
struct Args {
    models: Option<PathBuf>,
    seconds: Option<u64>,
    /// One file alone.
    seed: Option<u64>,
    /// The first file of the worker process.
    worker: Option<u64>,
}

impl Args {
    fn parse() -> Self {
        let mut args = Self::default();
        let mut words = std::env::args().skip(1);
        while let Some(word) = words.next() {
            let mut number = || words.next().and_then(|text| text.parse().ok());
            match word.as_str() {
                "--models" => args.models = words.next().map(PathBuf::from),
                "--seconds" => args.seconds = number(),
                "--seed" => args.seed = number(),
                "--worker" => args.worker = number(),
                "--list" => std::process::exit(0),
                _ => {}
            }
        }
        args
    }
}

fn main() -> ExitCode {
    let args = Args::parse();
    if let Some(seed) = args.seed {
        let models = models(args.models.as_deref());
        let bytes = file(&models, seed);
        keep(seed, &bytes);
        attempt(&bytes);
        println!("seed {seed}: no fault of the importer");
        return ExitCode::SUCCESS;
    }
    match args.worker {
        Some(first) => work(&models(args.models.as_deref()), first),
        None => watch(&args),
    }
}

/// The worker's side: says which file comes, then tries it.
fn work(models: &[Vec<u8>], first: u64) -> ExitCode {
    let mut out = std::io::stdout().lock();
    for seed in first.. {
        if writeln!(out, "@{seed}").and_then(|()| out.flush()).is_err() {
            break;
        }
        attempt(&file(models, seed));
    }
    ExitCode::SUCCESS
}

/// Starts workers until the time is up, and reports the files that ended them.
fn watch(args: &Args) -> ExitCode {
    /// Where nothing else is asked for: what a test may take.
    const FEW: u64 = 400;
    /// Found so many, there is no need for more.
    const MAX_FAULTS: usize = 40;

    let end = args.seconds.map(|seconds| Instant::now() + Duration::from_secs(seconds));
    let is_done = |next: u64| end.map_or(next >= FEW, |end| Instant::now() > end);
    let models = models(args.models.as_deref());
    let mut next = 0u64;
    let mut faults: Vec<(u64, String)> = Vec::new();
    while !is_done(next) && faults.len() < MAX_FAULTS {
        let mut command = Command::new(std::env::current_exe().expect("this program has a path"));
        command.args(["--worker", &next.to_string()]);
        if let Some(folder) = &args.models {
            command.arg("--models").arg(folder);
        }
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("this program can be started");
        let (sender, lines) = mpsc::channel();
        let output = child.stdout.take().expect("it was asked for");
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if let Some(seed) = line.strip_prefix('@').and_then(|text| text.parse::<u64>().ok())
                    && sender.send(seed).is_err()
                {
                    return;
                }
            }
        });
        let errors = child.stderr.take().expect("it was asked for");
        let errors = std::thread::spawn(move || {
            BufReader::new(errors).lines().map_while(Result::ok).collect::<Vec<_>>().join("\n")
        });
        let mut how = None;
        loop {
            match lines.recv_timeout(PATIENCE) {
                Ok(seed) => next = seed,
                Err(mpsc::RecvTimeoutError::Timeout) => {
                    how = Some(format!("not done after {} seconds", PATIENCE.as_secs()));
                    break;
                }
                Err(mpsc::RecvTimeoutError::Disconnected) => break,
            }
            if is_done(next) {
                break;
            }
        }
        let is_over = is_done(next) && how.is_none();
        // It may have ended by itself.
        let _ = child.kill();
        let status = child.wait();
        let said = errors.join().unwrap_or_default();
        if is_over {
            break;
        }
        let how = how.unwrap_or_else(|| {
            format!("{}: {said}", status.map_or_else(|error| error.to_string(), |status| status.to_string()))
        });
        let path = keep(next, &file(&models, next));
        println!("seed {next} ({}): {how}", path.display());
        faults.push((next, how));
        next += 1;
    }
    println!("{} files from {} models, {} faults", next, models.len(), faults.len());
    if faults.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The models to change: those of a folder, at any depth, or the ones made here.
fn models(folder: Option<&Path>) -> Vec<Vec<u8>> {
    /// Larger ones are mostly weights.
    const MAX_BYTES: u64 = 64 << 10;

    let Some(folder) = folder else { return corpus::models() };
    let mut paths = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "onnx")
                && entry.metadata().is_ok_and(|data| data.len() <= MAX_BYTES)
            {
                paths.push(path);
            }
        }
    }
    paths.sort();
    assert!(!paths.is_empty(), "{}: there are no models", folder.display());
    paths.iter().map(|path| std::fs::read(path).expect("it was there a moment ago")).collect()
}

/// The file of a seed.
fn file(models: &[Vec<u8>], seed: u64) -> Vec<u8> {
    let mut random = Random::new(seed);
    let (base, other) = (random.below(models.len()), random.below(models.len()));
    mutate(&models[base], &models[other], &mut random)
}

/// Keeps a file for people to look at.
fn keep(seed: u64, bytes: &[u8]) -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("fuzz");
    let path = folder.join(format!("{seed}.onnx"));
    std::fs::create_dir_all(&folder).and_then(|()| std::fs::write(&path, bytes)).expect("the folder can be written");
    path
}

/// Imports a file. What comes out is sound, and can be written and read; what does not has diagnostics.
fn attempt(bytes: &[u8]) {
    match import_bytes(bytes, None, "fuzz.onnx", &Options::default()) {
        Ok(imported) => {
            imported.module.verify().expect("what is imported is sound");
            // A NaN differs from itself, but not in text.
            let bytes = binary::to_bytes(&imported.module).expect("what is imported can be written");
            let again = binary::from_bytes(&bytes, "again.irb").expect("what is written can be read");
            assert_eq!(again.to_string(), imported.module.to_string(), "what is read is what was written");
        }
        Err(error) => assert!(!error.diagnostics.is_empty(), "a model is refused without a reason"),
    }
}
