//! Kernels that among them have every instruction of kernel IR on every type, on awkward values and several lane counts.
//!
//! Each function hands its kernels to a [`Check`], with the tensors they run on.

use nnc_codegen::kernel::{
    BinOp, Index, Inst, Kernel, KernelBuilder, LoopKind, Reg, Space, Stmt, TileMatmul, TileTranspose, Ty, UnOp,
};
use nnc_ir::ops::CompareDir;
use nnc_ir::{DType, Scalar};

/// What is done with each case: the kernel, its tensors, and the tensor bound to each argument.
pub type Check<'a> = &'a mut dyn FnMut(&Kernel, &[Vec<u8>], &[usize]);

const LANES: [u16; 4] = [1, 3, 4, 16];
const DTYPES: [DType; 13] = DType::ALL;

/// Values at the edges of each type; 16 or more of them.
fn awkward(dtype: DType) -> Vec<Scalar> {
    let floats = [
        0.0,
        -0.0,
        1.0,
        -1.5,
        2.5,
        3.5,
        -2.5,
        0.49999997,
        1e-40,
        -1e-40,
        6.1e-5,
        5.9e-8,
        65504.0,
        65520.0,
        1e10,
        -3e9,
        3e38,
        f64::INFINITY,
        f64::NEG_INFINITY,
        f64::NAN,
        1.000_976_562_5,
        16_777_217.0,
        -129.0,
        255.5,
    ];
    let ints = [0, 1, -1, 2, 7, -7, 31, 100, 127, -128, 255, 256, i32::MAX as i64, i32::MIN as i64, i64::MAX, i64::MIN];
    match dtype {
        DType::Bool => (0..16).map(|idx| Scalar::from_i64(dtype, i64::from(idx % 3 == 0))).collect(),
        _ if dtype.is_float() => floats.iter().map(|&value| Scalar::from_f64(dtype, value)).collect(),
        _ => ints.iter().map(|&value| Scalar::from_i64(dtype, value)).collect(),
    }
}

fn bytes(scalars: &[Scalar]) -> Vec<u8> {
    let mut bytes = Vec::new();
    scalars.iter().for_each(|scalar| scalar.write(&mut bytes));
    bytes
}

/// All pairs of awkward values, as two tensors whose length is a multiple of every lane count.
fn pairs(dtype: DType, keep: impl Fn(Scalar, Scalar) -> bool) -> (Vec<u8>, Vec<u8>, usize) {
    let values = awkward(dtype);
    let all = values.iter().flat_map(|&lhs| values.iter().map(move |&rhs| (lhs, rhs)));
    let mut kept: Vec<(Scalar, Scalar)> = all.filter(|&(lhs, rhs)| keep(lhs, rhs)).collect();
    while !kept.len().is_multiple_of(48) {
        kept.push(kept[0]);
    }
    let (lhs, rhs): (Vec<_>, Vec<_>) = kept.iter().copied().unzip();
    (bytes(&lhs), bytes(&rhs), kept.len())
}

/// A kernel over two inputs and one output of `n` elements, `lanes` at a time.
fn over_pairs(
    dtype: DType,
    out: DType,
    n: usize,
    lanes: u16,
    body: impl Fn(&mut KernelBuilder, Reg, Reg) -> Reg,
) -> Kernel {
    let mut b = KernelBuilder::new("pairs");
    let lhs = b.arg("lhs", dtype, n, false);
    let rhs = b.arg("rhs", dtype, n, false);
    let result = b.arg("out", out, n, true);
    b.for_loop(n as u64 / u64::from(lanes), LoopKind::Parallel, |b, var| {
        let at = Index::term(var, i64::from(lanes));
        let lhs = b.load(lhs, at.clone(), 1, lanes, lanes);
        let rhs = b.load(rhs, at.clone(), 1, lanes, lanes);
        let value = body(b, lhs, rhs);
        b.store(result, at, 1, lanes, value);
    });
    b.finish()
}

