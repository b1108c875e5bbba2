//! Runs the steps of a program on several threads that go through them together.
//!
//! A launch is cut into chunks that are fixed by its shape. Every thread taking part in a run goes through the launches
//! in order, takes chunks of the current one until none are left, and goes on when all chunks of it are done. Which
//! thread runs which chunk is left to chance, what a chunk computes is not, so results do not depend on the number of
//! threads. Where it depends on a condition what comes next, the calling thread looks and tells the others.
//!
//! The calling thread always takes part and needs nobody else: a worker that comes late, or never, finds its chunks
//! taken. Workers spin for [`SPIN`] after a run before they sleep, so that runs in quick succession, the steps of a
//! training loop, start in a fraction of a microsecond; waking a sleeping thread takes many.
//!
//! [`parts`] says what threads do together, [`counters`] counts chunks, [`progress`] is a run; this module owns the
//! threads and the gate through which they enter and leave a run.

mod counters;
mod parts;
mod progress;

use std::cell::UnsafeCell;
use std::hint;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::*};
use std::sync::{Arc, Mutex, OnceLock, Weak};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use self::progress::Alone;
pub(crate) use self::progress::Progress;
use crate::error::Error;
use crate::program::{Iterations, Step, walk_part};

/// How long a worker waits for the next run before it sleeps.
const SPIN: Duration = Duration::from_micros(50);

/// Steps whose launches can be run in chunks.
///
/// # Safety
/// Different chunks of one launch may run at the same time on different threads, each exactly once an execution; a step
/// may start when all chunks of the one before it are done. No method unwinds: a run that is left early would leave
/// workers inside it.
pub(crate) unsafe trait Work: Sync {
    /// The steps, of a validated program.
    fn steps(&self) -> &[Step];

    /// Number of chunks of a launch. Launches of at most one chunk stay on the calling thread.
    fn n_chunks(&self, launch: usize) -> u32;

    /// The arguments of a launch in the given iterations, for thread `rank`; they stand until that thread binds again.
    ///
    /// # Safety
    /// One thread at a time uses a rank, and rank 0 is the calling thread's.
    unsafe fn bind(&self, rank: usize, launch: usize, iterations: &Iterations) -> Args;

    /// Runs one chunk of a launch.
    ///
    /// # Safety
    /// Each chunk runs once an execution, after all chunks of the steps before it, over arguments bound for it.
    unsafe fn run_chunk(&self, launch: usize, args: Args, chunk: u32);

    /// Runs all chunks of a launch on the calling thread.
    ///
    /// # Safety
    /// As [`Work::run_chunk`].
    unsafe fn run_launch(&self, launch: usize, iterations: &Iterations);

    /// The condition of the step at `position`.
    ///
    /// # Safety
    /// What it is computed by is done.
    unsafe fn condition(&self, position: usize, iterations: &Iterations) -> bool;

    /// Runs the steps at `positions`, in `depth` loops, on the calling thread.
    ///
    /// # Safety
    /// The steps before are done.
    unsafe fn run_part(&self, positions: Range<usize>, depth: usize, iterations: &mut Iterations);
}

/// Runs steps on the calling thread: what [`Work::run_part`] does.
///
/// # Safety
/// The steps before are done.
pub(crate) unsafe fn run_alone<W: Work>(work: &W, positions: Range<usize>, depth: usize, iterations: &mut Iterations) {
    let Ok(()) = walk_part(work.steps(), positions, depth, iterations, &mut Alone(work));
}

/// Pointers to the buffers of a launch.
pub(crate) type Args = *const *mut u8;

/// A calling thread and its workers.
#[derive(Debug)]
pub(crate) struct Team {
    shared: Arc<Shared>,
    /// Held by the run in progress.
    busy: Mutex<()>,
    /// Owns the worker threads; each executes [`Shared::work`] for as long as the team lives.
    _pool: rayon::ThreadPool,
}

/// What a worker needs to know of a run.
#[derive(Clone, Copy)]
struct Job {
    work: *const dyn Work,
    progress: *const Progress,
    /// What had been published before the run.
    published: u64,
}

/// State of the team that workers see.
#[derive(Debug)]
struct Shared {
    gate: Gate,
    /// The run in progress. Written only while the gate is closed and nobody is inside; read only from inside.
    job: UnsafeCell<Option<Job>>,
    workers: Box<[Worker]>,
    shutdown: AtomicBool,
}

impl std::fmt::Debug for Job {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Job")
    }
}

