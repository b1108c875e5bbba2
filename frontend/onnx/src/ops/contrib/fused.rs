//! What ONNX Runtime's optimizer makes of a convolution or a product and the activation behind it, and products with
//! matrices of few bits.

use nnc_frontend::Tensor;
use nnc_ir::{DType, TensorData};

use super::super::{Domain, Entry, Outcome, convolution, matmul, one, op};
use crate::cx::Cx;
use crate::fault::Fault;
use crate::lowbit::unpack;
use crate::value::Value;

pub(in crate::ops) const OPS: &[Entry] = &[
    op("FusedConv", 1.., fused_conv).in_domain(Domain::Microsoft),
    op("FusedGemm", 1.., fused_gemm).in_domain(Domain::Microsoft),
    op("MatMulNBits", 1.., matmul_nbits).in_domain(Domain::Microsoft),
];

/// The one tensor that an operator gives.
fn only(cx: &Cx<'_>, outcome: Outcome) -> Result<Tensor, Fault> {
    match outcome?.as_slice() {
        [value @ Value::Tensor(_)] => cx.tensor_of(value).ok_or(Fault::Reported),
        _ => Err(Fault::Reported),
    }
}

fn fused_conv(cx: &mut Cx<'_>) -> Outcome {
    let parameters = cx.floats("activation_params")?.unwrap_or_default();
    let convolved = convolution::conv(cx);
    let mut y = only(cx, convolved)?;
    if let Some(addend) = cx.optional(3)? {
        y += addend;
    }
    one(activated(cx, &y, &parameters)?)
}

fn fused_gemm(cx: &mut Cx<'_>) -> Outcome {
    let mut parameters = Vec::new();
    for name in ["activation_alpha", "activation_beta"] {
        parameters.extend(cx.float(name)?);
    }
    let product = matmul::gemm(cx);
    let y = only(cx, product)?;
    one(activated(cx, &y, &parameters)?)
}

/// The function that attribute `activation` names; parameters that are left out are ONNX's defaults.
fn activated(cx: &Cx<'_>, y: &Tensor, parameters: &[f64]) -> Result<Tensor, Fault> {
    let parameter = |index: usize, default: f64| parameters.get(index).copied().unwrap_or(default);
    Ok(match cx.string_or("activation", "")?.as_str() {
        "" => y.clone(),
        "Relu" => y.relu(),
        "Sigmoid" => y.sigmoid(),
        "Tanh" => y.tanh(),
        "LeakyRelu" => y.leaky_relu(parameter(0, 0.01)),
        "Clip" => y.maximum(parameter(0, f64::from(f32::MIN))).minimum(parameter(1, f64::from(f32::MAX))),
        "HardSigmoid" => (y * parameter(0, 0.2) + parameter(1, 0.5)).clamp(0.0, 1.0),
        other => return Err(cx.unsupported(format!("activation `{other}`"))),
    })
}

/// A product with the transpose of a matrix of 2, 4 or 8 bits, whose rows are cut into blocks with a scale each.
fn matmul_nbits(cx: &mut Cx<'_>) -> Outcome {
    let x = cx.input(0)?;
    let size = |name: &str, default: i64| -> Result<usize, Fault> {
        let value = cx.int_or(name, default)?;
        usize::try_from(value)
            .ok()
            .filter(|&value| value > 0 && value < 1 << 24)
            .ok_or_else(|| cx.invalid(format!("attribute `{name}` is {value}, expected a size")))
    };
    let (depth, n, bits, block) = (size("K", 0)?, size("N", 0)?, size("bits", 4)?, size("block_size", 0)?);
    if !matches!(bits, 2 | 4 | 8) || block % 8 != 0 || cx.has(4) {
        return Err(cx.unsupported(format!("{bits} bits in blocks of {block}, or g_idx")));
    }
    let n_blocks = depth.div_ceil(block);
    let packed = cx.known(1)?;
    if packed.dtype != DType::U8 || packed.len() != n * n_blocks * block * bits / 8 {
        let expected = format!("u8[{n}, {n_blocks}, {}]", block * bits / 8);
        return Err(cx.invalid(format!("B is {}, expected {expected}", packed.ty())));
    }
    let scales = cx.known_floats(2)?;
    if scales.len() != n * n_blocks {
        return Err(cx.invalid(format!("{} scales, expected {} for each of {n} rows", scales.len(), n_blocks)));
    }
    let zeros = zero_points(cx, n, n_blocks, bits)?;
    let codes = codes(bits, &packed.bytes, n * n_blocks * block);
    let mut matrix = Vec::with_capacity(n * depth);
    for row in 0..n {
        for column in 0..depth {
            let of_block = row * n_blocks + column / block;
            let code = f64::from(codes[row * n_blocks * block + column]);
            matrix.push((code - zeros[of_block]) as f32 * scales[of_block] as f32);
        }
    }
    let matrix = Tensor::from_data(TensorData::from_f32(vec![n, depth], &matrix)).to_dtype(x.dtype());
    let product = x.matmul(matrix.transpose(0, 1));
    one(match cx.optional(5)? {
        Some(bias) => product + bias,
        None => product,
    })
}

/// Numbers of 2, 4 or 8 bits.
fn codes(bits: usize, packed: &[u8], n: usize) -> Vec<u8> {
    if bits == 8 { packed[..n].to_vec() } else { unpack(bits, packed, n) }
}

/// What is taken off the codes of each block: given as numbers, as codes packed row by row, or the middle.
fn zero_points(cx: &Cx<'_>, n: usize, n_blocks: usize, bits: usize) -> Result<Vec<f64>, Fault> {
    if !cx.has(3) {
        return Ok(vec![f64::from(1u32 << (bits - 1)); n * n_blocks]);
    }
    let given = cx.known(3)?;
    let row = (n_blocks * bits).div_ceil(8);
    match given.dtype {
        DType::U8 if given.len() == n * row => {
            Ok(given.bytes.chunks(row).flat_map(|row| codes(bits, row, n_blocks)).map(f64::from).collect())
        }
        dtype if dtype.is_float() && given.len() == n * n_blocks => Ok(given.to_f64()),
        _ => Err(cx.invalid(format!("zero_points is {}, expected {n_blocks} for each of {n} rows", given.ty()))),
    }
}
