//! Schedules that raise and lower learning rates, and momenta the other way: cycles, and one cycle.

use std::f64::consts::PI;

use super::{At, PerGroup, Rates, Rule, ScheduleError, fault, require, setters};
use crate::rule::Fault;

/// What is wrong with a momentum that is to be cycled.
fn check_momentum(rates: &Rates, schedule: &str, is_cycled: bool) -> Option<Fault> {
    let has_momentum = rates.groups.iter().all(|group| group.momentum.is_some());
    require(!is_cycled || has_momentum, schedule, "cycle_momentum", || {
        "is true, but the optimizer has no momentum: give it one above 0, or set `cycle_momentum(false)`".to_string()
    })
}

/// How the size of cycles changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CycleMode {
    /// Not at all.
    Triangular,
    /// It halves from one cycle to the next.
    Triangular2,
    /// By the power `gamma` of the number of steps.
    ExpRange,
}

/// Moves the learning rate up and down between two bounds, a step a batch: `torch.optim.lr_scheduler.CyclicLR`.
#[derive(Clone, Debug, PartialEq)]
pub struct CyclicLR {
    base_lr: PerGroup,
    max_lr: PerGroup,
    step_size_up: u64,
    step_size_down: Option<u64>,
    mode: CycleMode,
    gamma: f64,
    cycle_momentum: bool,
    base_momentum: PerGroup,
    max_momentum: PerGroup,
}

impl CyclicLR {
    /// Between `base_lr` and `max_lr`, 2000 steps each way.
    pub fn new(base_lr: impl Into<PerGroup>, max_lr: impl Into<PerGroup>) -> Self {
        Self {
            base_lr: base_lr.into(),
            max_lr: max_lr.into(),
            step_size_up: 2000,
            step_size_down: None,
            mode: CycleMode::Triangular,
            gamma: 1.0,
            cycle_momentum: true,
            base_momentum: 0.8.into(),
            max_momentum: 0.9.into(),
        }
    }

    setters! {
        /// Steps from the lower bound to the upper.
        step_size_up: u64;
        /// Steps back; by default as many.
        step_size_down: Option<u64>;
        /// How the size of cycles changes.
        mode: CycleMode;
        /// The base of [`CycleMode::ExpRange`].
        gamma: f64;
        /// Whether the momentum moves the other way.
        cycle_momentum: bool;
        /// The lower bound of the momentum.
        base_momentum: PerGroup;
        /// The upper bound of the momentum, where it starts.
        max_momentum: PerGroup;
    }

    /// How far from the lower bound, as a share of the way, the present step is.
    fn height(&self, epoch: i64) -> f64 {
        let up = self.step_size_up as f64;
        let total = up + self.step_size_down.map_or(up, |down| down as f64);
        let (ratio, cycles) = (up / total, epoch as f64 / total);
        let cycle = (1.0 + cycles).floor();
        let x = 1.0 + cycles - cycle;
        let factor = if x <= ratio { x / ratio } else { (x - 1.0) / (ratio - 1.0) };
        factor
            * match self.mode {
                CycleMode::Triangular => 1.0,
                CycleMode::Triangular2 => 1.0 / 2f64.powf(cycle - 1.0),
                CycleMode::ExpRange => self.gamma.powf(epoch as f64),
            }
    }
}

impl Rule for CyclicLR {
    fn check(&self, rates: &Rates) -> Vec<Fault> {
        let name = "CyclicLR";
        let steps = require(self.step_size_up > 0, name, "step_size_up", || "is 0, expected at least 1".to_string());
        let per_group = [
            self.base_lr.check(rates, name, "base_lr"),
            self.max_lr.check(rates, name, "max_lr"),
            self.base_momentum.check(rates, name, "base_momentum"),
            self.max_momentum.check(rates, name, "max_momentum"),
        ];
        let momentum = check_momentum(rates, name, self.cycle_momentum);
        steps.into_iter().chain(per_group.into_iter().flatten()).chain(momentum).collect()
    }

    fn prepare(&mut self, rates: &mut Rates) {
        for (idx, group) in rates.groups.iter_mut().enumerate() {
            group.lr = self.base_lr.get(idx);
        }
    }

    fn lr(&self, at: At) -> f64 {
        let (base, max) = (self.base_lr.get(at.group), self.max_lr.get(at.group));
        base + (max - base) * self.height(at.epoch)
    }

    fn momentum(&self, at: At) -> Option<f64> {
        let (base, max) = (self.base_momentum.get(at.group), self.max_momentum.get(at.group));
        self.cycle_momentum.then(|| max - (max - base) * self.height(at.epoch))
    }

    fn cycles_momentum(&self) -> bool {
        self.cycle_momentum
    }
}

/// The way from one bound to the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Anneal {
    /// Half a cosine.
    Cos,
    /// A line.
    Linear,
}

impl Anneal {
    fn between(self, start: f64, end: f64, share: f64) -> f64 {
        match self {
            Self::Cos => end + (start - end) / 2.0 * ((PI * share).cos() + 1.0),
            Self::Linear => (end - start) * share + start,
        }
    }
}

