//! A GPU that is none: programs compiled for CUDA run on the host, launch by launch, from the same plan.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use nnc_runtime::buffer::Buffer;
use nnc_runtime::device::{DeviceInstance, DeviceProgram};
use nnc_runtime::layout::Layout;
use nnc_runtime::profile::{LaunchTime, Profile};
use nnc_runtime::program::{Address, Code, Iterations, Program, Visitor, walk};
use nnc_runtime::{Device, Error};

use super::Emulator;
use crate::assemble::kernel_args;
use crate::kernel::Kernel;
use crate::target::EmitError;

/// A device for programs made of certain kernels: PTX itself is not run, so it must be given what the PTX was made of.
#[derive(Clone)]
pub struct EmulatedGpu {
    emulator: Arc<Mutex<Emulator>>,
    seed: u64,
}

impl fmt::Debug for EmulatedGpu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EmulatedGpu").field("seed", &self.seed).finish_non_exhaustive()
    }
}

impl EmulatedGpu {
    /// A device that runs `kernels`, blocks and threads in orders drawn from `seed`.
    ///
    /// # Errors
    /// As [`Emulator::new`].
    pub fn new(kernels: &[Kernel], seed: u64) -> Result<Self, EmitError> {
        Ok(Self { emulator: Arc::new(Mutex::new(Emulator::new(kernels)?)), seed })
    }
}

impl Device for EmulatedGpu {
    fn name(&self) -> String {
        "emulated-cuda".to_string()
    }

    fn load(&self, program: Arc<Program>) -> Result<Arc<dyn DeviceProgram>, Error> {
        if !matches!(program.code, Code::Ptx { .. }) {
            return Err(Error::WrongDevice {
                device: self.name(),
                code: "CPU object code",
                hint: "run it on `cpu`, or compile for `cuda`",
            });
        }
        let emulator = self.emulator.lock().unwrap_or_else(PoisonError::into_inner);
        let find =
            |symbol: &String| emulator.index_of(symbol).ok_or_else(|| Error::MissingKernel { symbol: symbol.clone() });
        let kernels = program.kernels.iter().map(|kernel| find(&kernel.symbol)).collect::<Result<Vec<_>, _>>()?;
        for (info, &kernel) in program.kernels.iter().zip(&kernels) {
            // What validation compared the launches with.
            if info.args != kernel_args(&emulator.kernels[kernel].kernel) {
                return Err(failed(format!(
                    "kernel `{}`: the program states other arguments than it has",
                    info.symbol
                )));
            }
        }
        drop(emulator);
        let layout = program.layout()?;
        Ok(Arc::new(EmulatedProgram(Arc::new(Loaded { program, layout, kernels, device: self.clone() }))))
    }
}

fn failed(reason: String) -> Error {
    Error::Cuda { action: "run on the emulated GPU", reason }
}

struct Loaded {
    program: Arc<Program>,
    layout: Layout,
    /// The emulator's number of each kernel.
    kernels: Vec<usize>,
    device: EmulatedGpu,
}

struct EmulatedProgram(Arc<Loaded>);

impl fmt::Debug for EmulatedProgram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EmulatedProgram").field("program", &self.0.program.name).finish_non_exhaustive()
    }
}

impl DeviceProgram for EmulatedProgram {
    fn instance(&self, _threads: usize) -> Result<Box<dyn DeviceInstance>, Error> {
        let loaded = Arc::clone(&self.0);
        let block = Buffer::zeroed(loaded.layout.total)?;
        let mut instance = EmulatedInstance { loaded, block, runs: 0 };
        let program = Arc::clone(&instance.loaded.program);
        for (idx, input) in program.inputs.iter().enumerate() {
            if let Some(initial) = &input.initial {
                instance.bytes_mut(instance.loaded.layout.inputs[idx], initial.len()).copy_from_slice(initial);
            }
        }
        for (idx, constant) in program.constants.iter().enumerate() {
            let bytes = instance.bytes_mut(instance.loaded.layout.constants[idx], constant.data.len());
            bytes.copy_from_slice(&constant.data);
        }
        Ok(Box::new(instance))
    }

    fn replace(&self, _: &Code) -> Result<(), Error> {
        Err(Error::FixedCode { device: "emulated-cuda" })
    }
}

