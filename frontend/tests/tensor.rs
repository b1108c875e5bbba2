//! Tensor functions against PyTorch 2.15: each result prints as PyTorch's does.

use nnc_frontend::prelude::*;
use nnc_frontend::tensor::einsum;
use nnc_ir::ops::Combiner;

/// The tensors that the cases are about.
struct Operands {
    /// `f32[2, 3]`.
    x: Tensor,
    /// `f32[2, 1]`.
    y: Tensor,
    /// `i64[2, 3, 4]`, counting.
    i: Tensor,
    /// `f32[2, 3, 4]`, counting in fifths.
    f: Tensor,
    /// `i64[2, 3]`.
    idx: Tensor,
    /// `f32[3, 2]`.
    m: Tensor,
    /// Positions.
    t: Tensor,
    b: Tensor,
    neg: Tensor,
}

fn operands() -> Operands {
    Operands {
        x: Tensor::from_slice(&[1f32, -2.0, 3.0, 0.5, 4.0, -0.25]).view([2, 3]),
        y: Tensor::from_slice(&[2f32, 4.0]).view([2, 1]),
        i: Tensor::arange(24).view([2, 3, 4]),
        f: Tensor::arange(24).view([2, 3, 4]).float() / 5.0,
        idx: Tensor::from_slice(&[2i64, 0, 1, 1, 1, 0]).view([2, 3]),
        m: Tensor::from_slice(&[1f32, 2.0, 3.0, 4.0, 5.0, 6.0]).view([3, 2]),
        t: Tensor::from_slice(&[2i64, 0]),
        b: Tensor::from_slice(&[1i64, 0]),
        neg: Tensor::from_slice(&[-1i64, 0, -3]),
    }
}

fn true_() -> Tensor {
    Tensor::scalar(true)
}

#[track_caller]
fn shows(tensor: Tensor, expected: &str) {
    assert_eq!(tensor.to_string(), expected);
}
#[test]
#[rustfmt::skip]
fn arithmetic_broadcasts_and_promotes() {
    let Operands { x, y, i, idx, .. } = operands();
    shows(&x + &y, "\
tensor([[3.0000, 0.0000, 5.0000],
        [4.5000, 8.0000, 3.7500]])");
    shows(&x - 1.5, "\
tensor([[-0.5000, -3.5000,  1.5000],
        [-1.0000,  2.5000, -1.7500]])");
    shows(2.0 * &x, "\
tensor([[ 2.0000, -4.0000,  6.0000],
        [ 1.0000,  8.0000, -0.5000]])");
    shows(1.0 / &y, "\
tensor([[0.5000],
        [0.2500]])");
    shows(-&x, "\
tensor([[-1.0000,  2.0000, -3.0000],
        [-0.5000, -4.0000,  0.2500]])");
    shows(&i / 2, "\
tensor([[[ 0.0000,  0.5000,  1.0000,  1.5000],
         [ 2.0000,  2.5000,  3.0000,  3.5000],
         [ 4.0000,  4.5000,  5.0000,  5.5000]],

        [[ 6.0000,  6.5000,  7.0000,  7.5000],
         [ 8.0000,  8.5000,  9.0000,  9.5000],
         [10.0000, 10.5000, 11.0000, 11.5000]]])");
    shows(&i.index(0) + 0.5, "\
tensor([[ 0.5000,  1.5000,  2.5000,  3.5000],
        [ 4.5000,  5.5000,  6.5000,  7.5000],
        [ 8.5000,  9.5000, 10.5000, 11.5000]])");
    shows(&idx * &x, "\
tensor([[2.0000, -0.0000, 3.0000],
        [0.5000, 4.0000, -0.0000]])");
    shows(x.gt(0), "\
tensor([[ True, False,  True],
        [ True,  True, False]])");
    shows(x.gt(0).float() + true_(), "\
tensor([[2., 1., 2.],
        [2., 2., 1.]])");
    shows(&idx + x.gt(0), "\
tensor([[3, 0, 2],
        [2, 2, 0]])");
    shows(x.maximum(&y), "\
tensor([[2., 2., 3.],
        [4., 4., 4.]])");
    shows(x.minimum(0.5), "\
tensor([[ 0.5000, -2.0000,  0.5000],
        [ 0.5000,  0.5000, -0.2500]])");
    shows(x.pow(2), "\
tensor([[ 1.0000,  4.0000,  9.0000],
        [ 0.2500, 16.0000,  0.0625]])");
    shows(y.pow(0.5), "\
tensor([[1.4142],
        [2.0000]])");
    shows(y.pow(&y), "\
tensor([[  4.],
        [256.]])");
    shows(y.pow(-1), "\
tensor([[0.5000],
        [0.2500]])");
    shows(y.pow(2.5), "\
tensor([[ 5.6569],
        [32.0000]])");
    shows(x.fmod(0.75), "\
tensor([[ 0.2500, -0.5000,  0.0000],
        [ 0.5000,  0.2500, -0.2500]])");
    shows(x.atan2(&y), "\
tensor([[ 0.4636, -0.7854,  0.9828],
        [ 0.1244,  0.7854, -0.0624]])");
    shows(where_(&x.gt(0), &x, 0), "\
tensor([[1.0000, 0.0000, 3.0000],
        [0.5000, 4.0000, 0.0000]])");
    shows(x.clamp(-1.0, 2.0), "\
tensor([[ 1.0000, -1.0000,  2.0000],
        [ 0.5000,  2.0000, -0.2500]])");
    shows(x.clamp(None, 2.0), "\
tensor([[ 1.0000, -2.0000,  2.0000],
        [ 0.5000,  2.0000, -0.2500]])");
    shows(x.masked_fill(&x.lt(0), 9), "\
tensor([[1.0000, 9.0000, 3.0000],
        [0.5000, 4.0000, 9.0000]])");
    shows(x.gt(0).logical_and(x.lt(2)), "\
tensor([[ True, False, False],
        [ True, False, False]])");
    shows(!x.gt(0), "\
tensor([[False,  True, False],
        [False, False,  True]])");
}

