//! Relocations as arithmetic: what each type computes and which bits it patches.
//!
//! Nothing here knows about sections or memory, so both architectures are tested on every machine. `S` is the address
//! of the target, `A` the addend, `P` the address of the patched place, as in the ELF supplements of x86-64 and aarch64.

use object::elf;

/// Architectures that the loader relocates for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Arch {
    X86_64,
    Aarch64,
}

impl Arch {
    /// This machine's architecture, or `None` where the loader cannot load at all.
    pub(super) const HOST: Option<Arch> = if cfg!(target_arch = "x86_64") {
        Some(Arch::X86_64)
    } else if cfg!(target_arch = "aarch64") {
        Some(Arch::Aarch64)
    } else {
        None
    };

    pub(super) const fn name(self) -> &'static str {
        match self {
            Arch::X86_64 => "x86_64",
            Arch::Aarch64 => "aarch64",
        }
    }
}

/// What the address `S` of a relocation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// The symbol.
    Symbol,
    /// The symbol, or a stub that jumps to it where it is out of reach.
    Call,
    /// An 8-byte slot that holds the symbol's address.
    GotSlot,
}

/// How a value is computed and stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Field {
    /// `S + A` in 8 bytes.
    Abs64,
    /// `S + A` in 4 bytes, zero-extended.
    Abs32,
    /// `S + A` in 4 bytes, sign-extended.
    Abs32Signed,
    /// `S + A - P` in 8 bytes.
    Rel64,
    /// `S + A - P` in 4 bytes.
    Rel32,
    /// `S + A - P` in words, in the low 26 bits of an instruction.
    Branch26,
    /// `Page(S + A) - Page(P)` in pages, in the two immediate fields of `adrp`.
    Page21,
    /// The low 12 bits of `S + A` in units of `1 << scale`, in bits 10..22 of an instruction.
    Low12 { scale: u32 },
}

/// A relocation type that the loader knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Kind {
    pub(super) target: Target,
    field: Field,
}

/// Why a relocation cannot be applied.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// The value does not fit the field.
    OutOfRange { value: i128 },
    /// The value is not a multiple of the field's unit.
    Misaligned { value: u64 },
    /// The patched place does not lie in its section.
    OutOfBounds,
}

impl Kind {
    /// The relocation of ELF type `r_type`, or `None` if it is not known.
    pub(super) const fn of(arch: Arch, r_type: u32) -> Option<Kind> {
        use Field::*;
        use Target::*;
        let (target, field) = match arch {
            Arch::X86_64 => match r_type {
                elf::R_X86_64_64 => (Symbol, Abs64),
                elf::R_X86_64_32 => (Symbol, Abs32),
                elf::R_X86_64_32S => (Symbol, Abs32Signed),
                elf::R_X86_64_PC64 => (Symbol, Rel64),
                // Compilers emit PC32 for calls too, and a stub serves as the function's address.
                elf::R_X86_64_PC32 | elf::R_X86_64_PLT32 => (Call, Rel32),
                elf::R_X86_64_GOTPCREL | elf::R_X86_64_GOTPCRELX | elf::R_X86_64_REX_GOTPCRELX => (GotSlot, Rel32),
                _ => return None,
            },
            Arch::Aarch64 => match r_type {
                elf::R_AARCH64_ABS64 => (Symbol, Abs64),
                elf::R_AARCH64_PREL64 => (Symbol, Rel64),
                elf::R_AARCH64_PREL32 => (Symbol, Rel32),
                elf::R_AARCH64_CALL26 | elf::R_AARCH64_JUMP26 => (Call, Branch26),
                elf::R_AARCH64_ADR_PREL_PG_HI21 => (Symbol, Page21),
                elf::R_AARCH64_ADD_ABS_LO12_NC | elf::R_AARCH64_LDST8_ABS_LO12_NC => (Symbol, Low12 { scale: 0 }),
                elf::R_AARCH64_LDST16_ABS_LO12_NC => (Symbol, Low12 { scale: 1 }),
                elf::R_AARCH64_LDST32_ABS_LO12_NC => (Symbol, Low12 { scale: 2 }),
                elf::R_AARCH64_LDST64_ABS_LO12_NC => (Symbol, Low12 { scale: 3 }),
                elf::R_AARCH64_LDST128_ABS_LO12_NC => (Symbol, Low12 { scale: 4 }),
                elf::R_AARCH64_ADR_GOT_PAGE => (GotSlot, Page21),
                elf::R_AARCH64_LD64_GOT_LO12_NC => (GotSlot, Low12 { scale: 3 }),
                _ => return None,
            },
        };
        Some(Kind { target, field })
    }

