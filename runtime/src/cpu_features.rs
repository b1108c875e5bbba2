//! Whether this machine can run an object: its architecture and the CPU features it was compiled for.

use crate::error::Error;

/// Checks a target triple and a list of features, named as LLVM and Rust name them.
///
/// # Errors
/// [`Error::WrongArchitecture`] or [`Error::MissingCpuFeature`].
pub(crate) fn check(triple: &str, features: &[String]) -> Result<(), Error> {
    let arch = triple.split('-').next().unwrap_or_default();
    let arch = if arch == "arm64" { "aarch64" } else { arch };
    if arch != std::env::consts::ARCH {
        return Err(Error::WrongArchitecture { found: triple.to_owned(), expected: std::env::consts::ARCH });
    }
    match features.iter().find(|feature| !has(feature)) {
        None => Ok(()),
        Some(feature) => Err(Error::MissingCpuFeature { feature: feature.clone() }),
    }
}

/// Expands to a `match` from a name to its run-time check; the standard macros take literals only. Unknown features are
/// absent: code that needs one would not be safe to run.
macro_rules! detect {
    ($detected:ident, $name:expr, [$($feature:tt)*]) => {
        match $name {
            $($feature => std::arch::$detected!($feature),)*
            _ => false,
        }
    };
}

#[cfg(target_arch = "x86_64")]
pub(crate) fn has(feature: &str) -> bool {
    // Part of every x86-64.
    if matches!(feature, "cmov" | "cx8" | "fxsr" | "mmx" | "x87" | "64bit") {
        return true;
    }
    detect!(is_x86_feature_detected, feature, [
        "adx" "aes" "avx" "avx2" "avx512bf16" "avx512bitalg" "avx512bw" "avx512cd" "avx512dq" "avx512f" "avx512fp16"
        "avx512ifma" "avx512vbmi" "avx512vbmi2" "avx512vl" "avx512vnni" "avx512vp2intersect" "avx512vpopcntdq"
        "avxvnni" "bmi1" "bmi2" "cmpxchg16b" "f16c" "fma" "gfni" "lzcnt" "movbe" "pclmulqdq" "popcnt" "rdrand" "rdseed"
        "sha" "sse" "sse2" "sse3" "sse4.1" "sse4.2" "ssse3" "vaes" "vpclmulqdq" "xsave" "xsavec" "xsaveopt" "xsaves"
    ])
}

#[cfg(target_arch = "aarch64")]
pub(crate) fn has(feature: &str) -> bool {
    detect!(is_aarch64_feature_detected, feature, [
        "aes" "asimd" "bf16" "crc" "dotprod" "fp16" "fhm" "i8mm" "lse" "neon" "rcpc" "rdm" "sha2" "sha3" "sve" "sve2"
    ])
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
pub(crate) fn has(_feature: &str) -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_runs_code_for_itself_only() {
        let host = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
        check(&host, &[]).expect("the host's own architecture");
        assert!(matches!(check("riscv64gc-unknown-linux-gnu", &[]), Err(Error::WrongArchitecture { .. })));
        assert!(matches!(check("", &[]), Err(Error::WrongArchitecture { .. })));
        let message = check(&host, &["warp-drive".to_owned()]).expect_err("no such feature").to_string();
        assert_eq!(message, "code needs CPU feature `warp-drive`, which this machine does not have");
    }

    #[test]
    #[cfg(target_arch = "x86_64")]
    fn features_are_detected() {
        assert!(has("sse2") && has("fxsr"));
        assert_eq!(has("avx512f"), is_x86_feature_detected!("avx512f"));
    }
}
