//! Loading programs and running them: the surface that callers see, the same for every device.
//!
//! An [`Executable`] is a program whose code is ready on a device. An [`Instance`] is one set of tensors for it:
//! everything a run needs is allocated when the instance is made, and running allocates nothing. Instances of one
//! executable are independent and share its code.
//!
//! ```no_run
//! # fn main() -> Result<(), nnc_runtime::Error> {
//! # let x = [0.0_f32; 784];
//! use nnc_runtime::{Executable, artifact, device};
//!
//! let program = artifact::load("model.nnc".as_ref())?;
//! let device = device::for_target(&program.target)?;
//! let mut instance = Executable::load(program, &*device)?.instance(2)?;
//! instance.input_mut::<f32>("x")?.copy_from_slice(&x);
//! instance.run()?;
//! println!("{:?}", instance.output_as::<f32>("probabilities")?);
//! # Ok(())
//! # }
//! ```

use std::fmt;
use std::sync::Arc;

use crate::device::{Device, DeviceInstance, DeviceProgram};
use crate::element::{Element, view, view_mut};
use crate::error::Error;
use crate::profile::LaunchTime;
use crate::program::{Code, ElemType, Place, Program, TensorSpec};

/// A program whose code is ready on a device. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Executable {
    program: Arc<Program>,
    code: Arc<dyn DeviceProgram>,
}

impl Executable {
    /// Checks `program` and prepares its code on `device`.
    ///
    /// # Errors
    /// [`Error::InvalidProgram`] where the program contradicts itself, [`Error::WrongDevice`] where the device cannot
    /// run its code, [`Error::MissingCpuFeature`] and [`Error::WrongArchitecture`] where this machine cannot.
    pub fn load(program: impl Into<Arc<Program>>, device: &dyn Device) -> Result<Executable, Error> {
        let program = program.into();
        program.validate()?;
        let code = device.load(Arc::clone(&program))?;
        Ok(Executable { program, code })
    }

    /// The program.
    pub fn program(&self) -> &Arc<Program> {
        &self.program
    }

    /// Replaces kernels by those of the same symbols in `code`, which must be what another emitter made of the same
    /// kernels. Every instance runs them from its next run on, on the tensors it has.
    ///
    /// # Errors
    /// [`Error::FixedCode`] where the device cannot, [`Error::WrongDevice`] for code of another kind of device, and
    /// whatever is wrong with the code itself; then nothing is replaced.
    pub fn replace(&self, code: &Code) -> Result<(), Error> {
        self.code.replace(code)
    }

    /// Allocates one set of tensors: constants and initial contents in place, everything else 0.
    ///
    /// A run uses up to `threads` CPU threads, the calling one included; 0 is one a core. Results are the same bits for
    /// any number.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`], [`Error::Threads`], and the device's own errors.
    pub fn instance(&self, threads: usize) -> Result<Instance, Error> {
        Ok(Instance { tensors: self.code.instance(threads)?, program: Arc::clone(&self.program) })
    }
}

/// What names an input or an output: its index or its name.
pub trait TensorKey: fmt::Display + Copy {
    /// The index among `names`, or `None` if there is no such tensor.
    fn index_in<'a>(self, names: impl ExactSizeIterator<Item = &'a str>) -> Option<usize>;
}

impl TensorKey for usize {
    fn index_in<'a>(self, names: impl ExactSizeIterator<Item = &'a str>) -> Option<usize> {
        (self < names.len()).then_some(self)
    }
}

impl TensorKey for &str {
    fn index_in<'a>(self, mut names: impl ExactSizeIterator<Item = &'a str>) -> Option<usize> {
        names.position(|name| name == self)
    }
}

/// One set of tensors of a program, on the device it was loaded on.
///
/// Inputs keep their contents from run to run, except those that an output is donated into: they hold the output's
/// value after a run, which is how a training step updates its parameters.
pub struct Instance {
    tensors: Box<dyn DeviceInstance>,
    program: Arc<Program>,
}

impl fmt::Debug for Instance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Instance").field("program", &self.program.name).finish_non_exhaustive()
    }
}

impl Instance {
    /// The program.
    pub fn program(&self) -> &Arc<Program> {
        &self.program
    }

    /// Bytes of tensor memory held, [`Program::peak_bytes`].
    pub fn tensor_bytes(&self) -> u64 {
        self.tensors.tensor_bytes()
    }

    /// Index of an input.
    ///
    /// # Errors
    /// [`Error::UnknownTensor`].
    pub fn input_index(&self, key: impl TensorKey) -> Result<usize, Error> {
        let names = || self.program.inputs.iter().map(|input| input.name.as_str());
        key.index_in(names()).ok_or_else(|| self.unknown("input", &key, names()))
    }

    /// Index of an output.
    ///
    /// # Errors
    /// [`Error::UnknownTensor`].
    pub fn output_index(&self, key: impl TensorKey) -> Result<usize, Error> {
        let names = || self.program.outputs.iter().map(|output| output.name.as_str());
        key.index_in(names()).ok_or_else(|| self.unknown("output", &key, names()))
    }

