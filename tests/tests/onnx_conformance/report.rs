//! What came of the cases, by case and by operator.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde_json::{Value, json};

/// What came of one case on one back end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The outputs are the expected ones.
    Pass,
    /// They are not, or there are none.
    Fail(String),
    /// nnc says that it does not have what the model uses.
    Unsupported(String),
}

impl Outcome {
    pub(crate) const fn word(&self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Fail(_) => "fail",
            Self::Unsupported(_) => "unsupported",
        }
    }

    pub(crate) fn message(&self) -> &str {
        match self {
            Self::Pass => "",
            Self::Fail(message) | Self::Unsupported(message) => message,
        }
    }

    fn parse(word: &str, message: &str) -> Self {
        match word {
            "pass" => Self::Pass,
            "unsupported" => Self::Unsupported(message.to_string()),
            _ => Self::Fail(message.to_string()),
        }
    }
}

/// What came of one case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Report {
    /// `node/test_abs`.
    pub(crate) name: String,
    /// The operator it is about.
    pub(crate) operator: String,
    /// Why it need not pass, if it need not.
    pub(crate) excluded: Option<String>,
    /// On the interpreter.
    pub(crate) interp: Outcome,
    /// In compiled code.
    pub(crate) cpu: Outcome,
    /// Inputs whose values had to be known when the model was imported.
    pub(crate) bound: Vec<String>,
    /// Time of everything, in milliseconds.
    pub(crate) millis: u64,
}

impl Report {
    /// A case with its outcomes.
    pub(crate) fn of(name: &str, interp: Outcome, cpu: Outcome) -> Self {
        let (name, operator) = (name.to_string(), String::new());
        Self { name, operator, excluded: None, interp, cpu, bound: Vec::new(), millis: 0 }
    }

    /// A case of which nothing came, everywhere.
    pub(crate) fn failed(name: &str, operator: &str, message: &str) -> Self {
        let outcome = Outcome::Fail(message.to_string());
        Self { operator: operator.to_string(), ..Self::of(name, outcome.clone(), outcome) }
    }

    pub(crate) fn passed(&self) -> bool {
        self.interp == Outcome::Pass && self.cpu == Outcome::Pass
    }

    /// The case in one word: the worse of the two back ends, or that it is left out.
    pub(crate) fn status(&self) -> Status {
        match (&self.interp, &self.cpu) {
            (Outcome::Pass, Outcome::Pass) => Status::Passed,
            _ if self.excluded.is_some() => Status::Excluded,
            (Outcome::Fail(_), _) | (_, Outcome::Fail(_)) => Status::Failed,
            _ => Status::Unsupported,
        }
    }

    /// One line of JSON.
    pub(crate) fn to_json(&self) -> Value {
        json!({
            "case": self.name,
            "operator": self.operator,
            "status": self.status().word(),
            "excluded": self.excluded,
            "interp": { "outcome": self.interp.word(), "message": self.interp.message() },
            "cpu": { "outcome": self.cpu.word(), "message": self.cpu.message() },
            "bound": self.bound,
            "millis": self.millis,
        })
    }

    /// What [`Report::to_json`] wrote.
    pub(crate) fn from_json(value: &Value) -> Option<Self> {
        let outcome = |key: &str| {
            let value = &value[key];
            Some(Outcome::parse(value["outcome"].as_str()?, value["message"].as_str()?))
        };
        let bound = value["bound"].as_array()?.iter().filter_map(Value::as_str);
        Some(Self {
            name: value["case"].as_str()?.to_string(),
            operator: value["operator"].as_str()?.to_string(),
            excluded: value["excluded"].as_str().map(str::to_string),
            interp: outcome("interp")?,
            cpu: outcome("cpu")?,
            bound: bound.map(str::to_string).collect(),
            millis: value["millis"].as_u64()?,
        })
    }
}

/// A case in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Status {
    /// The outputs are the expected ones, on both back ends.
    Passed,
    /// It need not pass, and does not.
    Excluded,
    /// nnc says that it does not have what the model uses.
    Unsupported,
    /// Wrong outputs, a fault, or the end of the process.
    Failed,
}

impl Status {
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Excluded => "excluded",
            Self::Unsupported => "unsupported",
            Self::Failed => "failed",
        }
    }

    pub(crate) fn parse(word: &str) -> Option<Self> {
        [Self::Passed, Self::Excluded, Self::Unsupported, Self::Failed].into_iter().find(|status| status.word() == word)
    }
}

/// How many cases there are of each status.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) passed: usize,
    pub(crate) excluded: usize,
    pub(crate) unsupported: usize,
    pub(crate) failed: usize,
}

impl Counts {
    pub(crate) fn add(&mut self, status: Status) {
        *match status {
            Status::Passed => &mut self.passed,
            Status::Excluded => &mut self.excluded,
            Status::Unsupported => &mut self.unsupported,
            Status::Failed => &mut self.failed,
        } += 1;
    }