#[test]
#[rustfmt::skip]
fn functions_of_one_tensor() {
    let Operands { x, y, f, idx, t, .. } = operands();
    shows(x.exp(), "\
tensor([[ 2.7183,  0.1353, 20.0855],
        [ 1.6487, 54.5981,  0.7788]])");
    shows(x.abs().log(), "\
tensor([[ 0.0000,  0.6931,  1.0986],
        [-0.6931,  1.3863, -1.3863]])");
    shows(y.sqrt(), "\
tensor([[1.4142],
        [2.0000]])");
    shows(y.rsqrt(), "\
tensor([[0.7071],
        [0.5000]])");
    shows(x.tanh(), "\
tensor([[ 0.7616, -0.9640,  0.9951],
        [ 0.4621,  0.9993, -0.2449]])");
    shows(x.sigmoid(), "\
tensor([[0.7311, 0.1192, 0.9526],
        [0.6225, 0.9820, 0.4378]])");
    shows(x.relu(), "\
tensor([[1.0000, 0.0000, 3.0000],
        [0.5000, 4.0000, 0.0000]])");
    shows(y.gelu(), "\
tensor([[1.9545],
        [3.9999]])");
    shows(x.gelu_tanh(), "\
tensor([[ 0.8412, -0.0454,  2.9964],
        [ 0.3457,  3.9999, -0.1003]])");
    shows(x.silu(), "\
tensor([[ 0.7311, -0.2384,  2.8577],
        [ 0.3112,  3.9281, -0.1095]])");
    shows(x.softplus(), "\
tensor([[1.3133, 0.1269, 3.0486],
        [0.9741, 4.0181, 0.5759]])");
    shows(x.leaky_relu(0.1), "\
tensor([[ 1.0000, -0.2000,  3.0000],
        [ 0.5000,  4.0000, -0.0250]])");
    shows(x.floor(), "\
tensor([[ 1., -2.,  3.],
        [ 0.,  4., -1.]])");
    shows(x.ceil(), "\
tensor([[ 1., -2.,  3.],
        [ 1.,  4., -0.]])");
    shows(x.round(), "\
tensor([[ 1., -2.,  3.],
        [ 0.,  4., -0.]])");
    shows(x.sign(), "\
tensor([[ 1., -1.,  1.],
        [ 1.,  1., -1.]])");
    shows(x.erf(), "\
tensor([[ 0.8427, -0.9953,  1.0000],
        [ 0.5205,  1.0000, -0.2763]])");
    shows(x.sin(), "\
tensor([[ 0.8415, -0.9093,  0.1411],
        [ 0.4794, -0.7568, -0.2474]])");
    shows(x.expm1(), "\
tensor([[ 1.7183, -0.8647, 19.0855],
        [ 0.6487, 53.5981, -0.2212]])");
    shows(y.log2(), "\
tensor([[1.],
        [2.]])");
    shows(y.log1p(), "\
tensor([[1.0986],
        [1.6094]])");
    shows(y.reciprocal(), "\
tensor([[0.5000],
        [0.2500]])");
    shows(x.long(), "\
tensor([[ 1, -2,  3],
        [ 0,  4,  0]])");
    shows(x.bool(), "\
tensor([[True, True, True],
        [True, True, True]])");
    shows(idx.exp(), "\
tensor([[7.3891, 1.0000, 2.7183],
        [2.7183, 2.7183, 1.0000]])");
    shows(t.one_hot(4), "\
tensor([[0, 0, 1, 0],
        [1, 0, 0, 0]])");
    shows(Tensor::eye(3), "\
tensor([[1., 0., 0.],
        [0., 1., 0.],
        [0., 0., 1.]])");
    shows(f.index(0).tril(0), "\
tensor([[0.0000, 0.0000, 0.0000, 0.0000],
        [0.8000, 1.0000, 0.0000, 0.0000],
        [1.6000, 1.8000, 2.0000, 0.0000]])");
    shows(f.triu(1), "\
tensor([[[0.0000, 0.2000, 0.4000, 0.6000],
         [0.0000, 0.0000, 1.2000, 1.4000],
         [0.0000, 0.0000, 0.0000, 2.2000]],

        [[0.0000, 2.6000, 2.8000, 3.0000],
         [0.0000, 0.0000, 3.6000, 3.8000],
         [0.0000, 0.0000, 0.0000, 4.6000]]])");
}

