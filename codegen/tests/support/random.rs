//! Random GPU kernels: any instruction on any type, nested in loops, conditions, register tiles and shared memory.

use nnc_codegen::kernel::{
    BinOp, BufferId, Index, Inst, Kernel, KernelBuilder, LoopKind, Reg, RegType, Space, Stmt, Ty, UnOp,
};
use nnc_ir::ops::CompareDir;
use nnc_ir::{DType, Scalar};

/// Elements of each input.
const LEN: i64 = 64;
const BLOCKS: u64 = 2;
const THREADS: u64 = 4;
/// Elements of each output that belong to one thread.
const SLOT: i64 = 16;
const LANES: [u16; 6] = [1, 2, 3, 4, 8, 16];
const TYPES: [Ty; 7] = [Ty::Bool, Ty::I32, Ty::U32, Ty::I64, Ty::U64, Ty::F32, Ty::F64];

struct Gen {
    b: KernelBuilder,
    state: u64,
    inputs: Vec<BufferId>,
    tile: BufferId,
    shared: BufferId,
    /// Registers in scope.
    known: Vec<Reg>,
    thread: Reg,
}

/// The kernel of a seed, with tensors for it, bound in order.
pub fn kernel(name: &str, seed: u64) -> (Kernel, Vec<Vec<u8>>) {
    let mut b = KernelBuilder::new(name);
    let inputs = DType::ALL.map(|dtype| b.arg(format!("in_{dtype}"), dtype, LEN as usize, false)).to_vec();
    let n_out = (BLOCKS * THREADS) as usize * SLOT as usize;
    let outputs = DType::ALL.map(|dtype| b.arg(format!("out_{dtype}"), dtype, n_out, true));
    let tile = b.scratch("tile", DType::F32, SLOT as usize, Space::Local);
    let shared = b.scratch("shared", DType::F32, THREADS as usize, Space::Shared);
    let mut state = seed;
    b.for_loop(BLOCKS, LoopKind::Grid(0), |b, block| {
        b.for_loop(THREADS, LoopKind::Thread(0), |b, thread| {
            let own = KernelBuilder::new("");
            let mut maker =
                Gen { b: std::mem::replace(b, own), state, inputs, tile, shared, known: Vec::new(), thread };
            maker.body(&outputs, block);
            state = maker.state;
            *b = maker.b;
        });
    });
    let mut rng = state;
    let mut tensors: Vec<Vec<u8>> = DType::ALL.map(|dtype| contents(dtype, &mut rng)).to_vec();
    tensors.extend(DType::ALL.map(|dtype| vec![0; n_out * dtype.size()]));
    (b.finish(), tensors)
}

fn contents(dtype: DType, state: &mut u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    for _ in 0..LEN {
        let word = split_mix(state);
        let scalar = if dtype.is_float() {
            let special = [0.0, -0.0, 1.0, -1.0, f64::INFINITY, f64::NAN, 1e-40, 6e-8, 65504.0, 3e9, -129.5];
            match word % 4 {
                0 => Scalar::from_f64(dtype, special[(word >> 8) as usize % special.len()]),
                _ => Scalar::from_f64(dtype, (word as i64 as f64) * 2f64.powi(-58)),
            }
        } else if word.is_multiple_of(3) {
            Scalar::from_i64(dtype, word as i64 >> 8)
        } else {
            Scalar::from_i64(dtype, (word >> 8) as i64 % 20 - 10)
        };
        scalar.write(&mut bytes);
    }
    bytes
}

fn split_mix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut word = *state;
    word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

impl Gen {
    fn below(&mut self, n: usize) -> usize {
        (split_mix(&mut self.state) % n as u64) as usize
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }

    /// Statements that compute, then a store to every output.
    fn body(&mut self, outputs: &[BufferId], block: Reg) {
        let start = self.load(Ty::F32, 16);
        self.b.store(self.tile, Index::constant(0), 1, 16, start);
        for _ in 0..self.below(4) + 1 {
            match self.below(5) {
                0 => self.exchange(),
                1 => self.looped(),
                2 => self.conditional(),
                _ => {
                    let (ty, lanes) = (self.pick(&TYPES), self.pick(&LANES));
                    let reg = self.create(ty, lanes, 3);
                    self.known.push(reg);
                }
            }
        }
        for (&output, dtype) in outputs.iter().zip(DType::ALL) {
            let lanes = self.pick(&LANES);
            let value = self.value(Ty::of(dtype), lanes, 3);
            let at = Index::term(block, THREADS as i64 * SLOT).plus(self.thread, SLOT);
            let stride = if lanes <= 8 { self.pick(&[1, 1, 2]) } else { 1 };
            let active = self.pick(&[lanes, lanes, lanes.div_ceil(2)]);
            self.b.store(output, at, stride, active, value);
        }
    }