fn check_pairs(
    check: Check<'_>,
    dtype: DType,
    out: DType,
    keep: impl Fn(Scalar, Scalar) -> bool,
    body: impl Fn(&mut KernelBuilder, Reg, Reg) -> Reg,
) {
    let (lhs, rhs, n) = pairs(dtype, keep);
    for lanes in LANES {
        let kernel = over_pairs(dtype, out, n, lanes, &body);
        check(&kernel, &[lhs.clone(), rhs.clone(), vec![0; n * out.size()]], &[0, 1, 2]);
    }
}

pub fn loads_and_stores_of_every_type(check: Check<'_>) {
    for dtype in DTYPES {
        check_pairs(check, dtype, dtype, |_, _| true, |_, lhs, _| lhs);
    }
}

pub fn unary_ops(check: Check<'_>) {
    use UnOp::*;
    for dtype in DTYPES {
        for op in [Neg, Abs, Not, Sqrt, Floor, Ceil, RoundEven] {
            let ty = Ty::of(dtype);
            let defined = match op {
                Neg | Abs => ty != Ty::Bool,
                Not => !ty.is_float(),
                Sqrt | Floor | Ceil | RoundEven => ty.is_float(),
            };
            if defined {
                check_pairs(check, dtype, dtype, |_, _| true, |b, lhs, _| b.unary(op, lhs));
            }
        }
    }
}

pub fn binary_ops(check: Check<'_>) {
    use BinOp::*;
    for dtype in DTYPES.into_iter().filter(|dtype| !matches!(dtype, DType::F16 | DType::BF16)) {
        let float = dtype.is_float();
        for op in [Add, Sub, Mul, Div, Rem, Max, Min, And, Or, Xor, Shl, ShrLogical, ShrArithmetic] {
            let defined = match op {
                Add | Sub | Mul | Div | Rem | Max | Min => dtype != DType::Bool,
                And | Or | Xor => !float,
                Shl | ShrLogical | ShrArithmetic => dtype.is_int(),
            };
            if !defined {
                continue;
            }
            let width = if dtype.size() == 8 { 64 } else { 32 };
            let keep = |_: Scalar, rhs: Scalar| match op {
                Div | Rem => float || rhs.to_i64() != 0,
                Shl | ShrLogical | ShrArithmetic => (0..width).contains(&rhs.to_i64()),
                _ => true,
            };
            check_pairs(check, dtype, dtype, keep, |b, lhs, rhs| b.binary(op, lhs, rhs));
        }
    }
}

pub fn extrema_with_a_constant(check: Check<'_>) {
    for dtype in [DType::F32, DType::F64] {
        for op in [BinOp::Max, BinOp::Min] {
            check_pairs(
                check,
                dtype,
                dtype,
                |_, _| true,
                |b, lhs, _| {
                    let ty = b.reg_type(lhs);
                    let zero = b.const_f64(ty.ty, ty.lanes, 0.0);
                    b.binary(op, lhs, zero)
                },
            );
        }
    }
}

pub fn shifts_by_one_amount(check: Check<'_>) {
    for op in [BinOp::Shl, BinOp::ShrLogical, BinOp::ShrArithmetic] {
        for dtype in [DType::I32, DType::U32, DType::I64, DType::U64] {
            check_pairs(
                check,
                dtype,
                dtype,
                |_, _| true,
                |b, lhs, _| {
                    let ty = b.reg_type(lhs);
                    let amount = b.const_i64(ty.ty, ty.lanes, 9);
                    b.binary(op, lhs, amount)
                },
            );
        }
    }
}

pub fn fused_multiply_add(check: Check<'_>) {
    for dtype in [DType::F32, DType::F64] {
        check_pairs(check, dtype, dtype, |_, _| true, |b, lhs, rhs| b.fma(lhs, rhs, lhs));
    }
}

