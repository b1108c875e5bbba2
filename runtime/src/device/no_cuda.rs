//! The CUDA device of a build without the `cuda` feature: the same surface, always an error.

use std::convert::Infallible;
use std::sync::Arc;

use super::{Device, DeviceProgram};
use crate::error::Error;
use crate::program::Program;

/// An NVIDIA GPU. This build has no support for it, so there are no values of this type.
#[derive(Debug)]
pub struct Cuda(Infallible);

impl Cuda {
    /// Opens GPU number `ordinal`.
    ///
    /// # Errors
    /// [`Error::NoCudaSupport`], always.
    pub fn new(ordinal: usize) -> Result<Cuda, Error> {
        let _ = ordinal;
        Err(Error::NoCudaSupport)
    }

    /// Number of GPUs: none that this build can use.
    pub fn count() -> usize {
        0
    }
}

impl Device for Cuda {
    fn name(&self) -> String {
        match self.0 {}
    }

    fn load(&self, _: Arc<Program>) -> Result<Arc<dyn DeviceProgram>, Error> {
        match self.0 {}
    }
}
