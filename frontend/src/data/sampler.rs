//! Samplers: in which order, and how often, the examples of an epoch come.
//!
//! A sampler draws from the generator it is given and from nothing else. A loader gives each epoch a generator of its own,
//! so the order of an epoch can be found again from its number alone.

use nnc_ir::{Diagnostic, Location};

use crate::random::Generator;

/// The order of an epoch's examples: `torch.utils.data.Sampler`.
pub trait Sampler {
    /// Number of examples an epoch.
    fn len(&self) -> usize;

    /// Indices of the examples of one epoch, as many as [`Sampler::len`] says.
    fn sample(&self, generator: &mut Generator) -> Vec<usize>;

    /// Whether an epoch has no examples.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// The examples of each batch of an epoch, for batches that depend on what is in them, such as ones of similar lengths.
pub trait SampleBatches {
    /// Number of batches an epoch.
    fn len(&self) -> usize;

    /// Indices of the examples of each batch of one epoch, as many batches as [`SampleBatches::len`] says.
    fn sample(&self, generator: &mut Generator) -> Vec<Vec<usize>>;

    /// Whether an epoch has no batches.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Every example once, in order.
#[derive(Clone, Copy, Debug)]
pub struct SequentialSampler {
    len: usize,
}

impl SequentialSampler {
    /// `0..len`.
    pub fn new(len: usize) -> Self {
        Self { len }
    }
}

impl Sampler for SequentialSampler {
    fn len(&self) -> usize {
        self.len
    }

    fn sample(&self, _: &mut Generator) -> Vec<usize> {
        (0..self.len).collect()
    }
}

/// Examples in random order: each once, or drawn with replacement.
#[derive(Clone, Copy, Debug)]
pub struct RandomSampler {
    len: usize,
    replacement: bool,
    num_samples: Option<usize>,
}

impl RandomSampler {
    /// Every one of `len` examples once.
    pub fn new(len: usize) -> Self {
        Self { len, replacement: false, num_samples: None }
    }

    /// Whether each example is drawn from all, whatever was drawn before.
    #[must_use]
    pub fn replacement(mut self, replacement: bool) -> Self {
        self.replacement = replacement;
        self
    }

    /// Number of examples an epoch. Beyond the number there are, every one comes once before any comes again.
    #[must_use]
    pub fn num_samples(mut self, num_samples: usize) -> Self {
        self.num_samples = Some(num_samples);
        self
    }
}

impl Sampler for RandomSampler {
    fn len(&self) -> usize {
        if self.len == 0 { 0 } else { self.num_samples.unwrap_or(self.len) }
    }

    fn sample(&self, generator: &mut Generator) -> Vec<usize> {
        let n = Sampler::len(self);
        if self.replacement {
            return (0..n).map(|_| generator.below(self.len as u64) as usize).collect();
        }
        let mut indices = Vec::with_capacity(n);
        while indices.len() < n {
            let round = generator.permutation(self.len);
            let left = n - indices.len();
            indices.extend(round.into_iter().take(left));
        }
        indices
    }
}

/// Some examples, each once, in random order.
#[derive(Clone, Debug)]
pub struct SubsetRandomSampler {
    indices: Vec<usize>,
}

impl SubsetRandomSampler {
    /// The examples at `indices`.
    pub fn new(indices: impl IntoIterator<Item = usize>) -> Self {
        Self { indices: indices.into_iter().collect() }
    }
}

impl Sampler for SubsetRandomSampler {
    fn len(&self) -> usize {
        self.indices.len()
    }

