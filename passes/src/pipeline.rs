//! The pipeline: every pass by name, and the one place that holds their order.
//!
//! ```text
//! verify → inline → erase_markers → (canonicalize → const_fold → cse → control → simplify → dce)*
//!   → block_attention → layout → control → cse → const_fold → panels → cse → const_fold → dce → fuse
//! ```
//!
//! Functions arrive specialized and, for training, differentiated. The parenthesized clean-up runs until nothing
//! changes. After `fuse`, each node that computes is one kernel; memory is then planned.

use std::time::{Duration, Instant};

use nnc_ir::{Diagnostic, Func, Graph};

use crate::remark::Remarks;

/// A pass: a name, what it does, and the function.
pub struct Pass {
    /// Name on the command line.
    pub name: &'static str,
    /// One line for `--help`.
    pub doc: &'static str,
    run: fn(&Func, &mut Remarks) -> Result<Func, Diagnostic>,
}

impl std::fmt::Debug for Pass {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

impl Pass {
    /// The function after the pass.
    ///
    /// # Errors
    /// A rule of the IR that the function breaks; none if it verifies.
    pub fn run(&self, func: &Func, remarks: &mut Remarks) -> Result<Func, Diagnostic> {
        (self.run)(func, remarks)
    }
}

/// Expands the table of passes.
macro_rules! passes {
    ($( $name:ident: $doc:literal, |$func:ident, $remarks:pat_param| $body:expr; )*) => {
        /// Every pass in alphabetical order.
        pub const PASSES: &[Pass] = &[
            $( Pass { name: stringify!($name), doc: $doc, run: |$func, $remarks| $body } ),*
        ];
    };
}

passes! {
    block_attention: "compute wide values of batched contractions a block of the batch at a time",
        |func, remarks| with_graph(func, |graph| {
            crate::block_attention::block_attention(graph, remarks, crate::block_attention::Limits::default())
        });
    canonicalize: "put constants right and operands in order",
        |func, _| with_graph(func, crate::canonicalize::canonicalize);
    const_fold: "compute what depends on constants alone",
        |func, _| with_graph(func, crate::const_fold::const_fold);
    control: "make loops and branches smaller: merge, resolve, hoist, trim",
        |func, remarks| with_graph(func, |graph| crate::control::control(graph, remarks));
    cse: "merge nodes that compute the same",
        |func, _| with_graph(func, |graph| Ok(crate::cse::cse(graph)));
    dce: "remove nodes that no result depends on",
        |func, _| with_graph(func, |graph| Ok(crate::dce::dce(graph)));
    erase_markers: "remove stop_gradient, after differentiation",
        |func, _| with_graph(func, |graph| Ok(crate::inline::erase_markers(graph)));
    fuse: "make one node of what becomes one kernel",
        |func, remarks| crate::fuse::fuse(func, remarks);
    inline: "dissolve fusions into their nodes",
        |func, _| with_graph(func, |graph| Ok(crate::inline::inline(graph)));
    layout: "lay weights that are constant, or the same in each step of a loop, out as contractions read them",
        |func, remarks| {
            let graph = crate::layout::layout(&func.graph, remarks)?;
            Ok(Func { name: func.name.clone(), params: func.params.clone(), results: func.results.clone(), graph })
        };
    panels: "cut large constant weights into panels of columns, for processors",
        |func, remarks| with_graph(func, |graph| crate::panels::panels(graph, remarks));
    simplify: "apply the algebraic rewrite rules",
        |func, _| with_graph(func, crate::simplify::simplify);
    verify: "check every invariant of the IR, and change nothing",
        |func, _| verified(func);
}

/// The function after `run` on its graph and on every region of a loop or branch.
fn with_graph(func: &Func, mut run: impl FnMut(&Graph) -> Result<Graph, Diagnostic>) -> Result<Func, Diagnostic> {
    let graph = crate::regions::bottom_up(&func.graph, &mut run)?;
    Ok(Func { name: func.name.clone(), params: func.params.clone(), results: func.results.clone(), graph })
}

/// The function, if it is valid; the first fault otherwise, with the others as notes.
fn verified(func: &Func) -> Result<Func, Diagnostic> {
    let Err(faults) = func.verify() else { return Ok(func.clone()) };
    let mut faults = faults.into_iter();
    let first = faults.next().expect("a failed check has a fault");
    Err(faults.fold(first, |first, fault| first.note_at(fault.location, fault.message)))
}

/// The pass called `name`.
pub fn pass(name: &str) -> Option<&'static Pass> {
    PASSES.iter().find(|pass| pass.name == name)
}

