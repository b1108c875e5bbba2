use std::sync::atomic::AtomicU32;

use super::*;
use crate::program::{Address, Place, Visitor, walk};

/// Launches that record how often each chunk ran, and check that they ran in order.
struct Recorder {
    steps: Vec<Step>,
    chunks: Vec<Vec<AtomicU32>>,
    /// Every launch of a run with its iterations, in order, and the chunks finished before it.
    expected: Vec<(usize, Iterations, u64)>,
    /// Runs of each launch in one run.
    per_run: Vec<u32>,
    /// Chunks of all launches of one run.
    total: u64,
    /// Chunks finished in all launches and runs.
    finished: AtomicU64,
    runs: AtomicU64,
    main: thread::ThreadId,
    /// Nanoseconds a chunk takes.
    delay: u64,
}

/// The condition of step `position` in the tests: branches go by turns, loops end after a few iterations.
fn holds(steps: &[Step], position: usize, iterations: &Iterations) -> bool {
    let numbers: u64 = iterations.numbers().iter().sum();
    match steps[position] {
        Step::Branch { .. } => numbers.is_multiple_of(2),
        _ => numbers < 5,
    }
}

/// Lists what a run does.
struct Lister<'s>(&'s [Step], Vec<(usize, Iterations)>);

impl Visitor for Lister<'_> {
    type Stop = std::convert::Infallible;

    fn launch(&mut self, launch: usize, iterations: &Iterations) -> Result<(), Self::Stop> {
        self.1.push((launch, *iterations));
        Ok(())
    }

    fn condition(&mut self, position: usize, _: &Address, iterations: &Iterations) -> Result<bool, Self::Stop> {
        Ok(holds(self.0, position, iterations))
    }
}

impl Recorder {
    fn new(n_chunks: &[u32], delay: u64) -> Recorder {
        Self::of(Step::sequence(n_chunks.len()), n_chunks, delay)
    }

    fn of(steps: Vec<Step>, n_chunks: &[u32], delay: u64) -> Recorder {
        let mut lister = Lister(&steps, Vec::new());
        let Ok(()) = walk(&steps, &mut lister);
        let launches = lister.1;
        let (mut expected, mut per_run, mut total) = (Vec::new(), vec![0; n_chunks.len()], 0);
        for (launch, iterations) in launches {
            expected.push((launch, iterations, total));
            per_run[launch] += 1;
            total += u64::from(n_chunks[launch]);
        }
        Recorder {
            steps,
            chunks: n_chunks.iter().map(|&n| (0..n).map(|_| AtomicU32::new(0)).collect()).collect(),
            expected,
            per_run,
            total,
            finished: AtomicU64::new(0),
            runs: AtomicU64::new(0),
            main: thread::current().id(),
            delay,
        }
    }

    /// Runs once and checks that every chunk ran as often as it should.
    fn check(&self, team: &Team, progress: &mut Progress) {
        // SAFETY: the recorder's chunks are independent.
        unsafe { team.run(self, progress) };
        let runs = self.runs.fetch_add(1, SeqCst) + 1;
        assert_eq!(self.finished.load(SeqCst), runs * self.total);
        for (launch, chunks) in self.chunks.iter().enumerate() {
            for count in chunks {
                assert_eq!(u64::from(count.load(SeqCst)), runs * u64::from(self.per_run[launch]), "launch {launch}");
            }
        }
    }
}

// SAFETY: all state is atomic.
unsafe impl Work for Recorder {
    fn steps(&self) -> &[Step] {
        &self.steps
    }

    fn n_chunks(&self, launch: usize) -> u32 {
        self.chunks[launch].len() as u32
    }

    unsafe fn bind(&self, _: usize, launch: usize, iterations: &Iterations) -> Args {
        // The number of the launch among all of the run, in place of a pointer.
        let same = |(of, at, _): &(usize, Iterations, u64)| *of == launch && at == iterations;
        let matches: Vec<usize> = (0..self.expected.len()).filter(|&idx| same(&self.expected[idx])).collect();
        let finished = self.finished.load(SeqCst) - self.runs.load(SeqCst) * self.total;
        // Loops that ran before leave their numbers behind; the last one begun is meant.
        let current = matches.iter().rev().find(|&&idx| self.expected[idx].2 <= finished);
        std::ptr::without_provenance(*current.unwrap_or_else(|| panic!("launch {launch} at {iterations:?}")))
    }