    fn sample(&self, generator: &mut Generator) -> Vec<usize> {
        generator.permutation(self.indices.len()).into_iter().map(|idx| self.indices[idx]).collect()
    }
}

/// Examples drawn with probabilities in proportion to weights, for classes of unequal sizes.
///
/// ```
/// use nnc_frontend::data::{Sampler, WeightedRandomSampler};
/// use nnc_frontend::random::Generator;
///
/// let sampler = WeightedRandomSampler::new([0.0, 1.0, 3.0], 1000, true)?;
/// let drawn = sampler.sample(&mut Generator::new(0));
/// let n_last = drawn.iter().filter(|&&idx| idx == 2).count();
/// assert!(!drawn.contains(&0) && (700..800).contains(&n_last));
/// # Ok::<(), nnc_ir::Diagnostic>(())
/// ```
#[derive(Clone, Debug)]
pub struct WeightedRandomSampler {
    weights: SumTree,
    num_samples: usize,
    replacement: bool,
}

impl WeightedRandomSampler {
    /// Draws `num_samples` examples an epoch, with `replacement` or each at most once.
    ///
    /// # Errors
    /// Weights that are negative or not finite, or fewer positive ones than are to be drawn.
    pub fn new(
        weights: impl IntoIterator<Item = f64>,
        num_samples: usize,
        replacement: bool,
    ) -> Result<Self, Diagnostic> {
        let weights: Vec<f64> = weights.into_iter().collect();
        let fault = |message: String| Err(Diagnostic::new(Location::unknown(), message));
        if let Some((idx, weight)) =
            weights.iter().enumerate().find(|(_, weight)| !(**weight >= 0.0 && weight.is_finite()))
        {
            return fault(format!(
                "WeightedRandomSampler: weight {idx} is {weight}, expected a finite number of at least 0"
            ));
        }
        let n_positive = weights.iter().filter(|&&weight| weight > 0.0).count();
        let needed = if replacement { num_samples.min(1) } else { num_samples };
        if n_positive < needed {
            let how = if replacement { "with" } else { "without" };
            return fault(format!(
                "WeightedRandomSampler: {n_positive} weights are positive, expected at least {needed} to draw {num_samples} \
                 examples {how} replacement"
            ));
        }
        let weights = SumTree::new(&weights);
        if !weights.total().is_finite() {
            return fault("WeightedRandomSampler: the sum of the weights is not finite".to_string());
        }
        Ok(Self { weights, num_samples, replacement })
    }
}

impl Sampler for WeightedRandomSampler {
    fn len(&self) -> usize {
        self.num_samples
    }

    fn sample(&self, generator: &mut Generator) -> Vec<usize> {
        if self.replacement {
            return (0..self.num_samples).map(|_| self.weights.find(generator.uniform())).collect();
        }
        let mut weights = self.weights.clone();
        let drawn = (0..self.num_samples).map(|_| {
            let idx = weights.find(generator.uniform());
            weights.clear(idx);
            idx
        });
        drawn.collect()
    }
}

/// A complete binary tree of sums over weights: nodes `2 i` and `2 i + 1` are below node `i`, the root is node 1.
#[derive(Clone, Debug)]
struct SumTree {
    sums: Vec<f64>,
    n_leaves: usize,
}

impl SumTree {
    fn new(weights: &[f64]) -> Self {
        let n_leaves = weights.len().next_power_of_two();
        let mut sums = vec![0.0; 2 * n_leaves];
        sums[n_leaves..n_leaves + weights.len()].copy_from_slice(weights);
        for node in (1..n_leaves).rev() {
            sums[node] = sums[2 * node] + sums[2 * node + 1];
        }
        Self { sums, n_leaves }
    }

    fn total(&self) -> f64 {
        self.sums[1]
    }

    /// The leaf that the fraction `at` of the total falls on: one of positive weight, as long as there is one.
    fn find(&self, at: f64) -> usize {
        let mut at = at * self.total();
        let mut node = 1;
        while node < self.n_leaves {
            node *= 2;
            // Rounding may leave `at` beyond the sum on the right; then the way to the left is still open.
            if at >= self.sums[node] && self.sums[node + 1] > 0.0 {
                at -= self.sums[node];
                node += 1;
            }
        }
        node - self.n_leaves
    }

