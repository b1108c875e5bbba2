//! Diagnostics for people: place, message, the line in question and a caret under the column.

use std::io::IsTerminal;

use nnc::Error;
use nnc_ir::{Diagnostic, Location};

/// Style of a piece of text; plain where standard error is no terminal.
fn styled(text: &str, code: &str) -> String {
    let plain = !std::io::stderr().is_terminal() || std::env::var_os("NO_COLOR").is_some();
    if plain { text.to_string() } else { format!("\x1b[{code}m{text}\x1b[0m") }
}

/// Prints one line of error.
pub(super) fn error(message: &str) {
    eprintln!("{}: {message}", styled("error", "1;31"));
}

/// Prints every fault of `failure`.
pub(super) fn failure(failure: &Error) {
    match failure {
        Error::Diagnostics(diagnostics) => {
            for diagnostic in diagnostics {
                eprint!("{}", render(diagnostic));
            }
            if diagnostics.len() > 1 {
                eprintln!("{} faults", diagnostics.len());
            }
        }
        other => {
            error(&other.to_string());
            let mut source = std::error::Error::source(other);
            while let Some(cause) = source {
                eprintln!("  {}: {cause}", styled("cause", "1"));
                source = cause.source();
            }
        }
    }
}

fn render(diagnostic: &Diagnostic) -> String {
    let mut text = format!("{}: {}\n", styled("error", "1;31"), diagnostic.message);
    text.push_str(&excerpt(&diagnostic.location));
    for (place, note) in &diagnostic.notes {
        text.push_str(&format!("  {}: {note}\n", styled("note", "1;36")));
        if let Some(place) = place {
            text.push_str(&excerpt(place));
        }
    }
    text
}

/// The place and, where the file can be read, its line with a caret.
fn excerpt(location: &Location) -> String {
    if location.is_unknown() {
        return String::new();
    }
    let mut text = format!("  {} {location}\n", styled("-->", "1;34"));
    let Some(line) = source_line(location) else {
        return text;
    };
    let number = location.line.to_string();
    let margin = " ".repeat(number.len());
    let bar = styled("|", "1;34");
    text.push_str(&format!("  {margin} {bar}\n  {} {bar} {line}\n", styled(&number, "1;34")));
    if location.column > 0 {
        // Tabs are kept so that the caret stands below its column whatever their width.
        let before = line.chars().take(location.column as usize - 1);
        let indent: String = before.map(|c| if c == '\t' { '\t' } else { ' ' }).collect();
        text.push_str(&format!("  {margin} {bar} {indent}{}\n", styled("^", "1;31")));
    }
    text
}

fn source_line(location: &Location) -> Option<String> {
    /// Longer lines (data on one line) are not shown.
    const MAX_COLUMNS: usize = 200;
    let file = location.file.as_deref()?;
    let idx = (location.line as usize).checked_sub(1)?;
    let text = std::fs::read_to_string(file).ok()?;
    let line = text.lines().nth(idx)?;
    (line.len() <= MAX_COLUMNS).then(|| line.to_string())
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