pub fn product_and_sum(check: Check<'_>) {
    for dtype in [DType::F32, DType::F64] {
        check_pairs(
            check,
            dtype,
            dtype,
            |_, _| true,
            |b, lhs, rhs| {
                let product = b.mul(lhs, rhs);
                b.add(product, lhs)
            },
        );
    }
}

pub fn compare_and_select(check: Check<'_>) {
    for dtype in DTYPES {
        for dir in CompareDir::ALL {
            check_pairs(check, dtype, DType::Bool, |_, _| true, |b, lhs, rhs| b.compare(dir, lhs, rhs));
            check_pairs(
                check,
                dtype,
                dtype,
                |_, _| true,
                |b, lhs, rhs| {
                    let pred = b.compare(dir, lhs, rhs);
                    b.select(pred, rhs, lhs)
                },
            );
        }
    }
}

pub fn casts_between_register_types(check: Check<'_>) {
    for from in DTYPES {
        for to in [DType::Bool, DType::I32, DType::U32, DType::I64, DType::U64, DType::F32, DType::F64] {
            check_pairs(check, from, to, |_, _| true, |b, lhs, _| b.cast(Ty::of(to), lhs));
        }
    }
}

pub fn bitcasts_and_narrowing(check: Check<'_>) {
    check_pairs(check, DType::F32, DType::I32, |_, _| true, |b, lhs, _| b.bitcast(Ty::I32, lhs));
    check_pairs(check, DType::U32, DType::F32, |_, _| true, |b, lhs, _| b.bitcast(Ty::F32, lhs));
    check_pairs(check, DType::I64, DType::F64, |_, _| true, |b, lhs, _| b.bitcast(Ty::F64, lhs));
    check_pairs(check, DType::U64, DType::F64, |_, _| true, |b, lhs, _| b.bitcast(Ty::F64, lhs));
    for (wide, narrow) in [
        (DType::F32, DType::F16),
        (DType::F32, DType::BF16),
        (DType::I32, DType::I8),
        (DType::U32, DType::U8),
        (DType::I32, DType::I16),
        (DType::U32, DType::U16),
    ] {
        check_pairs(check, wide, wide, |_, _| true, |b, lhs, _| b.narrow(narrow, lhs));
    }
}

pub fn lanes_partial_vectors_and_folds(check: Check<'_>) {
    for dtype in DTYPES {
        for active in [0, 1, 5, 16] {
            let mut b = KernelBuilder::new("fold");
            let x = b.arg("x", dtype, 16, false);
            let out = b.arg("out", dtype, 1, true);
            let copy = b.arg("copy", dtype, 16, true);
            let row = b.load(x, Index::constant(0), 1, 16, active);
            let ty = Ty::of(dtype);
            let mask = b.inst(Ty::Bool, 16, Inst::LaneMask { active: 9 });
            let other = b.const_i64(ty, 16, 1);
            let row = b.select(mask, row, other);
            let op = if ty == Ty::Bool { BinOp::Xor } else { BinOp::Add };
            let sum = b.inst(ty, 1, Inst::FoldLanes(op, row));
            b.store_scalar(out, Index::constant(0), sum);
            b.store(copy, Index::constant(0), 1, active, row);
            // Lanes that are not stored keep what is there.
            let tensors = [bytes(&awkward(dtype)[..16]), vec![0; dtype.size()], vec![0x5a; 16 * dtype.size()]];
            check(&b.finish(), &tensors, &[0, 1, 2]);
        }
    }
}

pub fn strided_and_repeated_lanes(check: Check<'_>) {
    for dtype in [DType::F32, DType::I64, DType::BF16] {
        let mut b = KernelBuilder::new("strided");
        let x = b.arg("x", dtype, 48, false);
        let out = b.arg("out", dtype, 64, true);
        let every_third = b.load(x, Index::constant(0), 3, 16, 16);
        b.store(out, Index::constant(0), 2, 16, every_third);
        let one = b.load(x, Index::constant(5), 0, 16, 16);
        b.store(out, Index::constant(1), 2, 16, one);
        let lane = b.inst(Ty::I32, 16, Inst::LaneIota);
        let lane = b.cast(Ty::of(dtype), lane);
        b.store(out, Index::constant(32), 1, 16, lane);
        let reversed = b.load(x, Index::constant(15), -1, 16, 16);
        b.store(out, Index::constant(48), 1, 16, reversed);
        let values: Vec<Scalar> = (0..48).map(|idx| Scalar::from_i64(dtype, idx)).collect();
        check(&b.finish(), &[bytes(&values), vec![0; 64 * dtype.size()]], &[0, 1]);
    }
}

