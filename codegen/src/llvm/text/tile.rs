//! Tile products and transposes as register-tiled loops, specialized to their extents and strides.
//!
//! A product keeps `rows x vectors` accumulators in registers over the whole contraction, so each element is one chain
//! of fused multiply-adds. Rows are split evenly (64 rows at most 14 at a time become 13, 13, 13, 13, 12), columns into
//! whole vectors with a masked last one.

use std::fmt::Write;

use super::{Dialect, Emitter};
use crate::kernel::{TileMatmul, TileTranspose};

/// Lanes of a host vector.
const LANES: u32 = 16;
/// Accumulators that fit in 32 vector registers beside the operands.
const MAX_ACCUMULATORS: u32 = 28;
/// Contraction steps in one iteration of the inner loop.
const UNROLL: u64 = 4;
/// How many rows of the right tile are fetched ahead.
const PREFETCH: i64 = 8;

/// One register tile: which part of the product it computes.
struct Block {
    rows: u32,
    vectors: u32,
    /// Lanes of the last vector that exist.
    tail: u32,
    /// Pointers to the tile's first elements.
    a: String,
    b: String,
    acc: String,
}

/// Vectors a register tile is wide, for a product of `m` rows.
fn tile_vectors(m: u32) -> u32 {
    match m {
        0..=3 => 8,
        4..=6 => 4,
        _ => 2,
    }
}

