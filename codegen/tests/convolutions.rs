//! Random convolutions with what fusion puts around them: views of the operands before, bias and activation after. All
//! steps, paddings, dilations and groups give the interpreter's values, and the same bits on every target.

// Other tests use the rest of it.
#[allow(dead_code)]
#[path = "lowering/harness.rs"]
mod harness;
mod support;

use harness::{Numbers, check_graph};
use nnc_ir::ops::{ConvolutionAttrs, FusionKind};
use nnc_ir::{Builder, DType, Graph, Location, Shape, TensorData, TensorType, Value};

struct Maker {
    numbers: Numbers,
}

impl Maker {
    fn below(&mut self, bound: usize) -> usize {
        self.numbers.below(bound as u64) as usize
    }

    fn pick<T: Copy>(&mut self, list: &[T]) -> T {
        list[self.below(list.len())]
    }

    /// Attributes and operand shapes that fit each other. Half are what layers and their gradients look like, the
    /// others anything.
    fn convolution(&mut self) -> (ConvolutionAttrs, Vec<usize>, Vec<usize>) {
        loop {
            let n_spatial = self.pick(&[1, 2, 2, 2, 3]);
            let any = self.below(2) == 0;
            let list = |maker: &mut Self, values: &[usize]| (0..n_spatial).map(|_| maker.pick(values)).collect();
            let ones: &[usize] = &[1];
            let dilation = self.below(3);
            let kernel: Vec<usize> = list(self, &[1, 2, 3, 3, 5]);
            let rhs_dilation: Vec<usize> = list(self, if any || dilation == 0 { &[1, 2, 3] } else { ones });
            let attrs = ConvolutionAttrs {
                stride: list(self, &[1, 1, 2, 3]),
                padding: (0..n_spatial)
                    .map(|dim| {
                        let same = (kernel[dim] * rhs_dilation[dim] / 2) as i64;
                        let amount = |maker: &mut Self| if any { maker.below(6) as i64 - 2 } else { same };
                        (amount(self), amount(self))
                    })
                    .collect(),
                lhs_dilation: list(self, if any || dilation == 1 { &[1, 2, 3] } else { ones }),
                rhs_dilation,
                groups: self.pick(&[1, 1, 1, 2, 3]),
            };
            let most = if self.below(4) == 0 { [500, 40, 9] } else { [60, 12, 6] }[n_spatial - 1];
            let image: Vec<usize> = (0..n_spatial).map(|_| 1 + self.below(most)).collect();
            let (inputs, outputs) = (self.pick(&[1, 2, 3, 5, 17]), self.pick(&[1, 2, 4, 10, 20]));
            let lhs = [vec![self.pick(&[1, 2, 5]), attrs.groups * inputs], image].concat();
            let rhs = [vec![attrs.groups * outputs, inputs], kernel].concat();
            let ty = |shape: &[usize]| TensorType::new(DType::F32, Shape::fixed(shape));
            let op = nnc_ir::Op::Convolution(attrs.clone());
            let result = nnc_ir::ops::infer(&op, &[&ty(&lhs), &ty(&rhs)], &[]);
            let work = |ty: &TensorType| ty.n_elements().unwrap_or(usize::MAX) * rhs[1..].iter().product::<usize>();
            if result.is_ok_and(|types| work(&types[0]) < 400_000) {
                return (attrs, lhs, rhs);
            }
        }
    }

    /// The shape of a parameter whose view is an operand of shape `shape`, and which view.
    fn source(&mut self, shape: &[usize]) -> (Vec<usize>, View) {
        let mut swapped = shape.to_vec();
        swapped.swap(0, 1);
        let last = [&shape[..1], &shape[2..], &shape[1..2]].concat();
        match self.below(8) {
            0 => (swapped, View::Swapped),
            1 => (swapped, View::SwappedAndReversed),
            2 | 3 => (last, View::SecondLast),
            _ => (shape.to_vec(), View::Plain),
        }
    }
}

