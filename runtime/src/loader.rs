//! Loads relocatable ELF objects into memory: the link between an emitter's bytes and callable kernels.
//!
//! Every CPU tier emits an object file, so that the same bytes serve just-in-time execution, ahead-of-time artifacts
//! and caches. Loading is: read and check the object (`parse`), lay its sections out in one mapping, resolve symbols
//! (the object's own, then [`crate::externs`]), apply relocations (`reloc`), and drop write access from code and
//! constants (`memory`). Dropping a [`LoadedObject`] unmaps everything.
//!
//! Malformed objects are errors: all sizes, offsets and indices are checked against the bytes given, so loading reads
//! and writes nothing outside. What the code does when it is called is its emitter's responsibility.

mod memory;
mod parse;
mod reloc;

use std::collections::HashMap;

use self::memory::{Access, Mapping, page_size};
use self::parse::{Definition, Object, Relocation, Symbol, invalid};
use self::reloc::{Arch, Fault, Target};
use crate::error::Error;
use crate::externs;

/// The largest image, so that every relative address within one fits 32 bits.
const MAX_IMAGE: usize = 1 << 30;

/// Bytes of a stub: a jump and the address it goes to.
const STUB_BYTES: usize = 16;
/// Bytes of a slot of the global offset table.
const SLOT_BYTES: usize = 8;

/// An object in executable memory.
#[derive(Debug)]
pub struct LoadedObject {
    mapping: Mapping,
    /// Global functions of the object, by name.
    functions: HashMap<String, usize>,
}

impl LoadedObject {
    /// Loads `elf`, a relocatable ELF object for this machine. Undefined symbols are bound to [`externs`].
    ///
    /// # Errors
    /// [`Error::InvalidObject`] for malformed or unsupported contents, [`Error::WrongArchitecture`],
    /// [`Error::UnresolvedSymbol`], and [`Error::MapCode`] where the system gives no memory.
    pub fn load(elf: &[u8]) -> Result<LoadedObject, Error> {
        let object = Object::parse(elf)?;
        let plan = Plan::of(&object)?;
        let mut mapping = Mapping::new(plan.len)?;
        let base = mapping.address();
        let image = mapping.bytes_mut();
        for (section, &offset) in object.sections.iter().zip(&plan.sections) {
            if let Some(data) = section.data {
                image[offset..offset + data.len()].copy_from_slice(data);
            }
        }
        let addresses = resolve(&object.symbols, |section| plan.sections[section] + base)?;
        for (&symbol, &offset) in &plan.slots {
            image[offset..offset + SLOT_BYTES].copy_from_slice(&addresses[symbol].to_le_bytes());
        }
        for (&symbol, &offset) in &plan.stubs {
            image[offset..offset + STUB_BYTES].copy_from_slice(&stub(object.arch, addresses[symbol]));
        }
        for (section_idx, section) in object.sections.iter().enumerate() {
            let start = plan.sections[section_idx];
            let bytes = &mut image[start..start + section.size];
            for relocation in &section.relocations {
                let address = (base + start) as u64;
                relocate(bytes, address, relocation, &plan, base as u64, &addresses).map_err(|fault| {
                    let symbol = object.symbols[relocation.symbol].name;
                    let place = format!("relocation at {}+{:#x} to `{symbol}`", section.name, relocation.offset);
                    invalid(place, fault_text(&fault))
                })?;
            }
        }
        for (access, start, end) in plan.regions {
            mapping.protect(start, end, access)?;
        }
        let mut functions = HashMap::new();
        for (symbol, &address) in object.symbols.iter().zip(&addresses) {
            let Definition::Section { section, .. } = symbol.definition else { continue };
            if symbol.is_global
                && object.sections[section].access == Access::Execute
                && functions.insert(symbol.name.to_owned(), address as usize).is_some()
            {
                return Err(invalid(format!("symbol `{}`", symbol.name), "defined twice"));
            }
        }
        Ok(LoadedObject { mapping, functions })
    }

    /// Address of the global function `name`, valid while this object lives.
    pub fn function(&self, name: &str) -> Option<usize> {
        self.functions.get(name).copied()
    }

    /// Address of the first byte of the image, for profilers.
    pub fn base(&self) -> usize {
        self.mapping.address()
    }
}

/// Where everything goes in the image.
struct Plan {
    /// Bytes of the image, whole pages.
    len: usize,
    /// Offset of each section.
    sections: Vec<usize>,
    /// Offset of the table slot of each symbol that needs one.
    slots: HashMap<usize, usize>,
    /// Offset of the stub of each undefined symbol that is called.
    stubs: HashMap<usize, usize>,
    /// Pages of each kind of access.
    regions: [(Access, usize, usize); 3],
}

