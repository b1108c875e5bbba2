//! A device that plans without running: everything up to the first kernel, for any target, on any machine.

use std::sync::Arc;

use super::{Device, DeviceInstance, DeviceProgram};
use crate::error::Error;
use crate::profile::LaunchTime;
use crate::program::Program;

/// The device that runs nothing.
///
/// Inputs can be written and read back; runs are counted and do nothing; outputs have no contents.
#[derive(Clone, Copy, Debug, Default)]
pub struct Null(());

impl Null {
    /// The null device.
    pub fn new() -> Null {
        Null(())
    }
}

impl Device for Null {
    fn name(&self) -> String {
        "null".to_owned()
    }

    fn load(&self, program: Arc<Program>) -> Result<Arc<dyn DeviceProgram>, Error> {
        Ok(Arc::new(NullProgram(program)))
    }
}

#[derive(Debug)]
struct NullProgram(Arc<Program>);

impl DeviceProgram for NullProgram {
    fn instance(&self, _threads: usize) -> Result<Box<dyn DeviceInstance>, Error> {
        let initial =
            |input: &crate::program::Input| input.initial.clone().unwrap_or_else(|| vec![0; input.spec.bytes()]);
        let inputs = self.0.inputs.iter().map(initial).collect();
        Ok(Box::new(NullInstance { program: Arc::clone(&self.0), inputs }))
    }
}

struct NullInstance {
    program: Arc<Program>,
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
        Ok(())
    }

    fn profile_run(&mut self) -> Result<Vec<LaunchTime>, Error> {
        Ok(self.program.launches.iter().map(|launch| LaunchTime::of(&self.program, launch, 0, 0)).collect())
    }

    fn tensor_bytes(&self) -> u64 {
        // What the program would take; nothing but the inputs is allocated.
        self.program.peak_bytes()
    }
}
