//! What a run asks of the driver: recorded graphs of launches, and what the host decides between them.
//!
//! Launches in a row are one graph, and so are loops with a fixed number of iterations, unrolled, up to a bound: one
//! call to the driver runs them all. A branch, or a loop under a condition, ends a graph: the host waits for what has
//! been launched, reads the condition back, and goes on from there. Launches whose arguments depend on a loop that is
//! not part of their graph are launched one by one.

use std::ops::Range;

use cudarc::driver::CudaGraph;

use super::instance::CudaInstance;
use crate::error::Error;
use crate::program::{Address, Iterations, Step};

/// Launches in one graph at most. Recording and keeping one takes about a microsecond and a kilobyte.
const MAX_RECORDED: u64 = 8192;

/// One thing to do in a run.
pub(super) enum Action {
    /// Launches that were recorded.
    Graph(CudaGraph),
    /// A launch on its own.
    Launch(usize),
    /// Actions repeated by the host.
    Loop { trips: u64, depth: usize, body: Vec<Action> },
    /// One of two lists.
    Branch { condition: Address, on_true: Vec<Action>, on_false: Vec<Action> },
    /// As long as the condition holds after `head`: `body`, and again.
    While { condition: Address, depth: usize, head: Vec<Action>, body: Vec<Action> },
}

impl CudaInstance {
    /// The actions of the steps at `positions`, in `depth` loops of the host.
    pub(super) fn record(&self, positions: Range<usize>, depth: usize) -> Result<Vec<Action>, Error> {
        let steps = &self.program().steps;
        let mut actions = Vec::new();
        let mut at = positions.start;
        while at < positions.end {
            let (mut end, mut n_launches) = (at, 0);
            while end < positions.end
                && let Some(n) = self.recordable(end, depth)
                && n <= MAX_RECORDED - n_launches
            {
                (n_launches, end) = (n_launches + n, end + 1 + steps[end].n_inner());
            }
            if end > at {
                if n_launches > 0 {
                    actions.extend(self.capture(at..end, depth)?.map(Action::Graph));
                }
                at = end;
                continue;
            }
            let (inner, end) = (at + 1, at + 1 + steps[at].n_inner());
            actions.push(match steps[at] {
                Step::Launch(launch) => Action::Launch(launch as usize),
                Step::Loop { trips, .. } => Action::Loop { trips, depth, body: self.record(inner..end, depth + 1)? },
                Step::Branch { ref condition, on_true, .. } => {
                    let middle = inner + on_true as usize;
                    let on_true = self.record(inner..middle, depth)?;
                    Action::Branch { condition: condition.clone(), on_true, on_false: self.record(middle..end, depth)? }
                }
                Step::While { ref condition, head, .. } => {
                    let middle = inner + head as usize;
                    let head = self.record(inner..middle, depth + 1)?;
                    let body = self.record(middle..end, depth + 1)?;
                    Action::While { condition: condition.clone(), depth, head, body }
                }
            });
            at = end;
        }
        Ok(actions)
    }

    /// Number of launches that the step at `at` comes to, if it can be part of a graph outside of `depth` loops.
    fn recordable(&self, at: usize, depth: usize) -> Option<u64> {
        let program = self.program();
        match program.steps[at] {
            Step::Launch(launch) => {
                let args = &program.launches[launch as usize].args;
                let moves = args.iter().flat_map(Address::depths).any(|of| usize::from(of) < depth);
                (!moves).then_some(1)
            }
            Step::Loop { trips, body } => {
                let (mut inner, end) = (at + 1, at + 1 + body as usize);
                let mut n_launches = 0_u64;
                while inner < end {
                    n_launches = n_launches.saturating_add(self.recordable(inner, depth)?);
                    inner += 1 + program.steps[inner].n_inner();
                }
                Some(n_launches.saturating_mul(trips))
            }
            Step::Branch { .. } | Step::While { .. } => None,
        }
    }

    /// Does what was recorded. The calling thread may use the GPU.
    pub(super) fn act(&self, actions: &[Action], iterations: &mut Iterations) -> Result<(), Error> {
        for action in actions {
            match action {
                Action::Graph(graph) => graph.launch().map_err(super::failed("run the program"))?,
                Action::Launch(launch) => self.launch(*launch, iterations)?,
                Action::Loop { trips, depth, body } => {
                    for trip in 0..*trips {
                        iterations.set(*depth, trip);
                        self.act(body, iterations)?;
                    }
                    iterations.set(*depth, 0);
                }
                Action::Branch { condition, on_true, on_false } => {
                    let holds = self.condition(condition, iterations)?;
                    self.act(if holds { on_true } else { on_false }, iterations)?;
                }
                Action::While { condition, depth, head, body } => {
                    for trip in 0.. {
                        iterations.set(*depth, trip);
                        self.act(head, iterations)?;
                        if !self.condition(condition, iterations)? {
                            break;
                        }
                        self.act(body, iterations)?;
                    }
                    iterations.set(*depth, 0);
                }
            }
        }
        Ok(())
    }
}
