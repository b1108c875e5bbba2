//! Gradient coverage: each way in which a parameter can miss the loss, and the whole text of the faults.

use nnc_ir::builder::Built;
use nnc_ir::{Builder, DType, Diagnostic, Func, FuncParam, FuncResult, Graph, Location, ParamKind, TensorType, Value};
use nnc_passes::autodiff::{trainable, value_and_grad};

/// A function of `f32[4]` parameters, declared at lines 1, 2, ... of `model.rs`; what `build` makes starts at line 10.
/// Its result, summed if it has dimensions, is the loss.
fn func(names: &[&str], build: impl Fn(&mut Lines<'_>, &[Value]) -> Built) -> Func {
    let mut graph = Graph::new();
    let params: Vec<Value> = (1..=names.len() as u32)
        .map(|line| graph.param(TensorType::new(DType::F32, [4]), Location::at("model.rs", line, 5)))
        .collect();
    let mut lines = Lines { b: Builder::new(&mut graph, Location::unknown()), next: 10 };
    let result = build(&mut lines, &params).expect("the test function is well typed");
    lines.next = 90;
    let dims: Vec<usize> = (0..lines.b.shape(result).rank()).collect();
    let loss = lines.at().reduce_sum(result, &dims).expect("a number");
    graph.set_results(vec![loss]);
    Func {
        name: "f".to_string(),
        params: names
            .iter()
            .map(|name| FuncParam { name: name.to_string(), kind: ParamKind::Param, weight: None })
            .collect(),
        results: vec![FuncResult { name: "loss".to_string(), donates: None }],
        graph,
    }
}

/// A builder that puts every node on a line of its own.
struct Lines<'g> {
    b: Builder<'g>,
    next: u32,
}

impl<'g> Lines<'g> {
    /// The builder at the next line.
    fn at(&mut self) -> &mut Builder<'g> {
        self.b.set_location(Location::at("model.rs", self.next, 9));
        self.next += 1;
        &mut self.b
    }
}

fn faults(func: &Func) -> String {
    let faults = value_and_grad(func, &trainable(func), 0).expect_err("a parameter misses the loss");
    faults.iter().map(Diagnostic::to_string).collect::<Vec<_>>().join("\n")
}

#[test]
fn every_parameter_that_is_cut_off_is_named_with_op_and_places() {
    let func = func(&["rounded", "masked", "chosen", "fine"], |l, p| {
        let rounded = l.at().round_nearest_even(p[0])?;
        let mask = l.at().gt(p[1], p[3])?;
        let number = l.at().convert(mask, DType::F32)?;
        let best = l.at().argmax(p[2], &[0])?;
        let best = l.at().convert(best, DType::F32)?;
        let best = l.at().broadcast_scalar(best, [4])?;
        let sum = l.at().add(rounded, number)?;
        let sum = l.at().add(sum, best)?;
        l.at().multiply(sum, p[3])
    });
    assert_eq!(
        faults(&func),
        "model.rs:10:9: parameter `rounded` gets no gradient: `round_nearest_even` cuts its path to the loss, as its \
         derivative is zero everywhere\n  \
           note: model.rs:1:5: parameter `rounded` is declared here\n  \
           note: apply stop_gradient (`detach`) on the way if no gradient is wanted\n\
         model.rs:11:9: parameter `masked` gets no gradient: `compare` cuts its path to the loss, as its result is a \
         truth value\n  \
           note: model.rs:2:5: parameter `masked` is declared here\n  \
           note: apply stop_gradient (`detach`) on the way if no gradient is wanted\n\
         model.rs:13:9: parameter `chosen` gets no gradient: `reduce` cuts its path to the loss, as an index has no \
         derivative\n  \
           note: model.rs:3:5: parameter `chosen` is declared here\n  \
           note: apply stop_gradient (`detach`) on the way if no gradient is wanted"
    );
}

#[test]
fn a_parameter_that_leads_nowhere_is_named() {
    let func = func(&["used", "dropped", "forgotten"], |l, p| {
        l.at().exponential(p[1])?;
        l.at().sine(p[0])
    });
    assert_eq!(
        faults(&func),
        "model.rs:2:5: parameter `dropped` gets no gradient: nothing computed from it reaches the loss\n  \
           note: model.rs:10:9: its last use is this `exponential`\n  \
           note: model.rs:90:9: the loss is computed here\n\
         model.rs:3:5: parameter `forgotten` gets no gradient: it is never used\n  \
           note: model.rs:90:9: the loss is computed here"
    );
}

#[test]
fn every_cut_path_is_named() {
    let func = func(&["w"], |l, p| {
        let double = l.at().add(p[0], p[0])?;
        let floor = l.at().floor(double)?;
        let sign = l.at().sign(p[0])?;
        // Not on a path of its own: what comes in has no gradient already.
        let ceil = l.at().ceil(sign)?;
        l.at().add(floor, ceil)
    });
    assert_eq!(
        faults(&func),
        "model.rs:11:9: parameter `w` gets no gradient: `floor` cuts its path to the loss, as its derivative is zero \
         everywhere\n  \
           note: model.rs:12:9: another path is cut by `sign`, as its derivative is zero everywhere\n  \
           note: model.rs:1:5: parameter `w` is declared here\n  \
           note: apply stop_gradient (`detach`) on the way if no gradient is wanted"
    );
}

#[test]
fn one_differentiable_path_is_enough() {
    let func = func(&["w"], |l, p| {
        let floor = l.at().floor(p[0])?;
        l.at().multiply(floor, p[0])
    });
    let with_gradient = value_and_grad(&func, &[0], 0).expect("a path is left");
    assert_eq!(with_gradient.results[1].name, "w");
}

#[test]
fn stopping_every_path_is_no_fault_and_gives_zeros() {
    let func = func(&["frozen", "w"], |l, p| {
        let stopped = l.at().stop_gradient(p[0])?;
        let floor = l.at().floor(stopped)?;
        l.at().multiply(floor, p[1])
    });
    let with_gradient = value_and_grad(&func, &[0, 1], 0).expect("the user opted out");
    let zeros = with_gradient.graph.def_op(with_gradient.graph.results()[1]);
    let nnc_ir::Op::Constant(constant) = zeros else {
        panic!("found {zeros:?}, expected a constant");
    };
    assert_eq!(constant.splat_value().map(nnc_ir::Scalar::to_f64), Some(0.0));
}

#[test]
fn a_cut_path_beside_a_stopped_one_is_a_fault() {
    let func = func(&["w"], |l, p| {
        let stopped = l.at().stop_gradient(p[0])?;
        let floor = l.at().floor(p[0])?;
        l.at().add(stopped, floor)
    });
    assert!(faults(&func).starts_with("model.rs:11:9: parameter `w` gets no gradient: `floor` cuts"));
}

#[test]
fn requests_that_make_no_sense_are_refused() {
    let mut func = func(&["w"], |l, p| l.at().sine(p[0]));
    let message =
        |func: &Func, wrt: &[usize], loss| value_and_grad(func, wrt, loss).expect_err("refused")[0].to_string();
    assert_eq!(message(&func, &[0], 3), "function `f` has 1 results, none at position 3");
    assert_eq!(message(&func, &[7], 0), "function `f` has 1 parameters, none at position 7");
    let wave = func.graph.def(func.graph.results()[0]).operands[0];
    func.graph.set_results(vec![wave]);
    assert_eq!(
        message(&func, &[0], 0),
        "model.rs:10:9: result `loss` has type f32[4], expected a floating-point scalar such as f32[] to differentiate"
    );
}
