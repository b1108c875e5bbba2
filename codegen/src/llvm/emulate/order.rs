//! Orders that look random and can be had again from their seed.

/// A source of permutations: SplitMix64.
#[derive(Clone, Debug)]
pub(super) struct Order {
    state: u64,
}

impl Order {
    pub(super) fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.state;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    }

    /// The numbers below `n`, each once.
    pub(super) fn shuffled(&mut self, n: usize) -> Vec<usize> {
        let mut numbers: Vec<usize> = (0..n).collect();
        for last in (1..n).rev() {
            numbers.swap(last, (self.next() % (last as u64 + 1)) as usize);
        }
        numbers
    }
}
