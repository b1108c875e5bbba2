//! Translates kernels to LLVM IR text, for the host and for NVPTX.
//!
//! The text is parsed by LLVM where the `llvm` feature is built; without it, it can still be printed and tested.
//! Vectors are explicit, so no vectorizer is needed; register tiles are `alloca`s that `sroa` turns into registers.

mod tile;

use std::fmt::Write;

use nnc_ir::DType;
use nnc_ir::ops::CompareDir;

use crate::kernel::{
    BinOp, BufferId, Index, Inst, Kernel, Loop, LoopKind, Reg, RegType, Space, Stmt, Ty, UnOp, unroll,
};

/// Which dialect of LLVM IR is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// Functions of the signature `nnc_runtime::program::CpuKernel`.
    Host,
    /// PTX kernels over global pointers.
    Nvptx,
}

/// One LLVM module with all `kernels`.
///
/// # Errors
/// A construct the dialect lacks, with the kernel's name.
pub fn emit_module(kernels: &[Kernel], dialect: Dialect) -> Result<String, crate::target::EmitError> {
    let mut functions = String::new();
    let mut globals = String::new();
    let mut declarations = Declarations::default();
    for kernel in kernels {
        let kernel = unroll(kernel);
        let mut emitter = Emitter {
            kernel: &kernel,
            dialect,
            out: String::new(),
            allocas: String::new(),
            globals: String::new(),
            declarations: &mut declarations,
            n_temps: 0,
            label: "entry".to_string(),
            constants: vec![None; kernel.regs.len()],
        };
        emitter.function().map_err(|message| crate::target::EmitError { kernel: kernel.name.clone(), message })?;
        let Emitter { out, globals: own_globals, .. } = emitter;
        functions.push_str(&out);
        globals.push_str(&own_globals);
    }
    let mut module = globals;
    if !module.is_empty() {
        module.push('\n');
    }
    module.push_str(&functions);
    for declaration in &declarations.lines {
        module.push_str(declaration);
        module.push('\n');
    }
    let attributes = match dialect {
        Dialect::Host => "nounwind \"prefer-vector-width\"=\"512\"",
        Dialect::Nvptx => "nounwind",
    };
    let _ = writeln!(module, "\nattributes #0 = {{ {attributes} }}");
    Ok(module)
}

/// External functions in order of first use.
#[derive(Default)]
struct Declarations {
    lines: Vec<String>,
}

impl Declarations {
    fn need(&mut self, line: String) {
        if !self.lines.contains(&line) {
            self.lines.push(line);
        }
    }
}

struct Emitter<'a> {
    kernel: &'a Kernel,
    dialect: Dialect,
    out: String,
    allocas: String,
    globals: String,
    declarations: &'a mut Declarations,
    n_temps: u32,
    /// Label of the block being written.
    label: String,
    /// Bits of registers that are constants.
    constants: Vec<Option<u64>>,
}

/// LLVM's name of one lane of a register type.
fn lane_name(ty: Ty) -> &'static str {
    match ty {
        Ty::Bool => "i1",
        Ty::I32 | Ty::U32 => "i32",
        Ty::I64 | Ty::U64 => "i64",
        Ty::F32 => "float",
        Ty::F64 => "double",
    }
}

/// LLVM's name of an element in memory.
fn memory_name(dtype: DType) -> &'static str {
    match dtype {
        DType::Bool | DType::U8 | DType::I8 => "i8",
        DType::I16 | DType::U16 | DType::F16 | DType::BF16 => "i16",
        DType::I32 | DType::U32 => "i32",
        DType::I64 | DType::U64 => "i64",
        DType::F32 => "float",
        DType::F64 => "double",
    }
}

fn vector(lane: &str, lanes: u16) -> String {
    if lanes == 1 { lane.to_string() } else { format!("<{lanes} x {lane}>") }
}

fn name_of(reg: RegType) -> String {
    vector(lane_name(reg.ty), reg.lanes)
}

/// The suffix of an overloaded intrinsic.
fn suffix(lane: &str, lanes: u16) -> String {
    let short = match lane {
        "float" => "f32",
        "double" => "f64",
        other => other,
    };
    if lanes == 1 { short.to_string() } else { format!("v{lanes}{short}") }
}

/// Text of one lane's constant.
fn lane_constant(ty: Ty, bits: u64) -> String {
    match ty {
        Ty::Bool => (bits != 0).to_string(),
        Ty::I32 | Ty::U32 => (bits as u32 as i32).to_string(),
        Ty::I64 | Ty::U64 => (bits as i64).to_string(),
        // LLVM writes floats as the bits of the equal double.
        Ty::F32 => format!("0x{:016X}", f64::from(f32::from_bits(bits as u32)).to_bits()),
        Ty::F64 => format!("0x{bits:016X}"),
    }
}

