//! Runs the LLVM IR of GPU kernels on the host, one fiber a GPU thread, so that a machine without a GPU can test them.
//!
//! The kernels are the very text that becomes PTX; only what surrounds them differs ([`text`]). Floating-point code is
//! neither contracted nor reassociated on either side, so results are the bits a GPU computes. Blocks run one after the
//! other, the threads of a block one at a time from barrier to barrier ([`fibers`]), both in an order drawn from a seed:
//! a kernel that lacks a barrier, or whose blocks depend on each other, gives other results for other seeds. A barrier
//! that only some threads of a block reach is an error. Shared memory starts each block as NaNs.
//!
//! Not covered: what LLVM and the driver make of the text after this point (`ptxas` and a GPU test that), and races
//! that no order of whole stretches between barriers shows ([`crate::kernel::interp`] finds those).

mod device;
mod fibers;
mod order;
mod text;

use std::ffi::c_void;

use corosensei::stack::DefaultStack;
pub use device::EmulatedGpu;
use nnc_runtime::buffer::Buffer;
use nnc_runtime::loader::LoadedObject;

use self::fibers::{Block, Entry, State};
use self::order::Order;
use crate::kernel::interp::KernelFault;
use crate::kernel::{Kernel, Space, Stmt};
use crate::target::EmitError;

/// Stack of a thread, beside the kernel's local buffers.
const STACK_BYTES: usize = 32 << 10;

/// What scratch holds before anything is stored: NaNs, `true`s, and -1s.
const POISON: u8 = 0xff;

/// Bytes of poison between the tensors of [`Emulator::launch`], and their alignment.
const GAP: usize = 64;

/// GPU kernels compiled for the host.
pub struct Emulator {
    kernels: Vec<Emulated>,
    state: *mut State,
    /// Stacks of the largest size needed so far.
    stacks: Vec<DefaultStack>,
    stack_bytes: usize,
    /// Keeps the code and the state mapped.
    _object: LoadedObject,
}

// SAFETY: the state belongs to the object that the emulator owns; running needs the emulator exclusively.
unsafe impl Send for Emulator {}

/// One kernel.
struct Emulated {
    kernel: Kernel,
    entry: Entry,
    /// Address and bytes of each shared buffer.
    shared: Vec<(*mut u8, usize)>,
    has_barrier: bool,
    stack_bytes: usize,
}

impl Emulator {
    /// Compiles `kernels`.
    ///
    /// # Errors
    /// A kernel with CPU constructs, or text LLVM refuses (a bug of nnc's).
    pub fn new(kernels: &[Kernel]) -> Result<Self, EmitError> {
        let fail = |message: String| EmitError { kernel: String::new(), message };
        let elf = super::host::compile_text(&text::host_module(kernels)?).map_err(fail)?;
        let object = LoadedObject::load(&elf).map_err(|error| fail(error.to_string()))?;
        let address = |symbol: &str| object.function(symbol).expect("the module defines the symbol");
        let pointer = |symbol: &str| {
            // SAFETY: the module gives these functions this signature.
            let get: unsafe extern "C" fn() -> *mut c_void = unsafe { std::mem::transmute(address(symbol)) };
            // SAFETY: they only return an address.
            unsafe { get() }
        };
        let emulated = |kernel: &Kernel| {
            let bytes = |space: Space| {
                let buffers = kernel.buffers.iter().enumerate().filter(move |(_, buffer)| buffer.space == space);
                buffers.map(|(idx, buffer)| (idx, buffer.len * buffer.dtype.size()))
            };
            let shared = bytes(Space::Shared).map(|(idx, bytes)| {
                let symbol = text::shared_symbol(kernel, idx);
                (pointer(&symbol).cast(), bytes)
            });
            Emulated {
                // SAFETY: the module gives entries this signature.
                entry: unsafe { std::mem::transmute::<usize, Entry>(address(&text::entry_symbol(kernel))) },
                shared: shared.collect(),
                has_barrier: has_barrier(&kernel.body),
                stack_bytes: STACK_BYTES + bytes(Space::Local).map(|(_, bytes)| bytes + GAP).sum::<usize>(),
                kernel: kernel.clone(),
            }
        };
        Ok(Self {
            kernels: kernels.iter().map(emulated).collect(),
            state: pointer(text::STATE).cast(),
            stacks: Vec::new(),
            stack_bytes: 0,
            _object: object,
        })
    }

    /// Number of the kernel called `name`.
    pub fn index_of(&self, name: &str) -> Option<usize> {
        self.kernels.iter().position(|emulated| emulated.kernel.name == name)
    }