#[test]
#[rustfmt::skip]
fn reductions() {
    let Operands { x, i, .. } = operands();
    shows(x.sum(..), "tensor(6.2500)");
    shows(x.sum(-1), "tensor([2.0000, 4.2500])");
    shows(x.sum([0, 1]), "tensor(6.2500)");
    shows(x.sum_keepdim(0), "tensor([[1.5000, 2.0000, 2.7500]])");
    shows(x.gt(0).sum(1), "tensor([2, 2])");
    shows(i.sum([0, 2]), "tensor([ 60,  92, 124])");
    shows(x.mean(..), "tensor(1.0417)");
    shows(x.mean(1), "tensor([0.6667, 1.4167])");
    shows(x.mean_keepdim(-1), "\
tensor([[0.6667],
        [1.4167]])");
    shows(x.max(..), "tensor(4.)");
    shows(x.max_dim(1).0, "tensor([3., 4.])");
    shows(x.max_dim(1).1, "tensor([2, 1])");
    shows(x.min(0), "tensor([ 0.5000, -2.0000, -0.2500])");
    shows(x.argmax(1), "tensor([2, 1])");
    shows(x.argmax(..), "tensor(4)");
    shows(x.argmin(0), "tensor([1, 0, 1])");
    shows(x.prod(1), "tensor([-6.0000, -0.5000])");
    shows(x.var(1, 1), "tensor([6.3333, 5.1458])");
    shows(x.var(.., 0), "tensor(3.9670)");
    shows(x.std(0, 1), "tensor([0.3536, 4.2426, 2.2981])");
    shows(x.norm(2.0, ..), "tensor(5.5057)");
    shows(x.norm(1.0, 1), "tensor([6.0000, 4.7500])");
    shows(x.norm(3.0, 0), "tensor([1.0400, 4.1602, 3.0006])");
    shows(x.norm(f64::INFINITY, 1), "tensor([3., 4.])");
    shows(x.logsumexp(1), "tensor([3.1328, 4.0435])");
    shows((&x * 1000.0).logsumexp(1), "tensor([3000., 4000.])");
    shows(x.softmax(1), "\
tensor([[0.1185, 0.0059, 0.8756],
        [0.0289, 0.9574, 0.0137]])");
    shows(x.log_softmax(0), "\
tensor([[-4.7408e-01, -6.0025e+00, -3.8041e-02],
        [-9.7408e-01, -2.4757e-03, -3.2880e+00]])");
    shows(x.gt(0).any(0), "tensor([True, True, True])");
    shows(x.gt(0).all(..), "tensor(False)");
}

