//! Training: one compiled function for a whole step.
//!
//! Forward, loss, backward and optimizer are traced into one function whose parameters and optimizer states are donated:
//! a step reads a batch, updates everything in place, and gives the loss. A step is compiled when it meets a new batch
//! size; parameters move along when the size changes, for example at the last batch of an epoch.

use std::collections::BTreeMap;

use nnc_codegen::assemble::Tier;
use nnc_codegen::target::Target;
use nnc_frontend::array::{ToData, View};
use nnc_frontend::functional;
use nnc_frontend::module::{Forward, Module};
use nnc_frontend::optim::Optimizer;
use nnc_frontend::tensor::Tensor;
use nnc_frontend::trace::trace;
use nnc_ir::bind::{Argument, bind_dims};
use nnc_ir::{DType, Dim, Module as IrModule, ParamKind, Scalar, Shape, TensorData, TensorType};
use nnc_passes::optimizer::{Clip, ParamGroup, StepSpec, train_step};
use nnc_passes::pipeline::OptLevel;
use nnc_runtime::Instance;
use nnc_runtime::program::InputRole;

use crate::compile::Options;
use crate::error::Error;
use crate::jit::{Compilation, compile_cached, dtype_of, read_output};

/// A function of a model's output and a target.
type LossFn = dyn Fn(&Tensor, &Tensor) -> Tensor;

/// A loss: how far an output is from its target, as a scalar.
pub struct Loss(Box<LossFn>);

impl Loss {
    /// A loss of your own.
    pub fn new(loss: impl Fn(&Tensor, &Tensor) -> Tensor + 'static) -> Self {
        Self(Box::new(loss))
    }

    /// Mean cross entropy of logits `[N, C]` against class numbers `[N]`, as `torch.nn.CrossEntropyLoss`.
    pub fn cross_entropy() -> Self {
        Self::new(functional::cross_entropy)
    }

    /// Mean negative log likelihood of log probabilities `[N, C]`, as `torch.nn.NLLLoss`.
    pub fn nll() -> Self {
        Self::new(functional::nll_loss)
    }

    /// Mean squared error, as `torch.nn.MSELoss`.
    pub fn mse() -> Self {
        Self::new(functional::mse_loss)
    }
}

impl std::fmt::Debug for Loss {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Loss")
    }
}

/// What [`Trainer::new`] starts.
pub struct TrainerBuilder<M> {
    model: M,
    loss: Loss,
    optimizer: Optimizer,
    clip: Option<Clip>,
    options: Options,
    threads: usize,
}

impl<M: Module + Forward> TrainerBuilder<M> {
    /// The device to train on: `cpu` unless set.
    #[must_use]
    pub fn target(mut self, target: Target) -> Self {
        self.options.target = target;
        self
    }

    /// Which emitter makes CPU code.
    #[must_use]
    pub fn tier(mut self, tier: Tier) -> Self {
        self.options.tier = tier;
        self
    }

    /// Optimization level, and whether to fuse.
    #[must_use]
    pub fn opt(mut self, opt: OptLevel) -> Self {
        self.options.opt = opt;
        self
    }

    /// Scales all gradients of a step so that their Euclidean norm is at most `max_norm`:
    /// `torch.nn.utils.clip_grad_norm_`. See [`TrainerBuilder::clip`] for its other arguments.
    #[must_use]
    pub fn clip_grad_norm(self, max_norm: f64) -> Self {
        self.clip(Clip::norm(max_norm))
    }

    /// Limits every element of every gradient to `-clip_value..=clip_value`: `torch.nn.utils.clip_grad_value_`.
    #[must_use]
    pub fn clip_grad_value(self, clip_value: f64) -> Self {
        self.clip(Clip::value(clip_value))
    }

    /// Limits the gradients before the optimizer sees them.
    #[must_use]
    pub fn clip(mut self, clip: Clip) -> Self {
        self.clip = Some(clip);
        self
    }

    /// Runs on at most this many threads; 0 is one a core. Any number gives the same bits.
    #[must_use]
    pub fn threads(mut self, threads: usize) -> Self {
        self.threads = threads;
        self
    }

    /// The trainer. Nothing is compiled before the first step, which brings the shapes.
    ///
    /// # Errors
    /// Settings of the optimizer that contradict each other.
    pub fn build(self) -> Result<Trainer<M>, Error> {
        let Self { model, loss, optimizer, clip, options, threads } = self;
        let groups = optimizer.resolve(&model.named_parameters())?;
        let groups = groups.into_iter().map(|group| ParamGroup {
            optimizer: group.optimizer,
            params: group.params,
            schedules_momentum: false,
        });
        let spec = StepSpec { groups: groups.collect(), clip };
        let lr = spec.inputs().into_iter().map(|(_, lr)| lr).collect();
        let (training, evaluation) = (Phase::default(), Phase::default());
        Ok(Trainer { model, loss, spec, lr, options, threads, training, evaluation, compilations: Vec::new() })
    }
}

