//! Where each tensor of a program lies in the one block that holds them all.
//!
//! The compiler has already placed the intermediates within the arena; this places inputs, constants, outputs and the
//! arena itself. The total is what the compiler prints as the peak and what an instance allocates.

use crate::error::Error;
use crate::program::{ALIGN, Place, Program};

/// Byte offsets of a program's tensors in its block, each a multiple of [`ALIGN`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Offset of each input.
    pub inputs: Vec<usize>,
    /// Offset of each constant.
    pub constants: Vec<usize>,
    /// Offset of each output that has a buffer of its own.
    pub outputs: Vec<Option<usize>>,
    /// Offset of the arena.
    pub arena: usize,
    /// Bytes of the whole block, a multiple of [`ALIGN`].
    pub total: usize,
}

/// Addresses that are equal modulo this many bytes are taken by the CPU for the same one when a load follows a store.
const ALIASING: usize = 4096;

/// Starts of large tensors are moved apart by this much, modulo [`ALIASING`]: five lines, so that unit-stride loops
/// over several tensors stay clear of each other.
const STAGGER: usize = 5 * ALIGN;

/// How many large tensors before the current one its start keeps clear of.
const NEIGHBORS: usize = 3;

impl Layout {
    /// Places the tensors of `program`.
    ///
    /// # Errors
    /// [`Error::InvalidProgram`] where the sizes do not fit the address space.
    pub fn of(program: &Program) -> Result<Layout, Error> {
        let mut cursor = Cursor::default();
        let mut inputs = Vec::with_capacity(program.inputs.len());
        for (idx, input) in program.inputs.iter().enumerate() {
            inputs.push(cursor.place(input.spec.checked_bytes(), || format!("input {idx} (`{}`)", input.name))?);
        }
        let mut constants = Vec::with_capacity(program.constants.len());
        for (idx, constant) in program.constants.iter().enumerate() {
            constants.push(cursor.place(constant.spec.checked_bytes(), || format!("constant {idx}"))?);
        }
        let mut outputs = Vec::with_capacity(program.outputs.len());
        for (idx, output) in program.outputs.iter().enumerate() {
            let own = output.place == Place::Output(idx as u32);
            let place = || format!("output {idx} (`{}`)", output.name);
            outputs.push(own.then(|| cursor.place(output.spec.checked_bytes(), place)).transpose()?);
        }
        let arena = cursor.place(usize::try_from(program.arena_bytes).ok(), || "arena".to_owned())?;
        Ok(Layout { inputs, constants, outputs, arena, total: cursor.end })
    }

    /// Offset of a place, or `None` if the program has no such place.
    pub fn offset(&self, place: Place) -> Option<usize> {
        match place {
            Place::Input(idx) => self.inputs.get(idx as usize).copied(),
            Place::Constant(idx) => self.constants.get(idx as usize).copied(),
            Place::Output(idx) => *self.outputs.get(idx as usize)?,
            Place::Arena(offset) => {
                let offset = self.arena.checked_add(usize::try_from(offset).ok()?)?;
                (offset <= self.total).then_some(offset)
            }
        }
    }
}

/// Hands out offsets in ascending order.
#[derive(Default)]
struct Cursor {
    end: usize,
    /// Starts of the last large tensors, modulo [`ALIASING`].
    starts: [Option<usize>; NEIGHBORS],
}

impl Cursor {
    /// Places a tensor of `bytes` bytes (`None` if that overflowed); `place` names it in errors.
    fn place(&mut self, bytes: Option<usize>, place: impl Fn() -> String) -> Result<usize, Error> {
        let start = if bytes.is_some_and(|bytes| bytes >= ALIASING) { self.stagger() } else { self.end };
        let end = bytes
            .and_then(|bytes| bytes.checked_next_multiple_of(ALIGN))
            .and_then(|bytes| start.checked_add(bytes))
            .filter(|&end| end <= isize::MAX as usize / 2);
        self.end = end.ok_or_else(|| Error::InvalidProgram {
            place: place(),
            found: "a size beyond the address space".to_owned(),
            expected: format!("at most {} bytes in all", isize::MAX / 2),
        })?;
        Ok(start)
    }

    /// The next start that does not alias one of the last large tensors.
    fn stagger(&mut self) -> usize {
        let aliases = |start: usize| {
            self.starts.iter().flatten().any(|other| {
                let distance = (start % ALIASING).abs_diff(*other);
                distance.min(ALIASING - distance) < STAGGER
            })
        };
        let mut start = self.end;
        while aliases(start) {
            start += ALIGN;
        }
        self.starts.rotate_right(1);
        self.starts[0] = Some(start % ALIASING);
        start
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::program::test_program;

    #[test]
    fn tensors_are_aligned_and_disjoint_and_fill_the_block() {
        let program = test_program(&[("x", &[3]), ("w", &[64, 64])], &[("y", &[5])], 1000);
        let layout = Layout::of(&program).expect("sizes are small");
        assert_eq!(layout.inputs, [0, 64]);
        assert_eq!(layout.outputs, [Some(64 + 64 * 64 * 4)]);
        assert_eq!(layout.arena, 64 + 64 * 64 * 4 + 64);
        assert_eq!(layout.total, layout.arena + 1024);
        assert_eq!(program.peak_bytes(), layout.total as u64);
    }

    #[test]
    fn large_tensors_do_not_alias_at_4_kib() {
        let program = test_program(&[("x", &[1024]), ("w", &[1024]), ("b", &[2048])], &[("y", &[1024])], 8192);
        let layout = Layout::of(&program).expect("sizes are small");
        let mut starts = [layout.inputs.clone(), vec![layout.outputs[0].expect("own buffer"), layout.arena]].concat();
        assert!(starts.iter().all(|start| start % ALIGN == 0));
        starts.iter_mut().for_each(|start| *start %= ALIASING);
        for pair in starts.windows(2) {
            assert!(pair[0].abs_diff(pair[1]) >= STAGGER, "{starts:?}");
        }
    }

    #[test]
    fn sizes_beyond_the_address_space_are_errors() {
        let mut program = test_program(&[("x", &[usize::MAX / 2, 8])], &[], 0);
        assert!(Layout::of(&program).unwrap_err().to_string().contains("input 0 (`x`)"));
        program.inputs.clear();
        program.arena_bytes = u64::MAX;
        assert!(Layout::of(&program).unwrap_err().to_string().contains("arena"));
        assert_eq!(program.peak_bytes(), u64::MAX);
    }
}
