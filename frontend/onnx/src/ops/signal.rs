//! `DFT`, `STFT` and `MelWeightMatrix`.
//!
//! A transform of a composite length is two rounds of shorter ones with a turn between them (Cooley and Tukey, 1965),
//! down to lengths of at most [`DIRECT`], which are products with a constant matrix. So everything is contractions of
//! small matrices, which are what compiled code is best at, and differentiable like them. A long prime length is a
//! convolution of a composite one (Bluestein, 1970).

use std::f64::consts::TAU;

use nnc_frontend::Tensor;
use nnc_frontend::functional::conv1d;
use nnc_ir::{DType, Dim, TensorData};

use super::{Cx, Entry, Outcome, one, op};

pub(super) const OPS: &[Entry] =
    &[op("DFT", 17.., dft), op("STFT", 17.., stft), op("MelWeightMatrix", 17.., mel_weight_matrix)];

/// Up to this length a transform is one matrix product.
const DIRECT: usize = 64;

/// Elements of constants for each number of a transform, at most: that of a prime length takes others of up to four
/// times its length.
const TABLES: usize = 8;

/// A complex tensor, the transformed dimension last.
#[derive(Clone)]
struct Complex {
    re: Tensor,
    im: Tensor,
}

impl Complex {
    #[track_caller]
    fn map(&self, f: impl Fn(&Tensor) -> Tensor) -> Self {
        Self { re: f(&self.re), im: f(&self.im) }
    }

    /// The product with constant numbers, elementwise.
    #[track_caller]
    fn turn(&self, by: &Self) -> Self {
        Self { re: &self.re * &by.re - &self.im * &by.im, im: &self.re * &by.im + &self.im * &by.re }
    }

    /// The product of the last dimension with a constant matrix.
    #[track_caller]
    fn matmul(&self, by: &Self) -> Self {
        Self {
            re: self.re.matmul(&by.re) - self.im.matmul(&by.im),
            im: self.re.matmul(&by.im) + self.im.matmul(&by.re),
        }
    }

    #[track_caller]
    fn conj(&self) -> Self {
        Self { re: self.re.clone(), im: -&self.im }
    }
}

/// Constants `e^(-2πi · phase)`, of shape `shape`, by row-major position. Phases are whole turns: 1 is once around.
fn turns(dtype: DType, shape: &[usize], phase: impl Fn(&[usize]) -> f64) -> Complex {
    let n = shape.iter().product();
    let mut index = vec![0; shape.len()];
    let (mut re, mut im) = (Vec::with_capacity(n), Vec::with_capacity(n));
    for position in 0..n {
        let mut rest = position;
        for (at, extent) in index.iter_mut().zip(shape).rev() {
            *at = rest % extent;
            rest /= extent;
        }
        let (sin, cos) = (TAU * phase(&index).fract()).sin_cos();
        re.push(cos);
        im.push(-sin);
    }
    Complex { re: constant(dtype, shape, re), im: constant(dtype, shape, im) }
}

fn constant(dtype: DType, shape: &[usize], elements: Vec<f64>) -> Tensor {
    Tensor::from_data(TensorData::from_doubles(dtype, shape.to_vec(), elements))
}

/// `k / n` of a turn for products `k`, without the rounding that a large `k` would bring.
fn fraction(k: usize, n: usize) -> f64 {
    (k % n) as f64 / n as f64
}

/// The discrete Fourier transform of the last dimension, of extent `n`, without a factor.
#[track_caller]
fn transform(x: &Complex, n: usize) -> Complex {
    let dtype = x.re.dtype();
    if n <= DIRECT {
        return x.matmul(&turns(dtype, &[n, n], |at| fraction(at[0] * at[1], n)));
    }
    let Some(n_inner) = middle_factor(n) else { return bluestein(x, n) };
    // Position `n_outer * i + o` of the input, position `k + n_inner * l` of the result:
    // e^(-2πi·(n_outer·i + o)(k + n_inner·l)/n) is one turn by i·k/n_inner, one by o·k/n, one by o·l/n_outer.
    let n_outer = n / n_inner;
    let x = x.map(|part| part.unflatten(-1, [n_inner, n_outer]).transpose(-1, -2));
    let inner = transform(&x, n_inner);
    let turned = inner.turn(&turns(dtype, &[n_outer, n_inner], |at| fraction(at[0] * at[1], n)));
    let outer = transform(&turned.map(|part| part.transpose(-1, -2)), n_outer);
    outer.map(|part| part.transpose(-1, -2).flatten(-2, -1))
}

