//! Packing live ranges into one arena.
//!
//! Each block goes into the tightest gap among the blocks placed before that live at the same time. Two orders of
//! placing are tried, the largest first and the earliest first; the better one is improved by placing first whatever
//! stands at the top of the arena, again and again.

use std::cmp::Reverse;

use super::ALIGN;

/// `bytes` rounded up to whole cache lines.
pub(super) fn aligned(bytes: u64) -> u64 {
    bytes.next_multiple_of(ALIGN)
}

/// A buffer of the arena and the steps it lives in, both ends included.
#[derive(Clone, Copy, Debug)]
pub(super) struct Block {
    pub(super) bytes: u64,
    pub(super) begin: usize,
    pub(super) end: usize,
    pub(super) offset: u64,
}

impl Block {
    /// Bytes of whole cache lines.
    pub(super) fn aligned(&self) -> u64 {
        aligned(self.bytes)
    }

    /// Bytes taken: one cache line more for multiples of a page, so that equal tensors that are read together do not
    /// start at equal offsets of a page (loads and stores 4 KiB apart stall each other).
    fn padded(&self) -> u64 {
        let bytes = self.aligned();
        if bytes > 0 && bytes.is_multiple_of(4096) { bytes + ALIGN } else { bytes }
    }

    /// Whether the buffer holds something during `step`.
    pub(super) fn lives_at(&self, step: usize) -> bool {
        (self.begin..=self.end).contains(&step)
    }

    fn overlaps(&self, other: &Self) -> bool {
        self.begin <= other.end && other.begin <= self.end
    }
}

/// Rounds of improvement at most.
const MAX_ROUNDS: usize = 64;

/// Arenas of more blocks than this are not improved: a round takes quadratic time.
const MAX_IMPROVED: usize = 1024;

/// Gives every block its offset, and the size of the arena.
pub(super) fn pack(blocks: &mut [Block]) -> u64 {
    let sized: Vec<usize> = (0..blocks.len()).filter(|&idx| blocks[idx].bytes > 0).collect();
    let mut by_size = sized.clone();
    by_size.sort_by_key(|&idx| (Reverse(blocks[idx].bytes), blocks[idx].begin, idx));
    let mut by_begin = sized.clone();
    by_begin.sort_by_key(|&idx| (blocks[idx].begin, Reverse(blocks[idx].bytes), idx));
    let mut best = Packing::new(blocks, by_size);
    best = best.or(Packing::new(blocks, by_begin));
    // No arena is smaller than what lives at once; live bytes grow only where a block begins.
    let live_at = |at: usize| -> u64 { blocks.iter().filter(|block| block.lives_at(at)).map(Block::padded).sum() };
    let bound = if sized.len() > MAX_IMPROVED {
        0
    } else {
        sized.iter().map(|&idx| live_at(blocks[idx].begin)).max().unwrap_or(0)
    };
    let mut current = best.clone();
    for _ in 0..MAX_ROUNDS {
        if best.size <= bound || sized.len() > MAX_IMPROVED {
            break;
        }
        let mut order = current.order.clone();
        let top = current.top();
        order.retain(|&idx| idx != top);
        order.insert(0, top);
        current = Packing::new(blocks, order);
        best = best.or(current.clone());
    }
    blocks.copy_from_slice(&best.blocks);
    best.size
}

/// Blocks placed one after the other.
#[derive(Clone)]
struct Packing {
    blocks: Vec<Block>,
    order: Vec<usize>,
    size: u64,
}

impl Packing {
    fn new(blocks: &[Block], order: Vec<usize>) -> Self {
        let mut blocks = blocks.to_vec();
        let size = pack_in_order(&mut blocks, &order);
        Self { blocks, order, size }
    }

    /// The smaller one; `self` if they are equal.
    fn or(self, other: Self) -> Self {
        if other.size < self.size { other } else { self }
    }

    /// The block at the top of the arena: what makes it as large as it is. Placed first, it finds room below.
    fn top(&self) -> usize {
        let reaches_top = |&&idx: &&usize| self.blocks[idx].offset + self.blocks[idx].padded() == self.size;
        *self.order.iter().find(reaches_top).expect("some block ends where the arena does")
    }
}

fn pack_in_order(blocks: &mut [Block], order: &[usize]) -> u64 {
    let mut arena_bytes = 0;
    for (n_placed, &idx) in order.iter().enumerate() {
        let block = blocks[idx];
        let size = block.padded();
        let mut neighbors: Vec<&Block> =
            order[..n_placed].iter().map(|&other| &blocks[other]).filter(|other| other.overlaps(&block)).collect();
        neighbors.sort_by_key(|other| other.offset);
        let mut best: Option<(u64, u64)> = None;
        let mut free_from = 0;
        for other in neighbors {
            if other.offset >= free_from + size {
                let gap = other.offset - free_from;
                if best.is_none_or(|(smallest, _)| gap < smallest) {
                    best = Some((gap, free_from));
                }
            }
            free_from = free_from.max(other.offset + other.padded());
        }
        blocks[idx].offset = best.map_or(free_from, |(_, offset)| offset);
        arena_bytes = arena_bytes.max(blocks[idx].offset + size);
    }
    arena_bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Packs blocks of (bytes, begin, end) and gives offsets and size.
    fn check(ranges: &[(u64, usize, usize)], offsets: &[u64], size: u64) {
        let mut blocks: Vec<Block> =
            ranges.iter().map(|&(bytes, begin, end)| Block { bytes, begin, end, offset: 0 }).collect();
        let found = pack(&mut blocks);
        assert_eq!(blocks.iter().map(|block| block.offset).collect::<Vec<_>>(), offsets);
        assert_eq!(found, size);
        for (idx, lhs) in blocks.iter().enumerate() {
            for rhs in &blocks[idx + 1..] {
                let apart = lhs.offset + lhs.bytes <= rhs.offset || rhs.offset + rhs.bytes <= lhs.offset;
                assert!(apart || !lhs.overlaps(rhs) || lhs.bytes == 0 || rhs.bytes == 0);
            }
        }
    }

    #[test]
    fn what_does_not_live_together_shares() {
        check(&[(100, 0, 1), (100, 2, 3)], &[0, 0], 128);
        check(&[(100, 0, 1), (100, 1, 2)], &[0, 128], 256);
    }

    #[test]
    fn gaps_are_filled() {
        // The block in the middle dies; a smaller one fits in its place.
        check(&[(256, 0, 9), (128, 0, 3), (256, 0, 9), (64, 4, 9)], &[0, 512, 256, 512], 640);
    }

    #[test]
    fn a_bad_order_is_improved() {
        // By size and by begin the arena has 896 bytes.
        check(&[(320, 2, 4), (192, 4, 7), (320, 4, 5), (384, 2, 3)], &[512, 320, 0, 0], 832);
    }

    #[test]
    fn pages_are_staggered() {
        check(&[(4096, 0, 1), (4096, 0, 1)], &[0, 4160], 8320);
    }

    #[test]
    fn nothing_takes_no_room() {
        check(&[(0, 0, 9), (64, 0, 9)], &[0, 0], 64);
    }
}
