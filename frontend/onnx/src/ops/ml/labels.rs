//! `LabelEncoder`: each element by its entry in a table.

use std::collections::HashMap;
use std::hash::Hash;

use nnc_frontend::Tensor;
use nnc_frontend::tensor::where_;
use nnc_ir::{DType, Dim, TensorData};

use super::super::positions::{counting, look_up};
use super::super::{Domain, Entry, Outcome, op};
use super::required;
use crate::cx::Cx;
use crate::data::Stored;
use crate::elem::ElemType;
use crate::fault::Fault;
use crate::value::Value;

pub(in crate::ops) const OPS: &[Entry] = &[op("LabelEncoder", 1.., label_encoder).in_domain(Domain::Ml)];

/// A list of keys or values.
enum Column {
    Numbers(TensorData),
    Strings(Vec<Vec<u8>>),
}

impl Column {
    fn len(&self) -> usize {
        match self {
            Self::Numbers(data) => data.len(),
            Self::Strings(strings) => strings.len(),
        }
    }

    /// Attribute `KIND_floats`, `KIND_int64s`, `KIND_strings` or `KIND_tensor`.
    fn of(cx: &Cx<'_>, kind: &str) -> Result<Option<Self>, Fault> {
        if let Some(ints) = cx.ints(&format!("{kind}_int64s"))?.filter(|ints| !ints.is_empty()) {
            return Ok(Some(Self::Numbers(TensorData::from_i64(vec![ints.len()], &ints))));
        }
        if let Some(floats) = cx.floats(&format!("{kind}_floats"))?.filter(|floats| !floats.is_empty()) {
            return Ok(Some(Self::Numbers(TensorData::from_doubles(DType::F32, vec![floats.len()], floats))));
        }
        if let Some(strings) = cx.strings(&format!("{kind}_strings"))?.filter(|strings| !strings.is_empty()) {
            return Ok(Some(Self::Strings(strings.into_iter().map(String::into_bytes).collect())));
        }
        Ok(cx.stored(&format!("{kind}_tensor"))?.map(|stored| match stored {
            Stored::Numbers { data, .. } => Self::Numbers(data),
            Stored::Strings { elements, .. } => Self::Strings(elements),
        }))
    }
}

/// Known elements are looked up at once, and so are all the strings that may be picked. Others are compared with every
/// key.
fn label_encoder(cx: &mut Cx<'_>) -> Outcome {
    if let Some(classes) = cx.strings("classes_strings")? {
        // The first version of the operator: from strings to their numbers, or back.
        let names = Column::Strings(classes.into_iter().map(String::into_bytes).collect());
        let numbers = Column::Numbers(TensorData::from_integers(DType::I64, vec![names.len()], 0..names.len() as i64));
        let from_strings = matches!(cx.value(0)?, Value::Strings(_) | Value::Picked(_));
        return if from_strings { map(cx, &names, &numbers) } else { map(cx, &numbers, &names) };
    }
    let keys = required(cx, "keys_*", Column::of(cx, "keys")?)?;
    let values = required(cx, "values_*", Column::of(cx, "values")?)?;
    map(cx, &keys, &values)
}

fn map(cx: &Cx<'_>, keys: &Column, values: &Column) -> Outcome {
    if keys.len() != values.len() {
        return Err(cx.invalid(format!("{} keys for {} values", keys.len(), values.len())));
    }
    let (shape, entries) = match (keys, &cx.value(0)?) {
        (Column::Strings(keys), Value::Strings(strings)) => (strings.shape.clone(), find_all(keys, &strings.elements)),
        (Column::Strings(keys), Value::Picked(picked)) => {
            let entries = find_all(keys, picked.table.iter());
            return found(cx, values, &look_up(&Tensor::from_slice(&entries), &picked.positions));
        }
        (Column::Numbers(keys), Value::Tensor(value)) => match value.known() {
            None => return found(cx, values, &compared(keys, &cx.input(0)?)),
            Some(data) => (data.shape.clone(), known_entries(keys, &data)),
        },
        _ => return Err(cx.invalid("the keys are of another type than the input")),
    };
    found(cx, values, &Tensor::from_data(TensorData::from_i64(shape, &entries)))
}

/// The values of entries; where an entry is -1, the default.
fn found(cx: &Cx<'_>, values: &Column, entries: &Tensor) -> Outcome {
    match values {
        Column::Strings(values) => {
            let default = cx.string_or("default_string", "_Unused")?.into_bytes();
            Ok(vec![Value::strings_or(entries, values, default)])
        }
        Column::Numbers(values) => {
            let default = Tensor::from_data(default(cx, values)?).reshape(());
            let value = look_up(&Tensor::from_data(values.clone()), &entries.maximum(0));
            Ok(vec![Value::with_elem(where_(&entries.ge(0), value, default), ElemType::of(values.dtype))])
        }
    }
}

/// For each element the last entry with its key, or -1; not a number is a key like any other.
fn known_entries(keys: &TensorData, data: &TensorData) -> Vec<i64> {
    if !keys.dtype.is_float() && !data.dtype.is_float() {
        return find_all(keys.to_i64(), data.to_i64());
    }
    // As bits, of which equal numbers have the same once there is one zero and one NaN.
    let bits = |numbers: Vec<f64>| {
        numbers.into_iter().map(|number| if number.is_nan() { f64::NAN.to_bits() } else { (number + 0.0).to_bits() })
    };
    find_all(bits(keys.to_f64()), bits(data.to_f64()))
}

/// For each element the position of the last key that is equal, or -1.
fn find_all<K: Hash + Eq>(keys: impl IntoIterator<Item = K>, elements: impl IntoIterator<Item = K>) -> Vec<i64> {
    let table: HashMap<K, i64> = keys.into_iter().zip(0..).collect();
    elements.into_iter().map(|element| table.get(&element).copied().unwrap_or(-1)).collect()
}

/// What stands for an element without an entry.
fn default(cx: &Cx<'_>, values: &TensorData) -> Result<TensorData, Fault> {
    if let Some(tensor) = cx.tensor("default_tensor")?.filter(|tensor| tensor.len() == 1) {
        return Ok(tensor);
    }
    Ok(match values.dtype.is_float() {
        true => TensorData::from_doubles(values.dtype, vec![], [cx.float_or("default_float", -0.0)?]),
        false => TensorData::from_integers(values.dtype, vec![], [cx.int_or("default_int64", -1)?]),
    })
}

/// [`known_entries`] of elements that are computed: the largest number of a key that is equal.
fn compared(keys: &TensorData, x: &Tensor) -> Tensor {
    let keys = Tensor::from_data(keys.clone()).to_dtype(x.dtype());
    let x = x.unsqueeze(-1);
    let mut same = x.eq(&keys);
    if x.dtype().is_float() {
        same = same.logical_or(x.isnan().logical_and(keys.isnan()));
    }
    where_(&same, counting(&[Dim::from(keys.numel().as_const().unwrap_or(0))], 0), -1).max(-1)
}
