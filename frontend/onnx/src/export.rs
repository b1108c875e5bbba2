//! Functions of the IR as ONNX models.
//!
//! Every op becomes the ONNX operator of the same meaning, or a composition. Names are kept: inputs, results and weights
//! have their own, nodes are called after the module path they were traced in. Symbolic extents become `dim_param`s, and
//! are read from the inputs where the model computes with them. The model is written against [`BASE_OPSET`], or the
//! version that its newest operator needs.
//!
//! Where ONNX leaves open what nnc defines, the exported model is as ONNX runs it: conversions of floats that do not fit
//! an integer, division of integers by zero, powers of
//! integers that overflow, the order in which a scatter writes one element twice, rounding of sums, and
//! NaN in maxima, minima, their positions, and sorts.
//!
//! | module | owns |
//! |---|---|
//! | `emitter` | names, constants, extents, broadcasting: what the others write with |
//! | `signature` | inputs, weights, outputs |
//! | `lower` | the walk over a graph; which family expresses which op |
//! | `leaf`, `elementwise`, `movement`, `index`, `reduce`, `order`, `window`, `contract`, `control` | the families |

use std::path::{Path, PathBuf};
use std::sync::Arc;

use indexmap::IndexMap;
use nnc_ir::weights::write_atomically;
use nnc_ir::{Diagnostic, Func, Location, TensorData};
use prost::Message;
use prost::bytes::Bytes;

use crate::proto::{GraphProto, ModelProto, OperatorSetIdProto, StringStringEntryProto};

mod contract;
mod control;
mod elementwise;
mod emitter;
mod index;
mod leaf;
mod lower;
mod movement;
mod order;
mod reduce;
mod signature;
mod window;

/// The version of `ai.onnx` that exported models are written against, unless they need a newer one.
pub const BASE_OPSET: i64 = 18;

/// How to export.
#[derive(Clone, Debug)]
pub struct ExportOptions {
    /// Bytes of weights beyond which they go to a file beside the model: a protobuf file ends at 2 GiB.
    pub max_inline_bytes: u64,
    /// Results of which a part counts ([`PortBound`](crate::PortBound)): outputs have that extent, and the counts are
    /// none.
    pub bounds: Vec<BoundedResult>,
}

/// A result of the function that has its greatest extent, of which the first slices count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BoundedResult {
    /// The result's position.
    pub result: usize,
    /// The dimension.
    pub axis: usize,
    /// Position of the result that says how many slices count: a scalar of integers.
    pub count: usize,
}

impl Default for ExportOptions {
    fn default() -> Self {
        Self { max_inline_bytes: 1 << 30, bounds: Vec::new() }
    }
}

/// What was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exported {
    /// Version of `ai.onnx` that the model needs.
    pub opset: i64,
    /// Number of nodes, those of nested graphs not counted.
    pub n_nodes: usize,
    /// Bytes of weights and constants.
    pub n_weight_bytes: u64,
    /// The file that holds them, if it is not the model's.
    pub external_data: Option<PathBuf>,
}

/// Writes `func` as an ONNX model. Its parameters and states become constants of their values in `weights`, states
/// without one zeros; a result that replaces a parameter is an output like any other.
///
/// Weights of more than [`ExportOptions::max_inline_bytes`] go to the file of the model's name with `.data` appended.
///
/// # Errors
/// All ops that have no form in ONNX, with their places; missing weights; files that cannot be written.
pub fn export(
    func: &Func,
    weights: &IndexMap<Arc<str>, TensorData>,
    path: &Path,
    options: &ExportOptions,
) -> Result<Exported, Vec<Diagnostic>> {
    write_model(&mut build(func, weights, &options.bounds)?, path, options)
}

