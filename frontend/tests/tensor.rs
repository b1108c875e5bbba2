//! Tensor functions against PyTorch 2.15: each result prints as PyTorch's does.

use nnc_frontend::prelude::*;
use nnc_frontend::tensor::einsum;

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

#[test]
#[rustfmt::skip]
fn arithmetic_broadcasts_and_promotes() {
    let Operands { x, y, i, idx, .. } = operands();
    assert_eq!((&x + &y).to_string(), "\
tensor([[3.0000, 0.0000, 5.0000],
        [4.5000, 8.0000, 3.7500]])");
    assert_eq!((&x - 1.5).to_string(), "\
tensor([[-0.5000, -3.5000,  1.5000],
        [-1.0000,  2.5000, -1.7500]])");
    assert_eq!((2.0 * &x).to_string(), "\
tensor([[ 2.0000, -4.0000,  6.0000],
        [ 1.0000,  8.0000, -0.5000]])");
    assert_eq!((1.0 / &y).to_string(), "\
tensor([[0.5000],
        [0.2500]])");
    assert_eq!((-&x).to_string(), "\
tensor([[-1.0000,  2.0000, -3.0000],
        [-0.5000, -4.0000,  0.2500]])");
    assert_eq!((&i / 2).to_string(), "\
tensor([[[ 0.0000,  0.5000,  1.0000,  1.5000],
         [ 2.0000,  2.5000,  3.0000,  3.5000],
         [ 4.0000,  4.5000,  5.0000,  5.5000]],

        [[ 6.0000,  6.5000,  7.0000,  7.5000],
         [ 8.0000,  8.5000,  9.0000,  9.5000],
         [10.0000, 10.5000, 11.0000, 11.5000]]])");
    assert_eq!((&i.index(0) + 0.5).to_string(), "\
tensor([[ 0.5000,  1.5000,  2.5000,  3.5000],
        [ 4.5000,  5.5000,  6.5000,  7.5000],
        [ 8.5000,  9.5000, 10.5000, 11.5000]])");
    assert_eq!((&idx * &x).to_string(), "\
tensor([[2.0000, -0.0000, 3.0000],
        [0.5000, 4.0000, -0.0000]])");
    assert_eq!((x.gt(0)).to_string(), "\
tensor([[ True, False,  True],
        [ True,  True, False]])");
    assert_eq!((x.gt(0).float() + true_()).to_string(), "\
tensor([[2., 1., 2.],
        [2., 2., 1.]])");
    assert_eq!((&idx + x.gt(0)).to_string(), "\
tensor([[3, 0, 2],
        [2, 2, 0]])");
    assert_eq!((x.maximum(&y)).to_string(), "\
tensor([[2., 2., 3.],
        [4., 4., 4.]])");
    assert_eq!((x.minimum(0.5)).to_string(), "\
tensor([[ 0.5000, -2.0000,  0.5000],
        [ 0.5000,  0.5000, -0.2500]])");
    assert_eq!((x.pow(2)).to_string(), "\
tensor([[ 1.0000,  4.0000,  9.0000],
        [ 0.2500, 16.0000,  0.0625]])");
    assert_eq!((y.pow(0.5)).to_string(), "\
tensor([[1.4142],
        [2.0000]])");
    assert_eq!((y.pow(&y)).to_string(), "\
tensor([[  4.],
        [256.]])");
    assert_eq!((y.pow(-1)).to_string(), "\
tensor([[0.5000],
        [0.2500]])");
    assert_eq!((y.pow(2.5)).to_string(), "\
tensor([[ 5.6569],
        [32.0000]])");
    assert_eq!((x.fmod(0.75)).to_string(), "\
tensor([[ 0.2500, -0.5000,  0.0000],
        [ 0.5000,  0.2500, -0.2500]])");
    assert_eq!((x.atan2(&y)).to_string(), "\
tensor([[ 0.4636, -0.7854,  0.9828],
        [ 0.1244,  0.7854, -0.0624]])");
    assert_eq!((where_(&x.gt(0), &x, 0)).to_string(), "\
tensor([[1.0000, 0.0000, 3.0000],
        [0.5000, 4.0000, 0.0000]])");
    assert_eq!((x.clamp(-1.0, 2.0)).to_string(), "\
tensor([[ 1.0000, -1.0000,  2.0000],
        [ 0.5000,  2.0000, -0.2500]])");
    assert_eq!((x.clamp(None, 2.0)).to_string(), "\
tensor([[ 1.0000, -2.0000,  2.0000],
        [ 0.5000,  2.0000, -0.2500]])");
    assert_eq!((x.masked_fill(&x.lt(0), 9)).to_string(), "\
tensor([[1.0000, 9.0000, 3.0000],
        [0.5000, 4.0000, 9.0000]])");
    assert_eq!((x.gt(0).logical_and(x.lt(2))).to_string(), "\
tensor([[ True, False, False],
        [ True, False, False]])");
    assert_eq!((!x.gt(0)).to_string(), "\
tensor([[False,  True, False],
        [False, False,  True]])");
}

