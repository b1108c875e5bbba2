//! Fast transposition of weights: the interpreter walks an element at a time, which is felt when a model of many
//! megabytes is laid out. Only what `layout` asks for is done here: two blocks of dimensions that change places.

use nnc_ir::TensorData;

/// Elements along one side of a tile: both its rows and its columns stay in the first-level cache.
const TILE: usize = 16;

/// The tensor with two neighboring blocks of dimensions, the last one among them, in each other's place; `None` for
/// another permutation.
pub(super) fn transpose(data: &TensorData, permutation: &[usize]) -> Option<TensorData> {
    let rank = permutation.len();
    let n_batch = permutation.iter().enumerate().take_while(|(at, dim)| at == *dim).count();
    let split = *permutation.get(n_batch)?;
    if !permutation[n_batch..].iter().copied().eq((split..rank).chain(n_batch..split)) {
        return None;
    }
    let rows: usize = data.shape[n_batch..split].iter().product();
    let cols: usize = data.shape[split..].iter().product();
    let bytes = match data.dtype.size() {
        1 => transpose_elements::<1>(&data.bytes, rows, cols),
        2 => transpose_elements::<2>(&data.bytes, rows, cols),
        4 => transpose_elements::<4>(&data.bytes, rows, cols),
        _ => transpose_elements::<8>(&data.bytes, rows, cols),
    };
    let shape = permutation.iter().map(|&dim| data.shape[dim]).collect();
    Some(TensorData::new(data.dtype, shape, bytes))
}

/// Matrices of `rows` times `cols` elements of `SIZE` bytes, one behind the other, each transposed.
fn transpose_elements<const SIZE: usize>(bytes: &[u8], rows: usize, cols: usize) -> Vec<u8> {
    let mut result = vec![0u8; bytes.len()];
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
    result
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
