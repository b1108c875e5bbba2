//! One test a family of rules: where each fires, and where it must not.

use nnc_ir::ops::{CompareDir, DotAttrs, PadAttrs, SliceAttrs};
use nnc_ir::{Builder, DType, Graph, Location, Op, Shape, TensorType, Value};

use super::simplify;
use crate::canonicalize::canonicalize;
use crate::const_fold::const_fold;
use crate::dce::dce;

/// What `value` is, as a nested expression over parameters `x`, `y`, `z`.
fn render(graph: &Graph, value: Value) -> String {
    let def = graph.def(value);
    let operands = || def.operands.iter().map(|&operand| render(graph, operand)).collect::<Vec<_>>().join(", ");
    match &def.op {
        Op::Param(idx) => ["x", "y", "z"][*idx as usize].to_string(),
        Op::Constant(constant) => constant.splat_value().map_or("dense".to_string(), |value| value.to_string()),
        Op::Convert(dtype) => format!("convert_{dtype}({})", operands()),
        Op::BitcastConvert(dtype) => format!("bitcast_{dtype}({})", operands()),
        Op::Compare(dir) => format!("{}({})", dir.name(), operands()),
        Op::Reshape(shape) => format!("reshape{shape}({})", operands()),
        Op::Transpose(permutation) => format!("transpose{permutation:?}({})", operands()),
        Op::BroadcastInDim(attrs) => format!("broadcast{}{:?}({})", attrs.shape, attrs.dims, operands()),
        Op::Reverse(dims) => format!("reverse{dims:?}({})", operands()),
        Op::Slice(attrs) => {
            let start = Shape(attrs.start.clone());
            format!("slice{start}..{}:{:?}({})", Shape(attrs.limit.clone()), attrs.stride, operands())
        }
        Op::DotGeneral(attrs) => format!("dot{:?}x{:?}({})", attrs.lhs_contract, attrs.rhs_contract, operands()),
        op => format!("{}({})", op.mnemonic(), operands()),
    }
}

/// Builds an expression of three parameters of type `ty`, simplifies it and compares what is left.
#[track_caller]
fn check(
    ty: TensorType,
    build: impl FnOnce(&mut Builder, [Value; 3]) -> Result<Value, nnc_ir::Diagnostic>,
    expected: &str,
) {
    let mut graph = Graph::new();
    let params = [(); 3].map(|()| graph.param(ty.clone(), Location::unknown()));
    let result = build(&mut Builder::new(&mut graph, Location::unknown()), params).expect("the test builds valid IR");
    graph.set_results(vec![result]);
    let graph = canonicalize(&graph).unwrap();
    let graph = dce(&const_fold(&simplify(&const_fold(&graph).unwrap()).unwrap()).unwrap());
    assert_eq!(render(&graph, graph.results()[0]), expected);
}

fn f32s<const N: usize>(shape: [usize; N]) -> TensorType {
    TensorType::new(DType::F32, shape)
}

fn i32s() -> TensorType {
    TensorType::new(DType::I32, [4])
}

fn bools() -> TensorType {
    TensorType::new(DType::Bool, [4])
}

/// `op` of x and a splat.
fn with_splat(number: f64, op: Op) -> impl FnOnce(&mut Builder, [Value; 3]) -> Result<Value, nnc_ir::Diagnostic> {
    move |b, [x, ..]| {
        let splat = b.splat_like(x, number)?;
        b.op(op, &[x, splat])
    }
}

#[test]
fn identities_of_floats_respect_the_sign_of_zero() {
    check(f32s([4]), with_splat(-0.0, Op::Add), "x");
    check(f32s([4]), with_splat(0.0, Op::Add), "add(x, 0.0)");
    check(f32s([4]), with_splat(0.0, Op::Subtract), "x");
    check(f32s([4]), with_splat(-0.0, Op::Subtract), "subtract(x, -0.0)");
    check(f32s([4]), with_splat(1.0, Op::Multiply), "x");
    check(f32s([4]), with_splat(0.0, Op::Multiply), "multiply(x, 0.0)");
    check(f32s([4]), with_splat(1.0, Op::Divide), "x");
    check(f32s([4]), |b, [x, ..]| b.subtract(x, x), "subtract(x, x)");
}

