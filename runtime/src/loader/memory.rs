//! Memory for code: writable while it is filled, then executable or constant, never both.

use std::io;
use std::ptr::NonNull;

use crate::error::Error;

/// A mapping of whole pages, unmapped on drop.
#[derive(Debug)]
pub(super) struct Mapping {
    start: NonNull<u8>,
    len: usize,
}

/// What a part of the mapping may be used for once it is filled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    /// Run and read.
    Execute,
    /// Read.
    Read,
    /// Read and write.
    Write,
}

// SAFETY: a mapping owns its pages; nothing about it is tied to a thread.
unsafe impl Send for Mapping {}
// SAFETY: shared access hands out addresses only.
unsafe impl Sync for Mapping {}

/// Bytes of a page on this machine.
pub(super) fn page_size() -> usize {
    // SAFETY: asks for a number.
    usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).expect("the page size is known")
}

impl Mapping {
    /// Maps `len` zeroed bytes, a multiple of the page size and not 0, for writing.
    pub(super) fn new(len: usize) -> Result<Mapping, Error> {
        // SAFETY: a fresh anonymous mapping touches nothing that exists.
        let start = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                len,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        if start == libc::MAP_FAILED {
            return Err(Error::MapCode { bytes: len, source: io::Error::last_os_error() });
        }
        Ok(Mapping { start: NonNull::new(start.cast()).expect("a mapping is never at 0"), len })
    }

    /// Address of the first byte.
    pub(super) fn address(&self) -> usize {
        self.start.as_ptr() as usize
    }

    /// The bytes while they are being filled; only before [`Mapping::protect`].
    pub(super) fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: the mapping has `len` writable bytes and is borrowed exclusively.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.len) }
    }

    /// Gives the pages `start..end` their final access and makes new code visible to instruction fetch.
    pub(super) fn protect(&mut self, start: usize, end: usize, access: Access) -> Result<(), Error> {
        assert!(start <= end && end <= self.len, "pages {start}..{end} of {} bytes", self.len);
        if start == end {
            return Ok(());
        }
        let protection = match access {
            Access::Execute => libc::PROT_READ | libc::PROT_EXEC,
            Access::Read => libc::PROT_READ,
            Access::Write => libc::PROT_READ | libc::PROT_WRITE,
        };
        let pages = self.start.as_ptr().wrapping_add(start);
        if access == Access::Execute {
            // SAFETY: the range lies in the mapping.
            unsafe { synchronize_caches(pages, end - start) };
        }
        // SAFETY: the range lies in the mapping, and nobody holds a reference into it.
        if unsafe { libc::mprotect(pages.cast(), end - start, protection) } != 0 {
            return Err(Error::MapCode { bytes: end - start, source: io::Error::last_os_error() });
        }
        Ok(())
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: mapped by `new`; whoever holds an address into it also holds the owner.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.len) };
    }
}

/// x86-64 keeps instruction fetch coherent with stores.
#[cfg(not(target_arch = "aarch64"))]
unsafe fn synchronize_caches(_: *mut u8, _: usize) {}

/// Writes back the data cache and drops stale instructions, line by line, as the architecture manual asks.
#[cfg(target_arch = "aarch64")]
unsafe fn synchronize_caches(start: *mut u8, len: usize) {
    use std::arch::asm;
    let cache_type: u64;
    // SAFETY: reads a register that user code may read.
    unsafe { asm!("mrs {}, ctr_el0", out(reg) cache_type, options(nomem, nostack, preserves_flags)) };
    let lines = |log2_words: u64| {
        let line = 4_usize << (log2_words & 15);
        let first = start as usize & !(line - 1);
        (first..start as usize + len).step_by(line)
    };
    for line in lines(cache_type >> 16) {
        // SAFETY: the line is part of the range.
        unsafe { asm!("dc cvau, {}", in(reg) line, options(nostack, preserves_flags)) };
    }
    // SAFETY: barriers and cache maintenance on the range only.
    unsafe { asm!("dsb ish", options(nostack, preserves_flags)) };
    for line in lines(cache_type) {
        // SAFETY: the line is part of the range.
        unsafe { asm!("ic ivau, {}", in(reg) line, options(nostack, preserves_flags)) };
    }
    // SAFETY: barriers only.
    unsafe { asm!("dsb ish", "isb", options(nostack, preserves_flags)) };
}
