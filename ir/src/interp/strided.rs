//! Strided index spaces: the offsets a nest of loops visits.

/// A box of indices and the linear offset of each: `offset + sum(index[i] * strides[i])`.
pub(super) struct Strided {
    pub(super) shape: Vec<usize>,
    pub(super) strides: Vec<isize>,
    pub(super) offset: isize,
}

impl Strided {
    /// The offsets in row-major order of the indices.
    pub(super) fn offsets(&self) -> impl Iterator<Item = usize> + '_ {
        let mut left: usize = if self.shape.contains(&0) { 0 } else { self.shape.iter().product() };
        let mut index = vec![0; self.shape.len()];
        let mut offset = self.offset;
        std::iter::from_fn(move || {
            left = left.checked_sub(1)?;
            let here = offset;
            for dim in (0..index.len()).rev() {
                index[dim] += 1;
                // The step past the end may wrap, and is taken back.
                offset = offset.wrapping_add(self.strides[dim]);
                if index[dim] < self.shape[dim] {
                    break;
                }
                offset = offset.wrapping_sub(self.strides[dim].wrapping_mul(self.shape[dim] as isize));
                index[dim] = 0;
            }
            Some(here as usize)
        })
    }
}

/// Strides of the dense row-major layout of `shape`.
pub(super) fn row_major(shape: &[usize]) -> Vec<isize> {
    let mut strides = vec![1isize; shape.len()];
    for dim in (1..shape.len()).rev() {
        // Wraps only where an extent of 0 leaves nothing to visit.
        strides[dim - 1] = strides[dim].wrapping_mul(shape[dim] as isize);
    }
    strides
}

/// The entries of `table` at `dims`.
pub(super) fn pick<T: Copy>(table: &[T], dims: &[usize]) -> Vec<T> {
    dims.iter().map(|&dim| table[dim]).collect()
}
