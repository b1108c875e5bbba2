//! Random ops on random operands: whatever is asked, the answer is a value or an error.

use super::*;
use crate::interp::philox4x32;
use crate::ops::*;
use crate::types::{Shape, TensorType};

/// Numbers that differ from case to case and are the same in every run.
struct Random {
    counter: u32,
}

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.counter += 1;
        philox4x32([self.counter, 0, 0, 0], [7, 7])[0] as usize % bound
    }

    fn pick<T: Copy>(&mut self, table: &[T]) -> T {
        table[self.below(table.len())]
    }

    fn list<T>(&mut self, most: usize, mut entry: impl FnMut(&mut Self) -> T) -> Vec<T> {
        (0..self.below(most + 1)).map(|_| entry(self)).collect()
    }

    /// Mostly a small number, at times one that overflows what it is added to or multiplied with.
    fn extent(&mut self) -> usize {
        match self.below(40) {
            0 => usize::MAX,
            1 => i64::MAX as usize,
            2 => 1 << 33,
            _ => self.below(4),
        }
    }

    fn amount(&mut self) -> i64 {
        match self.below(40) {
            0 => i64::MIN,
            1 => i64::MAX,
            _ => self.below(7) as i64 - 3,
        }
    }

    fn dims(&mut self) -> Vec<usize> {
        self.list(3, |random| random.below(4))
    }

    fn extents(&mut self) -> Vec<usize> {
        self.list(3, Self::extent)
    }

    /// One entry for each of `rank` dimensions, and at times one more or less.
    fn entries<T>(&mut self, rank: usize, mut entry: impl FnMut(&mut Self) -> T) -> Vec<T> {
        let len = if self.below(20) == 0 { self.below(4) } else { rank };
        (0..len).map(|_| entry(self)).collect()
    }

    fn shape(&mut self) -> Shape {
        Shape::fixed(&self.extents())
    }

    fn tensor(&mut self) -> TensorData {
        let dtype = self.pick(&DType::ALL);
        let shape = self.list(3, |random| random.below(4));
        let n_elements = shape.iter().product();
        let values: Vec<i64> = (0..n_elements).map(|_| self.amount()).collect();
        TensorData::from_integers(dtype, shape, values)
    }

    /// An op whose attributes often fit a first operand of rank `rank`.
    fn op(&mut self, rank: usize) -> Op {
        let kind = self.pick(&ReduceKind::ALL);
        match self.below(16) {
            0 => Op::Iota(IotaAttrs { ty: TensorType::new(self.pick(&DType::ALL), self.shape()), dim: self.below(4) }),
            1 => Op::RngBits(self.shape()),
            2 => Op::Convert(self.pick(&DType::ALL)),
            3 => Op::BitcastConvert(self.pick(&DType::ALL)),
            4 => Op::Compare(self.pick(&CompareDir::ALL)),
            5 => Op::Reshape(self.shape()),
            6 => Op::Transpose(self.dims()),
            7 => Op::BroadcastInDim(BroadcastAttrs { shape: self.shape(), dims: self.dims() }),
            8 => {
                let dims = |extents: Vec<usize>| extents.into_iter().map(Into::into).collect();
                Op::Slice(SliceAttrs {
                    start: dims(self.entries(rank, Self::extent)),
                    limit: dims(self.entries(rank, Self::extent)),
                    stride: self.entries(rank, Self::extent),
                })
            }
            9 => {
                let (low, high) = (self.entries(rank, Self::amount), self.entries(rank, Self::amount));
                Op::Pad(PadAttrs { low, high, interior: self.entries(rank, Self::extent) })
            }
            10 => Op::Concatenate(self.below(4)),
            11 => Op::Reverse(self.dims()),
            12 => Op::Reduce(ReduceAttrs { kind, dims: self.dims() }),
            13 => Op::DotGeneral(DotAttrs {
                lhs_batch: self.dims(),
                rhs_batch: self.dims(),
                lhs_contract: self.dims(),
                rhs_contract: self.dims(),
            }),
            14 => self.pick(&[&Op::Power, &Op::Divide, &Op::ShiftLeft, &Op::Maximum, &Op::Select, &Op::Clamp]).clone(),
            _ => self.pick(&[&Op::Not, &Op::Abs, &Op::Logistic, &Op::StopGradient, &Op::OptimizationBarrier]).clone(),
        }
    }

    /// A gather or scatter and its operands: right but for what chance spoils.
    fn indexing(&mut self) -> (Op, Vec<TensorData>) {
        let operand = self.tensor();
        let rank = operand.shape.len();
        // What each operand dimension is: kept in the window, dropped from it, or a batching dimension.
        let roles: Vec<usize> = (0..rank).map(|_| self.below(3)).collect();
        let with_role = |role: usize| (0..rank).filter(|&dim| roles[dim] == role).collect::<Vec<_>>();
        let (kept, dropped, batching) = (with_role(0), with_role(1), with_role(2));
        let index_map: Vec<usize> = (0..rank).filter(|dim| !batching.contains(dim)).collect();

        let mut batch: Vec<usize> = batching.iter().map(|&dim| operand.shape[dim]).collect();
        batch.extend(self.list(2, |random| random.below(3)));
        let index_vector_dim = self.below(batch.len() + 1);
        let indices_batching = (0..batching.len()).map(|dim| dim + usize::from(dim >= index_vector_dim)).collect();
        let mut indices_shape = batch.clone();
        indices_shape.insert(index_vector_dim, index_map.len());
        let n_indices = indices_shape.iter().product();
        let indices: Vec<i64> = (0..n_indices).map(|_| self.amount()).collect();
        let mut indices = TensorData::from_integers(DType::I64, indices_shape, indices);

        let first = self.below(batch.len() + 1);
        let window_dims: Vec<usize> = (first..first + kept.len()).collect();
        let mut sizes: Vec<usize> = operand.shape.iter().map(|&extent| self.below(extent + 1)).collect();
        dropped.iter().chain(&batching).for_each(|&dim| sizes[dim] = 1);
        let mut updates_shape = batch;
        updates_shape.splice(first..first, kept.iter().map(|&dim| sizes[dim]));

        let mut gather = GatherAttrs {
            offset_dims: window_dims,
            collapsed_slice_dims: dropped,
            operand_batching_dims: batching,
            start_indices_batching_dims: indices_batching,
            start_index_map: index_map,
            index_vector_dim,
            slice_sizes: sizes,
        };
        match self.below(20) {
            0 => gather.offset_dims = self.dims(),
            1 => gather.collapsed_slice_dims = self.dims(),
            2 => gather.operand_batching_dims = self.dims(),
            3 => gather.start_indices_batching_dims = self.dims(),
            4 => gather.start_index_map = self.dims(),
            5 => gather.index_vector_dim = self.below(4),
            6 => gather.slice_sizes = self.extents(),
            7 => indices = self.tensor(),
            _ => {}
        }
        if self.below(2) == 0 {
            return (Op::Gather(gather), vec![operand, indices]);
        }
        let n_updates = updates_shape.iter().product();
        let updates: Vec<i64> = (0..n_updates).map(|_| self.amount()).collect();
        let updates = TensorData::from_integers(operand.dtype, updates_shape, updates);
        let scatter = ScatterAttrs {
            update_window_dims: gather.offset_dims,
            inserted_window_dims: gather.collapsed_slice_dims,
            input_batching_dims: gather.operand_batching_dims,
            scatter_indices_batching_dims: gather.start_indices_batching_dims,
            scatter_dims_to_operand_dims: gather.start_index_map,
            index_vector_dim: gather.index_vector_dim,
            combiner: self.pick(&Combiner::ALL),
        };
        (Op::Scatter(scatter), vec![operand, indices, updates])
    }
}

