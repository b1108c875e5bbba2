//! Training: one compiled function for a whole step.
//!
//! Forward, loss, backward and optimizer are traced into one function whose parameters and optimizer states are donated:
//! a step reads a batch, updates everything in place, and gives the loss. A step is compiled when it meets a new batch
//! size; parameters move along when the size changes, for example at the last batch of an epoch.

use nnc_frontend::array::{ToData, View};
use nnc_frontend::data::Loader;
use nnc_frontend::module::{Forward, Module};
use nnc_frontend::optim::Optimizer;
use nnc_frontend::random::with_seed;
use nnc_frontend::trace::trace;
use nnc_ir::bind::{Argument, bind_dims};
use nnc_ir::{DType, Module as IrModule, ParamKind, TensorData};
use nnc_passes::autocast::autocast;
use nnc_passes::optimizer::{Clip, GRAD_NORM, StepSpec, train_step};
use nnc_runtime::Instance;

use crate::compile::Options;
use crate::error::Error;
use crate::jit::{Compilation, compile_cached, read_output};

mod builder;
mod callback;
mod checkpoint;
mod fit;
mod history;
mod loss;
pub mod metrics;
mod monitor;
mod onnx;
mod phase;
mod plot;
mod state;

pub use builder::TrainerBuilder;
pub use callback::{Callback, FitContext};
use checkpoint::States;
pub use checkpoint::{Checkpoint, Checkpoints};
pub use fit::{Fit, Pace, Pair};
pub use history::{EpochRecord, History};
pub use loss::Loss;
pub use metrics::Metric;
pub use monitor::{EarlyStopping, Mode};
use phase::{Phase, batch_type, by_ref, fits, read_scalar, read_states, signature, with_views, write_states};

/// Name of the result that is the model's output.
const OUTPUT: &str = "output";

/// Trains a model.
///
/// See the [crate's example](crate). The model's parameters are those it was built with; training happens in the
/// compiled step's own copies, and [`Trainer::sync`] writes them back to the model.
pub struct Trainer<M> {
    model: M,
    loss: Loss,
    spec: StepSpec,
    /// What contractions are computed in, if not in the model's own precision.
    autocast: Option<DType>,
    /// By parameter group, the learning rate of the next step.
    lr: Vec<f64>,
    /// By parameter group, the momentum of the next step, if it is scheduled.
    momentum: Vec<f64>,
    options: Options,
    threads: usize,
    /// Whether a step gives the model's output too.
    keeps_output: bool,
    /// What random states of traced functions start from.
    seed: u64,
    /// Steps taken.
    n_steps: u64,
    /// A restored state, until an instance exists that can hold it.
    pending: Option<Checkpoint>,
    training: Phase,
    evaluation: Phase,
    compilations: Vec<Compilation>,
}