#[test]
#[rustfmt::skip]
fn movement() {
    let Operands { x, y, i, t, .. } = operands();
    shows(i.view([-1, 6]), "\
tensor([[ 0,  1,  2,  3,  4,  5],
        [ 6,  7,  8,  9, 10, 11],
        [12, 13, 14, 15, 16, 17],
        [18, 19, 20, 21, 22, 23]])");
    shows(i.flatten(1, -1), "\
tensor([[ 0,  1,  2,  3,  4,  5,  6,  7,  8,  9, 10, 11],
        [12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23]])");
    shows(i.unflatten(-1, [2, -1]), "\
tensor([[[[ 0,  1],
          [ 2,  3]],

         [[ 4,  5],
          [ 6,  7]],

         [[ 8,  9],
          [10, 11]]],


        [[[12, 13],
          [14, 15]],

         [[16, 17],
          [18, 19]],

         [[20, 21],
          [22, 23]]]])");
    shows(x.t(), "\
tensor([[ 1.0000,  0.5000],
        [-2.0000,  4.0000],
        [ 3.0000, -0.2500]])");
    shows(i.permute([2, 0, 1]), "\
tensor([[[ 0,  4,  8],
         [12, 16, 20]],

        [[ 1,  5,  9],
         [13, 17, 21]],

        [[ 2,  6, 10],
         [14, 18, 22]],

        [[ 3,  7, 11],
         [15, 19, 23]]])");
    shows(i.transpose(-1, 0), "\
tensor([[[ 0, 12],
         [ 4, 16],
         [ 8, 20]],

        [[ 1, 13],
         [ 5, 17],
         [ 9, 21]],

        [[ 2, 14],
         [ 6, 18],
         [10, 22]],

        [[ 3, 15],
         [ 7, 19],
         [11, 23]]])");
    shows(t.unsqueeze(-1), "\
tensor([[2],
        [0]])");
    shows(y.squeeze(1), "tensor([2., 4.])");
    shows(y.expand([-1, 3]), "\
tensor([[2., 2., 2.],
        [4., 4., 4.]])");
    shows(t.expand([2, -1]), "\
tensor([[2, 0],
        [2, 0]])");
    shows(x.repeat([2, 1]), "\
tensor([[ 1.0000, -2.0000,  3.0000],
        [ 0.5000,  4.0000, -0.2500],
        [ 1.0000, -2.0000,  3.0000],
        [ 0.5000,  4.0000, -0.2500]])");
    shows(t.repeat([2, 2]), "\
tensor([[2, 0, 2, 0],
        [2, 0, 2, 0]])");
    shows(i.narrow(2, 1, 2), "\
tensor([[[ 1,  2],
         [ 5,  6],
         [ 9, 10]],

        [[13, 14],
         [17, 18],
         [21, 22]]])");
    shows(i.select(1, -1), "\
tensor([[ 8,  9, 10, 11],
        [20, 21, 22, 23]])");
    shows(i.slice(2, -3, None, 2), "\
tensor([[[ 1,  3],
         [ 5,  7],
         [ 9, 11]],

        [[13, 15],
         [17, 19],
         [21, 23]]])");
    shows(Tensor::cat(&[&x, &x], 1), "\
tensor([[ 1.0000, -2.0000,  3.0000,  1.0000, -2.0000,  3.0000],
        [ 0.5000,  4.0000, -0.2500,  0.5000,  4.0000, -0.2500]])");
    shows(Tensor::stack(&[&x, &x], -1), "\
tensor([[[ 1.0000,  1.0000],
         [-2.0000, -2.0000],
         [ 3.0000,  3.0000]],

        [[ 0.5000,  0.5000],
         [ 4.0000,  4.0000],
         [-0.2500, -0.2500]]])");
    shows(i.split(2, 1)[1].clone(), "\
tensor([[[ 8,  9, 10, 11]],

        [[20, 21, 22, 23]]])");
    shows(i.chunk(3, -1)[1].clone(), "\
tensor([[[ 2,  3],
         [ 6,  7],
         [10, 11]],

        [[14, 15],
         [18, 19],
         [22, 23]]])");
    shows(x.flip([0, 1]), "\
tensor([[-0.2500,  4.0000,  0.5000],
        [ 3.0000, -2.0000,  1.0000]])");
    shows(x.pad(&[(1, 0), (0, 1)], 7.0), "\
tensor([[ 7.0000,  1.0000, -2.0000,  3.0000],
        [ 7.0000,  0.5000,  4.0000, -0.2500],
        [ 7.0000,  7.0000,  7.0000,  7.0000]])");
    shows(x.pad(&[(-1, 1)], 0.0), "\
tensor([[-2.0000,  3.0000,  0.0000],
        [ 4.0000, -0.2500,  0.0000]])");
}

