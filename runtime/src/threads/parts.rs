//! The steps of a program as a team sees them: which parts all threads go through together, and where they need to be
//! told how it goes on.
//!
//! ```text
//! launch 0   one chunk   ┐ solo      ┐
//! launch 1   one chunk   ┘           │
//! launch 2   many chunks   shared    │ segment 0
//! loop 8 times                       │
//!   launch 3 many chunks   shared    ┘
//! while                    ─ the calling thread reads the condition
//!   launch 4 many chunks   shared      segment 1, published in every iteration
//! ```
//!
//! Consecutive launches of one chunk, and loops and branches around nothing but such, stay on the calling thread as
//! one unit. Loops with a fixed number of iterations are gone through by every thread for itself. What depends on a
//! condition in memory is decided by the calling thread alone.

use std::ops::Range;

use crate::program::Step;

/// A list of steps in order.
pub(super) type Block = Box<[Part]>;

/// A part of a program.
#[derive(Debug)]
pub(super) enum Part {
    /// Steps that only the calling thread runs.
    Solo(Range<usize>),
    /// Units that all threads go through, by the number of the segment.
    Segment(usize),
    /// A loop with conditions inside.
    Loop { trips: u64, body: Block },
    /// A branch; the condition is that of the step at this position.
    Branch { position: usize, on_true: Block, on_false: Block },
    /// A loop under the condition of the step at this position.
    While { position: usize, head: Block, body: Block },
}

/// Part of a segment: nothing in it depends on a condition that not only the calling thread looks at.
#[derive(Debug)]
pub(super) enum Unit {
    /// Steps that the calling thread runs; the number of the counter that tells when.
    Solo { steps: Range<usize>, counter: usize },
    /// A launch that is shared out; the number of its counter.
    Shared { launch: usize, counter: usize },
    /// Units that are repeated.
    Loop { trips: u64, body: Box<[Unit]> },
}

/// Units that all threads go through, and in how many loops they lie.
#[derive(Debug)]
pub(super) struct Segment {
    pub(super) units: Box<[Unit]>,
    pub(super) depth: usize,
}

/// All parts of a program.
#[derive(Debug)]
pub(super) struct Parts {
    pub(super) main: Block,
    pub(super) segments: Vec<Segment>,
    /// For each counter, the number of chunks that it counts: 0 for a unit of the calling thread.
    pub(super) counters: Vec<u32>,
}

impl Parts {
    /// Takes a validated program apart; `n_chunks` gives the chunks of a launch.
    pub(super) fn of(steps: &[Step], n_chunks: &dyn Fn(usize) -> u32) -> Parts {
        let mut builder = Builder { steps, n_chunks, segments: Vec::new(), counters: Vec::new() };
        let main = builder.block(0..steps.len(), 0);
        Parts { main, segments: builder.segments, counters: builder.counters }
    }
}

/// What the threads of a team must do about a step.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    /// Nothing to share.
    Solo,
    /// Something to share, no condition around it.
    Shared,
    /// Something to share under a condition.
    Conditional,
}

struct Builder<'s> {
    steps: &'s [Step],
    n_chunks: &'s dyn Fn(usize) -> u32,
    segments: Vec<Segment>,
    counters: Vec<u32>,
}

impl Builder<'_> {
    /// Positions of the steps directly in a range, each with all that belongs to it.
    fn tops(&self, range: Range<usize>) -> Vec<Range<usize>> {
        let mut tops = Vec::new();
        let mut at = range.start;
        while at < range.end {
            let end = at + 1 + self.steps[at].n_inner();
            tops.push(at..end);
            at = end;
        }
        tops
    }

    fn kind(&self, step: &Range<usize>) -> Kind {
        let inner = step.start + 1..step.end;
        let most = || self.tops(inner.clone()).iter().map(|step| self.kind(step)).max().unwrap_or(Kind::Solo);
        match self.steps[step.start] {
            Step::Launch(launch) if (self.n_chunks)(launch as usize) > 1 => Kind::Shared,
            Step::Launch(_) => Kind::Solo,
            Step::Loop { .. } => most(),
            Step::Branch { .. } | Step::While { .. } => match most() {
                Kind::Solo => Kind::Solo,
                Kind::Shared | Kind::Conditional => Kind::Conditional,
            },
        }
    }

    fn block(&mut self, range: Range<usize>, depth: usize) -> Block {
        let mut parts = Vec::new();
        let tops = self.tops(range);
        let kinds: Vec<Kind> = tops.iter().map(|step| self.kind(step)).collect();
        let mut first = 0;
        while first < tops.len() {
            if kinds[first] == Kind::Conditional {
                parts.push(self.conditional(&tops[first], depth));
                first += 1;
                continue;
            }
            let rest = &kinds[first..];
            let n = rest.iter().position(|&kind| kind == Kind::Conditional).unwrap_or(rest.len());
            let range = tops[first].start..tops[first + n - 1].end;
            parts.push(if rest[..n].contains(&Kind::Shared) {
                let units = self.units(range);
                self.segments.push(Segment { units, depth });
                Part::Segment(self.segments.len() - 1)
            } else {
                Part::Solo(range)
            });
            first += n;
        }
        parts.into()
    }

    /// The parts of a step that is, or holds, something shared under a condition.
    fn conditional(&mut self, step: &Range<usize>, depth: usize) -> Part {
        let position = step.start;
        let inner = position + 1;
        match self.steps[position] {
            Step::Launch(_) => unreachable!("a launch is under no condition of its own"),
            Step::Loop { trips, .. } => Part::Loop { trips, body: self.block(inner..step.end, depth + 1) },
            Step::Branch { on_true, .. } => {
                let middle = inner + on_true as usize;
                let on_true = self.block(inner..middle, depth);
                Part::Branch { position, on_true, on_false: self.block(middle..step.end, depth) }
            }
            Step::While { head, .. } => {
                let middle = inner + head as usize;
                let head = self.block(inner..middle, depth + 1);
                Part::While { position, head, body: self.block(middle..step.end, depth + 1) }
            }
        }
    }

    fn units(&mut self, range: Range<usize>) -> Box<[Unit]> {
        let mut units: Vec<Unit> = Vec::new();
        for step in self.tops(range) {
            match (self.kind(&step), &self.steps[step.start]) {
                (Kind::Solo, _) => match units.last_mut() {
                    Some(Unit::Solo { steps, .. }) => steps.end = step.end,
                    _ => {
                        let counter = self.counter(0);
                        units.push(Unit::Solo { steps: step, counter });
                    }
                },
                (_, &Step::Launch(launch)) => {
                    let launch = launch as usize;
                    let counter = self.counter((self.n_chunks)(launch));
                    units.push(Unit::Shared { launch, counter });
                }
                (_, &Step::Loop { trips, .. }) => {
                    let body = self.units(step.start + 1..step.end);
                    units.push(Unit::Loop { trips, body });
                }
                (_, Step::Branch { .. } | Step::While { .. }) => {
                    unreachable!("conditions around something shared are no units")
                }
            }
        }
        units.into()
    }

    fn counter(&mut self, n_chunks: u32) -> usize {
        self.counters.push(n_chunks);
        self.counters.len() - 1
    }
}