/// Element types and shapes of a batch's tensors.
type Signature = Vec<(DType, Vec<usize>)>;

/// A traced function and its compiled instances.
#[derive(Default)]
struct Phase {
    /// By shapes without the batch, which is symbolic.
    traced: BTreeMap<Signature, IrModule>,
    instances: BTreeMap<Signature, Instance>,
    /// The instance that holds the current state.
    current: Option<Signature>,
}

impl Phase {
    fn current_instance(&mut self) -> Option<&mut Instance> {
        self.instances.get_mut(self.current.as_ref()?)
    }

    fn current_ref(&self) -> Option<&Instance> {
        self.instances.get(self.current.as_ref()?)
    }
}

/// Trains a model.
///
/// See the [crate's example](crate). The model's parameters are those it was built with; training happens in the
/// compiled step's own copies, and [`Trainer::sync`] writes them back to the model.
pub struct Trainer<M> {
    model: M,
    loss: Loss,
    spec: StepSpec,
    /// By parameter group, the learning rate of the next step.
    lr: Vec<f64>,
    options: Options,
    threads: usize,
    training: Phase,
    evaluation: Phase,
    compilations: Vec<Compilation>,
}

impl<M: Module + Forward> Trainer<M> {
    /// Starts to describe the training of `model`.
    #[expect(clippy::new_ret_no_self, reason = "the builder is the way to a trainer")]
    pub fn new(model: M, loss: Loss, optimizer: impl Into<Optimizer>) -> TrainerBuilder<M> {
        let (optimizer, options) = (optimizer.into(), Options::default());
        TrainerBuilder { model, loss, optimizer, clip: None, options, threads: 0 }
    }

    /// The model. Its parameters are those of the last [`Trainer::sync`].
    pub fn model(&self) -> &M {
        &self.model
    }

    /// The learning rate of the next step (of the first parameter group).
    pub fn lr(&self) -> f64 {
        self.lr[0]
    }

    /// The learning rates of the next step, one a parameter group.
    pub fn lrs(&self) -> &[f64] {
        &self.lr
    }

    /// Sets the learning rate of all parameter groups from the next step on. Nothing is compiled again.
    pub fn set_lr(&mut self, lr: f64) {
        self.lr.fill(lr);
    }

    /// Sets the learning rates from the next step on, one a parameter group. Nothing is compiled again.
    ///
    /// # Errors
    /// If there are not as many as groups.
    pub fn set_lrs(&mut self, lrs: &[f64]) -> Result<(), Error> {
        if lrs.len() != self.lr.len() {
            let message =
                format!("found {} learning rates, expected one for each of {} groups", lrs.len(), self.lr.len());
            return Err(Error::message(message));
        }
        self.lr.copy_from_slice(lrs);
        Ok(())
    }

    /// Every compilation so far: one for each batch shape of training and of evaluation.
    pub fn compilations(&self) -> &[Compilation] {
        &self.compilations
    }

    /// One step on a batch: the loss before the update.
    ///
    /// # Errors
    /// Faults of the model or the loss with their source lines, parameters without a path to the loss, shapes that do
    /// not fit, and whatever compiling reports.
    pub fn step(&mut self, x: &dyn ToData, y: &dyn ToData) -> Result<f64, Error> {
        with_views([x, y], |batch| {
            if !self.training.current.as_ref().is_some_and(|key| fits(key, batch)) {
                self.enter_training(batch)?;
            }
            let instance = self.training.current_instance().expect("the batch's instance was just entered");
            for (group, &lr) in self.lr.iter().enumerate().skip(1) {
                instance.write(StepSpec::learning_rate(group).as_str(), &(lr as f32).to_le_bytes())?;
            }
            let lr = (self.lr[0] as f32).to_le_bytes();
            instance.run_with(&[("x", batch[0].bytes), ("y", batch[1].bytes), ("lr", &lr)])?;
            let loss = read_scalar(instance, 0)?;
            // Evaluation's copies of the parameters are stale from here on.
            self.evaluation.current = None;
            Ok(loss)
        })
    }

    /// The model's output for a batch, in evaluation mode.
    ///
    /// # Errors
    /// As for [`Trainer::step`].
    pub fn predict(&mut self, x: &dyn ToData) -> Result<TensorData, Error> {
        with_views([x], |batch| read_output(self.evaluate_batch(batch)?, 0))
    }

