//! When checkpoints are saved, where, and which are kept.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nnc_ir::{Diagnostic, Location};

use super::Checkpoint;
use crate::trainer::monitor::{Mode, Monitor};

/// Where and when [`Fit`](crate::trainer::Fit) saves checkpoints: `step-NUMBER.safetensors` in a folder, after each epoch
/// unless set otherwise, and always when training ends; the last two are kept.
#[derive(Clone, Debug)]
pub struct Checkpoints {
    dir: PathBuf,
    every_steps: Option<u64>,
    every_epochs: Option<usize>,
    every: Option<Duration>,
    n_kept: usize,
    pub(in crate::trainer) best: Option<Monitor>,
    last_save: Instant,
}

impl Checkpoints {
    /// Checkpoints in the folder `dir`, which is made if there is none.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self {
            dir: dir.into(),
            every_steps: None,
            every_epochs: Some(1),
            every: None,
            n_kept: 2,
            best: None,
            last_save: Instant::now(),
        }
    }

    /// Saves after every so many steps too.
    #[must_use]
    pub fn every_steps(mut self, n_steps: u64) -> Self {
        self.every_steps = Some(n_steps.max(1));
        self
    }

    /// Saves after every so many epochs; 0 is never.
    #[must_use]
    pub fn every_epochs(mut self, n_epochs: usize) -> Self {
        self.every_epochs = (n_epochs > 0).then_some(n_epochs);
        self
    }

    /// Saves after the first step that ends so long after the last save.
    #[must_use]
    pub fn every(mut self, duration: Duration) -> Self {
        self.every = Some(duration);
        self
    }

    /// Keeps the last so many, at least one.
    #[must_use]
    pub fn keep(mut self, n_kept: usize) -> Self {
        self.n_kept = n_kept.max(1);
        self
    }

    /// Keeps the checkpoint of the best epoch as `best.safetensors`: the one with the smallest loss or error, the largest
    /// of anything else, called `monitor` in the history.
    #[must_use]
    pub fn best(mut self, monitor: impl Into<String>) -> Self {
        self.best = Some(Monitor::new(monitor));
        self
    }

    /// [`Checkpoints::best`] where larger or smaller values are better than its name says.
    #[must_use]
    pub fn best_by(mut self, monitor: impl Into<String>, mode: Mode) -> Self {
        let mut monitor = Monitor::new(monitor);
        monitor.mode = mode;
        self.best = Some(monitor);
        self
    }

    pub(in crate::trainer) fn is_due_after_step(&self, step: u64) -> bool {
        self.every_steps.is_some_and(|n| step.is_multiple_of(n))
            || self.every.is_some_and(|duration| self.last_save.elapsed() >= duration)
    }

    pub(in crate::trainer) fn is_due_after_epochs(&self, n_epochs: usize) -> bool {
        self.every_epochs.is_some_and(|n| n_epochs.is_multiple_of(n))
    }

    /// The newest checkpoint of the folder, if there is one.
    pub(in crate::trainer) fn newest(&self) -> Result<Option<PathBuf>, Diagnostic> {
        newest(&self.dir)
    }

    /// Makes the folder ready: it exists, has no remains of interrupted writes, and, if training begins anew, no
    /// checkpoints.
    pub(in crate::trainer) fn prepare(&mut self, begins: bool) -> Result<(), Diagnostic> {
        let fault = |error: std::io::Error| folder_fault(&self.dir, format!("cannot make the folder: {error}"));
        std::fs::create_dir_all(&self.dir).map_err(fault)?;
        if begins && let Some(path) = self.newest()? {
            let message = format!("the folder has checkpoints of another run, such as {}", path.display());
            return Err(
                folder_fault(&self.dir, message).note("continue that run with `resume`, or name another folder")
            );
        }
        for entry in std::fs::read_dir(&self.dir).into_iter().flatten().flatten() {
            let name = entry.file_name();
            if name.to_str().is_some_and(|name| name.starts_with(".nnc-")) {
                // A file that somebody else removes meanwhile does no harm.
                let _ = std::fs::remove_file(entry.path());
            }
        }
        self.last_save = Instant::now();
        Ok(())
    }

    /// Saves a checkpoint and removes those before the ones to keep.
    pub(in crate::trainer) fn save(&mut self, checkpoint: &Checkpoint) -> Result<(), Diagnostic> {
        checkpoint.save(self.dir.join(format!("step-{:010}.safetensors", checkpoint.n_steps())))?;
        let mut steps = steps(&self.dir)?;
        steps.sort_unstable();
        for (_, path) in steps.iter().rev().skip(self.n_kept) {
            let _ = std::fs::remove_file(path);
        }
        self.last_save = Instant::now();
        Ok(())
    }

    /// Saves the checkpoint of the best epoch.
    pub(in crate::trainer) fn save_best(&self, checkpoint: &Checkpoint) -> Result<(), Diagnostic> {
        checkpoint.save(self.dir.join("best.safetensors"))
    }
}

/// The newest checkpoint of a folder, if there is one.
pub(in crate::trainer) fn newest(dir: &Path) -> Result<Option<PathBuf>, Diagnostic> {
    Ok(steps(dir)?.into_iter().max().map(|(_, path)| path))
}

/// Checkpoints of a folder, by step.
fn steps(dir: &Path) -> Result<Vec<(u64, PathBuf)>, Diagnostic> {
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(folder_fault(dir, format!("cannot list the folder: {error}"))),
    };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry.map_err(|error| folder_fault(dir, format!("cannot list the folder: {error}")))?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let number = name.strip_prefix("step-").and_then(|rest| rest.strip_suffix(".safetensors"));
        if let Some(step) = number.and_then(|number| number.parse().ok()) {
            found.push((step, path));
        }
    }
    Ok(found)
}

fn folder_fault(dir: &Path, message: String) -> Diagnostic {
    Diagnostic::new(Location::at(dir.display().to_string(), 0, 0), message)
}
