//! Contractions.

use nnc_ir::ops::{ConvolutionAttrs, DotAttrs};
use nnc_ir::{DType, Dim, TensorType};

use super::emitter::{Emitter, Refusal, Val, int, ints, text};
use super::lower::Site;
use super::movement::{pad_edges, spread};
use super::reduce::is_narrow;

/// A product of matrices is `MatMul`, or `Gemm` of a transposed one; anything else is `Einsum`.
pub(super) fn dot_general(e: &mut Emitter, at: &Site<'_>, attrs: &DotAttrs) -> Result<Val, Refusal> {
    let (mut lhs, mut rhs) = (at.full(e, 0)?, at.full(e, 1)?);
    let dtype = lhs.dtype();
    let matrices = matrices(&lhs.ty, &rhs.ty, attrs);
    // `Einsum` has no `bf16` before version 28; sums are in `f32` anyway.
    let wide = match dtype {
        dtype if is_narrow(dtype) => DType::I32,
        DType::BF16 if matrices.is_none() => DType::F32,
        dtype => dtype,
    };
    (lhs, rhs) = (e.cast(&lhs, wide), e.cast(&rhs, wide));
    let ty = at.result().with_dtype(wide);
    let product = match matrices {
        Some(Matrices { transposes: false }) => e.op("MatMul", &[&lhs, &rhs], ty),
        Some(Matrices { transposes: true }) if lhs.rank() == 2 && rhs.rank() == 2 && dtype.is_float() => {
            e.op_with("Gemm", &[&lhs, &rhs], vec![int("transB", 1)], ty)
        }
        Some(Matrices { transposes: true }) => {
            let mut permutation: Vec<usize> = (0..rhs.rank()).collect();
            permutation.swap(rhs.rank() - 2, rhs.rank() - 1);
            let rhs = e.transpose(&rhs, &permutation);
            e.op("MatMul", &[&lhs, &rhs], ty)
        }
        None => {
            let equation = equation(lhs.rank(), rhs.rank(), attrs)?;
            e.op_with("Einsum", &[&lhs, &rhs], vec![text("equation", &equation)], ty)
        }
    };
    Ok(e.cast(&product, dtype))
}

/// A product of matrices.
struct Matrices {
    /// Whether `rhs` is contracted along its last dimension.
    transposes: bool,
}

/// The product if it is one of matrices: batch dimensions in front, one contracted, the other free.
fn matrices(lhs: &TensorType, rhs: &TensorType, attrs: &DotAttrs) -> Option<Matrices> {
    let n_batch = attrs.lhs_batch.len();
    let in_front = |batch: &[usize]| batch.iter().copied().eq(0..n_batch);
    let ([lhs_contract], [rhs_contract]) = (&attrs.lhs_contract[..], &attrs.rhs_contract[..]) else { return None };
    // With a batch both have one free dimension; without, `lhs` may have several rows of rows.
    let fits = rhs.rank() == n_batch + 2 && if n_batch == 0 { lhs.rank() >= 2 } else { lhs.rank() == n_batch + 2 };
    if !fits || !in_front(&attrs.lhs_batch) || !in_front(&attrs.rhs_batch) || *lhs_contract != lhs.rank() - 1 {
        return None;
    }
    Some(Matrices { transposes: *rhs_contract == rhs.rank() - 1 })
}

/// The product in letters: `abc,abd->acd`.
fn equation(lhs_rank: usize, rhs_rank: usize, attrs: &DotAttrs) -> Result<String, Refusal> {
    let mut letters = ('a'..='z').chain('A'..='Z');
    let mut letter = || letters.next().ok_or("the operands have more than 52 dimensions");
    let mut names = |rank: usize, known: &[(usize, char)]| -> Result<Vec<char>, &'static str> {
        let name = |dim: usize| match known.iter().find(|(other, _)| *other == dim) {
            Some((_, letter)) => Ok(*letter),
            None => letter(),
        };
        (0..rank).map(name).collect()
    };
    let lhs = names(lhs_rank, &[])?;
    let pairs = |lhs_dims: &[usize], rhs_dims: &[usize]| {
        rhs_dims.iter().zip(lhs_dims).map(|(&rhs_dim, &lhs_dim)| (rhs_dim, lhs[lhs_dim])).collect::<Vec<_>>()
    };
    let known = [pairs(&attrs.lhs_batch, &attrs.rhs_batch), pairs(&attrs.lhs_contract, &attrs.rhs_contract)].concat();
    let rhs = names(rhs_rank, &known)?;
    let batch = attrs.lhs_batch.iter().map(|&dim| lhs[dim]);
    let lhs_free = DotAttrs::free_dims(lhs_rank, &attrs.lhs_batch, &attrs.lhs_contract);
    let rhs_free = DotAttrs::free_dims(rhs_rank, &attrs.rhs_batch, &attrs.rhs_contract);
    let free = lhs_free.into_iter().map(|dim| lhs[dim]).chain(rhs_free.into_iter().map(|dim| rhs[dim]));
    let result: String = batch.chain(free).collect();
    Ok(format!("{},{}->{result}", String::from_iter(&lhs), String::from_iter(&rhs)))
}

pub(super) fn convolution(e: &mut Emitter, at: &Site<'_>, attrs: &ConvolutionAttrs) -> Result<Val, Refusal> {
    let (mut image, kernel) = (at.full(e, 0)?, at.full(e, 1)?);
    if !image.dtype().is_float() {
        return Err(format!("operands have types {} and {}, expected floats", image.ty, kernel.ty));
    }
    let zero = e.number(image.dtype(), 0.0);
    for (dim, &dilation) in attrs.lhs_dilation.iter().enumerate() {
        if dilation > 1 {
            image = spread(e, &image, 2 + dim, dilation - 1, &zero)?;
        }
    }
    // Negative padding crops, which ONNX's convolution does not.
    let crops: Vec<(i64, i64)> =
        [(0, 0); 2].into_iter().chain(attrs.padding.iter().map(|&(low, high)| (low.min(0), high.min(0)))).collect();
    let mut shape = image.ty.shape.clone();
    for (dim, &(low, high)) in shape.0.iter_mut().zip(&crops) {
        *dim = dim.clone() - Dim::from((low + high).unsigned_abs() as usize);
    }
    let image = pad_edges(e, &image, &crops, &zero, &shape);
    let kernel_shape: Option<Vec<i64>> =
        kernel.ty.shape.dims()[2..].iter().map(|dim| Some(dim.as_const()? as i64)).collect();
    let of = |values: &[usize]| values.iter().map(|&value| value as i64).collect::<Vec<_>>();
    let low = attrs.padding.iter().map(|pair| pair.0.max(0));
    let pads = low.chain(attrs.padding.iter().map(|pair| pair.1.max(0)));
    let mut settings = vec![
        ints("strides", of(&attrs.stride)),
        ints("pads", pads),
        ints("dilations", of(&attrs.rhs_dilation)),
        int("group", attrs.groups as i64),
    ];
    settings.extend(kernel_shape.map(|shape| ints("kernel_shape", shape)));
    Ok(e.op_with("Conv", &[&image, &kernel], settings, at.result().clone()))
}
