//! Optimizers as text: `sgd:lr=0.1,momentum=0.9,nesterov=true`.

use std::fmt;

use nnc_ir::{Diagnostic, Location};

use super::{Optimizer, Sgd};

/// An optimizer and its settings.
#[derive(Clone, Debug, PartialEq)]
pub enum OptimizerSpec {
    /// Stochastic gradient descent.
    Sgd(Sgd),
}

impl OptimizerSpec {
    /// Names of all optimizers.
    pub const NAMES: &[&str] = &["sgd"];

    /// Reads `NAME` or `NAME:SETTING=VALUE,...`; settings have PyTorch's names and defaults.
    ///
    /// # Errors
    /// Every unknown or repeated setting and every value that does not fit, at its column in `text` (the file of the
    /// location is `optimizer`).
    pub fn parse(text: &str) -> Result<Self, Vec<Diagnostic>> {
        let (name, rest) = text.split_once(':').unwrap_or((text, ""));
        let mut settings = Settings::parse(rest, name.chars().count() + 2);
        let spec = match name.trim() {
            "sgd" => Self::Sgd(Sgd::from_settings(&mut settings)),
            other => {
                let message = format!("unknown optimizer `{other}`, expected {}", alternatives(Self::NAMES));
                return Err(vec![Diagnostic::new(place(1), message)]);
            }
        };
        let faults = settings.finish();
        if faults.is_empty() { Ok(spec) } else { Err(faults) }
    }

    /// The algorithm.
    pub fn optimizer(&self) -> &dyn Optimizer {
        match self {
            Self::Sgd(sgd) => sgd,
        }
    }

    /// The learning rate to start with.
    pub fn learning_rate(&self) -> f64 {
        match self {
            Self::Sgd(sgd) => sgd.lr,
        }
    }
}

impl fmt::Display for OptimizerSpec {
    /// Name and every setting, as [`OptimizerSpec::parse`] reads it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, settings) = match self {
            Self::Sgd(sgd) => ("sgd", sgd.settings()),
        };
        for (idx, (key, value)) in settings.iter().enumerate() {
            let lead = if idx == 0 { format!("{name}:") } else { ",".to_string() };
            write!(f, "{lead}{key}={value}")?;
        }
        Ok(())
    }
}

/// The settings of one optimizer while they are taken out one by one.
pub(super) struct Settings<'a> {
    given: Vec<Setting<'a>>,
    /// Names asked for so far: what is allowed.
    known: Vec<&'static str>,
    faults: Vec<Diagnostic>,
}

struct Setting<'a> {
    key: &'a str,
    value: &'a str,
    column: usize,
}

impl<'a> Settings<'a> {
    /// Splits `key=value,...`, which starts at `column` of the whole text.
    fn parse(text: &'a str, column: usize) -> Self {
        let mut settings = Self { given: Vec::new(), known: Vec::new(), faults: Vec::new() };
        let mut column = column;
        if text.trim().is_empty() {
            return settings;
        }
        for part in text.split(',') {
            match part.split_once('=') {
                Some((key, value)) => {
                    let setting = Setting { key: key.trim(), value: value.trim(), column };
                    if settings.given.iter().any(|other| other.key == setting.key) {
                        let message = format!("setting `{}` is given twice", setting.key);
                        settings.faults.push(Diagnostic::new(place(column), message));
                    }
                    settings.given.push(setting);
                }
                None => {
                    let message = format!("found `{part}`, expected SETTING=VALUE");
                    settings.faults.push(Diagnostic::new(place(column), message));
                }
            }
            column += part.chars().count() + 1;
        }
        settings
    }

    /// A finite number.
    pub(super) fn number(&mut self, key: &'static str, default: f64) -> f64 {
        self.take(key, default, "a number", |value| value.parse().ok().filter(|number: &f64| number.is_finite()))
    }