    /// The model's output and the loss for a batch, in evaluation mode; nothing is updated.
    ///
    /// # Errors
    /// As for [`Trainer::step`].
    pub fn evaluate(&mut self, x: &dyn ToData, y: &dyn ToData) -> Result<(TensorData, f64), Error> {
        with_views([x, y], |batch| {
            let instance = self.evaluate_batch(batch)?;
            let loss = read_scalar(instance, 1)?;
            Ok((read_output(instance, 0)?, loss))
        })
    }

    /// Writes the trained parameters back to the model and gives the model.
    ///
    /// # Errors
    /// The device's own.
    pub fn sync(&mut self) -> Result<&M, Error> {
        if let Some(instance) = self.training.current_ref() {
            for (name, parameter) in self.model.named_parameters() {
                if let Ok(bytes) = instance.input(name.as_str()) {
                    let ty = parameter.ty();
                    let shape = ty.shape.as_fixed().unwrap_or_default();
                    parameter.set(TensorData::new(ty.dtype, shape, bytes.to_vec()))?;
                }
            }
            for (name, buffer) in self.model.named_buffers() {
                if let Ok(bytes) = instance.input(name.as_str()) {
                    let ty = buffer.ty();
                    let shape = ty.shape.as_fixed().unwrap_or_default();
                    buffer.set(TensorData::new(ty.dtype, shape, bytes.to_vec()))?;
                }
            }
        }
        Ok(&self.model)
    }

    /// The training step as a function of symbolic batch size, with its first weights, for saving or compiling ahead
    /// of time. `x` and `y` are a batch whose shapes, but for the batch, it is traced with.
    ///
    /// # Errors
    /// As for [`Trainer::step`].
    pub fn step_module(&mut self, x: &dyn ToData, y: &dyn ToData) -> Result<IrModule, Error> {
        with_views([x, y], |batch| self.trace_step(batch))
    }

