//! Initial values: `torch.nn.init`, under its names.
//!
//! Each function overwrites a parameter with numbers from the thread's generator (see
//! [`manual_seed`](crate::random::manual_seed)). Fan-in and fan-out of a weight `[out, in, kernel...]` are `in` and
//! `out` times the extent of the kernel.

use nnc_ir::{DType, Diagnostic, Location, Scalar, TensorData};

use crate::parameter::Parameter;
use crate::random::{Generator, next_generator};

/// Which side of a layer keeps its variance.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FanMode {
    /// The forward pass.
    #[default]
    FanIn,
    /// The backward pass.
    FanOut,
}

/// What follows the layer, for [`calculate_gain`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Nonlinearity {
    /// Nothing, or a sigmoid: gain 1.
    Linear,
    /// `tanh`: 5/3.
    Tanh,
    /// `relu`: √2.
    Relu,
    /// `leaky_relu` of this negative slope: √(2 / (1 + slope²)).
    LeakyRelu(f64),
    /// `selu`: 3/4.
    Selu,
}

/// The factor that keeps variance through a nonlinearity.
pub fn calculate_gain(nonlinearity: Nonlinearity) -> f64 {
    match nonlinearity {
        Nonlinearity::Linear => 1.0,
        Nonlinearity::Tanh => 5.0 / 3.0,
        Nonlinearity::Relu => 2f64.sqrt(),
        Nonlinearity::LeakyRelu(slope) => (2.0 / (1.0 + slope * slope)).sqrt(),
        Nonlinearity::Selu => 0.75,
    }
}

/// Overwrites every element with what `draw` gives.
fn fill(parameter: &Parameter, mut draw: impl FnMut(&mut Generator) -> f64) {
    let mut generator = next_generator();
    let (dtype, shape) = (parameter.dtype(), parameter.shape());
    let scalars = (0..parameter.numel()).map(|_| Scalar::from_f64(dtype, draw(&mut generator)));
    overwrite(parameter, TensorData::from_scalars(dtype, shape, scalars));
}

fn overwrite(parameter: &Parameter, data: TensorData) {
    parameter.set(data).expect("the data have the parameter's type");
}

/// Fan-in and fan-out. A vector counts as one row.
fn fans(parameter: &Parameter) -> (f64, f64) {
    let shape = parameter.shape();
    let kernel: usize = shape.iter().skip(2).product();
    match shape.as_slice() {
        [] => (1.0, 1.0),
        [n] => (*n as f64, *n as f64),
        [fan_out, fan_in, ..] => ((fan_in * kernel) as f64, (fan_out * kernel) as f64),
    }
}

/// Uniform in [`low`, `high`).
pub fn uniform_(parameter: &Parameter, low: f64, high: f64) {
    fill(parameter, |generator| low + (high - low) * generator.uniform());
}

/// Normal.
pub fn normal_(parameter: &Parameter, mean: f64, std: f64) {
    fill(parameter, |generator| mean + std * generator.normal());
}

/// Every element `value`.
pub fn constant_(parameter: &Parameter, value: f64) {
    fill(parameter, |_| value);
}

/// Ones.
pub fn ones_(parameter: &Parameter) {
    constant_(parameter, 1.0);
}

/// Zeros.
pub fn zeros_(parameter: &Parameter) {
    constant_(parameter, 0.0);
}

/// Ones where all indices are equal, zeros elsewhere: the identity for a matrix.
pub fn eye_(parameter: &Parameter) {
    let shape = parameter.shape();
    let mut idx = 0usize;
    fill(parameter, |_| {
        let mut rest = idx;
        idx += 1;
        let mut indices = shape.iter().rev().map(|extent| {
            let index = rest % extent;
            rest /= extent;
            index
        });
        let first = indices.next();
        let equal = indices.all(|index| Some(index) == first);
        f64::from(u8::from(equal))
    });
}

/// The identity of convolutions: each of `groups` groups of output channels passes on as many input channels as it can.
/// The parameter is a kernel `[out, in / groups, space...]` with one to three spatial dimensions.
///
/// # Errors
/// A parameter of another rank, and output channels that `groups` does not divide.
pub fn dirac_(parameter: &Parameter, groups: usize) -> Result<(), Diagnostic> {
    let shape = parameter.shape();
    if !(3..=5).contains(&shape.len()) || groups == 0 || !shape[0].is_multiple_of(groups) {
        return Err(fault(format!(
            "dirac_: the parameter is {}, expected 3 to 5 dimensions, the first of which {groups} groups divide",
            parameter.ty()
        )));
    }
    let per_group = shape[0] / groups;
    let center: usize = shape[2..].iter().fold(0, |idx, extent| idx * extent + extent / 2);
    let kernel: usize = shape[2..].iter().product();
    let mut values = vec![0.0; parameter.numel()];
    for group in 0..groups {
        for channel in 0..per_group.min(shape[1]) {
            values[((group * per_group + channel) * shape[1] + channel) * kernel + center] = 1.0;
        }
    }
    overwrite(parameter, TensorData::from_doubles(parameter.dtype(), shape, values));
    Ok(())
}