    /// A finite number of at least 0.
    pub(super) fn amount(&mut self, key: &'static str, default: f64) -> f64 {
        let accept = |value: &str| value.parse().ok().filter(|number: &f64| number.is_finite() && *number >= 0.0);
        self.take(key, default, "a number of at least 0", accept)
    }

    /// `true` or `false`.
    pub(super) fn flag(&mut self, key: &'static str, default: bool) -> bool {
        self.take(key, default, "true or false", |value| value.parse().ok())
    }

    /// Records a fault of the setting `key`.
    pub(super) fn fault(&mut self, key: &str, message: impl Into<String>) {
        let column = self.given.iter().find(|setting| setting.key == key).map_or(1, |setting| setting.column);
        self.faults.push(Diagnostic::new(place(column), message));
    }

    fn take<T>(&mut self, key: &'static str, default: T, expected: &str, read: impl Fn(&str) -> Option<T>) -> T {
        self.known.push(key);
        let Some(setting) = self.given.iter().find(|setting| setting.key == key) else {
            return default;
        };
        read(setting.value).unwrap_or_else(|| {
            let message = format!("setting `{key}` is `{}`, expected {expected}", setting.value);
            self.faults.push(Diagnostic::new(place(setting.column), message));
            default
        })
    }

    /// All faults, with those of settings that nobody asked for, by column.
    fn finish(mut self) -> Vec<Diagnostic> {
        for setting in &self.given {
            if !self.known.contains(&setting.key) {
                let message = format!("unknown setting `{}`, expected {}", setting.key, alternatives(&self.known));
                self.faults.push(Diagnostic::new(place(setting.column), message));
            }
        }
        self.faults.sort_by_key(|fault| fault.location.column);
        self.faults
    }
}

/// Column `column` of the specification.
fn place(column: usize) -> Location {
    Location::at("optimizer", 1, column as u32)
}

/// `` `a`, `b` or `c` ``.
fn alternatives(names: &[&str]) -> String {
    let quoted: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    match quoted.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, others)) => format!("{} or {last}", others.join(", ")),
        None => "nothing".to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(text: &str) -> String {
        let faults = OptimizerSpec::parse(text).expect_err("the text is wrong");
        faults.iter().map(|fault| format!("{fault}\n")).collect()
    }

    #[test]
    fn a_specification_reads_back_as_printed() {
        let spec = OptimizerSpec::parse("sgd:lr=0.1, momentum=0.9,nesterov=true,weight_decay=1e-4").expect("fits");
        let expected =
            Sgd { lr: 0.1, momentum: 0.9, nesterov: true, weight_decay: 1e-4, dampening: 0.0, maximize: false };
        assert_eq!(spec, OptimizerSpec::Sgd(expected));
        assert_eq!(OptimizerSpec::parse(&spec.to_string()), Ok(spec));
        assert_eq!(OptimizerSpec::parse("sgd"), Ok(OptimizerSpec::Sgd(Sgd::default())));
    }

    #[test]
    fn all_faults_are_reported_in_place() {
        assert_eq!(
            faults("sgd:lr=fast,momentun=0.9,lr=1,nesterov"),
            "optimizer:1:5: setting `lr` is `fast`, expected a number of at least 0\n\
             optimizer:1:13: unknown setting `momentun`, expected `lr`, `momentum`, `dampening`, `weight_decay`, \
             `nesterov` or `maximize`\n\
             optimizer:1:26: setting `lr` is given twice\n\
             optimizer:1:31: found `nesterov`, expected SETTING=VALUE\n"
        );
        assert_eq!(faults("adamw:lr=1"), "optimizer:1:1: unknown optimizer `adamw`, expected `sgd`\n");
        assert_eq!(faults("sgd:nesterov=true"), "optimizer:1:5: nesterov needs a momentum and no dampening\n");
        assert_eq!(
            faults("sgd:weight_decay=-1"),
            "optimizer:1:5: setting `weight_decay` is `-1`, expected a number of at least 0\n"
        );
    }
}