    fn unknown<'a>(&self, kind: &'static str, key: &dyn fmt::Display, names: impl Iterator<Item = &'a str>) -> Error {
        let known = names.map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
        let known = if known.is_empty() { "none".to_owned() } else { known };
        Error::UnknownTensor { program: self.program.name.clone(), kind, key: key.to_string(), known }
    }

    /// Sets the contents of an input: dense little-endian elements, row-major.
    ///
    /// # Errors
    /// [`Error::UnknownTensor`], [`Error::WrongSize`], and [`Error::NotABool`] for a byte of a `bool` tensor that is
    /// neither 0 nor 1.
    pub fn write(&mut self, key: impl TensorKey, bytes: &[u8]) -> Result<(), Error> {
        let idx = self.input_index(key)?;
        self.check_input(idx, bytes)?;
        self.tensors.input_mut(idx)?.copy_from_slice(bytes);
        Ok(())
    }

    /// Checks contents for an input.
    fn check_input(&self, idx: usize, bytes: &[u8]) -> Result<(), Error> {
        let spec = &self.program.inputs[idx].spec;
        if bytes.len() != spec.bytes() {
            let tensor = self.input_text(idx);
            return Err(Error::WrongSize { tensor, found: bytes.len(), expected: spec.bytes() });
        }
        if spec.elem == ElemType::Bool
            && let Some(element) = bytes.iter().position(|&byte| byte > 1)
        {
            return Err(Error::NotABool { tensor: self.input_text(idx), found: bytes[element], element });
        }
        Ok(())
    }

    /// Contents of an input.
    ///
    /// # Errors
    /// [`Error::UnknownTensor`].
    pub fn input(&self, key: impl TensorKey) -> Result<&[u8], Error> {
        self.tensors.input(self.input_index(key)?)
    }

    /// Elements of an input.
    ///
    /// # Errors
    /// [`Error::UnknownTensor`], [`Error::WrongElemType`].
    pub fn input_as<T: Element>(&self, key: impl TensorKey) -> Result<&[T], Error> {
        let idx = self.input_index(key)?;
        self.check_elem::<T>(&self.program.inputs[idx].spec, || self.input_text(idx))?;
        Ok(view(self.tensors.input(idx)?).expect("tensors are aligned"))
    }

    /// Elements of an input, to be written in place.
    ///
    /// # Errors
    /// [`Error::UnknownTensor`], [`Error::WrongElemType`].
    pub fn input_mut<T: Element>(&mut self, key: impl TensorKey) -> Result<&mut [T], Error> {
        let idx = self.input_index(key)?;
        self.check_elem::<T>(&self.program.inputs[idx].spec, || self.input_text(idx))?;
        Ok(view_mut(self.tensors.input_mut(idx)?).expect("tensors are aligned"))
    }

    /// Contents of an output, as the last run left them.
    ///
    /// # Errors
    /// [`Error::UnknownTensor`], [`Error::NoContents`] on the null device.
    pub fn output(&self, key: impl TensorKey) -> Result<&[u8], Error> {
        self.tensors.output(self.output_index(key)?)
    }

    /// Elements of an output, as the last run left them.
    ///
    /// # Errors
    /// [`Error::UnknownTensor`], [`Error::WrongElemType`], [`Error::NoContents`] on the null device.
    pub fn output_as<T: Element>(&self, key: impl TensorKey) -> Result<&[T], Error> {
        let idx = self.output_index(key)?;
        let output = &self.program.outputs[idx];
        self.check_elem::<T>(&output.spec, || format!("output `{}`: {}", output.name, output.spec))?;
        Ok(view(self.tensors.output(idx)?).expect("tensors are aligned"))
    }

    /// Runs the program once. Allocates nothing.
    ///
    /// # Errors
    /// The device's own errors; on the CPU there are none.
    pub fn run(&mut self) -> Result<(), Error> {
        self.tensors.run()
    }

    /// Runs the program once with some inputs read from the caller's memory, without a copy where the device can reach
    /// it and it is aligned to its elements. Inputs that the program updates are copied. Allocates nothing.
    ///
    /// # Errors
    /// As [`Instance::write`] and [`Instance::run`].
    pub fn run_with<K: TensorKey>(&mut self, inputs: &[(K, &[u8])]) -> Result<(), Error> {
        for &(key, bytes) in inputs {
            self.check_input(self.input_index(key)?, bytes)?;
        }
        for &(key, bytes) in inputs {
            let idx = self.input_index(key)?;
            let updated = self.program.outputs.iter().any(|output| output.place == Place::Input(idx as u32));
            if updated || bytes.as_ptr().align_offset(self.program.inputs[idx].spec.elem.size()) != 0 {
                self.tensors.input_mut(idx)?.copy_from_slice(bytes);
            } else {
                // SAFETY: only launches that update an input write it. The binding ends below, before `bytes` does.
                unsafe { self.tensors.bind_input(idx, Some(bytes))? };
            }
        }
        let outcome = self.tensors.run();
        for &(key, _) in inputs {
            let idx = self.input_index(key)?;
            // SAFETY: the input's own buffer lives as long as the instance.
            unsafe { self.tensors.bind_input(idx, None)? };
        }
        outcome
    }

    /// Runs the program once, one launch after the other, and gives the time of each.
    ///
    /// # Errors
    /// As [`Instance::run`].
    pub fn profile_run(&mut self) -> Result<Vec<LaunchTime>, Error> {
        self.tensors.profile_run()
    }

    fn input_text(&self, idx: usize) -> String {
        let input = &self.program.inputs[idx];
        format!("input `{}`: {}", input.name, input.spec)
    }

    fn check_elem<T: Element>(&self, spec: &TensorSpec, tensor: impl Fn() -> String) -> Result<(), Error> {
        if T::views(spec.elem) {
            return Ok(());
        }
        Err(Error::WrongElemType { tensor: tensor(), found: T::ELEM.name(), expected: spec.elem })
    }
}