/// Raises the learning rate to `max_lr`, then lowers it far below where it began, a step a batch:
/// `torch.optim.lr_scheduler.OneCycleLR`.
#[derive(Clone, Debug, PartialEq)]
pub struct OneCycleLR {
    max_lr: PerGroup,
    total_steps: i64,
    pct_start: f64,
    anneal_strategy: Anneal,
    cycle_momentum: bool,
    base_momentum: PerGroup,
    max_momentum: PerGroup,
    div_factor: f64,
    final_div_factor: f64,
    three_phase: bool,
}

impl OneCycleLR {
    /// Up to `max_lr`, in `total_steps` steps in all (PyTorch's `epochs` times `steps_per_epoch`).
    pub fn new(max_lr: impl Into<PerGroup>, total_steps: i64) -> Self {
        Self {
            max_lr: max_lr.into(),
            total_steps,
            pct_start: 0.3,
            anneal_strategy: Anneal::Cos,
            cycle_momentum: true,
            base_momentum: 0.85.into(),
            max_momentum: 0.95.into(),
            div_factor: 25.0,
            final_div_factor: 1e4,
            three_phase: false,
        }
    }

    setters! {
        /// The share of the steps in which the learning rate rises.
        pct_start: f64;
        /// The way between the bounds.
        anneal_strategy: Anneal;
        /// Whether the momentum moves the other way.
        cycle_momentum: bool;
        /// The lower bound of the momentum.
        base_momentum: PerGroup;
        /// The upper bound of the momentum, where it starts.
        max_momentum: PerGroup;
        /// By how much the first learning rate is below `max_lr`.
        div_factor: f64;
        /// By how much the last learning rate is below the first.
        final_div_factor: f64;
        /// Whether the learning rate first returns to where it began, as fast as it rose.
        three_phase: bool;
    }

    /// The ends of the phases, and the positions in `bounds` between which each moves.
    fn phases(&self) -> Vec<(f64, usize, usize)> {
        let (total, last) = (self.total_steps as f64, (self.total_steps - 1) as f64);
        let rise = (self.pct_start * total - 1.0, 0, 1);
        if self.three_phase {
            vec![rise, (2.0 * self.pct_start * total - 2.0, 1, 0), (last, 0, 2)]
        } else {
            vec![rise, (last, 1, 2)]
        }
    }

    /// The value on its way between `bounds`: first, highest (for a momentum lowest), last.
    fn value(&self, epoch: i64, bounds: [f64; 3]) -> f64 {
        let (step, phases) = (epoch as f64, self.phases());
        let present = phases.iter().position(|&(end, ..)| step <= end).unwrap_or(phases.len() - 1);
        let start = if present == 0 { 0.0 } else { phases[present - 1].0 };
        let (end, from, to) = phases[present];
        self.anneal_strategy.between(bounds[from], bounds[to], (step - start) / (end - start))
    }
}

impl Rule for OneCycleLR {
    fn check(&self, rates: &Rates) -> Vec<Fault> {
        let (name, total, pct) = ("OneCycleLR", self.total_steps, self.pct_start);
        let (div, last) = (self.div_factor, self.final_div_factor);
        let faults = [
            require(total > 0, name, "total_steps", || format!("is {total}, expected at least 1")),
            require((0.0..=1.0).contains(&pct), name, "pct_start", || format!("is {pct}, expected a number in [0, 1]")),
            require(div > 0.0, name, "div_factor", || format!("is {div}, expected a number above 0")),
            require(last > 0.0, name, "final_div_factor", || format!("is {last}, expected a number above 0")),
            self.max_lr.check(rates, name, "max_lr"),
            self.base_momentum.check(rates, name, "base_momentum"),
            self.max_momentum.check(rates, name, "max_momentum"),
            check_momentum(rates, name, self.cycle_momentum),
        ];
        faults.into_iter().flatten().collect()
    }

    fn prepare(&mut self, rates: &mut Rates) {
        for (idx, group) in rates.groups.iter_mut().enumerate() {
            group.initial_lr = self.max_lr.get(idx) / self.div_factor;
        }
    }

    fn advance(&mut self, epoch: i64) -> Result<(), ScheduleError> {
        if epoch > self.total_steps {
            let message = format!("is {}, but this is step {epoch}", self.total_steps);
            return Err(fault("OneCycleLR", "total_steps", message).into());
        }
        Ok(())
    }

    fn lr(&self, at: At) -> f64 {
        let max = self.max_lr.get(at.group);
        let first = max / self.div_factor;
        self.value(at.epoch, [first, max, first / self.final_div_factor])
    }

    fn momentum(&self, at: At) -> Option<f64> {
        let (base, max) = (self.base_momentum.get(at.group), self.max_momentum.get(at.group));
        self.cycle_momentum.then(|| self.value(at.epoch, [max, base, max]))
    }

    fn cycles_momentum(&self) -> bool {
        self.cycle_momentum
    }
}
