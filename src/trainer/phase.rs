//! A phase of training (steps, or evaluation): its traced functions, their compiled instances, and which of these holds
//! the current state.

use std::collections::BTreeMap;

use nnc_frontend::array::{ToData, View};
use nnc_ir::{DType, Dim, Module as IrModule, Scalar, Shape, TensorType};
use nnc_runtime::Instance;
use nnc_runtime::program::InputRole;

use crate::error::Error;
use crate::jit::dtype_of;

/// Element types and shapes of a batch's tensors.
pub(super) type Signature = Vec<(DType, Vec<usize>)>;

/// A traced function and its compiled instances.
#[derive(Default)]
pub(super) struct Phase {
    /// By shapes without the batch, which is symbolic.
    pub(super) traced: BTreeMap<Signature, IrModule>,
    pub(super) instances: BTreeMap<Signature, Instance>,
    /// The instance that holds the current state.
    pub(super) current: Option<Signature>,
}

impl Phase {
    pub(super) fn current_instance(&mut self) -> Option<&mut Instance> {
        self.instances.get_mut(self.current.as_ref()?)
    }

    pub(super) fn current_ref(&self) -> Option<&Instance> {
        self.instances.get(self.current.as_ref()?)
    }
}

/// Calls `body` with the data where it lies, or with dense copies.
pub(super) fn with_views<const N: usize, T>(data: [&dyn ToData; N], body: impl FnOnce(&[View<'_>; N]) -> T) -> T {
    let copies = data.map(|data| data.view().is_none().then(|| data.to_data()));
    let view = |idx: usize| match &copies[idx] {
        Some(copy) => copy.view().expect("tensor data is dense"),
        None => data[idx].view().expect("the data had a view"),
    };
    body(&std::array::from_fn(view))
}

/// Whether a batch has exactly these element types and shapes.
pub(super) fn fits(key: &Signature, batch: &[View<'_>]) -> bool {
    key.len() == batch.len()
        && key.iter().zip(batch).all(|((dtype, shape), view)| *dtype == view.dtype && *shape == view.shape)
}

/// Element types and shapes of a batch, from dimension `from` on.
pub(super) fn signature(batch: &[View<'_>], from: usize) -> Signature {
    batch.iter().map(|view| (view.dtype, view.shape.get(from..).unwrap_or_default().to_vec())).collect()
}

/// The type of a batch with a symbol for the number of samples.
pub(super) fn batch_type(view: &View<'_>) -> TensorType {
    let dims = view.shape.iter().enumerate().map(|(idx, &extent)| match idx {
        0 => Dim::symbol("N"),
        _ => Dim::from(extent),
    });
    TensorType { dtype: view.dtype, shape: Shape(dims.collect()) }
}

/// A scalar output of any element type.
pub(super) fn read_scalar(instance: &Instance, idx: usize) -> Result<f64, Error> {
    let dtype = dtype_of(instance.program().outputs[idx].spec.elem);
    Ok(Scalar::read(dtype, instance.output(idx)?).to_f64())
}

/// State inputs by name.
pub(super) fn read_states(instance: &Instance) -> Result<Vec<(String, Vec<u8>)>, Error> {
    let states = instance.program().inputs.iter().filter(|input| input.role == InputRole::State);
    states.map(|input| Ok((input.name.clone(), instance.input(input.name.as_str())?.to_vec()))).collect()
}

/// Writes the states that the instance has too.
pub(super) fn write_states<'a>(
    instance: &mut Instance,
    states: impl IntoIterator<Item = (&'a str, &'a [u8])>,
) -> Result<(), Error> {
    for (name, bytes) in states {
        if instance.input_index(name).is_ok() {
            instance.write(name, bytes)?;
        }
    }
    Ok(())
}

/// Names and elements of states, as they are written.
pub(super) fn by_ref(states: &[(String, Vec<u8>)]) -> impl Iterator<Item = (&str, &[u8])> {
    states.iter().map(|(name, bytes)| (name.as_str(), bytes.as_slice()))
}
