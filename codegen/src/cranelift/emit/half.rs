//! Narrow element types, in integer arithmetic on one lane.

use cranelift::prelude::*;
use nnc_ir::DType;

use super::Emitter;

impl Emitter<'_> {
    /// Rounds a lane to the values of `dtype` and widens it again.
    pub(super) fn narrow(&mut self, dtype: DType, x: Value) -> Value {
        match dtype {
            DType::I8 => {
                let byte = self.builder.ins().ireduce(types::I8, x);
                self.builder.ins().sextend(types::I32, byte)
            }
            DType::U8 => self.builder.ins().band_imm_u(x, 0xff),
            DType::I16 => {
                let short = self.builder.ins().ireduce(types::I16, x);
                self.builder.ins().sextend(types::I32, short)
            }
            DType::U16 => self.builder.ins().band_imm_u(x, 0xffff),
            DType::BF16 => {
                let bits = self.f32_to_bf16(x);
                self.bf16_to_f32(bits)
            }
            DType::F16 => {
                let bits = self.f32_to_f16(x);
                self.f16_to_f32(bits)
            }
            _ => x,
        }
    }

    pub(super) fn bf16_to_f32(&mut self, bits: Value) -> Value {
        let wide = self.builder.ins().ishl_imm_u(bits, 16);
        self.bitcast(types::F32, wide)
    }

    /// Rounds to nearest even; NaNs keep their upper bits and become quiet.
    pub(super) fn f32_to_bf16(&mut self, x: Value) -> Value {
        let bits = self.bitcast(types::I32, x);
        let upper = self.builder.ins().ushr_imm_u(bits, 16);
        let odd = self.builder.ins().band_imm_u(upper, 1);
        let bias = self.builder.ins().iadd_imm_s(odd, 0x7fff);
        let rounded = self.builder.ins().iadd(bits, bias);
        let rounded = self.builder.ins().ushr_imm_u(rounded, 16);
        let quiet = self.builder.ins().bor_imm_u(upper, 0x40);
        let is_nan = self.builder.ins().fcmp(FloatCC::Unordered, x, x);
        self.builder.ins().select(is_nan, quiet, rounded)
    }

    pub(super) fn f16_to_f32(&mut self, bits: Value) -> Value {
        // The half's exponent and fraction, placed as a float's, are its value times 2^-112, denormals included.
        let magnitude = self.builder.ins().band_imm_u(bits, 0x7fff);
        let placed = self.builder.ins().ishl_imm_u(magnitude, 13);
        let scaled = self.bitcast(types::F32, placed);
        let scale = self.builder.ins().f32const(f32::from_bits((127 + 112) << 23));
        let finite = self.builder.ins().fmul(scaled, scale);
        let finite = self.bitcast(types::I32, finite);
        let special = self.builder.ins().bor_imm_u(placed, 0x7f80_0000);
        // Signaling NaNs become quiet, as the hardware conversion does.
        let fraction = self.builder.ins().band_imm_u(bits, 0x03ff);
        let quiet = self.builder.ins().bor_imm_u(special, 0x0040_0000);
        let has_fraction = self.builder.ins().icmp_imm_u(IntCC::NotEqual, fraction, 0);
        let special = self.builder.ins().select(has_fraction, quiet, special);
        let is_special = self.builder.ins().icmp_imm_u(IntCC::UnsignedGreaterThanOrEqual, magnitude, 0x7c00);
        let unsigned = self.builder.ins().select(is_special, special, finite);
        let sign = self.builder.ins().band_imm_u(bits, 0x8000);
        let sign = self.builder.ins().ishl_imm_u(sign, 16);
        let signed = self.builder.ins().bor(unsigned, sign);
        self.bitcast(types::F32, signed)
    }

    /// Rounds to nearest even, in integer arithmetic on the magnitude.
    pub(super) fn f32_to_f16(&mut self, x: Value) -> Value {
        let bits = self.bitcast(types::I32, x);
        let magnitude = self.builder.ins().band_imm_u(bits, 0x7fff_ffff);
        // Normal results: rebias the exponent and round off 13 bits; overflow carries into infinity.
        let shifted = self.builder.ins().ushr_imm_u(magnitude, 13);
        let odd = self.builder.ins().band_imm_u(shifted, 1);
        let rebias = self.builder.ins().iadd_imm_s(magnitude, 0x0fff - (112 << 23));
        let rounded = self.builder.ins().iadd(rebias, odd);
        let normal = self.builder.ins().ushr_imm_u(rounded, 13);
        // Denormal results: adding 0.5 aligns the fraction so that the float adder rounds at the half's last place.
        let absolute = self.bitcast(types::F32, magnitude);
        let half = self.builder.ins().f32const(0.5);
        let aligned = self.builder.ins().fadd(absolute, half);
        let aligned = self.bitcast(types::I32, aligned);
        let denormal = self.builder.ins().iadd_imm_s(aligned, -0x3f00_0000);
        let is_denormal = self.builder.ins().icmp_imm_u(IntCC::UnsignedLessThan, magnitude, (127 - 14) << 23);
        let finite = self.builder.ins().select(is_denormal, denormal, normal);
        let infinity = self.builder.ins().iconst(types::I32, 0x7c00);
        let too_big = self.builder.ins().icmp_imm_u(IntCC::UnsignedGreaterThanOrEqual, magnitude, (127 + 16) << 23);
        let finite = self.builder.ins().select(too_big, infinity, finite);
        let payload = self.builder.ins().band_imm_u(shifted, 0x03ff);
        let nan = self.builder.ins().bor_imm_u(payload, 0x7e00);
        let is_nan = self.builder.ins().fcmp(FloatCC::Unordered, x, x);
        let unsigned = self.builder.ins().select(is_nan, nan, finite);
        let sign = self.builder.ins().ushr_imm_u(bits, 16);
        let sign = self.builder.ins().band_imm_u(sign, 0x8000);
        self.builder.ins().bor(unsigned, sign)
    }
}