// SAFETY: `job` is the only field that is not `Sync` by itself, and the gate orders all access to it: the caller
// writes it when nobody is inside, opens the gate (release), and a worker reads it after entering (acquire). `Work`
// and `Progress` are `Sync`, and the caller keeps both alive until everybody has left.
unsafe impl Sync for Shared {}
// SAFETY: as above.
unsafe impl Send for Shared {}

/// A worker as its waker sees it.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Worker {
    /// Set before the worker sleeps.
    asleep: AtomicBool,
    thread: OnceLock<Thread>,
}

/// Lets workers into a run and tells when all have left, in one word: bit 0 is set while the run is open, bits 1 to 15
/// count the workers inside, the rest numbers the runs.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Gate(AtomicU64);

impl Gate {
    const OPEN: u64 = 1;
    const ONE: u64 = 2;
    const INSIDE: u64 = 0xfffe;
    const RUN: u64 = 0x1_0000;

    /// Opens the next run. Only the caller does, when the gate is closed and nobody is inside.
    fn open(&self) {
        let next = (self.0.load(Relaxed) & !(Self::RUN - 1)).wrapping_add(Self::RUN) | Self::OPEN;
        // Sequentially consistent with `Worker::asleep`, see `Shared::wait`.
        self.0.store(next, SeqCst);
    }

    /// Closes the run and waits until everybody has left.
    fn close(&self) {
        let mut word = self.0.fetch_and(!Self::OPEN, AcqRel);
        let mut spins = Spins::default();
        while word & Self::INSIDE != 0 {
            spins.wait();
            // Acquire: what the workers did comes before what the caller does next.
            word = self.0.load(Acquire);
        }
    }

    /// Whether a run is open that is not number `seen`; its number.
    fn is_open(&self, seen: u64, order: std::sync::atomic::Ordering) -> Option<u64> {
        let word = self.0.load(order);
        (word & Self::OPEN != 0 && word / Self::RUN != seen).then_some(word / Self::RUN)
    }

    /// Whether the current run takes nobody in any more: everything is done.
    fn is_closed(&self) -> bool {
        self.0.load(Relaxed) & Self::OPEN == 0
    }

    /// Enters run `run` if it is still open.
    fn enter(&self, run: u64) -> bool {
        let enter = |word: u64| (word & Self::OPEN != 0 && word / Self::RUN == run).then_some(word + Self::ONE);
        self.0.fetch_update(Acquire, Relaxed, enter).is_ok()
    }

    /// Leaves the run.
    fn leave(&self) {
        self.0.fetch_sub(Self::ONE, Release);
    }
}

/// A busy wait that gives its time slice away now and then, so that a thread without a core gets on.
#[derive(Default)]
struct Spins(u32);

impl Spins {
    fn wait(&mut self) {
        self.0 = self.0.wrapping_add(1);
        if self.0.is_multiple_of(512) {
            thread::yield_now();
        } else {
            hint::spin_loop();
        }
    }
}

impl Team {
    /// The most threads a team can have: what the gate can count.
    const MAX_THREADS: usize = 1024;

    /// The team of `threads` threads, the calling one included. Teams of one size share their workers.
    ///
    /// # Errors
    /// [`Error::Threads`] where the system gives no threads.
    pub(crate) fn of(threads: usize) -> Result<Arc<Team>, Error> {
        static TEAMS: Mutex<Vec<(usize, Weak<Team>)>> = Mutex::new(Vec::new());
        let threads = threads.clamp(1, Self::MAX_THREADS);
        let mut teams = TEAMS.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        teams.retain(|(_, team)| team.strong_count() > 0);
        let existing = teams.iter().find(|(size, _)| *size == threads).and_then(|(_, team)| team.upgrade());
        if let Some(team) = existing {
            return Ok(team);
        }
        let team = Arc::new(Team::start(threads)?);
        teams.push((threads, Arc::downgrade(&team)));
        Ok(team)
    }

    fn start(threads: usize) -> Result<Team, Error> {
        let n_workers = threads - 1;
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(n_workers.max(1))
            .thread_name(|idx| format!("nnc-worker-{idx}"))
            .build()
            .map_err(|source| Error::Threads { threads, source })?;
        let shared = Arc::new(Shared {
            gate: Gate::default(),
            job: UnsafeCell::new(None),
            workers: (0..n_workers).map(|_| Worker::default()).collect(),
            shutdown: AtomicBool::new(false),
        });
        if n_workers > 0 {
            let shared = Arc::clone(&shared);
            pool.spawn_broadcast(move |context| shared.work(context.index()));
        }
        // A thread allocates while it starts, and no run may.
        while shared.workers.iter().any(|worker| worker.thread.get().is_none()) {
            thread::yield_now();
        }
        Ok(Team { shared, busy: Mutex::new(()), _pool: pool })
    }