struct EmulatedInstance {
    loaded: Arc<Loaded>,
    block: Buffer,
    /// Runs so far: each draws other orders.
    runs: u64,
}

impl EmulatedInstance {
    fn bytes(&self, start: usize, len: usize) -> &[u8] {
        // SAFETY: the layout has this range in the block; nothing writes while the instance is borrowed.
        unsafe { std::slice::from_raw_parts(self.block.at(start), len) }
    }

    fn bytes_mut(&mut self, start: usize, len: usize) -> &mut [u8] {
        // SAFETY: as above, and the borrow is exclusive.
        unsafe { std::slice::from_raw_parts_mut(self.block.at(start), len) }
    }

    fn address(&self, address: &Address, iterations: &Iterations) -> *mut u8 {
        let (place, offset) = address.resolve(iterations);
        let start = self.block.at(self.loaded.layout.offset(place).expect("validation checked all places"));
        start.wrapping_offset(offset as isize)
    }

    fn launch(&self, launch_idx: usize, iterations: &Iterations) -> Result<(), Error> {
        let Loaded { program, kernels, device, .. } = &*self.loaded;
        let launch = &program.launches[launch_idx];
        let args: Vec<*mut u8> = launch.args.iter().map(|address| self.address(address, iterations)).collect();
        let threads = program.kernels[launch.kernel as usize].block;
        let drawn =
            iterations.numbers().iter().fold(self.runs, |seed, number| seed.wrapping_mul(31).wrapping_add(*number));
        let seed = device.seed.wrapping_add(drawn << 32).wrapping_add(launch_idx as u64);
        let mut emulator = device.emulator.lock().unwrap_or_else(PoisonError::into_inner);
        // SAFETY: loading checked number and sizes of the arguments; tensors are aligned; the instance is the block's
        // only user, and is borrowed exclusively by whoever runs it.
        unsafe { emulator.launch_at(kernels[launch.kernel as usize], &args, launch.grid, threads, seed) }
            .map_err(|fault| failed(format!("launch {launch_idx} ({}): {fault}", launch.label)))
    }
}

/// Runs launches one after the other and times them.
struct Runner<'i> {
    instance: &'i EmulatedInstance,
    origin: Instant,
    profile: Profile<'i>,
}

impl Visitor for Runner<'_> {
    type Stop = Error;

    fn launch(&mut self, launch: usize, iterations: &Iterations) -> Result<(), Error> {
        let start = self.origin.elapsed();
        self.instance.launch(launch, iterations)?;
        self.profile.add(launch, start, self.origin.elapsed());
        Ok(())
    }

    fn condition(&mut self, _: usize, condition: &Address, iterations: &Iterations) -> Result<bool, Error> {
        // SAFETY: validation found a byte there; the launches before are done.
        Ok(unsafe { self.instance.address(condition, iterations).read() != 0 })
    }
}

impl DeviceInstance for EmulatedInstance {
    fn input(&self, idx: usize) -> Result<&[u8], Error> {
        Ok(self.bytes(self.loaded.layout.inputs[idx], self.loaded.program.inputs[idx].spec.bytes()))
    }

    fn input_mut(&mut self, idx: usize) -> Result<&mut [u8], Error> {
        let (start, len) = (self.loaded.layout.inputs[idx], self.loaded.program.inputs[idx].spec.bytes());
        Ok(self.bytes_mut(start, len))
    }

    fn output(&self, idx: usize) -> Result<&[u8], Error> {
        let output = &self.loaded.program.outputs[idx];
        let start = self.loaded.layout.offset(output.place).expect("validation checked all places");
        Ok(self.bytes(start, output.spec.bytes()))
    }

    fn run(&mut self) -> Result<(), Error> {
        self.profile_run().map(|_| ())
    }

    fn profile_run(&mut self) -> Result<Vec<LaunchTime>, Error> {
        let program = Arc::clone(&self.loaded.program);
        let mut runner = Runner { instance: self, origin: Instant::now(), profile: Profile::new(&program) };
        walk(&program.steps, &mut runner)?;
        let times = runner.profile.finish();
        self.runs += 1;
        Ok(times)
    }

    fn tensor_bytes(&self) -> u64 {
        self.block.len() as u64
    }
}
