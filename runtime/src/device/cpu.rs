//! The host: object code in memory, one block for all tensors, steps on one or several threads.

use std::cell::Cell;
use std::sync::Arc;
use std::thread;
use std::time::Instant;

use super::{Device, DeviceInstance, DeviceProgram};
use crate::buffer::Buffer;
use crate::cpu_features;
use crate::error::Error;
use crate::layout::Layout;
use crate::loader::LoadedObject;
use crate::profile::LaunchTime;
use crate::program::{Code, CpuKernel, Place, Program};
use crate::threads::{Progress, Team, Work};

/// The host CPU.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cpu(());

impl Cpu {
    /// The host CPU.
    pub fn new() -> Cpu {
        Cpu(())
    }
}

impl Device for Cpu {
    fn name(&self) -> String {
        "cpu".to_owned()
    }

    fn load(&self, program: Arc<Program>) -> Result<Arc<dyn DeviceProgram>, Error> {
        let Code::Object { triple, features, elf } = &program.code else {
            return Err(Error::WrongDevice {
                device: self.name(),
                code: "PTX",
                hint: "run it on `cuda`, or compile for `cpu`",
            });
        };
        cpu_features::check(triple, features)?;
        let object = LoadedObject::load(elf)?;
        let kernels = program
            .kernels
            .iter()
            .map(|kernel| {
                let missing = || Error::MissingKernel { symbol: kernel.symbol.clone() };
                let address = object.function(&kernel.symbol).ok_or_else(missing)?;
                // SAFETY: the program says that this symbol is a kernel, which is what its emitter made; see
                // `CpuKernel` for the contract. The address is not 0, being inside a mapping.
                Ok(unsafe { std::mem::transmute::<usize, CpuKernel>(address) })
            })
            .collect::<Result<_, Error>>()?;
        let layout = program.layout()?;
        Ok(Arc::new(CpuProgram(Arc::new(Loaded { program, layout, kernels, _object: object }))))
    }
}

/// A program with its code in memory.
#[derive(Debug)]
struct Loaded {
    program: Arc<Program>,
    layout: Layout,
    kernels: Vec<CpuKernel>,
    /// Keeps `kernels` mapped.
    _object: LoadedObject,
}

#[derive(Debug)]
struct CpuProgram(Arc<Loaded>);

impl DeviceProgram for CpuProgram {
    fn instance(&self, threads: usize) -> Result<Box<dyn DeviceInstance>, Error> {
        let loaded = Arc::clone(&self.0);
        let (program, layout) = (&*loaded.program, &loaded.layout);
        let block = Buffer::zeroed(layout.total)?;
        let fill = |offset: usize, bytes: &[u8]| {
            // SAFETY: the layout gives each tensor its bytes in the block, and validation compared the lengths.
            unsafe { block.at(offset).copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
        };
        for (input, &offset) in program.inputs.iter().zip(&layout.inputs) {
            if let Some(initial) = &input.initial {
                fill(offset, initial);
            }
        }
        for (constant, &offset) in program.constants.iter().zip(&layout.constants) {
            fill(offset, &constant.data);
        }
        let steps = Steps::new(&loaded, &block);
        let threads = match threads {
            0 => thread::available_parallelism().map_or(1, usize::from),
            threads => threads,
        };
        // A program without a step to share never wakes a thread, so it gets none.
        let parallel = if threads > 1 && (0..steps.n_steps()).any(|step| steps.n_chunks(step) > 1) {
            let team = Team::of(threads)?;
            let progress = Progress::new(&steps, team.threads());
            Some(Parallel { team, progress })
        } else {
            None
        };
        Ok(Box::new(CpuInstance { steps, parallel, block, loaded }))
    }
}

/// A program's launches bound to one block of tensors.
struct Steps {
    steps: Box<[Step]>,
    /// Buffer pointers of all steps; `Step::args` points into it.
    args: Box<[Cell<*mut u8>]>,
    /// For each input, the positions in `args` where it stands.
    input_slots: Box<[Box<[usize]>]>,
}

/// One launch: the kernel and its arguments.
struct Step {
    kernel: CpuKernel,
    args: *const *mut u8,
    extent: u64,
    chunk: u64,
}

// SAFETY: the pointers lead into the block that the instance owns along with the steps.
unsafe impl Send for Steps {}
// SAFETY: as above; the cells change only while the instance is borrowed exclusively, so not during a run.
unsafe impl Sync for Steps {}

impl Steps {
    fn new(loaded: &Loaded, block: &Buffer) -> Steps {
        let launches = &loaded.program.launches;
        let address = |place| block.at(loaded.layout.offset(place).expect("validation checked all places"));
        let args: Box<[_]> =
            launches.iter().flat_map(|launch| &launch.args).map(|&place| Cell::new(address(place))).collect();
        let places = || launches.iter().flat_map(|launch| &launch.args);
        let slots_of = |idx: usize| {
            let slots = places().enumerate().filter(|(_, place)| **place == Place::Input(idx as u32));
            slots.map(|(slot, _)| slot).collect()
        };
        let input_slots = (0..loaded.program.inputs.len()).map(slots_of).collect();
        let mut start = 0;
        let step = |launch: &crate::program::Launch| {
            let step = Step {
                kernel: loaded.kernels[launch.kernel as usize],
                args: args[start..].as_ptr().cast(),
                extent: launch.extent,
                chunk: launch.chunk,
            };
            start += launch.args.len();
            step
        };
        let steps = launches.iter().map(step).collect();
        Steps { steps, args, input_slots }
    }
}

// SAFETY: a kernel's iterations are independent, launches depend on earlier ones only, and kernels do not unwind: the
// contract of `CpuKernel` and of `Launch`.
unsafe impl Work for Steps {
    fn n_steps(&self) -> usize {
        self.steps.len()
    }

