//! The Cranelift tier: object code in about a millisecond a kernel, without any system dependency.
//!
//! Cranelift's x86-64 vectors have 128 bits, so a 16-lane register becomes four of them, and tile products go to the
//! runtime's micro-kernels. Everything else is translated statement by statement ([`emit`]).

mod emit;
pub mod jit;

use std::sync::Arc;

use cranelift::codegen::control::ControlPlane;
use cranelift::codegen::ir::{Signature, UserFuncName};
use cranelift::codegen::isa::OwnedTargetIsa;
use cranelift::module::{FuncId, Linkage, Module, ModuleError, ModuleReloc, default_libcall_names};
use cranelift::object::{ObjectBuilder, ObjectModule};
use cranelift::prelude::*;
use rayon::prelude::*;

use crate::kernel::{Kernel, unroll};
use crate::target::{EmitError, HostCode};

/// Textual forms for `--emit`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Text {
    /// Cranelift IR.
    Clif,
    /// Disassembly of the machine code.
    Asm,
}

/// Compiles kernels for the machine nnc runs on. Kernels are compiled in parallel; the object depends on their order
/// only.
///
/// # Errors
/// A kernel with GPU constructs, or a machine Cranelift has no back end for.
pub fn compile(kernels: &[Kernel]) -> Result<HostCode, EmitError> {
    let isa = host_isa(true)?;
    let builder = ObjectBuilder::new(isa.clone(), "nnc", default_libcall_names()).map_err(|error| fail("")(&error))?;
    let mut module = ObjectModule::new(builder);
    define(&mut module, kernels, &isa)?;
    let elf = module.finish().emit().map_err(|error| fail("")(&error))?;
    Ok(HostCode { triple: isa.triple().to_string(), features: used_features(&*isa), objects: vec![elf] })
}

/// An error of Cranelift's about `kernel`.
fn fail<E: std::fmt::Display>(kernel: &str) -> impl Fn(&E) -> EmitError {
    move |error| EmitError { kernel: kernel.to_string(), message: error.to_string() }
}

/// Compiles kernels into a module, in parallel, and gives their numbers in it.
fn define(module: &mut impl Module, kernels: &[Kernel], isa: &OwnedTargetIsa) -> Result<Vec<FuncId>, EmitError> {
    let signature = kernel_signature(&**isa);
    let imports = Imports::declare(module, &**isa).map_err(|error| fail("")(&error))?;
    let mut ids = Vec::with_capacity(kernels.len());
    for kernel in kernels {
        let id = module.declare_function(&kernel.name, Linkage::Export, &signature);
        ids.push(id.map_err(|error| fail(&kernel.name)(&error))?);
    }
    let compiled: Vec<Result<Function, EmitError>> =
        kernels.par_iter().zip(&ids).map(|(kernel, &id)| compile_one(kernel, id, &signature, &imports, isa)).collect();
    for (kernel, (id, function)) in kernels.iter().zip(ids.iter().zip(compiled)) {
        let function = function?;
        module
            .define_function_bytes(*id, function.alignment, &function.bytes, &function.relocs)
            .map_err(|error| fail(&kernel.name)(&error))?;
    }
    Ok(ids)
}

/// The kernels as text, one after the other.
///
/// # Errors
/// As for [`compile`].
pub fn emit_text(kernels: &[Kernel], form: Text) -> Result<String, EmitError> {
    let isa = host_isa(true)?;
    let signature = kernel_signature(&*isa);
    let imports = Imports::numbered(&*isa);
    let mut text = String::new();
    for (idx, kernel) in kernels.iter().enumerate() {
        let id = FuncId::from_u32(Imports::COUNT + idx as u32);
        let mut ctx = build(kernel, id, &signature, &imports, &isa)?;
        match form {
            Text::Clif => text.push_str(&format!("; {}\n{}\n", kernel.name, ctx.func.display())),
            Text::Asm => {
                ctx.set_disasm(true);
                let code = ctx.compile(&*isa, &mut ControlPlane::default());
                let code = code.map_err(|error| compile_error(kernel, &error))?;
                text.push_str(&format!("{}:\n{}\n", kernel.name, code.vcode.as_deref().unwrap_or_default()));
            }
        }
    }
    Ok(text)
}

/// Functions of the runtime that kernels call.
#[derive(Clone)]
struct Imports {
    tile_matmul: (FuncId, Signature),
    transpose: (FuncId, Signature),
    fmodf: (FuncId, Signature),
    fmod: (FuncId, Signature),
}

impl Imports {
    /// Number of imported functions; kernels are numbered after them.
    const COUNT: u32 = 4;

