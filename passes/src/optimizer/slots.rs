//! The parameters that a training step adds to a function: learning rates, and states.

use nnc_ir::{DType, Func, FuncParam, Location, ParamKind, Rewriter, TensorType, Value};
use nnc_optim::formula::{Formula, Term};
use nnc_optim::rule::Group;

use super::spec::StepSpec;
use super::{GROWTH_TRACKER, LOSS_SCALE, STEP};

/// The added parameters.
pub(super) struct Slots {
    /// By group.
    pub(super) groups: Vec<GroupSlots>,
    /// The scale of the loss, and the number of steps since it changed, if it is scaled.
    pub(super) scaler: Option<(Value, Value)>,
    /// The number of finished steps, if anyone counts them.
    pub(super) step: Option<Value>,
    /// By trained parameter: its group, and its states.
    pub(super) params: Vec<(usize, Vec<Value>)>,
}

/// What the parameters of a group share.
#[derive(Default)]
pub(super) struct GroupSlots {
    lr: Option<Value>,
    momentum: Option<Value>,
    pub(super) shared: Vec<Value>,
}

impl GroupSlots {
    /// The group as its updates see it, given the number of the step.
    pub(super) fn terms<'f>(&self, formula: &'f Formula, step: Option<Term<'f>>) -> Group<'f> {
        Group {
            lr: formula.term(self.lr.expect("every group has a learning rate")),
            momentum: self.momentum.map(|momentum| formula.term(momentum).convert(DType::F64)),
            step,
        }
    }
}

/// Declares the slots behind the parameters of `func`, whose graph `rewriter` is about to copy, and gives all
/// parameters of the step.
pub(super) fn declare(
    func: &Func,
    spec: &StepSpec,
    trained: &[usize],
    rewriter: &mut Rewriter<'_>,
) -> (Vec<FuncParam>, Slots) {
    let (forward, mut params) = (rewriter.old(), func.params.clone());
    let mut declare = |name: String, kind: ParamKind, ty: TensorType, location: Location| {
        params.push(FuncParam { name, kind, weight: None });
        rewriter.graph_mut().param(ty, location)
    };
    let mut scalar = |name: String, kind: ParamKind, dtype: DType| {
        declare(name, kind, TensorType::scalar(dtype), Location::unknown())
    };
    let mut groups: Vec<GroupSlots> = spec.groups.iter().map(|_| GroupSlots::default()).collect();
    for (idx, group) in groups.iter_mut().enumerate() {
        group.lr = Some(scalar(StepSpec::learning_rate(idx), ParamKind::Input, DType::F32));
    }
    for (idx, group) in groups.iter_mut().enumerate().filter(|(idx, _)| spec.groups[*idx].schedules_momentum) {
        group.momentum = Some(scalar(StepSpec::momentum(idx), ParamKind::Input, DType::F32));
    }
    let counts_steps = spec.groups.iter().any(|group| group.optimizer.rule().counts_steps());
    let step = counts_steps.then(|| scalar(STEP.to_string(), ParamKind::State, DType::I64));
    let scaler = spec.loss_scaling.map(|_| {
        let scale = scalar(LOSS_SCALE.to_string(), ParamKind::State, DType::F32);
        (scale, scalar(GROWTH_TRACKER.to_string(), ParamKind::State, DType::I32))
    });
    for (idx, group) in groups.iter_mut().enumerate() {
        for state in spec.groups[idx].optimizer.rule().shared_states() {
            let name = if idx == 0 { format!("optimizer.{state}") } else { format!("optimizer.{idx}.{state}") };
            group.shared.push(scalar(name, ParamKind::State, DType::F64));
        }
    }
    let of_params = trained.iter().map(|&param_idx| {
        let (name, param) = (&func.params[param_idx].name, forward.params()[param_idx]);
        let (ty, location) = (forward.ty(param).clone(), forward.def(param).location.clone());
        let group = spec.group_of(name);
        let states = spec.groups[group]
            .optimizer
            .rule()
            .states()
            .into_iter()
            .map(|state| declare(format!("{name}.{state}"), ParamKind::State, ty.clone(), location.clone()));
        (group, states.collect())
    });
    let of_params = of_params.collect();
    (params, Slots { groups, scaler, step, params: of_params })
}
