//! Checks that PTX computes what the kernels say, bit for bit: no instruction that rounds otherwise than to nearest
//! even, none that approximates or flushes, and none that the driver's assembler may contract.
//!
//! In PTX, `add.f32`, `sub.f32` and `mul.f32` without a rounding mode may be fused with their neighbors; with `.rn` they
//! may not. LLVM writes `.rn` as long as nobody allows it to contract. That is one flag away from being untrue, so what
//! it wrote is read.

/// Arithmetic that must round to nearest even, and say so.
const ROUNDED: [&str; 7] = ["add", "sub", "mul", "div", "rcp", "sqrt", "fma"];

/// Floating-point instructions that are exact.
const EXACT: [&str; 13] =
    ["abs", "neg", "min", "max", "setp", "selp", "mov", "ld", "st", "set", "testp", "copysign", "slct"];

/// Modifiers that change bits: flushed denormals, approximations, clamping to 0..1, other roundings.
const FORBIDDEN: [&str; 8] = ["ftz", "approx", "full", "sat", "relu", "rz", "rm", "rp"];

/// The first instruction of `ptx` whose result is not determined by IEEE 754, and why.
pub(super) fn audit(ptx: &str) -> Result<(), String> {
    ptx.lines().filter_map(opcode).try_for_each(|opcode| {
        let parts: Vec<&str> = opcode.split('.').collect();
        let is_float = |part: &&&str| matches!(**part, "f16" | "f16x2" | "bf16" | "bf16x2" | "f32" | "f32x2" | "f64");
        let n_floats = parts.iter().filter(is_float).count();
        if n_floats == 0 {
            return Ok(());
        }
        let rounds = parts.contains(&"rn");
        let is_determined = match parts[0] {
            "cvt" => {
                let [.., to, from] = parts[..] else { return Err(format!("`{opcode}` converts nothing")) };
                let narrows = n_floats < 2 || width(to) < width(from);
                let to_integral = parts.iter().any(|part| matches!(*part, "rzi" | "rni" | "rmi" | "rpi"));
                rounds || to_integral || !narrows
            }
            name if ROUNDED.contains(&name) => rounds,
            name => EXACT.contains(&name),
        };
        if is_determined && !parts.iter().any(|part| FORBIDDEN.contains(part)) {
            Ok(())
        } else {
            Err(format!("`{opcode}` is not rounded to nearest even"))
        }
    })
}

fn width(ty: &str) -> u32 {
    ty.trim_start_matches(|letter: char| !letter.is_ascii_digit())
        .split('x')
        .next()
        .map_or(0, |digits| digits.parse().unwrap_or_default())
}

/// The opcode of a line that holds an instruction, without its predicate.
fn opcode(line: &str) -> Option<&str> {
    let mut words = line.split_whitespace();
    let mut word = words.next()?;
    if word.starts_with('@') {
        word = words.next()?;
    }
    let word = word.trim_end_matches(';');
    word.starts_with(|letter: char| letter.is_ascii_lowercase()).then_some(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn determined_instructions_pass() {
        let ptx = ".visible .entry k(\n\tadd.rn.f32 \t%r1, %r2, %r3;\n@%p1 fma.rn.f32x2 %rd1, %rd2, %rd3, %rd4;\n\
                   \tsqrt.rn.f64 %a, %b;\n\tcvt.f64.f32 %a, %b;\n\tcvt.rn.f16.f32 %a, %b;\n\tcvt.rmi.f32.f32 %a, %b;\n\
                   \tcvt.rzi.s32.f64 %a, %b;\n\tadd.s64 %a, %b, %c;\n\tsetp.ltu.f32 %p, %a, %b;\n\tret;\n$L__BB0_1:\n";
        assert_eq!(audit(ptx), Ok(()));
    }

    #[test]
    fn contractible_and_approximate_instructions_do_not() {
        for opcode in [
            "add.f32",
            "mul.f64",
            "sub.f16x2",
            "fma.rz.f32",
            "mul.rn.ftz.f32",
            "div.full.f32",
            "div.approx.f32",
            "sqrt.approx.f32",
            "ex2.approx.f32",
            "rcp.approx.f32",
            "cvt.f32.f64",
            "cvt.f32.s32",
            "cvt.rz.f16.f32",
            "add.rn.sat.f32",
            "tanh.approx.f32",
        ] {
            let line = format!("\t@%p3 {opcode} \t%r1, %r2, %r3;");
            assert_eq!(audit(&line), Err(format!("`{opcode}` is not rounded to nearest even")));
        }
    }
}