#[test]
#[rustfmt::skip]
fn functions_of_one_tensor() {
    let Operands { x, y, f, idx, t, .. } = operands();
    assert_eq!((x.exp()).to_string(), "\
tensor([[ 2.7183,  0.1353, 20.0855],
        [ 1.6487, 54.5981,  0.7788]])");
    assert_eq!((x.abs().log()).to_string(), "\
tensor([[ 0.0000,  0.6931,  1.0986],
        [-0.6931,  1.3863, -1.3863]])");
    assert_eq!((y.sqrt()).to_string(), "\
tensor([[1.4142],
        [2.0000]])");
    assert_eq!((y.rsqrt()).to_string(), "\
tensor([[0.7071],
        [0.5000]])");
    assert_eq!((x.tanh()).to_string(), "\
tensor([[ 0.7616, -0.9640,  0.9951],
        [ 0.4621,  0.9993, -0.2449]])");
    assert_eq!((x.sigmoid()).to_string(), "\
tensor([[0.7311, 0.1192, 0.9526],
        [0.6225, 0.9820, 0.4378]])");
    assert_eq!((x.relu()).to_string(), "\
tensor([[1.0000, 0.0000, 3.0000],
        [0.5000, 4.0000, 0.0000]])");
    assert_eq!((y.gelu()).to_string(), "\
tensor([[1.9545],
        [3.9999]])");
    assert_eq!((x.gelu_tanh()).to_string(), "\
tensor([[ 0.8412, -0.0454,  2.9964],
        [ 0.3457,  3.9999, -0.1003]])");
    assert_eq!((x.silu()).to_string(), "\
tensor([[ 0.7311, -0.2384,  2.8577],
        [ 0.3112,  3.9281, -0.1095]])");
    assert_eq!((x.softplus()).to_string(), "\
tensor([[1.3133, 0.1269, 3.0486],
        [0.9741, 4.0181, 0.5759]])");
    assert_eq!((x.leaky_relu(0.1)).to_string(), "\
tensor([[ 1.0000, -0.2000,  3.0000],
        [ 0.5000,  4.0000, -0.0250]])");
    assert_eq!((x.floor()).to_string(), "\
tensor([[ 1., -2.,  3.],
        [ 0.,  4., -1.]])");
    assert_eq!((x.ceil()).to_string(), "\
tensor([[ 1., -2.,  3.],
        [ 1.,  4., -0.]])");
    assert_eq!((x.round()).to_string(), "\
tensor([[ 1., -2.,  3.],
        [ 0.,  4., -0.]])");
    assert_eq!((x.sign()).to_string(), "\
tensor([[ 1., -1.,  1.],
        [ 1.,  1., -1.]])");
    assert_eq!((x.erf()).to_string(), "\
tensor([[ 0.8427, -0.9953,  1.0000],
        [ 0.5205,  1.0000, -0.2763]])");
    assert_eq!((x.sin()).to_string(), "\
tensor([[ 0.8415, -0.9093,  0.1411],
        [ 0.4794, -0.7568, -0.2474]])");
    assert_eq!((x.expm1()).to_string(), "\
tensor([[ 1.7183, -0.8647, 19.0855],
        [ 0.6487, 53.5981, -0.2212]])");
    assert_eq!((y.log2()).to_string(), "\
tensor([[1.],
        [2.]])");
    assert_eq!((y.log1p()).to_string(), "\
tensor([[1.0986],
        [1.6094]])");
    assert_eq!((y.reciprocal()).to_string(), "\
tensor([[0.5000],
        [0.2500]])");
    assert_eq!((x.long()).to_string(), "\
tensor([[ 1, -2,  3],
        [ 0,  4,  0]])");
    assert_eq!((x.bool()).to_string(), "\
tensor([[True, True, True],
        [True, True, True]])");
    assert_eq!((idx.exp()).to_string(), "\
tensor([[7.3891, 1.0000, 2.7183],
        [2.7183, 2.7183, 1.0000]])");
    assert_eq!((t.one_hot(4)).to_string(), "\
tensor([[0, 0, 1, 0],
        [1, 0, 0, 0]])");
    assert_eq!((Tensor::eye(3)).to_string(), "\
tensor([[1., 0., 0.],
        [0., 1., 0.],
        [0., 0., 1.]])");
    assert_eq!((f.index(0).tril(0)).to_string(), "\
tensor([[0.0000, 0.0000, 0.0000, 0.0000],
        [0.8000, 1.0000, 0.0000, 0.0000],
        [1.6000, 1.8000, 2.0000, 0.0000]])");
    assert_eq!((f.triu(1)).to_string(), "\
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
    assert_eq!((x.sum(..)).to_string(), "tensor(6.2500)");
    assert_eq!((x.sum(-1)).to_string(), "tensor([2.0000, 4.2500])");
    assert_eq!((x.sum([0, 1])).to_string(), "tensor(6.2500)");
    assert_eq!((x.sum_keepdim(0)).to_string(), "tensor([[1.5000, 2.0000, 2.7500]])");
    assert_eq!((x.gt(0).sum(1)).to_string(), "tensor([2, 2])");
    assert_eq!((i.sum([0, 2])).to_string(), "tensor([ 60,  92, 124])");
    assert_eq!((x.mean(..)).to_string(), "tensor(1.0417)");
    assert_eq!((x.mean(1)).to_string(), "tensor([0.6667, 1.4167])");
    assert_eq!((x.mean_keepdim(-1)).to_string(), "\
tensor([[0.6667],
        [1.4167]])");
    assert_eq!((x.max(..)).to_string(), "tensor(4.)");
    assert_eq!((x.max_dim(1).0).to_string(), "tensor([3., 4.])");
    assert_eq!((x.max_dim(1).1).to_string(), "tensor([2, 1])");
    assert_eq!((x.min(0)).to_string(), "tensor([ 0.5000, -2.0000, -0.2500])");
    assert_eq!((x.argmax(1)).to_string(), "tensor([2, 1])");
    assert_eq!((x.argmax(..)).to_string(), "tensor(4)");
    assert_eq!((x.argmin(0)).to_string(), "tensor([1, 0, 1])");
    assert_eq!((x.prod(1)).to_string(), "tensor([-6.0000, -0.5000])");
    assert_eq!((x.var(1, 1)).to_string(), "tensor([6.3333, 5.1458])");
    assert_eq!((x.var(.., 0)).to_string(), "tensor(3.9670)");
    assert_eq!((x.std(0, 1)).to_string(), "tensor([0.3536, 4.2426, 2.2981])");
    assert_eq!((x.norm(2.0, ..)).to_string(), "tensor(5.5057)");
    assert_eq!((x.norm(1.0, 1)).to_string(), "tensor([6.0000, 4.7500])");
    assert_eq!((x.norm(3.0, 0)).to_string(), "tensor([1.0400, 4.1602, 3.0006])");
    assert_eq!((x.norm(f64::INFINITY, 1)).to_string(), "tensor([3., 4.])");
    assert_eq!((x.logsumexp(1)).to_string(), "tensor([3.1328, 4.0435])");
    assert_eq!(((&x * 1000.0).logsumexp(1)).to_string(), "tensor([3000., 4000.])");
    assert_eq!((x.softmax(1)).to_string(), "\
tensor([[0.1185, 0.0059, 0.8756],
        [0.0289, 0.9574, 0.0137]])");
    assert_eq!((x.log_softmax(0)).to_string(), "\
tensor([[-4.7408e-01, -6.0025e+00, -3.8041e-02],
        [-9.7408e-01, -2.4757e-03, -3.2880e+00]])");
    assert_eq!((x.gt(0).any(0)).to_string(), "tensor([True, True, True])");
    assert_eq!((x.gt(0).all(..)).to_string(), "tensor(False)");
}