impl<M: Module + Forward> Trainer<M> {
    /// Starts to describe the training of `model`.
    #[expect(clippy::new_ret_no_self, reason = "the builder is the way to a trainer")]
    pub fn new(model: M, loss: impl Into<Loss>, optimizer: impl Into<Optimizer>) -> TrainerBuilder<M> {
        TrainerBuilder {
            model,
            loss: loss.into(),
            optimizer: optimizer.into(),
            clip: None,
            autocast: None,
            loss_scaling: None,
            options: Options::default(),
            threads: 0,
            keeps_output: false,
        }
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

    /// Sets the momenta (of the family of Adam, the first betas) from the next step on, one a parameter group, for
    /// schedules such as one-cycle. Called before the first step it makes them inputs of the step; then nothing is
    /// compiled again.
    ///
    /// # Errors
    /// If there are not as many as groups, an optimizer has no momentum, or steps were taken without.
    pub fn set_momenta(&mut self, momenta: &[f64]) -> Result<(), Error> {
        if momenta.len() != self.lr.len() {
            let message = format!("found {} momenta, expected one for each of {} groups", momenta.len(), self.lr.len());
            return Err(Error::message(message));
        }
        if self.momentum.is_empty() {
            if !self.training.traced.is_empty() {
                return Err(Error::message("the momentum has to be scheduled from the first step on"));
            }
            let mut spec = self.spec.clone();
            spec.groups.iter_mut().for_each(|group| group.schedules_momentum = true);
            spec.check()?;
            self.spec = spec;
        }
        self.momentum = momenta.to_vec();
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
            for (group, &momentum) in self.momentum.iter().enumerate() {
                instance.write(StepSpec::momentum(group).as_str(), &(momentum as f32).to_le_bytes())?;
            }
            let lr = (self.lr[0] as f32).to_le_bytes();
            instance.run_with(&[("x", batch[0].bytes), ("y", batch[1].bytes), ("lr", &lr)])?;
            let loss = read_scalar(instance, 0)?;
            self.n_steps += 1;
            if let Some(Clip::Norm { error_if_nonfinite: true, .. }) = self.spec.clip {
                let norm = read_scalar(instance, instance.output_index(GRAD_NORM)?)?;
                if !norm.is_finite() {
                    let message = format!("the norm of the gradients is {norm}; the step was not taken");
                    return Err(Error::message(message));
                }
            }
            // Evaluation's copies of the parameters are stale from here on.
            self.evaluation.current = None;
            Ok(loss)
        })
    }

    /// Steps taken since training began, those before a restored checkpoint included.
    pub fn n_steps(&self) -> u64 {
        self.n_steps
    }

    /// The norm of all gradients of the last step, before clipping: there is one if they are clipped by norm.
    pub fn grad_norm(&self) -> Option<f64> {
        let instance = self.training.current_ref()?;
        let idx = instance.output_index(GRAD_NORM).ok()?;
        read_scalar(instance, idx).ok()
    }

    /// The model's output in the last step, before the update.
    ///
    /// # Errors
    /// If there was no step, or the trainer was not built to [keep outputs](TrainerBuilder::keep_output).
    pub fn last_output(&self) -> Result<TensorData, Error> {
        if !self.keeps_output {
            return Err(Error::message("outputs of steps are not kept; build the trainer with `keep_output(true)`"));
        }
        match self.training.current_ref() {
            Some(instance) => read_output(instance, instance.output_index(OUTPUT)?),
            None => Err(Error::message("there was no step that could have an output")),
        }
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

    /// Trains on the batches of a loader, epoch by epoch, with everything that belongs to that: validation, metrics,
    /// learning-rate schedules, early stopping, checkpoints, a progress bar, a plot of the loss.
    ///
    /// ```
    /// use nnc::prelude::*;
    /// use nnc::trainer::{EarlyStopping, metrics::Accuracy};
    ///
    /// # fn main() -> Result<(), nnc::Error> {
    /// # let (x, y) = (ndarray::Array2::<f32>::ones((40, 4)), ndarray::Array1::<i64>::zeros(40));
    /// let parts = random_split(TensorDataset::new(x, y), [0.8, 0.2], 0)?;
    /// let train = DataLoader::new(parts[0].clone()).batch_size(8).shuffle(true);
    /// let valid = DataLoader::new(parts[1].clone()).batch_size(16);
    /// let mut trainer = Trainer::new(Linear::new(4, 3), Loss::cross_entropy(), Sgd::new(0.1)).build()?;
    /// let history = trainer
    ///     .fit(&train)
    ///     .epochs(3)
    ///     .validation(&valid)
    ///     .metric(Accuracy::new())
    ///     .early_stopping(EarlyStopping::new("valid_loss").patience(2))
    ///     .run()?;
    /// assert_eq!(history.last("valid_accuracy"), Some(1.0));
    /// # Ok(())
    /// # }
    /// ```
    pub fn fit<'a, L>(&'a mut self, train: &'a L) -> Fit<'a, M>
    where
        L: Loader,
        L::Batch: Pair + 'static,
    {
        Fit::new(self, train)
    }

    /// The mean loss over all examples of a loader, in evaluation mode; nothing is updated. Metrics are measured anew on the
    /// same outputs.
    ///
    /// # Errors
    /// As for [`Trainer::step`], and what the metrics report.
    pub fn test<L>(&mut self, loader: &L, metrics: &mut [&mut dyn Metric]) -> Result<f64, Error>
    where
        L: Loader,
        L::Batch: Pair + 'static,
    {
        fit::test(self, loader, metrics)
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
        let traced = with_seed(self.seed, || {
            trace("train_step", |t| {
                t.bind(&self.model);
                let x = t.input("x", batch_type(&batch[0]));
                let y = t.input("y", batch_type(&batch[1]));
                let output = self.model.forward(&x);
                t.output("loss", (self.loss.0)(&output, &y));
                if self.keeps_output {
                    t.output(OUTPUT, output);
                }
            })
        });
        let module = self.cast(traced?)?;
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

    /// The functions in the precision that was asked for.
    fn cast(&self, module: IrModule) -> Result<IrModule, Error> {
        let Some(dtype) = self.autocast else { return Ok(module) };
        let funcs = module.funcs.iter().map(|func| autocast(func, dtype)).collect::<Result<_, _>>()?;
        Ok(IrModule { funcs, ..module })
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
        if let Some(checkpoint) = &self.pending {
            let instance = self.training.instances.get_mut(&key).expect("it exists");
            state::write_checkpoint(instance, checkpoint)?;
            self.pending = None;
            self.training.current = Some(key);
        } else if let Some(previous) = self.training.current.replace(key.clone()) {
            let states = read_states(&self.training.instances[&previous])?;
            write_states(self.training.instances.get_mut(&key).expect("it exists"), by_ref(&states))?;
        }
        Ok(())
    }

    fn compile_instance(&self, module: &IrModule, batch: &[View<'_>]) -> Result<(Instance, Compilation), Error> {
        let func = &module.funcs[0];
        let rates = self.spec.inputs();
        let mut arguments = Vec::new();
        for (param, &value) in func.params.iter().zip(func.graph.params()) {
            if param.kind != ParamKind::Input {
                continue;
            }
            let view = match param.name.as_str() {
                "x" => batch.first(),
                "y" => batch.get(1),
                name if rates.iter().any(|(rate, _)| rate == name) => {
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
                let traced = with_seed(self.seed, || {
                    trace("evaluate", |t| {
                        t.bind(&self.model);
                        let x = t.input("x", batch_type(&batch[0]));
                        let output = self.model.forward(&x);
                        let loss = batch.get(1).map(|target| {
                            let y = t.input("y", batch_type(target));
                            (self.loss.0)(&output, &y)
                        });
                        t.output(OUTPUT, output);
                        if let Some(loss) = loss {
                            t.output("loss", loss);
                        }
                    })
                });
                self.model.train();
                let traced = self.cast(traced?)?;
                self.evaluation.traced.insert(trace_key.clone(), traced);
            }
            let module = &self.evaluation.traced[&trace_key];
            let (instance, compilation) = self.compile_instance(module, batch)?;
            self.compilations.push(compilation);
            self.evaluation.instances.insert(key.clone(), instance);
            self.evaluation.current = None;
        }
        if self.evaluation.current.as_ref() != Some(&key) {
            let instance = self.evaluation.instances.get_mut(&key).expect("it exists");
            if let Some(training) = self.training.current_ref() {
                write_states(instance, by_ref(&read_states(training)?))?;
            } else if let Some(checkpoint) = &self.pending {
                write_states(instance, checkpoint.states().map(|(name, data)| (name, &data.bytes[..])))?;
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