fn named(name: &'static str) -> &'static Pass {
    pass(name).unwrap_or_else(|| panic!("pass {name} is in the table"))
}

/// A step of the pipeline.
#[derive(Clone, Debug)]
pub enum Step {
    /// One pass, once.
    Once(&'static Pass),
    /// Passes in order, again until none changes anything, or for the given number of rounds.
    Repeat(Vec<&'static Pass>, usize),
}

/// Rounds of the clean-up at most. Every rule makes the graph smaller or moves it toward one form, so that it settles
/// long before; the bound guards against a pair of rules that undo each other.
const MAX_ROUNDS: usize = 8;

/// What [`pipeline`] is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OptLevel {
    /// 0: nothing but what is needed; 1: clean-up once, and fusion; 2 and 3: everything.
    pub level: u8,
    /// Whether to fuse.
    pub fuse: bool,
}

impl Default for OptLevel {
    fn default() -> Self {
        Self { level: 2, fuse: true }
    }
}

/// The order of the passes: the only place that knows it.
pub fn pipeline(opt: OptLevel) -> Vec<Step> {
    let clean_up = ["canonicalize", "const_fold", "cse", "control", "simplify", "dce"].map(named).to_vec();
    let mut steps: Vec<Step> = ["verify", "inline", "erase_markers"].map(named).map(Step::Once).to_vec();
    match opt.level {
        0 => steps.push(Step::Once(named("dce"))),
        1 => steps.push(Step::Repeat(clean_up, 1)),
        _ => {
            steps.push(Step::Repeat(clean_up, MAX_ROUNDS));
            if opt.fuse {
                steps.push(Step::Once(named("block_attention")));
            }
            // No simplification between layout and folding: it would absorb the transposes again. A weight that several
            // contractions read is laid out once: what is made of it is merged before it is folded.
            let layout = ["layout", "control", "cse", "const_fold", "panels", "cse", "const_fold", "dce"];
            steps.extend(layout.map(named).map(Step::Once));
        }
    }
    if opt.fuse && opt.level > 0 {
        steps.push(Step::Once(named("fuse")));
    }
    steps
}

/// How long one run of a pass took, and what it left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timing {
    /// Name of the pass.
    pub pass: &'static str,
    /// Wall-clock time.
    pub duration: Duration,
    /// Nodes before.
    pub nodes_before: usize,
    /// Nodes after.
    pub nodes_after: usize,
}

/// A check of a function, run between passes.
pub type Verifier = fn(&Func) -> Result<(), Vec<Diagnostic>>;

/// Called after a pass, with its name and the function it made.
pub type Observer<'a> = Box<dyn FnMut(&'static str, &Func) + 'a>;

/// Runs passes, times them, and lets the caller look and stop in between.
#[derive(Default)]
pub struct PassManager<'a> {
    /// Called after every pass that runs, with its name and the function it made.
    pub observer: Option<Observer<'a>>,
    /// Stop after the first run of this pass.
    pub stop_after: Option<&'static str>,
    /// Checks the function after each pass.
    pub verify_each: Option<Verifier>,
    /// What the passes decided.
    pub remarks: Remarks,
    timings: Vec<Timing>,
    stopped: bool,
}

impl std::fmt::Debug for PassManager<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PassManager").field("timings", &self.timings).finish_non_exhaustive()
    }
}