    pub(crate) const fn all(&self) -> usize {
        self.passed + self.excluded + self.unsupported + self.failed
    }
}

/// All reports, by name.
#[derive(Clone, Debug)]
pub(crate) struct Scoreboard {
    pub(crate) reports: Vec<Report>,
}

impl Scoreboard {
    pub(crate) fn new(mut reports: Vec<Report>) -> Self {
        reports.sort_by(|lhs, rhs| lhs.name.cmp(&rhs.name));
        Self { reports }
    }

    pub(crate) fn counts<'a>(reports: impl IntoIterator<Item = &'a Report>) -> Counts {
        let mut counts = Counts::default();
        reports.into_iter().for_each(|report| counts.add(report.status()));
        counts
    }

    fn groups(&self, key: impl Fn(&Report) -> String) -> BTreeMap<String, Vec<&Report>> {
        let mut groups: BTreeMap<String, Vec<&Report>> = BTreeMap::new();
        for report in &self.reports {
            groups.entry(key(report)).or_default().push(report);
        }
        groups
    }

    /// Every case with everything known about it.
    pub(crate) fn to_json(&self) -> String {
        let reports: Vec<Value> = self.reports.iter().map(Report::to_json).collect();
        let counts = Self::counts(&self.reports);
        let value = json!({
            "passed": counts.passed,
            "failed": counts.failed,
            "unsupported": counts.unsupported,
            "excluded": counts.excluded,
            "cases": reports,
        });
        serde_json::to_string_pretty(&value).expect("there are no unprintable keys")
    }

    /// For people: what did not pass, then a line an operator, then a line a kind of cases. `all` lists what passed too.
    pub(crate) fn to_text(&self, all: bool) -> String {
        let mut text = String::new();
        for report in &self.reports {
            let status = report.status();
            let shown = matches!(status, Status::Failed | Status::Unsupported) || all;
            if !shown {
                continue;
            }
            let bound = if report.bound.is_empty() {
                String::new()
            } else {
                format!(" (value of {})", report.bound.join(", "))
            };
            let _ = writeln!(
                text,
                "{:<11} {} [{}]{bound} {} ms",
                status.word(),
                report.name,
                report.operator,
                report.millis
            );
            let same = report.interp == report.cpu;
            for (name, outcome) in [(if same { "" } else { "interp: " }, &report.interp), ("cpu: ", &report.cpu)] {
                if *outcome != Outcome::Pass && !(same && name == "cpu: ") {
                    let _ = writeln!(text, "    {name}{}", outcome.message().replace('\n', "\n    "));
                }
            }
        }
        let header = |text: &mut String, what: &str| {
            let _ = writeln!(
                text,
                "\n{what:<38} {:>7} {:>7} {:>12} {:>9} {:>6}",
                "passed", "failed", "unsupported", "excluded", "bound"
            );
        };
        let line = |text: &mut String, name: &str, reports: &[&Report]| {
            let counts = Self::counts(reports.iter().copied());
            let bound = reports.iter().filter(|report| !report.bound.is_empty()).count();
            let Counts { passed, failed, unsupported, excluded } = counts;
            let _ = writeln!(text, "{name:<38} {passed:>7} {failed:>7} {unsupported:>12} {excluded:>9} {bound:>6}");
        };
        header(&mut text, "operator");
        for (operator, reports) in self.groups(|report| report.operator.clone()) {
            line(&mut text, &operator, &reports);
        }
        header(&mut text, "kind");
        for (kind, reports) in self.groups(|report| report.name.split('/').next().unwrap_or_default().to_string()) {
            line(&mut text, &kind, &reports);
        }
        line(&mut text, "all", &self.reports.iter().collect::<Vec<_>>());
        let on = |outcome: fn(&Report) -> &Outcome| {
            self.reports.iter().filter(|report| *outcome(report) == Outcome::Pass).count()
        };
        let _ = writeln!(
            text,
            "\non the interpreter {}, in compiled code {}, of {}",
            on(|report| &report.interp),
            on(|report| &report.cpu),
            self.reports.len()
        );
        let mut reasons: BTreeMap<&str, usize> = BTreeMap::new();
        for report in self.reports.iter().filter(|report| report.status() == Status::Excluded) {
            *reasons.entry(report.excluded.as_deref().unwrap_or_default()).or_default() += 1;
        }
        for (reason, n) in reasons {
            let _ = writeln!(text, "excluded {n}: {reason}");
        }
        text
    }

    /// The last line of the output.
    pub(crate) fn last_line(&self) -> String {
        let counts = Self::counts(&self.reports);
        format!("{} passed, {} failed, {} skipped", counts.passed, counts.failed + counts.unsupported, counts.excluded)
    }
}
