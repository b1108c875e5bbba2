//! A device that plans without running: everything up to the first kernel, for any target, on any machine.

use std::collections::HashSet;
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use super::{Device, DeviceInstance, DeviceProgram};
use crate::error::Error;
use crate::profile::{LaunchTime, Profile};
use crate::program::{Address, Code, Input, Iterations, Program, Step, Visitor, walk};

/// The device that runs nothing and counts what it would run.
///
/// Inputs can be written and read back; outputs have no contents. Clones count together. Conditions have no contents
/// either: of a branch the first arm counts, of a loop under a condition one iteration.
#[derive(Clone, Debug, Default)]
pub struct Null {
    counts: Arc<Counts>,
}

/// What all programs on one device would have done.
#[derive(Debug, Default)]
struct Counts {
    launches: AtomicU64,
    bytes: AtomicU64,
    flops: AtomicU64,
}

impl Null {
    /// A null device with nothing counted.
    pub fn new() -> Null {
        Null::default()
    }

    /// Launches of all runs so far.
    pub fn launches(&self) -> u64 {
        self.counts.launches.load(Relaxed)
    }

    /// Bytes that these launches would have read and written.
    pub fn bytes(&self) -> u64 {
        self.counts.bytes.load(Relaxed)
    }

    /// Floating-point operations that these launches would have done (an fma counts 2).
    pub fn flops(&self) -> u64 {
        self.counts.flops.load(Relaxed)
    }
}

impl Device for Null {
    fn name(&self) -> String {
        "null".to_owned()
    }

    fn load(&self, program: Arc<Program>) -> Result<Arc<dyn DeviceProgram>, Error> {
        Ok(Arc::new(NullProgram { program, counts: Arc::clone(&self.counts) }))
    }
}

#[derive(Debug)]
struct NullProgram {
    program: Arc<Program>,
    counts: Arc<Counts>,
}

impl DeviceProgram for NullProgram {
    fn instance(&self, _threads: usize) -> Result<Box<dyn DeviceInstance>, Error> {
        let initial = |input: &Input| input.initial.clone().unwrap_or_else(|| vec![0; input.spec.bytes()]);
        let inputs = self.program.inputs.iter().map(initial).collect();
        Ok(Box::new(NullInstance { program: Arc::clone(&self.program), counts: Arc::clone(&self.counts), inputs }))
    }

    fn replace(&self, _: &Code) -> Result<(), Error> {
        Ok(())
    }
}

struct NullInstance {
    program: Arc<Program>,
    counts: Arc<Counts>,
    inputs: Vec<Vec<u8>>,
}

impl DeviceInstance for NullInstance {
    fn input(&self, idx: usize) -> Result<&[u8], Error> {
        Ok(&self.inputs[idx])
    }

    fn input_mut(&mut self, idx: usize) -> Result<&mut [u8], Error> {
        Ok(&mut self.inputs[idx])
    }

    fn output(&self, idx: usize) -> Result<&[u8], Error> {
        let output = &self.program.outputs[idx];
        Err(Error::NoContents { tensor: format!("output `{}`: {}", output.name, output.spec) })
    }

    fn run(&mut self) -> Result<(), Error> {
        self.profile_run().map(|_| ())
    }

    fn profile_run(&mut self) -> Result<Vec<LaunchTime>, Error> {
        let mut counter = Counter {
            counts: &self.counts,
            program: &self.program,
            profile: Profile::new(&self.program),
            inside: HashSet::new(),
        };
        let Ok(()) = walk(&self.program.steps, &mut counter);
        Ok(counter.profile.finish())
    }

    fn tensor_bytes(&self) -> u64 {
        // What the program would take; nothing but the inputs is allocated.
        self.program.peak_bytes()
    }
}

/// Counts launches instead of running them.
struct Counter<'i> {
    counts: &'i Counts,
    program: &'i Program,
    profile: Profile<'i>,
    /// Loops under a condition that have had their one iteration.
    inside: HashSet<usize>,
}

impl Visitor for Counter<'_> {
    type Stop = Infallible;

    fn launch(&mut self, launch: usize, _: &Iterations) -> Result<(), Infallible> {
        let kernel = &self.program.kernels[self.program.launches[launch].kernel as usize];
        self.counts.launches.fetch_add(1, Relaxed);
        self.counts.bytes.fetch_add(kernel.bytes, Relaxed);
        self.counts.flops.fetch_add(kernel.flops, Relaxed);
        self.profile.add(launch, Duration::ZERO, Duration::ZERO);
        Ok(())
    }

    fn condition(&mut self, position: usize, _: &Address, _: &Iterations) -> Result<bool, Infallible> {
        Ok(match self.program.steps[position] {
            // Asked before the first iteration, and after it.
            Step::While { .. } if !self.inside.insert(position) => !self.inside.remove(&position),
            _ => true,
        })
    }
}