    /// Number of threads, the calling one included.
    pub(crate) fn threads(&self) -> usize {
        self.shared.workers.len() + 1
    }

    /// Runs all steps of `work` and returns when they are done. Allocates nothing.
    ///
    /// Where the team is busy with another thread's run, this one is done by the calling thread alone.
    ///
    /// # Safety
    /// The steps may run now, and `progress` was made for this work.
    pub(crate) unsafe fn run<W: Work>(&self, work: &W, progress: &mut Progress) {
        let work: &dyn Work = work;
        let Ok(_busy) = self.busy.try_lock() else {
            // SAFETY: the caller's promise; steps in order, on one thread.
            unsafe { work.run_part(0..work.steps().len(), 0, &mut Iterations::default()) };
            return;
        };
        let shared = &*self.shared;
        // SAFETY: changes the lifetime only. The gate is closed and nobody is inside, so nobody reads the cell now; and
        // `close` returns when the last reader has left, before `work` and `progress` go.
        unsafe {
            let work = std::mem::transmute::<*const (dyn Work + '_), *const (dyn Work + 'static)>(work);
            *shared.job.get() = Some(Job { work, progress, published: progress.n_published() });
        }
        shared.gate.open();
        shared.wake();
        // SAFETY: the caller's promise; the team is busy with this run alone.
        unsafe { progress.lead(work) };
        shared.gate.close();
    }
}

impl Drop for Team {
    fn drop(&mut self) {
        self.shared.shutdown.store(true, SeqCst);
        self.shared.wake();
    }
}

impl Shared {
    /// Wakes the workers that sleep.
    fn wake(&self) {
        for worker in &self.workers {
            if worker.asleep.load(SeqCst)
                && let Some(thread) = worker.thread.get()
            {
                thread.unpark();
            }
        }
    }

    /// A worker's life.
    fn work(&self, worker_idx: usize) {
        let worker = &self.workers[worker_idx];
        worker.thread.get_or_init(thread::current);
        let mut seen = 0;
        while let Some(run) = self.wait(worker, seen) {
            seen = run;
            if self.gate.enter(run) {
                // SAFETY: inside the gate the cell is not written, and the caller keeps the job alive.
                unsafe {
                    let job = (*self.job.get()).expect("an open gate has a job");
                    self.take_part(job, worker_idx + 1);
                }
                self.gate.leave();
            }
        }
    }

    /// Takes part in a run as worker `rank`, in every segment that is published before the run closes.
    ///
    /// # Safety
    /// Inside the gate, as the only thread of this rank.
    unsafe fn take_part(&self, job: Job, rank: usize) {
        // SAFETY: the caller keeps both alive until everybody has left.
        let (progress, work) = unsafe { (&*job.progress, &*job.work) };
        let mut seen = job.published;
        let mut spins = Spins::default();
        loop {
            if let Some(publication) = progress.next(seen) {
                // SAFETY: the caller's promise, and the job's counters are those of its work.
                match unsafe { progress.follow(work, rank, publication) } {
                    Some(sequence) => (seen, spins) = (sequence, Spins::default()),
                    None => return,
                }
            } else if self.gate.is_closed() {
                return;
            } else {
                spins.wait();
            }
        }
    }

    /// Waits for a run after number `seen`; `None` at shutdown.
    fn wait(&self, worker: &Worker, seen: u64) -> Option<u64> {
        let start = Instant::now();
        loop {
            // Checking the clock costs more than checking the gate.
            for _ in 0..64 {
                if let Some(run) = self.gate.is_open(seen, Relaxed) {
                    return Some(run);
                }
                hint::spin_loop();
            }
            if self.shutdown.load(Relaxed) {
                return None;
            }
            if start.elapsed() < SPIN {
                continue;
            }
            // Either this sees the gate that `run` opened before it looked at `asleep`, or `run` sees `asleep`: all
            // four accesses are sequentially consistent. An unpark that comes before the park is kept by the thread.
            worker.asleep.store(true, SeqCst);
            let nothing_to_do = self.gate.is_open(seen, SeqCst).is_none() && !self.shutdown.load(SeqCst);
            if nothing_to_do {
                thread::park();
            }
            worker.asleep.store(false, Relaxed);
        }
    }
}

#[cfg(test)]
mod tests;
