//! NVIDIA GPUs, through the driver library, which is looked for at run time.
//!
//! A program's PTX becomes a module, compiled by the driver for the GPU at hand. An instance has one block of device
//! memory laid out as on the host, and all launches captured once into a CUDA graph, so that a run is one call to the
//! driver; conditions are read back between graphs. Contents cross over through page-locked host memory, and only those that changed.
//!
//! [`memory`] owns device and host memory, [`record`] what a run asks of the driver, [`instance`] runs.

mod instance;
mod memory;
mod record;

use std::ffi::{CStr, CString, c_void};
use std::sync::Arc;

use cudarc::driver::sys::{self, CUfunction_attribute, CUjit_option};
use cudarc::driver::{CudaContext, DriverError, result};

use self::instance::CudaInstance;
use super::{Device, DeviceInstance, DeviceProgram};
use crate::error::Error;
use crate::program::{Code, Program};

/// An NVIDIA GPU.
#[derive(Clone, Debug)]
pub struct Cuda {
    context: Arc<CudaContext>,
}

impl Cuda {
    /// Opens GPU number `ordinal`.
    ///
    /// # Errors
    /// [`Error::NoCudaDriver`] where the driver library is missing, [`Error::Cuda`] where there is no such GPU.
    pub fn new(ordinal: usize) -> Result<Cuda, Error> {
        // SAFETY: loads the driver library, as every CUDA program does. Any other call without it would panic.
        if !unsafe { sys::is_culib_present() } {
            return Err(Error::NoCudaDriver);
        }
        let count = CudaContext::device_count().map_err(failed("list the GPUs"))?;
        if !usize::try_from(count).is_ok_and(|count| ordinal < count) {
            let reason = format!("found {count} GPUs, expected one with index {ordinal}");
            return Err(Error::Cuda { action: "open the GPU", reason });
        }
        let context = CudaContext::new(ordinal).map_err(failed("open the GPU"))?;
        // SAFETY: all work of an instance goes through its one stream, so there is nothing to track.
        unsafe { context.disable_event_tracking() };
        Ok(Cuda { context })
    }

    /// Number of GPUs on this machine; 0 without a driver.
    pub fn count() -> usize {
        // SAFETY: as in `new`.
        if !unsafe { sys::is_culib_present() } {
            return 0;
        }
        CudaContext::device_count().ok().and_then(|count| usize::try_from(count).ok()).unwrap_or(0)
    }

    /// Fails where the GPU is older than the code, or of another kind than `sm_90a` and its like are bound to.
    fn check_arch(&self, arch: &str) -> Result<(), Error> {
        let (major, minor) = self.context.compute_capability().map_err(failed("ask for the compute capability"))?;
        let capability = major * 10 + minor;
        let digits = arch.trim_start_matches("sm_");
        let number = digits.trim_end_matches(['a', 'f']);
        let fits = match number.parse::<i32>() {
            Ok(needed) if number == digits => capability >= needed,
            Ok(needed) => capability == needed,
            Err(_) => false,
        };
        if fits {
            return Ok(());
        }
        let reason = format!("found a GPU of compute capability {major}.{minor}, expected one that runs {arch}");
        Err(Error::Cuda { action: "load the module", reason })
    }
}

impl Device for Cuda {
    fn name(&self) -> String {
        format!("cuda:{}", self.context.ordinal())
    }

    fn load(&self, program: Arc<Program>) -> Result<Arc<dyn DeviceProgram>, Error> {
        let Code::Ptx { arch, text } = &program.code else {
            return Err(Error::WrongDevice {
                device: self.name(),
                code: "CPU object code",
                hint: "run it on `cpu`, or compile for `cuda`",
            });
        };
        self.check_arch(arch)?;
        let module = Module::load(&self.context, text)?;
        let kernels = program
            .kernels
            .iter()
            .map(|kernel| module.function(&kernel.symbol, kernel.block))
            .collect::<Result<_, Error>>()?;
        Ok(Arc::new(CudaProgram(Arc::new(Loaded { program, kernels, _module: module, context: self.context.clone() }))))
    }
}

/// A program with its module on the GPU.
#[derive(Debug)]
struct Loaded {
    program: Arc<Program>,
    kernels: Vec<Function>,
    /// Keeps `kernels` loaded.
    _module: Module,
    context: Arc<CudaContext>,
}

#[derive(Debug)]
struct CudaProgram(Arc<Loaded>);

impl DeviceProgram for CudaProgram {
    fn instance(&self, _threads: usize) -> Result<Box<dyn DeviceInstance>, Error> {
        Ok(Box::new(CudaInstance::new(Arc::clone(&self.0))?))
    }