    /// Runs kernel number `idx` on tensors of raw bytes, with as many blocks and threads as its loops have iterations.
    /// `bindings[i]` is the tensor bound to argument `i`.
    ///
    /// # Errors
    /// Tensors of the wrong size, a barrier that only some threads of a block reach, and stores just outside of a
    /// tensor.
    ///
    /// # Panics
    /// If there is no such kernel.
    pub fn launch(
        &mut self,
        idx: usize,
        tensors: &mut [Vec<u8>],
        bindings: &[usize],
        seed: u64,
    ) -> Result<(), KernelFault> {
        let kernel = &self.kernels[idx].kernel;
        let fault = |message: String| KernelFault { message: format!("{}: {message}", kernel.name) };
        let n_args = kernel.args().count();
        if bindings.len() != n_args {
            return Err(fault(format!("{} bindings for {n_args} arguments", bindings.len())));
        }
        for ((_, buffer), &tensor) in kernel.args().zip(bindings) {
            let (found, expected) = (tensors[tensor].len(), buffer.len * buffer.dtype.size());
            if found != expected {
                return Err(fault(format!("{} has {found} bytes, expected {expected}", buffer.name)));
            }
        }
        let mut starts = Vec::with_capacity(tensors.len());
        let mut end = GAP;
        for tensor in tensors.iter() {
            starts.push(end);
            end = (end + tensor.len()).next_multiple_of(GAP) + GAP;
        }
        let mut image = vec![POISON; end];
        for (tensor, &start) in tensors.iter().zip(&starts) {
            image[start..start + tensor.len()].copy_from_slice(tensor);
        }
        let block = Buffer::zeroed(end).map_err(|error| fault(error.to_string()))?;
        // SAFETY: the block has room for the image, and nobody else has it.
        unsafe { block.at(0).copy_from_nonoverlapping(image.as_ptr(), end) };
        let args: Vec<*mut u8> = bindings.iter().map(|&tensor| block.at(starts[tensor])).collect();
        let (grid, threads) = (kernel.gpu_extents(true), kernel.gpu_extents(false));
        // SAFETY: the tensors have the sizes that the kernel's buffers state, and the extents are the kernel's own.
        unsafe { self.launch_at(idx, &args, grid, threads, seed)? };
        // SAFETY: as above.
        unsafe { image.as_mut_ptr().copy_from_nonoverlapping(block.at(0), end) };
        for (tensor, &start) in tensors.iter_mut().zip(&starts) {
            let len = tensor.len();
            tensor.copy_from_slice(&image[start..start + len]);
            image[start..start + len].fill(POISON);
        }
        match image.iter().position(|&byte| byte != POISON) {
            None => Ok(()),
            Some(at) => {
                let tensor = starts.iter().rposition(|&start| start <= at).unwrap_or(0);
                let name = &self.kernels[idx].kernel.name;
                let place = at as i64 - starts[tensor] as i64;
                Err(KernelFault { message: format!("{name}: store outside of tensor {tensor}, at byte {place}") })
            }
        }
    }

    /// Runs kernel number `idx` on tensors in memory, in `grid` blocks of `threads` threads.
    ///
    /// # Errors
    /// A grid or block of other extents than the kernel's loops, and a barrier that only some threads of a block reach.
    ///
    /// # Panics
    /// If there is no such kernel.
    ///
    /// # Safety
    /// There are as many arguments as the kernel has, each valid for the whole tensor that the kernel's buffer states
    /// and aligned to 64 bytes, and nothing else uses them meanwhile.
    pub unsafe fn launch_at(
        &mut self,
        idx: usize,
        args: &[*mut u8],
        grid: [u32; 3],
        threads: [u32; 3],
        seed: u64,
    ) -> Result<(), KernelFault> {
        let Emulated { kernel, entry, shared, has_barrier, stack_bytes } = &self.kernels[idx];
        let fault = |message: String| KernelFault { message: format!("{}: {message}", kernel.name) };
        let expected = (kernel.gpu_extents(true), kernel.gpu_extents(false));
        if (grid, threads) != expected {
            let (grid_extents, block_extents) = expected;
            return Err(fault(format!(
                "launched as grid {grid:?} of blocks {threads:?}, expected {grid_extents:?} of {block_extents:?}"
            )));
        }
        let n_threads: usize = threads.iter().map(|&extent| extent as usize).product();
        if *has_barrier {
            if self.stack_bytes < *stack_bytes {
                self.stacks.clear();
                self.stack_bytes = *stack_bytes;
            }
            while self.stacks.len() < n_threads {
                let stack = DefaultStack::new(self.stack_bytes);
                self.stacks.push(stack.map_err(|error| fault(format!("no stack for a thread: {error}")))?);
            }
        }
        let mut order = Order::new(seed);
        let [x, y, z] = grid.map(|extent| extent as usize);
        for number in order.shuffled(x * y * z) {
            for &(start, bytes) in shared {
                // SAFETY: the module's own memory, which nothing uses between blocks.
                unsafe { start.write_bytes(POISON, bytes) };
            }
            let ctaid = [number % x, number / x % y, number / (x * y)].map(|index| index as u32);
            let block = Block { threads, ctaid };
            if *has_barrier {
                // SAFETY: the caller's promise; entry and state are this module's, the stacks were made above.
                let outcome = unsafe { block.run(*entry, args, self.state, &mut order, &mut self.stacks) };
                outcome.map_err(|n| fault(format!("{n} of {n_threads} threads of block {ctaid:?} reach a barrier")))?;
            } else {
                // SAFETY: as above.
                unsafe { block.run_free(*entry, args, self.state, &mut order) };
            }
        }
        Ok(())
    }
}

fn has_barrier(body: &[Stmt]) -> bool {
    body.iter().any(|stmt| match stmt {
        Stmt::Barrier => true,
        Stmt::For(inner) => has_barrier(&inner.body),
        Stmt::If(_, body) => has_barrier(body),
        Stmt::Let(..) | Stmt::Store { .. } | Stmt::Matmul(_) | Stmt::Transpose(_) => false,
    })
}
