//! From scores to class labels.

use nnc_frontend::Tensor;
use nnc_frontend::tensor::where_;

use super::super::positions::look_up;
use super::PostTransform;
use crate::cx::Cx;
use crate::fault::Fault;
use crate::value::Value;

/// The labels of a classifier.
pub(super) enum Classes {
    Ints(Vec<i64>),
    /// How many there are: labels that are strings are known to nobody when the program runs.
    Strings(usize),
}

impl Classes {
    /// The labels that one of two attributes has.
    pub(super) fn of(cx: &Cx<'_>, ints: &str, strings: &str) -> Result<Self, Fault> {
        if let Some(labels) = cx.ints(ints)?.filter(|labels| !labels.is_empty()) {
            return Ok(Self::Ints(labels));
        }
        match cx.strings(strings)? {
            Some(labels) if !labels.is_empty() => Ok(Self::Strings(labels.len())),
            _ => {
                Err(cx.invalid(format!("attribute `{ints}` is left out, and so is `{strings}`: expected one of them")))
            }
        }
    }

    pub(super) fn len(&self) -> usize {
        match self {
            Self::Ints(labels) => labels.len(),
            Self::Strings(n_labels) => *n_labels,
        }
    }

    /// The label of the largest score of each row. Those that are strings cannot be had; whoever asks for them is told.
    pub(super) fn label(&self, scores: &Tensor) -> Value {
        match self {
            Self::Ints(labels) if labels.len() == 1 => {
                where_(&scores.select(1, 0).gt(0.0), Tensor::scalar(labels[0]), 0).into()
            }
            Self::Ints(_) => self.label_at(&scores.argmax(1)),
            Self::Strings(_) => self.label_at(scores),
        }
    }

    /// The labels of class numbers.
    pub(super) fn label_at(&self, numbers: &Tensor) -> Value {
        match self {
            Self::Ints(labels) => look_up(&Tensor::from_slice(labels), numbers).into(),
            Self::Strings(_) => Value::Optional(None),
        }
    }
}

/// Scores of two classes from one score, raw and transformed. A score of positive weights is a probability.
pub(super) fn two_columns(score: &Tensor, is_probability: bool, transform: PostTransform) -> (Tensor, Tensor) {
    if is_probability {
        let columns = Tensor::stack(&[1.0 - score, score.clone()], 1);
        return (columns.clone(), columns);
    }
    let columns = Tensor::stack(&[-score, score.clone()], 1);
    let transformed = match transform {
        PostTransform::Logistic => columns.sigmoid(),
        _ => columns.clone(),
    };
    (columns, transformed)
}
