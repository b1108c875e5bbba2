//! `convolution`.

use super::contract::words;
use crate::literal::TensorData;
use crate::ops::{ConvolutionAttrs, WindowDim};
use crate::types::DType;

/// Most spatial dimensions; fewer are completed by dimensions of extent 1 in front.
const SPATIAL: usize = 3;

pub(super) fn convolution(
    attrs: &ConvolutionAttrs,
    lhs: &TensorData,
    rhs: &TensorData,
    shape: Vec<usize>,
) -> TensorData {
    if shape.contains(&0) {
        return TensorData { dtype: lhs.dtype, shape, bytes: Vec::new().into() };
    }
    let correlation = Correlation::new(attrs, lhs, rhs, &shape);
    match lhs.dtype {
        // As in `dot_general`: a double's product is rounded unless it is fused, narrower ones are exact in `f64`.
        DType::F64 => {
            let sums =
                correlation.run(&lhs.to_f64(), &rhs.to_f64(), 0.0, f64::is_finite, |sum, x, w| x.mul_add(w, sum));
            TensorData::from_doubles(DType::F64, shape, sums)
        }
        DType::F16 | DType::BF16 | DType::F32 => {
            let sums = correlation.run(&lhs.to_f64(), &rhs.to_f64(), 0.0, f64::is_finite, |sum, x, w| sum + x * w);
            TensorData::from_doubles(lhs.dtype, shape, sums)
        }
        _ => {
            let multiply_add = |sum: i64, x: i64, w| sum.wrapping_add(x.wrapping_mul(w));
            let sums = correlation.run(&words(lhs), &words(rhs), 0, |_| true, multiply_add);
            TensorData::from_integers(lhs.dtype, shape, sums)
        }
    }
}

/// The windows in which one tap of the kernel meets an element or padding (not a hole), along one dimension: number
/// `j` of them is window `first + j * step`, and the tap falls on element `image_first + j * image_step`.
struct Meetings {
    first: usize,
    step: usize,
    count: usize,
    image_first: i64,
    image_step: i64,
    /// Those of them in which it meets an element.
    inside: std::ops::Range<usize>,
}

impl Meetings {
    fn new(window: &WindowDim, tap: usize, image: usize, result: usize) -> Self {
        let dilation = window.lhs_dilation;
        let period = dilation / gcd(window.stride, dilation);
        let at = |at: usize| window.position(at as i64, tap as i64);
        let first = (0..result.min(period as usize)).find(|&window| at(window) % dilation == 0);
        let Some(first) = first else {
            return Self { first: 0, step: 1, count: 0, image_first: 0, image_step: 1, inside: 0..0 };
        };
        let step = period as usize;
        let count = (result - first).div_ceil(step);
        let (image_first, image_step) = (at(first) / dilation, window.stride * period / dilation);
        // Smallest `j` whose element is at least `bound`.
        let reaches = |bound: i64| {
            let distance = bound - image_first;
            if distance <= 0 { 0 } else { count.min((distance as u64).div_ceil(image_step as u64) as usize) }
        };
        let inside = reaches(0)..reaches(image as i64);
        Self { first, step, count, image_first, image_step, inside }
    }

    fn window(&self, j: usize) -> usize {
        self.first + j * self.step
    }

    fn element(&self, j: usize) -> usize {
        (self.image_first + j as i64 * self.image_step) as usize
    }
}

fn gcd(lhs: i64, rhs: i64) -> i64 {
    if rhs == 0 { lhs } else { gcd(rhs, lhs % rhs) }
}

/// Sizes of a convolution, and where each tap falls.
struct Correlation {
    batch: usize,
    groups: usize,
    /// Input and output channels of a group.
    inputs: usize,
    outputs: usize,
    image: [usize; SPATIAL],
    result: [usize; SPATIAL],
    /// For each dimension and position in the kernel.
    meetings: [Vec<Meetings>; SPATIAL],
}