/// The divisor of `n` nearest below its root that leaves two factors above 1, or `None` if `n` is prime.
fn middle_factor(n: usize) -> Option<usize> {
    (2..=n.isqrt()).rev().find(|&factor| n.is_multiple_of(factor))
}

/// A transform of prime length as a circular convolution, whose length is a power of two: `jk = (j² + k² - (k-j)²) / 2`.
#[track_caller]
fn bluestein(x: &Complex, n: usize) -> Complex {
    let dtype = x.re.dtype();
    let length = (2 * n - 1).next_power_of_two();
    // e^(-πi·j²/n): j² modulo 2n is all that counts.
    let half = |j: usize| ((j as u128 * j as u128) % (2 * n as u128)) as f64 / (2 * n) as f64;
    let chirp = turns(dtype, &[n], |at| half(at[0]));
    let kernel = turns(DType::F64, &[length], |at| match at[0] {
        j if j < n => -half(j),
        j if j > length - n => -half(length - j),
        _ => 0.0,
    });
    let inside = |j: usize| f64::from(u8::from(j < n || j > length - n));
    let inside = constant(DType::F64, &[length], (0..length).map(inside).collect());
    let kernel = transform(&kernel.map(|part| part * &inside), length).map(|part| part.to_dtype(dtype));
    let padded = x.turn(&chirp).map(|part| part.pad(&[(0, (length - n) as i64)], 0.0));
    // The inverse is the conjugate of the transform of the conjugate, over the length.
    let product = transform(&padded, length).turn(&kernel);
    let convolved = transform(&product.conj(), length).conj();
    convolved.map(|part| part.narrow(-1, 0, n) * (1.0 / length as f64)).turn(&chirp)
}

fn dft(cx: &mut Cx<'_>) -> Outcome {
    let x = cx.input(0)?;
    let dtype = x.dtype();
    let rank = x.rank();
    let axis = match cx.opset() {
        ..20 => cx.int_or("axis", 1)?,
        _ if cx.has(2) => cx.known_int(2)?,
        _ => -2,
    };
    if rank < 2 {
        return Err(cx.invalid(format!("the input is {}, expected at least two dimensions", x.ty())));
    }
    let axis = cx.axis(axis, rank)?;
    let n_parts = x.size(-1).as_const().filter(|parts| (1..=2).contains(parts));
    let Some(n_parts) = n_parts.filter(|_| axis + 1 < rank) else {
        let what = "expected real numbers (1) or complex ones (2) in the last dimension, which is no axis";
        return Err(cx.invalid(format!("the input is {}, axis {axis}: {what}", x.ty())));
    };
    let (inverse, onesided) = (cx.flag("inverse", false)?, cx.flag("onesided", false)?);
    let Some(extent) = x.size(axis as i64).as_const() else {
        return Err(cx.unsupported(format!("the input is {}, of a symbolic length", x.ty())));
    };
    let n = match cx.has(1) {
        true => usize::try_from(cx.known_int(1)?).ok(),
        false if inverse && onesided => extent.checked_sub(1).map(|last| 2 * last),
        false => Some(extent),
    };
    let Some(n) = n.filter(|&n| n > 0) else {
        return Err(cx.invalid("dft_length is below 1, expected at least one number"));
    };
    cx.table("the transform", n.saturating_mul(TABLES))?;
    if onesided && !inverse && n_parts == 2 {
        return Err(cx.invalid("onesided transforms take real numbers, expected 1 in the last dimension"));
    }

    // The axis last, cut or filled with zeros to the length; narrow types are transformed in f32.
    let wide = if dtype == DType::F64 { DType::F64 } else { DType::F32 };
    let part = |index: i64| x.to_dtype(wide).select(-1, index).transpose(axis as i64, -1);
    let x = Complex { re: part(0), im: if n_parts == 2 { part(1) } else { part(0).zeros_like() } };
    let back = |x: &Tensor| x.transpose(axis as i64, -1);
    let result = if inverse && onesided {
        // The half that is given, then its mirror image conjugated; the first number and, of an even length, the one in
        // the middle have none, and count as real.
        let half = x.map(|part| fit(part, extent, n / 2 + 1));
        let n_mirrored = (n - 1) / 2;
        let mirrored = half.conj().map(|part| part.narrow(-1, 1, n_mirrored).flip(-1));
        let whole =
            Complex { re: Tensor::cat(&[half.re, mirrored.re], -1), im: Tensor::cat(&[half.im, mirrored.im], -1) };
        let signal = transform(&whole.conj(), n).re * (1.0 / n as f64);
        back(&signal).unsqueeze(-1)
    } else {
        let x = x.map(|part| fit(part, extent, n));
        let result = match inverse {
            true => transform(&x.conj(), n).conj().map(|part| part * (1.0 / n as f64)),
            false => transform(&x, n),
        };
        let result = if onesided { result.map(|part| part.narrow(-1, 0, n / 2 + 1)) } else { result };
        Tensor::stack(&[back(&result.re), back(&result.im)], -1)
    };
    one(result.to_dtype(dtype))
}

