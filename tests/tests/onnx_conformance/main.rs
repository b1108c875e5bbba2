//! ONNX's own backend test suite on nnc: every node case and the small model cases, on the interpreter and in compiled code.
//!
//! `make conformance` generates the cases (`tests/conformance/generate.sh`) and runs this program on them:
//!
//! ```text
//! cargo test -p nnc-tests --test onnx_conformance -- --cases FOLDER [--llvm] [--jobs N] [--results FILE] [PART OF A NAME...]
//! ```
//!
//! A case is the model, its inputs, and the expected outputs. Cases run in worker processes, so that one that ends the process
//! or never ends is a failure like others. The scoreboard is held against `tests/conformance/expected.tsv`: a case that does worse
//! than there fails the run, one that does better asks to be recorded (`NNC_BLESS=1`). `docs/onnx.md` is written from that
//! file and the importer's table of operators, and checked here even where there are no cases.

mod compare;
mod document;
mod exclusions;
mod execute;
mod expected;
mod pool;
mod report;
mod suite;

use std::path::PathBuf;
use std::process::ExitCode;

use nnc::Tier;

use self::execute::Backend;
use self::expected::Expected;
use self::report::Scoreboard;

/// What was asked for.
#[derive(Clone, Debug)]
struct Args {
    cases: Option<PathBuf>,
    backends: Vec<Backend>,
    jobs: usize,
    results: Option<PathBuf>,
    verbose: bool,
    worker: bool,
    filters: Vec<String>,
}

impl Args {
    fn parse() -> Result<Self, String> {
        let mut args = Self {
            cases: std::env::var_os("NNC_ONNX_CASES").map(PathBuf::from),
            backends: vec![Backend::Interp, Backend::Cpu(Tier::Cranelift)],
            jobs: std::thread::available_parallelism().map_or(1, usize::from),
            results: None,
            verbose: false,
            worker: false,
            filters: Vec::new(),
        };
        let mut words = std::env::args().skip(1);
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or_else(|| format!("{word} without a value"));
            match word.as_str() {
                "--cases" => args.cases = Some(value()?.into()),
                "--jobs" => args.jobs = value()?.parse().map_err(|_| "--jobs: expected a number".to_string())?,
                "--results" => args.results = Some(value()?.into()),
                "--llvm" => args.backends = vec![Backend::Interp, Backend::Cpu(Tier::Llvm)],
                "--verbose" => args.verbose = true,
                "--worker" => args.worker = true,
                // What test runners ask before they run anything.
                "--list" => std::process::exit(0),
                _ if word.starts_with('-') => {}
                _ => args.filters.push(word),
            }
        }
        Ok(args)
    }
}

fn main() -> ExitCode {
    let args = match Args::parse() {
        Ok(args) => args,
        Err(message) => {
            eprintln!("error: {message}");
            return ExitCode::from(2);
        }
    };
    if args.worker {
        pool::work(&args.backends);
        return ExitCode::SUCCESS;
    }
    let Some(folder) = &args.cases else {
        let checked = document::check(&Expected::read());
        println!("onnx_conformance: SKIPPED: the cases are not here; `make conformance` generates and runs them");
        return conclude(checked);
    };
    let cases = match suite::find(folder, &args.filters) {
        Ok(cases) => cases,
        Err(message) => {
            eprintln!("error: {message}");
            return ExitCode::from(2);
        }
    };
    let reports = pool::run(&cases, &args);
    let board = Scoreboard::new(reports);
    if let Some(path) = &args.results
        && let Err(error) = std::fs::write(path, board.to_json())
    {
        eprintln!("error: {}: {error}", path.display());
        return ExitCode::from(2);
    }
    print!("{}", board.to_text(args.verbose || !args.filters.is_empty()));
    let compared = expected::check(&board, args.filters.is_empty());
    let checked = compared.and_then(|()| document::check(&Expected::read()));
    let code = conclude(checked);
    println!("{}", board.last_line());
    code
}

/// Says what is wrong, if something is.
fn conclude(checked: Result<(), String>) -> ExitCode {
    match checked {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            println!("{message}");
            ExitCode::FAILURE
        }
    }
}
