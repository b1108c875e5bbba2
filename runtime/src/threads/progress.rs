//! A run of a team through the parts of a program.
//!
//! The calling thread goes through all of it. Where a segment comes it publishes which one, how often it has been run,
//! and the iterations of the loops around it; workers that see this go through the segment too, taking chunks. They
//! agree on how often each launch has run without talking: it follows from how often the segment has. In a program
//! without conditions there is one segment, and publishing is all that passes between threads but the chunks.

use std::convert::Infallible;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::*, fence};

use super::Work;
use super::counters::Counter;
use super::parts::{Part, Parts, Unit};
use crate::program::{Address, Iterations, MAX_LOOPS, Visitor};

/// Parts and counters of one [`Work`].
#[derive(Debug)]
pub(crate) struct Progress {
    parts: Parts,
    counters: Box<[Counter]>,
    /// How often each segment has been run; only the calling thread looks.
    executions: Box<[AtomicU64]>,
    published: Published,
}

/// The segment that is being run.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Published {
    /// Twice the number of publications so far; odd while one is being written.
    sequence: AtomicU64,
    segment: AtomicUsize,
    execution: AtomicU64,
    iterations: [AtomicU64; MAX_LOOPS],
}

/// A copy of [`Published`].
pub(super) struct Publication {
    sequence: u64,
    segment: usize,
    execution: u64,
    iterations: Iterations,
}

/// The last thing that a thread has passed in a segment: a counter and the execution that was meant.
type Passed = Option<(usize, u64)>;

impl Progress {
    /// What running `work` on `threads` threads takes.
    pub(crate) fn new<W: Work>(work: &W, threads: usize) -> Progress {
        let parts = Parts::of(work.steps(), &|launch| work.n_chunks(launch));
        let counters = parts.counters.iter().map(|&n_chunks| Counter::new(n_chunks, threads)).collect();
        let executions = parts.segments.iter().map(|_| AtomicU64::new(0)).collect();
        Progress { parts, counters, executions, published: Published::default() }
    }

    /// Number of publications so far. A run's workers wait for a later one.
    pub(super) fn n_published(&self) -> u64 {
        self.published.sequence.load(Relaxed)
    }

    /// Takes part in a run as the calling thread; returns when everything is done.
    ///
    /// # Safety
    /// One thread at a time, between runs of which all workers leave, and `work` is the one this was made for.
    pub(super) unsafe fn lead(&self, work: &dyn Work) {
        let mut leader = Leader { progress: self, work, iterations: Iterations::default() };
        // SAFETY: the caller's promise.
        unsafe { leader.block(&self.parts.main, 0) };
    }

    /// What has been published after `seen`, and whether nothing else can come in this run.
    pub(super) fn next(&self, seen: u64) -> Option<Publication> {
        let published = &self.published;
        let sequence = published.sequence.load(Acquire);
        if sequence == seen || sequence % 2 == 1 {
            return None;
        }
        let segment = published.segment.load(Relaxed);
        let execution = published.execution.load(Relaxed);
        let numbers = published.iterations.each_ref().map(|number| number.load(Relaxed));
        // All of the above belongs to one publication if no other has begun since.
        fence(Acquire);
        let unchanged = published.sequence.load(Relaxed) == sequence;
        unchanged.then(|| Publication { sequence, segment, execution, iterations: Iterations::of(&numbers) })
    }

    /// Takes part in a published segment as worker `rank`. Returns when there is nothing left for it: the number of the
    /// publication, or `None` if no other can follow in this run.
    ///
    /// # Safety
    /// Each rank takes part as one thread, and `work` is the one this was made for.
    pub(super) unsafe fn follow(&self, work: &dyn Work, rank: usize, publication: Publication) -> Option<u64> {
        let Publication { sequence, segment, execution, mut iterations } = publication;
        let (units, depth) = (&self.parts.segments[segment].units, self.parts.segments[segment].depth);
        // SAFETY: the caller's promise.
        unsafe { self.units(work, rank, units, execution, depth, &mut iterations, &mut None) };
        let is_last = matches!(self.parts.main.last(), Some(Part::Segment(last)) if *last == segment);
        (!is_last).then_some(sequence)
    }

