//! The functions that compiled code may call: the only symbols an object can leave undefined.

use crate::microkernel::Kernels;

unsafe extern "C" {
    // The C library's, which the standard library links already.
    fn fmaf(x: f32, y: f32, z: f32) -> f32;
    fn fma(x: f64, y: f64, z: f64) -> f64;
    fn fmodf(x: f32, y: f32) -> f32;
    fn fmod(x: f64, y: f64) -> f64;
}

/// Names of all functions that [`address`] knows.
pub const NAMES: [&str; 10] = [
    "nnc_tile_matmul_f32",
    "nnc_transpose_f32",
    "memcpy",
    "memmove",
    "memset",
    "memcmp",
    "fmaf",
    "fma",
    "fmodf",
    "fmod",
];

/// Address of the runtime function called `name`, or `None` if there is no such function.
///
/// Micro-kernels resolve to the implementation for this machine, so that calls from compiled code go there directly.
pub fn address(name: &str) -> Option<usize> {
    let kernels = Kernels::best();
    Some(match name {
        "nnc_tile_matmul_f32" => kernels.tile_matmul_f32 as usize,
        "nnc_transpose_f32" => kernels.transpose_f32 as usize,
        "memcpy" => libc::memcpy as *const () as usize,
        "memmove" => libc::memmove as *const () as usize,
        "memset" => libc::memset as *const () as usize,
        "memcmp" => libc::memcmp as *const () as usize,
        "fmaf" => fmaf as *const () as usize,
        "fma" => fma as *const () as usize,
        "fmodf" => fmodf as *const () as usize,
        "fmod" => fmod as *const () as usize,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_has_an_address() {
        assert!(NAMES.iter().all(|name| address(name).is_some()));
        assert_eq!(address("malloc"), None, "compiled code does not allocate");
    }
}
