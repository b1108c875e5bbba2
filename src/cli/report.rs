//! What commands print for people: faults, sizes, times.

use std::io::IsTerminal;

use nnc::Error;
use nnc_ir::report::Reporter;
use nnc_ir::{Diagnostic, Location};
use nnc_onnx::{ImportError, Unsupported};

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
        Error::Import(error) => &error.diagnostics,
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
    if let Error::Import(error) = failure {
        import_hints(error);
    }
}

/// After the faults of an ONNX model: the inputs that would help.
fn import_hints(error: &ImportError) {
    if !error.needs.is_empty() {
        let names: Vec<&str> = error.needs.iter().map(String::as_str).collect();
        eprintln!("inputs whose values would help, given with --input NAME=FILE: {}", names.join(", "));
    }
    if !error.open.is_empty() {
        let names: Vec<&str> = error.open.iter().map(String::as_str).collect();
        let names = names.join(", ");
        eprintln!(
            "read with symbolic dimensions; extents may help, given with --dim NAME=EXTENT or --inputs FILE: {names}"
        );
    }
}

/// An operator that cannot be imported, with its nodes.
pub(super) fn unsupported(unsupported: &Unsupported) -> String {
    const MAX_NAMES: usize = 8;
    let n = unsupported.nodes.len();
    let more = if n > MAX_NAMES { format!(" and {} more", n - MAX_NAMES) } else { String::new() };
    let names = unsupported.nodes[..n.min(MAX_NAMES)].join(", ");
    let dot = if unsupported.domain.is_empty() { "" } else { "." };
    format!(
        "{}{dot}{} of opset {}, in {n} nodes: {names}{more}",
        unsupported.domain, unsupported.op_type, unsupported.opset
    )
}

/// Says something that is no fault.
pub(super) fn note(message: &str) {
    eprintln!("note: {message}");
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
