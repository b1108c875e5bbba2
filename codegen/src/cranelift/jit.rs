//! Kernels straight into memory through `cranelift-jit`, for tools and tests that want to call one kernel now.
//!
//! Programs do not go this way: they are ELF objects whichever tier made them, so that the bytes that run in-process are
//! the bytes of the artifact. What both ways share is everything up to the machine code.

use cranelift::jit::{JITBuilder, JITModule};
use cranelift::module::default_libcall_names;
use nnc_runtime::externs;
use nnc_runtime::program::CpuKernel;

use super::{define, fail, host_isa};
use crate::kernel::Kernel;
use crate::target::EmitError;

/// Kernels in executable memory, which is freed with it.
pub struct JitKernels {
    /// Taken when dropped.
    module: Option<JITModule>,
    entries: Vec<CpuKernel>,
}

impl std::fmt::Debug for JitKernels {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("JitKernels").field("kernels", &self.entries.len()).finish_non_exhaustive()
    }
}

impl JitKernels {
    /// Compiles kernels.
    ///
    /// # Errors
    /// As for [`super::compile`].
    pub fn compile(kernels: &[Kernel]) -> Result<Self, EmitError> {
        let isa = host_isa(false)?;
        let mut builder = JITBuilder::with_isa(isa.clone(), default_libcall_names());
        for name in externs::NAMES {
            let address = externs::address(name).expect("every listed name has an address");
            builder.symbol(name, address as *const u8);
        }
        let mut module = JITModule::new(builder);
        let ids = define(&mut module, kernels, &isa)?;
        module.finalize_definitions().map_err(|error| fail("")(&error))?;
        let entry = |id| {
            let address = module.get_finalized_function(id);
            // SAFETY: `define` compiled the function with the signature of `CpuKernel`.
            unsafe { std::mem::transmute::<*const u8, CpuKernel>(address) }
        };
        let entries = ids.into_iter().map(entry).collect();
        Ok(Self { module: Some(module), entries })
    }

    /// The kernel at position `idx` of the list that was compiled. It must not be called once `self` is gone.
    pub fn entry(&self, idx: usize) -> CpuKernel {
        self.entries[idx]
    }
}

impl Drop for JitKernels {
    fn drop(&mut self) {
        if let Some(module) = self.module.take() {
            // SAFETY: callers keep no entry beyond the kernels' life, as `entry` demands.
            unsafe { module.free_memory() };
        }
    }
}
