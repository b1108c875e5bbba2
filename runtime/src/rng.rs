//! The counter-based random number generator Philox4x32-10.
//!
//! Salmon, Moraes, Dror, Shaw: *Parallel Random Numbers: As Easy as 1, 2, 3* (SC 2011). A block of four words is a
//! function of key and counter alone, so any element of a random tensor can be made anywhere, in any order, on any
//! number of threads. This is the definition that compiled code follows, and what the host uses to initialize
//! parameters and shuffle data.

/// Multipliers of a round, one for each pair of words.
pub const MULTIPLIERS: [u32; 2] = [0xd251_1f53, 0xcd9e_8d57];
/// Added to the key after each round: the golden ratio and the square root of 3, less 1.
pub const WEYL: [u32; 2] = [0x9e37_79b9, 0xbb67_ae85];
/// Number of rounds.
pub const ROUNDS: usize = 10;

/// The block of four random words of `counter` under `key`.
pub const fn philox4x32(key: [u32; 2], counter: [u32; 4]) -> [u32; 4] {
    let (mut key, mut words) = (key, counter);
    let mut round = 0;
    while round < ROUNDS {
        let left = MULTIPLIERS[0] as u64 * words[0] as u64;
        let right = MULTIPLIERS[1] as u64 * words[2] as u64;
        words = [
            (right >> 32) as u32 ^ words[1] ^ key[0],
            right as u32,
            (left >> 32) as u32 ^ words[3] ^ key[1],
            left as u32,
        ];
        key = [key[0].wrapping_add(WEYL[0]), key[1].wrapping_add(WEYL[1])];
        round += 1;
    }
    words
}

/// A stream of random numbers: the blocks of one key in counter order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Philox {
    key: [u32; 2],
    /// Low two words: index of the next block. High two words: the stream.
    counter: [u32; 4],
    block: [u32; 4],
    /// Words of `block` already used.
    used: usize,
}

impl Philox {
    /// Stream `stream` of the generator seeded with `seed`. Different streams of one seed are independent.
    pub const fn new(seed: u64, stream: u64) -> Philox {
        Philox {
            key: [seed as u32, (seed >> 32) as u32],
            counter: [0, 0, stream as u32, (stream >> 32) as u32],
            block: [0; 4],
            used: 4,
        }
    }

    /// The next word, all values equally likely.
    pub fn next_u32(&mut self) -> u32 {
        if self.used == 4 {
            self.block = philox4x32(self.key, self.counter);
            let (low, carry) = self.counter[0].overflowing_add(1);
            self.counter[0] = low;
            self.counter[1] = self.counter[1].wrapping_add(u32::from(carry));
            self.used = 0;
        }
        self.used += 1;
        self.block[self.used - 1]
    }

    /// The next two words, the first one low.
    pub fn next_u64(&mut self) -> u64 {
        let low = u64::from(self.next_u32());
        u64::from(self.next_u32()) << 32 | low
    }

    /// A number in `0.0..1.0`: a multiple of 2⁻²⁴, all equally likely.
    pub fn next_f32(&mut self) -> f32 {
        (self.next_u32() >> 8) as f32 * (1.0 / 16_777_216.0)
    }

    /// A number in `0..bound`, all equally likely; 0 if `bound` is 0.
    ///
    /// Lemire's method: the high half of a product, with the few low halves that would favor some results drawn again.
    pub fn below(&mut self, bound: u64) -> u64 {
        loop {
            let product = u128::from(self.next_u64()) * u128::from(bound);
            let low = product as u64;
            if low >= bound || low >= bound.wrapping_neg() % bound.max(1) {
                return (product >> 64) as u64;
            }
        }
    }

    /// Two independent numbers of the standard normal distribution (Box-Muller).
    pub fn next_normal_pair(&mut self) -> [f32; 2] {
        // In (0, 1], so that the logarithm is finite.
        let radius = f64::from(1.0 - self.next_f32());
        let angle = f64::from(self.next_f32()) * std::f64::consts::TAU;
        let radius = (-2.0 * radius.ln()).sqrt();
        [(radius * angle.cos()) as f32, (radius * angle.sin()) as f32]
    }

    /// Puts `items` in random order (Fisher-Yates).
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for end in (1..items.len()).rev() {
            items.swap(end, self.below(end as u64 + 1) as usize);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_answers() {
        // From the known-answer file of Random123, the authors' own implementation.
        let check = |counter, key, expect: [u32; 4]| assert_eq!(philox4x32(key, counter), expect);
        check([0; 4], [0; 2], [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]);
        check([u32::MAX; 4], [u32::MAX; 2], [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]);
        check(
            [0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344],
            [0xa409_3822, 0x299f_31d0],
            [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1],
        );
    }

    #[test]
    fn a_stream_is_its_blocks_in_order() {
        let mut stream = Philox::new(0x1234_5678_9abc_def0, 7);
        let key = [0x9abc_def0, 0x1234_5678];
        let words: Vec<u32> = (0..8).map(|_| stream.next_u32()).collect();
        assert_eq!(words[..4], philox4x32(key, [0, 0, 7, 0]));
        assert_eq!(words[4..], philox4x32(key, [1, 0, 7, 0]));
        assert_ne!(Philox::new(1, 0).next_u64(), Philox::new(1, 1).next_u64());
        // The block index carries into its second word.
        let mut stream = Philox { counter: [u32::MAX, 0, 0, 0], ..Philox::new(0, 0) };
        stream.next_u32();
        assert_eq!(stream.counter, [0, 1, 0, 0]);
    }

    #[test]
    fn uniform_numbers_stay_in_range_and_fill_it() {
        let mut stream = Philox::new(3, 0);
        let mut buckets = [0; 10];
        for _ in 0..20_000 {
            let value = stream.next_f32();
            assert!((0.0..1.0).contains(&value));
            buckets[(value * 10.0) as usize] += 1;
            buckets[stream.below(10) as usize] += 1;
        }
        // 4000 expected with a standard deviation of 60.
        assert!(buckets.iter().all(|count| (3700..4300).contains(count)), "{buckets:?}");
        assert_eq!((stream.below(0), stream.below(1)), (0, 0));
        assert!(stream.below(u64::MAX) < u64::MAX);
    }

    #[test]
    fn normal_numbers_have_mean_0_and_variance_1() {
        let mut stream = Philox::new(5, 0);
        let values: Vec<f64> = (0..10_000).flat_map(|_| stream.next_normal_pair()).map(f64::from).collect();
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / values.len() as f64;
        assert!(mean.abs() < 0.03 && (variance - 1.0).abs() < 0.05, "mean {mean}, variance {variance}");
    }

    #[test]
    fn shuffling_permutes() {
        let mut items: Vec<u32> = (0..100).collect();
        Philox::new(9, 0).shuffle(&mut items);
        assert_ne!(items, (0..100).collect::<Vec<_>>());
        let mut sorted = items.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, (0..100).collect::<Vec<_>>());
        let mut again: Vec<u32> = (0..100).collect();
        Philox::new(9, 0).shuffle(&mut again);
        assert_eq!(again, items, "the same seed gives the same order");
        Philox::new(9, 0).shuffle::<u8>(&mut []);
    }
}
