//! List scheduling: a topological order of the tasks in which few bytes are live at once.
//!
//! Finding the best order is NP-hard; two are tried and the better one is kept. The order of node ids is that in which
//! the program was written, which is good for caches. The greedy one takes, of the tasks that are ready, the one that
//! leaves the fewest bytes behind: a weight's gradient as soon as it frees an activation.

use std::collections::BTreeSet;

use super::arena::aligned;
use super::bytes_of;
use super::tasks::Tasks;

/// Positions in the task list, in the order of execution.
///
/// # Panics
/// If tasks wait for each other in a circle, which they do not by construction.
pub(super) fn order(tasks: &Tasks<'_>) -> Vec<usize> {
    let by_id = schedule(tasks, |ready, _| *ready.first().expect("some task is ready"));
    let greedy = schedule(tasks, |ready, state| {
        *ready.iter().min_by_key(|&&task| (state.growth(task), task)).expect("some task is ready")
    });
    if peak(tasks, &greedy) < peak(tasks, &by_id) { greedy } else { by_id }
}

fn schedule(tasks: &Tasks<'_>, choose: impl Fn(&BTreeSet<usize>, &State<'_>) -> usize) -> Vec<usize> {
    let n_tasks = tasks.list.len();
    let mut n_waiting: Vec<usize> = (0..n_tasks).map(|task| tasks.waits(task).len()).collect();
    let mut dependents = vec![Vec::new(); n_tasks];
    for task in 0..n_tasks {
        for &wait in tasks.waits(task) {
            dependents[wait].push(task);
        }
    }
    let mut ready: BTreeSet<usize> = (0..n_tasks).filter(|&task| n_waiting[task] == 0).collect();
    let mut state = State::new(tasks);
    let mut order = Vec::with_capacity(n_tasks);
    while !ready.is_empty() {
        let task = choose(&ready, &state);
        ready.remove(&task);
        state.run(task);
        order.push(task);
        for &dependent in &dependents[task] {
            n_waiting[dependent] -= 1;
            if n_waiting[dependent] == 0 {
                ready.insert(dependent);
            }
        }
    }
    assert_eq!(order.len(), n_tasks, "tasks do not wait for each other in a circle");
    order
}

/// Largest number of bytes live at once, with no buffer shared in place.
fn peak(tasks: &Tasks<'_>, order: &[usize]) -> i64 {
    let mut state = State::new(tasks);
    let mut peak = 0;
    for &task in order {
        peak = peak.max(state.live + state.defined(task));
        state.run(task);
    }
    peak
}

/// What is live after a prefix of the order.
struct State<'a> {
    tasks: &'a Tasks<'a>,
    /// Tasks that have yet to read each root.
    n_readers: Vec<usize>,
    live: i64,
}

impl<'a> State<'a> {
    fn new(tasks: &'a Tasks<'a>) -> Self {
        let mut n_readers = vec![0; tasks.graph.n_values()];
        for task in 0..tasks.list.len() {
            for root in tasks.reads(task) {
                n_readers[root.idx()] += 1;
            }
        }
        Self { tasks, n_readers, live: 0 }
    }

    fn bytes(&self, root: nnc_ir::Value) -> i64 {
        if self.tasks.places[root.idx()].is_some() {
            return 0;
        }
        aligned(bytes_of(self.tasks.graph, root)) as i64
    }

    /// Bytes that the task defines.
    fn defined(&self, task: usize) -> i64 {
        self.tasks.defines(task).map(|root| self.bytes(root)).sum()
    }

    /// Bytes live after the task, less those before.
    fn growth(&self, task: usize) -> i64 {
        let freed: i64 = self
            .tasks
            .reads(task)
            .into_iter()
            .filter(|root| self.n_readers[root.idx()] == 1)
            .map(|root| self.bytes(root))
            .sum();
        let unread: i64 =
            self.tasks.defines(task).filter(|root| self.n_readers[root.idx()] == 0).map(|root| self.bytes(root)).sum();
        self.defined(task) - unread - freed
    }

    fn run(&mut self, task: usize) {
        self.live += self.growth(task);
        for root in self.tasks.reads(task) {
            self.n_readers[root.idx()] -= 1;
        }
    }
}
