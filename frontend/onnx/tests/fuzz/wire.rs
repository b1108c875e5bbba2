//! Protobuf messages as trees of fields, without knowing what they mean: whatever can be a message is taken for one.
//!
//! A tree that was changed is a well-formed file again, all lengths included, which a change of bytes hardly ever gives.

/// A field of a message.
#[derive(Clone, Debug)]
pub(crate) struct Field {
    pub(crate) number: u64,
    pub(crate) value: Value,
}

/// What a field holds.
#[derive(Clone, Debug)]
pub(crate) enum Value {
    /// An integer.
    Varint(u64),
    /// Eight bytes.
    Fixed64([u8; 8]),
    /// Four bytes.
    Fixed32([u8; 4]),
    /// Bytes, or text.
    Bytes(Vec<u8>),
    /// A message.
    Message(Vec<Field>),
}

/// Nested deeper than this, bytes stay bytes.
const MAX_DEPTH: usize = 40;

/// The fields of a message, or `None` if the bytes are no message.
pub(crate) fn parse(bytes: &[u8]) -> Option<Vec<Field>> {
    parse_at(bytes, 0)
}

fn parse_at(mut bytes: &[u8], depth: usize) -> Option<Vec<Field>> {
    let mut fields = Vec::new();
    while !bytes.is_empty() {
        let key = varint(&mut bytes)?;
        let number = key >> 3;
        if number == 0 || number > 60 {
            return None;
        }
        let value = match key & 7 {
            0 => Value::Varint(varint(&mut bytes)?),
            1 => Value::Fixed64(take(&mut bytes, 8)?.try_into().ok()?),
            2 => {
                let len = usize::try_from(varint(&mut bytes)?).ok()?;
                let inner = take(&mut bytes, len)?;
                match parse_at(inner, depth + 1) {
                    Some(fields) if depth < MAX_DEPTH && !fields.is_empty() => Value::Message(fields),
                    _ => Value::Bytes(inner.to_vec()),
                }
            }
            5 => Value::Fixed32(take(&mut bytes, 4)?.try_into().ok()?),
            _ => return None,
        };
        fields.push(Field { number, value });
    }
    Some(fields)
}

fn take<'a>(bytes: &mut &'a [u8], n: usize) -> Option<&'a [u8]> {
    let (taken, rest) = bytes.split_at_checked(n)?;
    *bytes = rest;
    Some(taken)
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let byte = take(bytes, 1)?[0];
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

/// The bytes of a message.
pub(crate) fn write(fields: &[Field]) -> Vec<u8> {
    let mut out = Vec::new();
    for Field { number, value } in fields {
        let key = |kind: u64, out: &mut Vec<u8>| write_varint(number << 3 | kind, out);
        match value {
            Value::Varint(value) => {
                key(0, &mut out);
                write_varint(*value, &mut out);
            }
            Value::Fixed64(bytes) => {
                key(1, &mut out);
                out.extend(bytes);
            }
            Value::Fixed32(bytes) => {
                key(5, &mut out);
                out.extend(bytes);
            }
            Value::Bytes(bytes) => {
                key(2, &mut out);
                write_varint(bytes.len() as u64, &mut out);
                out.extend(bytes);
            }
            Value::Message(fields) => {
                key(2, &mut out);
                let bytes = write(fields);
                write_varint(bytes.len() as u64, &mut out);
                out.extend(bytes);
            }
        }
    }
    out
}

fn write_varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}
