//! What nnc does not aim at, and why. An excluded case runs like others, and counts if it passes.

use nnc_onnx::proto::ModelProto;

use crate::suite::has_strings;

/// Operators that are left out, with reasons.
const OPERATORS: &[(&str, &str)] = &[
    ("ImageDecoder", "decodes image files, which is the work of a library for images before the model"),
    ("Bernoulli", "the expected numbers are drawn from NumPy's generator"),
    ("StringNormalizer", STRINGS),
    ("StringConcat", STRINGS),
    ("StringSplit", STRINGS),
    ("RegexFullMatch", STRINGS),
];

/// Cases that are left out, by their beginnings, with reasons.
const CASES: &[(&str, &str)] = &[("node/test_training_dropout", "the expected mask is drawn from NumPy's generator")];

/// The importer knows the rules of older operator sets of some operators only.
const OLDEST_OPSET: i64 = 7;

const STRINGS: &str = "tensors of strings; nnc has tensors of numbers";

/// Why a case need not pass, if there is a reason.
pub(crate) fn reason(name: &str, operator: &str, model: &ModelProto) -> Option<&'static str> {
    let listed = OPERATORS.iter().find(|(excluded, _)| *excluded == operator);
    let listed = listed.or_else(|| CASES.iter().find(|(start, _)| name.starts_with(start)));
    if let Some((_, reason)) = listed {
        return Some(reason);
    }
    let is_onnx = |domain: &str| domain.is_empty() || domain == "ai.onnx";
    if model.opset_import.iter().any(|set| is_onnx(set.domain()) && set.version() < OLDEST_OPSET) {
        return Some("the model is written against an operator set before 7");
    }
    let graph = model.graph.as_ref()?;
    graph.input.iter().chain(&graph.output).any(|info| has_strings(info.r#type.as_ref())).then_some(STRINGS)
}