/// Writes a model, with large weights beside it if there are more than `options` allow inside.
pub(crate) fn write_model(
    model: &mut ModelProto,
    path: &Path,
    options: &ExportOptions,
) -> Result<Exported, Vec<Diagnostic>> {
    let opset = model.opset_import.iter().find(|opset| matches!(opset.domain(), "" | "ai.onnx"));
    let opset = opset.map_or(1, OperatorSetIdProto::version);
    let graph = model.graph.get_or_insert_default();
    let mut exported = Exported {
        opset,
        n_nodes: graph.node.len(),
        n_weight_bytes: graph.initializer.iter().map(|proto| proto.raw_data().len() as u64).sum(),
        external_data: None,
    };
    if exported.n_weight_bytes > options.max_inline_bytes {
        let fault = |message: &str| Diagnostic::new(Location::at(path.display().to_string(), 0, 0), message);
        let name = path.file_name().and_then(|name| name.to_str());
        let name = format!("{}.data", name.ok_or_else(|| vec![fault("the name of the file is no text")])?);
        let data_path = path.with_file_name(&name);
        let data = move_out(graph, &name);
        write_atomically(&data_path, |file| data.iter().try_for_each(|bytes| file.write_all(bytes)))
            .map_err(|fault| vec![fault])?;
        exported.external_data = Some(data_path);
    }
    write_atomically(path, |file| file.write_all(&model.encode_to_vec())).map_err(|fault| vec![fault])?;
    Ok(exported)
}

/// [`export`] to memory, with the weights inside.
///
/// # Errors
/// As for [`export`].
pub fn export_bytes(func: &Func, weights: &IndexMap<Arc<str>, TensorData>) -> Result<Vec<u8>, Vec<Diagnostic>> {
    Ok(build(func, weights, &[])?.encode_to_vec())
}

fn build(
    func: &Func,
    weights: &IndexMap<Arc<str>, TensorData>,
    bounds: &[BoundedResult],
) -> Result<ModelProto, Vec<Diagnostic>> {
    let mut e = emitter::Emitter::new(BASE_OPSET);
    signature::write_func(&mut e, func, weights, bounds);
    let faults = std::mem::take(&mut e.faults);
    if !faults.is_empty() {
        return Err(faults);
    }
    let (mut graph, opset) = e.finish();
    graph.name = Some(func.name.clone());
    Ok(ModelProto {
        ir_version: Some(file_version(opset)),
        producer_name: Some("nnc".to_string()),
        producer_version: Some(env!("CARGO_PKG_VERSION").to_string()),
        graph: Some(graph),
        opset_import: vec![OperatorSetIdProto { domain: Some(String::new()), version: Some(opset) }],
        ..ModelProto::default()
    })
}

/// The version of the file format that came with a version of the operators.
fn file_version(opset: i64) -> i64 {
    match opset {
        ..=18 => 8,
        19..=20 => 9,
        21..=22 => 10,
        23 => 11,
        24 => 12,
        25..=27 => 13,
        _ => 14,
    }
}

/// Takes the bytes of large tensors out of the graph, to lie one after the other in file `name`, each at a multiple of a
/// page; gives them and the gaps in order.
fn move_out(graph: &mut GraphProto, name: &str) -> Vec<Bytes> {
    const PAGE: usize = 4096;
    /// Smaller ones stay: tools look at them for shapes.
    const MIN_BYTES: usize = 1024;

    let mut parts = Vec::new();
    let mut offset = 0;
    for proto in &mut graph.initializer {
        let Some(bytes) = proto.raw_data.take_if(|bytes| bytes.len() >= MIN_BYTES) else { continue };
        let entry =
            |key: &str, value: String| StringStringEntryProto { key: Some(key.to_string()), value: Some(value) };
        proto.data_location = Some(1);
        proto.external_data = vec![
            entry("location", name.to_string()),
            entry("offset", offset.to_string()),
            entry("length", bytes.len().to_string()),
        ];
        let gap = bytes.len().next_multiple_of(PAGE) - bytes.len();
        offset += bytes.len() + gap;
        parts.extend([bytes, vec![0; gap].into()]);
    }
    parts
}