#[test]
#[rustfmt::skip]
fn movement() {
    let Operands { x, y, i, t, .. } = operands();
    assert_eq!((i.view([-1, 6])).to_string(), "\
tensor([[ 0,  1,  2,  3,  4,  5],
        [ 6,  7,  8,  9, 10, 11],
        [12, 13, 14, 15, 16, 17],
        [18, 19, 20, 21, 22, 23]])");
    assert_eq!((i.flatten(1, -1)).to_string(), "\
tensor([[ 0,  1,  2,  3,  4,  5,  6,  7,  8,  9, 10, 11],
        [12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23]])");
    assert_eq!((i.unflatten(-1, [2, -1])).to_string(), "\
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
    assert_eq!((x.t()).to_string(), "\
tensor([[ 1.0000,  0.5000],
        [-2.0000,  4.0000],
        [ 3.0000, -0.2500]])");
    assert_eq!((i.permute([2, 0, 1])).to_string(), "\
tensor([[[ 0,  4,  8],
         [12, 16, 20]],

        [[ 1,  5,  9],
         [13, 17, 21]],

        [[ 2,  6, 10],
         [14, 18, 22]],

        [[ 3,  7, 11],
         [15, 19, 23]]])");
    assert_eq!((i.transpose(-1, 0)).to_string(), "\
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
    assert_eq!((t.unsqueeze(-1)).to_string(), "\
tensor([[2],
        [0]])");
    assert_eq!((y.squeeze(1)).to_string(), "tensor([2., 4.])");
    assert_eq!((y.expand([-1, 3])).to_string(), "\
tensor([[2., 2., 2.],
        [4., 4., 4.]])");
    assert_eq!((t.expand([2, -1])).to_string(), "\
tensor([[2, 0],
        [2, 0]])");
    assert_eq!((x.repeat([2, 1])).to_string(), "\
tensor([[ 1.0000, -2.0000,  3.0000],
        [ 0.5000,  4.0000, -0.2500],
        [ 1.0000, -2.0000,  3.0000],
        [ 0.5000,  4.0000, -0.2500]])");
    assert_eq!((t.repeat([2, 2])).to_string(), "\
tensor([[2, 0, 2, 0],
        [2, 0, 2, 0]])");
    assert_eq!((i.narrow(2, 1, 2)).to_string(), "\
tensor([[[ 1,  2],
         [ 5,  6],
         [ 9, 10]],

        [[13, 14],
         [17, 18],
         [21, 22]]])");
    assert_eq!((i.select(1, -1)).to_string(), "\
tensor([[ 8,  9, 10, 11],
        [20, 21, 22, 23]])");
    assert_eq!((i.slice(2, -3, None, 2)).to_string(), "\
tensor([[[ 1,  3],
         [ 5,  7],
         [ 9, 11]],

        [[13, 15],
         [17, 19],
         [21, 23]]])");
    assert_eq!((Tensor::cat(&[&x, &x], 1)).to_string(), "\
tensor([[ 1.0000, -2.0000,  3.0000,  1.0000, -2.0000,  3.0000],
        [ 0.5000,  4.0000, -0.2500,  0.5000,  4.0000, -0.2500]])");
    assert_eq!((Tensor::stack(&[&x, &x], -1)).to_string(), "\
tensor([[[ 1.0000,  1.0000],
         [-2.0000, -2.0000],
         [ 3.0000,  3.0000]],

        [[ 0.5000,  0.5000],
         [ 4.0000,  4.0000],
         [-0.2500, -0.2500]]])");
    assert_eq!((i.split(2, 1)[1].clone()).to_string(), "\
tensor([[[ 8,  9, 10, 11]],

        [[20, 21, 22, 23]]])");
    assert_eq!((i.chunk(3, -1)[1].clone()).to_string(), "\
tensor([[[ 2,  3],
         [ 6,  7],
         [10, 11]],

        [[14, 15],
         [18, 19],
         [22, 23]]])");
    assert_eq!((x.flip([0, 1])).to_string(), "\
tensor([[-0.2500,  4.0000,  0.5000],
        [ 3.0000, -2.0000,  1.0000]])");
    assert_eq!((x.pad(&[(1, 0), (0, 1)], 7.0)).to_string(), "\
tensor([[ 7.0000,  1.0000, -2.0000,  3.0000],
        [ 7.0000,  0.5000,  4.0000, -0.2500],
        [ 7.0000,  7.0000,  7.0000,  7.0000]])");
    assert_eq!((x.pad(&[(-1, 1)], 0.0)).to_string(), "\
tensor([[-2.0000,  3.0000,  0.0000],
        [ 4.0000, -0.2500,  0.0000]])");
}