    /// Patches `section[offset..]`, which lies at address `p`.
    pub(super) fn apply(self, section: &mut [u8], offset: u64, p: u64, s: u64, a: i64) -> Result<(), Fault> {
        let place = usize::try_from(offset).ok().and_then(|offset| section.get_mut(offset..));
        let place = place.ok_or(Fault::OutOfBounds)?;
        let absolute = s.wrapping_add_signed(a);
        // The true difference, so that overflow shows.
        let relative = |to: u64, from: u64| i128::from(to) - i128::from(from);
        match self.field {
            Field::Abs64 => store(place, absolute.to_le_bytes()),
            Field::Abs32 => store(place, fit::<u32>(i128::from(absolute))?.to_le_bytes()),
            Field::Abs32Signed => store(place, fit::<i32>(i128::from(absolute as i64))?.to_le_bytes()),
            Field::Rel64 => store(place, fit::<i64>(relative(absolute, p))?.to_le_bytes()),
            Field::Rel32 => store(place, fit::<i32>(relative(absolute, p))?.to_le_bytes()),
            Field::Branch26 => {
                let words = in_units(relative(absolute, p), 2, 26)?;
                patch(place, words & 0x03ff_ffff, 0x03ff_ffff)
            }
            Field::Page21 => {
                let pages = in_units(relative(absolute & !0xfff, p & !0xfff), 12, 21)?;
                patch(place, (pages & 3) << 29 | (pages >> 2 & 0x7ffff) << 5, 0x60ff_ffe0)
            }
            Field::Low12 { scale } => {
                let low = (absolute & 0xfff) as u32;
                if low & ((1 << scale) - 1) != 0 {
                    return Err(Fault::Misaligned { value: absolute });
                }
                patch(place, low >> scale << 10, 0x003f_fc00)
            }
        }
    }
}

/// `value` in units of `1 << shift` as a two's complement number of `bits` bits.
fn in_units(value: i128, shift: u32, bits: u32) -> Result<u32, Fault> {
    if value & ((1 << shift) - 1) != 0 {
        return Err(Fault::Misaligned { value: value as u64 });
    }
    let units = value >> shift;
    let limit = 1 << (bits - 1);
    if (-limit..limit).contains(&units) { Ok(units as u32) } else { Err(Fault::OutOfRange { value }) }
}

fn fit<T: TryFrom<i128>>(value: i128) -> Result<T, Fault> {
    T::try_from(value).map_err(|_| Fault::OutOfRange { value })
}

fn store<const N: usize>(place: &mut [u8], bytes: [u8; N]) -> Result<(), Fault> {
    place.first_chunk_mut().map(|place| *place = bytes).ok_or(Fault::OutOfBounds)
}

