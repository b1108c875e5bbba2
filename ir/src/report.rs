//! Diagnostics as people read them: with the line of source and a caret.
//!
//! ```text
//! error: add: operand `rhs` has type f32[2], expected f32[4] as `lhs`
//!   --> model.ir:3:8
//!    |
//!  3 |   %0 = add %x, %y : f32[4]
//!    |        ^^^
//!    = note: ...
//! ```

use std::collections::HashMap;
use std::fmt::Write;
use std::sync::Arc;

use crate::diagnostic::{Diagnostic, Location};
use crate::names::is_name_char;

/// Files beyond this many bytes are not opened for an excerpt.
const MAX_SOURCE: u64 = 16 << 20;
/// An excerpt is at most this many characters wide.
const MAX_WIDTH: usize = 120;

/// How grave a diagnostic is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// The input cannot be used.
    Error,
    /// The input is used, but perhaps not as meant.
    Warning,
    /// Something worth knowing.
    Remark,
}

impl Severity {
    const fn word(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Remark => "remark",
        }
    }

    /// ANSI color.
    const fn color(self) -> &'static str {
        match self {
            Self::Error => "31",
            Self::Warning => "33",
            Self::Remark => "36",
        }
    }
}

/// Renders diagnostics. Sources are opened when an excerpt needs them, and kept.
#[derive(Debug, Default)]
pub struct Reporter {
    color: bool,
    /// Lines of each file; `None` for one that cannot be shown.
    sources: HashMap<Arc<str>, Option<Vec<String>>>,
}

impl Reporter {
    /// A reporter, with ANSI colors if `color`.
    pub fn new(color: bool) -> Self {
        Self { color, sources: HashMap::new() }
    }

    /// Gives the text of a file that is not on disk under that name, such as standard input.
    pub fn add_source(&mut self, file: impl Into<Arc<str>>, text: &str) {
        self.sources.insert(file.into(), Some(text.lines().map(str::to_string).collect()));
    }

    /// The diagnostic as an error: several lines, the last of which is ended.
    pub fn error(&mut self, diagnostic: &Diagnostic) -> String {
        self.report(Severity::Error, diagnostic)
    }

    /// The diagnostic as several lines, the last of which is ended.
    pub fn report(&mut self, severity: Severity, diagnostic: &Diagnostic) -> String {
        let mut out = self.painted(severity.color(), severity.word());
        let _ = writeln!(out, "{}", self.painted("1", &format!(": {}", diagnostic.message)));
        let lines = std::iter::once(&diagnostic.location)
            .chain(diagnostic.notes.iter().filter_map(|(location, _)| location.as_ref()))
            .map(|location| location.line);
        let gutter = lines.max().unwrap_or(0).to_string().len();
        self.write_place(&mut out, &diagnostic.location, gutter, severity.color());
        for (location, text) in &diagnostic.notes {
            let mark = self.painted("34", "=");
            let label = self.painted("1", "note");
            let _ = writeln!(out, "{:gutter$}  {mark} {label}: {text}", "");
            if let Some(location) = location {
                self.write_place(&mut out, location, gutter, "34");
            }
        }
        out
    }

    /// `text` in bold and `color`, if colors are on.
    fn painted(&self, color: &str, text: &str) -> String {
        match (self.color, color) {
            (false, _) => text.to_string(),
            (true, "1") => format!("\x1b[1m{text}\x1b[0m"),
            (true, color) => format!("\x1b[1;{color}m{text}\x1b[0m"),
        }
    }

    /// The place, and an excerpt if there is one.
    fn write_place(&mut self, out: &mut String, location: &Location, gutter: usize, color: &str) {
        if location.is_unknown() {
            return;
        }
        let _ = writeln!(out, "{:gutter$} {} {location}", "", self.painted("34", "-->"));
        let Some(line) = self.source_line(location) else { return };
        let (line, column) = window(&line, location.column.max(1) as usize - 1);
        let bar = self.painted("34", "|");
        let number = self.painted("34", &format!("{:>gutter$}", location.line));
        let caret = self.painted(color, &"^".repeat(mark_width(&line, column)));
        let _ = writeln!(out, "{:gutter$}  {bar}", "");
        let _ = writeln!(out, " {number} {bar} {line}");
        let _ = writeln!(out, "{:gutter$}  {bar} {:column$}{caret}", "", "");
    }

