//! Normalization with running statistics: `BatchNorm1d`, `2d`, `3d` and `InstanceNorm1d`, `2d`, `3d`.

use nnc_ir::{DType, Scalar, TensorData};

use crate::functional::{self, Momentum, Running};
use crate::module::{Forward, Module, python_bool, python_float};
use crate::parameter::{Buffer, Parameter, Training};
use crate::tensor::{Tensor, ToTensor, fault, live};

/// Layers of one shape: a scale and a shift, and running statistics, both optional.
macro_rules! running_norms {
    ($(
        $(#[doc = $doc:literal])*
        $name:ident { affine: $affine:literal, track_running_stats: $track:literal } => $function:ident, $ranks:expr;
    )*) => {
        $(
            $(#[doc = $doc])*
            #[derive(Clone, Debug, Module)]
            #[module(
                repr = "{}, eps={}, momentum={}, affine={}, bias={}, track_running_stats={}",
                self.num_features,
                python_float(self.eps),
                self.momentum.map_or_else(|| "None".to_string(), python_float),
                python_bool(self.weight.is_some()),
                python_bool(self.bias.is_some()),
                python_bool(self.running_mean.is_some())
            )]
            pub struct $name {
                /// Number of channels.
                pub num_features: usize,
                /// Added to the variance.
                pub eps: f64,
                /// How far running statistics move at each batch; `None` makes them the mean of all batches.
                pub momentum: Option<f64>,
                /// Scale of each channel, `[C]`; starts as ones.
                pub weight: Option<Parameter>,
                /// Shift of each channel, `[C]`; starts as zeros.
                pub bias: Option<Parameter>,
                /// Mean of each channel, `[C]`; starts as zeros.
                pub running_mean: Option<Buffer>,
                /// Unbiased variance of each channel, `[C]`; starts as ones.
                pub running_var: Option<Buffer>,
                /// Number of batches seen in training, `i64[]`.
                pub num_batches_tracked: Option<Buffer>,
                training: Training,
            }

            impl $name {
                /// The layer with PyTorch's defaults: `eps` 1e-5, momentum 0.1.
                #[track_caller]
                pub fn new(num_features: usize) -> Self {
                    let layer = Self {
                        num_features,
                        eps: 1e-5,
                        momentum: Some(0.1),
                        weight: None,
                        bias: None,
                        running_mean: None,
                        running_var: None,
                        num_batches_tracked: None,
                        training: Training::default(),
                    };
                    layer.affine($affine).track_running_stats($track)
                }

                /// What is added to the variance.
                #[must_use]
                pub fn eps(mut self, eps: f64) -> Self {
                    self.eps = eps;
                    self
                }

                /// How far running statistics move at each batch; `None` makes them the mean of all batches.
                #[must_use]
                pub fn momentum(mut self, momentum: impl Into<Option<f64>>) -> Self {
                    self.momentum = momentum.into();
                    self
                }

                /// Whether the layer has a scale and a shift.
                #[must_use]
                #[track_caller]
                pub fn affine(mut self, affine: bool) -> Self {
                    self.weight = affine.then(|| Parameter::new(Tensor::ones([self.num_features])));
                    self.bias = affine.then(|| Parameter::new(Tensor::zeros([self.num_features])));
                    self
                }

                /// Whether a layer with a scale has a shift too.
                #[must_use]
                #[track_caller]
                pub fn bias(mut self, bias: bool) -> Self {
                    let wanted = bias && self.weight.is_some();
                    self.bias = wanted.then(|| Parameter::new(Tensor::zeros([self.num_features])));
                    self
                }

                /// Whether the layer keeps running statistics, which it normalizes by in evaluation mode.
                #[must_use]
                #[track_caller]
                pub fn track_running_stats(mut self, track_running_stats: bool) -> Self {
                    self.running_mean = track_running_stats.then(|| splat(self.num_features, 0.0));
                    self.running_var = track_running_stats.then(|| splat(self.num_features, 1.0));
                    self.num_batches_tracked = track_running_stats
                        .then(|| Buffer::from_data(TensorData::from_scalars(DType::I64, vec![], [Scalar::zero(DType::I64)])));
                    self
                }

                fn parts(&self) -> Parts<'_> {
                    let running = self.running_mean.as_ref().zip(self.running_var.as_ref());
                    Parts {
                        running: running.map(|(mean, var)| Running { mean, var }),
                        num_batches_tracked: self.num_batches_tracked.as_ref(),
                        weight: self.weight.as_ref().map(|weight| weight as &dyn ToTensor),
                        bias: self.bias.as_ref().map(|bias| bias as &dyn ToTensor),
                        training: self.training.get(),
                        momentum: self.momentum,
                        eps: self.eps,
                    }
                }
            }

            impl Forward for $name {
                #[track_caller]
                fn forward(&self, x: &Tensor) -> Tensor {
                    let ty = live!(x);
                    let ranks: &[usize] = &$ranks;
                    if !ranks.contains(&ty.rank()) {
                        let expected: Vec<String> = ranks.iter().map(usize::to_string).collect();
                        return fault(format!(
                            "{}: the input is {ty}, expected {} dimensions",
                            stringify!($name),
                            expected.join(" or ")
                        ));
                    }
                    $function(&self.parts(), x, ranks)
                }
            }
        )*
    };
}

