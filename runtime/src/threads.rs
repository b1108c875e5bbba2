//! Runs a list of steps on several threads that all walk the same list.
//!
//! A step is cut into chunks that are fixed by its shape. Every thread taking part in a run goes through the steps in
//! order, takes chunks of the current one until none are left, and goes on when all chunks of it are done. Which
//! thread runs which chunk is left to chance, what a chunk computes is not, so results do not depend on the number of
//! threads.
//!
//! The calling thread always takes part and needs nobody else: a worker that comes late, or never, finds its chunks
//! taken. Workers spin for [`SPIN`] after a run before they sleep, so that runs in quick succession, the steps of a
//! training loop, start in a fraction of a microsecond; waking a sleeping thread takes many.
//!
//! [`progress`] counts chunks; this module owns the threads and the gate through which they enter and leave a run.

mod progress;

use std::cell::UnsafeCell;
use std::hint;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::*};
use std::sync::{Arc, Mutex, OnceLock, Weak};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

pub(crate) use self::progress::Progress;
use crate::error::Error;

/// How long a worker waits for the next run before it sleeps.
const SPIN: Duration = Duration::from_micros(50);

/// A list of steps that can be run in chunks.
///
/// # Safety
/// Different chunks of one step may run at the same time on different threads, each exactly once a run; a step may
/// start when all chunks of the one before it are done. No method unwinds: a run that is left early would leave workers
/// inside it.
pub(crate) unsafe trait Work: Sync {
    /// Number of steps.
    fn n_steps(&self) -> usize;

    /// Number of chunks of a step. Steps of at most one chunk stay on the calling thread.
    fn n_chunks(&self, step: usize) -> u32;

    /// Runs one chunk of a step.
    ///
    /// # Safety
    /// Each chunk runs once a run, after all chunks of the steps before it.
    unsafe fn run_chunk(&self, step: usize, chunk: u32);

    /// Runs all chunks of a step.
    ///
    /// # Safety
    /// As [`Work::run_chunk`].
    unsafe fn run_step(&self, step: usize);
}

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
    pub(crate) unsafe fn run(&self, work: &dyn Work, progress: &mut Progress) {
        let Ok(_busy) = self.busy.try_lock() else {
            // SAFETY: the caller's promise; steps in order, on one thread.
            return (0..work.n_steps()).for_each(|step| unsafe { work.run_step(step) });
        };
        progress.begin();
        let shared = &*self.shared;
        // SAFETY: changes the lifetime only. The gate is closed and nobody is inside, so nobody reads the cell now; and
        // `close` returns when the last reader has left, before `work` and `progress` go.
        unsafe {
            let work = std::mem::transmute::<*const (dyn Work + '_), *const (dyn Work + 'static)>(work);
            *shared.job.get() = Some(Job { work, progress });
        }
        shared.gate.open();
        shared.wake();
        // SAFETY: the caller's promise; rank 0 is the caller's.
        unsafe { progress.take_part(work, 0) };
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
                    (*job.progress).take_part(&*job.work, worker_idx + 1);
                }
                self.gate.leave();
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
