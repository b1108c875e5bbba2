//! `ZipMap`: scores by the names of their classes.

use std::rc::Rc;

use super::super::{Domain, Entry, Outcome, op};
use super::rows;
use crate::cx::Cx;
use crate::labels::{Keys, Maps};
use crate::value::Value;

pub(in crate::ops) const OPS: &[Entry] = &[op("ZipMap", 1.., zip_map).in_domain(Domain::Ml)];

/// A map for each row stays a row: the keys go along.
fn zip_map(cx: &mut Cx<'_>) -> Outcome {
    let values = rows(cx, cx.input(0)?)?;
    let ints = cx.ints("classlabels_int64s")?.unwrap_or_default();
    let n_columns = values.shape()[1].as_const();
    let checked = |n_keys: usize| match n_columns {
        Some(n_columns) if n_columns != n_keys => {
            Err(cx.invalid(format!("{n_keys} keys for the columns of {}", values.ty())))
        }
        _ => Ok(()),
    };
    let keys = match cx.strings("classlabels_strings")?.unwrap_or_default() {
        strings if ints.is_empty() => checked(strings.len()).map(|()| Keys::Strings(strings))?,
        strings if strings.is_empty() => checked(ints.len()).map(|()| Keys::Ints(ints))?,
        _ => return Err(cx.invalid("`classlabels_int64s` and `classlabels_strings` are given, expected one of them")),
    };
    Ok(vec![Value::Maps(Maps { values, keys: Rc::new(keys) })])
}