    /// Each thread gives a value to another one of its block.
    fn exchange(&mut self) {
        let value = self.value(Ty::F32, 1, 2);
        self.b.push(Stmt::Barrier);
        self.b.store_scalar(self.shared, Index::term(self.thread, 1), value);
        self.b.push(Stmt::Barrier);
        let got = self.b.load_scalar(self.shared, Index::term(self.thread, -1).plus_const(THREADS as i64 - 1));
        self.known.push(got);
    }

    /// A loop that updates the register tile.
    fn looped(&mut self) {
        let kind = self.pick(&[LoopKind::Serial, LoopKind::Unrolled]);
        let extent = self.below(4) as u64;
        let lanes = self.pick(&[1, 4]);
        self.nested(|maker| {
            let mut inner = std::mem::replace(&mut maker.b, KernelBuilder::new(""));
            inner.for_loop(extent, kind, |b, var| {
                std::mem::swap(&mut maker.b, b);
                maker.known.push(var);
                let at = Index::term(var, 4);
                let old = maker.b.load(maker.tile, at.clone(), 1, lanes, lanes);
                maker.known.push(old);
                let value = maker.create(Ty::F32, lanes, 3);
                maker.b.store(maker.tile, at, 1, lanes, value);
                std::mem::swap(&mut maker.b, b);
            });
            maker.b = inner;
        });
        let reg = self.b.load(self.tile, Index::constant(0), 1, 16, 16);
        self.known.push(reg);
    }

    /// A store to the register tile on a condition.
    fn conditional(&mut self) {
        let cond = self.value(Ty::Bool, 1, 2);
        let at = Index::term(self.thread, 2).plus_const(3);
        self.nested(|maker| {
            let mut inner = std::mem::replace(&mut maker.b, KernelBuilder::new(""));
            inner.if_then(cond, |b| {
                std::mem::swap(&mut maker.b, b);
                let value = maker.create(Ty::F32, 1, 3);
                maker.b.store_scalar(maker.tile, at, value);
                std::mem::swap(&mut maker.b, b);
            });
            maker.b = inner;
        });
        let reg = self.b.load(self.tile, Index::term(self.thread, 1), 1, 8, 8);
        self.known.push(reg);
    }

    /// Runs `body`, whose registers end with it.
    fn nested(&mut self, body: impl FnOnce(&mut Self)) {
        let n_known = self.known.len();
        body(self);
        self.known.truncate(n_known);
    }

    /// A register of a type: one in scope, or a new one.
    fn value(&mut self, ty: Ty, lanes: u16, depth: u32) -> Reg {
        let wanted = RegType { ty, lanes };
        let fitting: Vec<Reg> = self.known.iter().copied().filter(|&reg| self.b.reg_type(reg) == wanted).collect();
        if !fitting.is_empty() && self.below(2) == 0 {
            return self.pick(&fitting);
        }
        self.create(ty, lanes, depth)
    }

    fn create(&mut self, ty: Ty, lanes: u16, depth: u32) -> Reg {
        if depth == 0 {
            return if self.below(3) == 0 { self.constant(ty, lanes) } else { self.load(ty, lanes) };
        }
        let depth = depth - 1;
        loop {
            match self.below(12) {
                0 => return self.load(ty, lanes),
                1 | 2 => return self.binary(ty, lanes, depth),
                3 => {
                    use UnOp::*;
                    let ops: &[UnOp] = match ty {
                        Ty::Bool => &[Not],
                        Ty::F32 | Ty::F64 => &[Neg, Abs, Sqrt, Floor, Ceil, RoundEven],
                        _ => &[Neg, Abs, Not],
                    };
                    let (op, operand) = (self.pick(ops), self.value(ty, lanes, depth));
                    return self.b.unary(op, operand);
                }
                4 if ty.is_float() => {
                    let [a, b, c] = [(); 3].map(|()| self.value(ty, lanes, depth));
                    return self.b.fma(a, b, c);
                }
                5 if ty == Ty::Bool => {
                    let operand = self.pick(&TYPES);
                    let [lhs, rhs] = [(); 2].map(|()| self.value(operand, lanes, depth));
                    let dir = self.pick(&CompareDir::ALL);
                    return self.b.compare(dir, lhs, rhs);
                }
                6 => {
                    let pred = self.value(Ty::Bool, lanes, depth);
                    let [on_true, on_false] = [(); 2].map(|()| self.value(ty, lanes, depth));
                    return self.b.select(pred, on_true, on_false);
                }
                7 => {
                    let from = self.pick(&TYPES);
                    let operand = self.value(from, lanes, depth);
                    return self.b.cast(ty, operand);
                }
                8 => return self.bitcast(ty, lanes, depth),
                9 => {
                    let narrow = match ty {
                        Ty::F32 => self.pick(&[DType::F16, DType::BF16]),
                        Ty::I32 => self.pick(&[DType::I8, DType::I16]),
                        Ty::U32 => self.pick(&[DType::U8, DType::U16]),
                        _ => continue,
                    };
                    let operand = self.value(ty, lanes, depth);
                    return self.b.narrow(narrow, operand);
                }
                10 if lanes > 1 => match (self.below(3), ty) {
                    (0, Ty::I32 | Ty::U32 | Ty::I64 | Ty::U64) => return self.b.inst(ty, lanes, Inst::LaneIota),
                    (0, Ty::Bool) => {
                        let active = self.below(usize::from(lanes) + 1) as u16;
                        return self.b.inst(ty, lanes, Inst::LaneMask { active });
                    }
                    _ => {
                        let scalar = self.value(ty, 1, depth);
                        return self.b.splat(scalar, lanes);
                    }
                },
                10 => {
                    let wide = self.pick(&LANES[1..]);
                    let vector = self.value(ty, wide, depth);
                    if self.below(2) == 0 || wide == 3 {
                        let lane = self.below(wide.into()) as u16;
                        return self.b.inst(ty, 1, Inst::Extract { vector, lane });
                    }
                    use BinOp::*;
                    let ops: &[BinOp] = match ty {
                        Ty::Bool => &[And, Or, Xor],
                        Ty::F32 | Ty::F64 => &[Add, Mul, Max, Min],
                        _ => &[Add, Mul, Max, Min, And, Or, Xor],
                    };
                    let op = self.pick(ops);
                    return self.b.inst(ty, 1, Inst::FoldLanes(op, vector));
                }
                11 if ty == Ty::F32 => {
                    let at = self.pick(&[Index::constant(3), Index::term(self.thread, 1)].each_ref()).clone();
                    return self.b.load(self.tile, at, 1, lanes, lanes.min(8));
                }
                _ => {}
            }
        }
    }