/// How an operand lies in memory: as it is, as in a gradient, or with its second dimension (the channels) innermost.
#[derive(Clone, Copy)]
enum View {
    Plain,
    Swapped,
    SwappedAndReversed,
    SecondLast,
}

impl View {
    fn of(self, b: &mut Builder<'_>, x: Value) -> Value {
        let rank = b.shape(x).rank();
        let swap: Vec<usize> = [1, 0].into_iter().chain(2..rank).collect();
        let space: Vec<usize> = (2..rank).collect();
        match self {
            Self::Plain => x,
            Self::Swapped => b.transpose(x, &swap).expect("fits"),
            Self::SecondLast => {
                let permutation: Vec<usize> = [0, rank - 1].into_iter().chain(1..rank - 1).collect();
                b.transpose(x, &permutation).expect("fits")
            }
            Self::SwappedAndReversed => {
                let x = b.transpose(x, &swap).expect("fits");
                b.reverse(x, &space).expect("fits")
            }
        }
    }
}

fn check(seed: u64, dtype: DType) {
    let mut maker = Maker { numbers: Numbers(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1) };
    let (attrs, lhs, rhs) = maker.convolution();
    let ((lhs_source, lhs_view), (rhs_source, rhs_view)) = (maker.source(&lhs), maker.source(&rhs));
    let mut region = Graph::new();
    let [image, kernel] = [lhs_source, rhs_source]
        .map(|shape| region.param(TensorType::new(dtype, Shape::fixed(&shape)), Location::unknown()));
    let bias = region.param(TensorType::new(dtype, [rhs[0]]), Location::unknown());
    let mut b = Builder::new(&mut region, Location::unknown());
    let (image, kernel) = (lhs_view.of(&mut b, image), rhs_view.of(&mut b, kernel));
    let mut result = b.convolution(image, kernel, attrs.clone()).expect("fits");
    let epilogue = maker.below(3);
    if epilogue > 0 {
        let wide = b.broadcast_in_dim(bias, b.shape(result).clone(), &[1]).expect("fits");
        result = b.add(result, wide).expect("fits");
    }
    let mut results = vec![result];
    if epilogue > 1 {
        let zero = b.zeros_like(result).expect("a number");
        results.push(b.maximum(result, zero).expect("fits"));
    }
    region.set_results(results);
    let mut graph = Graph::new();
    let types: Vec<TensorType> = region.params().iter().map(|&param| region.ty(param).clone()).collect();
    let params: Vec<Value> = types.iter().map(|ty| graph.param(ty.clone(), Location::unknown())).collect();
    let mut b = Builder::new(&mut graph, Location::unknown());
    let results = b.fusion(FusionKind::Contraction, &params, region).expect("the region fits");
    graph.set_results(results);
    let inputs: Vec<TensorData> = types.iter().map(|ty| maker.numbers.tensor(ty)).collect();
    let relative = match dtype {
        DType::F16 => 2e-3,
        DType::BF16 => 2e-2,
        _ => 1e-4,
    };
    let outcome = std::panic::catch_unwind(|| check_graph(&graph, &inputs, Some(relative)));
    if let Err(panic) = outcome {
        eprintln!("seed {seed}: {attrs:?} of {lhs:?} and {rhs:?}");
        std::panic::resume_unwind(panic);
    }
}

fn n_seeds(default: u64) -> u64 {
    std::env::var("NNC_SEEDS").ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

#[test]
fn random_convolutions() {
    (0..n_seeds(60)).for_each(|seed| check(seed, DType::F32));
}

#[test]
fn random_convolutions_of_other_types() {
    for (at, dtype) in [DType::BF16, DType::F16, DType::F64, DType::I32].into_iter().enumerate() {
        (0..n_seeds(6)).for_each(|seed| check(1000 * (at as u64 + 1) + seed, dtype));
    }
}
