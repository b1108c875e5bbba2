//! Fast transposition of weights: the interpreter walks an element at a time, which is felt when a model of many
//! megabytes is laid out. Only what `layout` asks for is done here: two neighboring blocks of dimensions that change places.

use std::sync::Arc;

use nnc_ir::TensorData;

/// Elements along one side of a tile: both its rows and its columns stay in the first-level cache.
const TILE: usize = 16;

/// The tensor with two neighboring blocks of dimensions in each other's place; `None` for another permutation.
pub(super) fn transpose(data: &TensorData, permutation: &[usize]) -> Option<TensorData> {
    let fixed = |(at, dim): &(usize, &usize)| at == *dim;
    let n_batch = permutation.iter().enumerate().take_while(fixed).count();
    let end = permutation.iter().enumerate().rposition(|(at, &dim)| at != dim)? + 1;
    let split = permutation[n_batch];
    if !permutation[n_batch..end].iter().copied().eq((split..end).chain(n_batch..split)) {
        return None;
    }
    let extent = |dims: std::ops::Range<usize>| data.shape[dims].iter().product::<usize>();
    let (rows, cols, run) = (extent(n_batch..split), extent(split..end), extent(end..permutation.len()));
    let bytes = match run * data.dtype.size() {
        1 => transpose_elements::<1>(&data.bytes, rows, cols),
        2 => transpose_elements::<2>(&data.bytes, rows, cols),
        4 => transpose_elements::<4>(&data.bytes, rows, cols),
        8 => transpose_elements::<8>(&data.bytes, rows, cols),
        run => transpose_runs(&data.bytes, rows, cols, run),
    };
    let shape = permutation.iter().map(|&dim| data.shape[dim]).collect();
    Some(TensorData::new(data.dtype, shape, bytes))
}

/// As [`transpose_elements`], of runs of `run` bytes.
fn transpose_runs(bytes: &[u8], rows: usize, cols: usize, run: usize) -> Arc<[u8]> {
    filled(bytes.len(), |result| {
        let matrix = rows * cols * run;
        if matrix > 0 {
            for (from, to) in bytes.chunks_exact(matrix).zip(result.chunks_exact_mut(matrix)) {
                for (at, to) in to.chunks_exact_mut(run).enumerate() {
                    to.copy_from_slice(&from[(at % rows * cols + at / rows) * run..][..run]);
                }
            }
        }
    })
}

/// Matrices of `rows` times `cols` elements of `SIZE` bytes, one behind the other, each transposed.
fn transpose_elements<const SIZE: usize>(bytes: &[u8], rows: usize, cols: usize) -> Arc<[u8]> {
    filled(bytes.len(), |result| {
        let (from, _) = bytes.as_chunks::<SIZE>();
        let (to, _) = result.as_chunks_mut::<SIZE>();
        let n_elements = rows * cols;
        if n_elements > 0 {
            for (from, to) in from.chunks_exact(n_elements).zip(to.chunks_exact_mut(n_elements)) {
                for first_row in (0..rows).step_by(TILE) {
                    for first_col in (0..cols).step_by(TILE) {
                        for row in first_row..rows.min(first_row + TILE) {
                            for col in first_col..cols.min(first_col + TILE) {
                                to[col * rows + row] = from[row * cols + col];
                            }
                        }
                    }
                }
            }
        }
    })
}

/// Bytes that `fill` writes, in the place where they stay.
fn filled(len: usize, fill: impl FnOnce(&mut [u8])) -> Arc<[u8]> {
    let mut bytes: Arc<[u8]> = std::iter::repeat_n(0, len).collect();
    fill(Arc::get_mut(&mut bytes).expect("nobody else has seen it"));
    bytes
}

#[cfg(test)]
mod tests {
    use nnc_ir::{DType, Op, Scalar, interp};

    use super::*;

    fn counting(dtype: DType, shape: &[usize]) -> TensorData {
        let n_elements = shape.iter().product::<usize>() as i64;
        TensorData::from_scalars(dtype, shape.to_vec(), (0..n_elements).map(|at| Scalar::from_i64(dtype, at % 100)))
    }

    #[test]
    fn blocks_change_places_as_in_the_interpreter() {
        for (shape, permutation) in [
            (vec![37, 50], vec![1, 0]),
            (vec![3, 5, 17], vec![0, 2, 1]),
            (vec![3, 5, 17], vec![1, 2, 0]),
            (vec![2, 3, 4, 5], vec![0, 3, 1, 2]),
            (vec![4, 0, 2], vec![1, 2, 0]),
            (vec![7, 3, 6], vec![1, 0, 2]),
            (vec![2, 3, 4, 5, 1], vec![0, 2, 1, 3, 4]),
            (vec![3, 4, 0], vec![1, 0, 2]),
        ] {
            for dtype in [DType::U8, DType::BF16, DType::F32, DType::F64] {
                let data = counting(dtype, &shape);
                let expected = interp::eval(&Op::Transpose(permutation.clone()), &[&data], &[]).unwrap();
                assert_eq!(transpose(&data, &permutation).as_ref(), expected.first());
            }
        }
    }

    #[test]
    fn other_permutations_are_left_to_the_interpreter() {
        assert_eq!(transpose(&counting(DType::F32, &[2, 3, 4]), &[2, 1, 0]), None);
        assert_eq!(transpose(&counting(DType::F32, &[2, 3]), &[0, 1]), None);
    }
}
