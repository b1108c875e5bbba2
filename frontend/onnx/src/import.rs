//! The import of a model as a whole: the file, the signature, and what comes out.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use memmap2::Mmap;
use nnc_frontend::tensor;
use nnc_frontend::trace::{Trace, trace};
use nnc_ir::{Bindings, Diagnostic, Location, Module, TensorData};
use prost::Message;
use prost::bytes::Bytes;

use crate::data::TensorReader;
use crate::elem::ElemType;
use crate::fault::{ImportError, Unsupported};
use crate::functions::{Functions, Opsets};
use crate::labels::Labels;
use crate::ops::Domain;
use crate::proto::{GraphProto, ModelProto, ValueInfoProto, tensor_shape_proto};
use crate::survey;
use crate::value::Value;
use crate::walk::{Walker, Weights};

mod inputs;

use inputs::{Declared, declare_inputs, declared_dims};

/// What an import is told beyond the file.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Extents of symbolic dimensions, by `dim_param` or by the name they have in the imported module. Those not
    /// given stay symbolic.
    pub dims: Bindings,
    /// Shapes of inputs: they bind the input's symbolic dimensions, and stand in where the file declares no shape.
    pub shapes: BTreeMap<String, Vec<usize>>,
    /// Inputs fixed to values: they are constants of the imported module and no inputs of it.
    pub values: BTreeMap<String, TensorData>,
}

/// A model that was imported.
#[derive(Clone, Debug)]
pub struct Imported {
    /// One function `main`; its weights are parameters under their ONNX names.
    pub module: Module,
    /// The function's inputs, in order.
    pub inputs: Vec<Port>,
    /// What the model gives, in order.
    pub outputs: Vec<Port>,
    /// Version of `ai.onnx` that the model is written against.
    pub opset: i64,
    /// The program that wrote the model, as far as the file says.
    pub producer: String,
    /// Further facts that the model carries: a vocabulary, the names of classes.
    pub metadata: BTreeMap<String, String>,
    /// Symbolic dimensions that were given an extent, by the names they were given under.
    pub bound: BTreeSet<String>,
}

/// An input or output of a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port {
    /// Name in the model.
    pub name: String,
    /// Element type in the model; the function's may have more values ([`ElemType::carrier`]).
    pub elem: ElemType,
    /// Parameters or results of the function that belong to it: one, or those of a sequence's tensors.
    pub positions: std::ops::Range<usize>,
    /// Whether it is a sequence.
    pub is_sequence: bool,
    /// How many slices of the result are data, where that depends on the run.
    pub bound: Option<PortBound>,
    /// What the numbers of an output stand for, where the model itself gives strings or maps.
    pub labels: Option<Labels>,
}

/// The extent of an output that depends on data: the result has its greatest extent, of which the first slices count
/// ([`crop`](crate::crop) cuts off the others).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortBound {
    /// The dimension.
    pub axis: usize,
    /// The result of the function that holds the number of slices: an `i64` scalar.
    pub count: usize,
}

/// Imports the model of a file.
///
/// # Errors
/// Everything that is wrong with the file, that nnc does not support, and that must be known to import it.
pub fn import(path: &Path, options: &Options) -> Result<Imported, ImportError> {
    let base = path.parent().unwrap_or(Path::new(""));
    import_shared(map_file(path)?, Some(base), Some(path), &file_name(path), options)
}

/// The file's content, read.
pub(crate) fn read_file(path: &Path) -> Result<Bytes, ImportError> {
    Ok(std::fs::read(path).map_err(|error| unreadable(path, &error))?.into())
}

/// The file's content for as long as an import takes: mapped, so that weights are copied once.
fn map_file(path: &Path) -> Result<Bytes, ImportError> {
    let file = File::open(path).map_err(|error| unreadable(path, &error))?;
    if !file.metadata().is_ok_and(|data| data.is_file() && data.len() > 0) {
        return read_file(path);
    }
    // SAFETY: what is kept of the file is copied; that nobody truncates it meanwhile is asked of every reader of mapped
    // files.
    let map = unsafe { Mmap::map(&file) }.map_err(|error| unreadable(path, &error))?;
    Ok(Bytes::from_owner(map))
}

