//! PTX for NVIDIA GPUs, through LLVM.

mod audit;

use inkwell::OptimizationLevel;
use inkwell::context::Context;
use inkwell::memory_buffer::MemoryBuffer;
use inkwell::passes::PassBuilderOptions;
use inkwell::targets::{CodeModel, FileType, InitializationConfig, RelocMode, Target, TargetTriple};

use super::text::{Dialect, emit_module};
use crate::kernel::{Kernel, Space};
use crate::target::EmitError;

/// The host's light pipeline, and full unrolling of what is left of constant loops over register tiles.
const PASSES: &str = "function(sroa,early-cse<memssa>,instcombine<no-verify-fixpoint>,simplifycfg,\
                      loop-mssa(licm),early-cse,loop-unroll<O2>,sroa,early-cse,simplifycfg)";

/// PTX text of the kernels for an architecture such as `sm_90`.
///
/// # Errors
/// A kernel with CPU constructs or beyond what a GPU runs, text LLVM refuses (a bug of nnc's), or PTX that would round otherwise than the kernels.
pub fn compile(kernels: &[Kernel], arch: &str) -> Result<String, EmitError> {
    let fail = |message: String| EmitError { kernel: String::new(), message };
    kernels.iter().try_for_each(check_limits)?;
    let text = emit_module(kernels, Dialect::Nvptx)?;
    Target::initialize_nvptx(&InitializationConfig::default());
    let triple = TargetTriple::create("nvptx64-nvidia-cuda");
    let target = Target::from_triple(&triple).map_err(|error| fail(error.to_string()))?;
    let machine = target
        .create_target_machine(
            &triple,
            arch,
            ptx_version(arch),
            OptimizationLevel::Default,
            RelocMode::PIC,
            CodeModel::Small,
        )
        .ok_or_else(|| fail(format!("LLVM has no machine for {arch}")))?;
    machine.set_asm_verbosity(false);
    let context = Context::create();
    let buffer = MemoryBuffer::create_from_memory_range_copy(text.as_bytes(), "nnc");
    let module = context.create_module_from_ir(buffer).map_err(|error| fail(format!("LLVM: {error}")))?;
    module.set_triple(&triple);
    module.set_data_layout(&machine.get_target_data().get_data_layout());
    for kernel in kernels {
        let [x, y, z] = kernel.gpu_extents(false);
        if let Some(function) = module.get_function(&kernel.name) {
            // One block a multiprocessor is enough: left to itself, the assembler spills registers to fit more.
            for (name, value) in [("nvvm.maxntid", format!("{x},{y},{z}")), ("nvvm.minctasm", "1".to_string())] {
                let bound = context.create_string_attribute(name, &value);
                function.add_attribute(inkwell::attributes::AttributeLoc::Function, bound);
            }
        }
    }
    module.verify().map_err(|error| fail(format!("LLVM: {error}")))?;
    module
        .run_passes(PASSES, &machine, PassBuilderOptions::create())
        .map_err(|error| fail(format!("LLVM: {error}")))?;
    let code =
        machine.write_to_memory_buffer(&module, FileType::Assembly).map_err(|error| fail(format!("LLVM: {error}")))?;
    // The buffer ends with a zero byte.
    let ptx = code.as_slice().split(|&byte| byte == 0).next().unwrap_or_default();
    let ptx = String::from_utf8_lossy(ptx).into_owned();
    audit::audit(&ptx).map_err(fail)?;
    Ok(ptx)
}

/// Bytes of shared memory that every GPU gives a block without being asked.
const MAX_SHARED_BYTES: usize = 48 << 10;

/// Checks what every GPU limits: threads of a block, blocks of a grid, shared memory.
fn check_limits(kernel: &Kernel) -> Result<(), EmitError> {
    let require = |what: &str, found: usize, most: usize| {
        let message = || format!("{found} {what}, expected at most {most}");
        if found <= most { Ok(()) } else { Err(EmitError { kernel: kernel.name.clone(), message: message() }) }
    };
    let [grid_x, grid_y, grid_z] = kernel.gpu_extents(true).map(|extent| extent as usize);
    let [x, y, z] = kernel.gpu_extents(false).map(|extent| extent as usize);
    require("blocks along x", grid_x, i32::MAX as usize)?;
    require("blocks along y", grid_y, 65_535)?;
    require("blocks along z", grid_z, 65_535)?;
    require("threads along z", z, 64)?;
    require("threads a block", x.saturating_mul(y).saturating_mul(z), 1024)?;
    let shared = kernel.buffers.iter().filter(|buffer| buffer.space == Space::Shared);
    require("bytes of shared memory", shared.map(|buffer| buffer.len * buffer.dtype.size()).sum(), MAX_SHARED_BYTES)
}

/// The oldest PTX version that knows the architecture, as an LLVM feature.
fn ptx_version(arch: &str) -> &'static str {
    match arch {
        "sm_80" | "sm_86" => "+ptx71",
        "sm_89" | "sm_90" => "+ptx78",
        "sm_100" => "+ptx86",
        _ => "+ptx87",
    }
}

#[cfg(test)]
mod tests {
    use nnc_ir::DType;

    use super::*;
    use crate::kernel::{BinOp, Index, KernelBuilder, LoopKind, Stmt};

    #[test]
    fn a_block_shares_memory() {
        let mut b = KernelBuilder::new("reverse");
        let x = b.arg("x", DType::F32, 64, false);
        let out = b.arg("out", DType::F32, 64, true);
        let shared = b.scratch("s", DType::F32, 64, Space::Shared);
        b.for_loop(1, LoopKind::Grid(0), |b, _| {
            b.for_loop(64, LoopKind::Thread(0), |b, thread| {
                let value = b.load_scalar(x, Index::term(thread, 1));
                b.store_scalar(shared, Index::term(thread, 1), value);
                b.push(Stmt::Barrier);
                let other = b.load_scalar(shared, Index::term(thread, -1).plus_const(63));
                let rest = b.binary(BinOp::Rem, other, value);
                b.store_scalar(out, Index::term(thread, 1), rest);
            });
        });
        let ptx = compile(&[b.finish()], "sm_90").unwrap();
        for part in [".entry reverse(", ".target sm_90", "bar.sync", ".maxntid 64", ".shared .align 16", "nnc_fmodf"] {
            assert!(ptx.contains(part), "no {part} in\n{ptx}");
        }
    }

    #[test]
    fn what_no_gpu_runs_is_an_error() {
        let kernel = |threads: u64, shared: usize| {
            let mut b = KernelBuilder::new("large");
            b.scratch("s", DType::F32, shared, Space::Shared);
            b.for_loop(1, LoopKind::Grid(0), |b, _| b.for_loop(threads, LoopKind::Thread(0), |_, _| {}));
            compile(&[b.finish()], "sm_80").map(|_| ()).map_err(|error| error.to_string())
        };
        assert_eq!(kernel(1024, 12 << 10), Ok(()));
        let threads = "kernel large: 1025 threads a block, expected at most 1024";
        assert_eq!(kernel(1025, 1), Err(threads.to_string()));
        let shared = "kernel large: 49156 bytes of shared memory, expected at most 49152";
        assert_eq!(kernel(32, (12 << 10) + 1), Err(shared.to_string()));
    }
}
