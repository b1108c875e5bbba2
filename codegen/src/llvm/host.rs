//! Machine code for the processor nnc runs on, through LLVM.

use inkwell::OptimizationLevel;
use inkwell::context::Context;
use inkwell::memory_buffer::MemoryBuffer;
use inkwell::passes::PassBuilderOptions;
use inkwell::targets::{CodeModel, FileType, InitializationConfig, RelocMode, Target, TargetMachine};
use rayon::prelude::*;

use super::text::{Dialect, emit_module};
use crate::kernel::Kernel;
use crate::target::{EmitError, HostCode};

/// Vectors are explicit, so a light pipeline loses nothing: registers for `alloca`s, shared subexpressions, loop
/// invariants.
const PASSES: &str =
    "function(sroa,early-cse<memssa>,instcombine<no-verify-fixpoint>,simplifycfg,loop-mssa(licm),early-cse)";

/// Compiles kernels for the machine nnc runs on, in parallel: each is a module and an object of its own, so the bytes
/// do not depend on how many threads there are.
///
/// # Errors
/// A kernel with GPU constructs, or text LLVM refuses (a bug of nnc's).
pub fn compile(kernels: &[Kernel]) -> Result<HostCode, EmitError> {
    let objects = emit_each(kernels, FileType::Object)?;
    let triple = TargetMachine::get_default_triple().as_str().to_string_lossy().into_owned();
    Ok(HostCode { triple, features: used_features(), objects })
}

/// Disassembly-like assembly text of the kernels.
///
/// # Errors
/// As for [`compile`].
pub fn assembly(kernels: &[Kernel]) -> Result<String, EmitError> {
    let texts = emit_each(kernels, FileType::Assembly)?;
    Ok(texts.iter().map(|text| String::from_utf8_lossy(text)).collect())
}

fn emit_each(kernels: &[Kernel], form: FileType) -> Result<Vec<Vec<u8>>, EmitError> {
    let emit = |kernel: &Kernel| {
        let mut text = emit_module(std::slice::from_ref(kernel), Dialect::Host)?;
        text.push_str("!0 = distinct !{!0, !1}\n!1 = !{!\"llvm.loop.unroll.disable\"}\n");
        emit_text(&text, form).map_err(|message| EmitError { kernel: kernel.name.clone(), message })
    };
    // Kernels differ in size by a hundred times, so each is handed out by itself.
    kernels.par_iter().with_max_len(1).map(emit).collect()
}

/// The ELF object of a module's text.
#[cfg(feature = "emulate")]
pub(super) fn compile_text(text: &str) -> Result<Vec<u8>, String> {
    emit_text(text, FileType::Object)
}

/// A module's text as an object or as assembly.
fn emit_text(text: &str, form: FileType) -> Result<Vec<u8>, String> {
    let fail = |error: &dyn std::fmt::Display| format!("LLVM: {error}");
    let machine = machine()?;
    let context = Context::create();
    let buffer = MemoryBuffer::create_from_memory_range_copy(text.as_bytes(), "nnc");
    let module = context.create_module_from_ir(buffer).map_err(|error| fail(&error))?;
    module.set_triple(&machine.get_triple());
    module.set_data_layout(&machine.get_target_data().get_data_layout());
    module.verify().map_err(|error| fail(&error))?;
    module.run_passes(PASSES, &machine, PassBuilderOptions::create()).map_err(|error| fail(&error))?;
    let code = machine.write_to_memory_buffer(&module, form).map_err(|error| fail(&error))?;
    Ok(code.as_slice().to_vec())
}

fn machine() -> Result<TargetMachine, String> {
    Target::initialize_native(&InitializationConfig::default())?;
    let triple = TargetMachine::get_default_triple();
    let target = Target::from_triple(&triple).map_err(|error| error.to_string())?;
    // The base of the architecture and what is declared on top: nothing else of this very processor may slip in.
    let cpu = if cfg!(target_arch = "aarch64") { "generic" } else { "x86-64" };
    let features: Vec<String> = used_features().iter().map(|feature| format!("+{feature}")).collect();
    target
        .create_target_machine(
            &triple,
            cpu,
            &features.join(","),
            OptimizationLevel::Default,
            RelocMode::PIC,
            CodeModel::Small,
        )
        .ok_or_else(|| "LLVM has no machine for this processor".to_string())
}

/// The features of this machine that code may use, by LLVM's names: those that kernels gain from. An artifact declares
/// exactly these, so that a machine without one refuses it instead of faulting.
fn used_features() -> Vec<String> {
    let all = TargetMachine::get_host_cpu_features().to_string();
    let has = |name: &str| all.split(',').any(|feature| feature.strip_prefix('+') == Some(name));
    let known: &[&str] = if cfg!(target_arch = "aarch64") {
        &["neon"]
    } else {
        &[
            "sse3", "ssse3", "sse4.1", "sse4.2", "popcnt", "avx", "avx2", "fma", "f16c", "avx512f", "avx512bw",
            "avx512cd", "avx512dq", "avx512vl",
        ]
    };
    known.iter().filter(|name| has(name)).map(|name| (*name).to_string()).collect()
}
