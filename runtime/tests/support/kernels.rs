//! Programs made by hand: the executor is tested without a compiler.

use nnc_runtime::program::{
    Address, Code, Constant, ElemType, Input, InputRole, KernelArg, KernelInfo, Launch, Output, Place, Ports, Program,
    Step, TensorSpec,
};
use object::write::{self, StandardSection, SymbolSection};
use object::{Architecture, BinaryFormat, Endianness, SymbolFlags, SymbolKind, SymbolScope};

/// Machine code of `for i in begin..end { args[2][i] = args[0][i] + args[1][i] }` over `f32`.
const ADD: [u8; 37] = [
    0x48, 0x8b, 0x07, // mov rax, [rdi]
    0x48, 0x8b, 0x4f, 0x08, // mov rcx, [rdi + 8]
    0x48, 0x8b, 0x7f, 0x10, // mov rdi, [rdi + 16]
    0x48, 0x39, 0xd6, // next: cmp rsi, rdx
    0x73, 0x14, // jae done
    0xf3, 0x0f, 0x10, 0x04, 0xb0, // movss xmm0, [rax + 4 * rsi]
    0xf3, 0x0f, 0x58, 0x04, 0xb1, // addss xmm0, [rcx + 4 * rsi]
    0xf3, 0x0f, 0x11, 0x04, 0xb7, // movss [rdi + 4 * rsi], xmm0
    0x48, 0xff, 0xc6, // inc rsi
    0xeb, 0xe7, // jmp next
    0xc3, // done: ret
];

/// The byte of [`ADD`] that makes its `addss` a `mulss`, and its value then.
const MULTIPLY: (usize, u8) = (23, 0x59);

/// An object with the one kernel `add`.
pub(crate) fn object() -> Vec<u8> {
    object_of(&ADD)
}

/// An object whose kernel `add` multiplies: no emitter may do so, but it shows which code ran.
#[allow(dead_code, reason = "not all tests that include this file replace code")]
pub(crate) fn multiplying_object() -> Vec<u8> {
    let mut code = ADD;
    code[MULTIPLY.0] = MULTIPLY.1;
    object_of(&code)
}

fn object_of(code: &[u8]) -> Vec<u8> {
    let mut object = write::Object::new(BinaryFormat::Elf, Architecture::X86_64, Endianness::Little);
    let section = object.section_id(StandardSection::Text);
    let offset = object.append_section_data(section, code, 16);
    object.add_symbol(write::Symbol {
        name: b"add".to_vec(),
        value: offset,
        size: code.len() as u64,
        kind: SymbolKind::Text,
        scope: SymbolScope::Linkage,
        weak: false,
        section: SymbolSection::Section(section),
        flags: SymbolFlags::None,
    });
    object.write().expect("a valid object")
}

/// A training step in miniature over vectors of `len` elements, in chunks of `chunk`:
///
/// ```text
/// h = x + x            (arena)
/// y = h + c            (output; c is a constant, all 0.5)
/// w = w + h            (output donated into the state w, at first all 10)
/// ```
pub(crate) fn step(len: usize, chunk: u64) -> Program {
    let spec = TensorSpec { elem: ElemType::F32, shape: vec![len] };
    let splat = |value: f32| value.to_le_bytes().repeat(len);
    let launch = |args: [Place; 3], label: &str| Launch {
        kernel: 0,
        args: args.map(Address::Fixed).to_vec(),
        extent: len as u64,
        chunk,
        grid: [1; 3],
        label: label.to_owned(),
    };
    let input = |name: &str, role, initial| Input { name: name.to_owned(), spec: spec.clone(), role, initial };
    let output = |name: &str, place| Output { name: name.to_owned(), spec: spec.clone(), place };
    let h = Place::Arena(0);
    Program {
        name: "step".to_owned(),
        target: "cpu".to_owned(),
        tier: "hand".to_owned(),
        inputs: vec![input("x", InputRole::Data, None), input("w", InputRole::State, Some(splat(10.0)))],
        outputs: vec![output("y", Place::Output(0)), output("w", Place::Input(1))],
        ports: Ports::default(),
        constants: vec![Constant { spec: spec.clone(), data: splat(0.5).into() }],
        arena_bytes: (len * 4).next_multiple_of(64) as u64,
        kernels: vec![KernelInfo {
            symbol: "add".to_owned(),
            bytes: 12 * len as u64,
            flops: len as u64,
            block: [1; 3],
            shared_bytes: 0,
            args: [false, false, true].map(|written| KernelArg { bytes: 4 * len as u64, align: 4, written }).to_vec(),
        }],
        launches: vec![
            launch([Place::Input(0), Place::Input(0), h], "double"),
            launch([h, Place::Constant(0), Place::Output(0)], "bias"),
            launch([Place::Input(1), h, Place::Input(1)], "update"),
        ],
        steps: Step::sequence(3),
        code: Code::Object {
            triple: "x86_64-unknown-linux-gnu".to_owned(),
            features: vec!["sse2".to_owned()],
            objects: vec![object()],
        },
    }
}

/// Running sums in a loop of `trips` iterations over vectors of `len` elements: `y[i] = y[i - 1] + x[i]`, `y[-1]` being
/// the state `w`, which is all 10.
#[allow(dead_code, reason = "not all tests that include this file have loops")]
pub(crate) fn running_sums(len: usize, trips: u64, chunk: u64) -> Program {
    let mut program = step(len, chunk);
    let stack = TensorSpec { elem: ElemType::F32, shape: vec![trips as usize, len] };
    program.inputs[0].spec = stack.clone();
    program.outputs.truncate(1);
    program.outputs[0].spec = stack;
    let bytes = 4 * len as i64;
    let slice = |place: Place| Address::from(place).moved(0, 0, bytes);
    let sum = slice(Place::Output(0));
    let before = Address::from(Place::Input(1)).before(0, 1, &sum.previous(0));
    program.launches.truncate(1);
    program.launches[0].args = vec![before, slice(Place::Input(0)), sum];
    program.steps = vec![Step::Loop { trips, body: 1 }, Step::Launch(0)];
    program
}