#[test]
#[rustfmt::skip]
fn indexing() {
    let Operands { x, i, idx, m, t, b, neg, .. } = operands();
    assert_eq!((i.index(1)).to_string(), "\
tensor([[12, 13, 14, 15],
        [16, 17, 18, 19],
        [20, 21, 22, 23]])");
    assert_eq!((i.index((.., -1))).to_string(), "\
tensor([[ 8,  9, 10, 11],
        [20, 21, 22, 23]])");
    assert_eq!((i.index((0, 1.., ..2))).to_string(), "\
tensor([[4, 5],
        [8, 9]])");
    assert_eq!((i.index((Index::Ellipsis, 1))).to_string(), "\
tensor([[ 1,  5,  9],
        [13, 17, 21]])");
    assert_eq!((t.index((.., Index::NewAxis))).to_string(), "\
tensor([[2],
        [0]])");
    assert_eq!((i.index(&t.index(1..2))).to_string(), "\
tensor([[[ 0,  1,  2,  3],
         [ 4,  5,  6,  7],
         [ 8,  9, 10, 11]]])");
    assert_eq!((x.index([range(2), t.clone()])).to_string(), "tensor([3.0000, 0.5000])");
    assert_eq!((i.index((.., &t))).to_string(), "\
tensor([[[ 8,  9, 10, 11],
         [ 0,  1,  2,  3]],

        [[20, 21, 22, 23],
         [12, 13, 14, 15]]])");
    assert_eq!((i.index((.., .., &t))).to_string(), "\
tensor([[[ 2,  0],
         [ 6,  4],
         [10,  8]],

        [[14, 12],
         [18, 16],
         [22, 20]]])");
    assert_eq!((i.index((&b, .., &t))).to_string(), "\
tensor([[14, 18, 22],
        [ 0,  4,  8]])");
    assert_eq!((i.index((.., &b, &t))).to_string(), "\
tensor([[ 6,  0],
        [18, 12]])");
    assert_eq!((x.index((.., &neg))).to_string(), "\
tensor([[ 3.0000,  1.0000,  1.0000],
        [-0.2500,  0.5000,  0.5000]])");
    assert_eq!((i.index((1, .., &t))).to_string(), "\
tensor([[14, 12],
        [18, 16],
        [22, 20]])");
    assert_eq!((i.index((0, &idx.index(1)))).to_string(), "\
tensor([[4, 5, 6, 7],
        [4, 5, 6, 7],
        [0, 1, 2, 3]])");
    assert_eq!((x.gather(1, &idx)).to_string(), "\
tensor([[ 3.0000,  1.0000, -2.0000],
        [ 4.0000,  4.0000,  0.5000]])");
    assert_eq!((x.gather(0, &idx.index((..1, ..2)).clamp(None, 1.0).long())).to_string(), "tensor([[ 0.5000, -2.0000]])");
    assert_eq!((x.index_select(1, &t)).to_string(), "\
tensor([[ 3.0000,  1.0000],
        [-0.2500,  0.5000]])");
    assert_eq!((x.scatter_add(1, &idx, &x)).to_string(), "\
tensor([[-1.0000,  1.0000,  4.0000],
        [ 0.2500,  8.5000, -0.2500]])");
    assert_eq!((x.scatter_add(1, &idx.index(..1), &x.index(..1))).to_string(), "\
tensor([[-1.0000,  1.0000,  4.0000],
        [ 0.5000,  4.0000, -0.2500]])");
    assert_eq!((x.scatter(1, &Tensor::stack(&[&t, &b], 0), &m.index(..2))).to_string(), "\
tensor([[ 2.0000, -2.0000,  1.0000],
        [ 4.0000,  3.0000, -0.2500]])");
}

