//! `Tensor`: the handle that models are written with.
//!
//! While a trace is active (see [`crate::trace()`]) a tensor is a value of the graph under construction, and every
//! function on it appends nodes. Outside a trace a tensor holds concrete data, and functions evaluate at once through
//! the reference interpreter: slow, right, and good for looking at things. Both kinds go through one door,
//! [`apply`], so a function is written once.
//!
//! A fault (shapes that do not fit, say) never panics: it is recorded with the line of the user's program, the result
//! is a *poisoned* tensor, and whatever is computed from it is poisoned without a further report.

use std::panic::Location as Caller;
use std::rc::Rc;

use ndarray::ArrayD;
use nnc_ir::{DType, Diagnostic, Dim, Location, Op, Shape, TensorData, TensorType, Value};

use crate::eager;
use crate::trace;

mod arith;
mod bits;
mod contract;
mod create;
mod einsum;
mod elementwise;
mod index;
mod linalg;
mod movement;
mod order;
mod print;
mod reduce;
mod scatter;
mod tensors;
mod trigonometry;

pub use arith::{Operand, ToOperand, where_};
pub use create::range;
pub use einsum::einsum;
pub use index::{Index, IntoIndices};
pub use movement::{DimSpec, IntoDims, IntoShape};
pub(crate) use print::format_data;
pub use reduce::Reduced;
pub use tensors::Tensors;

/// A tensor: a value of the graph being traced, or concrete data. Clones are cheap and share it.
#[derive(Clone)]
pub struct Tensor {
    repr: Repr,
}

#[derive(Clone)]
pub(crate) enum Repr {
    /// A value of the graph of trace number `trace`.
    Traced { trace: u64, value: Value, ty: Rc<TensorType> },
    /// Data.
    Data(TensorData),
    /// The result of something that could not be computed, and why.
    Poisoned(Rc<Diagnostic>),
}

/// Gives the type of a tensor, or leaves the calling function with the tensor itself if it is poisoned.
macro_rules! live {
    ($tensor:expr) => {
        match $tensor.checked_ty() {
            Some(ty) => ty,
            None => return $tensor.clone(),
        }
    };
}
pub(crate) use live;

/// Gives the value of a `Result<_, Tensor>`, or leaves the calling function with the poisoned tensor.
macro_rules! sound {
    ($result:expr) => {
        match $result {
            Ok(value) => value,
            Err(poisoned) => return poisoned,
        }
    };
}
pub(crate) use sound;

/// Gives a value, or leaves the calling function with a fault of the message that stands in its place.
macro_rules! checked {
    ($result:expr) => {
        match $result {
            Ok(value) => value,
            Err(message) => return $crate::tensor::fault(message),
        }
    };
}
pub(crate) use checked;

impl Tensor {
    pub(crate) fn traced(trace: u64, value: Value, ty: TensorType) -> Self {
        Self { repr: Repr::Traced { trace, value, ty: Rc::new(ty) } }
    }

    /// A tensor of concrete data.
    pub fn from_data(data: TensorData) -> Self {
        Self { repr: Repr::Data(data) }
    }

    /// A tensor that stands for what could not be computed. Whatever is computed from it is poisoned without a further
    /// report.
    pub fn poisoned(fault: Rc<Diagnostic>) -> Self {
        Self { repr: Repr::Poisoned(fault) }
    }

    pub(crate) fn repr(&self) -> &Repr {
        &self.repr
    }

    /// Whether an earlier fault keeps this tensor from having a value.
    pub fn is_poisoned(&self) -> bool {
        matches!(self.repr, Repr::Poisoned(_))
    }

    /// Whether both are one value of one trace; tensors of data are not compared.
    pub(crate) fn is_same_value(&self, other: &Self) -> bool {
        match (&self.repr, &other.repr) {
            (Repr::Traced { trace, value, .. }, Repr::Traced { trace: other_trace, value: other, .. }) => {
                trace == other_trace && value == other
            }
            _ => false,
        }
    }

    /// The type, or `None` if the tensor is poisoned.
    pub fn checked_ty(&self) -> Option<TensorType> {
        match &self.repr {
            Repr::Traced { ty, .. } => Some((**ty).clone()),
            Repr::Data(data) => Some(data.ty()),
            Repr::Poisoned(_) => None,
        }
    }

    /// Element type and shape. A poisoned tensor reports `f32[]`; nothing computed from it is looked at.
    pub fn ty(&self) -> TensorType {
        self.checked_ty().unwrap_or_else(|| TensorType::scalar(DType::F32))
    }

    /// Element type.
    pub fn dtype(&self) -> DType {
        self.ty().dtype
    }

    /// Extents, outermost first.
    pub fn shape(&self) -> Shape {
        self.ty().shape
    }

    /// Extents, outermost first; `size()` in PyTorch.
    pub fn dims(&self) -> Vec<Dim> {
        self.ty().shape.0
    }

    /// Number of dimensions.
    pub fn rank(&self) -> usize {
        self.ty().rank()
    }

