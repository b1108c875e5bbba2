//! Which chunks of a run are taken and which are done.
//!
//! The chunks of a step are divided into one contiguous span a thread. A thread takes chunks of its own span first, so
//! that from run to run it meets the same data in its caches, then helps with the others.
//!
//! Nothing is reset between runs. A span's counter carries the number of the run it belongs to, so that a counter of an
//! earlier run reads as 0; the count of finished chunks only grows, by the number of chunks a run.

use std::sync::atomic::{AtomicU64, Ordering::*};

use super::{Spins, Work};

/// Counters of all steps of one [`Work`].
#[derive(Debug)]
pub(crate) struct Progress {
    /// Number of the current run, from 1.
    run: u64,
    steps: Box<[Step]>,
}

#[derive(Debug)]
struct Step {
    /// What `done` grows by in a run: the number of chunks, but 1 for a step without any, since whoever waits for it
    /// has to wait for the steps before it.
    per_run: u64,
    /// Chunks finished in all runs together.
    done: Line,
    /// One a thread that can take part; empty where the step stays on the calling thread.
    spans: Box<[Span]>,
}

/// The chunks `start..start + len` of a step.
#[derive(Debug)]
struct Span {
    /// The run's number in the high half, how many chunks are taken in the low half.
    taken: Line,
    start: u32,
    len: u32,
}

/// A counter on a cache line of its own.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Line(AtomicU64);

impl Progress {
    /// Counters for running `work` on `threads` threads.
    pub(crate) fn new(work: &dyn Work, threads: usize) -> Progress {
        let step = |step_idx| {
            let n_chunks = work.n_chunks(step_idx);
            let n_spans = if n_chunks > 1 { threads.min(n_chunks as usize) as u64 } else { 0 };
            let bound = |span_idx: u64| (span_idx * u64::from(n_chunks) / n_spans) as u32;
            let span = |span_idx| {
                let (start, end) = (bound(span_idx), bound(span_idx + 1));
                Span { taken: Line::default(), start, len: end - start }
            };
            Step { per_run: u64::from(n_chunks.max(1)), done: Line::default(), spans: (0..n_spans).map(span).collect() }
        };
        Progress { run: 0, steps: (0..work.n_steps()).map(step).collect() }
    }

    /// Starts the next run.
    pub(super) fn begin(&mut self) {
        self.run += 1;
    }

    /// Takes part in the current run as thread `rank`; 0 is the calling thread, which returns when everything is done.
    /// Other threads return when there is nothing left for them.
    ///
    /// # Safety
    /// Each rank takes part at most once a run, and `work` is the one the counters were made for.
    pub(super) unsafe fn take_part(&self, work: &dyn Work, rank: usize) {
        for (step_idx, step) in self.steps.iter().enumerate() {
            if step.spans.is_empty() {
                if rank == 0 {
                    self.wait_for(step_idx);
                    // SAFETY: the steps before are done, and only the calling thread gets here.
                    unsafe { work.run_step(step_idx) };
                    // Release: whoever waits for this step sees what it wrote.
                    step.done.0.fetch_add(step.per_run, Release);
                }
                continue;
            }
            self.wait_for(step_idx);
            let mut n_done = 0;
            for offset in 0..step.spans.len() {
                let span = &step.spans[(rank + offset) % step.spans.len()];
                while let Some(chunk) = span.take(self.run as u32) {
                    // SAFETY: the steps before are done, and `take` gives each chunk out once a run.
                    unsafe { work.run_chunk(step_idx, chunk) };
                    n_done += 1;
                }
            }
            if n_done > 0 {
                // Release: as above. Adding to another thread's count continues its release.
                step.done.0.fetch_add(n_done, Release);
            }
        }
        if rank == 0 {
            self.wait_for(self.steps.len());
        }
    }

    /// Waits until all steps before `step_idx` are done in the current run. The one right before it is enough, since it
    /// was itself not started earlier.
    fn wait_for(&self, step_idx: usize) {
        let Some(step) = step_idx.checked_sub(1).map(|idx| &self.steps[idx]) else { return };
        let target = self.run.wrapping_mul(step.per_run);
        let mut spins = Spins::default();
        while step.done.0.load(Acquire) != target {
            spins.wait();
        }
    }
}

impl Span {
    /// Takes the next chunk of run `run`, if one is left.
    ///
    /// The order is relaxed: that a chunk is given out once follows from the exchange alone, and what it reads was
    /// ordered by [`Progress::wait_for`]. A counter of an earlier run cannot be mistaken for this one's: every run
    /// empties every span, so the number in a counter is this run's or the one before it.
    fn take(&self, run: u32) -> Option<u32> {
        let mut word = self.taken.0.load(Relaxed);
        loop {
            let taken = if (word >> 32) as u32 == run { word as u32 } else { 0 };
            if taken == self.len {
                return None;
            }
            let next = u64::from(run) << 32 | u64::from(taken + 1);
            match self.taken.0.compare_exchange_weak(word, next, Relaxed, Relaxed) {
                Ok(_) => return Some(self.start + taken),
                Err(current) => word = current,
            }
        }
    }
}
