//! Reads an ELF object and checks it, down to every symbol and relocation that loading will touch.

use object::LittleEndian;
use object::elf::{self, FileHeader64, Rela64};
use object::read::elf::{FileHeader as _, Rela as _, SectionHeader as _, Sym as _, SymbolTable};
use object::read::{SectionIndex, SymbolIndex};

use super::memory::Access;
use super::reloc::{Arch, Kind};
use crate::error::Error;

type Header = FileHeader64<LittleEndian>;

/// The parts of an object that are loaded.
pub(super) struct Object<'data> {
    pub(super) arch: Arch,
    /// Sections with contents at run time.
    pub(super) sections: Vec<Section<'data>>,
    /// All symbols, by their index in the file.
    pub(super) symbols: Vec<Symbol<'data>>,
}

/// A section with contents at run time.
pub(super) struct Section<'data> {
    pub(super) name: &'data str,
    pub(super) access: Access,
    pub(super) align: usize,
    pub(super) size: usize,
    /// Contents of `size` bytes; `None` is all zeros.
    pub(super) data: Option<&'data [u8]>,
    pub(super) relocations: Vec<Relocation>,
}

/// A symbol.
pub(super) struct Symbol<'data> {
    pub(super) name: &'data str,
    pub(super) is_global: bool,
    pub(super) definition: Definition,
}

/// What a symbol stands for.
#[derive(Clone, Copy)]
pub(super) enum Definition {
    /// Nothing that is loaded: a file name, debug information.
    None,
    /// Something the runtime has to provide.
    Undefined,
    /// A number.
    Absolute(u64),
    /// A place in [`Object::sections`], at most its end.
    Section { section: usize, offset: usize },
}

/// A patch of a section; `symbol` indexes [`Object::symbols`] and is never a [`Definition::None`].
pub(super) struct Relocation {
    pub(super) kind: Kind,
    pub(super) offset: u64,
    pub(super) symbol: usize,
    pub(super) addend: i64,
}

pub(super) fn invalid(place: impl Into<String>, problem: impl Into<String>) -> Error {
    Error::InvalidObject { place: place.into(), problem: problem.into() }
}

/// Names the place of a parser's error.
fn at<'p>(place: &'p str) -> impl Fn(object::Error) -> Error + 'p {
    move |problem| invalid(place, problem.to_string())
}

