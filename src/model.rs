//! Model files of any kind: nnc's own text and binary modules, and ONNX.
//!
//! [`load()`] reads one as it is; [`load_with()`] also takes what is known of the model's dimensions and inputs, which an
//! ONNX model may need in order to become a graph at all: the extents of its symbolic dimensions, and the values of inputs
//! that say what shape something has. What comes out is the same in every case, a [`Module`], so nothing after this knows
//! what file it was.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Read;
use std::path::Path;

use indexmap::IndexMap;
use nnc_codegen::assemble::elem_type;
use nnc_ir::{Bindings, Diagnostic, Func, Location, Module, TensorData};
use nnc_onnx::given::{Given, import_given};
use nnc_onnx::{Imported, Labels, Port};
use nnc_runtime::program::{self, Bound, Constant, Ports, Program, TensorSpec};

use crate::error::Error;

/// What kind of file holds a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// nnc's text or binary module.
    Ir,
    /// An ONNX model.
    Onnx,
}

impl Format {
    /// The format of the file at `path`: by its extension `.onnx`, or because it begins as ONNX files do and nnc's own do
    /// not.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn of(path: &Path) -> Result<Self, Error> {
        /// The first field of a model is its version, a number: neither text nor the signature of a binary module.
        const ONNX_START: u8 = 0x08;

        let mut start = Vec::new();
        let read = File::open(path).and_then(|file| file.take(1).read_to_end(&mut start));
        read.map_err(|error| {
            let location = Location::at(path.display().to_string(), 0, 0);
            Error::from(Diagnostic::new(location, format!("cannot read the file: {error}")))
        })?;
        let is_named = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("onnx"));
        Ok(if is_named || start.first() == Some(&ONNX_START) { Self::Onnx } else { Self::Ir })
    }
}

/// A model that was read, and what is known of it beyond its functions.
#[derive(Clone, Debug)]
pub struct Model {
    /// Functions and weights.
    pub module: Module,
    /// What kind of file it was.
    pub format: Format,
    /// Inputs that are no longer inputs: values given for them decide shapes or control flow and are part of the graph.
    pub fixed: Vec<String>,
    /// Inputs of an ONNX model as it declares them.
    pub inputs: Vec<Port>,
    /// Outputs of an ONNX model as it declares them.
    pub outputs: Vec<Port>,
    /// Further facts that an ONNX model carries: a vocabulary, the names of classes.
    pub metadata: BTreeMap<String, String>,
    /// Symbolic dimensions of an ONNX model that were given an extent, by the names they were given under.
    pub bound: BTreeSet<String>,
}

/// Reads a model as it is: symbolic dimensions stay symbolic.
///
/// ```no_run
/// let model = nnc::load("model.onnx".as_ref())?;
/// let mut model = nnc::jit(model.module)?;
/// # Ok::<(), nnc::Error>(())
/// ```
///
/// # Errors
/// Every fault of the file. An ONNX model that needs values or extents to become a graph names them.
pub fn load(path: &Path) -> Result<Model, Error> {
    load_with(path, &Bindings::new(), &IndexMap::new())
}

/// Reads a model for given extents and inputs. For nnc's own modules that is [`load()`]. Symbolic dimensions of ONNX inputs
/// get the extents of the arrays; inputs on whose values the graph depends are fixed to them ([`Model::fixed`]).
///
/// # Errors
/// As for [`load()`], and arrays that are not what the model's inputs are.
pub fn load_with(path: &Path, dims: &Bindings, inputs: &IndexMap<String, TensorData>) -> Result<Model, Error> {
    let format = Format::of(path)?;
    // Both verify what they read.
    match format {
        Format::Ir => {
            let module = nnc_ir::file::load_module(path)?;
            let (fixed, inputs, outputs, metadata, bound) = Default::default();
            Ok(Model { module, format, fixed, inputs, outputs, metadata, bound })
        }
        Format::Onnx => {
            let Given { imported, fixed } = import_given(path, dims, inputs)?;
            let Imported { module, inputs, outputs, metadata, bound, .. } = imported;
            Ok(Model { module, format, fixed, inputs, outputs, metadata, bound })
        }
    }
}

impl Model {
    /// The outputs of this model, from all that its function gives, in order: see [`name_results`].
    pub fn outputs_of(&self, results: IndexMap<String, TensorData>) -> IndexMap<String, TensorData> {
        let (names, results): (Vec<String>, Vec<TensorData>) = results.into_iter().unzip();
        name_results(&self.output_ports(), &names, results)
    }

    /// What the numbers of an output stand for, where the model itself gives strings or maps.
    pub fn labels(&self, output: &str) -> Option<&Labels> {
        self.outputs.iter().find(|port| port.name == output)?.labels.as_ref()
    }

    /// What the model calls the results of its function.
    pub fn output_ports(&self) -> Vec<program::Port> {
        let port = |port: &Port| program::Port {
            bound: port.bound.map(|bound| Bound { axis: bound.axis as u32, count: bound.count as u32 }),
            ..plain_port(port, port.positions.start)
        };
        self.outputs.iter().map(port).collect()
    }

    /// What the model calls the inputs and outputs of `program`, which was compiled from its function `func`, for an
    /// artifact to behave as the model does. `values` has those of [`Model::fixed`].
    pub fn ports(&self, func: &Func, program: &Program, values: &IndexMap<String, TensorData>) -> Ports {
        let input = |port: &Port| {
            let names = func.params.get(port.positions.clone())?.iter().map(|param| &param.name);
            let first = names.clone().next()?;
            let start = program.inputs.iter().position(|input| input.name == *first)?;
            let same = program.inputs[start..].iter().zip(names.clone()).filter(|(input, name)| input.name == **name);
            (same.count() == names.len()).then(|| plain_port(port, start))
        };
        let fixed = |name: &String| {
            let data = values.get(name)?;
            let spec = TensorSpec { elem: elem_type(data.dtype), shape: data.shape.clone() };
            Some((name.clone(), Constant { spec, data: data.bytes.clone() }))
        };
        Ports {
            inputs: self.inputs.iter().filter_map(input).collect(),
            outputs: self.output_ports(),
            fixed: self.fixed.iter().filter_map(fixed).collect(),
        }
    }
}

/// A port whose tensors are those from `start` on.
fn plain_port(port: &Port, start: usize) -> program::Port {
    program::Port {
        name: port.name.clone(),
        elem: (!port.elem.is_exact()).then(|| port.elem.to_string()),
        tensors: start as u32..(start + port.positions.len()) as u32,
        bound: None,
    }
}

/// The results of a function or program under the names of the model that it was made of, in the model's order: `names`
/// and `results` are the function's, `outputs` what the model calls them ([`Model::output_ports`], [`Program::ports`]),
/// which nothing but the function's names says where it is empty. What follows the data of an output whose extent depends
/// on data is cut off; the tensors of a sequence are `name.0`, `name.1`, ....
pub fn name_results(
    outputs: &[program::Port],
    names: &[String],
    results: Vec<TensorData>,
) -> IndexMap<String, TensorData> {
    if outputs.is_empty() {
        return names.iter().cloned().zip(results).collect();
    }
    let mut named = IndexMap::new();
    for port in outputs {
        for position in port.tensors.start as usize..port.tensors.end as usize {
            let data = match port.bound {
                Some(Bound { axis, count }) => {
                    let count = results[count as usize].to_i64().first().map_or(0, |&count| count.max(0) as usize);
                    nnc_onnx::crop(&results[position], axis as usize, count)
                }
                None => results[position].clone(),
            };
            named.insert(names[position].clone(), data);
        }
    }
    named
}
