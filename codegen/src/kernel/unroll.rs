//! Replicates unrolled loops, so that emitters see serial loops only and the indices of register tiles are constants.

use super::{Index, Inst, Kernel, Loop, LoopKind, Reg, Stmt, TileMatmul, TileTranspose, Ty};

/// The kernel without [`LoopKind::Unrolled`] loops.
pub fn unroll(kernel: &Kernel) -> Kernel {
    let mut result = Kernel { body: Vec::new(), ..kernel.clone() };
    let mut renames = vec![Binding::Same; kernel.regs.len()];
    result.body = block(&kernel.body, &mut result, &mut renames);
    result
}

/// What a register of the old kernel has become.
#[derive(Clone, Copy)]
enum Binding {
    Same,
    Renamed(Reg),
    /// The variable of an unrolled loop, in the current copy; the register is made when something but an index uses it.
    Constant(i64),
}

fn block(body: &[Stmt], kernel: &mut Kernel, renames: &mut Vec<Binding>) -> Vec<Stmt> {
    let mut out = Vec::with_capacity(body.len());
    for stmt in body {
        match stmt {
            Stmt::Let(reg, inst) => {
                let inst = rename_inst(inst, kernel, renames, &mut out);
                let fresh = match renames[reg.idx()] {
                    Binding::Same => *reg,
                    // A further copy of a body defines its registers anew.
                    Binding::Renamed(_) | Binding::Constant(_) => fresh_like(*reg, kernel),
                };
                renames[reg.idx()] = Binding::Renamed(fresh);
                out.push(Stmt::Let(fresh, inst));
            }
            Stmt::Store { buffer, index, lane_stride, active, value } => {
                let value = use_reg(*value, kernel, renames, &mut out);
                let index = rename_index(index, renames);
                out.push(Stmt::Store { buffer: *buffer, index, lane_stride: *lane_stride, active: *active, value });
            }
            Stmt::For(Loop { var, extent, kind: LoopKind::Unrolled, body }) => {
                for iteration in 0..*extent {
                    renames[var.idx()] = Binding::Constant(iteration as i64);
                    out.extend(block(body, kernel, renames));
                }
            }
            Stmt::For(Loop { var, extent, kind, body }) => {
                let fresh = match renames[var.idx()] {
                    Binding::Same => *var,
                    Binding::Renamed(_) | Binding::Constant(_) => fresh_like(*var, kernel),
                };
                renames[var.idx()] = Binding::Renamed(fresh);
                let body = block(body, kernel, renames);
                out.push(Stmt::For(Loop { var: fresh, extent: *extent, kind: *kind, body }));
            }
            Stmt::If(cond, body) => {
                let cond = use_reg(*cond, kernel, renames, &mut out);
                let body = block(body, kernel, renames);
                out.push(Stmt::If(cond, body));
            }
            Stmt::Barrier => out.push(Stmt::Barrier),
            Stmt::Matmul(tile) => out.push(Stmt::Matmul(TileMatmul {
                a_index: rename_index(&tile.a_index, renames),
                b_index: rename_index(&tile.b_index, renames),
                acc_index: rename_index(&tile.acc_index, renames),
                ..tile.clone()
            })),
            Stmt::Transpose(tile) => out.push(Stmt::Transpose(TileTranspose {
                src_index: rename_index(&tile.src_index, renames),
                dst_index: rename_index(&tile.dst_index, renames),
                ..tile.clone()
            })),
        }
    }
    out
}

fn fresh_like(reg: Reg, kernel: &mut Kernel) -> Reg {
    let ty = kernel.reg_type(reg);
    kernel.add_reg(ty.ty, ty.lanes)
}

fn use_reg(reg: Reg, kernel: &mut Kernel, renames: &[Binding], out: &mut Vec<Stmt>) -> Reg {
    match renames[reg.idx()] {
        Binding::Same => reg,
        Binding::Renamed(fresh) => fresh,
        Binding::Constant(value) => {
            let fresh = kernel.add_reg(Ty::I64, 1);
            out.push(Stmt::Let(fresh, Inst::Const(value as u64)));
            fresh
        }
    }
}

fn rename_index(index: &Index, renames: &[Binding]) -> Index {
    let mut result = Index::constant(index.offset);
    for &(reg, stride) in &index.terms {
        result = match renames[reg.idx()] {
            Binding::Same => result.plus(reg, stride),
            Binding::Renamed(fresh) => result.plus(fresh, stride),
            Binding::Constant(value) => result.plus_const(value * stride),
        };
    }
    result
}

fn rename_inst(inst: &Inst, kernel: &mut Kernel, renames: &[Binding], out: &mut Vec<Stmt>) -> Inst {
    let mut get = |reg: &Reg| use_reg(*reg, kernel, renames, out);
    match inst {
        Inst::Const(_) | Inst::LaneIota | Inst::LaneMask { .. } => inst.clone(),
        Inst::Splat(scalar) => Inst::Splat(get(scalar)),
        Inst::Extract { vector, lane } => Inst::Extract { vector: get(vector), lane: *lane },
        Inst::Unary(op, operand) => Inst::Unary(*op, get(operand)),
        Inst::Binary(op, lhs, rhs) => Inst::Binary(*op, get(lhs), get(rhs)),
        Inst::Fma(a, b, c) => Inst::Fma(get(a), get(b), get(c)),
        Inst::Compare(dir, lhs, rhs) => Inst::Compare(*dir, get(lhs), get(rhs)),
        Inst::Select(pred, on_true, on_false) => Inst::Select(get(pred), get(on_true), get(on_false)),
        Inst::Cast(operand) => Inst::Cast(get(operand)),
        Inst::Bitcast(operand) => Inst::Bitcast(get(operand)),
        Inst::Narrow(dtype, operand) => Inst::Narrow(*dtype, get(operand)),
        Inst::Load { buffer, index, lane_stride, active } => Inst::Load {
            buffer: *buffer,
            index: rename_index(index, renames),
            lane_stride: *lane_stride,
            active: *active,
        },
        Inst::FoldLanes(op, vector) => Inst::FoldLanes(*op, get(vector)),
    }
}

#[cfg(test)]
mod tests {
    use nnc_ir::DType;

    use super::*;
    use crate::kernel::{KernelBuilder, verify};

    #[test]
    fn copies_get_their_own_registers() {
        let mut b = KernelBuilder::new("fill");
        let out = b.arg("out", DType::I64, 4, true);
        b.for_loop(2, LoopKind::Unrolled, |b, outer| {
            b.for_loop(2, LoopKind::Serial, |b, inner| {
                let sum = b.add(outer, inner);
                b.store_scalar(out, Index::term(outer, 2).plus(inner, 1), sum);
            });
        });
        let kernel = unroll(&b.finish());
        verify(&kernel).unwrap();
        let mut tensors = [vec![0; 32]];
        crate::kernel::interp::run(&kernel, &mut tensors, &[0]).unwrap();
        assert_eq!(tensors[0].chunks(8).map(|word| word[0]).collect::<Vec<_>>(), [0, 1, 1, 2]);
    }
}
