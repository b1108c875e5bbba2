//! What numbers stand for where a model computes strings or maps.
//!
//! nnc computes tensors of numbers. A classifier whose classes have names still runs: the strings that it picks are
//! positions in a list that is known while importing ([`Picked`]), and the maps from class to score that `ZipMap` makes
//! of each row are the columns of one tensor ([`Maps`]). At an output of the model the list or the keys are part of the
//! signature ([`Port::labels`](crate::Port)), so whoever reads the numbers can put the names back.

use std::rc::Rc;

use nnc_frontend::Tensor;
use nnc_frontend::tensor::where_;
use nnc_ir::TensorData;

use crate::value::{StringTensor, Value};

/// What the numbers of an output stand for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Labels {
    /// The output is a tensor of strings: its elements, `i64`, are positions in this list.
    Elements(Vec<String>),
    /// The output is a sequence with one map a row: the result is a matrix with a column for each of these keys.
    Columns(Keys),
}

/// The keys of maps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Keys {
    /// Numbers.
    Ints(Vec<i64>),
    /// Names.
    Strings(Vec<String>),
}

/// A tensor of strings that are picked when the program runs.
#[derive(Clone)]
pub(crate) struct Picked {
    /// Positions in `table`, `i64`.
    pub(crate) positions: Tensor,
    /// What may be picked.
    pub(crate) table: Rc<[Vec<u8>]>,
}

impl Picked {
    /// The strings as a list of the signature.
    pub(crate) fn labels(&self) -> Labels {
        Labels::Elements(self.table.iter().map(|text| String::from_utf8_lossy(text).into_owned()).collect())
    }
}

/// A sequence of maps, one a row, which all have the same keys.
#[derive(Clone)]
pub(crate) struct Maps {
    /// Rows, and a column for each key.
    pub(crate) values: Tensor,
    pub(crate) keys: Rc<Keys>,
}

impl Value {
    /// The strings of `table` at `positions`: known ones if the positions are known.
    pub(crate) fn strings(positions: Tensor, table: impl Into<Rc<[Vec<u8>]>>) -> Self {
        let table = table.into();
        match positions.data() {
            Ok(TensorData { shape, .. }) if table.is_empty() => {
                Self::Strings(Rc::new(StringTensor { shape, elements: Vec::new() }))
            }
            Ok(known) => {
                let elements = known.to_i64().into_iter().map(|at| table[at as usize].clone()).collect();
                Self::Strings(Rc::new(StringTensor { shape: known.shape, elements }))
            }
            Err(_) if positions.is_poisoned() => positions.into(),
            Err(_) => Self::Picked(Picked { positions, table }),
        }
    }

    /// The strings of `table` at `entries`, and `default` where an entry is -1.
    pub(crate) fn strings_or(entries: &Tensor, table: &[Vec<u8>], default: Vec<u8>) -> Self {
        let positions = where_(&entries.ge(0), entries, table.len() as i64);
        Self::strings(positions, [table, &[default]].concat())
    }
}