#[test]
fn identities_of_integers() {
    check(i32s(), with_splat(0.0, Op::Add), "x");
    check(i32s(), with_splat(0.0, Op::Multiply), "0");
    check(i32s(), |b, [x, ..]| b.subtract(x, x), "0");
    check(i32s(), with_splat(0.0, Op::ShiftLeft), "x");
    check(i32s(), with_splat(1.0, Op::ShiftLeft), "shift_left(x, 1)");
    check(i32s(), with_splat(-1.0, Op::And), "x");
    check(i32s(), with_splat(-1.0, Op::Or), "-1");
    check(i32s(), with_splat(0.0, Op::Xor), "x");
    check(i32s(), with_splat(1.0, Op::And), "and(x, 1)");
    check(i32s(), |b, [x, ..]| b.xor(x, x), "0");
    check(i32s(), |b, [x, y, _]| b.and(x, y), "and(x, y)");
}

#[test]
fn division_by_a_power_of_two_is_a_product() {
    check(f32s([4]), with_splat(64.0, Op::Divide), "multiply(x, 0.015625)");
    check(f32s([4]), with_splat(-0.5, Op::Divide), "multiply(x, -2.0)");
    check(f32s([4]), with_splat(10.0, Op::Divide), "divide(x, 10.0)");
    check(f32s([4]), with_splat(2f64.powi(100), Op::Divide), "divide(x, 1.2676506e30)");
    check(i32s(), with_splat(2.0, Op::Divide), "divide(x, 2)");
}

#[test]
fn powers() {
    check(f32s([4]), with_splat(2.0, Op::Power), "multiply(x, x)");
    check(f32s([4]), with_splat(1.0, Op::Power), "x");
    check(f32s([4]), with_splat(0.0, Op::Power), "1.0");
    check(f32s([4]), with_splat(0.5, Op::Power), "power(x, 0.5)");
}

#[test]
fn signs() {
    let negated = |b: &mut Builder, x| b.negate(x).unwrap();
    check(
        f32s([4]),
        |b, [x, ..]| {
            let n = negated(b, x);
            b.negate(n)
        },
        "x",
    );
    check(
        f32s([4]),
        |b, [x, ..]| {
            let n = negated(b, x);
            b.abs(n)
        },
        "abs(x)",
    );
    check(
        f32s([4]),
        |b, [x, y, _]| {
            let n = negated(b, y);
            b.add(x, n)
        },
        "subtract(x, y)",
    );
    check(
        f32s([4]),
        |b, [x, y, _]| {
            let n = negated(b, x);
            b.add(n, y)
        },
        "subtract(y, x)",
    );
    check(
        f32s([4]),
        |b, [x, y, _]| {
            let n = negated(b, y);
            b.subtract(x, n)
        },
        "add(x, y)",
    );
    check(
        f32s([4]),
        |b, [x, ..]| {
            let z = b.splat_like(x, -0.0)?;
            b.subtract(z, x)
        },
        "negate(x)",
    );
    check(
        f32s([4]),
        |b, [x, ..]| {
            let z = b.splat_like(x, 0.0)?;
            b.subtract(z, x)
        },
        "subtract(0.0, x)",
    );
    check(
        i32s(),
        |b, [x, ..]| {
            let z = b.splat_like(x, 0.0)?;
            b.subtract(z, x)
        },
        "negate(x)",
    );
    check(
        f32s([4]),
        |b, [x, y, _]| {
            let (x, y) = (negated(b, x), negated(b, y));
            b.multiply(x, y)
        },
        "multiply(x, y)",
    );
    check(
        f32s([4]),
        |b, [x, ..]| {
            let n = negated(b, x);
            let c = b.splat_like(x, 3.0)?;
            b.multiply(n, c)
        },
        "multiply(x, -3.0)",
    );
    check(
        i32s(),
        |b, [x, y, _]| {
            let (x, y) = (negated(b, x), negated(b, y));
            b.divide(x, y)
        },
        "divide(negate(x), negate(y))",
    );
    // The difference of equal numbers is +0, and its negation -0.
    check(
        f32s([4]),
        |b, [x, y, _]| {
            let d = b.subtract(x, y)?;
            b.negate(d)
        },
        "negate(subtract(x, y))",
    );
}

#[test]
fn extrema() {
    check(f32s([4]), |b, [x, ..]| b.maximum(x, x), "x");
    check(
        f32s([4]),
        |b, [x, y, _]| {
            let m = b.maximum(x, y)?;
            b.maximum(m, y)
        },
        "maximum(x, y)",
    );
    check(
        f32s([4]),
        |b, [x, y, z]| {
            let m = b.maximum(x, y)?;
            b.maximum(m, z)
        },
        "maximum(maximum(x, y), z)",
    );
    check(
        f32s([4]),
        |b, [x, y, _]| {
            let m = b.minimum(x, y)?;
            b.maximum(m, y)
        },
        "maximum(minimum(x, y), y)",
    );
}

