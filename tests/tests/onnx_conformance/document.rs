//! `docs/onnx.md`, written from the importer's table of operators and the recorded results.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::PathBuf;

use nnc_onnx::Domain;

use crate::expected::{Expected, blessing};
use crate::report::{Counts, Status};

fn path() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs/onnx.md")
}

/// Holds the page against the tables; with `NNC_BLESS=1`, writes it.
///
/// # Errors
/// If they differ.
pub(crate) fn check(expected: &Expected) -> Result<(), String> {
    if expected.records.is_empty() {
        return Ok(());
    }
    let text = page(expected);
    if blessing() {
        return std::fs::write(path(), text).map_err(|error| format!("{}: {error}", path().display()));
    }
    match std::fs::read_to_string(path()) {
        Ok(found) if found == text => Ok(()),
        _ => Err("docs/onnx.md is not what the tables say: run this test with NNC_BLESS=1".to_string()),
    }
}

fn page(expected: &Expected) -> String {
    let mut by_operator: BTreeMap<&str, Counts> = BTreeMap::new();
    let mut by_kind: BTreeMap<&str, Counts> = BTreeMap::new();
    let mut all = Counts::default();
    for (name, record) in &expected.records {
        by_operator.entry(&record.operator).or_default().add(record.status);
        by_kind.entry(name.split('/').next().unwrap_or_default()).or_default().add(record.status);
        all.add(record.status);
    }
    let mut text = String::from(
        "# ONNX operators\n\n\
         Written by `NNC_BLESS=1 make conformance` from the importer's table of operators and `tests/conformance/expected.tsv`; not edited by hand.\n\n\
         Cases are those of ONNX's own backend test suite (1.23), each run on the interpreter and in compiled CPU code; a case passes if it passes on both.\n\
         Outputs must be within a relative 1e-3 and an absolute 1e-7 as the suite asks, integers equal.\n\n\
         | cases | passed | failed | unsupported | excluded |\n|---|---:|---:|---:|---:|\n",
    );
    let row = |text: &mut String, name: &str, counts: &Counts| {
        let Counts { passed, failed, unsupported, excluded } = counts;
        let _ = writeln!(text, "| {name} | {passed} | {failed} | {unsupported} | {excluded} |");
    };
    by_kind.iter().for_each(|(kind, counts)| row(&mut text, kind, counts));
    row(&mut text, "all", &all);

    text.push_str("\n## Operators that are imported\n\n| operator | opsets | cases passed |\n|---|---|---:|\n");
    let mut listed: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (domain, name, first, last) in nnc_onnx::operators() {
        let name = match domain {
            Domain::Onnx => name.to_string(),
            domain => format!("{domain}.{name}"),
        };
        let opsets = match last {
            Some(last) if last == first => first.to_string(),
            Some(last) => format!("{first} to {last}"),
            None => format!("{first} and newer"),
        };
        listed.entry(name).or_default().push(opsets);
    }
    for (name, opsets) in &listed {
        let cases = match by_operator.get(name.as_str()) {
            Some(counts) => format!("{} of {}", counts.passed, counts.all()),
            None => "none there".to_string(),
        };
        let _ = writeln!(text, "| {name} | {} | {cases} |", opsets.join(", "));
    }

    let open: Vec<_> = expected
        .records
        .iter()
        .filter(|(_, record)| matches!(record.status, Status::Failed | Status::Unsupported))
        .collect();
    if !open.is_empty() {
        text.push_str("\n## Cases that do not pass\n\n| case | status | reason |\n|---|---|---|\n");
        for (name, record) in open {
            let _ = writeln!(text, "| {name} | {} | {} |", record.status.word(), record.reason.replace('|', "\\|"));
        }
    }
    let mut reasons: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (name, record) in expected.records.iter().filter(|(_, record)| record.status == Status::Excluded) {
        reasons.entry(&record.reason).or_default().push(name);
    }
    if !reasons.is_empty() {
        text.push_str("\n## Cases that are left out\n\n");
        for (reason, names) in reasons {
            let _ = writeln!(text, "- {} because of: {reason} ({})", names.len(), names.join(", "));
        }
    }
    let bound: Vec<&str> = expected
        .records
        .iter()
        .filter(|(_, record)| record.bound && record.status == Status::Passed)
        .map(|(name, _)| name.as_str())
        .collect();
    if !bound.is_empty() {
        let _ = write!(
            text,
            "\n## Cases with inputs bound to their values\n\n\
             These models take as inputs what decides shapes or control flow. They are imported again with those inputs fixed to the values given, as \
             `nnc run` does.\n\n{}\n",
            bound.join(", ")
        );
    }
    text
}
