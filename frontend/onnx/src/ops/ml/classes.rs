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
    Strings(Vec<Vec<u8>>),
}

impl Classes {
    /// The labels that one of two attributes has.
    pub(super) fn of(cx: &Cx<'_>, ints: &str, strings: &str) -> Result<Self, Fault> {
        if let Some(labels) = cx.ints(ints)?.filter(|labels| !labels.is_empty()) {
            return Ok(Self::Ints(labels));
        }
        match cx.strings(strings)? {
            Some(labels) if !labels.is_empty() => {
                Ok(Self::Strings(labels.into_iter().map(String::into_bytes).collect()))
            }
            _ => {
                Err(cx.invalid(format!("attribute `{ints}` is left out, and so is `{strings}`: expected one of them")))
            }
        }
    }

    pub(super) fn len(&self) -> usize {
        match self {
            Self::Ints(labels) => labels.len(),
            Self::Strings(labels) => labels.len(),
        }
    }

    /// The label of the largest score of each row.
    pub(super) fn label(&self, scores: &Tensor) -> Value {
        match self {
            Self::Ints(labels) if labels.len() == 1 => {
                where_(&scores.select(1, 0).gt(0.0), Tensor::scalar(labels[0]), 0).into()
            }
            Self::Ints(_) | Self::Strings(_) => self.label_at(&scores.argmax(1)),
        }
    }

    /// The labels of rows of which it is known whether they belong to the second class of two.
    pub(super) fn second_where(&self, is_second: &Tensor) -> Value {
        self.label_at(&is_second.long())
    }

    /// The labels of class numbers.
    pub(super) fn label_at(&self, numbers: &Tensor) -> Value {
        match self {
            Self::Ints(labels) => look_up(&Tensor::from_slice(labels), numbers).into(),
            Self::Strings(labels) => Value::strings(numbers.long(), labels.as_slice()),
        }
    }
}

/// Transformed scores of two classes from the one score that tells them apart: of the second class, and what is left of
/// 1 (for a probability) or the opposite.
pub(super) fn two_columns(score: &Tensor, is_probability: bool, transform: PostTransform) -> Tensor {
    let columns = |second: &Tensor, is_probability: bool| {
        let first = if is_probability { 1.0 - second } else { -second };
        Tensor::stack(&[first, second.clone()], 1)
    };
    match transform {
        PostTransform::Logistic => columns(score, false).sigmoid(),
        PostTransform::Probit => columns(&transform.of_scores(score), true),
        PostTransform::None | PostTransform::Softmax | PostTransform::SoftmaxZero => columns(score, is_probability),
    }
}
