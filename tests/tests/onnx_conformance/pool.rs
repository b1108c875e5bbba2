//! Worker processes. Each takes cases one after the other; one that ends or goes silent is replaced, and its case failed.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, mpsc};
use std::time::{Duration, Instant};

use crate::Args;
use crate::execute::{self, Backend};
use crate::report::Report;
use crate::suite::{self, Case};

/// A case that takes longer has failed.
const PATIENCE: Duration = Duration::from_secs(300);
/// What a worker's answers begin with: whatever else is printed does not disturb.
const ANSWER: &str = "@report ";

/// The worker's side: names and folders of cases come in, reports go out.
pub(crate) fn work(backends: &[Backend]) {
    // The message of a panic belongs to its case, not on the terminal.
    std::panic::set_hook(Box::new(|_| {}));
    for line in std::io::stdin().lines() {
        let Ok(line) = line else { return };
        let Some((name, folder)) = line.split_once('\t') else { return };
        let case = Case { name: name.to_string(), folder: folder.into() };
        let start = Instant::now();
        let mut report = execute::run(&case, backends);
        report.millis = u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX);
        println!("{ANSWER}{}", report.to_json());
    }
}

/// Runs all cases.
pub(crate) fn run(cases: &[Case], args: &Args) -> Vec<Report> {
    let next = AtomicUsize::new(0);
    let reports = Mutex::new(Vec::with_capacity(cases.len()));
    std::thread::scope(|scope| {
        for _ in 0..args.jobs.clamp(1, cases.len()) {
            scope.spawn(|| {
                let mut worker = None;
                while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let mut given = worker.take().map_or_else(|| Worker::start(&args.backends), Ok);
                    let report = match &mut given {
                        Ok(running) => running.ask(case),
                        Err(message) => Err(message.clone()),
                    };
                    let report = match report {
                        Ok(report) => {
                            worker = given.ok();
                            report
                        }
                        Err(message) => {
                            drop(given);
                            let operator = case.model().map(|model| suite::operator(case, &model));
                            Report::failed(&case.name, &operator.unwrap_or_default(), &message)
                        }
                    };
                    let mut reports = reports.lock().expect("no thread panics while it holds the lock");
                    reports.push(report);
                    if reports.len().is_multiple_of(200) {
                        eprintln!("{} of {} cases", reports.len(), cases.len());
                    }
                }
            });
        }
    });
    reports.into_inner().expect("all threads have ended")
}

/// A worker and the lines it prints.
struct Worker {
    child: Child,
    input: ChildStdin,
    lines: mpsc::Receiver<String>,
}

impl Worker {
    fn start(backends: &[Backend]) -> Result<Self, String> {
        let fault = |error: std::io::Error| format!("cannot start a worker: {error}");
        let mut command = Command::new(std::env::current_exe().map_err(fault)?);
        command.arg("--worker");
        if backends.iter().any(|backend| matches!(backend, Backend::Cpu(nnc::Tier::Llvm))) {
            command.arg("--llvm");
        }
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().map_err(fault)?;
        let input = child.stdin.take().expect("it was asked for");
        let output = child.stdout.take().expect("it was asked for");
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Ok(Self { child, input, lines })
    }

    /// The report of a case.
    ///
    /// # Errors
    /// How the worker ended. It must not be asked again.
    fn ask(&mut self, case: &Case) -> Result<Report, String> {
        let sent = writeln!(self.input, "{}\t{}", case.name, case.folder.display()).and_then(|()| self.input.flush());
        let deadline = Instant::now() + PATIENCE;
        while sent.is_ok() {
            match self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) => {
                    let answer = line.strip_prefix(ANSWER).and_then(|text| serde_json::from_str(text).ok());
                    if let Some(report) = answer.as_ref().and_then(Report::from_json) {
                        return Ok(report);
                    }
                }
                Err(mpsc::RecvTimeoutError::Timeout) => {
                    return Err(format!("no result after {} seconds", PATIENCE.as_secs()));
                }
                Err(mpsc::RecvTimeoutError::Disconnected) => break,
            }
        }
        match self.child.wait() {
            Ok(status) => Err(format!("the process ended: {status}")),
            Err(error) => Err(format!("the process ended: {error}")),
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // Errors mean that it has ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