    fn replace(&self, _: &Code) -> Result<(), Error> {
        Err(Error::FixedCode { device: "cuda" })
    }
}

/// A kernel of a loaded module.
#[derive(Clone, Copy, Debug)]
struct Function(sys::CUfunction);

// SAFETY: a handle; the driver's functions on it may be called from any thread.
unsafe impl Send for Function {}
// SAFETY: as above.
unsafe impl Sync for Function {}

/// A loaded module, unloaded on drop.
#[derive(Debug)]
struct Module {
    module: sys::CUmodule,
    context: Arc<CudaContext>,
}

// SAFETY: a handle; the driver's functions on it may be called from any thread.
unsafe impl Send for Module {}
// SAFETY: as above.
unsafe impl Sync for Module {}

impl Module {
    /// Compiles PTX for the GPU of `context`. On failure the compiler's own messages are the reason.
    fn load(context: &Arc<CudaContext>, text: &str) -> Result<Module, Error> {
        const ACTION: &str = "load the module";
        context.bind_to_thread().map_err(failed(ACTION))?;
        let text = CString::new(text)
            .map_err(|_| Error::Cuda { action: ACTION, reason: "the PTX text has a zero byte".to_owned() })?;
        let mut log = vec![0_u8; 8192];
        let mut options = [CUjit_option::CU_JIT_ERROR_LOG_BUFFER, CUjit_option::CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES];
        // The driver takes numbers in place of pointers here.
        let mut values = [log.as_mut_ptr().cast::<c_void>(), std::ptr::without_provenance_mut(log.len())];
        let mut module = std::ptr::null_mut();
        // SAFETY: the text ends in a zero byte, and the options match their values, which outlive the call.
        let loaded = unsafe {
            sys::cuModuleLoadDataEx(
                &mut module,
                text.as_ptr().cast(),
                options.len() as u32,
                options.as_mut_ptr(),
                values.as_mut_ptr(),
            )
        };
        loaded.result().map_err(|error| {
            let log = CStr::from_bytes_until_nul(&log).map_or("", |log| log.to_str().unwrap_or("")).trim();
            match failed(ACTION)(error) {
                Error::Cuda { action, reason } if !log.is_empty() => {
                    Error::Cuda { action, reason: format!("{reason}: {log}") }
                }
                error => error,
            }
        })?;
        Ok(Module { module, context: Arc::clone(context) })
    }

    /// The kernel `symbol`, which can be launched in blocks of `block` threads.
    fn function(&self, symbol: &str, block: [u32; 3]) -> Result<Function, Error> {
        let missing = || Error::MissingKernel { symbol: symbol.to_owned() };
        let name = CString::new(symbol).map_err(|_| missing())?;
        // SAFETY: the module is loaded.
        let function = unsafe { result::module::get_function(self.module, name) }.map_err(|_| missing())?;
        let attribute = CUfunction_attribute::CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK;
        // Asking also makes a driver that loads lazily load the kernel now rather than during capture.
        // SAFETY: the function exists.
        let limit = unsafe { result::function::get_function_attribute(function, attribute) };
        let limit = u64::try_from(limit.map_err(failed("inspect a kernel"))?).unwrap_or(0);
        let threads = block.iter().try_fold(1_u64, |product, &extent| product.checked_mul(extent.into()));
        if threads.is_none_or(|threads| threads > limit) {
            let reason = format!("kernel `{symbol}` takes at most {limit} threads a block here, found {block:?}");
            return Err(Error::Cuda { action: "load the module", reason });
        }
        Ok(Function(function))
    }
}

impl Drop for Module {
    fn drop(&mut self) {
        // Nothing useful can be done about a failure here; the context keeps it for its next user.
        self.context.record_err(self.context.bind_to_thread());
        // SAFETY: loaded once and unloaded once.
        self.context.record_err(unsafe { result::module::unload(self.module) });
    }
}

/// Turns a driver error into this crate's.
fn failed(action: &'static str) -> impl Fn(DriverError) -> Error {
    move |error| {
        let text = |text: Result<&CStr, DriverError>| text.map(|text| text.to_string_lossy().into_owned());
        let name = text(error.error_name()).unwrap_or_else(|_| format!("{:?}", error.0));
        let reason = match text(error.error_string()) {
            Ok(description) => format!("{name} ({description})"),
            Err(_) => name,
        };
        Error::Cuda { action, reason }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_without_a_driver_says_so() {
        // On a machine with a GPU the programs of the conformance tests run instead.
        if Cuda::count() == 0 {
            let error = Cuda::new(0).expect_err("no GPU");
            assert!(matches!(error, Error::NoCudaDriver | Error::Cuda { .. }), "{error}");
        }
    }
}
