//! Exact sums of products of integers of 8 bits, which quantized operators are made of.
//!
//! A sum of integers is exact in `f32` as long as no partial sum exceeds 2^24. So a contraction of 8-bit integers is cut
//! into pieces for which that is sure, from the weights where they are known; the pieces are contractions of `f32`, the
//! fast ones, and their sums are added as `i32`. Usually one piece does.

use std::ops::Range;

use nnc_frontend::Tensor;
use nnc_frontend::tensor::apply;
use nnc_ir::ops::ConvolutionAttrs;
use nnc_ir::{DType, Dim, Op};

/// The largest magnitude up to which all integers are values of `f32`.
const EXACT: f64 = (1 << 24) as f64;

/// Sums over more than this many are left to `i32`: they would be many pieces.
const DEEPEST: usize = 1 << 16;

/// A tensor of small integers, their zero points taken off.
pub(super) struct Integers {
    /// The integers, as `f32` if they are of 8 bits and as `i32` otherwise.
    values: Tensor,
    /// No integer has a larger magnitude.
    largest: f64,
}

impl Integers {
    /// The elements of `x` less `zero_point`, which broadcasts with it.
    pub(super) fn new(x: &Tensor, zero_point: Option<&Tensor>) -> Self {
        let (least, most) = match x.dtype() {
            DType::I8 => (-128, 127),
            DType::U8 => (0, 255),
            _ => {
                let values = moved(x, zero_point, DType::I32);
                return Self { values, largest: f64::INFINITY };
            }
        };
        let values = moved(x, zero_point, DType::F32);
        let of_zero_points = || match zero_point.map(Tensor::data) {
            None => most.max(-least),
            Some(Ok(points)) => {
                points.to_i64().into_iter().map(|point| (most - point).max(point - least)).max().unwrap_or(0)
            }
            Some(Err(_)) => most - least,
        };
        let largest = match values.data() {
            Ok(known) => known.to_f64().into_iter().map(f64::abs).fold(0.0, f64::max),
            Err(_) => of_zero_points() as f64,
        };
        Self { values, largest }
    }

    /// Whether sums of products with `other` may be computed as `f32` at all.
    fn is_small(&self, other: &Self) -> bool {
        self.largest.is_finite() && other.largest.is_finite()
    }

    fn as_i32(&self) -> Tensor {
        self.values.to_dtype(DType::I32)
    }

    /// The product of matrices (`torch.matmul`), as `i32`.
    pub(super) fn matmul(&self, rhs: &Self) -> Tensor {
        let exact = || self.as_i32().matmul(rhs.as_i32());
        let (lhs_rank, rank) = (self.values.rank(), rhs.values.rank());
        if !self.is_small(rhs) || lhs_rank < 2 || rank < 2 {
            return exact();
        }
        let contracted = &rhs.values.dims()[rank - 2];
        let Some(depth) = contracted.as_const().filter(|_| self.values.dims()[lhs_rank - 1] == *contracted) else {
            return exact();
        };
        let weights = match rhs.values.data() {
            Ok(known) => {
                let columns = known.shape[rank - 1];
                Weights { sums: magnitudes(known.to_f64()), extent: depth, inner: columns }
            }
            Err(_) if depth > DEEPEST => return exact(),
            Err(_) => Weights { sums: vec![rhs.largest; depth], extent: depth, inner: 1 },
        };
        let Some(length) = weights.piece(EXACT / self.largest) else { return exact() };
        let product = |piece: Range<usize>| {
            let cut = |x: &Tensor, dim: usize| x.slice(dim as i64, piece.start as i64, Some(piece.end as i64), 1);
            cut(&self.values, lhs_rank - 1).matmul(cut(&rhs.values, rank - 2))
        };
        sum(pieces(depth, length).map(product))
    }

    /// The convolution with the kernel `weight`, as `i32`.
    pub(super) fn convolve(&self, weight: &Self, attrs: &ConvolutionAttrs) -> Tensor {
        let exact = || apply(Op::Convolution(attrs.clone()), &[&self.as_i32(), &weight.as_i32()]);
        let extents: Option<Vec<usize>> = weight.values.dims().iter().map(Dim::as_const).collect();
        let (true, Some([_, channels, taps @ ..])) = (self.is_small(weight), extents.as_deref()) else {
            return exact();
        };
        let n_taps = taps.iter().fold(1usize, |product, &extent| product.saturating_mul(extent));
        if *channels > DEEPEST {
            return exact();
        }
        let sums = match weight.values.data() {
            Ok(known) => magnitudes(known.to_f64()).chunks(n_taps.max(1)).map(|taps| taps.iter().sum()).collect(),
            Err(_) => vec![weight.largest * n_taps as f64; *channels],
        };
        let weights = Weights { sums, extent: *channels, inner: 1 };
        let Some(length) = weights.piece(EXACT / self.largest) else { return exact() };
        let product = |piece: Range<usize>| {
            let image = self.channels(&piece, *channels, attrs.groups);
            let kernel = weight.values.slice(1, piece.start as i64, Some(piece.end as i64), 1);
            apply(Op::Convolution(attrs.clone()), &[&image, &kernel])
        };
        sum(pieces(*channels, length).map(product))
    }

    /// Some of the channels of each group of an image `[batch, channel, space...]`.
    fn channels(&self, piece: &Range<usize>, per_group: usize, groups: usize) -> Tensor {
        if piece.len() == per_group {
            return self.values.clone();
        }
        let dims = self.values.dims();
        let (batch, space) = (dims[0].clone(), &dims[2..]);
        let grouped = [&[batch.clone(), Dim::from(groups), Dim::from(per_group)], space].concat();
        let joined = [&[batch, Dim::from(groups * piece.len())], space].concat();
        self.values.reshape(grouped).slice(2, piece.start as i64, Some(piece.end as i64), 1).reshape(joined)
    }
}

