//! `Parameter` and `Buffer`: the concrete data a module owns.
//!
//! Both are shared handles: a clone is the same storage, so an optimizer, a trainer and the module see one another's
//! writes, and two layers that hold clones of one parameter are tied.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::fmt;
use std::panic::Location as Caller;
use std::rc::Rc;

use ndarray::ArrayD;
use nnc_ir::{DType, Diagnostic, Location, Scalar, TensorData, TensorType};

use crate::array::{self, ToData};
use crate::tensor::{Tensor, ToTensor};
use crate::trace;

/// Identity of a parameter's or buffer's storage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StorageId(usize);

#[derive(Debug)]
struct Storage {
    data: RefCell<TensorData>,
    requires_grad: Cell<bool>,
    /// Where the user's program made it; constructors of layers pass their caller on.
    origin: &'static Caller<'static>,
}

impl Storage {
    #[track_caller]
    fn new(data: TensorData, requires_grad: bool) -> Rc<Self> {
        let (data, requires_grad) = (RefCell::new(data), Cell::new(requires_grad));
        Rc::new(Self { data, requires_grad, origin: Caller::caller() })
    }

    fn set(&self, what: &str, data: TensorData) -> Result<(), Diagnostic> {
        let expected = self.data.borrow().ty();
        if data.ty() != expected {
            let message = format!("{what} of type {expected} is set to data of type {}", data.ty());
            return Err(Diagnostic::new(Location::unknown(), message));
        }
        *self.data.borrow_mut() = data;
        Ok(())
    }

    /// Rounds floats to another element type; others stay.
    fn to_dtype(&self, dtype: DType) {
        let mut data = self.data.borrow_mut();
        if data.dtype.is_float() && dtype.is_float() && data.dtype != dtype {
            let scalars = data.scalars().map(|scalar| Scalar::from_f64(dtype, scalar.to_f64()));
            let converted = TensorData::from_scalars(dtype, data.shape.clone(), scalars);
            *data = converted;
        }
    }
}

/// A tensor that training changes: `torch.nn.Parameter`.
///
/// ```
/// use nnc_frontend::prelude::*;
///
/// let weight = Parameter::new(Tensor::zeros([2, 3]));
/// let tied = weight.clone();
/// weight.set(&ndarray::Array2::<f32>::ones((2, 3)))?;
/// assert_eq!(tied.to_array().sum(), 6.0);
/// # Ok::<(), nnc_ir::Diagnostic>(())
/// ```
#[derive(Clone)]
pub struct Parameter(Rc<Storage>);

impl Parameter {
    /// A trainable parameter that starts as `tensor`.
    ///
    /// # Panics
    /// If the tensor has no data: it is poisoned, or a value of a traced graph. Parameters are made outside traces.
    #[track_caller]
    pub fn new(tensor: impl ToTensor) -> Self {
        match tensor.to_tensor().data() {
            Ok(data) => Self::from_data(data),
            Err(fault) => panic!("a parameter needs concrete data: {fault}"),
        }
    }

    /// A trainable parameter that starts as `data`.
    #[track_caller]
    pub fn from_data(data: TensorData) -> Self {
        Self(Storage::new(data, true))
    }

    /// A trainable parameter that starts as an array.
    #[track_caller]
    pub fn from_array(array: impl ToData) -> Self {
        Self::from_data(array.to_data())
    }

    /// Present data. Cheap: the elements are shared until one side is replaced.
    pub fn data(&self) -> TensorData {
        self.0.data.borrow().clone()
    }

    /// Present data as an array of `f32`.
    pub fn to_array(&self) -> ArrayD<f32> {
        array::to_f32(&self.0.data.borrow())
    }

    /// Element type and shape.
    pub fn ty(&self) -> TensorType {
        self.0.data.borrow().ty()
    }

    /// Element type.
    pub fn dtype(&self) -> DType {
        self.0.data.borrow().dtype
    }

    /// Extents, outermost first.
    pub fn shape(&self) -> Vec<usize> {
        self.0.data.borrow().shape.clone()
    }

    /// Number of elements.
    pub fn numel(&self) -> usize {
        self.0.data.borrow().len()
    }

    /// Replaces the data.
    ///
    /// # Errors
    /// If element type or shape differ from the present data's.
    pub fn set(&self, data: impl ToData) -> Result<(), Diagnostic> {
        self.0.set("a parameter", data.to_data())
    }

    /// Converts the data to another floating element type, rounding to nearest even. Anything but floats stays.
    pub fn to_dtype(&self, dtype: DType) {
        self.0.to_dtype(dtype);
    }

    /// Whether training changes the parameter.
    pub fn requires_grad(&self) -> bool {
        self.0.requires_grad.get()
    }

    /// Says whether training changes the parameter. A trace reads this when the parameter is bound.
    pub fn set_requires_grad(&self, requires_grad: bool) {
        self.0.requires_grad.set(requires_grad);
    }

