//! The comparisons that sort a row, whatever its length.
//!
//! Batcher's bitonic network (1968) in the form that always puts the smaller of two elements first: sorted blocks of
//! `k / 2` become sorted blocks of `k` by comparing each with its mirror image in the block, then halves, quarters and
//! so on with each other. A row whose length is no power of two is sorted as if it went on with elements above all
//! others: those never move, so comparisons with them are left out.

/// Comparisons that may happen side by side: in every block of `2 * distance` elements each of the lower half with one
/// of the upper.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Step {
    /// Elements of half a block.
    pub(super) distance: u64,
    /// Whether an element meets its mirror image, rather than the one `distance` on.
    pub(super) mirrored: bool,
    /// Blocks that are complete.
    pub(super) blocks: u64,
    /// Comparisons in the incomplete block after them.
    pub(super) rest: u64,
    /// Elements of the lower half of that block before those that are compared.
    pub(super) skipped: u64,
}

/// The network of `len` elements: stage `s` is step `s` of `merges`, then the steps of `halves` from number `s - 1` down to 0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Network {
    /// The first step of each stage.
    pub(super) merges: Vec<Step>,
    /// The step of distance `2^i`, by `i`.
    pub(super) halves: Vec<Step>,
}

impl Network {
    pub(super) fn new(len: u64) -> Self {
        let distances: Vec<u64> = (0..63).map(|stage| 1 << stage).take_while(|&distance| distance < len).collect();
        let halves = &distances[..distances.len().saturating_sub(1)];
        Self {
            merges: distances.iter().map(|&distance| step(len, distance, true)).collect(),
            halves: halves.iter().map(|&distance| step(len, distance, false)).collect(),
        }
    }

    /// All steps in order.
    pub(super) fn steps(&self) -> impl Iterator<Item = &Step> {
        self.merges
            .iter()
            .enumerate()
            .flat_map(|(stage, merge)| [merge].into_iter().chain(self.halves[..stage].iter().rev()))
    }
}

fn step(len: u64, distance: u64, mirrored: bool) -> Step {
    let (blocks, left) = (len / (2 * distance), len % (2 * distance));
    // Elements of the upper half that exist, each with a partner.
    let rest = left.saturating_sub(distance);
    let skipped = if mirrored && rest > 0 { distance - rest } else { 0 };
    Step { distance, mirrored, blocks, rest, skipped }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs the network, every comparison of a step in order.
    fn sort(row: &mut [u32]) {
        for step in Network::new(row.len() as u64).steps() {
            for number in 0..step.blocks * step.distance + step.rest {
                let (block, mut within) = (number / step.distance, number % step.distance);
                if block == step.blocks {
                    within += step.skipped;
                }
                let origin = block * 2 * step.distance;
                let low = (origin + within) as usize;
                let high = match step.mirrored {
                    true => origin + 2 * step.distance - 1 - within,
                    false => origin + step.distance + within,
                } as usize;
                assert!(low < high && high < row.len(), "{step:?}");
                if row[low] > row[high] {
                    row.swap(low, high);
                }
            }
        }
    }

    #[test]
    fn rows_of_zeros_and_ones_are_sorted() {
        // A network that sorts these sorts everything (Knuth, the 0-1 principle).
        for len in 0..=13 {
            for bits in 0..1u32 << len {
                let mut row: Vec<u32> = (0..len).map(|at| bits >> at & 1).collect();
                sort(&mut row);
                assert!(row.is_sorted(), "{bits:b} of {len}");
            }
        }
    }

    #[test]
    fn longer_rows_are_sorted() {
        for len in [16, 17, 31, 100, 257, 1000] {
            let mut row: Vec<u32> = (0..len).map(|at| at * 7919 % 1009).collect();
            sort(&mut row);
            assert!(row.is_sorted(), "{len}");
        }
    }
}