fn moved(x: &Tensor, zero_point: Option<&Tensor>, dtype: DType) -> Tensor {
    let x = x.to_dtype(dtype);
    match zero_point {
        Some(zero_point) => x - zero_point.to_dtype(dtype),
        None => x,
    }
}

fn magnitudes(values: Vec<f64>) -> Vec<f64> {
    values.into_iter().map(f64::abs).collect()
}

/// Runs of `length` (at least 1, the last run may be shorter) in `extent`; one empty run if that is 0.
fn pieces(extent: usize, length: usize) -> impl Iterator<Item = Range<usize>> {
    (0..extent.max(1)).step_by(length).map(move |start| start..(start + length).min(extent))
}

/// Adds the sums of pieces.
fn sum(pieces: impl Iterator<Item = Tensor>) -> Tensor {
    let integers = pieces.map(|piece| piece.to_dtype(DType::I32));
    integers.reduce(|sum, piece| sum + piece).expect("there is always a piece")
}

/// Magnitudes of one side of a contraction: `[any, extent, inner]`, where the dimension in the middle is summed over.
struct Weights {
    sums: Vec<f64>,
    extent: usize,
    inner: usize,
}

impl Weights {
    /// The length of pieces along the contracted dimension in which no sum exceeds `limit`, or `None` if one element is
    /// too much. As few pieces as a power of two.
    fn piece(&self, limit: f64) -> Option<usize> {
        let mut length = self.extent.max(1);
        while pieces(self.extent, length).any(|piece| self.largest_sum(&piece) > limit) {
            if length == 1 {
                return None;
            }
            length = length.div_ceil(2);
        }
        Some(length)
    }

    fn largest_sum(&self, piece: &Range<usize>) -> f64 {
        let mut largest = 0.0;
        for block in self.sums.chunks((self.extent * self.inner).max(1)) {
            let mut sums = vec![0.0; self.inner];
            for row in block.chunks(self.inner.max(1)).take(piece.end).skip(piece.start) {
                sums.iter_mut().zip(row).for_each(|(sum, magnitude)| *sum += magnitude);
            }
            largest = sums.into_iter().fold(largest, f64::max);
        }
        largest
    }
}

#[cfg(test)]
mod tests {
    use nnc_ir::TensorData;

    use super::*;

    /// Numbers of a type, spread over its range.
    fn tensor(dtype: DType, shape: &[usize], seed: u64) -> Tensor {
        let mut state = seed;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as i64
        };
        let n_elements: usize = shape.iter().product();
        Tensor::from_data(TensorData::from_integers(dtype, shape.to_vec(), (0..n_elements).map(|_| next())))
    }

    /// Nothing is known of the elements, as in a trace.
    fn unknown(mut integers: Integers, largest: f64) -> Integers {
        integers.largest = largest;
        integers
    }

    fn same(found: Tensor, expected: Tensor) {
        let (found, expected) = (found.data().expect("concrete"), expected.data().expect("concrete"));
        assert!(found == expected, "{found:?}, expected {expected:?}");
    }

    #[test]
    fn products_are_those_of_i32() {
        for (depth, columns) in [(3, 5), (257, 3), (1030, 2), (0, 2)] {
            let (x, w) = (tensor(DType::U8, &[2, depth], 1), tensor(DType::U8, &[depth, columns], 2));
            let (zero_x, zero_w) = (Tensor::scalar(255u8), Tensor::scalar(1u8));
            let lhs = unknown(Integers::new(&x, Some(&zero_x)), 255.0);
            let rhs = Integers::new(&w, Some(&zero_w));
            let exact = (x.int() - 255).matmul(w.int() - 1);
            same(lhs.matmul(&rhs), exact);
        }
    }

    #[test]
    fn convolutions_are_those_of_i32() {
        for (channels, groups) in [(4, 1), (64, 1), (128, 2), (6, 6)] {
            let x = tensor(DType::U8, &[1, channels, 4, 3], 3);
            let w = tensor(DType::I8, &[2 * groups, channels / groups, 3, 3], 4);
            let attrs = ConvolutionAttrs { padding: vec![(1, 1), (0, 1)], groups, ..ConvolutionAttrs::plain(2) };
            let exact = apply(Op::Convolution(attrs.clone()), &[&(x.int() - 3), &w.int()]);
            let image = unknown(Integers::new(&x, Some(&Tensor::scalar(3u8))), 252.0);
            same(image.convolve(&Integers::new(&w, None), &attrs), exact);
        }
    }

    #[test]
    fn pieces_are_as_long_as_the_weights_allow() {
        let weights = |sums: &[f64], inner| Weights { sums: sums.to_vec(), extent: 4, inner };
        assert_eq!(weights(&[1.0, 1.0, 1.0, 1.0], 1).piece(4.0), Some(4));
        assert_eq!(weights(&[1.0, 1.0, 1.0, 1.0], 1).piece(3.9), Some(2));
        assert_eq!(weights(&[1.0, 1.0, 9.0, 1.0], 1).piece(3.9), None);
        // Two columns, of which the second is large.
        assert_eq!(weights(&[1.0, 5.0, 1.0, 5.0, 1.0, 5.0, 1.0, 5.0], 2).piece(10.0), Some(2));
        let widest = Integers::new(&tensor(DType::I8, &[1], 1).full_like(-128.0), None);
        assert_eq!(widest.largest, 128.0);
        assert!(Integers::new(&Tensor::scalar(7i32), None).largest.is_infinite());
    }
}
