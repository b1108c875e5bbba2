use std::sync::atomic::AtomicU32;

use super::*;

/// Steps that record how often each chunk ran and in what order steps were seen.
struct Recorder {
    chunks: Vec<Vec<AtomicU32>>,
    /// Chunks finished in all steps and runs.
    finished: AtomicU64,
    /// Chunks that must be finished before a step may start, within one run.
    before: Vec<u64>,
    runs: AtomicU64,
    main: thread::ThreadId,
    /// Nanoseconds a chunk takes.
    delay: u64,
}

impl Recorder {
    fn new(n_chunks: &[u32], delay: u64) -> Recorder {
        let mut before = vec![0];
        for &n in n_chunks {
            before.push(before.last().expect("not empty") + u64::from(n));
        }
        Recorder {
            chunks: n_chunks.iter().map(|&n| (0..n).map(|_| AtomicU32::new(0)).collect()).collect(),
            finished: AtomicU64::new(0),
            before,
            runs: AtomicU64::new(0),
            main: thread::current().id(),
            delay,
        }
    }

    fn total(&self) -> u64 {
        *self.before.last().expect("not empty")
    }

    /// Runs once and checks that every chunk ran once more.
    fn check(&self, team: &Team, progress: &mut Progress) {
        // SAFETY: the recorder's chunks are independent.
        unsafe { team.run(self, progress) };
        let runs = self.runs.fetch_add(1, SeqCst) + 1;
        assert_eq!(self.finished.load(SeqCst), runs * self.total());
        for count in self.chunks.iter().flatten() {
            assert_eq!(u64::from(count.load(SeqCst)), runs);
        }
    }
}

// SAFETY: all state is atomic.
unsafe impl Work for Recorder {
    fn n_steps(&self) -> usize {
        self.chunks.len()
    }

    fn n_chunks(&self, step: usize) -> u32 {
        self.chunks[step].len() as u32
    }

    unsafe fn run_chunk(&self, step: usize, chunk: u32) {
        let finished = self.finished.load(SeqCst) - self.runs.load(SeqCst) * self.total();
        assert!(finished >= self.before[step], "step {step} started after {finished} chunks");
        assert!(finished < self.before[step + 1], "step {step} started after {finished} chunks");
        let start = Instant::now();
        while start.elapsed() < Duration::from_nanos(self.delay) {
            hint::spin_loop();
        }
        self.chunks[step][chunk as usize].fetch_add(1, SeqCst);
        self.finished.fetch_add(1, SeqCst);
    }

    unsafe fn run_step(&self, step: usize) {
        if self.chunks[step].len() == 1 {
            assert_eq!(thread::current().id(), self.main, "steps of one chunk stay on the calling thread");
        }
        for chunk in 0..self.n_chunks(step) {
            // SAFETY: the caller's promise.
            unsafe { self.run_chunk(step, chunk) };
        }
    }
}

#[test]
fn every_chunk_runs_once_a_run_and_steps_keep_their_order() {
    for threads in [1, 2, 3, 8] {
        let team = Team::of(threads).expect("a few threads");
        assert_eq!(team.threads(), threads);
        for n_chunks in [&[][..], &[1], &[0], &[5], &[1, 7, 1, 1, 3, 2], &[64, 1, 64, 0, 9]] {
            let recorder = Recorder::new(n_chunks, 100);
            let mut progress = Progress::new(&recorder, team.threads());
            for _ in 0..50 {
                recorder.check(&team, &mut progress);
            }
        }
    }
}

#[test]
fn sleeping_workers_are_woken_or_done_without() {
    let team = Team::of(3).expect("a few threads");
    let recorder = Recorder::new(&[6, 1, 6], 20_000);
    let mut progress = Progress::new(&recorder, team.threads());
    for pause_us in [0, 20, 60, 200, 2000] {
        thread::sleep(Duration::from_micros(pause_us));
        recorder.check(&team, &mut progress);
    }
}

#[test]
fn teams_of_one_size_are_shared_and_concurrent_runs_get_done() {
    let team = Team::of(5).expect("a few threads");
    assert!(Arc::ptr_eq(&team, &Team::of(5).expect("a few threads")));
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let recorder = Recorder::new(&[1, 8, 8], 500);
                let mut progress = Progress::new(&recorder, team.threads());
                for _ in 0..100 {
                    recorder.check(&team, &mut progress);
                }
            });
        }
    });
}

#[test]
fn workers_end_with_their_team() {
    let team = Team::start(4).expect("a few threads");
    let recorder = Recorder::new(&[16], 1000);
    recorder.check(&team, &mut Progress::new(&recorder, team.threads()));
    let shared = Arc::downgrade(&team.shared);
    drop(team);
    let start = Instant::now();
    while shared.upgrade().is_some() {
        assert!(start.elapsed() < Duration::from_secs(10), "workers outlive their team");
        thread::yield_now();
    }
}