#[test]
#[rustfmt::skip]
fn indexing() {
    let Operands { x, i, idx, m, t, b, neg, .. } = operands();
    shows(i.index(1), "\
tensor([[12, 13, 14, 15],
        [16, 17, 18, 19],
        [20, 21, 22, 23]])");
    shows(i.index((.., -1)), "\
tensor([[ 8,  9, 10, 11],
        [20, 21, 22, 23]])");
    shows(i.index((0, 1.., ..2)), "\
tensor([[4, 5],
        [8, 9]])");
    shows(i.index((Index::Ellipsis, 1)), "\
tensor([[ 1,  5,  9],
        [13, 17, 21]])");
    shows(t.index((.., Index::NewAxis)), "\
tensor([[2],
        [0]])");
    shows(i.index(t.index(1..2)), "\
tensor([[[ 0,  1,  2,  3],
         [ 4,  5,  6,  7],
         [ 8,  9, 10, 11]]])");
    shows(x.index([range(2), t.clone()]), "tensor([3.0000, 0.5000])");
    shows(i.index((.., &t)), "\
tensor([[[ 8,  9, 10, 11],
         [ 0,  1,  2,  3]],

        [[20, 21, 22, 23],
         [12, 13, 14, 15]]])");
    shows(i.index((.., .., &t)), "\
tensor([[[ 2,  0],
         [ 6,  4],
         [10,  8]],

        [[14, 12],
         [18, 16],
         [22, 20]]])");
    shows(i.index((&b, .., &t)), "\
tensor([[14, 18, 22],
        [ 0,  4,  8]])");
    shows(i.index((.., &b, &t)), "\
tensor([[ 6,  0],
        [18, 12]])");
    shows(x.index((.., &neg)), "\
tensor([[ 3.0000,  1.0000,  1.0000],
        [-0.2500,  0.5000,  0.5000]])");
    shows(i.index((1, .., &t)), "\
tensor([[14, 12],
        [18, 16],
        [22, 20]])");
    shows(i.index((0, &idx.index(1))), "\
tensor([[4, 5, 6, 7],
        [4, 5, 6, 7],
        [0, 1, 2, 3]])");
    shows(x.gather(1, &idx), "\
tensor([[ 3.0000,  1.0000, -2.0000],
        [ 4.0000,  4.0000,  0.5000]])");
    shows(x.gather(0, &idx.index((..1, ..2)).clamp(None, 1.0).long()), "tensor([[ 0.5000, -2.0000]])");
    shows(x.index_select(1, &t), "\
tensor([[ 3.0000,  1.0000],
        [-0.2500,  0.5000]])");
    shows(x.scatter_add(1, &idx, &x), "\
tensor([[-1.0000,  1.0000,  4.0000],
        [ 0.2500,  8.5000, -0.2500]])");
    shows(x.scatter_add(1, &idx.index(..1), &x.index(..1)), "\
tensor([[-1.0000,  1.0000,  4.0000],
        [ 0.5000,  4.0000, -0.2500]])");
    shows(x.scatter_reduce(1, &idx, &x, Combiner::Multiply), "\
tensor([[-2.0000, -6.0000,  3.0000],
        [-0.1250,  8.0000, -0.2500]])");
    shows(x.scatter_reduce(1, &idx, &x, Combiner::Minimum), "\
tensor([[-2.0000, -2.0000,  1.0000],
        [-0.2500,  0.5000, -0.2500]])");
    shows(x.scatter_reduce(1, &idx, &x, Combiner::Maximum), "\
tensor([[ 1.0000,  3.0000,  3.0000],
        [ 0.5000,  4.0000, -0.2500]])");
    shows(x.scatter(1, &Tensor::stack(&[&t, &b], 0), &m.index(..2)), "\
tensor([[ 2.0000, -2.0000,  1.0000],
        [ 4.0000,  3.0000, -0.2500]])");
}