    fn binary(&mut self, ty: Ty, lanes: u16, depth: u32) -> Reg {
        use BinOp::*;
        let ops: &[BinOp] = match ty {
            Ty::Bool => &[And, Or, Xor],
            Ty::F32 | Ty::F64 => &[Add, Sub, Mul, Div, Rem, Max, Min],
            _ => &[Add, Sub, Mul, Div, Rem, Max, Min, And, Or, Xor, Shl, ShrLogical, ShrArithmetic],
        };
        let op = self.pick(ops);
        let (lhs, mut rhs) = (self.value(ty, lanes, depth), self.value(ty, lanes, depth));
        let constant = |maker: &mut Self, value: i64| maker.b.const_i64(ty, lanes, value);
        match op {
            Div | Rem if !ty.is_float() => {
                let one = constant(self, 1);
                rhs = self.b.binary(Or, rhs, one);
            }
            Shl | ShrLogical | ShrArithmetic => {
                let mask = constant(self, if ty.is_wide() { 63 } else { 31 });
                rhs = self.b.binary(And, rhs, mask);
            }
            _ => {}
        }
        self.b.binary(op, lhs, rhs)
    }

    fn bitcast(&mut self, ty: Ty, lanes: u16, depth: u32) -> Reg {
        let from = match ty {
            Ty::Bool => return self.constant(ty, lanes),
            Ty::I32 => self.pick(&[Ty::U32, Ty::F32]),
            Ty::U32 => self.pick(&[Ty::I32, Ty::F32]),
            Ty::F32 => self.pick(&[Ty::U32, Ty::I32]),
            Ty::I64 => self.pick(&[Ty::U64, Ty::F64]),
            Ty::U64 => self.pick(&[Ty::I64, Ty::F64]),
            Ty::F64 => self.pick(&[Ty::U64, Ty::I64]),
        };
        let mut operand = self.value(from, lanes, depth);
        if from.is_float() {
            // The bits of a NaN are nobody's promise.
            let is_number = self.b.compare(CompareDir::Eq, operand, operand);
            let zero = self.b.const_i64(from, lanes, 0);
            operand = self.b.select(is_number, operand, zero);
        }
        self.b.bitcast(ty, operand)
    }

    fn constant(&mut self, ty: Ty, lanes: u16) -> Reg {
        if ty.is_float() {
            let value = self.pick(&[0.0, -0.0, 1.0, -2.5, 1e-40, 3e9, f64::INFINITY, f64::NAN, 0.1]);
            self.b.const_f64(ty, lanes, value)
        } else {
            let value = self.pick(&[0, 1, -1, 7, 255, -128, i64::from(i32::MIN), i64::MAX, i64::MIN]);
            self.b.const_i64(ty, lanes, value)
        }
    }

    fn load(&mut self, ty: Ty, lanes: u16) -> Reg {
        let fitting: Vec<usize> = (0..DType::ALL.len()).filter(|&idx| Ty::of(DType::ALL[idx]) == ty).collect();
        let picked = self.pick(&fitting);
        let buffer = self.inputs[picked];
        let lane_stride = self.pick(&[1, 1, 0, 2, -1]);
        let offset = if lane_stride < 0 { 16 } else { self.below(17) as i64 };
        let at = match self.below(3) {
            0 => Index::constant(offset),
            1 => Index::term(self.thread, 1).plus_const(offset),
            _ => Index::term(self.thread, 4).plus_const(offset & !3),
        };
        let active = self.pick(&[lanes, lanes, lanes, lanes / 2]);
        self.b.load(buffer, at, lane_stride, lanes, active)
    }
}