    /// Extent of dimension `dim`, which may be negative to count from the last. Out of range is a recorded fault.
    #[track_caller]
    pub fn size(&self, dim: i64) -> Dim {
        let Some(ty) = self.checked_ty() else { return Dim::from(1) };
        match normalize_dim(dim, ty.rank()) {
            Some(dim) => ty.shape[dim].clone(),
            None => {
                fault(dim_fault("size", dim, &ty));
                Dim::from(1)
            }
        }
    }

    /// Number of elements.
    pub fn numel(&self) -> Dim {
        self.shape().n_elements()
    }

    /// The concrete data of a tensor outside a trace.
    ///
    /// # Errors
    /// The fault that poisoned the tensor, or that it is a value of a traced graph, which has no data.
    pub fn data(&self) -> Result<TensorData, Diagnostic> {
        match &self.repr {
            Repr::Data(data) => Ok(data.clone()),
            Repr::Poisoned(fault) => Err((**fault).clone()),
            Repr::Traced { ty, .. } => Err(Diagnostic::new(
                Location::unknown(),
                format!("a traced tensor ({ty}) has no data: compile the traced function and run it"),
            )),
        }
    }

    /// The elements as an array of `f32` (other types are converted).
    ///
    /// # Errors
    /// As for [`Tensor::data`].
    pub fn to_array(&self) -> Result<ArrayD<f32>, Diagnostic> {
        Ok(crate::array::to_f32(&self.data()?))
    }

    /// The elements as an array of `i64` (floats are truncated).
    ///
    /// # Errors
    /// As for [`Tensor::data`].
    pub fn to_array_i64(&self) -> Result<ArrayD<i64>, Diagnostic> {
        Ok(crate::array::to_i64(&self.data()?))
    }

    /// The element of a tensor of one element.
    ///
    /// # Errors
    /// As for [`Tensor::data`], and if the number of elements is not one.
    pub fn item(&self) -> Result<f64, Diagnostic> {
        let data = self.data()?;
        if data.len() != 1 {
            let message = format!("item: the tensor is {}, expected one element", data.ty());
            return Err(Diagnostic::new(Location::unknown(), message));
        }
        Ok(data.get(0).to_f64())
    }
}

/// Anything that can stand for a tensor: tensors, parameters, buffers, references to them.
pub trait ToTensor {
    /// The tensor.
    #[track_caller]
    fn to_tensor(&self) -> Tensor;
}

impl ToTensor for Tensor {
    fn to_tensor(&self) -> Tensor {
        self.clone()
    }
}

impl<T: ToTensor + ?Sized> ToTensor for &T {
    #[track_caller]
    fn to_tensor(&self) -> Tensor {
        (**self).to_tensor()
    }
}

/// Computes `op` on `operands`: appends a node while tracing, evaluates otherwise. Every function on tensors ends here;
/// it is public for those who add functions of their own. A fault gives a poisoned tensor.
#[track_caller]
pub fn apply(op: Op, operands: &[&Tensor]) -> Tensor {
    if let Some(poisoned) = operands.iter().find(|operand| operand.is_poisoned()) {
        return (*poisoned).clone();
    }
    apply_all(op, operands).swap_remove(0)
}

/// [`apply`] for an op of as many results as operands.
#[track_caller]
pub fn apply_all(op: Op, operands: &[&Tensor]) -> Vec<Tensor> {
    if let Some(poisoned) = operands.iter().find(|operand| operand.is_poisoned()) {
        return vec![(*poisoned).clone(); operands.len()];
    }
    let caller = Caller::caller();
    let result = match trace::is_node(&op, operands) {
        true => trace::push(op, operands, caller),
        false => eager::evaluate(op, operands, caller),
    };
    match result {
        Ok(tensors) => tensors,
        Err(diagnostic) => vec![record(diagnostic); operands.len().max(1)],
    }
}

/// Records a fault at the caller's line and gives a poisoned tensor.
#[track_caller]
pub fn fault(message: impl Into<String>) -> Tensor {
    let location = trace::locate(Caller::caller());
    record(Diagnostic::new(location, message))
}

/// Records a fault with a place of its own and gives a poisoned tensor.
pub fn record(diagnostic: Diagnostic) -> Tensor {
    trace::record(&diagnostic);
    Tensor::poisoned(Rc::new(diagnostic))
}

/// `dim` counted from the front, or `None` if it is out of range.
pub(crate) fn normalize_dim(dim: i64, rank: usize) -> Option<usize> {
    let rank = rank as i64;
    let positive = if dim < 0 { dim + rank } else { dim };
    (0..rank).contains(&positive).then_some(positive as usize)
}

pub(crate) fn dim_fault(what: &str, dim: i64, ty: &TensorType) -> String {
    match ty.rank() as i64 {
        0 => format!("{what}: dimension {dim} of the scalar {ty}, which has none"),
        rank => format!("{what}: dimension {dim} is out of range for {ty}, expected {} to {}", -rank, rank - 1),
    }
}

/// `dim` of `tensor` counted from the front.
///
/// # Errors
/// The poisoned tensor, if `dim` is out of range.
#[track_caller]
pub(crate) fn resolve_dim(what: &str, dim: i64, ty: &TensorType) -> Result<usize, Tensor> {
    match normalize_dim(dim, ty.rank()) {
        Some(dim) => Ok(dim),
        None => Err(fault(dim_fault(what, dim, ty))),
    }
}