    fn signatures(isa: &dyn isa::TargetIsa) -> [(&'static str, Signature); 4] {
        let call_conv = isa.default_call_conv();
        let make = |params: &[Type], result: Option<Type>| {
            let mut signature = Signature::new(call_conv);
            signature.params.extend(params.iter().map(|&ty| AbiParam::new(ty)));
            signature.returns.extend(result.map(AbiParam::new));
            signature
        };
        let word = types::I64;
        [
            ("nnc_tile_matmul_f32", make(&[word], None)),
            ("nnc_transpose_f32", make(&[word; 6], None)),
            ("fmodf", make(&[types::F32; 2], Some(types::F32))),
            ("fmod", make(&[types::F64; 2], Some(types::F64))),
        ]
    }

    fn from_ids(isa: &dyn isa::TargetIsa, ids: [FuncId; 4]) -> Self {
        let [matmul, transpose, fmodf, fmod] = Self::signatures(isa).map(|(_, signature)| signature);
        Self {
            tile_matmul: (ids[0], matmul),
            transpose: (ids[1], transpose),
            fmodf: (ids[2], fmodf),
            fmod: (ids[3], fmod),
        }
    }

    fn declare(module: &mut impl Module, isa: &dyn isa::TargetIsa) -> Result<Self, Box<ModuleError>> {
        let mut ids = [FuncId::from_u32(0); 4];
        for (id, (name, signature)) in ids.iter_mut().zip(Self::signatures(isa)) {
            *id = module.declare_function(name, Linkage::Import, &signature).map_err(Box::new)?;
        }
        Ok(Self::from_ids(isa, ids))
    }

    /// Imports without a module, for text.
    fn numbered(isa: &dyn isa::TargetIsa) -> Self {
        Self::from_ids(isa, [0, 1, 2, 3].map(FuncId::from_u32))
    }
}

/// Machine code of one kernel.
struct Function {
    bytes: Vec<u8>,
    alignment: u64,
    relocs: Vec<ModuleReloc>,
}

fn compile_one(
    kernel: &Kernel,
    id: FuncId,
    signature: &Signature,
    imports: &Imports,
    isa: &OwnedTargetIsa,
) -> Result<Function, EmitError> {
    let mut ctx = build(kernel, id, signature, imports, isa)?;
    ctx.compile(&**isa, &mut ControlPlane::default()).map_err(|error| compile_error(kernel, &error))?;
    let code = ctx.compiled_code().expect("the function was just compiled");
    let relocs = code.buffer.relocs().iter().map(|reloc| ModuleReloc::from_mach_reloc(reloc, &ctx.func, id)).collect();
    let alignment = u64::from(code.buffer.alignment.max(isa.function_alignment().minimum));
    Ok(Function { bytes: code.code_buffer().to_vec(), alignment, relocs })
}

fn compile_error(kernel: &Kernel, error: &cranelift::codegen::CompileError<'_>) -> EmitError {
    EmitError { kernel: kernel.name.clone(), message: format!("Cranelift: {:?}", error.inner) }
}

fn build(
    kernel: &Kernel,
    id: FuncId,
    signature: &Signature,
    imports: &Imports,
    isa: &OwnedTargetIsa,
) -> Result<codegen::Context, EmitError> {
    let mut ctx = codegen::Context::new();
    ctx.func.signature = signature.clone();
    ctx.func.name = UserFuncName::user(0, id.as_u32());
    emit::emit(&unroll(kernel), &mut ctx.func, imports, &**isa)
        .map_err(|message| EmitError { kernel: kernel.name.clone(), message })?;
    Ok(ctx)
}

/// `fn(buffers, begin, end)`, as `nnc_runtime::program::CpuKernel`.
fn kernel_signature(isa: &dyn isa::TargetIsa) -> Signature {
    let mut signature = Signature::new(isa.default_call_conv());
    signature.params.extend([AbiParam::new(types::I64); 3]);
    signature
}

/// The machine nnc runs on, with all its features. Objects are position-independent; code made in place is not.
fn host_isa(is_pic: bool) -> Result<OwnedTargetIsa, EmitError> {
    let fail = |message: String| EmitError { kernel: String::new(), message };
    let mut flags = settings::builder();
    let settings = [
        ("opt_level", "speed"),
        ("is_pic", if is_pic { "true" } else { "false" }),
        ("enable_verifier", if cfg!(debug_assertions) { "true" } else { "false" }),
        // Kernels have no recursion and bounded frames.
        ("enable_probestack", "false"),
        ("unwind_info", "false"),
    ];
    for (name, value) in settings {
        flags.set(name, value).map_err(|error| fail(error.to_string()))?;
    }
    let builder = cranelift::native::builder().map_err(|error| fail(format!("no Cranelift back end: {error}")))?;
    let isa = builder.finish(settings::Flags::new(flags)).map_err(|error| fail(error.to_string()))?;
    Ok(Arc::clone(&isa))
}

/// Processor features the code may use, by their Linux names.
fn used_features(isa: &dyn isa::TargetIsa) -> Vec<String> {
    let enabled = |name: &str| isa.isa_flags().iter().any(|flag| flag.name == name && flag.as_bool() == Some(true));
    [("has_fma", "fma"), ("has_avx2", "avx2"), ("has_avx", "avx"), ("has_sse41", "sse4.1")]
        .into_iter()
        .filter(|(flag, _)| enabled(flag))
        .map(|(_, feature)| feature.to_string())
        .collect()
}