#[test]
fn selects() {
    let pred = |b: &mut Builder, value: f64| b.splat(bools(), value).unwrap();
    check(
        f32s([4]),
        |b, [x, y, _]| {
            let p = pred(b, 1.0);
            b.select(p, x, y)
        },
        "x",
    );
    check(
        f32s([4]),
        |b, [x, y, _]| {
            let p = pred(b, 0.0);
            b.select(p, x, y)
        },
        "y",
    );
    check(
        f32s([4]),
        |b, [x, y, z]| {
            let p = b.lt(y, z)?;
            b.select(p, x, x)
        },
        "x",
    );
    check(
        f32s([4]),
        |b, [x, y, _]| {
            let p = b.lt(x, y)?;
            let n = b.not(p)?;
            b.select(n, x, y)
        },
        "select(lt(x, y), y, x)",
    );
    check(
        f32s([4]),
        |b, [x, y, _]| {
            let p = b.lt(x, y)?;
            b.select(p, x, y)
        },
        "select(lt(x, y), x, y)",
    );
    check(
        bools(),
        |b, [x, ..]| {
            let (t, f) = (pred(b, 1.0), pred(b, 0.0));
            b.select(x, t, f)
        },
        "x",
    );
    check(
        bools(),
        |b, [x, ..]| {
            let (t, f) = (pred(b, 1.0), pred(b, 0.0));
            b.select(x, f, t)
        },
        "select(x, false, true)",
    );
}

#[test]
fn comparisons() {
    let not_compared = |dir| {
        move |b: &mut Builder, [x, y, _]: [Value; 3]| {
            let p = b.compare(dir, x, y)?;
            b.not(p)
        }
    };
    check(f32s([4]), not_compared(CompareDir::Eq), "ne(x, y)");
    check(f32s([4]), not_compared(CompareDir::Lt), "not(lt(x, y))");
    check(i32s(), not_compared(CompareDir::Lt), "ge(x, y)");
    check(
        bools(),
        |b, [x, ..]| {
            let n = b.not(x)?;
            b.not(n)
        },
        "x",
    );
}

#[test]
fn conversions() {
    let twice = |through, to| {
        move |b: &mut Builder, [x, ..]: [Value; 3]| {
            let c = b.convert(x, through)?;
            b.convert(c, to)
        }
    };
    check(TensorType::new(DType::BF16, [4]), twice(DType::F32, DType::BF16), "x");
    check(TensorType::new(DType::F16, [4]), twice(DType::F32, DType::F64), "convert_f64(x)");
    check(f32s([4]), twice(DType::BF16, DType::F32), "convert_f32(convert_bf16(x))");
    check(TensorType::new(DType::I8, [4]), twice(DType::F32, DType::U8), "convert_u8(convert_f32(x))");
    check(TensorType::new(DType::U8, [4]), twice(DType::I32, DType::F32), "convert_f32(x)");
    check(
        f32s([4]),
        |b, [x, ..]| {
            let c = b.bitcast_convert(x, DType::U32)?;
            b.bitcast_convert(c, DType::F32)
        },
        "x",
    );
}

#[test]
fn reshapes() {
    check(
        f32s([2, 6]),
        |b, [x, ..]| {
            let r = b.reshape(x, [12])?;
            b.reshape(r, [3, 4])
        },
        "reshape[3, 4](x)",
    );
    check(
        f32s([2, 6]),
        |b, [x, ..]| {
            let r = b.reshape(x, [12])?;
            b.reshape(r, [2, 6])
        },
        "x",
    );
    check(
        f32s([6]),
        |b, [x, ..]| {
            let w = b.broadcast_in_dim(x, [2, 6], &[1])?;
            b.reshape(w, [2, 1, 6])
        },
        "broadcast[2, 1, 6][2](x)",
    );
    check(
        f32s([6]),
        |b, [x, ..]| {
            let w = b.broadcast_in_dim(x, [2, 6], &[1])?;
            b.reshape(w, [12])
        },
        "reshape[12](broadcast[2, 6][1](x))",
    );
    check(
        f32s([]),
        |b, [x, ..]| {
            let w = b.broadcast_in_dim(x, [2, 6], &[])?;
            b.reshape(w, [12])
        },
        "broadcast[12][](x)",
    );
}