    /// Makes the weight of a leaf 0.
    fn clear(&mut self, leaf: usize) {
        let mut node = leaf + self.n_leaves;
        self.sums[node] = 0.0;
        while node > 1 {
            node /= 2;
            self.sums[node] = self.sums[2 * node] + self.sums[2 * node + 1];
        }
    }
}

/// The examples of a sampler in batches of one size: `torch.utils.data.BatchSampler`.
#[derive(Clone, Debug)]
pub struct BatchSampler<S> {
    sampler: S,
    batch_size: usize,
    drop_last: bool,
}

impl<S: Sampler> BatchSampler<S> {
    /// Batches of `batch_size`; the last may be smaller, unless it is to be dropped.
    ///
    /// # Panics
    /// If `batch_size` is 0.
    pub fn new(sampler: S, batch_size: usize, drop_last: bool) -> Self {
        assert!(batch_size > 0, "a batch holds at least one example");
        Self { sampler, batch_size, drop_last }
    }
}

impl<S: Sampler> SampleBatches for BatchSampler<S> {
    fn len(&self) -> usize {
        n_batches(self.sampler.len(), self.batch_size, self.drop_last)
    }

    fn sample(&self, generator: &mut Generator) -> Vec<Vec<usize>> {
        in_batches(&self.sampler.sample(generator), self.batch_size, self.drop_last)
    }
}

/// Number of batches of so many examples.
pub(super) fn n_batches(n_examples: usize, batch_size: usize, drop_last: bool) -> usize {
    if drop_last { n_examples / batch_size } else { n_examples.div_ceil(batch_size) }
}

/// Indices cut into batches.
pub(super) fn in_batches(indices: &[usize], batch_size: usize, drop_last: bool) -> Vec<Vec<usize>> {
    let n = n_batches(indices.len(), batch_size, drop_last);
    indices.chunks(batch_size).take(n).map(<[usize]>::to_vec).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_decide_how_often_and_whether() {
        let weights = [1.0, 0.0, 2.0, 4.0, 1.0];
        let sampler = WeightedRandomSampler::new(weights, 8000, true).expect("valid");
        let mut counts = [0usize; 5];
        sampler.sample(&mut Generator::new(3)).into_iter().for_each(|idx| counts[idx] += 1);
        for (count, weight) in counts.into_iter().zip(weights) {
            assert!((count as f64 - 1000.0 * weight).abs() <= 150.0 * weight, "{counts:?}");
        }
        let each_once = WeightedRandomSampler::new(weights, 4, false).expect("valid");
        let mut drawn = each_once.sample(&mut Generator::new(1));
        drawn.sort_unstable();
        assert_eq!(drawn, [0, 2, 3, 4]);
    }

    #[test]
    fn impossible_draws_are_explained() {
        let fault = |weights: &[f64], n, replacement| {
            WeightedRandomSampler::new(weights.iter().copied(), n, replacement).expect_err("impossible").to_string()
        };
        assert!(fault(&[1.0, -1.0], 1, true).contains("weight 1 is -1"));
        assert!(fault(&[f64::NAN], 1, true).contains("weight 0 is NaN"));
        assert!(fault(&[0.0, 0.0], 1, true).contains("0 weights are positive"));
        assert!(fault(&[1.0, 0.0], 2, false).contains("at least 2"));
        assert!(fault(&[f64::MAX, f64::MAX], 1, true).contains("not finite"));
    }

    #[test]
    fn random_samplers_draw_what_they_say() {
        let mut generator = Generator::new(0);
        let twice = RandomSampler::new(5).num_samples(8).sample(&mut generator);
        let (mut first, rest) = (twice[..5].to_vec(), &twice[5..]);
        first.sort_unstable();
        assert_eq!((first, rest.len()), (vec![0, 1, 2, 3, 4], 3));
        assert_eq!(RandomSampler::new(3).replacement(true).num_samples(50).sample(&mut generator).len(), 50);
        assert!(RandomSampler::new(0).num_samples(3).sample(&mut generator).is_empty());
        let mut subset = SubsetRandomSampler::new([7, 9, 4]).sample(&mut generator);
        subset.sort_unstable();
        assert_eq!(subset, [4, 7, 9]);
        let batches = BatchSampler::new(SequentialSampler::new(5), 2, false);
        assert_eq!(batches.sample(&mut generator), [vec![0, 1], vec![2, 3], vec![4]]);
        assert_eq!(BatchSampler::new(SequentialSampler::new(5), 2, true).len(), 2);
    }
}