/// `x` cut or filled with zeros along its last dimension, of extent `extent`, to `n`.
#[track_caller]
fn fit(x: &Tensor, extent: usize, n: usize) -> Tensor {
    match n.cmp(&extent) {
        std::cmp::Ordering::Less => x.narrow(-1, 0, n),
        std::cmp::Ordering::Equal => x.clone(),
        std::cmp::Ordering::Greater => x.pad(&[(0, (n - extent) as i64)], 0.0),
    }
}

/// Transforms of windows of a signal, as one convolution: its kernels are the waves under the window.
fn stft(cx: &mut Cx<'_>) -> Outcome {
    let signal = cx.input(0)?;
    let dtype = signal.dtype();
    let n_parts = if signal.rank() == 3 { signal.size(2).as_const() } else { None };
    let Some(n_parts @ 1..=2) = n_parts else {
        return Err(cx.invalid(format!("the signal is {}, expected [N, length, 1] or [N, length, 2]", signal.ty())));
    };
    let step = match cx.known_int(1)? {
        step if step > 0 => step as usize,
        step => return Err(cx.invalid(format!("frame_step is {step}, expected at least 1"))),
    };
    let window = cx.optional(2)?;
    let length = match (cx.has(3), &window) {
        (true, _) => usize::try_from(cx.known_int(3)?).ok(),
        (false, Some(window)) => window.size(0).as_const(),
        (false, None) => signal.size(1).as_const(),
    };
    let Some(length) = length.filter(|&length| length > 0) else {
        return Err(cx.invalid("frame_length is below 1 or symbolic, expected the length of a frame"));
    };
    if let Some(window) = &window
        && window.dims() != [Dim::from(length)]
    {
        return Err(cx.invalid(format!("the window is {}, expected {length} elements", window.ty())));
    }
    let onesided = cx.flag("onesided", true)?;
    if onesided && n_parts == 2 {
        return Err(cx.invalid("onesided transforms take a real signal, expected 1 in its last dimension"));
    }
    let n_bins = if onesided { length / 2 + 1 } else { length };
    cx.table("the transform", n_bins.saturating_mul(length))?;

    // Kernels `[bins, part of the result, part of the signal, length]`; narrow types are transformed in f32.
    let wide = if dtype == DType::F64 { DType::F64 } else { DType::F32 };
    let waves = turns(wide, &[n_bins, length], |at| fraction(at[0] * at[1], length));
    let of_real = Tensor::stack(&[&waves.re, &waves.im], 1);
    let kernels = match n_parts {
        1 => of_real.unsqueeze(2),
        // i·(re + i·im) = -im + i·re
        _ => Tensor::stack(&[of_real, Tensor::stack(&[-&waves.im, waves.re], 1)], 2),
    };
    let kernels = match window {
        Some(window) => kernels * window.to_dtype(wide),
        None => kernels,
    };
    let kernels = kernels.flatten(0, 1);
    let frames = conv1d(&signal.to_dtype(wide).transpose(1, 2), kernels, None, step, 0, 1, 1);
    // `[N, bins * parts, frames]` as `[N, frames, bins, parts]`.
    one(frames.transpose(1, 2).unflatten(2, [n_bins, 2]).to_dtype(dtype))
}