/// A constant with the same value in every lane.
fn repeated(reg: RegType, bits: u64) -> String {
    let lane = lane_constant(reg.ty, bits);
    if reg.lanes == 1 { lane } else { format!("splat ({} {lane})", lane_name(reg.ty)) }
}

impl Emitter<'_> {
    fn temp(&mut self) -> String {
        self.n_temps += 1;
        format!("%t{}", self.n_temps)
    }

    fn line(&mut self, text: &str) {
        self.out.push_str("  ");
        self.out.push_str(text);
        self.out.push('\n');
    }

    /// Writes an instruction and gives the name of its result.
    fn value(&mut self, text: &str) -> String {
        let name = self.temp();
        self.line(&format!("{name} = {text}"));
        name
    }

    fn start_block(&mut self, label: String) {
        let _ = writeln!(self.out, "{label}:");
        self.label = label;
    }

    fn reg_type(&self, reg: Reg) -> RegType {
        self.kernel.reg_type(reg)
    }

    fn reg(&self, reg: Reg) -> String {
        format!("%r{}", reg.0)
    }

    fn typed(&self, reg: Reg) -> String {
        format!("{} {}", name_of(self.reg_type(reg)), self.reg(reg))
    }

    fn space(&self, buffer: BufferId) -> &'static str {
        match (self.dialect, self.kernel.buffer(buffer).space) {
            (Dialect::Host, _) | (Dialect::Nvptx, Space::Local) => "ptr",
            (Dialect::Nvptx, Space::Global) => "ptr addrspace(1)",
            (Dialect::Nvptx, Space::Shared) => "ptr addrspace(3)",
        }
    }

    fn base(&self, buffer: BufferId) -> String {
        match (self.dialect, self.kernel.buffer(buffer).space) {
            (Dialect::Nvptx, Space::Shared) => format!("@{}.shared{}", self.kernel.name, buffer.0),
            _ => format!("%b{}", buffer.0),
        }
    }

    fn function(&mut self) -> Result<(), String> {
        let mut prologue = String::new();
        for (idx, buffer) in self.kernel.buffers.iter().enumerate() {
            let element = memory_name(buffer.dtype);
            match (self.dialect, buffer.space) {
                (Dialect::Host, Space::Global) => {
                    let _ = writeln!(prologue, "  %s{idx} = getelementptr inbounds ptr, ptr %buffers, i64 {idx}");
                    let _ = writeln!(prologue, "  %b{idx} = load ptr, ptr %s{idx}, align 8");
                }
                (Dialect::Nvptx, Space::Global) => {}
                (Dialect::Nvptx, Space::Shared) => {
                    let _ = writeln!(
                        self.globals,
                        "@{}.shared{idx} = internal addrspace(3) global [{} x {element}] undef, align 16",
                        self.kernel.name, buffer.len
                    );
                }
                (_, Space::Local) => {
                    let align = if self.dialect == Dialect::Host { 64 } else { 16 };
                    let _ = writeln!(self.allocas, "  %b{idx} = alloca [{} x {element}], align {align}", buffer.len);
                }
                (Dialect::Host, Space::Shared) => return Err("shared memory exists on GPUs only".to_string()),
            }
        }
        self.block(&self.kernel.body)?;
        self.line("ret void");
        let head = match self.dialect {
            Dialect::Host => {
                format!("define void @{}(ptr %buffers, i64 %begin, i64 %end) #0 {{\n", self.kernel.name)
            }
            Dialect::Nvptx => {
                let params: Vec<String> = self
                    .kernel
                    .args()
                    .enumerate()
                    .map(|(idx, (_, buffer))| format!("ptr addrspace(1) align {} %b{idx}", buffer.align))
                    .collect();
                format!("define ptx_kernel void @{}({}) #0 {{\n", self.kernel.name, params.join(", "))
            }
        };
        let body = std::mem::take(&mut self.out);
        self.out = format!("{head}entry:\n{}{prologue}{body}}}\n\n", self.allocas);
        Ok(())
    }

    fn block(&mut self, body: &[Stmt]) -> Result<(), String> {
        for stmt in body {
            match stmt {
                Stmt::Let(reg, inst) => self.inst(*reg, inst)?,
                Stmt::Store { buffer, index, lane_stride, active, value } => {
                    self.store(*buffer, index, *lane_stride, *active, *value);
                }
                Stmt::For(inner) => self.for_loop(inner)?,
                Stmt::If(cond, body) => {
                    self.n_temps += 1;
                    let id = self.n_temps;
                    self.line(&format!("br i1 {}, label %then{id}, label %after{id}", self.reg(*cond)));
                    self.start_block(format!("then{id}"));
                    self.block(body)?;
                    self.line(&format!("br label %after{id}"));
                    self.start_block(format!("after{id}"));
                }
                Stmt::Barrier => match self.dialect {
                    Dialect::Host => return Err("barriers exist on GPUs only".to_string()),
                    Dialect::Nvptx => {
                        let name = "void @llvm.nvvm.barrier.cta.sync.aligned.all(i32)";
                        self.declarations.need(format!("declare {name}"));
                        self.line("call void @llvm.nvvm.barrier.cta.sync.aligned.all(i32 0)");
                    }
                },
                Stmt::Matmul(inner) => self.matmul(inner)?,
                Stmt::Transpose(inner) => self.transpose(inner)?,
            }
        }
        Ok(())
    }

    fn for_loop(&mut self, inner: &Loop) -> Result<(), String> {
        let var = self.reg(inner.var);
        let special = |register: &str, axis: u8| {
            let axis = char::from(b'x' + axis);
            format!("llvm.nvvm.read.ptx.sreg.{register}.{axis}")
        };
        let (begin, end) = match (inner.kind, self.dialect) {
            (LoopKind::Serial, _) => ("0".to_string(), inner.extent.to_string()),
            (LoopKind::Parallel, Dialect::Host) => ("%begin".to_string(), "%end".to_string()),
            (LoopKind::Grid(axis) | LoopKind::Thread(axis), Dialect::Nvptx) => {
                // The launch has exactly as many blocks and threads as the loop has iterations.
                let register = if matches!(inner.kind, LoopKind::Grid(_)) { "ctaid" } else { "tid" };
                let name = special(register, axis);
                self.declarations.need(format!("declare i32 @{name}()"));
                let narrow = self.value(&format!("call i32 @{name}()"));
                self.line(&format!("{var} = zext i32 {narrow} to i64"));
                return self.block(&inner.body);
            }
            (LoopKind::Unrolled, _) => return Err("unrolled loops are expanded before emission".to_string()),
            (LoopKind::Parallel, Dialect::Nvptx) => return Err("CPU loops on a GPU target".to_string()),
            (LoopKind::Grid(_) | LoopKind::Thread(_), Dialect::Host) => {
                return Err("GPU loops on a CPU target".to_string());
            }
        };
        self.n_temps += 1;
        let id = self.n_temps;
        let before = self.label.clone();
        self.line(&format!("br label %loop{id}"));
        self.start_block(format!("loop{id}"));
        self.line(&format!("{var} = phi i64 [ {begin}, %{before} ], [ %next{id}, %latch{id} ]"));
        let more = self.value(&format!("icmp slt i64 {var}, {end}"));
        self.line(&format!("br i1 {more}, label %body{id}, label %done{id}"));
        self.start_block(format!("body{id}"));
        self.block(&inner.body)?;
        self.line(&format!("br label %latch{id}"));
        self.start_block(format!("latch{id}"));
        self.line(&format!("%next{id} = add nsw i64 {var}, 1"));
        self.line(&format!("br label %loop{id}"));
        self.start_block(format!("done{id}"));
        Ok(())
    }

    // Memory.

    /// Pointer to element `index + extra` of a buffer.
    fn pointer(&mut self, buffer: BufferId, index: &Index, extra: i64) -> String {
        let mut element = String::new();
        for &(reg, stride) in &index.terms {
            let reg = self.reg(reg);
            let scaled = if stride == 1 { reg } else { self.value(&format!("mul nsw i64 {reg}, {stride}")) };
            element = if element.is_empty() { scaled } else { self.value(&format!("add nsw i64 {element}, {scaled}")) };
        }
        let offset = index.offset + extra;
        let element = match (element.is_empty(), offset) {
            (true, offset) => offset.to_string(),
            (false, 0) => element,
            (false, offset) => self.value(&format!("add nsw i64 {element}, {offset}")),
        };
        let memory = memory_name(self.kernel.buffer(buffer).dtype);
        let (space, base) = (self.space(buffer), self.base(buffer));
        self.value(&format!("getelementptr inbounds {memory}, {space} {base}, i64 {element}"))
    }

    /// Bytes to which the address of a vector is sure to be aligned: GPUs load whole vectors only from such addresses.
    fn alignment(&self, buffer: BufferId, index: &Index) -> usize {
        let buffer = self.kernel.buffer(buffer);
        let size = buffer.dtype.size();
        if self.dialect == Dialect::Host {
            return size;
        }
        // 16 bytes are all that one instruction moves.
        let bits = index.terms.iter().fold(index.offset, |bits, (_, stride)| bits | stride);
        let elements = 1usize << bits.trailing_zeros().min(4);
        (size * elements).min(16).min(buffer.align.max(size))
    }

    /// Turns raw memory elements into the register type of `dtype`.
    fn widen(&mut self, dtype: DType, lanes: u16, raw: String) -> String {
        let wide = |lane: &str| vector(lane, lanes);
        match dtype {
            DType::Bool => self.value(&format!("trunc {} {raw} to {}", wide("i8"), wide("i1"))),
            DType::U8 => self.value(&format!("zext {} {raw} to {}", wide("i8"), wide("i32"))),
            DType::I8 => self.value(&format!("sext {} {raw} to {}", wide("i8"), wide("i32"))),
            DType::U16 => self.value(&format!("zext {} {raw} to {}", wide("i16"), wide("i32"))),
            DType::I16 => self.value(&format!("sext {} {raw} to {}", wide("i16"), wide("i32"))),
            DType::F16 => {
                let half = self.value(&format!("bitcast {} {raw} to {}", wide("i16"), wide("half")));
                self.value(&format!("fpext {} {half} to {}", wide("half"), wide("float")))
            }
            DType::BF16 => {
                let bits = self.value(&format!("zext {} {raw} to {}", wide("i16"), wide("i32")));
                let sixteen = repeated(RegType { ty: Ty::I32, lanes }, 16);
                let bits = self.value(&format!("shl {} {bits}, {sixteen}", wide("i32")));
                self.value(&format!("bitcast {} {bits} to {}", wide("i32"), wide("float")))
            }
            DType::I32 | DType::U32 | DType::I64 | DType::U64 | DType::F32 | DType::F64 => raw,
        }
    }

    /// Turns a register of the type of `dtype` into raw memory elements.
    fn shrink(&mut self, dtype: DType, lanes: u16, value: String) -> String {
        let wide = |lane: &str| vector(lane, lanes);
        match dtype {
            DType::Bool => self.value(&format!("zext {} {value} to {}", wide("i1"), wide("i8"))),
            DType::U8 | DType::I8 => self.value(&format!("trunc {} {value} to {}", wide("i32"), wide("i8"))),
            DType::U16 | DType::I16 => self.value(&format!("trunc {} {value} to {}", wide("i32"), wide("i16"))),
            DType::F16 => {
                let half = self.value(&format!("fptrunc {} {value} to {}", wide("float"), wide("half")));
                self.value(&format!("bitcast {} {half} to {}", wide("half"), wide("i16")))
            }
            DType::BF16 => {
                let bits = self.round_to_bf16(lanes, &value);
                self.value(&format!("trunc {} {bits} to {}", wide("i32"), wide("i16")))
            }
            DType::I32 | DType::U32 | DType::I64 | DType::U64 | DType::F32 | DType::F64 => value,
        }
    }

    /// The upper halves of floats rounded to nearest even, as `i32`; NaNs become quiet.
    fn round_to_bf16(&mut self, lanes: u16, value: &str) -> String {
        let int = vector("i32", lanes);
        let constant = |bits: u64| repeated(RegType { ty: Ty::I32, lanes }, bits);
        let float = vector("float", lanes);
        let bits = self.value(&format!("bitcast {float} {value} to {int}"));
        let upper = self.value(&format!("lshr {int} {bits}, {}", constant(16)));
        let odd = self.value(&format!("and {int} {upper}, {}", constant(1)));
        let bias = self.value(&format!("add {int} {odd}, {}", constant(0x7fff)));
        let rounded = self.value(&format!("add {int} {bits}, {bias}"));
        let rounded = self.value(&format!("lshr {int} {rounded}, {}", constant(16)));
        let quiet = self.value(&format!("or {int} {upper}, {}", constant(0x40)));
        let is_nan = self.value(&format!("fcmp uno {float} {value}, {value}"));
        self.value(&format!("select {} {is_nan}, {int} {quiet}, {int} {rounded}", vector("i1", lanes)))
    }

    fn load(&mut self, reg: Reg, buffer: BufferId, index: &Index, lane_stride: i64, active: u16) {
        let RegType { ty, lanes } = self.reg_type(reg);
        let dtype = self.kernel.buffer(buffer).dtype;
        let (memory, align, space) = (memory_name(dtype), dtype.size(), self.space(buffer));
        let vector_align = self.alignment(buffer, index);
        let raw = if lanes == 1 {
            if active == 0 {
                let zero = repeated(RegType { ty, lanes: 1 }, 0);
                return self.copy(reg, &zero);
            }
            let pointer = self.pointer(buffer, index, 0);
            self.value(&format!("load {memory}, {space} {pointer}, align {align}"))
        } else if lane_stride == 0 && active == lanes {
            let pointer = self.pointer(buffer, index, 0);
            let lane = self.value(&format!("load {memory}, {space} {pointer}, align {align}"));
            self.splat(memory, lanes, &lane)
        } else if lane_stride == 1 && active == lanes {
            let pointer = self.pointer(buffer, index, 0);
            self.value(&format!("load {}, {space} {pointer}, align {vector_align}", vector(memory, lanes)))
        } else if lane_stride == 1 && active > 0 && self.dialect == Dialect::Host {
            let pointer = self.pointer(buffer, index, 0);
            self.masked_load(memory, align, lanes, active, &pointer)
        } else if lane_stride == 2 && active > 0 && self.dialect == Dialect::Host {
            self.every_second(buffer, index, lanes, active)
        } else {
            let mut raw = "zeroinitializer".to_string();
            for lane in 0..active {
                let pointer = self.pointer(buffer, index, i64::from(lane) * lane_stride);
                let element = self.value(&format!("load {memory}, {space} {pointer}, align {align}"));
                raw = self
                    .value(&format!("insertelement {} {raw}, {memory} {element}, i32 {lane}", vector(memory, lanes)));
            }
            raw
        };
        let value = self.widen(dtype, lanes, raw);
        self.copy(reg, &value);
    }

    /// Loads every second element from two vectors: the first, and one that ends with the last element.
    fn every_second(&mut self, buffer: BufferId, index: &Index, lanes: u16, active: u16) -> String {
        let dtype = self.kernel.buffer(buffer).dtype;
        let (memory, align) = (memory_name(dtype), dtype.size());
        let (reach, shift) = (2 * active - 1, lanes - 1);
        let part = |emitter: &mut Self, first: u16| match reach.saturating_sub(first).min(lanes) {
            0 => "zeroinitializer".to_string(),
            count => {
                let pointer = emitter.pointer(buffer, index, i64::from(first));
                if count == lanes {
                    emitter.value(&format!("load {}, ptr {pointer}, align {align}", vector(memory, lanes)))
                } else {
                    emitter.masked_load(memory, align, lanes, count, &pointer)
                }
            }
        };
        let (low, high) = (part(self, 0), part(self, shift));
        let pick = |lane: u16| if 2 * lane < lanes { 2 * lane } else { lanes + 2 * lane - shift };
        let picks: Vec<String> = (0..lanes).map(|lane| format!("i32 {}", pick(lane))).collect();
        let ty = vector(memory, lanes);
        self.value(&format!("shufflevector {ty} {low}, {ty} {high}, <{lanes} x i32> <{}>", picks.join(", ")))
    }

    fn lane_mask(lanes: u16, active: u16) -> String {
        let bits: Vec<&str> = (0..lanes).map(|lane| if lane < active { "i1 true" } else { "i1 false" }).collect();
        format!("<{}>", bits.join(", "))
    }

    fn masked_load(&mut self, memory: &str, align: usize, lanes: u16, active: u16, pointer: &str) -> String {
        let ty = vector(memory, lanes);
        let name = format!("@llvm.masked.load.{}.p0", suffix(memory, lanes));
        self.declarations.need(format!("declare {ty} {name}(ptr, i32, <{lanes} x i1>, {ty})"));
        let mask = Self::lane_mask(lanes, active);
        self.value(&format!(
            "call {ty} {name}(ptr {pointer}, i32 {align}, <{lanes} x i1> {mask}, {ty} zeroinitializer)"
        ))
    }

    fn masked_store(&mut self, memory: &str, align: usize, lanes: u16, active: u16, value: &str, pointer: &str) {
        let ty = vector(memory, lanes);
        let name = format!("@llvm.masked.store.{}.p0", suffix(memory, lanes));
        self.declarations.need(format!("declare void {name}({ty}, ptr, i32, <{lanes} x i1>)"));
        let mask = Self::lane_mask(lanes, active);
        self.line(&format!("call void {name}({ty} {value}, ptr {pointer}, i32 {align}, <{lanes} x i1> {mask})"));
    }

    fn store(&mut self, buffer: BufferId, index: &Index, lane_stride: i64, active: u16, value: Reg) {
        let lanes = self.reg_type(value).lanes;
        let dtype = self.kernel.buffer(buffer).dtype;
        let (memory, align, space) = (memory_name(dtype), dtype.size(), self.space(buffer));
        if active == 0 {
            return;
        }
        let raw = self.shrink(dtype, lanes, self.reg(value));
        if lanes == 1 || (lane_stride == 1 && active == lanes) {
            let align = if lanes == 1 { align } else { self.alignment(buffer, index) };
            let pointer = self.pointer(buffer, index, 0);
            self.line(&format!("store {} {raw}, {space} {pointer}, align {align}", vector(memory, lanes)));
        } else if lane_stride == 1 && active > 1 && self.dialect == Dialect::Host {
            // Not of one lane: LLVM 22 merges the truncation of a narrow element into such a store and loses it, so
            // that it writes four bytes.
            let pointer = self.pointer(buffer, index, 0);
            self.masked_store(memory, align, lanes, active, &raw, &pointer);
        } else {
            for lane in 0..active {
                let pointer = self.pointer(buffer, index, i64::from(lane) * lane_stride);
                let element = self.value(&format!("extractelement {} {raw}, i32 {lane}", vector(memory, lanes)));
                self.line(&format!("store {memory} {element}, {space} {pointer}, align {align}"));
            }
        }
    }

    // Registers.

    /// Gives `reg` the value of an operand: LLVM has no copies, so an operation that changes nothing stands for one.
    fn copy(&mut self, reg: Reg, value: &str) {
        let ty = name_of(self.reg_type(reg));
        self.line(&format!("{} = bitcast {ty} {value} to {ty}", self.reg(reg)));
    }

    fn splat(&mut self, lane_ty: &str, lanes: u16, lane: &str) -> String {
        let ty = vector(lane_ty, lanes);
        if lanes == 1 {
            return lane.to_string();
        }
        let first = self.value(&format!("insertelement {ty} poison, {lane_ty} {lane}, i32 0"));
        self.value(&format!("shufflevector {ty} {first}, {ty} poison, <{lanes} x i32> zeroinitializer"))
    }

    fn intrinsic(&mut self, name: &str, result: &str, operands: &[&str], args: &[&str]) -> String {
        self.declarations.need(format!("declare {result} @{name}({})", operands.join(", ")));
        let args: Vec<String> = operands.iter().zip(args).map(|(ty, arg)| format!("{ty} {arg}")).collect();
        format!("call {result} @{name}({})", args.join(", "))
    }

    fn inst(&mut self, reg: Reg, inst: &Inst) -> Result<(), String> {
        let reg_type = self.reg_type(reg);
        let RegType { ty, lanes } = reg_type;
        let (full, lane) = (name_of(reg_type), lane_name(ty));
        let text = match inst {
            Inst::Const(bits) => {
                self.constants[reg.idx()] = Some(*bits);
                self.copy(reg, &repeated(reg_type, *bits));
                return Ok(());
            }
            Inst::LaneIota => {
                let values: Vec<String> =
                    (0..lanes).map(|idx| format!("{lane} {}", lane_constant(ty, u64::from(idx)))).collect();
                let text = if lanes == 1 { "0".to_string() } else { format!("<{}>", values.join(", ")) };
                self.copy(reg, &text);
                return Ok(());
            }
            Inst::LaneMask { active } => {
                let text = if lanes == 1 { (*active > 0).to_string() } else { Self::lane_mask(lanes, *active) };
                self.copy(reg, &text);
                return Ok(());
            }
            Inst::Splat(scalar) => {
                self.constants[reg.idx()] = self.constants[scalar.idx()];
                let value = self.splat(lane, lanes, &self.reg(*scalar));
                self.copy(reg, &value);
                return Ok(());
            }
            Inst::Load { buffer, index, lane_stride, active } => {
                self.load(reg, *buffer, index, *lane_stride, *active);
                return Ok(());
            }
            Inst::FoldLanes(op, operand) => {
                let value = self.fold_lanes(*op, *operand);
                self.copy(reg, &value);
                return Ok(());
            }
            Inst::Extract { vector, lane } if self.reg_type(*vector).lanes == 1 => {
                debug_assert_eq!(*lane, 0, "a scalar has one lane");
                let value = self.reg(*vector);
                self.copy(reg, &value);
                return Ok(());
            }
            Inst::Extract { vector, lane } => format!("extractelement {}, i32 {lane}", self.typed(*vector)),
            Inst::Unary(op, operand) => self.unary(*op, reg_type, *operand),
            Inst::Binary(op, lhs, rhs) => {
                let never_nan = self.never_nan(*rhs);
                let value = self.binary(*op, ty, lanes, &self.reg(*lhs), &self.reg(*rhs), never_nan);
                self.copy(reg, &value);
                return Ok(());
            }
            Inst::Fma(a, b, c) => {
                let name = format!("llvm.fma.{}", suffix(lane, lanes));
                let args = [self.reg(*a), self.reg(*b), self.reg(*c)];
                self.intrinsic(&name, &full, &[full.as_str(); 3], &[&args[0], &args[1], &args[2]])
            }
            Inst::Compare(dir, lhs, rhs) => {
                let operand = self.reg_type(*lhs);
                let predicate = predicate(*dir, operand.ty);
                let op = if operand.ty.is_float() { "fcmp" } else { "icmp" };
                format!("{op} {predicate} {}, {}", self.typed(*lhs), self.reg(*rhs))
            }
            Inst::Select(pred, on_true, on_false) => {
                format!("select {}, {}, {}", self.typed(*pred), self.typed(*on_true), self.typed(*on_false))
            }
            Inst::Cast(operand) => self.cast(reg_type, *operand),
            Inst::Bitcast(operand) => format!("bitcast {} to {full}", self.typed(*operand)),
            Inst::Narrow(dtype, operand) => {
                let raw = self.shrink(*dtype, lanes, self.reg(*operand));
                let value = self.widen(*dtype, lanes, raw);
                self.copy(reg, &value);
                return Ok(());
            }
        };
        self.line(&format!("{} = {text}", self.reg(reg)));
        Ok(())
    }

    /// Whether a register is a constant other than NaN, so that NaN rules cost nothing.
    fn never_nan(&self, reg: Reg) -> bool {
        match (self.constants[reg.idx()], self.reg_type(reg).ty) {
            (Some(bits), Ty::F32) => !f32::from_bits(bits as u32).is_nan(),
            (Some(bits), Ty::F64) => !f64::from_bits(bits).is_nan(),
            _ => false,
        }
    }

    fn unary(&mut self, op: UnOp, reg_type: RegType, operand: Reg) -> String {
        let RegType { ty, lanes } = reg_type;
        let (full, lane) = (name_of(reg_type), lane_name(ty));
        let x = self.reg(operand);
        let all_ones = || repeated(reg_type, u64::MAX);
        let mut call = |name: &str| {
            let name = format!("llvm.{name}.{}", suffix(lane, lanes));
            self.intrinsic(&name, &full, &[&full], &[&x])
        };
        match op {
            UnOp::Neg if ty.is_float() => format!("fneg {full} {x}"),
            UnOp::Neg => format!("sub {full} {}, {x}", repeated(reg_type, 0)),
            UnOp::Abs if ty.is_float() => call("fabs"),
            UnOp::Abs if !ty.is_signed_int() => format!("bitcast {full} {x} to {full}"),
            UnOp::Abs => {
                let name = format!("llvm.abs.{}", suffix(lane, lanes));
                self.intrinsic(&name, &full, &[&full, "i1"], &[&x, "false"])
            }
            UnOp::Not => format!("xor {full} {x}, {}", all_ones()),
            UnOp::Sqrt => call("sqrt"),
            UnOp::Floor => call("floor"),
            UnOp::Ceil => call("ceil"),
            UnOp::RoundEven => call("roundeven"),
        }
    }

    fn binary(&mut self, op: BinOp, ty: Ty, lanes: u16, lhs: &str, rhs: &str, never_nan: bool) -> String {
        let full = vector(lane_name(ty), lanes);
        let float = ty.is_float();
        let signed = ty.is_signed_int();
        let mnemonic = match op {
            BinOp::Add => ["add", "fadd"][usize::from(float)],
            BinOp::Sub => ["sub", "fsub"][usize::from(float)],
            BinOp::Mul => ["mul", "fmul"][usize::from(float)],
            BinOp::Div if float => "fdiv",
            BinOp::Rem if float => return self.float_rem(ty, lanes, lhs, rhs),
            BinOp::Div | BinOp::Rem if signed => return self.signed_div(op, ty, lanes, lhs, rhs),
            BinOp::Div => "udiv",
            BinOp::Rem => "urem",
            BinOp::Max | BinOp::Min => {
                let dir = if op == BinOp::Max { CompareDir::Gt } else { CompareDir::Lt };
                let compare = if float { "fcmp" } else { "icmp" };
                let mut take = self.value(&format!("{compare} {} {full} {rhs}, {lhs}", predicate(dir, ty)));
                if float && !never_nan {
                    let is_nan = self.value(&format!("fcmp uno {full} {rhs}, {rhs}"));
                    take = self.value(&format!("or {} {take}, {is_nan}", vector("i1", lanes)));
                }
                return self.value(&format!("select {} {take}, {full} {rhs}, {full} {lhs}", vector("i1", lanes)));
            }
            BinOp::And => "and",
            BinOp::Or => "or",
            BinOp::Xor => "xor",
            BinOp::Shl => "shl",
            BinOp::ShrLogical => "lshr",
            BinOp::ShrArithmetic => "ashr",
        };
        self.value(&format!("{mnemonic} {full} {lhs}, {rhs}"))
    }

    /// C's `fmod`, lane by lane: a call of the C library on the host, of [`super::nvptx`]'s own function on GPUs.
    fn float_rem(&mut self, ty: Ty, lanes: u16, lhs: &str, rhs: &str) -> String {
        let (full, lane) = (vector(lane_name(ty), lanes), lane_name(ty));
        let name = match (self.dialect, ty) {
            (Dialect::Host, Ty::F32) => "fmodf",
            (Dialect::Host, _) => "fmod",
            (Dialect::Nvptx, Ty::F32) => "nnc_fmodf",
            (Dialect::Nvptx, _) => "nnc_fmod",
        };
        if self.dialect == Dialect::Host {
            self.declarations.need(format!("declare {lane} @{name}({lane}, {lane})"));
        } else {
            self.declarations.need(super::fmod::definition(ty));
        }
        let mut result = "poison".to_string();
        for idx in 0..lanes {
            let pick = |emitter: &mut Self, value: &str| {
                if lanes == 1 {
                    value.to_string()
                } else {
                    emitter.value(&format!("extractelement {full} {value}, i32 {idx}"))
                }
            };
            let (x, y) = (pick(self, lhs), pick(self, rhs));
            let remainder = self.value(&format!("call {lane} @{name}({lane} {x}, {lane} {y})"));
            result = if lanes == 1 {
                remainder
            } else {
                self.value(&format!("insertelement {full} {result}, {lane} {remainder}, i32 {idx}"))
            };
        }
        result
    }

    /// Quotient or remainder; the smallest integer by -1 wraps, where LLVM's division is undefined.
    fn signed_div(&mut self, op: BinOp, ty: Ty, lanes: u16, lhs: &str, rhs: &str) -> String {
        let reg_type = RegType { ty, lanes };
        let full = name_of(reg_type);
        let (one, minus_one, zero) = (repeated(reg_type, 1), repeated(reg_type, u64::MAX), repeated(reg_type, 0));
        let is_minus_one = self.value(&format!("icmp eq {full} {rhs}, {minus_one}"));
        let mask = vector("i1", lanes);
        let divisor = self.value(&format!("select {mask} {is_minus_one}, {full} {one}, {full} {rhs}"));
        if op == BinOp::Rem {
            // Anything modulo 1 is 0, as it is modulo -1.
            return self.value(&format!("srem {full} {lhs}, {divisor}"));
        }
        let quotient = self.value(&format!("sdiv {full} {lhs}, {divisor}"));
        let negated = self.value(&format!("sub {full} {zero}, {lhs}"));
        self.value(&format!("select {mask} {is_minus_one}, {full} {negated}, {full} {quotient}"))
    }

    fn fold_lanes(&mut self, op: BinOp, operand: Reg) -> String {
        let RegType { ty, lanes: mut width } = self.reg_type(operand);
        let lane = lane_name(ty);
        let mut value = self.reg(operand);
        while width > 1 {
            let (full, half) = (vector(lane, width), width / 2);
            let pick = |first: u16| -> String {
                let lanes: Vec<String> = (first..first + half).map(|lane| format!("i32 {lane}")).collect();
                format!("<{half} x i32> <{}>", lanes.join(", "))
            };
            if half == 1 {
                let lhs = self.value(&format!("extractelement {full} {value}, i32 0"));
                let rhs = self.value(&format!("extractelement {full} {value}, i32 1"));
                value = self.binary(op, ty, 1, &lhs, &rhs, false);
            } else {
                let lhs = self.value(&format!("shufflevector {full} {value}, {full} poison, {}", pick(0)));
                let rhs = self.value(&format!("shufflevector {full} {value}, {full} poison, {}", pick(half)));
                value = self.binary(op, ty, half, &lhs, &rhs, false);
            }
            width = half;
        }
        value
    }

    fn cast(&mut self, to: RegType, operand: Reg) -> String {
        let from = self.reg_type(operand);
        let (target, source) = (name_of(to), self.typed(operand));
        match (from.ty, to.ty) {
            (Ty::Bool, Ty::I32 | Ty::U32) | (Ty::Bool | Ty::U32, Ty::I64 | Ty::U64) => {
                format!("zext {source} to {target}")
            }
            (Ty::Bool | Ty::U32 | Ty::U64, Ty::F32 | Ty::F64) => format!("uitofp {source} to {target}"),
            (Ty::I32 | Ty::I64, Ty::F32 | Ty::F64) => format!("sitofp {source} to {target}"),
            (Ty::F32 | Ty::F64, Ty::Bool) => format!("fcmp une {source}, {}", repeated(from, 0)),
            (_, Ty::Bool) => format!("icmp ne {source}, {}", repeated(from, 0)),
            (Ty::I32, Ty::I64 | Ty::U64) => format!("sext {source} to {target}"),
            (Ty::I64 | Ty::U64, Ty::I32 | Ty::U32) => format!("trunc {source} to {target}"),
            (Ty::F32, Ty::F64) => format!("fpext {source} to {target}"),
            (Ty::F64, Ty::F32) => format!("fptrunc {source} to {target}"),
            (Ty::F32 | Ty::F64, Ty::I32 | Ty::U32 | Ty::I64 | Ty::U64) => {
                let kind = if to.ty.is_signed_int() { "fptosi" } else { "fptoui" };
                let (result, argument) = (suffix(lane_name(to.ty), to.lanes), suffix(lane_name(from.ty), from.lanes));
                let name = format!("llvm.{kind}.sat.{result}.{argument}");
                let x = self.reg(operand);
                self.intrinsic(&name, &target, &[&name_of(from)], &[&x])
            }
            _ => format!("bitcast {source} to {target}"),
        }
    }
}

fn predicate(dir: CompareDir, ty: Ty) -> &'static str {
    let kind = match ty {
        Ty::F32 | Ty::F64 => 0,
        Ty::I32 | Ty::I64 => 1,
        Ty::U32 | Ty::U64 | Ty::Bool => 2,
    };
    match dir {
        CompareDir::Eq => ["oeq", "eq", "eq"][kind],
        CompareDir::Ne => ["une", "ne", "ne"][kind],
        CompareDir::Lt => ["olt", "slt", "ult"][kind],
        CompareDir::Le => ["ole", "sle", "ule"][kind],
        CompareDir::Gt => ["ogt", "sgt", "ugt"][kind],
        CompareDir::Ge => ["oge", "sge", "uge"][kind],
    }
}
