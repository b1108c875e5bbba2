//! `LabelEncoder`: each element by its entry in a table.

use std::collections::HashMap;
use std::hash::Hash;
use std::rc::Rc;

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
use crate::value::{StringTensor, Value};

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

/// Known elements are looked up at once, strings among them. Others are compared with every key.
fn label_encoder(cx: &mut Cx<'_>) -> Outcome {
    if let Some(classes) = cx.strings("classes_strings")? {
        // The first version of the operator: from strings to their numbers, or back.
        let names = Column::Strings(classes.into_iter().map(String::into_bytes).collect());
        let numbers = Column::Numbers(TensorData::from_integers(DType::I64, vec![names.len()], 0..names.len() as i64));
        let from_strings = matches!(cx.value(0)?, Value::Strings(_));
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
    let input = cx.value(0)?;
    let (shape, entries) = match (keys, &input) {
        (Column::Strings(keys), Value::Strings(strings)) => (strings.shape.clone(), find_all(keys, &strings.elements)),
        (Column::Numbers(keys), Value::Tensor(value)) => match (value.known(), values) {
            (None, Column::Numbers(values)) => return compare(cx, keys, values),
            (None, Column::Strings(_)) => return Err(cx.unsupported("values that are strings, of elements not known")),
            (Some(data), _) => (data.shape.clone(), known_entries(keys, &data)),
        },
        _ => return Err(cx.invalid("the keys are of another type than the input")),
    };
    match values {
        Column::Strings(values) => {
            let default = cx.string_or("default_string", "_Unused")?.into_bytes();
            let pick = |entry: &Option<usize>| entry.map_or(&default, |entry| &values[entry]).clone();
            let elements = entries.iter().map(pick).collect();
            Ok(vec![Value::Strings(Rc::new(StringTensor { shape, elements }))])
        }
        Column::Numbers(values) => {
            let default = default(cx, values)?;
            let scalars = entries.iter().map(|entry| match entry {
                Some(entry) => values.get(*entry),
                None => default.get(0),
            });
            let data = TensorData::from_scalars(values.dtype, shape, scalars);
            Ok(vec![Value::with_elem(Tensor::from_data(data), ElemType::of(values.dtype))])
        }
    }
}

/// For each element the last entry with its key; not a number is a key like any other.
fn known_entries(keys: &TensorData, data: &TensorData) -> Vec<Option<usize>> {
    if !keys.dtype.is_float() && !data.dtype.is_float() {
        return find_all(keys.to_i64(), data.to_i64());
    }
    // As bits, of which equal numbers have the same once there is one zero and one NaN.
    let bits = |numbers: Vec<f64>| {
        numbers.into_iter().map(|number| if number.is_nan() { f64::NAN.to_bits() } else { (number + 0.0).to_bits() })
    };
    find_all(bits(keys.to_f64()), bits(data.to_f64()))
}

/// For each element the position of the last key that is equal.
fn find_all<K: Hash + Eq>(
    keys: impl IntoIterator<Item = K>,
    elements: impl IntoIterator<Item = K>,
) -> Vec<Option<usize>> {
    let table: HashMap<K, usize> = keys.into_iter().enumerate().map(|(entry, key)| (key, entry)).collect();
    elements.into_iter().map(|element| table.get(&element).copied()).collect()
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

/// Elements that are computed: the largest number of a key that is equal, and what that entry holds.
fn compare(cx: &Cx<'_>, keys: &TensorData, values: &TensorData) -> Outcome {
    let x = cx.input(0)?;
    let keys = Tensor::from_data(keys.clone()).to_dtype(x.dtype());
    let x = x.unsqueeze(-1);
    let mut same = x.eq(&keys);
    if x.dtype().is_float() {
        same = same.logical_or(x.isnan().logical_and(keys.isnan()));
    }
    let entry = where_(&same, counting(&[Dim::from(values.len())], 0), -1).max(-1);
    let found = look_up(&Tensor::from_data(values.clone()), &entry.maximum(0));
    let default = Tensor::from_data(default(cx, values)?).reshape(());
    Ok(vec![Value::with_elem(where_(&entry.ge(0), found, default), ElemType::of(values.dtype))])
}
