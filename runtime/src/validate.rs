//! Whether a program is consistent in itself: every index, offset and size.
//!
//! A program is checked once, when it is loaded; everything after that relies on it. What a kernel does with its
//! pointers is beyond checking: code is trusted, and an artifact is as trustworthy as whoever made it.

use std::collections::HashSet;

use crate::error::Error;
use crate::layout::Layout;
use crate::program::{ALIGN, Code, Place, Program, TensorSpec};

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
        self.check_launches(&layout)
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
            let bytes = output.spec.bytes();
            let room = match output.place {
                Place::Input(idx) => self.inputs[idx as usize].spec.bytes(),
                Place::Output(idx) => self.outputs[idx as usize].spec.bytes(),
                Place::Constant(idx) => self.constants[idx as usize].spec.bytes(),
                Place::Arena(offset) => (self.arena_bytes - offset) as usize,
            };
            let fits = if matches!(output.place, Place::Arena(_)) { bytes <= room } else { bytes == room };
            if !fits {
                return Err(fault(place, format!("{} in {room} bytes", output.spec), format!("{bytes} bytes")));
            }
        }
        Ok(())
    }

    fn check_launches(&self, layout: &Layout) -> Result<(), Error> {
        let on_gpu = matches!(self.code, Code::Ptx { .. });
        for (idx, launch) in self.launches.iter().enumerate() {
            let place = || format!("launch {idx} ({})", launch.label);
            let Some(kernel) = self.kernels.get(launch.kernel as usize) else {
                let expected = format!("one of {} kernels", self.kernels.len());
                return Err(fault(place, format!("kernel {}", launch.kernel), expected));
            };
            for (arg_idx, &arg) in launch.args.iter().enumerate() {
                self.check_place(layout, || format!("{}, argument {arg_idx}", place()), arg)?;
            }
            if on_gpu {
                if launch.grid.contains(&0) || kernel.block.contains(&0) {
                    let found = format!("grid {:?} of blocks {:?}", launch.grid, kernel.block);
                    return Err(fault(place, found, "no extent of 0".to_owned()));
                }
            } else if launch.chunk == 0 || launch.extent.div_ceil(launch.chunk) > MAX_CHUNKS {
                let found = format!("chunks of {} in an extent of {}", launch.chunk, launch.extent);
                return Err(fault(place, found, format!("at most {MAX_CHUNKS} chunks, none empty")));
            }
        }
        Ok(())
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
mod tests {
    use super::*;
    use crate::program::{Constant, ElemType, KernelInfo, Launch, test_program};

    /// A valid program of one launch, changed by `change`, must be refused with a text that contains `expect`.
    fn check(change: impl FnOnce(&mut Program), expect: &str) {
        let mut program = test_program(&[("x", &[4])], &[("y", &[4])], 256);
        program
            .constants
            .push(Constant { spec: TensorSpec { elem: ElemType::I64, shape: vec![2] }, data: vec![0; 16] });
        program.kernels.push(KernelInfo {
            symbol: "k0".to_owned(),
            bytes: 0,
            flops: 0,
            block: [1; 3],
            shared_bytes: 0,
        });
        program.launches.push(Launch {
            kernel: 0,
            args: vec![Place::Input(0), Place::Constant(0), Place::Arena(64), Place::Output(0)],
            extent: 4,
            chunk: 4,
            grid: [1; 3],
            label: "relu".to_owned(),
        });
        program.validate().expect("valid before the change");
        change(&mut program);
        let message = program.validate().expect_err(expect).to_string();
        assert!(message.contains(expect), "`{message}` should contain `{expect}`");
    }

    #[test]
    fn each_fault_is_refused_with_its_place() {
        check(|p| p.launches[0].kernel = 1, "launch 0 (relu): found kernel 1, expected one of 1 kernels");
        check(|p| p.launches[0].args[0] = Place::Input(1), "argument 0: found Input(1), expected one of 1 inputs");
        check(|p| p.launches[0].args[1] = Place::Constant(9), "expected one of 1 constants");
        check(|p| p.launches[0].args[3] = Place::Output(1), "expected one of 1 outputs");
        check(|p| p.launches[0].args[2] = Place::Arena(320), "expected an arena of 256 bytes");
        check(|p| p.launches[0].args[2] = Place::Arena(4), "expected a multiple of 64");
        check(|p| p.launches[0].chunk = 0, "none empty");
        check(|p| (p.launches[0].extent, p.launches[0].chunk) = (u64::MAX, 1), "4294967295 chunks");
        check(|p| p.inputs[0].initial = Some(vec![0; 3]), "input 0 (`x`): found 3 bytes, expected 16 bytes for f32[4]");
        check(|p| p.constants[0].data.truncate(8), "constant 0: found 8 bytes, expected 16 bytes for i64[2]");
        check(|p| p.inputs.push(p.inputs[0].clone()), "found name `x` again");
        check(|p| p.outputs[0].place = Place::Input(0), "launch 0 (relu), argument 3: found Output(0)");
        check(
            |p| {
                p.launches.clear();
                p.inputs[0].spec.shape = vec![5];
                p.outputs[0].place = Place::Input(0);
            },
            "output 0 (`y`): found f32[4] in 20 bytes, expected 16 bytes",
        );
        check(|p| p.outputs[0].spec.shape = vec![usize::MAX, 2], "beyond the address space");
        check(
            |p| {
                p.code = Code::Ptx { arch: "sm_90".to_owned(), text: String::new() };
                p.launches[0].grid = [1, 0, 1];
            },
            "no extent of 0",
        );
    }
}
