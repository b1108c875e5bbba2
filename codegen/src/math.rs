use crate::kernel::{KernelBuilder, Reg};
macro_rules! stub { ($($n:ident)*) => { $(pub(crate) fn $n(_b: &mut KernelBuilder, x: Reg) -> Reg { x })* } }
stub!(exp expm1 log log1p tanh logistic erf sin cos tan);
pub(crate) fn pow(_b: &mut KernelBuilder, x: Reg, _y: Reg) -> Reg {
    x
}
pub(crate) fn atan2(_b: &mut KernelBuilder, x: Reg, _y: Reg) -> Reg {
    x
}