/// Replaces the bits in `mask` of an instruction.
fn patch(place: &mut [u8], bits: u32, mask: u32) -> Result<(), Fault> {
    let instruction = u32::from_le_bytes(*place.first_chunk().ok_or(Fault::OutOfBounds)?);
    store(place, (instruction & !mask | bits).to_le_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Applies one relocation to `before` at address `p` and compares the bytes with `expect`.
    #[track_caller]
    fn check(arch: Arch, r_type: u32, before: &[u8], p: u64, s: u64, a: i64, expect: Result<&[u8], Fault>) {
        let mut bytes = before.to_vec();
        let result = Kind::of(arch, r_type).expect("a known type").apply(&mut bytes, 0, p, s, a);
        assert_eq!(result.map(|()| bytes.as_slice()), expect);
    }

    #[test]
    fn x86_64() {
        let check = |r_type, p, s, a, expect| check(Arch::X86_64, r_type, &[0; 8], p, s, a, expect);
        check(elf::R_X86_64_64, 0, 0x1122_3344_5566_7788, 1, Ok(&[0x89, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11]));
        check(elf::R_X86_64_PC32, 0x1000, 0x1010, -4, Ok(&[12, 0, 0, 0, 0, 0, 0, 0]));
        check(elf::R_X86_64_PLT32, 0x1010, 0x1000, -4, Ok(&[0xec, 0xff, 0xff, 0xff, 0, 0, 0, 0]));
        check(elf::R_X86_64_REX_GOTPCRELX, 0x1000, 0x2000, -4, Ok(&[0xfc, 0x0f, 0, 0, 0, 0, 0, 0]));
        check(elf::R_X86_64_32S, 0, u64::MAX, 0, Ok(&[0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0]));
        check(elf::R_X86_64_32, 0, u64::MAX, 0, Err(Fault::OutOfRange { value: u64::MAX.into() }));
        check(elf::R_X86_64_PC32, 0, 0x8000_0000, 0, Err(Fault::OutOfRange { value: 0x8000_0000 }));
        check(elf::R_X86_64_PC32, 0, 0x7fff_ffff, 0, Ok(&[0xff, 0xff, 0xff, 0x7f, 0, 0, 0, 0]));
    }

    #[test]
    fn aarch64() {
        let check = |r_type, instruction: u32, p, s, a, expect: Result<u32, Fault>| {
            let expect = expect.map(u32::to_le_bytes);
            check(
                Arch::Aarch64,
                r_type,
                &instruction.to_le_bytes(),
                p,
                s,
                a,
                expect.as_ref().map(<[u8; 4]>::as_slice).map_err(|fault| match fault {
                    Fault::OutOfRange { value } => Fault::OutOfRange { value: *value },
                    Fault::Misaligned { value } => Fault::Misaligned { value: *value },
                    Fault::OutOfBounds => Fault::OutOfBounds,
                }),
            );
        };
        // bl: forward, backward, too far, and to an odd address.
        check(elf::R_AARCH64_CALL26, 0x9400_0000, 0x1000, 0x1010, 0, Ok(0x9400_0004));
        check(elf::R_AARCH64_CALL26, 0x9400_0000, 0x1010, 0x1000, 0, Ok(0x97ff_fffc));
        check(elf::R_AARCH64_JUMP26, 0x1400_0000, 0, 0x800_0000, 0, Err(Fault::OutOfRange { value: 0x800_0000 }));
        check(elf::R_AARCH64_JUMP26, 0x1400_0000, 0, 2, 0, Err(Fault::Misaligned { value: 2 }));
        // adrp x0: pages 0x12345 apart, then one page back; bits kept apart in immlo and immhi.
        check(elf::R_AARCH64_ADR_PREL_PG_HI21, 0x9000_0000, 0x1fff, 0x1234_6000, 0, Ok(0xb009_1a20));
        check(elf::R_AARCH64_ADR_PREL_PG_HI21, 0x9000_0000, 0x2000, 0x1fff, 0, Ok(0xf0ff_ffe0));
        // add x0, x0, #lo12 and ldr of several widths.
        check(elf::R_AARCH64_ADD_ABS_LO12_NC, 0x9100_0000, 0, 0x1_2abc, 0, Ok(0x912a_f000));
        check(elf::R_AARCH64_LDST8_ABS_LO12_NC, 0x3940_0000, 0, 0x1_2abc, 1, Ok(0x396a_f400));
        check(elf::R_AARCH64_LDST64_ABS_LO12_NC, 0xf940_0000, 0, 0x1_2ab8, 0, Ok(0xf945_5c00));
        check(elf::R_AARCH64_LDST128_ABS_LO12_NC, 0x3dc0_0000, 0, 0x1_2ab0, 0, Ok(0x3dc2_ac00));
        check(elf::R_AARCH64_LDST128_ABS_LO12_NC, 0x3dc0_0000, 0, 0x8, 0, Err(Fault::Misaligned { value: 8 }));
        check(elf::R_AARCH64_LD64_GOT_LO12_NC, 0xf940_0000, 0, 0x1_2008, 0, Ok(0xf940_0400));
    }

    #[test]
    fn places_outside_their_section_are_refused() {
        let kind = Kind::of(Arch::X86_64, elf::R_X86_64_64).expect("known");
        for offset in [1, 8, 9, u64::MAX] {
            assert_eq!(kind.apply(&mut [0; 8], offset, 0, 0, 0), Err(Fault::OutOfBounds), "{offset}");
        }
        let kind = Kind::of(Arch::Aarch64, elf::R_AARCH64_CALL26).expect("known");
        assert_eq!(kind.apply(&mut [0; 6], 4, 0, 0, 0), Err(Fault::OutOfBounds));
    }

    #[test]
    fn unknown_types_are_unknown() {
        assert_eq!(Kind::of(Arch::X86_64, elf::R_X86_64_TPOFF32), None);
        assert_eq!(Kind::of(Arch::Aarch64, elf::R_AARCH64_TLSDESC_CALL), None);
    }
}