impl Random {
    /// A convolution and its operands: right but for what chance spoils.
    fn convolution(&mut self) -> (Op, Vec<TensorData>) {
        let n_spatial = 1 + self.below(3);
        let groups = 1 + self.below(2);
        let (inputs, outputs) = (self.below(3), groups * self.below(3));
        let extents = |random: &mut Self, first: [usize; 2], least: usize| {
            [first.to_vec(), (0..n_spatial).map(|_| least + random.below(4)).collect()].concat()
        };
        let batch = self.below(3);
        let mut shapes = [extents(self, [batch, groups * inputs], 2), extents(self, [outputs, inputs], 1)];
        let step = |random: &mut Self| if random.below(60) == 0 { random.extent() } else { 1 + random.below(3) };
        let attrs = ConvolutionAttrs {
            stride: self.entries(n_spatial, step),
            padding: self.entries(n_spatial, |random| (random.amount(), random.amount())),
            lhs_dilation: self.entries(n_spatial, step),
            rhs_dilation: self.entries(n_spatial, step),
            groups: if self.below(20) == 0 { self.below(3) } else { groups },
        };
        if self.below(10) == 0 {
            shapes[1] = self.dims();
        }
        let dtype = self.pick(&DType::ALL);
        let operands = shapes.map(|shape| {
            let values: Vec<i64> = (0..shape.iter().product()).map(|_| self.amount()).collect();
            TensorData::from_integers(dtype, shape, values)
        });
        (Op::Convolution(attrs), operands.to_vec())
    }
}

/// Evaluates cases and counts those that have a value.
fn count_values(n_cases: usize, mut case: impl FnMut(&mut Random) -> (Op, Vec<TensorData>)) -> usize {
    let mut random = Random { counter: 0 };
    let mut has_value = |_: &usize| {
        let (op, operands) = case(&mut random);
        eval(&op, &operands.iter().collect::<Vec<_>>(), &[]).is_ok()
    };
    (0..n_cases).filter(&mut has_value).count()
}

#[test]
fn no_op_panics_whatever_it_is_given() {
    let n_values = count_values(40_000, |random| {
        let first = random.tensor();
        let op = random.op(first.shape.len());
        // Operands of one type are what most ops ask for, and scalars what `pad` does.
        let operand = |random: &mut Random| match random.below(6) {
            0 => random.tensor(),
            1 => TensorData::from_integers(first.dtype, vec![], [1]),
            _ => first.clone(),
        };
        let operands = op.info().operands.iter().map(|_| operand(random)).collect();
        (op, operands)
    });
    assert!(n_values > 5_000, "only {n_values} cases have a value");
}

#[test]
fn no_indexing_panics_whatever_it_is_given() {
    let n_values = count_values(20_000, Random::indexing);
    assert!(n_values > 5_000, "only {n_values} cases have a value");
}

#[test]
fn no_convolution_panics_whatever_it_is_given() {
    let n_values = count_values(5_000, Random::convolution);
    assert!(n_values > 1_000, "only {n_values} cases have a value");
}
