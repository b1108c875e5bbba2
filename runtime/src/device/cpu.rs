//! The host: object code in memory, one block for all tensors, steps on one or several threads.
//!
//! [`bound`] binds a program's steps to the block.

mod bound;

use std::convert::Infallible;
use std::sync::atomic::{AtomicU64, Ordering::Acquire, Ordering::Release};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};
use std::thread;
use std::time::Instant;

use self::bound::{Bound, OneLaunch};
use super::{Device, DeviceInstance, DeviceProgram};
use crate::buffer::Buffer;
use crate::cpu_features;
use crate::error::Error;
use crate::layout::Layout;
use crate::loader::LoadedObject;
use crate::profile::{LaunchTime, Profile};
use crate::program::{Address, Code, CpuKernel, Iterations, KernelInfo, Program, Visitor, walk};
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
        let objects = load_objects(&program.code)?;
        let kernel = |kernel: &KernelInfo| {
            let missing = || Error::MissingKernel { symbol: kernel.symbol.clone() };
            find_kernel(&objects, &kernel.symbol).ok_or_else(missing)
        };
        let kernels = program.kernels.iter().map(kernel).collect::<Result<_, Error>>()?;
        let layout = program.layout()?;
        let code = RwLock::new(LoadedCode { kernels, objects });
        Ok(Arc::new(CpuProgram(Arc::new(Loaded { program, layout, code, replacements: AtomicU64::new(0) }))))
    }
}

fn load_objects(code: &Code) -> Result<Vec<LoadedObject>, Error> {
    match code {
        Code::Object { triple, features, objects } => {
            cpu_features::check(triple, features)?;
            objects.iter().map(|elf| LoadedObject::load(elf)).collect()
        }
        Code::Ptx { .. } => Err(Error::WrongDevice {
            device: Cpu::new().name(),
            code: "PTX",
            hint: "run it on `cuda`, or compile for `cpu`",
        }),
    }
}

fn find_kernel(objects: &[LoadedObject], symbol: &str) -> Option<CpuKernel> {
    let address = objects.iter().find_map(|object| object.function(symbol))?;
    // SAFETY: the program says that this symbol is a kernel, which is what its emitter made; see `CpuKernel` for the
    // contract. The address is not 0, being inside a mapping.
    Some(unsafe { std::mem::transmute::<usize, CpuKernel>(address) })
}

/// A program with its code in memory.
#[derive(Debug)]
struct Loaded {
    program: Arc<Program>,
    layout: Layout,
    code: RwLock<LoadedCode>,
    /// How often kernels were replaced, so that an instance sees whether it must look at `code`.
    replacements: AtomicU64,
}

/// The kernels of a program at this moment.
#[derive(Debug)]
struct LoadedCode {
    kernels: Vec<CpuKernel>,
    /// All there ever were: instances that have not run since a replacement still point into older ones.
    objects: Vec<LoadedObject>,
}

impl Loaded {
    fn code(&self) -> RwLockReadGuard<'_, LoadedCode> {
        self.code.read().unwrap_or_else(PoisonError::into_inner)
    }
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
        let threads = match threads {
            0 => thread::available_parallelism().map_or(1, usize::from),
            threads => threads,
        };
        let replacements = loaded.replacements.load(Acquire);
        let bound = Bound::new(&loaded, &block, threads);
        // A program without a launch to share never wakes a thread, so it gets none.
        let parallel = if threads > 1 && bound.is_shared() {
            let team = Team::of(threads)?;
            let progress = Progress::new(&bound, team.threads());
            Some(Parallel { team, progress })
        } else {
            None
        };
        Ok(Box::new(CpuInstance { bound, parallel, block, loaded, replacements }))
    }

    fn replace(&self, code: &Code) -> Result<(), Error> {
        let objects = load_objects(code)?;
        let loaded = &self.0;
        let mut code = loaded.code.write().unwrap_or_else(PoisonError::into_inner);
        for (kernel, info) in code.kernels.iter_mut().zip(&loaded.program.kernels) {
            *kernel = find_kernel(&objects, &info.symbol).unwrap_or(*kernel);
        }
        code.objects.extend(objects);
        loaded.replacements.fetch_add(1, Release);
        Ok(())
    }
}

/// Several threads and the counters they share.
struct Parallel {
    team: Arc<Team>,
    progress: Progress,
}

struct CpuInstance {
    bound: Bound,
    parallel: Option<Parallel>,
    block: Buffer,
    loaded: Arc<Loaded>,
    /// The replacements of kernels that `bound` knows of.
    replacements: u64,
}

impl CpuInstance {
    /// Takes over kernels that were replaced since the last run.
    fn adopt_kernels(&mut self) {
        let replacements = self.loaded.replacements.load(Acquire);
        if replacements != self.replacements {
            self.bound.adopt_kernels(&self.loaded.code().kernels);
            self.replacements = replacements;
        }
    }

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
        self.bound.bind_input(idx, address);
        Ok(())
    }

    fn output(&self, idx: usize) -> Result<&[u8], Error> {
        let output = &self.loaded.program.outputs[idx];
        let offset = self.loaded.layout.offset(output.place).expect("validation checked all places");
        // SAFETY: validation found room for the output there; nothing writes while the instance is borrowed.
        Ok(unsafe { std::slice::from_raw_parts(self.block.at(offset), output.spec.bytes()) })
    }

    fn run(&mut self) -> Result<(), Error> {
        self.adopt_kernels();
        let bound = &self.bound;
        match &mut self.parallel {
            // SAFETY: the instance is borrowed exclusively, so no other run uses the block; steps in order.
            None => unsafe { bound.run_part(0..bound.steps().len(), 0, &mut Iterations::default()) },
            // SAFETY: as above, and the counters were made for these steps.
            Some(Parallel { team, progress }) => unsafe { team.run(bound, progress) },
        }
        Ok(())
    }

    fn profile_run(&mut self) -> Result<Vec<LaunchTime>, Error> {
        self.adopt_kernels();
        let program = Arc::clone(&self.loaded.program);
        let mut profiler = Profiler {
            bound: &self.bound,
            team: self.parallel.as_ref().map(|parallel| &*parallel.team),
            origin: Instant::now(),
            profile: Profile::new(&program),
        };
        let Ok(()) = walk(&program.steps, &mut profiler);
        Ok(profiler.profile.finish())
    }

    fn tensor_bytes(&self) -> u64 {
        self.block.len() as u64
    }
}

/// Runs launches one after the other, each by the whole team, and times them.
struct Profiler<'i> {
    bound: &'i Bound,
    team: Option<&'i Team>,
    origin: Instant,
    profile: Profile<'i>,
}

impl Visitor for Profiler<'_> {
    type Stop = Infallible;

    fn launch(&mut self, launch: usize, iterations: &Iterations) -> Result<(), Infallible> {
        let one = OneLaunch::new(self.bound, launch, *iterations);
        let shared = self.team.filter(|_| one.n_chunks(0) > 1).map(|team| (team, Progress::new(&one, team.threads())));
        let start = self.origin.elapsed();
        match shared {
            // SAFETY: the instance is borrowed exclusively for the profile; steps in order.
            Some((team, mut progress)) => unsafe { team.run(&one, &mut progress) },
            // SAFETY: as above.
            None => unsafe { self.bound.run_launch(launch, iterations) },
        }
        self.profile.add(launch, start, self.origin.elapsed());
        Ok(())
    }

    fn condition(&mut self, position: usize, _: &Address, iterations: &Iterations) -> Result<bool, Infallible> {
        // SAFETY: the launches before are done.
        Ok(unsafe { self.bound.condition(position, iterations) })
    }
}