impl Plan {
    fn of(object: &Object<'_>) -> Result<Plan, Error> {
        let page = page_size();
        let mut cursor = Cursor { end: 0, page };
        let mut plan = Plan {
            len: 0,
            sections: vec![0; object.sections.len()],
            slots: HashMap::new(),
            stubs: HashMap::new(),
            regions: [(Access::Execute, 0, 0), (Access::Read, 0, 0), (Access::Write, 0, 0)],
        };
        for region in 0..plan.regions.len() {
            let access = plan.regions[region].0;
            let start = cursor.advance(0, page, ".")?;
            for (section_idx, section) in object.sections.iter().enumerate() {
                if section.access == access {
                    plan.sections[section_idx] = cursor.advance(section.size, section.align, section.name)?;
                }
            }
            // Stubs are code; the table is constant.
            let relocations = object.sections.iter().flat_map(|section| &section.relocations);
            for Relocation { kind, symbol, .. } in relocations {
                let undefined = matches!(object.symbols[*symbol].definition, Definition::Undefined);
                let (table, bytes) = match (access, kind.target) {
                    (Access::Execute, Target::Call) if undefined => (&mut plan.stubs, STUB_BYTES),
                    (Access::Read, Target::GotSlot) => (&mut plan.slots, SLOT_BYTES),
                    _ => continue,
                };
                if !table.contains_key(symbol) {
                    table.insert(*symbol, cursor.advance(bytes, bytes, "generated table")?);
                }
            }
            let end = cursor.advance(0, page, ".")?;
            plan.regions[region] = (access, start, end);
        }
        // An object without contents still gets a mapping to own.
        plan.len = cursor.end.max(page);
        Ok(plan)
    }
}

/// Hands out offsets in ascending order.
struct Cursor {
    end: usize,
    page: usize,
}

impl Cursor {
    fn advance(&mut self, bytes: usize, align: usize, name: &str) -> Result<usize, Error> {
        if !align.is_power_of_two() || align > self.page {
            return Err(invalid(
                format!("section `{name}`"),
                format!("alignment {align} is not a power of two up to a page"),
            ));
        }
        let start = self.end.next_multiple_of(align);
        self.end = bytes.checked_add(start).filter(|&end| end <= MAX_IMAGE).ok_or_else(|| {
            invalid(format!("section `{name}`"), format!("{bytes} bytes make the image larger than {MAX_IMAGE}"))
        })?;
        Ok(start)
    }
}

/// Addresses of all symbols; `section_address` gives those of sections.
fn resolve(symbols: &[Symbol<'_>], section_address: impl Fn(usize) -> usize) -> Result<Vec<u64>, Error> {
    let address = |symbol: &Symbol<'_>| match symbol.definition {
        // Not a target: relocations to it were refused.
        Definition::None => Ok(0),
        Definition::Absolute(value) => Ok(value),
        Definition::Section { section, offset } => Ok((section_address(section) + offset) as u64),
        Definition::Undefined => externs::address(symbol.name)
            .map(|address| address as u64)
            .ok_or_else(|| Error::UnresolvedSymbol { symbol: symbol.name.to_owned() }),
    };
    symbols.iter().map(address).collect()
}

/// Applies one relocation to `bytes`, the section at `address`.
fn relocate(
    bytes: &mut [u8],
    address: u64,
    relocation: &Relocation,
    plan: &Plan,
    base: u64,
    addresses: &[u64],
) -> Result<(), Fault> {
    let &Relocation { kind, offset, symbol, addend } = relocation;
    let place = address.wrapping_add(offset);
    let mut apply = |target| kind.apply(bytes, offset, place, target, addend);
    match kind.target {
        Target::Symbol => apply(addresses[symbol]),
        Target::GotSlot => apply(base + plan.slots[&symbol] as u64),
        Target::Call => match (apply(addresses[symbol]), plan.stubs.get(&symbol)) {
            (Err(Fault::OutOfRange { .. }), Some(&stub)) => apply(base + stub as u64),
            (result, _) => result,
        },
    }
}

/// Code that jumps to `address`, wherever it is.
fn stub(arch: Arch, address: u64) -> [u8; STUB_BYTES] {
    let mut code = [0; STUB_BYTES];
    let jump: [u8; 8] = match arch {
        // jmp qword ptr [rip + 2]; two bytes of padding
        Arch::X86_64 => [0xff, 0x25, 2, 0, 0, 0, 0xcc, 0xcc],
        // ldr x16, #8; br x16
        Arch::Aarch64 => [0x50, 0, 0, 0x58, 0, 2, 0x1f, 0xd6],
    };
    code[..8].copy_from_slice(&jump);
    code[8..].copy_from_slice(&address.to_le_bytes());
    code
}

fn fault_text(fault: &Fault) -> String {
    match fault {
        Fault::OutOfRange { value } => format!("value {value:#x} is out of range"),
        Fault::Misaligned { value } => format!("value {value:#x} is misaligned"),
        Fault::OutOfBounds => "outside the section".to_owned(),
    }
}

#[cfg(test)]
mod tests;
