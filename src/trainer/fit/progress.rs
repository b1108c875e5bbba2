//! The progress bar of an epoch: on a terminal, and nowhere else.

use std::io::IsTerminal;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// A bar that counts batches.
pub(super) struct Progress(Option<ProgressBar>);

impl Progress {
    /// A bar that stands at `batch` of `n_batches`.
    pub(super) fn new(is_wanted: bool, epoch: usize, n_epochs: usize, batch: usize, n_batches: usize) -> Self {
        if !is_wanted || !std::io::stderr().is_terminal() {
            return Self(None);
        }
        let template = "{prefix} [{bar:40}] {pos}/{len}  loss {msg}  {per_sec}, {eta} left";
        let style = ProgressStyle::with_template(template).expect("the template is well-formed").progress_chars("=> ");
        let bar = ProgressBar::with_draw_target(Some(n_batches as u64), ProgressDrawTarget::stderr()).with_style(style);
        bar.set_prefix(format!("epoch {}/{n_epochs}", epoch + 1));
        bar.set_position(batch as u64);
        bar.reset_eta();
        Self(Some(bar))
    }

    /// One more batch is done.
    pub(super) fn advance(&self, loss: f64) {
        if let Some(bar) = &self.0 {
            bar.inc(1);
            bar.set_message(format!("{loss:.3}"));
        }
    }
}

impl Drop for Progress {
    /// What is printed after an epoch stands where the bar was.
    fn drop(&mut self) {
        if let Some(bar) = &self.0 {
            bar.finish_and_clear();
        }
    }
}
