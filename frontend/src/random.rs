//! Random numbers from a counter: Philox4x32-10 (Salmon, Moraes, Dror, Shaw, *Parallel random numbers: as easy as
//! 1, 2, 3*, SC'11).
//!
//! A draw is a pure function of key and counter, so it does not depend on who draws first or on how many threads
//! there are. The thread's default generator serves initializers and eager tensors; traced programs carry a state of
//! their own, which starts from it.

use std::cell::Cell;

use nnc_ir::interp::philox4x32;

/// A stream of random numbers.
///
/// ```
/// use nnc_frontend::random::Generator;
///
/// let draws = |seed| -> Vec<u32> { let mut g = Generator::new(seed); (0..3).map(|_| g.next_u32()).collect() };
/// assert_eq!(draws(7), draws(7));
/// assert_ne!(draws(7), draws(8));
/// ```
#[derive(Clone, Debug)]
pub struct Generator {
    key: [u32; 2],
    stream: u64,
    block_idx: u64,
    block: [u32; 4],
    n_left: usize,
}

impl Generator {
    /// The generator of `seed`.
    pub fn new(seed: u64) -> Self {
        Self::with_stream(seed, 0)
    }

    /// One of 2^64 independent streams of `seed`.
    pub fn with_stream(seed: u64, stream: u64) -> Self {
        Self { key: [seed as u32, (seed >> 32) as u32], stream, block_idx: 0, block: [0; 4], n_left: 0 }
    }

    /// 32 random bits.
    pub fn next_u32(&mut self) -> u32 {
        if self.n_left == 0 {
            let (low, high) = (self.block_idx, self.stream);
            let counter = [low as u32, (low >> 32) as u32, high as u32, (high >> 32) as u32];
            self.block = philox4x32(counter, self.key);
            self.block_idx += 1;
            self.n_left = 4;
        }
        self.n_left -= 1;
        self.block[3 - self.n_left]
    }

    /// 64 random bits.
    pub fn next_u64(&mut self) -> u64 {
        u64::from(self.next_u32()) | u64::from(self.next_u32()) << 32
    }

    /// A uniform number in [0, 1) with 53 random bits.
    pub fn uniform(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// A standard normal number (Box and Muller).
    pub fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.uniform()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.uniform()).cos()
    }

    /// A uniform integer below `n`, without bias (Lemire).
    ///
    /// # Panics
    /// If `n` is 0: there is no such integer.
    pub fn below(&mut self, n: u64) -> u64 {
        assert!(n > 0, "there is no integer below 0");
        loop {
            let product = u128::from(self.next_u64()) * u128::from(n);
            let low = product as u64;
            if low >= n || low >= n.wrapping_neg() % n {
                return (product >> 64) as u64;
            }
        }
    }

    /// A uniform permutation of `0..n` (Fisher and Yates).
    pub fn permutation(&mut self, n: usize) -> Vec<usize> {
        let mut items: Vec<usize> = (0..n).collect();
        for idx in (1..n).rev() {
            items.swap(idx, self.below(idx as u64 + 1) as usize);
        }
        items
    }
}

thread_local! {
    /// Seed and number of streams handed out so far.
    static DEFAULT: Cell<(u64, u64)> = const { Cell::new((0, 0)) };
}

/// Seeds the thread's default generator: initializers, eager random tensors, traced programs' states and shuffles
/// repeat from here. Without it the seed is 0.
pub fn manual_seed(seed: u64) {
    DEFAULT.set((seed, 0));
}

/// The next stream of the thread's default generator.
pub fn next_generator() -> Generator {
    let (seed, stream) = DEFAULT.get();
    DEFAULT.set((seed, stream + 1));
    Generator::with_stream(seed, stream)
}

/// The state of the thread's default generator, for [`set_rng_state`]: `torch.get_rng_state`.
pub fn get_rng_state() -> [u64; 2] {
    let (seed, stream) = DEFAULT.get();
    [seed, stream]
}

/// Continues the thread's default generator from a state that [`get_rng_state`] gave.
pub fn set_rng_state([seed, stream]: [u64; 2]) {
    DEFAULT.set((seed, stream));
}

/// Calls `body` with the thread's default generator seeded by `seed`; afterwards it is as it was.
///
/// What `body` draws neither depends on nor changes what is drawn around it, so it can be repeated in another process or
/// on another thread.
pub fn with_seed<T>(seed: u64, body: impl FnOnce() -> T) -> T {
    /// Puts the state back, even if `body` unwinds.
    struct Restored([u64; 2]);

    impl Drop for Restored {
        fn drop(&mut self) {
            set_rng_state(self.0);
        }
    }

    let _restored = Restored(get_rng_state());
    manual_seed(seed);
    body()
}

/// The next stream of the default generator as a state of the IR's `rng_bits`: two key words, two high counter words.
pub(crate) fn next_state() -> [u32; 4] {
    let (seed, stream) = DEFAULT.get();
    DEFAULT.set((seed, stream + 1));
    [seed as u32, (seed >> 32) as u32, stream as u32, (stream >> 32) as u32]
}

/// A state that a traced program may advance on its own, one step of the third word a draw: its fourth word keeps it
/// apart from every stream of [`next_state`].
pub(crate) fn next_program_state() -> [u32; 4] {
    let [key_low, key_high, stream, _] = next_state();
    [key_low, key_high, 0, stream | 1 << 31]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_those_of_the_distributions() {
        let mut generator = Generator::new(3);
        let n = 20_000;
        let uniform: Vec<f64> = (0..n).map(|_| generator.uniform()).collect();
        let normal: Vec<f64> = (0..n).map(|_| generator.normal()).collect();
        let mean = |values: &[f64]| values.iter().sum::<f64>() / n as f64;
        let var = |values: &[f64]| values.iter().map(|v| (v - mean(values)).powi(2)).sum::<f64>() / n as f64;
        assert!((mean(&uniform) - 0.5).abs() < 0.01 && (var(&uniform) - 1.0 / 12.0).abs() < 0.002);
        assert!(mean(&normal).abs() < 0.03 && (var(&normal) - 1.0).abs() < 0.04);
    }

    #[test]
    fn a_seeded_scope_leaves_no_trace() {
        manual_seed(5);
        let before = get_rng_state();
        let inside = with_seed(9, || next_generator().next_u64());
        assert_eq!(get_rng_state(), before);
        assert_eq!(inside, Generator::new(9).next_u64());
        let drawn = next_generator().next_u64();
        set_rng_state(before);
        assert_eq!(next_generator().next_u64(), drawn);
    }

    #[test]
    fn a_permutation_holds_every_index_once() {
        let mut items = Generator::new(1).permutation(100);
        assert_ne!(items, (0..100).collect::<Vec<_>>());
        items.sort_unstable();
        assert_eq!(items, (0..100).collect::<Vec<_>>());
    }
}
