//! Runs kernels on the interpreter and as machine code, and compares the bits.
#![allow(dead_code, unreachable_pub)]

pub mod cases;
#[cfg(feature = "emulate")]
pub mod gpu;
pub mod random;

use nnc_codegen::cranelift::jit::JitKernels;
use nnc_codegen::kernel::{Kernel, interp, verify};
use nnc_ir::DType;
use nnc_runtime::loader::LoadedObject;
use nnc_runtime::program::CpuKernel;

/// Emitters to hold against the interpreter: name and a function from kernels to ELF objects.
pub type Emitter = (&'static str, fn(&[Kernel]) -> Vec<Vec<u8>>);

/// The CPU emitters of this build.
pub fn emitters() -> Vec<Emitter> {
    vec![
        ("cranelift", |kernels| nnc_codegen::cranelift::compile(kernels).expect("kernels compile").objects),
        #[cfg(feature = "llvm")]
        ("llvm", |kernels| nnc_codegen::llvm::host::compile(kernels).expect("kernels compile").objects),
    ]
}

/// [`run_entry`] of `kernel`, which is in one of `objects`.
pub fn run_objects(objects: &[Vec<u8>], kernel: &Kernel, tensors: &mut [Vec<u8>], bindings: &[usize]) {
    let objects: Vec<_> = objects.iter().map(|elf| LoadedObject::load(elf).expect("the object loads")).collect();
    let address = objects.iter().find_map(|object| object.function(&kernel.name)).expect("the kernel is in an object");
    // SAFETY: the emitter gave the symbol this signature.
    run_entry(unsafe { std::mem::transmute::<usize, CpuKernel>(address) }, kernel, tensors, bindings);
}

/// Runs compiled code of `kernel` in one call over the whole parallel loop. Tensors are copied to aligned memory.
pub fn run_entry(entry: CpuKernel, kernel: &Kernel, tensors: &mut [Vec<u8>], bindings: &[usize]) {
    let words = |bytes: usize| bytes.div_ceil(64);
    let mut memory: Vec<Vec<[u64; 8]>> = tensors.iter().map(|tensor| vec![[0; 8]; words(tensor.len()) + 1]).collect();
    let start = |block: &mut Vec<[u64; 8]>| {
        let address = block.as_mut_ptr().cast::<u8>();
        address.wrapping_add(address.align_offset(64))
    };
    let pointers: Vec<*mut u8> = memory.iter_mut().map(start).collect();
    for (tensor, &pointer) in tensors.iter().zip(&pointers) {
        // SAFETY: each block has room for the tensor after alignment.
        unsafe { pointer.copy_from_nonoverlapping(tensor.as_ptr(), tensor.len()) };
    }
    let args: Vec<*mut u8> = bindings.iter().map(|&tensor| pointers[tensor]).collect();
    // SAFETY: the kernel was checked by the interpreter on tensors of the same sizes.
    unsafe { entry(args.as_ptr(), 0, kernel.parallel_extent()) };
    for (tensor, &pointer) in tensors.iter_mut().zip(&pointers) {
        let len = tensor.len();
        // SAFETY: as above.
        unsafe { tensor.as_mut_ptr().copy_from_nonoverlapping(pointer, len) };
    }
}

/// The first element at which two tensors differ, NaNs being equal to each other.
pub fn first_difference(dtype: DType, expected: &[u8], found: &[u8]) -> Option<String> {
    let read = |bytes: &[u8]| nnc_ir::Scalar::read(dtype, bytes);
    let size = dtype.size();
    expected.chunks_exact(size).zip(found.chunks_exact(size)).enumerate().find_map(|(idx, (lhs, rhs))| {
        let (lhs, rhs) = (read(lhs), read(rhs));
        let both_nan = dtype.is_float() && lhs.to_f64().is_nan() && rhs.to_f64().is_nan();
        (lhs != rhs && !both_nan).then(|| format!("element {idx}: expected {lhs}, found {rhs}"))
    })
}

/// Runs the kernel everywhere and requires the interpreter's bits of every emitter.
pub fn check(kernel: &Kernel, tensors: &[Vec<u8>], bindings: &[usize]) {
    verify(kernel).unwrap_or_else(|faults| panic!("{}\n{kernel}", faults.join("\n")));
    let mut expected = tensors.to_vec();
    interp::run(kernel, &mut expected, bindings).unwrap_or_else(|fault| panic!("{fault}\n{kernel}"));
    let compare = |name: &str, found: &[Vec<u8>]| {
        for ((_, buffer), &tensor) in kernel.args().zip(bindings) {
            if let Some(difference) = first_difference(buffer.dtype, &expected[tensor], &found[tensor]) {
                panic!("{name}: {} {difference}\n{kernel}", buffer.name);
            }
        }
    };
    for (name, emit) in emitters() {
        let mut found = tensors.to_vec();
        run_objects(&emit(std::slice::from_ref(kernel)), kernel, &mut found, bindings);
        compare(name, &found);
    }
    let in_memory = JitKernels::compile(std::slice::from_ref(kernel)).expect("kernels compile");
    let mut found = tensors.to_vec();
    run_entry(in_memory.entry(0), kernel, &mut found, bindings);
    compare("cranelift-jit", &found);
}
