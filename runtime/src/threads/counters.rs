//! Which chunks of a launch are taken and which are done, however often the launch runs.
//!
//! The chunks of a launch are divided into one contiguous span a thread. A thread takes chunks of its own span first,
//! so that from run to run it meets the same data in its caches, then helps with the others.
//!
//! Nothing is ever reset: the chunks of all executions of a launch are numbered on and on, and every thread knows which
//! execution it is at. A thread that comes late, even by many executions, finds its chunks taken.

use std::sync::atomic::{AtomicU64, Ordering::*};

use super::Spins;

/// The counters of one launch, or of a unit that stays on the calling thread.
#[derive(Debug)]
pub(super) struct Counter {
    /// What `done` grows by in an execution: the number of chunks, 1 for a unit of the calling thread.
    per_execution: u64,
    /// Chunks finished in all executions together.
    done: Line,
    /// One a thread that can take part; none for a unit of the calling thread.
    spans: Box<[Span]>,
}

/// The chunks `start..start + len` of a launch.
#[derive(Debug)]
struct Span {
    /// Chunks of the span taken in all executions together.
    taken: Line,
    start: u32,
    len: u32,
}

/// A counter on a cache line of its own.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Line(AtomicU64);

impl Counter {
    /// Counts `n_chunks` chunks an execution, shared by `threads` threads; 0 is a unit of the calling thread.
    pub(super) fn new(n_chunks: u32, threads: usize) -> Counter {
        let n_spans = threads.min(n_chunks as usize) as u64;
        let bound = |span_idx: u64| (span_idx * u64::from(n_chunks) / n_spans) as u32;
        let span = |span_idx| {
            let (start, end) = (bound(span_idx), bound(span_idx + 1));
            Span { taken: Line::default(), start, len: end - start }
        };
        Counter {
            per_execution: u64::from(n_chunks.max(1)),
            done: Line::default(),
            spans: (0..n_spans).map(span).collect(),
        }
    }

    /// Takes the chunks that thread `rank` can get of execution number `execution`, and runs them.
    pub(super) fn take(&self, execution: u64, rank: usize, mut run: impl FnMut(u32)) {
        let mut n_done = 0;
        for offset in 0..self.spans.len() {
            let span = &self.spans[(rank + offset) % self.spans.len()];
            while let Some(chunk) = span.take(execution) {
                run(chunk);
                n_done += 1;
            }
        }
        if n_done > 0 {
            self.finish(n_done);
        }
    }

    /// Counts `n_done` chunks as done. Release: whoever waits for them sees what they wrote, since adding to another
    /// thread's count continues its release.
    pub(super) fn finish(&self, n_done: u64) {
        self.done.0.fetch_add(n_done, Release);
    }

    /// Waits until execution number `execution` is done.
    pub(super) fn wait(&self, execution: u64) {
        let target = (execution + 1).wrapping_mul(self.per_execution);
        let mut spins = Spins::default();
        while self.done.0.load(Acquire) < target {
            spins.wait();
        }
    }
}

impl Span {
    /// Takes the next chunk of an execution, if one is left.
    ///
    /// The order is relaxed: that a chunk is given out once follows from the exchange alone, and what it reads was
    /// ordered by [`Counter::wait`]. An execution starts when the one before is done, so all of that one's are taken.
    fn take(&self, execution: u64) -> Option<u32> {
        let len = u64::from(self.len);
        let first = execution.wrapping_mul(len);
        let mut taken = self.taken.0.load(Relaxed);
        loop {
            if taken >= first.wrapping_add(len) {
                return None;
            }
            match self.taken.0.compare_exchange_weak(taken, taken + 1, Relaxed, Relaxed) {
                Ok(_) => return Some(self.start + (taken - first) as u32),
                Err(current) => taken = current,
            }
        }
    }
}