    /// Takes part in execution number `execution` of units in `depth` loops.
    #[allow(clippy::too_many_arguments, reason = "where a thread is, and who it is")]
    unsafe fn units(
        &self,
        work: &dyn Work,
        rank: usize,
        units: &[Unit],
        execution: u64,
        depth: usize,
        iterations: &mut Iterations,
        passed: &mut Passed,
    ) {
        for unit in units {
            match *unit {
                Unit::Solo { ref steps, counter } => {
                    if rank == 0 {
                        self.wait(*passed);
                        // SAFETY: the units before are done, and only the calling thread gets here.
                        unsafe { work.run_part(steps.clone(), depth, iterations) };
                        self.counters[counter].finish(1);
                    }
                    *passed = Some((counter, execution));
                }
                Unit::Shared { launch, counter } => {
                    self.wait(*passed);
                    let mut args = None;
                    self.counters[counter].take(execution, rank, |chunk| {
                        // SAFETY: `rank` is this thread's own.
                        let args = *args.get_or_insert_with(|| unsafe { work.bind(rank, launch, iterations) });
                        // SAFETY: the units before are done, and each chunk is given out once an execution.
                        unsafe { work.run_chunk(launch, args, chunk) };
                    });
                    *passed = Some((counter, execution));
                }
                Unit::Loop { trips, ref body } => {
                    for trip in 0..trips {
                        iterations.set(depth, trip);
                        let execution = execution.wrapping_mul(trips).wrapping_add(trip);
                        // SAFETY: the caller's promise.
                        unsafe { self.units(work, rank, body, execution, depth + 1, iterations, passed) };
                    }
                    iterations.set(depth, 0);
                }
            }
        }
    }

    /// Waits until all units that a thread has passed are done: the last one is enough, since it was itself not started
    /// earlier.
    fn wait(&self, passed: Passed) {
        if let Some((counter, execution)) = passed {
            self.counters[counter].wait(execution);
        }
    }
}

/// The calling thread on its way.
struct Leader<'r> {
    progress: &'r Progress,
    work: &'r dyn Work,
    iterations: Iterations,
}

impl Leader<'_> {
    /// # Safety
    /// As [`Progress::lead`]; everything before is done.
    unsafe fn block(&mut self, block: &[Part], depth: usize) {
        for part in block {
            match part {
                // SAFETY: the caller's promise.
                Part::Solo(steps) => unsafe { self.work.run_part(steps.clone(), depth, &mut self.iterations) },
                // SAFETY: the caller's promise.
                Part::Segment(segment) => unsafe { self.segment(*segment) },
                Part::Loop { trips, body } => {
                    for trip in 0..*trips {
                        self.iterations.set(depth, trip);
                        // SAFETY: the caller's promise.
                        unsafe { self.block(body, depth + 1) };
                    }
                    self.iterations.set(depth, 0);
                }
                Part::Branch { position, on_true, on_false } => {
                    // SAFETY: what the condition is made by is done.
                    let holds = unsafe { self.work.condition(*position, &self.iterations) };
                    // SAFETY: the caller's promise.
                    unsafe { self.block(if holds { on_true } else { on_false }, depth) };
                }
                Part::While { position, head, body } => {
                    for trip in 0.. {
                        self.iterations.set(depth, trip);
                        // SAFETY: the caller's promise, and as for a branch.
                        unsafe {
                            self.block(head, depth + 1);
                            if !self.work.condition(*position, &self.iterations) {
                                break;
                            }
                            self.block(body, depth + 1);
                        }
                    }
                    self.iterations.set(depth, 0);
                }
            }
        }
    }

    /// # Safety
    /// As [`Leader::block`].
    unsafe fn segment(&mut self, segment: usize) {
        let progress = self.progress;
        let execution = progress.executions[segment].load(Relaxed);
        progress.executions[segment].store(execution + 1, Relaxed);
        progress.published.publish(segment, execution, &self.iterations);
        let (units, depth) = (&progress.parts.segments[segment].units, progress.parts.segments[segment].depth);
        let mut passed = None;
        // SAFETY: the caller's promise; rank 0 is the calling thread's.
        unsafe { progress.units(self.work, 0, units, execution, depth, &mut self.iterations, &mut passed) };
        progress.wait(passed);
    }
}

impl Published {
    fn publish(&self, segment: usize, execution: u64, iterations: &Iterations) {
        let sequence = self.sequence.load(Relaxed);
        self.sequence.store(sequence + 1, Relaxed);
        // Whoever reads a part of what follows sees the odd number, or a later one, when it looks again.
        fence(Release);
        self.segment.store(segment, Relaxed);
        self.execution.store(execution, Relaxed);
        for (slot, &number) in self.iterations.iter().zip(iterations.numbers()) {
            slot.store(number, Relaxed);
        }
        // Release: a worker sees what the calling thread has done so far.
        self.sequence.store(sequence + 2, Release);
    }
}

/// Runs launches one after the other on the calling thread.
pub(super) struct Alone<'w, W: ?Sized>(pub(super) &'w W);

impl<W: Work + ?Sized> Visitor for Alone<'_, W> {
    type Stop = Infallible;

    fn launch(&mut self, launch: usize, iterations: &Iterations) -> Result<(), Infallible> {
        // SAFETY: whoever makes this promises that the steps may run, and goes through them in order.
        unsafe { self.0.run_launch(launch, iterations) };
        Ok(())
    }

    fn condition(&mut self, position: usize, _: &Address, iterations: &Iterations) -> Result<bool, Infallible> {
        // SAFETY: as above.
        Ok(unsafe { self.0.condition(position, iterations) })
    }
}