#[test]
#[rustfmt::skip]
fn vectors_of_positions() {
    let Operands { i, x, .. } = operands();
    let of = |values: &[i64], shape: &[usize]| Tensor::from_slice(values).view(shape);
    // i[[0, 1], [2, -1]], and with the batch paired: i[0, 2], i[1, -1].
    shows(i.gather_nd(0, &of(&[0, 2, 1, -1], &[2, 2])), "\
tensor([[ 8,  9, 10, 11],
        [20, 21, 22, 23]])");
    shows(i.gather_nd(1, &of(&[0, 2, -1, 3], &[2, 2])), "tensor([ 2, 23])");
    shows(i.gather_nd(2, &of(&[0, 1, 2, 3, -1, -2], &[2, 3, 1])), "\
tensor([[ 0,  5, 10],
        [15, 19, 22]])");
    let rows = Tensor::from_slice(&[10f32, 20.0, 30.0]).view([1, 3]);
    shows(x.scatter_nd(&of(&[-1], &[1, 1]), &rows, Combiner::Add), "\
tensor([[ 1.0000, -2.0000,  3.0000],
        [10.5000, 24.0000, 29.7500]])");
    // What lies outside is dropped; of several the last stays.
    let updates = Tensor::from_slice(&[7f32, 8.0, 9.0]);
    shows(x.scatter_nd(&of(&[0, 0, 0, 3, 0, -3], &[3, 2]), &updates, Combiner::Assign), "\
tensor([[ 9.0000, -2.0000,  3.0000],
        [ 0.5000,  4.0000, -0.2500]])");
}

#[test]
#[rustfmt::skip]
fn contractions() {
    let Operands { x, f, m, t, .. } = operands();
    shows(x.matmul(&m), "\
tensor([[10.0000, 12.0000],
        [11.2500, 15.5000]])");
    shows(m.matmul(x.index((.., 0))), "tensor([2., 5., 8.])");
    shows(x.index(0).matmul(&m), "tensor([10., 12.])");
    shows(x.index(0).matmul(x.index(1)), "tensor(-8.2500)");
    shows(f.matmul(f.transpose(1, 2)), "\
tensor([[[ 0.5600,  1.5200,  2.4800],
         [ 1.5200,  5.0400,  8.5600],
         [ 2.4800,  8.5600, 14.6400]],

        [[29.3600, 38.0000, 46.6400],
         [38.0000, 49.2000, 60.4000],
         [46.6400, 60.4000, 74.1600]]])");
    shows(f.matmul(f.index(0).t()), "\
tensor([[[ 0.5600,  1.5200,  2.4800],
         [ 1.5200,  5.0400,  8.5600],
         [ 2.4800,  8.5600, 14.6400]],

        [[ 3.4400, 12.0800, 20.7200],
         [ 4.4000, 15.6000, 26.8000],
         [ 5.3600, 19.1200, 32.8800]]])");
    shows(x.matmul(&f), "\
tensor([[[ 3.2000,  3.6000,  4.0000,  4.4000],
         [ 2.8000,  3.6500,  4.5000,  5.3500]],

        [[ 8.0000,  8.4000,  8.8000,  9.2000],
         [13.0000, 13.8500, 14.7000, 15.5500]]])");
    shows(x.index(1).matmul(&f), "\
tensor([[ 2.8000,  3.6500,  4.5000,  5.3500],
        [13.0000, 13.8500, 14.7000, 15.5500]])");
    shows(f.matmul(f.index((0, 1))), "\
tensor([[ 1.5200,  5.0400,  8.5600],
        [12.0800, 15.6000, 19.1200]])");
    shows(x.linear(m.t(), Some(&t.float())), "\
tensor([[12.0000, 12.0000],
        [13.2500, 15.5000]])");
    shows(einsum("ij,jk->ik", &[&x, &m]), "\
tensor([[10.0000, 12.0000],
        [11.2500, 15.5000]])");
    shows(einsum("bij,bkj->bik", &[&f, &f]), "\
tensor([[[ 0.5600,  1.5200,  2.4800],
         [ 1.5200,  5.0400,  8.5600],
         [ 2.4800,  8.5600, 14.6400]],

        [[29.3600, 38.0000, 46.6400],
         [38.0000, 49.2000, 60.4000],
         [46.6400, 60.4000, 74.1600]]])");
    shows(einsum("ij->j", &[&x]), "tensor([1.5000, 2.0000, 2.7500])");
    shows(einsum("ij,ij", &[&x, &x]), "tensor(30.3125)");
    shows(einsum("ij,jk,kl->li", &[&x, &m, &m.t()]), "\
tensor([[ 34.0000,  42.2500],
        [ 78.0000,  95.7500],
        [122.0000, 149.2500]])");
    shows(einsum("i,j->ji", &[&x.index(0), &x.index(1)]), "\
tensor([[ 0.5000, -1.0000,  1.5000],
        [ 4.0000, -8.0000, 12.0000],
        [-0.2500,  0.5000, -0.7500]])");
    shows(einsum("bij,k->bk", &[&f, &t.float()]), "\
tensor([[26.4000,  0.0000],
        [84.0000,  0.0000]])");
}
