//! Masks in memory: `bool` takes a byte, 0 or 1, where a lane of a register is 32 bits, all set or all clear. Sixteen lanes
//! at a time go through one vector of bytes.

use cranelift::prelude::*;

use super::{Emitter, Repr};

/// Lanes that are read or written at once.
pub(super) const LANES: usize = 16;

impl Emitter<'_> {
    /// Reads `n_lanes` neighboring elements, a multiple of [`LANES`].
    pub(super) fn load_masks(&mut self, address: Value, offset: i32, n_lanes: usize) -> Repr {
        let flags = MemFlagsData::new().with_notrap();
        let mut pieces = Vec::with_capacity(n_lanes / 4);
        for first in (0..n_lanes).step_by(LANES) {
            let bytes = self.builder.ins().load(types::I8X16, flags, address, offset + first as i32);
            let bits = self.builder.ins().ineg(bytes);
            for half in [self.builder.ins().swiden_low(bits), self.builder.ins().swiden_high(bits)] {
                pieces.push(self.builder.ins().swiden_low(half));
                pieces.push(self.builder.ins().swiden_high(half));
            }
        }
        Repr::Pieces(pieces)
    }

    /// Writes as many elements as `pieces` have lanes, a multiple of [`LANES`].
    pub(super) fn store_masks(&mut self, pieces: &[Value], address: Value, offset: i32) {
        let flags = MemFlagsData::new().with_notrap();
        for (at, pieces) in pieces.chunks_exact(LANES / 4).enumerate() {
            let pieces: Vec<Value> = pieces.iter().map(|&piece| self.bitcast(types::I32X4, piece)).collect();
            let low = self.builder.ins().snarrow(pieces[0], pieces[1]);
            let high = self.builder.ins().snarrow(pieces[2], pieces[3]);
            let bits = self.builder.ins().snarrow(low, high);
            let bytes = self.builder.ins().ineg(bits);
            self.builder.ins().store(flags, bytes, address, offset + (at * LANES) as i32);
        }
    }
}