impl Correlation {
    fn new(attrs: &ConvolutionAttrs, lhs: &TensorData, rhs: &TensorData, result: &[usize]) -> Self {
        let completed = |shape: &[usize]| {
            let mut extents = [1; SPATIAL];
            extents[SPATIAL + 2 - shape.len()..].copy_from_slice(&shape[2..]);
            extents
        };
        let (image, kernel, result_extents) = (completed(&lhs.shape), completed(&rhs.shape), completed(result));
        let missing = SPATIAL - attrs.n_spatial();
        let meetings = std::array::from_fn(|dim| {
            let window = match dim.checked_sub(missing) {
                Some(dim) => attrs.window(dim),
                None => ConvolutionAttrs::plain(1).window(0),
            };
            (0..kernel[dim]).map(|tap| Meetings::new(&window, tap, image[dim], result_extents[dim])).collect()
        });
        Self {
            batch: lhs.shape[0],
            groups: attrs.groups,
            inputs: rhs.shape[1],
            outputs: rhs.shape[0] / attrs.groups,
            image,
            result: result_extents,
            meetings,
        }
    }

    /// Every result element is a chain in order of (input channel, tap); the elements of one channel of the result
    /// advance together.
    fn run<T: Copy>(
        &self,
        image: &[T],
        kernel: &[T],
        zero: T,
        is_finite: impl Fn(T) -> bool,
        multiply_add: impl Fn(T, T, T) -> T + Copy,
    ) -> Vec<T> {
        let image_len: usize = self.image.iter().product();
        let result_len: usize = self.result.iter().product();
        let n_taps: usize = self.meetings.iter().map(Vec::len).product();
        let mut sums = vec![zero; self.batch * self.groups * self.outputs * result_len];
        for (plane_idx, plane) in sums.chunks_exact_mut(result_len).enumerate() {
            let (batch, output) = (plane_idx / (self.groups * self.outputs), plane_idx % (self.groups * self.outputs));
            let first_input = (batch * self.groups + output / self.outputs) * self.inputs;
            for input in 0..self.inputs {
                let image = &image[(first_input + input) * image_len..][..image_len];
                let weights = &kernel[(output * self.inputs + input) * n_taps..][..n_taps];
                let mut weights = weights.iter();
                for outer in &self.meetings[0] {
                    for middle in &self.meetings[1] {
                        for inner in &self.meetings[2] {
                            let &weight = weights.next().expect("a weight for each tap");
                            let step = |sum: &mut T, x: T| *sum = multiply_add(*sum, x, weight);
                            let taps = [outer, middle, inner];
                            self.add_tap(plane, image, taps, step);
                            if !is_finite(weight) {
                                self.add_padding(plane, taps, |sum| step(sum, zero));
                            }
                        }
                    }
                }
            }
        }
        sums
    }

    /// One link of the chains whose tap meets an element.
    fn add_tap<T: Copy>(&self, plane: &mut [T], image: &[T], taps: [&Meetings; SPATIAL], step: impl Fn(&mut T, T)) {
        let [outer, middle, inner] = taps;
        let len = inner.inside.len();
        if len == 0 {
            return;
        }
        for j in outer.inside.clone() {
            for k in middle.inside.clone() {
                let row = (outer.window(j) * self.result[1] + middle.window(k)) * self.result[2];
                let image_row = (outer.element(j) * self.image[1] + middle.element(k)) * self.image[2];
                let row = &mut plane[row + inner.window(inner.inside.start)..];
                let image_row = &image[image_row + inner.element(inner.inside.start)..];
                if inner.step == 1 && inner.image_step == 1 {
                    row[..len].iter_mut().zip(&image_row[..len]).for_each(|(sum, &x)| step(sum, x));
                } else {
                    let elements = image_row.iter().step_by(inner.image_step as usize);
                    row.iter_mut().step_by(inner.step).zip(elements).take(len).for_each(|(sum, &x)| step(sum, x));
                }
            }
        }
    }

    /// One link of the chains whose tap meets padding. Products with 0 add nothing unless the weight is not finite.
    fn add_padding<T>(&self, plane: &mut [T], [outer, middle, inner]: [&Meetings; SPATIAL], step: impl Fn(&mut T)) {
        for j in 0..outer.count {
            for k in 0..middle.count {
                for l in 0..inner.count {
                    if !(outer.inside.contains(&j) && middle.inside.contains(&k) && inner.inside.contains(&l)) {
                        let row = outer.window(j) * self.result[1] + middle.window(k);
                        step(&mut plane[row * self.result[2] + inner.window(l)]);
                    }
                }
            }
        }
    }
}