/// Normal around 0, with the share `sparsity` of each column zero (Martens, 2010).
///
/// # Errors
/// A parameter that is no matrix, and a share outside [0, 1].
pub fn sparse_(parameter: &Parameter, sparsity: f64, std: f64) -> Result<(), Diagnostic> {
    let shape = parameter.shape();
    let ([n_rows, n_columns], true) = (&shape[..], (0.0..=1.0).contains(&sparsity)) else {
        return Err(fault(format!(
            "sparse_: the parameter is {} and the share of zeros {sparsity}, expected a matrix and a share in [0, 1]",
            parameter.ty()
        )));
    };
    let n_zeros = (sparsity * *n_rows as f64).ceil() as usize;
    let mut generator = next_generator();
    let mut values: Vec<f64> = (0..parameter.numel()).map(|_| std * generator.normal()).collect();
    for column in 0..*n_columns {
        for row in generator.permutation(*n_rows).into_iter().take(n_zeros) {
            values[row * n_columns + column] = 0.0;
        }
    }
    overwrite(parameter, TensorData::from_doubles(parameter.dtype(), shape, values));
    Ok(())
}

fn fault(message: String) -> Diagnostic {
    Diagnostic::new(Location::unknown(), message)
}

/// Normal, drawn again until within [`low`, `high`].
pub fn trunc_normal_(parameter: &Parameter, mean: f64, std: f64, low: f64, high: f64) {
    // Far from the mean, drawing again would not end: the inverse of the distribution function always does.
    let cumulative = |x: f64| 0.5 * (1.0 + erf((x - mean) / (std * std::f64::consts::SQRT_2)));
    let (from, to) = (cumulative(low), cumulative(high));
    fill(parameter, |generator| {
        let p = from + (to - from) * generator.uniform();
        (mean + std * normal_quantile(p)).clamp(low, high)
    });
}

/// Uniform with the variance `gain² · 2 / (fan_in + fan_out)` (Glorot and Bengio).
pub fn xavier_uniform_(parameter: &Parameter, gain: f64) {
    let (fan_in, fan_out) = fans(parameter);
    let bound = gain * (6.0 / (fan_in + fan_out)).sqrt();
    uniform_(parameter, -bound, bound);
}

/// Normal with the variance `gain² · 2 / (fan_in + fan_out)` (Glorot and Bengio).
pub fn xavier_normal_(parameter: &Parameter, gain: f64) {
    let (fan_in, fan_out) = fans(parameter);
    normal_(parameter, 0.0, gain * (2.0 / (fan_in + fan_out)).sqrt());
}

/// Standard deviation that keeps variance through the layer and what follows it (He et al.).
fn kaiming_std(parameter: &Parameter, mode: FanMode, nonlinearity: Nonlinearity) -> f64 {
    let (fan_in, fan_out) = fans(parameter);
    let fan = match mode {
        FanMode::FanIn => fan_in,
        FanMode::FanOut => fan_out,
    };
    if fan == 0.0 { 0.0 } else { calculate_gain(nonlinearity) / fan.sqrt() }
}

/// Uniform with He's variance for a leaky ReLU of slope `a`, fan-in: what `Linear` starts from, with `a` = √5.
pub fn kaiming_uniform_(parameter: &Parameter, a: f64) {
    kaiming_uniform_with(parameter, FanMode::FanIn, Nonlinearity::LeakyRelu(a));
}

/// [`kaiming_uniform_`] for another side or nonlinearity.
pub fn kaiming_uniform_with(parameter: &Parameter, mode: FanMode, nonlinearity: Nonlinearity) {
    let bound = 3f64.sqrt() * kaiming_std(parameter, mode, nonlinearity);
    uniform_(parameter, -bound, bound);
}

/// Normal with He's variance for a leaky ReLU of slope `a`, fan-in.
pub fn kaiming_normal_(parameter: &Parameter, a: f64) {
    kaiming_normal_with(parameter, FanMode::FanIn, Nonlinearity::LeakyRelu(a));
}

