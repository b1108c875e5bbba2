//! `rng_bits`: the counter-based generator Philox4x32-10.
//!
//! J. K. Salmon, M. A. Moraes, R. O. Dror, D. E. Shaw: Parallel random numbers: as easy as 1, 2, 3 (SC'11).

use crate::literal::TensorData;
use crate::types::DType;

pub(super) fn rng_bits(state: &TensorData, shape: Vec<usize>) -> TensorData {
    let word = |idx: usize| state.get(idx).bits as u32;
    let key = [word(0), word(1)];
    let n_elements = if shape.contains(&0) { 0 } else { shape.iter().product::<usize>() };
    let mut bytes = Vec::with_capacity(4 * n_elements);
    for block in 0..n_elements.div_ceil(4) as u64 {
        let words = philox4x32([block as u32, (block >> 32) as u32, word(2), word(3)], key);
        bytes.extend(words.into_iter().flat_map(u32::to_le_bytes));
    }
    bytes.truncate(4 * n_elements);
    TensorData { dtype: DType::U32, shape, bytes: bytes.into() }
}

/// One block of Philox4x32-10: ten rounds over `counter`, lowest word first, under `key`.
pub fn philox4x32(counter: [u32; 4], key: [u32; 2]) -> [u32; 4] {
    const MULTIPLIERS: [u32; 2] = [0xd251_1f53, 0xcd9e_8d57];
    const WEYL: [u32; 2] = [0x9e37_79b9, 0xbb67_ae85];
    let ([mut c0, mut c1, mut c2, mut c3], [mut k0, mut k1]) = (counter, key);
    for _ in 0..10 {
        let product0 = u64::from(MULTIPLIERS[0]) * u64::from(c0);
        let product1 = u64::from(MULTIPLIERS[1]) * u64::from(c2);
        let (high0, high1) = ((product0 >> 32) as u32, (product1 >> 32) as u32);
        (c0, c1, c2, c3) = (high1 ^ c1 ^ k0, product1 as u32, high0 ^ c3 ^ k1, product0 as u32);
        k0 = k0.wrapping_add(WEYL[0]);
        k1 = k1.wrapping_add(WEYL[1]);
    }
    [c0, c1, c2, c3]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The known answers published with the authors' implementation.
    #[test]
    fn philox_gives_the_known_answers() {
        assert_eq!(philox4x32([0; 4], [0; 2]), [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]);
        assert_eq!(philox4x32([u32::MAX; 4], [u32::MAX; 2]), [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]);
        assert_eq!(
            philox4x32([0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344], [0xa409_3822, 0x299f_31d0]),
            [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1]
        );
    }

    #[test]
    fn the_state_is_key_and_high_counter() {
        let state = TensorData::from_integers(DType::U32, vec![4], [0xa409_3822_u32, 0x299f_31d0, 5, 6]);
        let bits = rng_bits(&state, vec![2, 3]);
        let expected: Vec<i64> = (0..2u32)
            .flat_map(|block| philox4x32([block, 0, 5, 6], [0xa409_3822, 0x299f_31d0]))
            .map(i64::from)
            .take(6)
            .collect();
        assert_eq!(bits.to_i64(), expected);
        assert_eq!(rng_bits(&state, vec![0, 3]).bytes.len(), 0);
    }
}
