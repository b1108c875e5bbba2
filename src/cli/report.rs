//! What commands print for people: faults, sizes, times.

use std::io::IsTerminal;

use nnc::Error;
use nnc_ir::report::Reporter;
use nnc_ir::{Diagnostic, Location};

/// Prints one line of error.
pub(super) fn error(message: &str) {
    failure(&Error::message(message));
}

/// Prints every fault of `failure`, with excerpts of the sources and, on a terminal, in colors.
pub(super) fn failure(failure: &Error) {
    let color = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let mut reporter = Reporter::new(color);
    let own;
    let diagnostics = match failure {
        Error::Diagnostics(diagnostics) => diagnostics,
        other => {
            let mut diagnostic = Diagnostic::new(Location::unknown(), other.to_string());
            let mut source = std::error::Error::source(other);
            while let Some(cause) = source {
                diagnostic = diagnostic.note(cause.to_string());
                source = cause.source();
            }
            own = vec![diagnostic];
            &own
        }
    };
    for diagnostic in diagnostics {
        eprint!("{}", reporter.error(diagnostic));
    }
    if diagnostics.len() > 1 {
        eprintln!("{} faults", diagnostics.len());
    }
}

/// Bytes with a unit, for people, and exactly.
pub(super) fn bytes(count: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if count < 1024 {
        return format!("{count} bytes");
    }
    let mut value = count as f64 / 1024.0;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{count} bytes ({value:.1} {})", UNITS[unit])
}

/// A duration in milliseconds.
pub(super) fn millis(duration: std::time::Duration) -> String {
    format!("{:.1} ms", duration.as_secs_f64() * 1e3)
}
