//! Changes of files: of fields, of whole messages, across files, and of bytes.

use crate::random::Random;
use crate::wire::{Field, Value, parse, write};

/// Integers at which something often goes wrong.
const NUMBERS: &[i64] = &[
    0,
    1,
    2,
    3,
    4,
    7,
    8,
    9,
    10,
    16,
    64,
    127,
    128,
    255,
    1000,
    65_536,
    1 << 20,
    1 << 31,
    1 << 32,
    1 << 40,
    1 << 62,
    i64::MAX,
    i64::MAX - 1,
    i64::MIN,
    -1,
    -2,
    -3,
    -100,
    -(1 << 31),
];

/// A file made of `base`, and sometimes of parts of `other`, by a few changes.
pub(crate) fn mutate(base: &[u8], other: &[u8], random: &mut Random) -> Vec<u8> {
    let Some(mut fields) = parse(base) else { return change_bytes(base.to_vec(), random) };
    let donor = parse(other).unwrap_or_default();
    for _ in 0..1 + random.below(4) {
        change(&mut fields, &donor, random);
    }
    let bytes = write(&fields);
    // Mostly well-formed files: whatever reads the others is small and soon done with them.
    if random.below(12) == 0 { change_bytes(bytes, random) } else { bytes }
}

/// One change at a random place of the tree.
fn change(fields: &mut Vec<Field>, donor: &[Field], random: &mut Random) {
    let n = count(fields);
    if n == 0 {
        return;
    }
    let target = random.below(n);
    let mut pool = Vec::new();
    collect(donor, &mut pool);
    collect(fields, &mut pool);
    let pool: Vec<Field> =
        (0..8).filter_map(|_| pool.get(random.below(pool.len().max(1))).map(|&field| field.clone())).collect();
    visit(fields, &mut { target }, &mut |siblings, at| change_field(siblings, at, &pool, random));
}

/// Number of fields in the tree.
fn count(fields: &[Field]) -> usize {
    let inner = |field: &Field| match &field.value {
        Value::Message(fields) => count(fields),
        _ => 0,
    };
    fields.iter().map(|field| 1 + inner(field)).sum()
}

fn collect<'a>(fields: &'a [Field], pool: &mut Vec<&'a Field>) {
    for field in fields {
        pool.push(field);
        if let Value::Message(fields) = &field.value {
            collect(fields, pool);
        }
    }
}

/// Calls `act` for field number `target` of the tree, in order, with the fields around it.
fn visit(fields: &mut Vec<Field>, target: &mut usize, act: &mut dyn FnMut(&mut Vec<Field>, usize)) -> bool {
    for at in 0..fields.len() {
        if *target == 0 {
            act(fields, at);
            return true;
        }
        *target -= 1;
        if let Value::Message(inner) = &mut fields[at].value
            && visit(inner, target, act)
        {
            return true;
        }
    }
    false
}

fn change_field(siblings: &mut Vec<Field>, at: usize, pool: &[Field], random: &mut Random) {
    match random.below(12) {
        0 => drop(siblings.remove(at)),
        1 => siblings.insert(at, siblings[at].clone()),
        2 => {
            let to = random.below(siblings.len());
            siblings.swap(at, to);
        }
        // The same field of another message, as an operator, a name or a type elsewhere.
        3..=5 => {
            let number = siblings[at].number;
            if let Some(field) = pool.iter().find(|field| field.number == number) {
                siblings[at] = field.clone();
            } else if let Some(field) = pool.first() {
                siblings[at].value = field.value.clone();
            }
        }
        6 => {
            if let Some(field) = pool.first() {
                siblings.insert(at, field.clone());
            }
        }
        _ => change_value(&mut siblings[at].value, random),
    }
}

fn change_value(value: &mut Value, random: &mut Random) {
    match value {
        Value::Varint(number) => {
            *number = match random.below(4) {
                0 => number.wrapping_add(random.below(9) as u64).wrapping_sub(4),
                1 => random.next() >> random.below(64),
                _ => NUMBERS[random.below(NUMBERS.len())] as u64,
            };
        }
        Value::Fixed32(bytes) => {
            let floats = [0.0, -0.0, 1.0, -1.0, 1e30, -1e30, f32::NAN, f32::INFINITY, f32::MIN_POSITIVE];
            *bytes = floats[random.below(floats.len())].to_le_bytes();
        }
        Value::Fixed64(bytes) => *bytes = random.next().to_le_bytes(),
        Value::Bytes(bytes) => *bytes = change_bytes(std::mem::take(bytes), random),
        Value::Message(fields) => {
            if random.below(3) == 0 {
                fields.clear();
            } else if !fields.is_empty() {
                let at = random.below(fields.len());
                change_field(fields, at, &[], random);
            }
        }
    }
}

fn change_bytes(mut bytes: Vec<u8>, random: &mut Random) -> Vec<u8> {
    for _ in 0..1 + random.below(3) {
        let len = bytes.len();
        if len == 0 {
            return (0..random.below(9)).map(|_| random.next() as u8).collect();
        }
        let at = random.below(len);
        match random.below(6) {
            0 => bytes.truncate(at),
            1 => bytes[at] ^= 1 << random.below(8),
            2 => bytes[at] = random.next() as u8,
            3 => bytes.insert(at, random.next() as u8),
            4 => drop(bytes.remove(at)),
            // Eight bytes that are an integer of a shape, as often as not.
            _ => {
                let number = NUMBERS[random.below(NUMBERS.len())].to_le_bytes();
                let at = at / 8 * 8;
                let n = (len - at).min(8);
                bytes[at..at + n].copy_from_slice(&number[..n]);
            }
        }
    }
    bytes
}