impl<'data> Object<'data> {
    pub(super) fn parse(data: &'data [u8]) -> Result<Object<'data>, Error> {
        let header = Header::parse(data).map_err(at("ELF header"))?;
        let endian = header.endian().map_err(at("ELF header"))?;
        let arch = check_header(header, endian)?;
        let table = header.sections(endian, data).map_err(at("section table"))?;

        // Index in `sections` of each section of the file.
        let mut loaded = vec![None; table.len()];
        let mut sections = Vec::new();
        for (index, header) in table.enumerate() {
            let name = table.section_name(endian, header).map_err(at("section name"))?;
            let name = std::str::from_utf8(name).map_err(|_| invalid("section name", "not UTF-8"))?;
            let flags = header.sh_flags(endian);
            // Unwind tables are for debuggers and exceptions; kernels do not unwind.
            if flags & u64::from(elf::SHF_ALLOC) == 0 || name == ".eh_frame" || header.sh_type(endian) == elf::SHT_NOTE
            {
                continue;
            }
            let place = || format!("section `{name}`");
            if flags & u64::from(elf::SHF_TLS) != 0 {
                return Err(invalid(place(), "thread-local data is not supported"));
            }
            let has = |flag: u32| flags & u64::from(flag) != 0;
            let access = match (has(elf::SHF_EXECINSTR), has(elf::SHF_WRITE)) {
                (true, true) => return Err(invalid(place(), "both writable and executable")),
                (true, false) => Access::Execute,
                (false, true) => Access::Write,
                (false, false) => Access::Read,
            };
            let number = |value: u64| usize::try_from(value).map_err(|_| invalid(place(), "size out of range"));
            let data = match header.sh_type(endian) {
                elf::SHT_NOBITS => None,
                _ => Some(header.data(endian, data).map_err(at(&place()))?),
            };
            loaded[index.0] = Some(sections.len());
            sections.push(Section {
                name,
                access,
                align: number(header.sh_addralign(endian))?.max(1),
                size: data.map_or_else(|| number(header.sh_size(endian)), |data| Ok(data.len()))?,
                data,
                relocations: Vec::new(),
            });
        }

        let table_of_symbols = table.symbols(endian, data, elf::SHT_SYMTAB).map_err(at("symbol table"))?;
        let symbols = read_symbols(endian, &table_of_symbols, &loaded, &sections)?;
        for (_, header) in table.enumerate() {
            let implicit = header.rel(endian, data).map_err(at("relocation table"))?;
            if implicit.is_some_and(|(entries, _)| !entries.is_empty()) {
                return Err(invalid("relocation table", "addends in place are not supported"));
            }
            let Some((entries, _)) = header.rela(endian, data).map_err(at("relocation table"))? else { continue };
            let patched = loaded.get(header.sh_info(endian) as usize).ok_or_else(|| {
                invalid("relocation table", format!("patches section {}, which does not exist", header.sh_info(endian)))
            })?;
            if let Some(section) = patched.map(|idx| &mut sections[idx]) {
                section.relocations = read_relocations(endian, arch, entries, section, &symbols)?;
            }
        }
        Ok(Object { arch, sections, symbols })
    }
}

/// Accepts relocatable objects for this machine.
fn check_header(header: &Header, endian: LittleEndian) -> Result<Arch, Error> {
    if header.e_type(endian) != elf::ET_REL {
        return Err(invalid(
            "ELF header",
            format!("file type {}, expected a relocatable object", header.e_type(endian)),
        ));
    }
    let (arch, name) = match header.e_machine(endian) {
        elf::EM_X86_64 => (Some(Arch::X86_64), Arch::X86_64.name().to_owned()),
        elf::EM_AARCH64 => (Some(Arch::Aarch64), Arch::Aarch64.name().to_owned()),
        machine => (None, format!("ELF machine {machine}")),
    };
    match arch {
        Some(arch) if Arch::HOST == Some(arch) => Ok(arch),
        _ => Err(Error::WrongArchitecture { found: name, expected: std::env::consts::ARCH }),
    }
}

fn read_symbols<'data>(
    endian: LittleEndian,
    table: &SymbolTable<'data, Header>,
    loaded: &[Option<usize>],
    sections: &[Section<'_>],
) -> Result<Vec<Symbol<'data>>, Error> {
    let mut symbols = vec![Symbol { name: "", is_global: false, definition: Definition::None }];
    // Entry 0 of the file's table is reserved and stays the empty symbol above.
    for (index, entry) in table.enumerate().skip_while(|(index, _)| index.0 == 0) {
        let place = format!("symbol {}", index.0);
        let name = table.symbol_name(endian, entry).map_err(at(&place))?;
        let name = std::str::from_utf8(name).map_err(|_| invalid(&*place, "name is not UTF-8"))?;
        let definition = match entry.st_shndx(endian) {
            elf::SHN_UNDEF => Definition::Undefined,
            elf::SHN_ABS if entry.st_type() == elf::STT_FILE => Definition::None,
            elf::SHN_ABS => Definition::Absolute(entry.st_value(endian)),
            elf::SHN_COMMON => return Err(invalid(format!("symbol `{name}`"), "common symbols are not supported")),
            _ => {
                let section = table.symbol_section(endian, entry, index).map_err(at(&place))?;
                define(endian, entry, section, loaded, sections)
                    .ok_or_else(|| invalid(format!("symbol `{name}`"), "outside its section"))?
            }
        };
        symbols.push(Symbol { name, is_global: entry.st_bind() != elf::STB_LOCAL, definition });
    }
    Ok(symbols)
}

/// The place of a symbol defined in `section`, or `None` if there is no such place.
fn define(
    endian: LittleEndian,
    entry: &elf::Sym64<LittleEndian>,
    section: Option<SectionIndex>,
    loaded: &[Option<usize>],
    sections: &[Section<'_>],
) -> Option<Definition> {
    let Some(section) = *loaded.get(section?.0)? else { return Some(Definition::None) };
    let offset = usize::try_from(entry.st_value(endian)).ok()?;
    (offset <= sections[section].size).then_some(Definition::Section { section, offset })
}

fn read_relocations(
    endian: LittleEndian,
    arch: Arch,
    entries: &[Rela64<LittleEndian>],
    section: &Section<'_>,
    symbols: &[Symbol<'_>],
) -> Result<Vec<Relocation>, Error> {
    let read = |entry: &Rela64<LittleEndian>| {
        let offset = entry.r_offset(endian);
        let place = || format!("relocation at {}+{offset:#x}", section.name);
        let r_type = entry.r_type(endian, false);
        let kind = Kind::of(arch, r_type)
            .ok_or_else(|| invalid(place(), format!("type {r_type} of {} is not supported", arch.name())))?;
        let SymbolIndex(symbol) = entry.symbol(endian, false).ok_or_else(|| invalid(place(), "has no symbol"))?;
        match symbols.get(symbol).map(|symbol| symbol.definition) {
            None => Err(invalid(place(), format!("symbol {symbol} does not exist"))),
            Some(Definition::None) => Err(invalid(place(), format!("symbol {symbol} is not loaded"))),
            Some(_) => Ok(Relocation { kind, offset, symbol, addend: entry.r_addend(endian) }),
        }
    };
    entries.iter().map(read).collect()
}