#[test]
#[rustfmt::skip]
fn contractions() {
    let Operands { x, f, m, t, .. } = operands();
    assert_eq!((x.matmul(&m)).to_string(), "\
tensor([[10.0000, 12.0000],
        [11.2500, 15.5000]])");
    assert_eq!((m.matmul(x.index((.., 0)))).to_string(), "tensor([2., 5., 8.])");
    assert_eq!((x.index(0).matmul(&m)).to_string(), "tensor([10., 12.])");
    assert_eq!((x.index(0).matmul(x.index(1))).to_string(), "tensor(-8.2500)");
    assert_eq!((f.matmul(f.transpose(1, 2))).to_string(), "\
tensor([[[ 0.5600,  1.5200,  2.4800],
         [ 1.5200,  5.0400,  8.5600],
         [ 2.4800,  8.5600, 14.6400]],

        [[29.3600, 38.0000, 46.6400],
         [38.0000, 49.2000, 60.4000],
         [46.6400, 60.4000, 74.1600]]])");
    assert_eq!((f.matmul(f.index(0).t())).to_string(), "\
tensor([[[ 0.5600,  1.5200,  2.4800],
         [ 1.5200,  5.0400,  8.5600],
         [ 2.4800,  8.5600, 14.6400]],

        [[ 3.4400, 12.0800, 20.7200],
         [ 4.4000, 15.6000, 26.8000],
         [ 5.3600, 19.1200, 32.8800]]])");
    assert_eq!((x.matmul(&f)).to_string(), "\
tensor([[[ 3.2000,  3.6000,  4.0000,  4.4000],
         [ 2.8000,  3.6500,  4.5000,  5.3500]],

        [[ 8.0000,  8.4000,  8.8000,  9.2000],
         [13.0000, 13.8500, 14.7000, 15.5500]]])");
    assert_eq!((x.index(1).matmul(&f)).to_string(), "\
tensor([[ 2.8000,  3.6500,  4.5000,  5.3500],
        [13.0000, 13.8500, 14.7000, 15.5500]])");
    assert_eq!((f.matmul(f.index((0, 1)))).to_string(), "\
tensor([[ 1.5200,  5.0400,  8.5600],
        [12.0800, 15.6000, 19.1200]])");
    assert_eq!((x.linear(&m.t(), Some(&t.float()))).to_string(), "\
tensor([[12.0000, 12.0000],
        [13.2500, 15.5000]])");
    assert_eq!((einsum("ij,jk->ik", &[&x, &m])).to_string(), "\
tensor([[10.0000, 12.0000],
        [11.2500, 15.5000]])");
    assert_eq!((einsum("bij,bkj->bik", &[&f, &f])).to_string(), "\
tensor([[[ 0.5600,  1.5200,  2.4800],
         [ 1.5200,  5.0400,  8.5600],
         [ 2.4800,  8.5600, 14.6400]],

        [[29.3600, 38.0000, 46.6400],
         [38.0000, 49.2000, 60.4000],
         [46.6400, 60.4000, 74.1600]]])");
    assert_eq!((einsum("ij->j", &[&x])).to_string(), "tensor([1.5000, 2.0000, 2.7500])");
    assert_eq!((einsum("ij,ij", &[&x, &x])).to_string(), "tensor(30.3125)");
    assert_eq!((einsum("ij,jk,kl->li", &[&x, &m, &m.t()])).to_string(), "\
tensor([[ 34.0000,  42.2500],
        [ 78.0000,  95.7500],
        [122.0000, 149.2500]])");
    assert_eq!((einsum("i,j->ji", &[&x.index(0), &x.index(1)])).to_string(), "\
tensor([[ 0.5000, -1.0000,  1.5000],
        [ 4.0000, -8.0000, 12.0000],
        [-0.2500,  0.5000, -0.7500]])");
    assert_eq!((einsum("bij,k->bk", &[&f, &t.float()])).to_string(), "\
tensor([[26.4000,  0.0000],
        [84.0000,  0.0000]])");
}

