//! Whether a program is consistent in itself: every index, offset and size.
//!
//! A program is checked once, when it is loaded; everything after that relies on it. What a kernel does with its
//! pointers is beyond checking: code is trusted, and an artifact is as trustworthy as whoever made it.

mod address;
mod ports;
mod steps;

use std::collections::HashSet;

use crate::error::Error;
use crate::layout::Layout;
use crate::program::{ALIGN, Place, Program, TensorSpec};

/// Chunks of one launch are counted in 32 bits.
pub(crate) const MAX_CHUNKS: u64 = u32::MAX as u64;

impl Program {
    /// Checks that every index names something, every offset and size fits, and every tensor is where it can be.
    ///
    /// # Errors
    /// [`Error::InvalidProgram`] with the first fault.
    pub fn validate(&self) -> Result<(), Error> {
        let layout = Layout::of(self)?;
        self.check_names()?;
        self.check_inputs()?;
        self.check_constants()?;
        self.check_outputs(&layout)?;
        self.check_ports()?;
        steps::Steps::check(self, &layout)
    }

    fn check_names(&self) -> Result<(), Error> {
        let inputs = self.inputs.iter().map(|input| &input.name);
        let outputs = self.outputs.iter().map(|output| &output.name);
        unique("input", inputs)?;
        unique("output", outputs)?;
        unique("kernel", self.kernels.iter().map(|kernel| &kernel.symbol))
    }

    fn check_inputs(&self) -> Result<(), Error> {
        for (idx, input) in self.inputs.iter().enumerate() {
            if let Some(initial) = &input.initial {
                let place = || format!("initial contents of input {idx} (`{}`)", input.name);
                has_bytes(place, initial.len(), &input.spec)?;
            }
        }
        Ok(())
    }

    fn check_constants(&self) -> Result<(), Error> {
        for (idx, constant) in self.constants.iter().enumerate() {
            has_bytes(|| format!("constant {idx}"), constant.data.len(), &constant.spec)?;
        }
        Ok(())
    }

    fn check_outputs(&self, layout: &Layout) -> Result<(), Error> {
        for (idx, output) in self.outputs.iter().enumerate() {
            let place = || format!("output {idx} (`{}`)", output.name);
            self.check_place(layout, place, output.place)?;
            let (bytes, room) = (output.spec.bytes() as u64, self.room(output.place));
            let fits = if matches!(output.place, Place::Arena(_)) { bytes <= room } else { bytes == room };
            if !fits {
                return Err(fault(place, format!("{} in {room} bytes", output.spec), format!("{bytes} bytes")));
            }
        }
        Ok(())
    }

    /// Bytes from the start of a valid place to the end of its tensor, or of the arena.
    fn room(&self, place: Place) -> u64 {
        match place {
            Place::Input(idx) => self.inputs[idx as usize].spec.bytes() as u64,
            Place::Output(idx) => self.outputs[idx as usize].spec.bytes() as u64,
            Place::Constant(idx) => self.constants[idx as usize].spec.bytes() as u64,
            Place::Arena(offset) => self.arena_bytes - offset,
        }
    }

    /// Checks that `found` is a place with memory behind it.
    fn check_place(&self, layout: &Layout, place: impl Fn() -> String, found: Place) -> Result<(), Error> {
        let (what, count) = match found {
            Place::Input(idx) if idx as usize >= self.inputs.len() => ("inputs", self.inputs.len()),
            Place::Constant(idx) if idx as usize >= self.constants.len() => ("constants", self.constants.len()),
            Place::Output(idx) if idx as usize >= self.outputs.len() => ("outputs", self.outputs.len()),
            Place::Arena(offset) if offset > self.arena_bytes => {
                return Err(fault(place, format!("{found:?}"), format!("an arena of {} bytes", self.arena_bytes)));
            }
            Place::Arena(offset) if offset % ALIGN as u64 != 0 => {
                return Err(fault(place, format!("{found:?}"), format!("a multiple of {ALIGN}")));
            }
            _ if layout.offset(found).is_none() => {
                return Err(fault(place, format!("{found:?}"), "an output with a buffer of its own".to_owned()));
            }
            _ => return Ok(()),
        };
        Err(fault(place, format!("{found:?}"), format!("one of {count} {what}")))
    }
}

fn fault(place: impl Fn() -> String, found: String, expected: String) -> Error {
    Error::InvalidProgram { place: place(), found, expected }
}

fn has_bytes(place: impl Fn() -> String, found: usize, spec: &TensorSpec) -> Result<(), Error> {
    if found == spec.bytes() {
        return Ok(());
    }
    Err(fault(place, format!("{found} bytes"), format!("{} bytes for {spec}", spec.bytes())))
}

fn unique<'a>(kind: &str, names: impl Iterator<Item = &'a String>) -> Result<(), Error> {
    let mut seen = HashSet::new();
    for (idx, name) in names.enumerate() {
        if !seen.insert(name) {
            return Err(fault(|| format!("{kind} {idx}"), format!("name `{name}` again"), "a new name".to_owned()));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
