//! What is expected of each case: `tests/conformance/expected.tsv`, one line a case with its operator, its status, the inputs
//! that are bound to their values, and for those that do not pass the reason.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::PathBuf;

use crate::report::{Report, Scoreboard, Status};

/// What is recorded of a case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) operator: String,
    pub(crate) status: Status,
    pub(crate) bound: bool,
    /// Why it does not pass.
    pub(crate) reason: String,
}

/// All records, by name of the case.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Expected {
    pub(crate) records: BTreeMap<String, Record>,
}

const HEADER: &str = "# case\toperator\tstatus\tbound\treason (written by `NNC_BLESS=1 make conformance`)\n";

fn path() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("conformance/expected.tsv")
}

pub(crate) fn blessing() -> bool {
    std::env::var_os("NNC_BLESS").is_some_and(|value| value == "1")
}

impl Expected {
    /// The committed records.
    pub(crate) fn read() -> Self {
        Self::parse(&std::fs::read_to_string(path()).unwrap_or_default())
    }

    fn parse(text: &str) -> Self {
        let mut records = BTreeMap::new();
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let mut fields = line.split('\t');
            let mut next = || fields.next().unwrap_or_default().to_string();
            let (name, operator, status, bound, reason) = (next(), next(), next(), next(), next());
            if let Some(status) = Status::parse(&status) {
                records.insert(name, Record { operator, status, bound: bound == "bound", reason });
            }
        }
        Self { records }
    }

    fn of(board: &Scoreboard) -> Self {
        let record = |report: &Report| Record {
            operator: report.operator.clone(),
            status: report.status(),
            bound: !report.bound.is_empty(),
            reason: reason(report),
        };
        Self { records: board.reports.iter().map(|report| (report.name.clone(), record(report))).collect() }
    }

    fn to_text(&self) -> String {
        let mut text = HEADER.to_string();
        for (name, Record { operator, status, bound, reason }) in &self.records {
            let bound = if *bound { "bound" } else { "" };
            let line = format!("{name}\t{operator}\t{}\t{bound}\t{reason}", status.word());
            let _ = writeln!(text, "{}", line.trim_end());
        }
        text
    }
}

/// In one line why a case does not pass.
fn reason(report: &Report) -> String {
    const MAX_CHARS: usize = 160;
    if report.passed() {
        return String::new();
    }
    if let Some(reason) = &report.excluded {
        return reason.clone();
    }
    let message = if report.interp.message().is_empty() { report.cpu.message() } else { report.interp.message() };
    let line = message.lines().next().unwrap_or_default().replace('\t', " ");
    line.chars().take(MAX_CHARS).collect()
}

/// Holds a scoreboard against what is recorded; with `NNC_BLESS=1` and a run of everything, records it.
///
/// # Errors
/// Cases that do worse than recorded, and those that do better.
pub(crate) fn check(board: &Scoreboard, complete: bool) -> Result<(), String> {
    let found = Expected::of(board);
    let before = Expected::read();
    if blessing() && complete {
        return std::fs::write(path(), found.to_text()).map_err(|error| format!("{}: {error}", path().display()));
    }
    let mut worse = Vec::new();
    let mut better = Vec::new();
    for (name, record) in &found.records {
        let before = before.records.get(name).map(|record| record.status);
        let change =
            format!("{name}: {}, recorded as {}", record.status.word(), before.map_or("nothing", Status::word));
        match before {
            Some(before) if before == record.status => {}
            Some(Status::Passed) => worse.push(format!("{change} ({})", record.reason)),
            Some(Status::Excluded | Status::Unsupported) if record.status == Status::Failed => worse.push(change),
            _ => better.push(change),
        }
    }
    if complete {
        let missing = before.records.keys().filter(|name| !found.records.contains_key(*name));
        worse.extend(missing.map(|name| format!("{name}: was not run")));
    }
    let mut text = String::new();
    for (what, list) in
        [("worse than recorded", &worse), ("not as recorded: `NNC_BLESS=1 make conformance` records it", &better)]
    {
        if !list.is_empty() {
            let _ = writeln!(text, "{} cases are {what}", list.len());
            for line in list {
                let _ = writeln!(text, "  {line}");
            }
        }
    }
    if text.is_empty() { Ok(()) } else { Err(text) }
}