    unsafe fn run_chunk(&self, launch: usize, args: Args, chunk: u32) {
        let finished = self.finished.load(SeqCst) - self.runs.load(SeqCst) * self.total;
        let before = self.expected[args.addr()].2;
        let n_chunks = u64::from(self.n_chunks(launch));
        assert!((before..before + n_chunks).contains(&finished), "launch {launch} started after {finished} chunks");
        let start = Instant::now();
        while start.elapsed() < Duration::from_nanos(self.delay) {
            hint::spin_loop();
        }
        self.chunks[launch][chunk as usize].fetch_add(1, SeqCst);
        self.finished.fetch_add(1, SeqCst);
    }

    unsafe fn run_launch(&self, launch: usize, iterations: &Iterations) {
        if self.chunks[launch].len() == 1 {
            assert_eq!(thread::current().id(), self.main, "launches of one chunk stay on the calling thread");
        }
        for chunk in 0..self.n_chunks(launch) {
            // SAFETY: the caller's promise.
            unsafe { self.run_chunk(launch, self.bind(0, launch, iterations), chunk) };
        }
    }

    unsafe fn condition(&self, position: usize, iterations: &Iterations) -> bool {
        assert_eq!(thread::current().id(), self.main, "conditions are read by the calling thread");
        holds(&self.steps, position, iterations)
    }

    unsafe fn run_part(&self, positions: Range<usize>, depth: usize, iterations: &mut Iterations) {
        // SAFETY: the caller's promise.
        unsafe { run_alone(self, positions, depth, iterations) }
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

#[test]
fn loops_and_branches_keep_their_order() {
    let condition = || Address::from(Place::Input(0));
    let launch = Step::Launch;
    let repeat = |trips, body| Step::Loop { trips, body };
    let branch = |on_true, on_false| Step::Branch { condition: condition(), on_true, on_false };
    let repeat_while = |head, body| Step::While { condition: condition(), head, body };
    let programs: Vec<(Vec<Step>, &[u32])> = vec![
        (vec![repeat(9, 2), launch(0), launch(1), launch(2)], &[4, 1, 3]),
        (vec![repeat(9, 2), launch(0), launch(1), launch(2)], &[1, 1, 5]),
        (vec![repeat(0, 1), launch(0), repeat(1, 1), launch(1)], &[6, 6]),
        (vec![repeat(3, 4), launch(0), repeat(4, 2), launch(1), launch(2)], &[2, 1, 3]),
        (vec![launch(0), branch(1, 2), launch(1), launch(2), launch(3), launch(4)], &[3, 4, 1, 2, 5]),
        (vec![repeat(5, 4), launch(0), branch(1, 1), launch(1), launch(2), launch(3)], &[3, 4, 1, 2]),
        (vec![repeat(5, 4), launch(0), branch(1, 1), launch(1), launch(2), launch(3)], &[3, 1, 1, 2]),
        (vec![launch(0), repeat_while(1, 2), launch(1), launch(2), launch(3), launch(4)], &[3, 1, 4, 2, 1]),
        (vec![repeat(3, 5), repeat_while(0, 4), repeat(2, 3), branch(1, 0), launch(0), launch(1)], &[5, 2]),
        (vec![repeat_while(0, 1), launch(0), launch(1)], &[1, 1]),
    ];
    for threads in [1, 2, 3, 8] {
        let team = Team::of(threads).expect("a few threads");
        for (steps, n_chunks) in &programs {
            for delay in [0, 300] {
                let recorder = Recorder::of(steps.clone(), n_chunks, delay);
                let mut progress = Progress::new(&recorder, team.threads());
                for _ in 0..50 {
                    recorder.check(&team, &mut progress);
                }
            }
        }
    }
}
