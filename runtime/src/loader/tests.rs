//! Objects are made with the `object` crate's writer, so no compiler is needed.

use object::write::{self, StandardSection, SymbolSection};
use object::{Architecture, BinaryFormat, Endianness, SectionKind, SymbolFlags, SymbolKind, SymbolScope, elf};

use super::*;

/// An object under construction.
struct Builder(write::Object<'static>);

impl Builder {
    fn new() -> Builder {
        Builder(write::Object::new(BinaryFormat::Elf, Architecture::X86_64, Endianness::Little))
    }

    fn symbol(&mut self, name: &str, section: SymbolSection, offset: u64) -> write::SymbolId {
        self.0.add_symbol(write::Symbol {
            name: name.into(),
            value: offset,
            size: 0,
            kind: SymbolKind::Text,
            scope: SymbolScope::Linkage,
            weak: false,
            section,
            flags: SymbolFlags::None,
        })
    }

    fn undefined(&mut self, name: &str) -> write::SymbolId {
        self.symbol(name, SymbolSection::Undefined, 0)
    }

    /// Appends `bytes` to a section and defines `name` at their start.
    fn define(&mut self, name: &str, section: StandardSection, bytes: &[u8]) -> write::SymbolId {
        let section = self.0.section_id(section);
        let offset = self.0.append_section_data(section, bytes, 16);
        self.symbol(name, SymbolSection::Section(section), offset)
    }

    /// Adds a relocation at `offset` from the start of text.
    fn relocate(&mut self, offset: u64, symbol: write::SymbolId, r_type: u32, addend: i64) {
        let section = self.0.section_id(StandardSection::Text);
        let flags = write::RelocationFlags::Elf { r_type };
        self.0
            .add_relocation(section, write::Relocation { offset, symbol, addend, flags })
            .expect("a valid relocation");
    }

    fn elf(&self) -> Vec<u8> {
        self.0.write().expect("a valid object")
    }
}

fn error_of(elf: &[u8]) -> String {
    LoadedObject::load(elf).expect_err("a malformed object").to_string()
}

#[cfg(target_arch = "x86_64")]
mod x86_64 {
    use super::*;

    /// `lea rax, [rip + data]; mov eax, [rax]; ret` with the relocation of `lea` at byte 3.
    const LOAD: [u8; 10] = [0x48, 0x8d, 0x05, 0, 0, 0, 0, 0x8b, 0x00, 0xc3];

    /// Calls `name`, a function of no arguments.
    fn call(object: &LoadedObject, name: &str) -> i32 {
        let address = object.function(name).expect("a global function");
        // SAFETY: the tests define only functions of this type.
        let function = unsafe { std::mem::transmute::<usize, extern "C" fn() -> i32>(address) };
        function()
    }

    #[test]
    fn code_reads_constants_and_zeroed_data() {
        let mut builder = Builder::new();
        let constant = builder.define("constant", StandardSection::ReadOnlyData, &41_i32.to_le_bytes());
        let bss = builder.0.section_id(StandardSection::UninitializedData);
        let offset = builder.0.append_section_bss(bss, 64, 16);
        let zeroed = builder.symbol("zeroed", SymbolSection::Section(bss), offset);
        builder.define("load_constant", StandardSection::Text, &LOAD);
        builder.define("load_zeroed", StandardSection::Text, &LOAD);
        builder.relocate(3, constant, elf::R_X86_64_PC32, -4);
        builder.relocate(16 + 3, zeroed, elf::R_X86_64_PC32, -4);
        let object = LoadedObject::load(&builder.elf()).expect("a valid object");
        assert_eq!(call(&object, "load_constant"), 41);
        assert_eq!(call(&object, "load_zeroed"), 0);
        assert_eq!(object.function("constant"), None, "data is not a function");
        assert_eq!(object.function("missing"), None);
    }

    #[test]
    fn writable_data_stays_writable() {
        let mut builder = Builder::new();
        let counter = builder.define("counter", StandardSection::Data, &6_i32.to_le_bytes());
        // lea rax, [rip + counter]; inc dword ptr [rax]; mov eax, [rax]; ret
        let code = [0x48, 0x8d, 0x05, 0, 0, 0, 0, 0xff, 0x00, 0x8b, 0x00, 0xc3];
        builder.define("count", StandardSection::Text, &code);
        builder.relocate(3, counter, elf::R_X86_64_PC32, -4);
        let object = LoadedObject::load(&builder.elf()).expect("a valid object");
        assert_eq!((call(&object, "count"), call(&object, "count")), (7, 8));
    }

    #[test]
    fn addresses_come_through_the_offset_table() {
        let mut builder = Builder::new();
        let constant = builder.define("constant", StandardSection::ReadOnlyData, &17_i32.to_le_bytes());
        // mov rax, [rip + slot]; mov eax, [rax]; ret
        let code = [0x48, 0x8b, 0x05, 0, 0, 0, 0, 0x8b, 0x00, 0xc3];
        builder.define("load", StandardSection::Text, &code);
        builder.relocate(3, constant, elf::R_X86_64_REX_GOTPCRELX, -4);
        let object = LoadedObject::load(&builder.elf()).expect("a valid object");
        assert_eq!(call(&object, "load"), 17);
    }

    #[test]
    fn calls_reach_the_runtime_near_and_absolutely() {
        let mut builder = Builder::new();
        let fmaf = builder.undefined("fmaf");
        // sub rsp, 8; mov eax, 2.0f; movd xmm0..2, eax; call fmaf; movd eax, xmm0; add rsp, 8; ret
        let prologue = [
            0x48, 0x83, 0xec, 8, 0xb8, 0, 0, 0, 0x40, 0x66, 0x0f, 0x6e, 0xc0, 0x66, 0x0f, 0x6e, 0xc8, 0x66, 0x0f, 0x6e,
            0xd0,
        ];
        let epilogue = [0x66, 0x0f, 0x7e, 0xc0, 0x48, 0x83, 0xc4, 8, 0xc3];
        let near = [&prologue[..], &[0xe8, 0, 0, 0, 0], &epilogue].concat();
        // movabs rcx, fmaf; call rcx
        let absolute = [&prologue[..], &[0x48, 0xb9, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xd1], &epilogue].concat();
        builder.define("near", StandardSection::Text, &near);
        let start = near.len().next_multiple_of(16) as u64;
        builder.define("absolute", StandardSection::Text, &absolute);
        builder.relocate(prologue.len() as u64 + 1, fmaf, elf::R_X86_64_PLT32, -4);
        builder.relocate(start + prologue.len() as u64 + 2, fmaf, elf::R_X86_64_64, 0);
        let object = LoadedObject::load(&builder.elf()).expect("a valid object");
        for name in ["near", "absolute"] {
            assert_eq!(f32::from_bits(call(&object, name) as u32), 6.0, "{name}");
        }
    }

    #[test]
    fn loading_and_dropping_leaves_nothing_behind() {
        let mut builder = Builder::new();
        builder.define("answer", StandardSection::Text, &[0xb8, 42, 0, 0, 0, 0xc3]);
        let elf = builder.elf();
        let mappings = || std::fs::read_to_string("/proc/self/maps").map_or(0, |maps| maps.lines().count());
        let before = mappings();
        for _ in 0..500 {
            let object = LoadedObject::load(&elf).expect("a valid object");
            assert_eq!(call(&object, "answer"), 42);
        }
        assert!(mappings() < before + 100, "mappings were leaked");
    }

    #[test]
    fn every_truncation_and_bit_flip_is_handled() {
        let mut builder = Builder::new();
        let constant = builder.define("constant", StandardSection::ReadOnlyData, &41_i32.to_le_bytes());
        builder.define("load", StandardSection::Text, &LOAD);
        builder.relocate(3, constant, elf::R_X86_64_PC32, -4);
        let elf = builder.elf();
        for len in 0..elf.len() {
            // Loading may succeed where only padding was cut off; it must not crash.
            let _ = LoadedObject::load(&elf[..len]);
        }
        for bit in 0..elf.len() * 8 {
            let mut mutated = elf.clone();
            mutated[bit / 8] ^= 1 << (bit % 8);
            let _ = LoadedObject::load(&mutated);
        }
    }
}

#[test]
#[cfg(target_arch = "x86_64")]
fn faults_are_named() {
    let mut builder = Builder::new();
    let symbol = builder.undefined("malloc");
    builder.define("f", StandardSection::Text, &[0; 16]);
    builder.relocate(1, symbol, elf::R_X86_64_PLT32, -4);
    assert_eq!(error_of(&builder.elf()), "object code needs symbol `malloc`, which the runtime does not provide");

    let mut builder = Builder::new();
    let symbol = builder.define("f", StandardSection::Text, &[0; 16]);
    builder.relocate(13, symbol, elf::R_X86_64_PC32, 0);
    assert_eq!(error_of(&builder.elf()), "invalid object code: relocation at .text+0xd to `f`: outside the section");

    let mut builder = Builder::new();
    let symbol = builder.define("f", StandardSection::Text, &[0; 16]);
    builder.relocate(0, symbol, elf::R_X86_64_TPOFF32, 0);
    assert_eq!(
        error_of(&builder.elf()),
        "invalid object code: relocation at .text+0x0: type 23 of x86_64 is not supported"
    );

    let mut builder = Builder::new();
    let symbol = builder.define("f", StandardSection::Text, &[0; 16]);
    builder.relocate(0, symbol, elf::R_X86_64_32, 0);
    assert!(error_of(&builder.elf()).contains("is out of range"));

    let mut builder = Builder::new();
    builder.define("f", StandardSection::Text, &[0; 16]);
    builder.define("f", StandardSection::Text, &[0; 16]);
    assert_eq!(error_of(&builder.elf()), "invalid object code: symbol `f`: defined twice");

    let mut builder = Builder::new();
    let section = builder.0.add_section(Vec::new(), b".rwx".to_vec(), SectionKind::Text);
    builder.0.section_mut(section).flags =
        object::SectionFlags::Elf { sh_flags: u64::from(elf::SHF_ALLOC | elf::SHF_WRITE | elf::SHF_EXECINSTR) };
    builder.0.append_section_data(section, &[0; 4], 1);
    assert_eq!(error_of(&builder.elf()), "invalid object code: section `.rwx`: both writable and executable");
}

#[test]
fn other_files_are_refused() {
    assert!(error_of(b"").starts_with("invalid object code: ELF header"));
    assert!(error_of(&[0; 4096]).starts_with("invalid object code: ELF header"));
    let foreign = write::Object::new(BinaryFormat::Elf, Architecture::Riscv64, Endianness::Little);
    assert_eq!(
        error_of(&foreign.write().expect("a valid object")),
        format!("code is for `ELF machine 243`, this machine is `{}`", std::env::consts::ARCH)
    );
}
