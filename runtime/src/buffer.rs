//! The one block of memory behind an instance.

use std::alloc::{Layout, alloc, dealloc};
use std::ptr::NonNull;

use crate::error::Error;
use crate::program::ALIGN;

/// Blocks from this size on are aligned to huge pages and ask for them.
const HUGE_FROM: usize = 4 << 20;
/// Bytes of a huge page.
const HUGE_PAGE: usize = 2 << 20;
/// Bytes of a page; smaller blocks are aligned to [`ALIGN`] only.
const PAGE: usize = 4096;

/// A zeroed block of memory, aligned so that offsets decide which tensors share cache sets.
///
/// The block is reached by pointer, since kernels hold several pointers into it at a time; the owner decides which
/// parts may be borrowed when.
#[derive(Debug)]
pub struct Buffer {
    start: NonNull<u8>,
    layout: Layout,
}

// SAFETY: a buffer owns its memory; nothing about it is tied to a thread.
unsafe impl Send for Buffer {}
// SAFETY: shared access to a buffer gives pointers only; using them is the caller's promise.
unsafe impl Sync for Buffer {}

impl Buffer {
    /// Allocates `bytes` bytes, all 0.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`] where the system has not got that much.
    pub fn zeroed(bytes: usize) -> Result<Buffer, Error> {
        let out_of_memory = || Error::OutOfMemory { bytes: bytes as u64 };
        let align = match bytes {
            HUGE_FROM.. => HUGE_PAGE,
            PAGE.. => PAGE,
            _ => ALIGN,
        };
        let layout = Layout::from_size_align(bytes, align).map_err(|_| out_of_memory())?;
        if bytes == 0 {
            return Ok(Buffer { start: NonNull::without_provenance(ALIGN.try_into().expect("not 0")), layout });
        }
        // SAFETY: the layout has a size.
        let start = NonNull::new(unsafe { alloc(layout) }).ok_or_else(out_of_memory)?;
        #[cfg(target_os = "linux")]
        if align == HUGE_PAGE {
            // Before the first touch, so that the pages come huge. It is a wish: failure changes nothing.
            // SAFETY: the range was just allocated and starts on a page.
            unsafe { libc::madvise(start.as_ptr().cast(), bytes / PAGE * PAGE, libc::MADV_HUGEPAGE) };
        }
        // SAFETY: the block has `bytes` bytes.
        unsafe { start.write_bytes(0, bytes) };
        Ok(Buffer { start, layout })
    }

    /// Bytes of the block.
    pub fn len(&self) -> usize {
        self.layout.size()
    }

    /// Whether the block has no bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Address of byte `offset`, which lies in the block or just past it.
    ///
    /// # Panics
    /// If `offset` is larger than [`Buffer::len`].
    pub fn at(&self, offset: usize) -> *mut u8 {
        assert!(offset <= self.len(), "offset {offset} in a block of {} bytes", self.len());
        self.start.as_ptr().wrapping_add(offset)
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if !self.is_empty() {
            // SAFETY: allocated with this layout.
            unsafe { dealloc(self.start.as_ptr(), self.layout) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_zeroed_and_aligned() {
        for (bytes, align) in [(1, ALIGN), (100, ALIGN), (4096, 4096), (70_000, 4096), (HUGE_FROM, HUGE_PAGE)] {
            let buffer = Buffer::zeroed(bytes).expect("a small block");
            assert_eq!(buffer.at(0) as usize % align, 0, "{bytes} bytes");
            // SAFETY: the block has this many bytes and nobody else has it.
            assert!(unsafe { std::slice::from_raw_parts(buffer.at(0), bytes) }.iter().all(|&byte| byte == 0));
        }
    }

    #[test]
    fn an_empty_block_needs_no_memory() {
        let buffer = Buffer::zeroed(0).expect("nothing");
        assert!(buffer.is_empty());
        assert_eq!(buffer.at(0) as usize % ALIGN, 0);
    }

    #[test]
    fn an_impossible_block_is_an_error() {
        assert!(matches!(Buffer::zeroed(usize::MAX), Err(Error::OutOfMemory { .. })));
        assert!(matches!(Buffer::zeroed(isize::MAX as usize / 2), Err(Error::OutOfMemory { .. })));
    }
}