fn unreadable(path: &Path, error: &std::io::Error) -> ImportError {
    ImportError::one(Diagnostic::new(Location::at(path.display().to_string(), 0, 0), error.to_string()))
}

/// What messages call the file.
pub(crate) fn file_name(path: &Path) -> String {
    path.file_name().map_or_else(|| path.display().to_string(), |name| name.to_string_lossy().into_owned())
}

/// Imports the model in `bytes`. External data are read from directory `base`; `name` stands for the file in messages.
///
/// # Errors
/// As for [`import`].
pub fn import_bytes(bytes: &[u8], base: Option<&Path>, name: &str, options: &Options) -> Result<Imported, ImportError> {
    import_shared(Bytes::copy_from_slice(bytes), base, None, name, options)
}

fn import_shared(
    bytes: Bytes,
    base: Option<&Path>,
    path: Option<&Path>,
    name: &str,
    options: &Options,
) -> Result<Imported, ImportError> {
    let file: Arc<str> = Arc::from(name);
    let model = decode(bytes, &file)?;
    import_model(&model, &TensorReader::new(base, path), &file, options, &Weights::default())
}

/// The model in a file's content; `file` is what messages call it. Tensors are slices of the content until they are
/// read: nothing is copied twice.
pub(crate) fn decode(bytes: Bytes, file: &Arc<str>) -> Result<ModelProto, ImportError> {
    ModelProto::decode(bytes).map_err(|error| {
        let message = format!("the file is no ONNX model: {error}");
        ImportError::one(Diagnostic::new(Location::at(file.clone(), 0, 0), message))
    })
}

/// Imports a model; its weights are those of `weights`, to which new ones are added.
pub(crate) fn import_model(
    model: &ModelProto,
    reader: &TensorReader,
    file: &Arc<str>,
    options: &Options,
    weights: &Weights,
) -> Result<Imported, ImportError> {
    let fault = |message: String| ImportError::one(Diagnostic::new(Location::at(file.clone(), 0, 0), message));
    let Some(graph) = &model.graph else {
        return Err(fault("the file is no ONNX model: it has no graph".to_string()));
    };
    let opsets = Opsets::new(&model.opset_import);
    let functions = Functions::of(model).map_err(fault)?;

    let unsupported = survey::unsupported(graph, &opsets, &functions);
    if !unsupported.is_empty() {
        let describe = |missing: &Unsupported| {
            let domain = if missing.domain.is_empty() { "ai.onnx" } else { &missing.domain };
            let Unsupported { op_type, opset, nodes, .. } = missing;
            let message =
                format!("operator `{op_type}` of {domain} {opset} is not supported; nodes: {}", nodes.join(", "));
            Diagnostic::new(Location::at(file.clone(), 0, 0), message)
        };
        return Err(ImportError {
            diagnostics: unsupported.iter().map(describe).collect(),
            unsupported,
            ..ImportError::default()
        });
    }

    let opset = opsets.version(Domain::Onnx);
    let mut settings = BTreeSet::new();
    let (traced, declared, outputs, needs) = loop {
        let (mut declared, mut outputs) = (Declared::default(), Vec::new());
        let (mut needs, mut more) = (BTreeSet::new(), BTreeSet::new());
        let traced = trace("main", |trace| {
            trace.fold_constants();
            let opsets = opsets.clone();
            let walker = Walker::new(trace, reader, file.clone(), &functions, opsets, weights.clone());
            let walker = walker.with_settings(&settings);
            declared = declare_inputs(trace, &walker, graph, options);
            walker.nodes(&graph.node);
            outputs = declare_outputs(trace, &walker, graph);
            (needs, more) = (walker.needs(), walker.settings_needed());
        });
        // Each round knows more settings, so it ends.
        let n_before = settings.len();
        settings.extend(more);
        if traced.is_ok() || settings.len() == n_before {
            break (traced, declared, outputs, needs);
        }
    };
    match traced {
        Ok(module) => {
            // What a file makes of huge extents fits no memory, which only shows when the graph is there.
            if let Err(diagnostics) = module.verify() {
                return Err(ImportError { diagnostics, ..ImportError::default() });
            }
            let words = [model.producer_name(), model.producer_version()];
            let producer = words.join(" ").trim().to_string();
            let facts = model.metadata_props.iter();
            let metadata = facts.map(|entry| (entry.key().to_string(), entry.value().to_string())).collect();
            let Declared { ports: inputs, bound, .. } = declared;
            Ok(Imported { module, inputs, outputs, opset, producer, metadata, bound })
        }
        Err(error) => {
            let is_open = |info: &ValueInfoProto| {
                let is_number = |dim: &tensor_shape_proto::Dimension| matches!(dim.value, Some(tensor_shape_proto::Value::DimValue(value)) if value >= 0);
                !options.shapes.contains_key(info.name())
                    && !declared_dims(info).is_some_and(|dims| dims.iter().all(is_number))
            };
            let symbolic = graph.input.iter().any(is_open);
            let (diagnostics, open) = (error.diagnostics, declared.open);
            Err(ImportError { diagnostics, needs, symbolic, open, ..ImportError::default() })
        }
    }
}

