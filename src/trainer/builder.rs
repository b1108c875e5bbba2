//! What a trainer is made from.

use nnc_codegen::assemble::Tier;
use nnc_codegen::target::Target;
use nnc_frontend::module::{Forward, Module};
use nnc_frontend::optim::Optimizer;
use nnc_frontend::random::next_generator;
use nnc_ir::DType;
use nnc_passes::optimizer::{Clip, LossScaling, ParamGroup, StepSpec};
use nnc_passes::pipeline::OptLevel;

use super::Trainer;
use super::loss::Loss;
use super::phase::Phase;
use crate::compile::Options;
use crate::error::Error;

/// What [`Trainer::new`] starts.
pub struct TrainerBuilder<M> {
    pub(super) model: M,
    pub(super) loss: Loss,
    pub(super) optimizer: Optimizer,
    pub(super) clip: Option<Clip>,
    pub(super) autocast: Option<DType>,
    pub(super) loss_scaling: Option<LossScaling>,
    pub(super) options: Options,
    pub(super) threads: usize,
    pub(super) keeps_output: bool,
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

    /// Which emitter makes better CPU code while training already runs: see [`crate::background`].
    #[must_use]
    pub fn background(mut self, tier: Tier) -> Self {
        self.options.background = Some(tier);
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

    /// Computes contractions and convolutions in `dtype` (`bf16` or `f16`), and what half precision serves badly in `f32`:
    /// `torch.autocast`. Parameters, optimizer states and results stay `f32`. With `f16` the loss is scaled too, as by
    /// `torch.amp.GradScaler` with its defaults; see [`TrainerBuilder::loss_scaling`] for its arguments.
    #[must_use]
    pub fn autocast(mut self, dtype: DType) -> Self {
        self.autocast = Some(dtype);
        self
    }

    /// Scales the loss so that small gradients survive, and leaves out steps whose gradients overflow:
    /// `torch.amp.GradScaler`.
    #[must_use]
    pub fn loss_scaling(mut self, scaling: LossScaling) -> Self {
        self.loss_scaling = Some(scaling);
        self
    }

    /// Runs on at most this many threads; 0 is one a core. Any number gives the same bits.
    #[must_use]
    pub fn threads(mut self, threads: usize) -> Self {
        self.threads = threads;
        self
    }

    /// Whether a step gives the model's output too ([`Trainer::last_output`]), which metrics of training need. That costs
    /// the memory of the output, and it can no longer be fused away.
    #[must_use]
    pub fn keep_output(mut self, keep_output: bool) -> Self {
        self.keeps_output = keep_output;
        self
    }

    /// The trainer. Nothing is compiled before the first step, which brings the shapes.
    ///
    /// # Errors
    /// Settings of the optimizer that contradict each other.
    pub fn build(self) -> Result<Trainer<M>, Error> {
        let Self { model, loss, optimizer, clip, autocast, loss_scaling, options, threads, keeps_output } = self;
        let groups = optimizer.resolve(&model.named_parameters())?;
        let groups = groups.into_iter().map(|group| ParamGroup {
            optimizer: group.optimizer,
            params: group.params,
            schedules_momentum: false,
        });
        let loss_scaling = loss_scaling.or((autocast == Some(DType::F16)).then(LossScaling::default));
        let spec = StepSpec { groups: groups.collect(), clip, loss_scaling };
        spec.check()?;
        if let Some(dtype) = autocast {
            nnc_passes::autocast::check(dtype)?;
        }
        Ok(Trainer {
            lr: spec.inputs().into_iter().map(|(_, lr)| lr).collect(),
            momentum: Vec::new(),
            model,
            loss,
            spec,
            autocast,
            options,
            threads,
            keeps_output,
            // Drawn once, so that tracing, which happens when a batch size is met, changes nothing that is drawn later.
            seed: next_generator().next_u64(),
            n_steps: 0,
            pending: None,
            training: Phase::default(),
            evaluation: Phase::default(),
            compilations: Vec::new(),
        })
    }
}
