//! The steps of a program: that they nest, name every launch once, and lead every launch to memory it may use.

use super::address::{Access, Ranges};
use super::{MAX_CHUNKS, fault};
use crate::error::Error;
use crate::layout::Layout;
use crate::program::{Address, Code, MAX_LOOPS, MAX_NESTING, Place, Program, Step};

/// The check of a program's steps on its way through them.
pub(super) struct Steps<'p> {
    program: &'p Program,
    layout: &'p Layout,
    on_gpu: bool,
    /// Launches met so far.
    n_launches: usize,
    /// The iterations of the loops around the current step.
    ranges: Ranges,
}

impl<'p> Steps<'p> {
    pub(super) fn check(program: &'p Program, layout: &'p Layout) -> Result<(), Error> {
        let on_gpu = matches!(program.code, Code::Ptx { .. });
        let mut steps = Self { program, layout, on_gpu, n_launches: 0, ranges: Ranges::default() };
        steps.block(0, program.steps.len(), 0)?;
        if steps.n_launches == program.launches.len() {
            return Ok(());
        }
        let expected = format!("each of {} launches", program.launches.len());
        Err(fault(|| "steps".to_owned(), format!("{} launches", steps.n_launches), expected))
    }

    /// Checks the steps from `start` to `end`.
    fn block(&mut self, start: usize, end: usize, nesting: usize) -> Result<(), Error> {
        if nesting > MAX_NESTING {
            let place = || format!("step {start}");
            return Err(fault(place, format!("{nesting} steps around it"), format!("at most {MAX_NESTING}")));
        }
        let mut at = start;
        while at < end {
            let inner = at + 1;
            let step = &self.program.steps[at];
            let n_inner = step.n_inner();
            if n_inner > end - inner {
                let found = format!("{n_inner} steps that belong to it");
                return Err(fault(|| format!("step {at}"), found, format!("at most {}", end - inner)));
            }
            let end = inner + n_inner;
            match *step {
                Step::Launch(launch) => self.launch(at, launch)?,
                Step::Loop { trips, .. } => {
                    self.enter(at, trips.saturating_sub(1))?;
                    self.block(inner, end, nesting + 1)?;
                    self.ranges.pop();
                }
                Step::Branch { ref condition, on_true, .. } => {
                    self.condition(at, condition)?;
                    let middle = inner + on_true as usize;
                    self.block(inner, middle, nesting + 1)?;
                    self.block(middle, end, nesting + 1)?;
                }
                Step::While { ref condition, head, .. } => {
                    self.enter(at, u64::MAX)?;
                    self.condition(at, condition)?;
                    let middle = inner + head as usize;
                    self.block(inner, middle, nesting + 1)?;
                    self.block(middle, end, nesting + 1)?;
                    self.ranges.pop();
                }
            }
            at = end;
        }
        Ok(())
    }

    /// Enters a loop whose last iteration is `last`.
    fn enter(&mut self, at: usize, last: u64) -> Result<(), Error> {
        if self.ranges.push(0, last) {
            return Ok(());
        }
        Err(fault(|| format!("step {at}"), "a loop more".to_owned(), format!("at most {MAX_LOOPS} in each other")))
    }

    fn condition(&self, at: usize, condition: &Address) -> Result<(), Error> {
        let access = Access { bytes: 1, align: 1, written: false };
        self.address(&|| format!("condition of step {at}"), condition, access)
    }

    fn launch(&mut self, at: usize, found: u32) -> Result<(), Error> {
        let idx = self.n_launches;
        let Some(launch) = self.program.launches.get(idx).filter(|_| found as usize == idx) else {
            let expected = format!("launch {idx} of {}", self.program.launches.len());
            return Err(fault(|| format!("step {at}"), format!("launch {found}"), expected));
        };
        self.n_launches += 1;
        let place = || format!("launch {idx} ({})", launch.label);
        let Some(kernel) = self.program.kernels.get(launch.kernel as usize) else {
            let expected = format!("one of {} kernels", self.program.kernels.len());
            return Err(fault(place, format!("kernel {}", launch.kernel), expected));
        };
        if launch.args.len() != kernel.args.len() {
            let expected = format!("{} for kernel `{}`", kernel.args.len(), kernel.symbol);
            return Err(fault(place, format!("{} arguments", launch.args.len()), expected));
        }
        for (arg_idx, (address, arg)) in launch.args.iter().zip(&kernel.args).enumerate() {
            let access = Access { bytes: arg.bytes, align: arg.align, written: arg.written };
            self.address(&|| format!("{}, argument {arg_idx}", place()), address, access)?;
        }
        if self.on_gpu {
            if launch.grid.contains(&0) || kernel.block.contains(&0) {
                let found = format!("grid {:?} of blocks {:?}", launch.grid, kernel.block);
                return Err(fault(place, found, "no extent of 0".to_owned()));
            }
        } else if launch.chunk == 0 || launch.extent.div_ceil(launch.chunk) > MAX_CHUNKS {
            let found = format!("chunks of {} in an extent of {}", launch.chunk, launch.extent);
            return Err(fault(place, found, format!("at most {MAX_CHUNKS} chunks, none empty")));
        }
        Ok(())
    }

    /// Checks that `address` leads to memory that can be used as `access` says, in every iteration.
    fn address(&self, place: &dyn Fn() -> String, address: &Address, access: Access) -> Result<(), Error> {
        for found in address.places() {
            self.program.check_place(self.layout, place, found)?;
            let is_output = |idx: u32| self.program.outputs.iter().any(|output| output.place == Place::Input(idx));
            let read_only = match found {
                Place::Constant(_) => true,
                Place::Input(idx) => !is_output(idx),
                Place::Output(_) | Place::Arena(_) => false,
            };
            if access.written && read_only {
                return Err(fault(place, format!("a write to {found:?}"), "a place that may change".to_owned()));
            }
        }
        self.ranges.check(place, address, access, &|place| self.program.room(place))
    }
}
