//! A program's steps bound to one block of tensors: every argument a pointer, or the few numbers that make one.

use std::cell::Cell;
use std::ops::Range;
use std::sync::Arc;

use super::Loaded;
use crate::buffer::Buffer;
use crate::layout::Layout;
use crate::program::{Address, Case, CpuKernel, Guard, Iterations, Launch, Place, Program, Step};
use crate::threads::{Args, Work, run_alone};

/// A program's steps bound to one block of tensors.
pub(super) struct Bound {
    program: Arc<Program>,
    launches: Box<[BoundLaunch]>,
    /// Conditions by the position of their step.
    conditions: Box<[Option<BoundAddress>]>,
    /// Start of every place that is used, once for each use; arguments of launches that do not move lie side by side.
    pointers: Box<[Cell<*mut u8>]>,
    /// For each input, the positions in `pointers` where it stands.
    input_slots: Box<[Box<[usize]>]>,
    /// For each thread, room for the arguments of a launch that moves.
    frames: Box<[Frame]>,
}

/// Arguments of one launch. Used by one thread only.
type Frame = Box<[Cell<*mut u8>]>;

/// Frames are allocated apart, in whole cache lines and more, so that threads do not write to each other's.
const MIN_FRAME: usize = 32;

/// One launch: the kernel and its arguments.
struct BoundLaunch {
    kernel: CpuKernel,
    args: BoundArgs,
    extent: u64,
    chunk: u64,
}

enum BoundArgs {
    /// The pointers from this position on.
    Fixed(usize),
    /// One address an argument.
    Moving(Box<[BoundAddress]>),
}

/// An [`Address`] over positions in [`Bound::pointers`].
enum BoundAddress {
    Fixed(usize),
    Moving(Box<[BoundCase]>),
}

struct BoundCase {
    guards: Box<[Guard]>,
    slot: usize,
    case: Case,
}

// SAFETY: the pointers lead into the block that the instance owns along with the steps.
unsafe impl Send for Bound {}
// SAFETY: as above; the pointers change only while the instance is borrowed exclusively, so not during a run, and each
// frame is used by one thread, that of its rank.
unsafe impl Sync for Bound {}

impl Bound {
    /// Binds a program for runs of at most `threads` threads.
    pub(super) fn new(loaded: &Loaded, block: &Buffer, threads: usize) -> Bound {
        let program = &loaded.program;
        let code = loaded.code();
        let mut binder =
            Binder { layout: &loaded.layout, kernels: &code.kernels, block, pointers: Vec::new(), places: Vec::new() };
        let launches = program.launches.iter().map(|launch| binder.launch(launch)).collect();
        let condition = |step: &Step| match step {
            Step::Launch(_) | Step::Loop { .. } => None,
            Step::Branch { condition, .. } | Step::While { condition, .. } => Some(binder.address(condition)),
        };
        let conditions = program.steps.iter().map(condition).collect();
        let Binder { pointers, places, .. } = binder;
        let slots_of = |idx: usize| {
            let slots = places.iter().enumerate().filter(|(_, place)| **place == Place::Input(idx as u32));
            slots.map(|(slot, _)| slot).collect()
        };
        let n_args = program.launches.iter().map(|launch| launch.args.len()).max().unwrap_or(0).max(MIN_FRAME);
        Bound {
            program: Arc::clone(program),
            launches,
            conditions,
            pointers: pointers.into(),
            input_slots: (0..program.inputs.len()).map(slots_of).collect(),
            frames: (0..threads).map(|_| vec![Cell::new(std::ptr::null_mut()); n_args].into()).collect(),
        }
    }

    /// Lets launches run `kernels`, the program's by index.
    pub(super) fn adopt_kernels(&mut self, kernels: &[CpuKernel]) {
        for (bound, launch) in self.launches.iter_mut().zip(&self.program.launches) {
            bound.kernel = kernels[launch.kernel as usize];
        }
    }

    /// Lets launches find an input at `address`.
    pub(super) fn bind_input(&mut self, idx: usize, address: *mut u8) {
        for &slot in &self.input_slots[idx] {
            self.pointers[slot].set(address);
        }
    }

    /// Whether any launch can be shared out.
    pub(super) fn is_shared(&self) -> bool {
        (0..self.launches.len()).any(|launch| self.n_chunks(launch) > 1)
    }

    fn resolve(&self, address: &BoundAddress, iterations: &Iterations) -> *mut u8 {
        match address {
            BoundAddress::Fixed(slot) => self.pointers[*slot].get(),
            BoundAddress::Moving(cases) => {
                let holds = |case: &&BoundCase| case.guards.iter().all(|guard| guard.holds(iterations));
                let BoundCase { slot, case, .. } = cases.iter().find(holds).expect("the last case has no guards");
                self.pointers[*slot].get().wrapping_offset(case.offset_at(iterations) as isize)
            }
        }
    }
}

/// Binds addresses one after the other.
struct Binder<'l> {
    layout: &'l Layout,
    kernels: &'l [CpuKernel],
    block: &'l Buffer,
    pointers: Vec<Cell<*mut u8>>,
    /// The place of each pointer.
    places: Vec<Place>,
}

