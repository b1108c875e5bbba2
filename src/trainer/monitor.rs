//! Watching one value of the history: which epoch was the best, and when to give up.

use nnc_ir::{Diagnostic, Location};

use super::history::EpochRecord;
use super::metrics::numbers;

/// Which values are better.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Smaller ones.
    Min,
    /// Larger ones.
    Max,
}

impl Mode {
    /// `Min` of losses and errors, `Max` of anything else.
    fn of(name: &str) -> Self {
        if name.ends_with("loss") || name.ends_with("error") { Self::Min } else { Self::Max }
    }
}

/// A value of the history, and its best so far.
#[derive(Clone, Debug)]
pub(super) struct Monitor {
    pub(super) name: String,
    pub(super) mode: Mode,
    /// A value is better only if it is by more than this.
    pub(super) min_delta: f64,
    best: Option<f64>,
}

impl Monitor {
    pub(super) fn new(name: impl Into<String>) -> Self {
        let name = name.into();
        Self { mode: Mode::of(&name), name, min_delta: 0.0, best: None }
    }

    /// The value in an epoch's record.
    pub(super) fn value(&self, record: &EpochRecord) -> Result<f64, Diagnostic> {
        record.get(&self.name).ok_or_else(|| {
            let names: Vec<&str> = record.values.keys().map(String::as_str).collect();
            let message = format!("`{}` is watched, but what is measured is {}", self.name, names.join(", "));
            Diagnostic::new(Location::unknown(), message)
        })
    }

    /// Takes in an epoch; whether it is the best so far. NaN never is.
    pub(super) fn improves(&mut self, record: &EpochRecord) -> Result<bool, Diagnostic> {
        let value = self.value(record)?;
        let is_better = match (self.best, self.mode) {
            (None, _) => !value.is_nan(),
            (Some(best), Mode::Min) => value < best - self.min_delta,
            (Some(best), Mode::Max) => value > best + self.min_delta,
        };
        if is_better {
            self.best = Some(value);
        }
        Ok(is_better)
    }

    pub(super) fn state(&self) -> Vec<f64> {
        vec![f64::from(u8::from(self.best.is_some())), self.best.unwrap_or(0.0)]
    }

    pub(super) fn load_state(&mut self, state: &[f64]) -> Result<(), Diagnostic> {
        let [is_some, best] = numbers(&self.name, state)?;
        self.best = (is_some != 0.0).then_some(best);
        Ok(())
    }
}

/// Ends training when a value has not become better for some epochs.
#[derive(Clone, Debug)]
pub struct EarlyStopping {
    pub(super) monitor: Monitor,
    patience: usize,
    pub(super) restores_best: bool,
    /// Epochs since the best one.
    n_waited: usize,
}

impl EarlyStopping {
    /// Watches a value of the history, such as `valid_loss`; losses and errors should become smaller, anything else
    /// larger, unless [`mode`](EarlyStopping::mode) says otherwise.
    pub fn new(monitor: impl Into<String>) -> Self {
        Self { monitor: Monitor::new(monitor), patience: 3, restores_best: false, n_waited: 0 }
    }

    /// Epochs in a row without improvement after which training ends: 3 unless set.
    #[must_use]
    pub fn patience(mut self, n_epochs: usize) -> Self {
        self.patience = n_epochs;
        self
    }

    /// What a value must become better by to count.
    #[must_use]
    pub fn min_delta(mut self, min_delta: f64) -> Self {
        self.monitor.min_delta = min_delta;
        self
    }

    /// Which values are better.
    #[must_use]
    pub fn mode(mut self, mode: Mode) -> Self {
        self.monitor.mode = mode;
        self
    }

    /// Whether the model's parameters and buffers become those of the best epoch when training ends. Checkpoints hold them
    /// too then.
    #[must_use]
    pub fn restore_best(mut self, restore_best: bool) -> Self {
        self.restores_best = restore_best;
        self
    }

    /// Takes in an epoch; whether it is the best so far.
    pub(super) fn update(&mut self, record: &EpochRecord) -> Result<bool, Diagnostic> {
        let improves = self.monitor.improves(record)?;
        self.n_waited = if improves { 0 } else { self.n_waited + 1 };
        Ok(improves)
    }

    /// Why training should end, if it should.
    pub(super) fn verdict(&self) -> Option<String> {
        (self.n_waited >= self.patience.max(1))
            .then(|| format!("{} did not become better for {} epochs", self.monitor.name, self.n_waited))
    }

    pub(super) fn state(&self) -> Vec<f64> {
        let mut state = self.monitor.state();
        state.push(self.n_waited as f64);
        state
    }

    pub(super) fn load_state(&mut self, state: &[f64]) -> Result<(), Diagnostic> {
        let [is_some, best, n_waited] = numbers("early stopping", state)?;
        self.monitor.load_state(&[is_some, best])?;
        self.n_waited = n_waited as usize;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(name: &str, value: f64) -> EpochRecord {
        EpochRecord { values: [(name.to_string(), value)].into_iter().collect(), ..EpochRecord::default() }
    }

    #[test]
    fn patience_ends() {
        let mut stopping = EarlyStopping::new("valid_loss").patience(2).min_delta(0.1);
        let mut see = |value| (stopping.update(&record("valid_loss", value)).expect("there"), stopping.verdict());
        assert_eq!(see(f64::NAN), (false, None));
        assert_eq!(see(1.0), (true, None));
        assert_eq!(see(0.95), (false, None), "too small a step");
        assert_eq!(see(0.8), (true, None));
        assert_eq!(see(0.8), (false, None));
        let (improves, verdict) = see(f64::NAN);
        assert!(!improves && verdict.expect("it ends") == "valid_loss did not become better for 2 epochs");
    }

    #[test]
    fn accuracies_grow_and_states_return() {
        let mut first = EarlyStopping::new("valid_accuracy").patience(1);
        assert!(first.update(&record("valid_accuracy", 0.5)).expect("there"));
        let mut second = first.clone();
        second.update(&record("valid_accuracy", 0.9)).expect("there");
        second.load_state(&first.state()).expect("of its kind");
        assert!(!second.update(&record("valid_accuracy", 0.4)).expect("there"));
        assert!(second.verdict().is_some());
        let fault = second.update(&record("train_loss", 1.0)).expect_err("not measured").to_string();
        assert!(fault.contains("`valid_accuracy` is watched, but what is measured is train_loss"), "{fault}");
        assert!(second.load_state(&[1.0]).is_err());
    }
}