/// [`kaiming_normal_`] for another side or nonlinearity.
pub fn kaiming_normal_with(parameter: &Parameter, mode: FanMode, nonlinearity: Nonlinearity) {
    let std = kaiming_std(parameter, mode, nonlinearity);
    normal_(parameter, 0.0, std);
}

/// A random matrix with orthonormal rows (or columns, whichever are fewer) times `gain`; dimensions after the first
/// count as columns. A parameter of fewer than two dimensions is normalized as one row.
pub fn orthogonal_(parameter: &Parameter, gain: f64) {
    let shape = parameter.shape();
    let n_rows = if shape.len() < 2 { 1 } else { shape[0] };
    let n_elements = parameter.numel();
    if n_elements == 0 {
        return;
    }
    let n_columns = n_elements / n_rows;
    let (n_vectors, len) = (n_rows.min(n_columns), n_rows.max(n_columns));
    let mut generator = next_generator();
    let mut vectors: Vec<Vec<f64>> = Vec::with_capacity(n_vectors);
    while vectors.len() < n_vectors {
        let mut vector: Vec<f64> = (0..len).map(|_| generator.normal()).collect();
        // Twice is enough to lose what rounding leaves (Kahan and Parlett).
        for _ in 0..2 {
            for other in &vectors {
                let along: f64 = vector.iter().zip(other).map(|(lhs, rhs)| lhs * rhs).sum();
                vector.iter_mut().zip(other).for_each(|(lhs, rhs)| *lhs -= along * rhs);
            }
        }
        let norm = vector.iter().map(|v| v * v).sum::<f64>().sqrt();
        if norm > 1e-9 {
            vector.iter_mut().for_each(|v| *v /= norm);
            vectors.push(vector);
        }
    }
    let dtype: DType = parameter.dtype();
    let element = |row: usize, column: usize| match n_rows <= n_columns {
        true => vectors[row][column],
        false => vectors[column][row],
    };
    let scalars = (0..n_elements).map(|idx| Scalar::from_f64(dtype, gain * element(idx / n_columns, idx % n_columns)));
    overwrite(parameter, TensorData::from_scalars(dtype, shape, scalars));
}

/// Error function, to about 1e-7 (Abramowitz and Stegun 7.1.26).
fn erf(x: f64) -> f64 {
    let t = 1.0 / (1.0 + 0.327_591_1 * x.abs());
    let poly =
        t * (0.254_829_592 + t * (-0.284_496_736 + t * (1.421_413_741 + t * (-1.453_152_027 + t * 1.061_405_429))));
    (1.0 - poly * (-x * x).exp()).copysign(x)
}

/// The number below which a standard normal falls with probability `p`, to about 1e-9 (Acklam's rational
/// approximations of the center and the tails).
fn normal_quantile(p: f64) -> f64 {
    const A: [f64; 6] = [
        -3.969_683_028_665_376e1,
        2.209_460_984_245_205e2,
        -2.759_285_104_469_687e2,
        1.383_577_518_672_69e2,
        -3.066_479_806_614_716e1,
        2.506_628_277_459_239,
    ];
    const B: [f64; 5] = [
        -5.447_609_879_822_406e1,
        1.615_858_368_580_409e2,
        -1.556_989_798_598_866e2,
        6.680_131_188_771_972e1,
        -1.328_068_155_288_572e1,
    ];
    const C: [f64; 6] = [
        -7.784_894_002_430_293e-3,
        -3.223_964_580_411_365e-1,
        -2.400_758_277_161_838,
        -2.549_732_539_343_734,
        4.374_664_141_464_968,
        2.938_163_982_698_783,
    ];
    const D: [f64; 4] =
        [7.784_695_709_041_462e-3, 3.224_671_290_700_398e-1, 2.445_134_137_142_996, 3.754_408_661_907_416];
    const TAIL: f64 = 0.02425;
    let horner = |coefficients: &[f64], x: f64| coefficients.iter().fold(0.0, |sum, c| sum * x + c);
    let tail = |p: f64| {
        let q = (-2.0 * p.ln()).sqrt();
        horner(&C, q) / (horner(&D, q) * q + 1.0)
    };
    let p = p.clamp(1e-300, 1.0 - 1e-16);
    if p < TAIL {
        tail(p)
    } else if p > 1.0 - TAIL {
        -tail(1.0 - p)
    } else {
        let q = p - 0.5;
        let r = q * q;
        horner(&A, r) * q / (horner(&B, r) * r + 1.0)
    }
}