pub fn register_tiles_loops_and_conditions(check: Check<'_>) {
    let mut b = KernelBuilder::new("tile");
    let x = b.arg("x", DType::F32, 64, false);
    let out = b.arg("out", DType::F32, 32, true);
    let acc = b.scratch("acc", DType::F32, 32, Space::Local);
    b.for_loop(1, LoopKind::Parallel, |b, _| {
        b.for_loop(2, LoopKind::Unrolled, |b, half| {
            let zero = b.const_f64(Ty::F32, 16, 0.0);
            b.store(acc, Index::term(half, 16), 1, 16, zero);
        });
        b.for_loop(2, LoopKind::Serial, |b, row| {
            b.for_loop(2, LoopKind::Unrolled, |b, half| {
                let value = b.load(x, Index::term(row, 32).plus(half, 16), 1, 16, 16);
                let sum = b.load(acc, Index::term(half, 16), 1, 16, 16);
                let sum = b.add(sum, value);
                b.store(acc, Index::term(half, 16), 1, 16, sum);
            });
            let one = b.const_i64(Ty::I64, 1, 1);
            let last = b.compare(CompareDir::Eq, row, one);
            b.if_then(last, |b| {
                b.for_loop(2, LoopKind::Unrolled, |b, half| {
                    let sum = b.load(acc, Index::term(half, 16), 1, 16, 16);
                    b.store(out, Index::term(half, 16), 1, 16, sum);
                });
            });
        });
    });
    let values: Vec<Scalar> = (0..64).map(|idx| Scalar::from_f64(DType::F32, f64::from(idx) * 0.37)).collect();
    check(&b.finish(), &[bytes(&values), vec![0; 128]], &[0, 1]);
}

pub fn tile_products_and_transposes(check: Check<'_>) {
    for (m, n, k) in [(1, 1, 1), (3, 5, 7), (13, 32, 20), (6, 70, 3)] {
        let mut b = KernelBuilder::new("product");
        let a = b.arg("a", DType::F32, m * k, false);
        let rhs = b.arg("b", DType::F32, n * k, false);
        let out = b.arg("out", DType::F32, m * n, true);
        let packed = b.scratch("packed", DType::F32, k * n, Space::Local);
        let origin = Index::constant(0);
        b.push(Stmt::Transpose(TileTranspose {
            src: rhs,
            src_index: origin.clone(),
            src_stride: k as i64,
            dst: packed,
            dst_index: origin.clone(),
            dst_stride: n as i64,
            rows: n as u32,
            cols: k as u32,
        }));
        for accumulate in [false, true] {
            b.push(Stmt::Matmul(TileMatmul {
                a,
                a_index: origin.clone(),
                a_row_stride: k as i64,
                a_k_stride: 1,
                b: packed,
                b_index: origin.clone(),
                b_k_stride: n as i64,
                b_taps: vec![0],
                acc: out,
                acc_index: origin.clone(),
                acc_row_stride: n as i64,
                m: m as u32,
                n: n as u32,
                k: k as u64,
                accumulate,
            }));
        }
        let values = |len: usize, seed: f64| -> Vec<u8> {
            bytes(&(0..len).map(|idx| Scalar::from_f64(DType::F32, (idx as f64 * seed).sin())).collect::<Vec<_>>())
        };
        check(&b.finish(), &[values(m * k, 1.7), values(n * k, 0.9), vec![0; m * n * 4]], &[0, 1, 2]);
    }
}
