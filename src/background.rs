//! Better code for programs that already run.
//!
//! With [`Options::background`](crate::Options), a program starts on the code of the tier that compiles fastest. A thread
//! of this process then compiles the same kernels with the other tier, those that cost most first, and each replaces its
//! predecessor between two runs. All tiers give the same bits, so nobody sees the exchange but the clock.
//!
//! ```
//! use nnc::prelude::*;
//! use nnc::{Options, background};
//!
//! let double = trace("double", |t| t.input("x", "f32[N]") * 2.0)?;
//! # #[cfg(feature = "llvm")] {
//! let mut double = nnc::jit(double)?.options(Options { background: Some(Tier::Llvm), ..Options::default() });
//! let first = double.call(&[&ndarray::array![1.0f32, 2.0]])?;
//! background::wait()?;
//! assert_eq!(double.call(&[&ndarray::array![1.0f32, 2.0]])?, first);
//! # }
//! # Ok::<(), nnc::Error>(())
//! ```

use std::cmp::Reverse;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use nnc_codegen::assemble::{self, Assembly, Tier, emit_cpu};
use nnc_codegen::kernel::Kernel;
use nnc_codegen::target::{EmitError, Target};
use nnc_runtime::Executable;

use crate::compile::Options;
use crate::error::Error;

/// Floating-point operations that take the time of moving a byte, roughly: only the order of kernels hangs on it.
const FLOPS_PER_BYTE: u64 = 8;

/// One kernel to compile.
struct Job {
    executable: Executable,
    kernel: Kernel,
    tier: Tier,
}

/// What the thread has to do and what came of it.
struct Queue {
    jobs: VecDeque<Job>,
    /// Whether a kernel is being compiled at this moment.
    is_busy: bool,
    has_thread: bool,
    /// Set when the process ends: nothing is begun any more.
    is_closed: bool,
    /// Faults since the last [`wait`].
    faults: Vec<Error>,
}

static QUEUE: Mutex<Queue> = Mutex::new(Queue {
    jobs: VecDeque::new(),
    is_busy: false,
    has_thread: false,
    is_closed: false,
    faults: Vec::new(),
});

/// Signaled when a job comes in and when one is done.
static CHANGED: Condvar = Condvar::new();

fn queue() -> MutexGuard<'static, Queue> {
    QUEUE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn changed(queue: MutexGuard<'static, Queue>) -> MutexGuard<'static, Queue> {
    CHANGED.wait(queue).unwrap_or_else(PoisonError::into_inner)
}

/// What is to be compiled in the background for one program.
pub(crate) struct Plan {
    tier: Tier,
    /// Those first that take most of a run.
    kernels: Vec<Kernel>,
}

impl Plan {
    /// What `options` ask for; nothing if the first tier is the better one already.
    ///
    /// # Errors
    /// A target other than the CPU, and a tier that this build lacks.
    pub(crate) fn of(assembly: &Assembly, options: &Options) -> Result<Option<Self>, Error> {
        let Some(tier) = options.background.filter(|tier| *tier != options.tier) else { return Ok(None) };
        if options.target != Target::Cpu {
            let target = &options.target;
            return Err(Error::message(format!(
                "compiling in the background is for the target `cpu`, found `{target}`"
            )));
        }
        // Nothing to compile, so this only says whether the tier is there.
        emit_cpu(&[], tier)?;
        let mut costs = vec![0_u64; assembly.kernels.len()];
        for launch in &assembly.launches {
            let info = &assembly.kernel_infos[launch.kernel as usize];
            let cost = info.bytes.saturating_mul(FLOPS_PER_BYTE).saturating_add(info.flops);
            let total = &mut costs[launch.kernel as usize];
            *total = total.saturating_add(cost);
        }
        let mut order: Vec<usize> = (0..costs.len()).collect();
        order.sort_by_key(|&idx| Reverse(costs[idx]));
        let kernels = order.into_iter().map(|idx| assembly.kernels[idx].clone()).collect();
        Ok(Some(Self { tier, kernels }))
    }

    /// Has the kernels of the loaded program compiled and replaced.
    pub(crate) fn start(self, executable: &Executable) {
        let mut queue = queue();
        let job = |kernel| Job { executable: executable.clone(), kernel, tier: self.tier };
        queue.jobs.extend(self.kernels.into_iter().map(job));
        if !queue.has_thread {
            queue.has_thread = true;
            // SAFETY: the function may run whenever a process ends, and does not unwind.
            unsafe { libc::atexit(close) };
            if let Err(error) = thread::Builder::new().name("nnc-background".to_string()).spawn(work) {
                queue.jobs.clear();
                queue.faults.push(Error::message(format!("no thread for compiling in the background: {error}")));
            }
        }
        CHANGED.notify_all();
    }
}

/// Waits until all that was asked for is compiled and in place.
///
/// # Errors
/// The first fault since the last call. Kernels that could not be compiled keep the code they have.
pub fn wait() -> Result<(), Error> {
    let mut queue = queue();
    while queue.is_busy || !queue.jobs.is_empty() {
        queue = changed(queue);
    }
    std::mem::take(&mut queue.faults).into_iter().next().map_or(Ok(()), Err)
}

/// Number of kernels that are still to be compiled.
pub fn pending() -> usize {
    let queue = queue();
    queue.jobs.len() + usize::from(queue.is_busy)
}

fn work() {
    let mut queue = queue();
    while !queue.is_closed {
        let Some(job) = queue.jobs.pop_front() else {
            queue = changed(queue);
            continue;
        };
        queue.is_busy = true;
        drop(queue);
        let outcome = replace(&job);
        drop(job);
        queue = self::queue();
        queue.is_busy = false;
        queue.faults.extend(outcome.err());
        CHANGED.notify_all();
    }
}

fn replace(job: &Job) -> Result<(), Error> {
    let compile = || emit_cpu(std::slice::from_ref(&job.kernel), job.tier);
    // A broken emitter costs its kernel, not those who wait for the rest.
    let code = catch_unwind(AssertUnwindSafe(compile)).unwrap_or_else(|_| {
        Err(assemble::Error::Emit(EmitError {
            kernel: job.kernel.name.clone(),
            message: "the emitter panicked".to_string(),
        }))
    })?;
    Ok(job.executable.replace(&code)?)
}

/// Lets the thread finish its kernel and begin no other: LLVM takes down its tables when the process ends, under the
/// feet of whoever still compiles.
extern "C" fn close() {
    let mut queue = queue();
    queue.is_closed = true;
    queue.jobs.clear();
    while queue.is_busy {
        queue = changed(queue);
    }
}
