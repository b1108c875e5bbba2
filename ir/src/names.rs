//! Which names stand bare in the text format, and how the others are quoted.
//!
//! Names come from anywhere (Rust paths, ONNX files, Python `state_dict`s), so any string is a name. A name after a
//! sigil (`%linear.weight`, `@forward`) stands bare if it holds only [name characters](is_name_char); other names are
//! quoted with the escapes of Rust strings.

use std::fmt;

use crate::parse::lexer;

/// Letters, digits, `_`, `.`, `-` and `'`.
pub(crate) fn is_name_char(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '_' | '.' | '-' | '\'')
}

/// Characters of a word inside square brackets, where `-` and `.` have other meanings.
pub(crate) fn is_symbol_char(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Whether `name` stands bare after a sigil. A trailing `-` would run into an arrow.
pub(crate) fn is_bare(name: &str) -> bool {
    !name.is_empty() && name.chars().all(is_name_char) && !name.ends_with('-')
}

/// Writes `sigil` and `name`.
pub(crate) fn write_sigil(f: &mut impl fmt::Write, sigil: char, name: &str) -> fmt::Result {
    f.write_char(sigil)?;
    if is_bare(name) { f.write_str(name) } else { write_quoted(f, name) }
}

/// Writes the name of a parameter. A bare number would be the name of another value.
pub(crate) fn write_param(f: &mut impl fmt::Write, name: &str) -> fmt::Result {
    if is_bare(name) && !name.bytes().all(|byte| byte.is_ascii_digit()) {
        return write_sigil(f, '%', name);
    }
    f.write_char('%')?;
    write_quoted(f, name)
}

/// Writes a name that has no sigil: that of a function's result.
pub(crate) fn write_word(f: &mut impl fmt::Write, name: &str) -> fmt::Result {
    if lexer::is_word(name) { f.write_str(name) } else { write_quoted(f, name) }
}

/// Writes the symbol of a dimension.
pub(crate) fn write_symbol(f: &mut impl fmt::Write, name: &str) -> fmt::Result {
    let bare = name.starts_with(|c: char| c.is_alphabetic() || c == '_') && name.chars().all(is_symbol_char);
    if bare { f.write_str(name) } else { write_quoted(f, name) }
}

fn write_quoted(f: &mut impl fmt::Write, name: &str) -> fmt::Result {
    f.write_char('"')?;
    for c in name.chars() {
        match c {
            '"' => f.write_str("\\\"")?,
            '\\' => f.write_str("\\\\")?,
            '\n' => f.write_str("\\n")?,
            '\t' => f.write_str("\\t")?,
            c if c.is_control() => write!(f, "\\u{{{:x}}}", u32::from(c))?,
            c => f.write_char(c)?,
        }
    }
    f.write_char('"')
}
