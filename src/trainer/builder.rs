//! What a trainer is made from.

use nnc_codegen::assemble::Tier;
use nnc_codegen::target::Target;
use nnc_frontend::module::{Forward, Module};
use nnc_frontend::optim::Optimizer;
use nnc_passes::optimizer::{Clip, ParamGroup, StepSpec};
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
    pub(super) options: Options,
    pub(super) threads: usize,
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
        let (training, evaluation, momentum) = (Phase::default(), Phase::default(), Vec::new());
        let compilations = Vec::new();
        Ok(Trainer { model, loss, spec, lr, momentum, options, threads, training, evaluation, compilations })
    }
}
