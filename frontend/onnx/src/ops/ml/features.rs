//! Preparation of features: `ArrayFeatureExtractor`, `Binarizer`, `FeatureVectorizer`, `Imputer`, `Normalizer`, `OneHotEncoder`,
//! `Scaler`.

use nnc_frontend::Tensor;
use nnc_frontend::tensor::where_;

use super::super::ints::moved;
use super::super::positions::index_along;
use super::super::{Domain, Entry, Outcome, one, op};
use super::{constant, floats, required};
use crate::cx::Cx;
use crate::fault::Fault;

pub(in crate::ops) const OPS: &[Entry] = &[
    op("ArrayFeatureExtractor", 1.., array_feature_extractor).in_domain(Domain::Ml),
    op("Binarizer", 1.., binarizer).in_domain(Domain::Ml),
    op("FeatureVectorizer", 1.., feature_vectorizer).in_domain(Domain::Ml),
    op("Imputer", 1.., imputer).in_domain(Domain::Ml),
    op("Normalizer", 1.., normalizer).in_domain(Domain::Ml),
    op("OneHotEncoder", 1.., one_hot_encoder).in_domain(Domain::Ml),
    op("Scaler", 1.., scaler).in_domain(Domain::Ml),
];

fn array_feature_extractor(cx: &mut Cx<'_>) -> Outcome {
    let positions = cx.input(1)?;
    let picked = moved(cx, 0, |data| {
        let data = if data.ty().rank() == 1 { data.unsqueeze(0) } else { data.clone() };
        let Some(last) = data.ty().rank().checked_sub(1) else {
            return Err(cx.invalid("the input is a scalar, expected features"));
        };
        Ok(index_along(&data, last, &positions.reshape([-1])))
    })?;
    Ok(vec![picked])
}

fn binarizer(cx: &mut Cx<'_>) -> Outcome {
    let data = cx.input(0)?;
    one(data.gt(cx.float_or("threshold", 0.0)?).to_dtype(data.dtype()))
}

/// Inputs side by side, each cut or filled with zeros to the length that `inputdimensions` says.
fn feature_vectorizer(cx: &mut Cx<'_>) -> Outcome {
    let lengths = required(cx, "inputdimensions", cx.ints("inputdimensions")?)?;
    let mut parts = Vec::new();
    for (input, &length) in lengths.iter().enumerate().take(cx.n_inputs()) {
        let part = super::rows(cx, cx.input(input)?)?.float();
        let Some(extent) = part.shape()[1].as_const() else {
            return Err(cx.unsupported(format!("input {input} has a symbolic number of features")));
        };
        parts.push(part.pad(&[(0, length - extent as i64)], 0.0));
    }
    one(Tensor::cat(&parts, 1))
}

fn imputer(cx: &mut Cx<'_>) -> Outcome {
    let data = cx.input(0)?;
    let (replaced, values) = match cx.floats("imputed_value_floats")?.filter(|values| !values.is_empty()) {
        Some(values) => (cx.float_or("replaced_value_float", 0.0)?, values),
        None => {
            let values = required(cx, "imputed_value_int64s", cx.ints("imputed_value_int64s")?)?;
            let replaced = cx.int_or("replaced_value_int64", 0)? as f64;
            (replaced, values.into_iter().map(|value| value as f64).collect())
        }
    };
    let missing = if replaced.is_nan() { data.isnan() } else { data.eq(replaced) };
    let values = constant(data.dtype(), &[values.len()], values);
    one(where_(&missing, values.broadcast_to(data.shape()), &data))
}

fn normalizer(cx: &mut Cx<'_>) -> Outcome {
    let data = floats(&cx.input(0)?);
    let norm = cx.string_or("norm", "MAX")?;
    let divisor = match norm.as_str() {
        "MAX" => data.abs().max_keepdim(-1),
        "L1" => data.abs().sum_keepdim(-1),
        "L2" => data.square().sum_keepdim(-1).sqrt(),
        _ => return Err(cx.invalid(format!("norm is `{norm}`, expected MAX, L1 or L2"))),
    };
    let is_zero = divisor.eq(0.0);
    one((&data / where_(&is_zero, 1.0, &divisor)).float())
}

fn one_hot_encoder(cx: &mut Cx<'_>) -> Outcome {
    if cx.strings("cats_strings")?.is_some_and(|categories| !categories.is_empty()) {
        return Err(cx.unsupported("categories that are strings"));
    }
    let categories = required(cx, "cats_int64s", cx.ints("cats_int64s")?)?;
    // Without `zeros` a category that is not listed would be an error when the program runs; here it gives zeros too.
    let data = cx.input(0)?.long().unsqueeze(-1);
    one(data.eq(Tensor::from_slice(&categories)).float())
}

fn scaler(cx: &mut Cx<'_>) -> Outcome {
    let data = floats(&cx.input(0)?);
    let factor = |name: &str, default: f64| -> Result<Tensor, Fault> {
        let values = cx.floats(name)?.unwrap_or_else(|| vec![default]);
        Ok(constant(data.dtype(), &[values.len()], values))
    };
    let scaled = (&data - factor("offset", 0.0)?) * factor("scale", 1.0)?;
    let fits = scaled.is_poisoned() || scaled.shape() == data.shape();
    if !fits {
        return Err(cx.invalid(format!("offset and scale do not fit the features {}", data.ty())));
    }
    one(scaled.float())
}