impl Emitter<'_> {
    pub(super) fn matmul(&mut self, tile: &TileMatmul) -> Result<(), String> {
        if self.dialect != Dialect::Host {
            return Err("tile products exist on CPUs only".to_string());
        }
        let a = self.pointer(tile.a, &tile.a_index, 0);
        let b = self.pointer(tile.b, &tile.b_index, 0);
        let acc = self.pointer(tile.acc, &tile.acc_index, 0);
        let width = tile_vectors(tile.m) * LANES;
        let n_whole = tile.n / width;
        self.counted(n_whole.into(), |emitter, block| {
            let columns = emitter.value(&format!("mul nsw i64 {block}, {width}"));
            let (b, acc) = (emitter.shift(&b, &columns), emitter.shift(&acc, &columns));
            emitter.row_blocks(tile, width / LANES, LANES, &a, &b, &acc);
        });
        let rest = tile.n - n_whole * width;
        if rest > 0 {
            let columns = (n_whole * width).to_string();
            let (b, acc) = (self.shift(&b, &columns), self.shift(&acc, &columns));
            let vectors = rest.div_ceil(LANES);
            self.row_blocks(tile, vectors, rest - (vectors - 1) * LANES, &a, &b, &acc);
        }
        Ok(())
    }

    /// All rows of one column block.
    fn row_blocks(&mut self, tile: &TileMatmul, vectors: u32, tail: u32, a: &str, b: &str, acc: &str) {
        let most = (MAX_ACCUMULATORS / vectors).clamp(1, 14);
        let n_blocks = tile.m.div_ceil(most);
        if n_blocks == 0 {
            return;
        }
        let (rows, n_larger) = (tile.m / n_blocks, tile.m % n_blocks);
        let mut first_row = 0;
        for (rows, count) in [(rows + 1, n_larger), (rows, n_blocks - n_larger)] {
            if rows == 0 || count == 0 {
                continue;
            }
            let start = first_row;
            self.counted(count.into(), |emitter, block| {
                let row = emitter.value(&format!("mul nsw i64 {block}, {rows}"));
                let row = emitter.value(&format!("add nsw i64 {row}, {start}"));
                let a_row = emitter.value(&format!("mul nsw i64 {row}, {}", tile.a_row_stride));
                let acc_row = emitter.value(&format!("mul nsw i64 {row}, {}", tile.acc_row_stride));
                let (a, acc) = (emitter.shift(a, &a_row), emitter.shift(acc, &acc_row));
                emitter.register_tile(tile, Block { rows, vectors, tail, a, b: b.to_string(), acc });
            });
            first_row += rows * count;
        }
    }

    fn register_tile(&mut self, tile: &TileMatmul, block: Block) {
        let n_acc = (block.rows * block.vectors) as usize;
        let ty = "<16 x float>";
        let mut start = Vec::with_capacity(n_acc);
        for row in 0..block.rows {
            for vector in 0..block.vectors {
                start.push(if tile.accumulate {
                    let at = i64::from(row) * tile.acc_row_stride + i64::from(vector * LANES);
                    let pointer = self.shift(&block.acc, &at.to_string());
                    self.tile_load(&block, vector, &pointer)
                } else {
                    "zeroinitializer".to_string()
                });
            }
        }
        // Whole groups of rows, so that where each lies is known.
        let n_taps = tile.b_taps.len() as u64;
        let n_groups = UNROLL.div_ceil(n_taps);
        let n_iterations = tile.k / (n_groups * n_taps);
        let mut accs = start;
        if n_iterations > 0 {
            self.n_temps += 1;
            let id = self.n_temps;
            let before = self.label.clone();
            self.line(&format!("br label %tile{id}"));
            self.start_block(format!("tile{id}"));
            self.line(&format!("%k{id} = phi i64 [ 0, %{before} ], [ %kn{id}, %tile{id} ]"));
            // The accumulators' phis name their updates, which are written at the end of the block.
            let mut phis = Vec::with_capacity(n_acc);
            for (idx, initial) in accs.iter().enumerate() {
                let name = format!("%acc{id}.{idx}");
                self.line(&format!("{name} = phi {ty} [ {initial}, %{before} ], [ %accn{id}.{idx}, %tile{id} ]"));
                phis.push(name);
            }
            let group = self.value(&format!("mul nsw i64 %k{id}, {n_groups}"));
            let a_k = self.value(&format!("mul nsw i64 {group}, {}", n_taps as i64 * tile.a_k_stride));
            let b_k = self.value(&format!("mul nsw i64 {group}, {}", tile.b_k_stride));
            let (a, b) = (self.shift(&block.a, &a_k), self.shift(&block.b, &b_k));
            let updated = (0..n_groups * n_taps).fold(phis, |accs, k| self.step(tile, &block, &a, &b, k, accs));
            for (idx, value) in updated.iter().enumerate() {
                self.line(&format!("%accn{id}.{idx} = bitcast {ty} {value} to {ty}"));
            }
            self.line(&format!("%kn{id} = add nuw nsw i64 %k{id}, 1"));
            let more = self.value(&format!("icmp ne i64 %kn{id}, {n_iterations}"));
            self.line(&format!("br i1 {more}, label %tile{id}, label %tiled{id}, !llvm.loop !0"));
            self.start_block(format!("tiled{id}"));
            accs = (0..n_acc).map(|idx| format!("%accn{id}.{idx}")).collect();
        }
        for k in n_iterations * n_groups * n_taps..tile.k {
            let (a, b) = (block.a.clone(), block.b.clone());
            accs = self.step(tile, &block, &a, &b, k, accs);
        }
        for row in 0..block.rows {
            for vector in 0..block.vectors {
                let at = i64::from(row) * tile.acc_row_stride + i64::from(vector * LANES);
                let pointer = self.shift(&block.acc, &at.to_string());
                let value = accs[(row * block.vectors + vector) as usize].clone();
                if vector + 1 == block.vectors && block.tail < LANES {
                    self.masked_store("float", 4, LANES as u16, block.tail as u16, &value, &pointer);
                } else {
                    self.line(&format!("store {ty} {value}, ptr {pointer}, align 4"));
                }
            }
        }
    }

    /// One step of the contraction: a row of `b` against a column of `a`.
    fn step(&mut self, tile: &TileMatmul, block: &Block, a: &str, b: &str, k: u64, accs: Vec<String>) -> Vec<String> {
        let ty = "<16 x float>";
        let columns: Vec<String> = (0..block.vectors)
            .map(|vector| {
                let at = tile.b_row(k) + i64::from(vector * LANES);
                let pointer = self.shift(b, &at.to_string());
                // Rows that overlap are in the cache.
                if tile.b_taps.len() == 1 {
                    let ahead = self.shift(&pointer, &(PREFETCH * tile.b_k_stride).to_string());
                    self.declarations.need("declare void @llvm.prefetch.p0(ptr, i32, i32, i32)".to_string());
                    self.line(&format!("call void @llvm.prefetch.p0(ptr {ahead}, i32 0, i32 3, i32 1)"));
                }
                self.tile_load(block, vector, &pointer)
            })
            .collect();
        let name = "llvm.fma.v16f32";
        let mut updated = Vec::with_capacity(accs.len());
        for row in 0..block.rows {
            let at = i64::from(row) * tile.a_row_stride + k as i64 * tile.a_k_stride;
            let pointer = self.shift(a, &at.to_string());
            let scalar = self.value(&format!("load float, ptr {pointer}, align 4"));
            let scalar = self.splat("float", LANES as u16, &scalar);
            for vector in 0..block.vectors {
                let acc = &accs[(row * block.vectors + vector) as usize];
                let text = self.intrinsic(name, ty, &[ty; 3], &[&scalar, &columns[vector as usize], acc]);
                updated.push(self.value(&text));
            }
        }
        updated
    }

    fn tile_load(&mut self, block: &Block, vector: u32, pointer: &str) -> String {
        if vector + 1 == block.vectors && block.tail < LANES {
            self.masked_load("float", 4, LANES as u16, block.tail as u16, pointer)
        } else {
            self.value(&format!("load <16 x float>, ptr {pointer}, align 4"))
        }
    }

    /// Pointer `elements` floats further.
    fn shift(&mut self, pointer: &str, elements: &str) -> String {
        self.value(&format!("getelementptr float, ptr {pointer}, i64 {elements}"))
    }

    /// A loop of `count` iterations over the text `body` writes; one iteration is written without a loop.
    fn counted(&mut self, count: u64, body: impl FnOnce(&mut Self, &str)) {
        match count {
            0 => {}
            1 => body(self, "0"),
            _ => {
                self.n_temps += 1;
                let id = self.n_temps;
                let before = self.label.clone();
                self.line(&format!("br label %count{id}"));
                self.start_block(format!("count{id}"));
                self.line(&format!("%c{id} = phi i64 [ 0, %{before} ], [ %cn{id}, %counted{id} ]"));
                body(self, &format!("%c{id}"));
                self.line(&format!("br label %counted{id}"));
                self.start_block(format!("counted{id}"));
                self.line(&format!("%cn{id} = add nuw nsw i64 %c{id}, 1"));
                let more = self.value(&format!("icmp ne i64 %cn{id}, {count}"));
                self.line(&format!("br i1 {more}, label %count{id}, label %end{id}"));
                self.start_block(format!("end{id}"));
            }
        }
    }

    /// Blocks of 16 x 16 through registers; what is left over, element by element.
    pub(super) fn transpose(&mut self, tile: &TileTranspose) -> Result<(), String> {
        if self.dialect != Dialect::Host {
            return Err("tile transposes exist on CPUs only".to_string());
        }
        let src = self.pointer(tile.src, &tile.src_index, 0);
        let dst = self.pointer(tile.dst, &tile.dst_index, 0);
        let (row_blocks, col_blocks) = (tile.rows / LANES, tile.cols / LANES);
        self.counted(row_blocks.into(), |emitter, row_block| {
            let src_row = emitter.value(&format!("mul nsw i64 {row_block}, {}", i64::from(LANES) * tile.src_stride));
            let dst_row = emitter.value(&format!("mul nsw i64 {row_block}, {LANES}"));
            let (src, dst) = (emitter.shift(&src, &src_row), emitter.shift(&dst, &dst_row));
            emitter.counted(col_blocks.into(), |emitter, col_block| {
                let src_col = emitter.value(&format!("mul nsw i64 {col_block}, {LANES}"));
                let dst_col =
                    emitter.value(&format!("mul nsw i64 {col_block}, {}", i64::from(LANES) * tile.dst_stride));
                let (src, dst) = (emitter.shift(&src, &src_col), emitter.shift(&dst, &dst_col));
                emitter.transpose_block(tile, &src, &dst);
            });
        });
        let (done_rows, done_cols) = (row_blocks * LANES, col_blocks * LANES);
        // The strip right of the blocks, then the strip below them.
        self.transpose_strip(tile, &src, &dst, (0, done_rows), (done_cols, tile.cols));
        self.transpose_strip(tile, &src, &dst, (done_rows, tile.rows), (0, tile.cols));
        Ok(())
    }

    fn transpose_strip(&mut self, tile: &TileTranspose, src: &str, dst: &str, rows: (u32, u32), cols: (u32, u32)) {
        if cols.0 == cols.1 {
            return;
        }
        self.counted((rows.1 - rows.0).into(), |emitter, row| {
            let row = emitter.value(&format!("add nsw i64 {row}, {}", rows.0));
            emitter.counted((cols.1 - cols.0).into(), |emitter, col| {
                let col = emitter.value(&format!("add nsw i64 {col}, {}", cols.0));
                let from = emitter.value(&format!("mul nsw i64 {row}, {}", tile.src_stride));
                let from = emitter.value(&format!("add nsw i64 {from}, {col}"));
                let to = emitter.value(&format!("mul nsw i64 {col}, {}", tile.dst_stride));
                let to = emitter.value(&format!("add nsw i64 {to}, {row}"));
                let (from, to) = (emitter.shift(src, &from), emitter.shift(dst, &to));
                let value = emitter.value(&format!("load float, ptr {from}, align 4"));
                emitter.line(&format!("store float {value}, ptr {to}, align 4"));
            });
        });
    }

    /// A 16 x 16 block in four rounds of pairwise exchanges: round `s` swaps the off-diagonal `s x s` blocks.
    fn transpose_block(&mut self, tile: &TileTranspose, src: &str, dst: &str) {
        let ty = "<16 x float>";
        let mut rows: Vec<String> = (0..i64::from(LANES))
            .map(|row| {
                let pointer = self.shift(src, &(row * tile.src_stride).to_string());
                self.value(&format!("load {ty}, ptr {pointer}, align 4"))
            })
            .collect();
        for size in [8u32, 4, 2, 1] {
            let mask = |upper: bool| {
                let mut text = String::new();
                for lane in 0..LANES {
                    let in_high = lane & size != 0;
                    // The first result keeps its own low halves and takes the partner's; the second the high ones.
                    let source = match (upper, in_high) {
                        (false, false) | (true, true) => lane + if upper { LANES } else { 0 },
                        (false, true) => lane - size + LANES,
                        (true, false) => lane + size,
                    };
                    let _ = write!(text, "{}i32 {source}", if lane > 0 { ", " } else { "" });
                }
                format!("<16 x i32> <{text}>")
            };
            for row in (0..LANES as usize).filter(|row| row & size as usize == 0) {
                let (lhs, rhs) = (rows[row].clone(), rows[row + size as usize].clone());
                rows[row] = self.value(&format!("shufflevector {ty} {lhs}, {ty} {rhs}, {}", mask(false)));
                rows[row + size as usize] =
                    self.value(&format!("shufflevector {ty} {lhs}, {ty} {rhs}, {}", mask(true)));
            }
        }
        for (col, row) in rows.iter().enumerate() {
            let pointer = self.shift(dst, &(col as i64 * tile.dst_stride).to_string());
            self.line(&format!("store {ty} {row}, ptr {pointer}, align 4"));
        }
    }
}