    fn trace_step(&mut self, batch: &[View<'_>]) -> Result<IrModule, Error> {
        self.model.train();
        let module = trace("train_step", |t| {
            t.bind(&self.model);
            let x = t.input("x", batch_type(&batch[0]));
            let y = t.input("y", batch_type(&batch[1]));
            let loss = (self.loss.0)(&self.model.forward(&x), &y);
            t.output("loss", loss);
        })?;
        let mut spec = self.spec.clone();
        for group in &mut spec.groups {
            // Frozen parameters and those the model does not use are in no step.
            let func = &module.funcs[0];
            let is_param = |name: &String| func.params.iter().any(|p| p.kind == ParamKind::Param && p.name == *name);
            group.params.retain(is_param);
        }
        let func = train_step(&module.funcs[0], 0, spec)?;
        Ok(IrModule { funcs: vec![func], weights: module.weights })
    }

    /// Makes the instance for batches like this one current, with the state of the one before.
    fn enter_training(&mut self, batch: &[View<'_>]) -> Result<(), Error> {
        let key = signature(batch, 0);
        if !self.training.instances.contains_key(&key) {
            let trace_key = signature(batch, 1);
            if !self.training.traced.contains_key(&trace_key) {
                let module = self.trace_step(batch)?;
                self.training.traced.insert(trace_key.clone(), module);
            }
            let module = &self.training.traced[&trace_key];
            let instance = self.compile_instance(module, batch)?;
            self.training.instances.insert(key.clone(), instance.0);
            self.compilations.push(instance.1);
        }
        if let Some(previous) = self.training.current.replace(key.clone()) {
            let states = read_states(&self.training.instances[&previous])?;
            write_states(self.training.instances.get_mut(&key).expect("it exists"), &states)?;
        }
        Ok(())
    }

    fn compile_instance(&self, module: &IrModule, batch: &[View<'_>]) -> Result<(Instance, Compilation), Error> {
        let func = &module.funcs[0];
        let mut arguments = Vec::new();
        for (param, &value) in func.params.iter().zip(func.graph.params()) {
            if param.kind != ParamKind::Input {
                continue;
            }
            let view = match param.name.as_str() {
                "x" => batch.first(),
                "y" => batch.get(1),
                name if name == "lr" || name.starts_with("lr.") => {
                    Some(&View { dtype: DType::F32, shape: &[], bytes: &[] })
                }
                _ => None,
            };
            let Some(view) = view else {
                return Err(Error::message(format!("the model declares an input `{}` of its own", param.name)));
            };
            let expected = func.graph.ty(value);
            arguments.push(Argument { name: &param.name, expected, dtype: view.dtype, shape: view.shape });
        }
        let dims = bind_dims(&arguments, &self.options.dims)?;
        let options = Options { dims, ..self.options.clone() };
        let (executable, compilation) = compile_cached(func, &module.weights, &options)?;
        Ok((executable.instance(self.threads)?, compilation))
    }

    /// Runs the forward function on a batch with the current parameters; with a target, the loss too.
    fn evaluate_batch(&mut self, batch: &[View<'_>]) -> Result<&Instance, Error> {
        let key = signature(batch, 0);
        if !self.evaluation.instances.contains_key(&key) {
            let trace_key = signature(batch, 1);
            if !self.evaluation.traced.contains_key(&trace_key) {
                self.model.eval();
                let traced = trace("evaluate", |t| {
                    t.bind(&self.model);
                    let x = t.input("x", batch_type(&batch[0]));
                    let output = self.model.forward(&x);
                    if let Some(target) = batch.get(1) {
                        let y = t.input("y", batch_type(target));
                        let loss = (self.loss.0)(&output, &y);
                        t.output("output", output);
                        t.output("loss", loss);
                    } else {
                        t.output("output", output);
                    }
                });
                self.model.train();
                self.evaluation.traced.insert(trace_key.clone(), traced?);
            }
            let module = &self.evaluation.traced[&trace_key];
            let (instance, compilation) = self.compile_instance(module, batch)?;
            self.compilations.push(compilation);
            self.evaluation.instances.insert(key.clone(), instance);
            self.evaluation.current = None;
        }
        if self.evaluation.current.as_ref() != Some(&key) {
            if let Some(training) = self.training.current_ref() {
                let states = read_states(training)?;
                write_states(self.evaluation.instances.get_mut(&key).expect("it exists"), &states)?;
            }
            self.evaluation.current = Some(key.clone());
        }
        let instance = self.evaluation.instances.get_mut(&key).expect("it exists");
        match batch {
            [x, y] => instance.run_with(&[("x", x.bytes), ("y", y.bytes)])?,
            _ => instance.run_with(&[("x", batch[0].bytes)])?,
        }
        Ok(instance)
    }
}

/// Calls `body` with the data where it lies, or with dense copies.
fn with_views<const N: usize, T>(data: [&dyn ToData; N], body: impl FnOnce(&[View<'_>; N]) -> T) -> T {
    let copies = data.map(|data| data.view().is_none().then(|| data.to_data()));
    let view = |idx: usize| match &copies[idx] {
        Some(copy) => copy.view().expect("tensor data is dense"),
        None => data[idx].view().expect("the data had a view"),
    };
    body(&std::array::from_fn(view))
}

/// Whether a batch has exactly these element types and shapes.
fn fits(key: &Signature, batch: &[View<'_>]) -> bool {
    key.len() == batch.len()
        && key.iter().zip(batch).all(|((dtype, shape), view)| *dtype == view.dtype && *shape == view.shape)
}

/// Element types and shapes of a batch, from dimension `from` on.
fn signature(batch: &[View<'_>], from: usize) -> Signature {
    batch.iter().map(|view| (view.dtype, view.shape.get(from..).unwrap_or_default().to_vec())).collect()
}

/// The type of a batch with a symbol for the number of samples.
fn batch_type(view: &View<'_>) -> TensorType {
    let dims = view.shape.iter().enumerate().map(|(idx, &extent)| match idx {
        0 => Dim::symbol("N"),
        _ => Dim::from(extent),
    });
    TensorType { dtype: view.dtype, shape: Shape(dims.collect()) }
}

/// A scalar output of any element type.
fn read_scalar(instance: &Instance, idx: usize) -> Result<f64, Error> {
    let dtype = dtype_of(instance.program().outputs[idx].spec.elem);
    Ok(Scalar::read(dtype, instance.output(idx)?).to_f64())
}

/// State inputs by name.
fn read_states(instance: &Instance) -> Result<Vec<(String, Vec<u8>)>, Error> {
    let states = instance.program().inputs.iter().filter(|input| input.role == InputRole::State);
    states.map(|input| Ok((input.name.clone(), instance.input(input.name.as_str())?.to_vec()))).collect()
}

/// Writes the states that the instance has too.
fn write_states(instance: &mut Instance, states: &[(String, Vec<u8>)]) -> Result<(), Error> {
    for (name, bytes) in states {
        if instance.input_index(name.as_str()).is_ok() {
            instance.write(name.as_str(), bytes)?;
        }
    }
    Ok(())
}