impl PassManager<'_> {
    /// A manager that only runs and times.
    pub fn new() -> Self {
        Self::default()
    }

    /// The function after all steps, or after the pass to stop at.
    ///
    /// # Errors
    /// What a pass reports, or, with `verify_each`, the first fault a pass left behind, naming the pass.
    pub fn run(&mut self, func: &Func, steps: &[Step]) -> Result<Func, Diagnostic> {
        let mut func = func.clone();
        for step in steps {
            match step {
                Step::Once(pass) => func = self.run_pass(&func, pass)?,
                Step::Repeat(passes, rounds) => {
                    for _ in 0..*rounds {
                        let before = func.graph.clone();
                        for pass in passes {
                            func = self.run_pass(&func, pass)?;
                        }
                        if self.stopped || func.graph == before {
                            break;
                        }
                    }
                }
            }
        }
        Ok(func)
    }

    fn run_pass(&mut self, func: &Func, pass: &'static Pass) -> Result<Func, Diagnostic> {
        if self.stopped {
            return Ok(func.clone());
        }
        let start = Instant::now();
        let next = pass.run(func, &mut self.remarks)?;
        self.timings.push(Timing {
            pass: pass.name,
            duration: start.elapsed(),
            nodes_before: func.graph.n_nodes(),
            nodes_after: next.graph.n_nodes(),
        });
        if let Some(verify) = self.verify_each
            && let Err(faults) = verify(&next)
        {
            let fault = faults.into_iter().next().expect("a failed check has a fault");
            return Err(fault.note(format!("pass {} left the function invalid", pass.name)));
        }
        if let Some(observer) = &mut self.observer {
            observer(pass.name, &next);
        }
        self.stopped = self.stop_after == Some(pass.name);
        Ok(next)
    }

    /// Every run of a pass, in order.
    pub fn timings(&self) -> &[Timing] {
        &self.timings
    }

    /// Time in all passes.
    pub fn total_time(&self) -> Duration {
        self.timings.iter().map(|timing| timing.duration).sum()
    }
}

/// The function optimized by the default pipeline, and what was decided.
///
/// # Errors
/// A rule of the IR that the function breaks; none if it verifies.
pub fn optimize(func: &Func, opt: OptLevel) -> Result<(Func, Remarks), Diagnostic> {
    let mut manager = PassManager::new();
    let func = manager.run(func, &pipeline(opt))?;
    Ok((func, manager.remarks))
}

#[cfg(test)]
mod tests {
    use nnc_ir::{Builder, DType, FuncParam, FuncResult, Location, Op, ParamKind, TensorType};

    use super::*;

    fn relu_of_double_negation() -> Func {
        let mut graph = Graph::new();
        let x = graph.param(TensorType::new(DType::F32, [4]), Location::unknown());
        let mut b = Builder::new(&mut graph, Location::unknown());
        let once = b.negate(x).unwrap();
        let twice = b.negate(once).unwrap();
        let y = b.exponential(twice).unwrap();
        graph.set_results(vec![y]);
        Func {
            name: "f".to_string(),
            params: vec![FuncParam { name: "x".to_string(), kind: ParamKind::Input, weight: None }],
            results: vec![FuncResult { name: "y".to_string(), donates: None }],
            graph,
        }
    }

    #[test]
    fn passes_are_in_alphabetical_order_and_found_by_name() {
        assert!(PASSES.is_sorted_by(|lhs, rhs| lhs.name < rhs.name));
        assert!(PASSES.iter().all(|listed| pass(listed.name).is_some_and(|found| found.name == listed.name)));
        assert!(pass("nonsense").is_none());
    }

    #[test]
    fn clean_up_runs_until_nothing_changes() {
        let mut manager = PassManager::new();
        let func = manager.run(&relu_of_double_negation(), &pipeline(OptLevel { level: 2, fuse: false })).unwrap();
        assert_eq!(func.graph.n_nodes(), 2);
        assert_eq!(manager.timings().iter().filter(|timing| timing.pass == "simplify").count(), 2);
    }

    #[test]
    fn level_0_changes_nothing_that_is_used() {
        let (func, _) = optimize(&relu_of_double_negation(), OptLevel { level: 0, fuse: false }).unwrap();
        assert_eq!(func, relu_of_double_negation());
    }

    #[test]
    fn an_invalid_function_is_refused() {
        let mut func = relu_of_double_negation();
        func.params.push(func.params[0].clone());
        let fault = optimize(&func, OptLevel::default()).unwrap_err();
        assert!(fault.message.contains("param"), "{fault}");
    }

    #[test]
    fn one_can_look_and_stop() {
        let mut seen = Vec::new();
        let mut manager = PassManager::new();
        manager.stop_after = Some("canonicalize");
        manager.observer = Some(Box::new(|pass, func| seen.push((pass, func.graph.n_nodes()))));
        let func = manager.run(&relu_of_double_negation(), &pipeline(OptLevel::default())).unwrap();
        assert_eq!(func.graph.def_op(func.graph.results()[0]), &Op::Exponential);
        drop(manager);
        assert_eq!(seen, [("verify", 4), ("inline", 4), ("erase_markers", 4), ("canonicalize", 4)]);
    }
}
