//! A GPU that is none: programs compiled for CUDA run on the host, launch by launch, from the same plan.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use nnc_runtime::buffer::Buffer;
use nnc_runtime::device::{DeviceInstance, DeviceProgram};
use nnc_runtime::layout::Layout;
use nnc_runtime::profile::LaunchTime;
use nnc_runtime::program::{Code, Place, Program};
use nnc_runtime::{Device, Error};

use super::Emulator;
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
        for (idx, launch) in program.launches.iter().enumerate() {
            let kernel = &emulator.kernels[kernels[launch.kernel as usize]].kernel;
            check_launch(&program, kernel, &launch.args)
                .map_err(|reason| failed(format!("launch {idx} ({}): {reason}", launch.label)))?;
        }
        drop(emulator);
        let layout = program.layout()?;
        Ok(Arc::new(EmulatedProgram(Arc::new(Loaded { program, layout, kernels, device: self.clone() }))))
    }
}

/// Checks that every argument of a launch has the bytes that its kernel touches.
fn check_launch(program: &Program, kernel: &Kernel, args: &[Place]) -> Result<(), String> {
    let n_args = kernel.args().count();
    if args.len() != n_args {
        return Err(format!("{} arguments, expected {n_args}", args.len()));
    }
    for ((_, buffer), &place) in kernel.args().zip(args) {
        let room = match place {
            Place::Input(idx) => program.inputs[idx as usize].spec.bytes(),
            Place::Output(idx) => program.outputs[idx as usize].spec.bytes(),
            Place::Constant(idx) => program.constants[idx as usize].spec.bytes(),
            Place::Arena(offset) => (program.arena_bytes - offset) as usize,
        };
        let bytes = buffer.len * buffer.dtype.size();
        if bytes > room {
            return Err(format!("{} has {bytes} bytes, {place:?} has room for {room}", buffer.name));
        }
        if buffer.written && matches!(place, Place::Constant(_)) {
            return Err(format!("{} is written, {place:?} is constant", buffer.name));
        }
    }
    Ok(())
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

    fn launch(&self, launch_idx: usize) -> Result<(), Error> {
        let Loaded { program, layout, kernels, device } = &*self.loaded;
        let launch = &program.launches[launch_idx];
        let address = |&place| self.block.at(layout.offset(place).expect("validation checked all places"));
        let args: Vec<*mut u8> = launch.args.iter().map(address).collect();
        let threads = program.kernels[launch.kernel as usize].block;
        let seed = device.seed.wrapping_add(self.runs << 32).wrapping_add(launch_idx as u64);
        let mut emulator = device.emulator.lock().unwrap_or_else(PoisonError::into_inner);
        // SAFETY: loading checked number and sizes of the arguments; tensors are aligned; the instance is the block's
        // only user, and is borrowed exclusively by whoever runs it.
        unsafe { emulator.launch_at(kernels[launch.kernel as usize], &args, launch.grid, threads, seed) }
            .map_err(|fault| failed(format!("launch {launch_idx} ({}): {fault}", launch.label)))
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
        let origin = Instant::now();
        let program = Arc::clone(&self.loaded.program);
        let mut times = Vec::with_capacity(program.launches.len());
        for (launch_idx, launch) in program.launches.iter().enumerate() {
            let start = origin.elapsed();
            self.launch(launch_idx)?;
            let taken = origin.elapsed() - start;
            let kernel = &program.kernels[launch.kernel as usize];
            times.push(LaunchTime {
                label: launch.label.clone(),
                kernel: kernel.symbol.clone(),
                start_ns: start.as_nanos() as u64,
                ns: taken.as_nanos() as u64,
                bytes: kernel.bytes,
                flops: kernel.flops,
            });
        }
        self.runs += 1;
        Ok(times)
    }

    fn tensor_bytes(&self) -> u64 {
        self.block.len() as u64
    }
}