#[track_caller]
fn splat(n: usize, value: f64) -> Buffer {
    Buffer::from_data(TensorData::from_doubles(DType::F32, vec![n], vec![value; n]))
}

/// What a forward pass needs of any of the layers.
struct Parts<'a> {
    running: Option<Running<'a>>,
    num_batches_tracked: Option<&'a Buffer>,
    weight: Option<&'a dyn ToTensor>,
    bias: Option<&'a dyn ToTensor>,
    training: bool,
    momentum: Option<f64>,
    eps: f64,
}

#[track_caller]
fn batch_norm(parts: &Parts<'_>, x: &Tensor, _: &[usize]) -> Tensor {
    let momentum = match parts.num_batches_tracked {
        Some(tracked) if parts.training => {
            let n_batches = tracked.tensor() + 1;
            tracked.update(&n_batches);
            match parts.momentum {
                Some(momentum) => Momentum::Fixed(momentum),
                None => Momentum::Cumulative(1.0 / n_batches.float()),
            }
        }
        _ => Momentum::Fixed(0.0),
    };
    let Parts { running, weight, bias, training, eps, .. } = *parts;
    functional::batch_norm_by("batch_norm", x, running, weight, bias, training, momentum, eps)
}

#[track_caller]
fn instance_norm(parts: &Parts<'_>, x: &Tensor, ranks: &[usize]) -> Tensor {
    // Of the two ranks the lower one has no batch.
    let single = x.rank() == ranks[0];
    let batch = if single { x.unsqueeze(0) } else { x.clone() };
    let use_input_stats = parts.training || parts.running.is_none();
    let momentum = parts.momentum.unwrap_or(0.0);
    let Parts { running, weight, bias, eps, .. } = *parts;
    let y = functional::instance_norm(&batch, running, weight, bias, use_input_stats, momentum, eps);
    if single { y.squeeze(0) } else { y }
}

running_norms! {
    /// Normalizes each channel of `[N, C]` or `[N, C, L]` over the batch and positions, then scales and shifts it.
    ///
    /// In training the statistics are the batch's, and the running ones move toward them; in evaluation mode the running
    /// ones are used.
    ///
    /// ```
    /// use nnc_frontend::prelude::*;
    ///
    /// let layer = BatchNorm1d::new(4);
    /// assert_eq!(
    ///     layer.to_string(),
    ///     "BatchNorm1d(4, eps=1e-05, momentum=0.1, affine=True, bias=True, track_running_stats=True)"
    /// );
    /// let y = layer.forward(&(Tensor::rand([1, 4, 4]) * 20.0 + 5.0));
    /// assert!(y.mean(..).item()?.abs() < 1e-6);
    /// assert_eq!(layer.num_batches_tracked.as_ref().unwrap().data().get(0).to_f64(), 1.0);
    /// # Ok::<(), Diagnostic>(())
    /// ```
    BatchNorm1d { affine: true, track_running_stats: true } => batch_norm, [2, 3];
    /// [`BatchNorm1d`] for images `[N, C, H, W]`.
    BatchNorm2d { affine: true, track_running_stats: true } => batch_norm, [4];
    /// [`BatchNorm1d`] for volumes `[N, C, D, H, W]`.
    BatchNorm3d { affine: true, track_running_stats: true } => batch_norm, [5];
    /// Normalizes each channel of each example of `[N, C, L]` or `[C, L]` over its positions. By default without scale,
    /// shift and running statistics.
    InstanceNorm1d { affine: false, track_running_stats: false } => instance_norm, [2, 3];
    /// [`InstanceNorm1d`] for images `[N, C, H, W]` or `[C, H, W]`.
    InstanceNorm2d { affine: false, track_running_stats: false } => instance_norm, [3, 4];
    /// [`InstanceNorm1d`] for volumes `[N, C, D, H, W]` or `[C, D, H, W]`.
    InstanceNorm3d { affine: false, track_running_stats: false } => instance_norm, [4, 5];
}