/// Triangles that sum up the bins of a spectrum into bands of equal width on the mel scale.
fn mel_weight_matrix(cx: &mut Cx<'_>) -> Outcome {
    let extent = |cx: &Cx<'_>, index: usize, name: &str| match cx.known_int(index)? {
        value if value > 0 => Ok(value as usize),
        value => Err(cx.invalid(format!("{name} is {value}, expected at least 1"))),
    };
    let n_bands = extent(cx, 0, "num_mel_bins")?;
    let dft_length = extent(cx, 1, "dft_length")?;
    let sample_rate = extent(cx, 2, "sample_rate")?;
    let (low, high) = (cx.known_float(3)?, cx.known_float(4)?);
    let dtype = cx.dtype_or("output_datatype", DType::F32)?;
    let n_bins = dft_length / 2 + 1;
    cx.table("the result", n_bins.saturating_mul(n_bands))?;

    let mel = |hertz: f64| 2595.0 * (hertz / 700.0).ln_1p() / std::f64::consts::LN_10;
    let step = (mel(high) - mel(low)) / (n_bands + 2) as f64;
    // The bins at which bands begin, peak and end: each band peaks where the one before it ends.
    let mut edges = Vec::with_capacity(n_bands + 2);
    for idx in 0..n_bands + 2 {
        let hertz = 700.0 * ((mel(low) + idx as f64 * step) / 2595.0 * std::f64::consts::LN_10).exp_m1();
        let bin = ((dft_length + 1) as f64 * hertz / sample_rate as f64).floor();
        if !(0.0..=n_bins as f64).contains(&bin) {
            let message = format!("the edges {low} and {high} Hz lie outside a spectrum of up to {}", sample_rate / 2);
            return Err(cx.invalid(message));
        }
        edges.push(bin as usize);
    }
    let mut weights = vec![0.0; n_bins * n_bands];
    for (band, edge) in edges.windows(3).enumerate() {
        let (begin, peak, end) = (edge[0], edge[1], edge[2]);
        let mut set = |bin: usize, weight: f64| {
            if bin < n_bins {
                weights[bin * n_bands + band] = weight;
            }
        };
        for bin in begin..peak {
            set(bin, (bin - begin) as f64 / (peak - begin) as f64);
        }
        set(peak, 1.0);
        for bin in peak..end {
            set(bin, (end - bin) as f64 / (end - peak) as f64);
        }
    }
    one(Tensor::from_data(TensorData::from_doubles(dtype, vec![n_bins, n_bands], weights)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The definition, in f64.
    fn direct(re: &[f64], im: &[f64]) -> (Vec<f64>, Vec<f64>) {
        let n = re.len();
        let sum = |k: usize| {
            (0..n).fold((0.0, 0.0), |(sum_re, sum_im), j| {
                let (sin, cos) = (-TAU * fraction(j * k, n)).sin_cos();
                (sum_re + re[j] * cos - im[j] * sin, sum_im + re[j] * sin + im[j] * cos)
            })
        };
        (0..n).map(sum).unzip()
    }

    #[test]
    fn transforms_of_any_length_agree_with_the_definition() {
        // One product, two and three rounds, a prime factor, and two primes that are too long for a product.
        for n in [1, 2, 7, 64, 65, 96, 128, 134, 67, 101, 1000] {
            let re: Vec<f64> = (0..n).map(|j| ((j * j + 3) % 17) as f64 - 8.0).collect();
            let im: Vec<f64> = (0..n).map(|j| ((5 * j + 1) % 11) as f64 - 5.0).collect();
            let x = Complex { re: constant(DType::F64, &[n], re.clone()), im: constant(DType::F64, &[n], im.clone()) };
            let y = transform(&x.map(|part| part.unsqueeze(0)), n);
            let (want_re, want_im) = direct(&re, &im);
            for (found, want) in [(y.re, want_re), (y.im, want_im)] {
                let found = found.data().expect("it is concrete").to_f64();
                for (found, want) in found.iter().zip(&want) {
                    assert!((found - want).abs() < 1e-9 * n as f64, "n = {n}: {found}, expected {want}");
                }
            }
        }
    }
}
