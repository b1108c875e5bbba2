//! One block of GPU threads on the host: a fiber each, run one at a time from barrier to barrier.

use std::ffi::c_void;

use corosensei::stack::DefaultStack;
use corosensei::{Coroutine, CoroutineResult, Yielder};

use super::order::Order;

/// A kernel's entry: its arguments as an array of pointers.
pub(super) type Entry = unsafe extern "C" fn(args: *const *mut u8);

/// What a running thread can ask about itself; lies in the emulated module and is read by its shims.
#[repr(C)]
pub(super) struct State {
    /// Thread in the block: x, y, z.
    tid: [u32; 3],
    /// Block in the grid: x, y, z.
    ctaid: [u32; 3],
    /// What a barrier calls.
    wait: unsafe extern "C" fn(*mut State),
    /// The fiber that runs, while one does.
    fiber: *const c_void,
}

type Fiber = Coroutine<(), (), (), DefaultStack>;

/// Parks the fiber that runs until every other one of its block has come here.
///
/// # Safety
/// Called by emulated code only, on a fiber of [`Block::run`].
unsafe extern "C" fn wait(state: *mut State) {
    // SAFETY: the state outlives the code that calls this, and one fiber runs at a time.
    let fiber = unsafe { (*state).fiber };
    // SAFETY: the fiber put its own yielder there before it called any code, and again below.
    unsafe { &*fiber.cast::<Yielder<(), ()>>() }.suspend(());
    // SAFETY: as above.
    unsafe { (*state).fiber = fiber };
}

/// A block's place in the grid and its extents.
#[derive(Clone, Copy, Debug)]
pub(super) struct Block {
    /// Threads in x, y, z.
    pub(super) threads: [u32; 3],
    /// The block in the grid: x, y, z.
    pub(super) ctaid: [u32; 3],
}

impl Block {
    fn n_threads(self) -> usize {
        self.threads.iter().map(|&extent| extent as usize).product()
    }

    fn tid(self, thread: usize) -> [u32; 3] {
        let [x, y, _] = self.threads.map(|extent| extent as usize);
        [thread % x, thread / x % y, thread / (x * y)].map(|index| index as u32)
    }

    /// Runs a kernel without barriers: its threads need no fibers.
    ///
    /// # Safety
    /// As for [`Block::run`].
    pub(super) unsafe fn run_free(self, entry: Entry, args: &[*mut u8], state: *mut State, order: &mut Order) {
        for thread in order.shuffled(self.n_threads()) {
            // SAFETY: nothing else uses the state meanwhile; the caller vouches for the kernel and its arguments.
            unsafe {
                (*state).tid = self.tid(thread);
                (*state).ctaid = self.ctaid;
                entry(args.as_ptr());
            }
        }
    }

    /// Runs a kernel, its threads in an order of `order`'s between any two barriers, on `stacks`, one a thread.
    ///
    /// # Errors
    /// How many threads came to a barrier, if not all or none did.
    ///
    /// # Safety
    /// `entry` and `state` belong to one loaded module, whose code nothing else runs meanwhile; `args` are what the
    /// kernel takes; the stacks are large enough for it.
    pub(super) unsafe fn run(
        self,
        entry: Entry,
        args: &[*mut u8],
        state: *mut State,
        order: &mut Order,
        stacks: &mut Vec<DefaultStack>,
    ) -> Result<(), usize> {
        // SAFETY: the caller's promise.
        unsafe { (*state).wait = wait };
        let args = args.as_ptr();
        let start = |stack: DefaultStack| -> Fiber {
            Coroutine::with_stack(stack, move |yielder: &Yielder<(), ()>, ()| {
                // SAFETY: the caller's promise; the yielder lives as long as the fiber.
                unsafe {
                    (*state).fiber = std::ptr::from_ref(yielder).cast();
                    entry(args);
                }
            })
        };
        let n_threads = self.n_threads();
        let mut fibers: Vec<Fiber> = stacks.drain(stacks.len() - n_threads..).map(start).collect();
        let outcome = loop {
            let mut n_waiting = 0;
            for thread in order.shuffled(n_threads) {
                // SAFETY: no fiber runs now.
                unsafe {
                    (*state).tid = self.tid(thread);
                    (*state).ctaid = self.ctaid;
                }
                if let CoroutineResult::Yield(()) = fibers[thread].resume(()) {
                    n_waiting += 1;
                }
            }
            match n_waiting {
                0 => break Ok(()),
                n if n == n_threads => {}
                n => break Err(n),
            }
        };
        for mut fiber in fibers {
            // SAFETY: after a divergence, a parked fiber is given up; its frames are the kernel's, the entry closure's
            // and `wait`'s, which own nothing.
            unsafe { fiber.force_reset() };
            stacks.push(fiber.into_stack());
        }
        outcome
    }
}