    fn source_line(&mut self, location: &Location) -> Option<String> {
        let file = location.file.as_ref()?;
        let lines = self.sources.entry(file.clone()).or_insert_with(|| read_lines(file));
        let line = lines.as_ref()?.get((location.line as usize).checked_sub(1)?)?;
        // Each character takes one column, whatever it is.
        Some(line.chars().map(|c| if c.is_control() { ' ' } else { c }).collect())
    }
}

fn read_lines(file: &str) -> Option<Vec<String>> {
    let metadata = std::fs::metadata(file).ok()?;
    if !metadata.is_file() || metadata.len() > MAX_SOURCE {
        return None;
    }
    let text = std::fs::read(file).ok()?;
    Some(String::from_utf8_lossy(&text).lines().map(str::to_string).collect())
}

/// The part of a long line around `column` (from 0), and the column in that part.
fn window(line: &str, column: usize) -> (String, usize) {
    let n_chars = line.chars().count();
    let column = column.min(n_chars);
    if n_chars <= MAX_WIDTH {
        return (line.to_string(), column);
    }
    let first = column.saturating_sub(MAX_WIDTH / 2).min(n_chars - MAX_WIDTH);
    let part: String = line.chars().skip(first).take(MAX_WIDTH).collect();
    let (before, after) = (if first > 0 { "..." } else { "" }, if first + MAX_WIDTH < n_chars { "..." } else { "" });
    (format!("{before}{part}{after}"), column - first + before.len())
}

/// Width of the name or mark at `column`.
fn mark_width(line: &str, column: usize) -> usize {
    let mut chars = line.chars().skip(column);
    let sigil = usize::from(matches!(line.chars().nth(column), Some('%' | '@')));
    chars.by_ref().take(sigil).for_each(drop);
    (sigil + chars.take_while(|&c| is_name_char(c)).count()).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parse::{WeightSource, parse_module};

    #[test]
    fn the_line_and_the_name_are_shown() {
        let text = "func @f(%x: f32[4]) {\n\t%0 = add %x, %why\n  %0 = negate %x\n  return %0\n}";
        let faults = parse_module(text, "model.ir", WeightSource::none()).expect_err("faulty");
        let mut reporter = Reporter::new(false);
        reporter.add_source("model.ir", text);
        let report: String = faults.iter().map(|fault| reporter.error(fault)).collect();
        assert_eq!(
            report,
            "error: undefined value `%why`
  --> model.ir:2:15
   |
 2 |  %0 = add %x, %why
   |               ^^^^
error: value `%0` is defined twice
  --> model.ir:3:3
   |
 3 |   %0 = negate %x
   |   ^^
   = note: first defined here
  --> model.ir:2:2
   |
 2 |  %0 = add %x, %why
   |  ^^
"
        );
        let colored = Reporter::new(true).error(&faults[0]);
        assert!(colored.starts_with("\x1b[1;31merror\x1b[0m\x1b[1m: undefined value `%why`\x1b[0m\n"), "{colored:?}");
    }

    #[test]
    fn places_without_a_source_are_named_only() {
        let mut reporter = Reporter::new(false);
        let fault = Diagnostic::new(Location::at("no/such/file.rs", 120, 7), "it broke").note("a hint");
        assert_eq!(reporter.error(&fault), "error: it broke\n    --> no/such/file.rs:120:7\n     = note: a hint\n");
        let fault = Diagnostic::new(Location::unknown(), "it broke");
        assert_eq!(reporter.report(Severity::Remark, &fault), "remark: it broke\n");
        reporter.add_source("short.ir", "one line");
        let fault = Diagnostic::new(Location::at("short.ir", 9, 1), "beyond the end");
        assert_eq!(reporter.error(&fault), "error: beyond the end\n  --> short.ir:9:1\n");
    }

    #[test]
    fn long_lines_show_what_matters() {
        let line = format!("{}%here{}", "a, ".repeat(100), ", b".repeat(100));
        let mut reporter = Reporter::new(false);
        reporter.add_source("long.ir", &line);
        let report = reporter.error(&Diagnostic::new(Location::at("long.ir", 1, 301), "there"));
        let lines: Vec<&str> = report.lines().collect();
        let caret = lines[4].find('^').expect("a caret");
        assert_eq!(&lines[3][caret..caret + 5], "%here");
        assert!(lines[3].len() < 140 && lines[4].ends_with("^^^^^"));
    }
}