#[test]
fn transposes() {
    check(
        f32s([2, 3, 4]),
        |b, [x, ..]| {
            let t = b.transpose(x, &[1, 2, 0])?;
            b.transpose(t, &[2, 0, 1])
        },
        "x",
    );
    check(
        f32s([2, 3, 4]),
        |b, [x, ..]| {
            let t = b.transpose(x, &[1, 2, 0])?;
            b.transpose(t, &[1, 0, 2])
        },
        "transpose[2, 1, 0](x)",
    );
    check(f32s([1, 3]), |b, [x, ..]| b.transpose(x, &[1, 0]), "reshape[3, 1](x)");
    check(f32s([2, 3]), |b, [x, ..]| b.transpose(x, &[1, 0]), "transpose[1, 0](x)");
    check(
        f32s([3]),
        |b, [x, ..]| {
            let w = b.broadcast_in_dim(x, [2, 3], &[1])?;
            b.transpose(w, &[1, 0])
        },
        "broadcast[3, 2][0](x)",
    );
    check(
        f32s([2, 3]),
        |b, [x, ..]| {
            let w = b.broadcast_in_dim(x, [2, 3, 4], &[0, 1])?;
            b.transpose(w, &[1, 0, 2])
        },
        "broadcast[3, 2, 4][0, 1](transpose[1, 0](x))",
    );
}

#[test]
fn broadcasts() {
    check(
        f32s([3]),
        |b, [x, ..]| {
            let w = b.broadcast_in_dim(x, [2, 3], &[1])?;
            b.broadcast_in_dim(w, [4, 2, 3], &[1, 2])
        },
        "broadcast[4, 2, 3][2](x)",
    );
    check(
        f32s([3]),
        |b, [x, ..]| b.op(Op::BroadcastInDim(nnc_ir::ops::BroadcastAttrs { shape: [3].into(), dims: vec![0] }), &[x]),
        "x",
    );
    check(
        f32s([3]),
        |b, [x, ..]| {
            let r = b.reshape(x, [3, 1])?;
            b.broadcast_in_dim(r, [3, 5], &[0, 1])
        },
        "broadcast[3, 5][0](x)",
    );
    check(
        f32s([6]),
        |b, [x, ..]| {
            let r = b.reshape(x, [2, 3])?;
            b.broadcast_in_dim(r, [2, 3, 5], &[0, 1])
        },
        "broadcast[2, 3, 5][0, 1](reshape[2, 3](x))",
    );
}

#[test]
fn slices() {
    let cut = |start: usize, limit: usize, stride: usize| SliceAttrs {
        start: vec![start.into()],
        limit: vec![limit.into()],
        stride: vec![stride],
    };
    check(f32s([10]), |b, [x, ..]| b.op(Op::Slice(cut(0, 10, 1)), &[x]), "x");
    check(
        f32s([10]),
        |b, [x, ..]| {
            let s = b.slice(x, cut(1, 10, 2))?;
            b.slice(s, cut(1, 4, 2))
        },
        "slice[3]..[8]:[4](x)",
    );
    let rows = |start: usize, limit: usize| SliceAttrs {
        start: vec![start.into(), 0.into()],
        limit: vec![limit.into(), 3.into()],
        stride: vec![1, 1],
    };
    check(
        f32s([3]),
        |b, [x, ..]| {
            let w = b.broadcast_in_dim(x, [5, 3], &[1])?;
            b.slice(w, rows(1, 3))
        },
        "broadcast[2, 3][1](x)",
    );
    check(
        f32s([5]),
        |b, [x, ..]| {
            let w = b.broadcast_in_dim(x, [5, 3], &[0])?;
            b.slice(w, rows(1, 3))
        },
        "slice[1, 0]..[3, 3]:[1, 1](broadcast[5, 3][0](x))",
    );
}

#[test]
fn other_movement() {
    check(
        f32s([2, 3]),
        |b, [x, ..]| {
            let r = b.reverse(x, &[0])?;
            b.reverse(r, &[0])
        },
        "x",
    );
    check(
        f32s([2, 3]),
        |b, [x, ..]| {
            let r = b.reverse(x, &[0])?;
            b.reverse(r, &[1])
        },
        "reverse[0, 1](x)",
    );
    check(f32s([1, 3]), |b, [x, ..]| b.reverse(x, &[0]), "x");
    check(
        f32s([3]),
        |b, [x, ..]| {
            let zero = b.scalar(DType::F32, 0.0)?;
            b.pad(x, zero, PadAttrs { low: vec![0], high: vec![0], interior: vec![0] })
        },
        "x",
    );
    check(
        f32s([3]),
        |b, [x, ..]| {
            let zero = b.scalar(DType::F32, 0.0)?;
            b.pad(x, zero, PadAttrs { low: vec![-1], high: vec![1], interior: vec![0] })
        },
        "pad(x, 0.0)",
    );
    check(f32s([3]), |b, [x, ..]| b.op(Op::Concatenate(0), &[x]), "x");
}

