//! Memory on the device and page-locked memory on the host.

use std::cell::{Cell, OnceCell};
use std::ffi::c_void;
use std::ptr::NonNull;
use std::sync::Arc;

use cudarc::driver::sys::{CUdeviceptr, CUstream};
use cudarc::driver::{CudaContext, CudaStream, result};

use super::failed;
use crate::error::Error;

/// A block of device memory.
#[derive(Debug)]
pub(super) struct Block {
    start: CUdeviceptr,
    context: Arc<CudaContext>,
}

impl Block {
    /// Allocates `bytes` bytes and clears them on `stream`.
    pub(super) fn zeroed(stream: &CudaStream, bytes: usize) -> Result<Block, Error> {
        let context = stream.context();
        context.bind_to_thread().map_err(failed("use the GPU"))?;
        // The driver gives no empty blocks.
        let len = bytes.max(1);
        // SAFETY: owned by the block below, which frees it.
        let start = unsafe { result::malloc_sync(len) }.map_err(|_| Error::OutOfMemory { bytes: bytes as u64 })?;
        let block = Block { start, context: Arc::clone(context) };
        // SAFETY: just allocated with this many bytes.
        let cleared = unsafe { result::memset_d8_async(start, 0, len, stream.cu_stream()) };
        cleared.map_err(failed("clear device memory"))?;
        Ok(block)
    }

    /// Device address of byte `offset`.
    pub(super) fn at(&self, offset: usize) -> CUdeviceptr {
        self.start + offset as CUdeviceptr
    }

    /// Copies `bytes` to byte `offset` on `stream`.
    ///
    /// # Safety
    /// The block has that many bytes there, and `bytes` stay as they are until the stream is done.
    pub(super) unsafe fn write(&self, stream: &CudaStream, offset: usize, bytes: &[u8]) -> Result<(), Error> {
        if bytes.is_empty() {
            return Ok(());
        }
        // SAFETY: the caller's promise.
        let copied = unsafe { result::memcpy_htod_async(self.at(offset), bytes, stream.cu_stream()) };
        copied.map_err(failed("copy to the GPU"))
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        self.context.record_err(self.context.bind_to_thread());
        // SAFETY: allocated once and freed once.
        self.context.record_err(unsafe { result::free_sync(self.start) });
    }
}

/// Page-locked host memory, which the GPU copies from and to directly. Aligned to pages.
#[derive(Debug)]
struct Pinned {
    start: NonNull<u8>,
    len: usize,
    context: Arc<CudaContext>,
}

impl Pinned {
    fn new(context: &Arc<CudaContext>, len: usize) -> Result<Pinned, Error> {
        context.bind_to_thread().map_err(failed("use the GPU"))?;
        // SAFETY: owned by the value below, which frees it.
        let start = unsafe { result::malloc_host(len.max(1), 0) }.map_err(failed("allocate page-locked memory"))?;
        let start = NonNull::new(start.cast::<u8>()).ok_or(Error::OutOfMemory { bytes: len as u64 })?;
        // SAFETY: just allocated.
        unsafe { start.write_bytes(0, len.max(1)) };
        Ok(Pinned { start, len, context: Arc::clone(context) })
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        self.context.record_err(self.context.bind_to_thread());
        // SAFETY: allocated once and freed once.
        self.context.record_err(unsafe { result::free_host(self.start.as_ptr().cast::<c_void>()) });
    }
}

/// A tensor of the block with a copy on the host, brought up to date when it is looked at.
///
/// The copy changes in two places only: `download`, which runs while the copy is stale, when nobody has borrowed it; and
/// through `bytes_mut`, which borrows exclusively. Everything that makes it stale takes `&mut self`.
#[derive(Debug)]
pub(super) struct Mirror {
    device: CUdeviceptr,
    len: usize,
    host: OnceCell<Pinned>,
    /// The host's copy is older than the device's.
    stale: Cell<bool>,
    /// The device's copy is older than the host's.
    dirty: bool,
}

impl Mirror {
    /// Mirrors `len` bytes at `device`, without a copy yet.
    pub(super) fn new(device: CUdeviceptr, len: usize) -> Mirror {
        Mirror { device, len, host: OnceCell::new(), stale: Cell::new(true), dirty: false }
    }

    /// Allocates the copy now rather than when it is first looked at.
    pub(super) fn allocate(&self, context: &Arc<CudaContext>) -> Result<(), Error> {
        if self.host.get().is_none() {
            let pinned = Pinned::new(context, self.len)?;
            // Nobody else can have set it in between: the cell is not shared between threads.
            let _ = self.host.set(pinned);
        }
        Ok(())
    }

    /// Notes that the device's copy has changed.
    pub(super) fn invalidate(&mut self) {
        self.stale.set(true);
    }

    /// The contents. The GPU must be idle.
    pub(super) fn bytes(&self, context: &Arc<CudaContext>) -> Result<&[u8], Error> {
        let host = self.download(context)?;
        // SAFETY: the copy does not change while it is borrowed, see the type.
        Ok(unsafe { std::slice::from_raw_parts(host.start.as_ptr(), host.len) })
    }

    /// The contents, which will be uploaded before the next run. The GPU must be idle.
    pub(super) fn bytes_mut(&mut self, context: &Arc<CudaContext>) -> Result<&mut [u8], Error> {
        self.download(context)?;
        self.dirty = true;
        let host = self.host.get_mut().expect("downloading made it");
        // SAFETY: the copy is borrowed exclusively.
        Ok(unsafe { std::slice::from_raw_parts_mut(host.start.as_ptr(), host.len) })
    }

    /// Brings the host's copy up to date.
    fn download(&self, context: &Arc<CudaContext>) -> Result<&Pinned, Error> {
        self.allocate(context)?;
        let host = self.host.get().expect("just allocated");
        if self.stale.get() {
            context.bind_to_thread().map_err(failed("use the GPU"))?;
            // SAFETY: the copy is stale, so nobody has borrowed it.
            let bytes = unsafe { std::slice::from_raw_parts_mut(host.start.as_ptr(), host.len) };
            if !bytes.is_empty() {
                // SAFETY: the device's copy has as many bytes, and nothing writes it while the GPU is idle.
                unsafe { result::memcpy_dtoh_sync(bytes, self.device) }.map_err(failed("copy from the GPU"))?;
            }
            self.stale.set(false);
        }
        Ok(host)
    }

    /// Starts the copy to the device if the host's is newer.
    ///
    /// # Safety
    /// The host's copy is not written before `stream` is done with it.
    pub(super) unsafe fn upload(&mut self, stream: CUstream) -> Result<(), Error> {
        if self.dirty && self.len > 0 {
            let host = self.host.get().expect("somebody wrote it");
            // SAFETY: both copies have `len` bytes; the rest is the caller's promise.
            let copied = unsafe {
                let bytes = std::slice::from_raw_parts(host.start.as_ptr(), host.len);
                result::memcpy_htod_async(self.device, bytes, stream)
            };
            copied.map_err(failed("copy to the GPU"))?;
        }
        self.dirty = false;
        Ok(())
    }
}