/// Declares the results.
fn declare_outputs(trace: &Trace, walker: &Walker<'_>, graph: &GraphProto) -> Vec<Port> {
    let mut ports = Vec::new();
    let mut n_results = 0;
    for info in &graph.output {
        let name = info.name();
        let location = walker.location(&format!("output `{name}`"));
        let value = match walker.lookup(name) {
            Some(value) => value,
            None => {
                tensor::record(Diagnostic::new(location, format!("output `{name}`, which nothing gives")));
                continue;
            }
        };
        let (value, is_sequence) = match value {
            Value::Optional(Some(value)) => (*value, false),
            value => (value, false),
        };
        let (parts, is_sequence) = match value {
            Value::Sequence(parts) => (parts.to_vec(), true),
            value => (vec![value], is_sequence),
        };
        let mut elem = ElemType::Float;
        let first = n_results;
        let (mut bound, mut labels) = (None, None);
        for (idx, part) in parts.iter().enumerate() {
            let (part, of_part) = match part {
                Value::Picked(picked) => (Value::from(picked.positions.clone()), Some(picked.labels())),
                Value::Maps(maps) => (Value::from(maps.values.clone()), Some(Labels::Columns((*maps.keys).clone()))),
                part => (part.clone(), None),
            };
            let Value::Tensor(value) = part else {
                let message = "the output is no tensor or sequence of tensors".to_string();
                tensor::record(Diagnostic::new(location.clone(), message));
                continue;
            };
            if of_part.is_some() && is_sequence {
                let message = "not supported: a sequence of tensors of strings, or of maps".to_string();
                tensor::record(Diagnostic::new(location.clone(), message));
            }
            labels = of_part;
            elem = value.elem;
            let result = if is_sequence { format!("{name}.{idx}") } else { name.to_string() };
            if is_sequence && value.bound.is_some() {
                let message = format!("not supported: part {idx}, whose extent is known only when the program runs");
                tensor::record(Diagnostic::new(location.clone(), message));
            }
            trace.output(&result, walker.tensor(&value));
            n_results += 1;
            if let Some(found) = &value.bound {
                bound = Some(found.clone());
            }
        }
        let positions = first..n_results;
        let bound = bound.map(|bound| {
            trace.output(&format!("{name}.count"), &*bound.count);
            n_results += 1;
            PortBound { axis: bound.axis, count: n_results - 1 }
        });
        ports.push(Port { name: name.to_string(), elem, positions, is_sequence, bound, labels });
    }
    ports
}