#[test]
fn views_sink_below_elementwise_ops() {
    check(
        f32s([3]),
        |b, [x, ..]| {
            let r = b.reshape(x, [3, 1])?;
            b.log(r)
        },
        "reshape[3, 1](log(x))",
    );
    check(
        f32s([6]),
        |b, [x, ..]| {
            let r = b.reshape(x, [2, 3])?;
            b.log(r)
        },
        "log(reshape[2, 3](x))",
    );
    check(
        f32s([3]),
        |b, [x, y, _]| {
            let x = b.broadcast_in_dim(x, [2, 3], &[1])?;
            let y = b.broadcast_in_dim(y, [2, 3], &[1])?;
            b.add(x, y)
        },
        "broadcast[2, 3][1](add(x, y))",
    );
    check(
        f32s([3]),
        |b, [x, ..]| {
            let x = b.broadcast_in_dim(x, [2, 3], &[1])?;
            let two = b.splat_like(x, 2.0)?;
            b.multiply(x, two)
        },
        "broadcast[2, 3][1](multiply(x, 2.0))",
    );
    check(
        f32s([3]),
        |b, [x, y, _]| {
            let x = b.broadcast_in_dim(x, [3, 3], &[1])?;
            let y = b.broadcast_in_dim(y, [3, 3], &[0])?;
            b.add(x, y)
        },
        "add(broadcast[3, 3][1](x), broadcast[3, 3][0](y))",
    );
}

#[test]
fn reductions() {
    check(
        f32s([3]),
        |b, [x, ..]| {
            let w = b.broadcast_in_dim(x, [2, 3], &[1])?;
            b.reduce_max(w, &[0])
        },
        "x",
    );
    check(
        f32s([3]),
        |b, [x, ..]| {
            let w = b.broadcast_in_dim(x, [2, 3], &[1])?;
            b.reduce_sum(w, &[0])
        },
        "reduce(broadcast[2, 3][1](x))",
    );
    check(f32s([3, 1]), |b, [x, ..]| b.reduce_max(x, &[1]), "reshape[3](x)");
    check(f32s([3, 1]), |b, [x, ..]| b.reduce_sum(x, &[1]), "reduce(x)");
}

#[test]
fn contractions_absorb_transposes() {
    let matmul = DotAttrs { lhs_contract: vec![1], rhs_contract: vec![0], ..DotAttrs::default() };
    let attrs = matmul.clone();
    check(
        f32s([3, 3]),
        |b, [x, y, _]| {
            let x = b.transpose(x, &[1, 0])?;
            b.dot(x, y, attrs)
        },
        "dot[0]x[0](x, y)",
    );
    let attrs = matmul.clone();
    check(
        f32s([3, 3]),
        |b, [x, y, _]| {
            let y = b.transpose(y, &[1, 0])?;
            b.dot(x, y, attrs)
        },
        "dot[1]x[1](x, y)",
    );
    let attrs = matmul.clone();
    check(
        f32s([3, 3]),
        |b, [x, y, _]| {
            let d = b.dot(x, y, attrs)?;
            b.transpose(d, &[1, 0])
        },
        "dot[0]x[1](y, x)",
    );
    let attrs = matmul.clone();
    check(
        f32s([3, 3]),
        |b, [x, y, _]| {
            let d = b.dot(x, y, attrs)?;
            let t = b.transpose(d, &[1, 0])?;
            b.add(d, t)
        },
        "add(dot[1]x[0](x, y), transpose[1, 0](dot[1]x[0](x, y)))",
    );
    // The free dimensions of the left operand would change places.
    let attrs = DotAttrs { lhs_contract: vec![2], rhs_contract: vec![0], ..DotAttrs::default() };
    check(
        f32s([3, 3, 3]),
        |b, [x, y, _]| {
            let x = b.transpose(x, &[1, 0, 2])?;
            b.dot(x, y, attrs)
        },
        "dot[2]x[0](transpose[1, 0, 2](x), y)",
    );
}

#[test]
fn rules_have_distinct_names() {
    let mut names: Vec<&str> = super::rules().map(|rule| rule.name).collect();
    let n_rules = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), n_rules);
}