    /// `set_requires_grad(false)`.
    pub fn freeze(&self) {
        self.set_requires_grad(false);
    }

    /// `set_requires_grad(true)`.
    pub fn unfreeze(&self) {
        self.set_requires_grad(true);
    }

    /// Identity of the storage: equal for clones, and only for them.
    pub fn id(&self) -> StorageId {
        StorageId(Rc::as_ptr(&self.0) as usize)
    }

    pub(crate) fn storage(&self) -> Rc<dyn Any> {
        self.0.clone()
    }

    /// Where the user's program made it.
    pub(crate) fn origin(&self) -> &'static Caller<'static> {
        self.0.origin
    }

    /// The parameter as a tensor: its value in the graph while tracing, else its data.
    #[track_caller]
    pub fn tensor(&self) -> Tensor {
        trace::parameter(self, Caller::caller())
    }
}

impl ToTensor for Parameter {
    #[track_caller]
    fn to_tensor(&self) -> Tensor {
        self.tensor()
    }
}

impl fmt::Debug for Parameter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Parameter({:?})", self.0.data.borrow())
    }
}

impl fmt::Display for Parameter {
    /// As PyTorch prints a parameter.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Parameter containing:\n")?;
        let suffix: &[&str] = if self.requires_grad() { &["requires_grad=True"] } else { &[] };
        crate::tensor::format_data(&self.data(), suffix, f)
    }
}

/// State of a module that no gradient reaches: running statistics, masks, tables.
#[derive(Clone)]
pub struct Buffer(Rc<Storage>);

impl Buffer {
    /// A buffer that starts as `data`.
    #[track_caller]
    pub fn new(data: impl ToData) -> Self {
        Self::from_data(data.to_data())
    }

    /// A buffer that starts as `data`.
    #[track_caller]
    pub fn from_data(data: TensorData) -> Self {
        Self(Storage::new(data, false))
    }

    /// Present data.
    pub fn data(&self) -> TensorData {
        self.0.data.borrow().clone()
    }

    /// Present data as an array of `f32`.
    pub fn to_array(&self) -> ArrayD<f32> {
        array::to_f32(&self.0.data.borrow())
    }

    /// Element type and shape.
    pub fn ty(&self) -> TensorType {
        self.0.data.borrow().ty()
    }

    /// Replaces the data.
    ///
    /// # Errors
    /// If element type or shape differ from the present data's.
    pub fn set(&self, data: impl ToData) -> Result<(), Diagnostic> {
        self.0.set("a buffer", data.to_data())
    }

    /// Converts the data to another floating element type, rounding to nearest even. Anything but floats stays.
    pub fn to_dtype(&self, dtype: DType) {
        self.0.to_dtype(dtype);
    }

    /// Makes `tensor` the buffer's next value: while tracing, a result of the function that takes the buffer's place;
    /// otherwise at once. A type other than the buffer's is a fault.
    #[track_caller]
    pub fn update(&self, tensor: &Tensor) {
        let Some(ty) = tensor.checked_ty() else { return };
        if ty != self.ty() {
            crate::tensor::fault(format!("a buffer of type {} is updated with a tensor of type {ty}", self.ty()));
        } else if trace::is_active() {
            self.tensor();
            trace::set_buffer(self, tensor.clone());
        } else if let Ok(data) = tensor.data() {
            *self.0.data.borrow_mut() = data;
        }
    }

    /// Identity of the storage.
    pub fn id(&self) -> StorageId {
        StorageId(Rc::as_ptr(&self.0) as usize)
    }

    pub(crate) fn storage(&self) -> Rc<dyn Any> {
        self.0.clone()
    }

    /// Where the user's program made it.
    pub(crate) fn origin(&self) -> &'static Caller<'static> {
        self.0.origin
    }

    /// The buffer as a tensor: its present value in the graph while tracing, else its data.
    #[track_caller]
    pub fn tensor(&self) -> Tensor {
        trace::buffer(self, Caller::caller())
    }
}

impl ToTensor for Buffer {
    #[track_caller]
    fn to_tensor(&self) -> Tensor {
        self.tensor()
    }
}

impl fmt::Debug for Buffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Buffer({:?})", self.0.data.borrow())
    }
}

/// Whether the module that owns it is training: what `train()` and `eval()` set. Starts as `true`.
#[derive(Clone, Debug)]
pub struct Training(Rc<Cell<bool>>);

impl Training {
    /// Whether the module is in training mode.
    pub fn get(&self) -> bool {
        self.0.get()
    }

    /// Changes the mode.
    pub fn set(&self, training: bool) {
        self.0.set(training);
    }
}

impl Default for Training {
    fn default() -> Self {
        Self(Rc::new(Cell::new(true)))
    }
}