impl Binder<'_> {
    fn launch(&mut self, launch: &Launch) -> BoundLaunch {
        let is_fixed = |address: &Address| matches!(address, Address::Fixed(_));
        let args = if launch.args.iter().all(is_fixed) {
            let start = self.pointers.len();
            launch.args.iter().flat_map(Address::places).for_each(|place| {
                self.slot(place);
            });
            BoundArgs::Fixed(start)
        } else {
            BoundArgs::Moving(launch.args.iter().map(|address| self.address(address)).collect())
        };
        BoundLaunch { kernel: self.kernels[launch.kernel as usize], args, extent: launch.extent, chunk: launch.chunk }
    }

    fn address(&mut self, address: &Address) -> BoundAddress {
        match address {
            Address::Fixed(place) => BoundAddress::Fixed(self.slot(*place)),
            Address::Moving(cases) => {
                let bind = |case: &Case| BoundCase {
                    guards: case.guards.clone().into(),
                    slot: self.slot(case.place),
                    case: case.clone(),
                };
                BoundAddress::Moving(cases.iter().map(bind).collect())
            }
        }
    }

    fn slot(&mut self, place: Place) -> usize {
        let offset = self.layout.offset(place).expect("validation checked all places");
        self.pointers.push(Cell::new(self.block.at(offset)));
        self.places.push(place);
        self.pointers.len() - 1
    }
}

// SAFETY: a kernel's iterations are independent, launches depend on earlier ones only, and kernels do not unwind: the
// contract of `CpuKernel` and of `Launch`.
unsafe impl Work for Bound {
    fn steps(&self) -> &[Step] {
        &self.program.steps
    }

    fn n_chunks(&self, launch: usize) -> u32 {
        let BoundLaunch { extent, chunk, .. } = self.launches[launch];
        u32::try_from(extent.div_ceil(chunk)).expect("validation checked the number of chunks")
    }

    unsafe fn bind(&self, rank: usize, launch: usize, iterations: &Iterations) -> Args {
        match &self.launches[launch].args {
            // A cell has the layout of what it holds.
            BoundArgs::Fixed(start) => self.pointers[*start..].as_ptr().cast(),
            BoundArgs::Moving(addresses) => {
                let frame = &self.frames[rank];
                for (slot, address) in frame.iter().zip(addresses) {
                    slot.set(self.resolve(address, iterations));
                }
                frame.as_ptr().cast()
            }
        }
    }

    unsafe fn run_chunk(&self, launch: usize, args: Args, chunk: u32) {
        let launch = &self.launches[launch];
        let begin = u64::from(chunk) * launch.chunk;
        // SAFETY: the arguments are bound to the launch's tensors, the range lies in its extent.
        unsafe { (launch.kernel)(args, begin, launch.extent.min(begin.saturating_add(launch.chunk))) }
    }

    unsafe fn run_launch(&self, launch: usize, iterations: &Iterations) {
        // SAFETY: the caller's promise; rank 0 is the calling thread's.
        let args = unsafe { self.bind(0, launch, iterations) };
        let launch = &self.launches[launch];
        // SAFETY: as in `run_chunk`.
        unsafe { (launch.kernel)(args, 0, launch.extent) }
    }

    unsafe fn condition(&self, position: usize, iterations: &Iterations) -> bool {
        let address = self.conditions[position].as_ref().expect("a step with a condition");
        // SAFETY: validation found a byte there, and the caller promises that it is written.
        unsafe { self.resolve(address, iterations).read() != 0 }
    }

    unsafe fn run_part(&self, positions: Range<usize>, depth: usize, iterations: &mut Iterations) {
        // SAFETY: the caller's promise.
        unsafe { run_alone(self, positions, depth, iterations) }
    }
}

/// One launch of a program in one iteration, as a program of its own.
pub(super) struct OneLaunch<'b> {
    bound: &'b Bound,
    launch: usize,
    iterations: Iterations,
}

/// The steps of a program of one launch.
static ONE_STEP: [Step; 1] = [Step::Launch(0)];

impl<'b> OneLaunch<'b> {
    pub(super) fn new(bound: &'b Bound, launch: usize, iterations: Iterations) -> Self {
        Self { bound, launch, iterations }
    }
}

// SAFETY: as for the whole program.
unsafe impl Work for OneLaunch<'_> {
    fn steps(&self) -> &[Step] {
        &ONE_STEP
    }

    fn n_chunks(&self, _: usize) -> u32 {
        self.bound.n_chunks(self.launch)
    }

    unsafe fn bind(&self, rank: usize, _: usize, _: &Iterations) -> Args {
        // SAFETY: the caller's promise; so for all methods.
        unsafe { self.bound.bind(rank, self.launch, &self.iterations) }
    }

    unsafe fn run_chunk(&self, _: usize, args: Args, chunk: u32) {
        // SAFETY: as above.
        unsafe { self.bound.run_chunk(self.launch, args, chunk) }
    }

    unsafe fn run_launch(&self, _: usize, _: &Iterations) {
        // SAFETY: as above.
        unsafe { self.bound.run_launch(self.launch, &self.iterations) }
    }

    unsafe fn condition(&self, _: usize, _: &Iterations) -> bool {
        unreachable!("a launch has no condition")
    }

    unsafe fn run_part(&self, positions: Range<usize>, depth: usize, iterations: &mut Iterations) {
        // SAFETY: as above.
        unsafe { run_alone(self, positions, depth, iterations) }
    }
}
