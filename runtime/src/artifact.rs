//! The `.nnc` file: a compiled program on disk.
//!
//! A header of 24 bytes, then the program in bincode. All numbers are little-endian.
//!
//! | bytes | contents |
//! |---|---|
//! | 0..8 | signature: a byte no text has, `NNC`, and line ends of both kinds, which transfers in text mode damage |
//! | 8..12 | format version |
//! | 12..16 | CRC-32 of the program's bytes |
//! | 16..24 | number of the program's bytes |
//!
//! Equal programs give equal bytes. Reading trusts no length: each is compared with the bytes that are there before
//! memory is taken for it. It does trust the code, as anyone does who runs a program.

use std::fs;
use std::io::Write;
use std::path::Path;

use bincode::config;

use crate::error::Error;
use crate::program::Program;

/// The first bytes of every `.nnc` file.
pub const SIGNATURE: [u8; 8] = *b"\x89NNC\r\n\x1a\n";

/// Version of the format; changes with every change of [`Program`].
pub const VERSION: u32 = 5;

/// Bytes of the header.
const HEADER_BYTES: usize = 24;

/// Whether `bytes` starts like an artifact.
pub fn is_artifact(bytes: &[u8]) -> bool {
    bytes.starts_with(&SIGNATURE)
}

/// Encodes a program.
///
/// # Errors
/// [`Error::ArtifactEncode`], which no valid program gives.
pub fn encode(program: &Program) -> Result<Vec<u8>, Error> {
    let reason = |error: bincode::error::EncodeError| Error::ArtifactEncode { reason: error.to_string() };
    let mut bytes = vec![0; HEADER_BYTES];
    bincode::serde::encode_into_std_write(program, &mut bytes, config::standard()).map_err(reason)?;
    let (header, body) = bytes.split_at_mut(HEADER_BYTES);
    header[..8].copy_from_slice(&SIGNATURE);
    header[8..12].copy_from_slice(&VERSION.to_le_bytes());
    header[12..16].copy_from_slice(&crc32fast::hash(body).to_le_bytes());
    header[16..24].copy_from_slice(&(body.len() as u64).to_le_bytes());
    Ok(bytes)
}

/// Decodes a program. The program is not validated yet; loading it does that.
///
/// # Errors
/// The `Artifact` errors of [`Error`], by what is wrong with the bytes.
pub fn decode(bytes: &[u8]) -> Result<Program, Error> {
    if !bytes.starts_with(&SIGNATURE) {
        let found = match bytes {
            [] => "an empty file".to_owned(),
            _ => format!("`{}`", bytes[..bytes.len().min(8)].escape_ascii()),
        };
        return Err(Error::NotAnArtifact { found });
    }
    let Some((header, body)) = bytes.split_at_checked(HEADER_BYTES) else {
        return Err(Error::ArtifactLength { found: bytes.len() as u64, expected: HEADER_BYTES as u64 });
    };
    let word = |start: usize| u32::from_le_bytes(*header[start..].first_chunk().expect("within the header"));
    if word(8) != VERSION {
        return Err(Error::ArtifactVersion { found: word(8), expected: VERSION });
    }
    let len = u64::from_le_bytes(*header[16..].first_chunk().expect("within the header"));
    if len != body.len() as u64 {
        let expected = len.saturating_add(HEADER_BYTES as u64);
        return Err(Error::ArtifactLength { found: bytes.len() as u64, expected });
    }
    let (found, expected) = (crc32fast::hash(body), word(12));
    if found != expected {
        return Err(Error::ArtifactChecksum { found, expected });
    }
    // The limit bounds what a lying length can allocate. It is part of the decoder's type, so it comes in steps; and the
    // decoder counts a number as 8 bytes even where it is encoded in one.
    const MIB: usize = 1 << 20;
    match body.len().div_ceil(MIB) {
        0..=1 => decode_within::<{ 8 * MIB }>(body),
        2..=64 => decode_within::<{ 8 * 64 * MIB }>(body),
        65..=1024 => decode_within::<{ 8 * 1024 * MIB }>(body),
        _ => decode_within::<{ isize::MAX as usize }>(body),
    }
}

/// Decodes all of `body`.
fn decode_within<const LIMIT: usize>(body: &[u8]) -> Result<Program, Error> {
    let (program, used) = bincode::serde::borrow_decode_from_slice(body, config::standard().with_limit::<LIMIT>())
        .map_err(|error| Error::ArtifactDecode { reason: error.to_string() })?;
    if used != body.len() {
        let reason = format!("{} bytes left over", body.len() - used);
        return Err(Error::ArtifactDecode { reason });
    }
    Ok(program)
}

/// Writes a program to `path`. Whoever reads `path` meanwhile sees the old file or the new one, never a part.
///
/// # Errors
/// [`Error::Io`] with the path.
pub fn save(program: &Program, path: &Path) -> Result<(), Error> {
    let io = |source| Error::Io { path: path.to_owned(), source };
    let bytes = encode(program)?;
    let folder = match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    let mut builder = tempfile::Builder::new();
    #[cfg(unix)]
    {
        // What a plain create would give; temporary files are private by default.
        use std::os::unix::fs::PermissionsExt;
        builder.permissions(fs::Permissions::from_mode(0o666));
    }
    let mut file = builder.prefix(".nnc-").tempfile_in(folder).map_err(io)?;
    file.write_all(&bytes).and_then(|()| file.as_file().sync_all()).map_err(io)?;
    file.persist(path).map_err(|error| io(error.error))?;
    Ok(())
}

/// Reads a program from `path`.
///
/// # Errors
/// [`Error::Io`] with the path, and as [`decode`].
pub fn load(path: &Path) -> Result<Program, Error> {
    decode(&fs::read(path).map_err(|source| Error::Io { path: path.to_owned(), source })?)
}

#[cfg(test)]
mod tests;
