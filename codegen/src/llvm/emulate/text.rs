//! Turns a module of the PTX dialect into one for the host that keeps every statement of the kernels as it is.
//!
//! What only a GPU has is replaced by plain LLVM IR around the kernels:
//!
//! | PTX dialect | host |
//! |---|---|
//! | `ptx_kernel` | the C calling convention, and `NAME.call`, which takes the arguments as an array |
//! | `addrspace(1)`, `addrspace(3)` | plain pointers |
//! | a shared global | the same global, and `NAME.sharedN.address`, so that it can be given fresh contents |
//! | `llvm.nvvm.read.ptx.sreg.*` | a load from `emulator.state` |
//! | `llvm.nvvm.barrier.*` | a call through a pointer in `emulator.state` |
//!
//! The barrier stays an opaque call, so LLVM moves no load or store across it.

use std::fmt::Write;

use crate::kernel::{Kernel, Space};
use crate::llvm::text::{Dialect, emit_module};
use crate::target::EmitError;

/// Intrinsics of the PTX dialect, and what stands for them. The offsets are those of [`super::fibers::State`].
const SHIMS: &str = "
@emulator.state = internal global [40 x i8] zeroinitializer, align 8

define ptr @emulator.state.address() { ret ptr @emulator.state }

define internal i32 @emulator.read.ptx.sreg.tid.x() alwaysinline {
  %value = load i32, ptr @emulator.state, align 4
  ret i32 %value
}

define internal i32 @emulator.read.ptx.sreg.tid.y() alwaysinline {
  %value = load i32, ptr getelementptr (i8, ptr @emulator.state, i64 4), align 4
  ret i32 %value
}

define internal i32 @emulator.read.ptx.sreg.tid.z() alwaysinline {
  %value = load i32, ptr getelementptr (i8, ptr @emulator.state, i64 8), align 4
  ret i32 %value
}

define internal i32 @emulator.read.ptx.sreg.ctaid.x() alwaysinline {
  %value = load i32, ptr getelementptr (i8, ptr @emulator.state, i64 12), align 4
  ret i32 %value
}

define internal i32 @emulator.read.ptx.sreg.ctaid.y() alwaysinline {
  %value = load i32, ptr getelementptr (i8, ptr @emulator.state, i64 16), align 4
  ret i32 %value
}

define internal i32 @emulator.read.ptx.sreg.ctaid.z() alwaysinline {
  %value = load i32, ptr getelementptr (i8, ptr @emulator.state, i64 20), align 4
  ret i32 %value
}

define internal void @emulator.barrier.cta.sync.aligned.all(i32 %id) alwaysinline {
  %wait = load ptr, ptr getelementptr (i8, ptr @emulator.state, i64 24), align 8
  call void %wait(ptr @emulator.state)
  ret void
}
";

/// Symbol of the function that gives the address of [`super::fibers::State`].
pub(super) const STATE: &str = "emulator.state.address";

/// Symbol of a kernel's entry.
pub(super) fn entry_symbol(kernel: &Kernel) -> String {
    format!("{}.call", kernel.name)
}

/// Symbol of the function that gives the address of shared buffer number `idx`.
pub(super) fn shared_symbol(kernel: &Kernel, idx: usize) -> String {
    format!("{}.shared{idx}.address", kernel.name)
}

/// The module that runs `kernels` on the host.
pub(super) fn host_module(kernels: &[Kernel]) -> Result<String, EmitError> {
    let ptx = emit_module(kernels, Dialect::Nvptx)?;
    let mut module = String::new();
    for line in ptx.lines().filter(|line| !line.starts_with("declare") || !line.contains("@llvm.nvvm.")) {
        let line = line.replace(" addrspace(1)", "").replace(" addrspace(3)", "");
        module.push_str(&line.replace("define ptx_kernel ", "define ").replace("@llvm.nvvm.", "@emulator."));
        module.push('\n');
    }
    module.push_str(SHIMS);
    for kernel in kernels {
        let _ = writeln!(module, "\ndefine void @{}(ptr %args) #0 {{", entry_symbol(kernel));
        let mut args = Vec::new();
        for (idx, _) in kernel.args().enumerate() {
            let _ = writeln!(module, "  %p{idx} = getelementptr ptr, ptr %args, i64 {idx}");
            let _ = writeln!(module, "  %a{idx} = load ptr, ptr %p{idx}, align 8");
            args.push(format!("ptr %a{idx}"));
        }
        let _ = writeln!(module, "  call void @{}({})\n  ret void\n}}", kernel.name, args.join(", "));
        for (idx, _) in kernel.buffers.iter().enumerate().filter(|(_, buffer)| buffer.space == Space::Shared) {
            let (symbol, global) = (shared_symbol(kernel, idx), format!("{}.shared{idx}", kernel.name));
            let _ = writeln!(module, "\ndefine ptr @{symbol}() {{ ret ptr @{global} }}");
        }
    }
    Ok(module)
}
