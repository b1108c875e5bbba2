//! What a device is to the executor: something that loads programs and runs instances of them.
//!
//! [`Cpu`] executes object code, [`Null`] executes nothing and checks everything up to that, [`Cuda`] executes PTX. The
//! executor has checked a program before a device sees it, and checks all indices, sizes and element types that callers
//! give; a device deals in bytes and valid indices.

mod cpu;
#[cfg(feature = "cuda")]
mod cuda;
#[cfg(not(feature = "cuda"))]
#[path = "device/no_cuda.rs"]
mod cuda;
mod null;

use std::fmt;
use std::sync::Arc;

pub use self::cpu::Cpu;
pub use self::cuda::Cuda;
pub use self::null::Null;
use crate::error::Error;
use crate::profile::LaunchTime;
use crate::program::{Code, Program};

/// A device that programs are loaded on.
pub trait Device: fmt::Debug + Send + Sync {
    /// The name that [`open`] knows the device by.
    fn name(&self) -> String;

    /// Prepares the code of a validated program.
    ///
    /// # Errors
    /// [`Error::WrongDevice`] for code of another kind of device, and whatever is wrong with the code itself.
    fn load(&self, program: Arc<Program>) -> Result<Arc<dyn DeviceProgram>, Error>;
}

/// A program whose code is ready on a device.
pub trait DeviceProgram: fmt::Debug + Send + Sync {
    /// Allocates one set of tensors, with the program's constants and the initial contents of its inputs.
    ///
    /// `threads` is the number of CPU threads a run may use, the calling one included; 0 is one a core.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`] and the device's own errors.
    fn instance(&self, threads: usize) -> Result<Box<dyn DeviceInstance>, Error>;

    /// Replaces kernels by those of the same symbols in `code`; each instance runs them from its next run on.
    ///
    /// # Errors
    /// [`Error::FixedCode`] where the device cannot, [`Error::WrongDevice`] for code of another kind of device, and
    /// whatever is wrong with the code itself; then nothing is replaced.
    fn replace(&self, code: &Code) -> Result<(), Error>;
}

/// One set of tensors of a program on a device. Indices are in range.
pub trait DeviceInstance: Send {
    /// Contents of an input.
    ///
    /// # Errors
    /// The device's own errors; so for all methods.
    fn input(&self, idx: usize) -> Result<&[u8], Error>;

    /// Contents of an input, to be written.
    fn input_mut(&mut self, idx: usize) -> Result<&mut [u8], Error>;

    /// Lets runs read an input from `bytes` (of the input's size, aligned to its elements) instead of its own buffer,
    /// or from its own buffer again. A device that cannot reach the caller's memory copies.
    ///
    /// # Safety
    /// No launch writes the input, and `bytes` lives until the input is bound to something else.
    unsafe fn bind_input(&mut self, idx: usize, bytes: Option<&[u8]>) -> Result<(), Error> {
        if let Some(bytes) = bytes {
            self.input_mut(idx)?.copy_from_slice(bytes);
        }
        Ok(())
    }

    /// Contents of an output, as the last run left them.
    fn output(&self, idx: usize) -> Result<&[u8], Error>;

    /// Runs all launches.
    fn run(&mut self) -> Result<(), Error>;

    /// Runs all launches, timing each.
    fn profile_run(&mut self) -> Result<Vec<LaunchTime>, Error>;

    /// Bytes of tensor memory held.
    fn tensor_bytes(&self) -> u64;
}

/// Opens a device by name: `cpu`, `null`, `cuda` or `cuda:INDEX`.
///
/// # Errors
/// [`Error::UnknownDevice`], and for CUDA what is missing on this machine or in this build.
pub fn open(name: &str) -> Result<Arc<dyn Device>, Error> {
    let unknown = || Error::UnknownDevice { name: name.to_owned() };
    Ok(match name.split_once(':') {
        None if name == "cpu" => Arc::new(Cpu::new()),
        None if name == "null" => Arc::new(Null::new()),
        None if name == "cuda" => Arc::new(Cuda::new(0)?),
        Some(("cuda", ordinal)) => Arc::new(Cuda::new(ordinal.parse().map_err(|_| unknown())?)?),
        _ => return Err(unknown()),
    })
}

/// The device that runs code compiled for `target` (`cpu`, `cuda`, `cuda:sm_90`).
///
/// # Errors
/// As [`open`].
pub fn for_target(target: &str) -> Result<Arc<dyn Device>, Error> {
    open(target.split_once(':').map_or(target, |(kind, _)| kind))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_opened_by_name() {
        assert_eq!(open("cpu").expect("always there").name(), "cpu");
        assert_eq!(open("null").expect("always there").name(), "null");
        for name in ["", "CPU", "cpu:0", "cuda:", "cuda:x", "cuda:-1", "tpu"] {
            assert!(matches!(open(name), Err(Error::UnknownDevice { .. })), "{name}");
        }
        assert_eq!(for_target("cpu").expect("always there").name(), "cpu");
    }

    #[test]
    #[cfg(not(feature = "cuda"))]
    fn cuda_says_why_it_is_missing() {
        let message = open("cuda:1").expect_err("not in this build").to_string();
        assert!(message.contains("built without the `cuda` feature"), "{message}");
    }
}