    fn n_chunks(&self, step: usize) -> u32 {
        let Step { extent, chunk, .. } = self.steps[step];
        u32::try_from(extent.div_ceil(chunk)).expect("validation checked the number of chunks")
    }

    unsafe fn run_chunk(&self, step: usize, chunk: u32) {
        let step = &self.steps[step];
        let begin = u64::from(chunk) * step.chunk;
        // SAFETY: the arguments are bound to the launch's tensors, the range lies in its extent.
        unsafe { (step.kernel)(step.args, begin, step.extent.min(begin.saturating_add(step.chunk))) }
    }

    unsafe fn run_step(&self, step: usize) {
        let step = &self.steps[step];
        // SAFETY: as above.
        unsafe { (step.kernel)(step.args, 0, step.extent) }
    }
}

/// One step of a list, as a list of its own.
struct OneStep<'steps> {
    steps: &'steps Steps,
    step: usize,
}

// SAFETY: as for the whole list.
unsafe impl Work for OneStep<'_> {
    fn n_steps(&self) -> usize {
        1
    }

    fn n_chunks(&self, _: usize) -> u32 {
        self.steps.n_chunks(self.step)
    }

    unsafe fn run_chunk(&self, _: usize, chunk: u32) {
        // SAFETY: the caller's promise.
        unsafe { self.steps.run_chunk(self.step, chunk) }
    }

    unsafe fn run_step(&self, _: usize) {
        // SAFETY: the caller's promise.
        unsafe { self.steps.run_step(self.step) }
    }
}

/// Several threads and the counters they share.
struct Parallel {
    team: Arc<Team>,
    progress: Progress,
}

struct CpuInstance {
    steps: Steps,
    parallel: Option<Parallel>,
    block: Buffer,
    loaded: Arc<Loaded>,
}

impl CpuInstance {
    /// Address and size of an input.
    fn input_range(&self, idx: usize) -> (*mut u8, usize) {
        (self.block.at(self.loaded.layout.inputs[idx]), self.loaded.program.inputs[idx].spec.bytes())
    }
}

impl DeviceInstance for CpuInstance {
    fn input(&self, idx: usize) -> Result<&[u8], Error> {
        let (start, len) = self.input_range(idx);
        // SAFETY: the layout gives the input these bytes; nothing writes the block while the instance is borrowed.
        Ok(unsafe { std::slice::from_raw_parts(start, len) })
    }

    fn input_mut(&mut self, idx: usize) -> Result<&mut [u8], Error> {
        let (start, len) = self.input_range(idx);
        // SAFETY: as above, and the borrow is exclusive.
        Ok(unsafe { std::slice::from_raw_parts_mut(start, len) })
    }

    unsafe fn bind_input(&mut self, idx: usize, bytes: Option<&[u8]>) -> Result<(), Error> {
        let own = self.input_range(idx).0;
        let address = bytes.map_or(own, |bytes| bytes.as_ptr().cast_mut());
        let Steps { args, input_slots, .. } = &self.steps;
        // `Step::args` points to the same cells, which only `run` reads.
        input_slots[idx].iter().for_each(|&slot| args[slot].set(address));
        Ok(())
    }

    fn output(&self, idx: usize) -> Result<&[u8], Error> {
        let output = &self.loaded.program.outputs[idx];
        let offset = self.loaded.layout.offset(output.place).expect("validation checked all places");
        // SAFETY: validation found room for the output there; nothing writes while the instance is borrowed.
        Ok(unsafe { std::slice::from_raw_parts(self.block.at(offset), output.spec.bytes()) })
    }

    fn run(&mut self) -> Result<(), Error> {
        match &mut self.parallel {
            // SAFETY: the instance is borrowed exclusively, so no other run uses the block; launches in order.
            None => (0..self.steps.n_steps()).for_each(|step| unsafe { self.steps.run_step(step) }),
            // SAFETY: as above, and the counters were made for these steps.
            Some(Parallel { team, progress }) => unsafe { team.run(&self.steps, progress) },
        }
        Ok(())
    }

    fn profile_run(&mut self) -> Result<Vec<LaunchTime>, Error> {
        let program = &*self.loaded.program;
        let mut times = Vec::with_capacity(program.launches.len());
        let origin = Instant::now();
        for (step, launch) in program.launches.iter().enumerate() {
            let one = OneStep { steps: &self.steps, step };
            let counters = self.parallel.as_ref().map(|parallel| Progress::new(&one, parallel.team.threads()));
            let start = origin.elapsed();
            match (&self.parallel, counters) {
                // SAFETY: as in `run`.
                (Some(parallel), Some(mut progress)) => unsafe { parallel.team.run(&one, &mut progress) },
                // SAFETY: as in `run`.
                _ => unsafe { self.steps.run_step(step) },
            }
            let end = origin.elapsed();
            times.push(LaunchTime::of(program, launch, start.as_nanos() as u64, (end - start).as_nanos() as u64));
        }
        Ok(times)
    }

    fn tensor_bytes(&self) -> u64 {
        self.block.len() as u64
    }
}
