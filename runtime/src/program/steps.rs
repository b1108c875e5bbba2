//! The order of launches: straight on, loops with a fixed number of iterations, branches, loops under a condition.
//!
//! Steps are one flat list. A step that holds others is followed by them and says how many they are, itself not counted:
//!
//! ```text
//! launch 0
//! loop 64 times over 2 steps
//!   launch 1
//!   launch 2
//! while over 1 and 1 steps
//!   launch 3
//!                               the condition is read here
//!   launch 4
//! ```

use serde::{Deserialize, Serialize};

use super::Address;

/// Loops around a launch at most.
pub const MAX_LOOPS: usize = 8;

/// Loops and branches around a launch at most.
pub const MAX_NESTING: usize = 32;

/// One step of a program.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Step {
    /// Run this launch.
    Launch(u32),
    /// Run the next `body` steps `trips` times.
    Loop {
        /// How often.
        trips: u64,
        /// Number of steps in the body.
        body: u32,
    },
    /// Run the next `on_true` steps, or the `on_false` steps after them.
    Branch {
        /// Where the condition lies: one byte, 0 or 1.
        condition: Address,
        /// Number of steps if it is true.
        on_true: u32,
        /// Number of steps if it is false.
        on_false: u32,
    },
    /// Run the next `head` steps, and if the condition is true then, the `body` steps after them, and all of it again.
    While {
        /// Where the condition lies: one byte, 0 or 1.
        condition: Address,
        /// Number of steps that find out about the condition.
        head: u32,
        /// Number of steps in the body.
        body: u32,
    },
}

impl Step {
    /// The steps of a program that runs `n_launches` launches one after the other.
    pub fn sequence(n_launches: usize) -> Vec<Step> {
        (0..n_launches as u32).map(Step::Launch).collect()
    }

    /// How many of the steps after this one belong to it.
    pub fn n_inner(&self) -> usize {
        match *self {
            Step::Launch(_) => 0,
            Step::Loop { body, .. } => body as usize,
            Step::Branch { on_true: first, on_false: second, .. } | Step::While { head: first, body: second, .. } => {
                first as usize + second as usize
            }
        }
    }
}

/// The numbers of the current iterations of the loops around a launch, the outermost first, from 0; 0 for loops that are
/// not under way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Iterations([u64; MAX_LOOPS]);

impl Iterations {
    /// The given numbers.
    ///
    /// # Panics
    /// If there are more than [`MAX_LOOPS`].
    pub fn of(numbers: &[u64]) -> Self {
        let mut iterations = Self::default();
        iterations.0[..numbers.len()].copy_from_slice(numbers);
        iterations
    }

    /// The number of the loop at `depth`.
    pub fn at(&self, depth: u8) -> u64 {
        self.0[usize::from(depth)]
    }

    /// Goes to iteration `number` of the loop at `depth`.
    pub fn set(&mut self, depth: usize, number: u64) {
        self.0[depth] = number;
    }

    /// All numbers.
    pub fn numbers(&self) -> &[u64; MAX_LOOPS] {
        &self.0
    }
}

/// What happens on the way through the steps of a program.
pub trait Visitor {
    /// Why the way ends early.
    type Stop;

    /// A launch is to run.
    ///
    /// # Errors
    /// To end the walk; so for all methods.
    fn launch(&mut self, launch: usize, iterations: &Iterations) -> Result<(), Self::Stop>;

    /// Whether the condition of the step at `position` holds.
    fn condition(&mut self, position: usize, condition: &Address, iterations: &Iterations) -> Result<bool, Self::Stop>;
}

/// Goes through the steps of a validated program in the order in which they run.
///
/// # Errors
/// What the visitor ends the walk with.
pub fn walk<V: Visitor>(steps: &[Step], visitor: &mut V) -> Result<(), V::Stop> {
    walk_part(steps, 0..steps.len(), 0, &mut Iterations::default(), visitor)
}

/// Goes through the steps at `positions`, in `depth` loops.
pub(crate) fn walk_part<V: Visitor>(
    steps: &[Step],
    positions: std::ops::Range<usize>,
    depth: usize,
    iterations: &mut Iterations,
    visitor: &mut V,
) -> Result<(), V::Stop> {
    let mut at = positions.start;
    while at < positions.end {
        let inner = at + 1;
        let step = &steps[at];
        match *step {
            Step::Launch(launch) => visitor.launch(launch as usize, iterations)?,
            Step::Loop { trips, body } => {
                for trip in 0..trips {
                    iterations.set(depth, trip);
                    walk_part(steps, inner..inner + body as usize, depth + 1, iterations, visitor)?;
                }
                iterations.set(depth, 0);
            }
            Step::Branch { ref condition, on_true, on_false } => {
                let middle = inner + on_true as usize;
                let arm = if visitor.condition(at, condition, iterations)? {
                    inner..middle
                } else {
                    middle..middle + on_false as usize
                };
                walk_part(steps, arm, depth, iterations, visitor)?;
            }
            Step::While { ref condition, head, body } => {
                let middle = inner + head as usize;
                for trip in 0.. {
                    iterations.set(depth, trip);
                    walk_part(steps, inner..middle, depth + 1, iterations, visitor)?;
                    if !visitor.condition(at, condition, iterations)? {
                        break;
                    }
                    walk_part(steps, middle..middle + body as usize, depth + 1, iterations, visitor)?;
                }
                iterations.set(depth, 0);
            }
        }
        at = inner + step.n_inner();
    }
    Ok(())
}
