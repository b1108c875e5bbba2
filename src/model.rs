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
use nnc_ir::{Bindings, Diagnostic, Location, Module, TensorData};
use nnc_onnx::given::{Given, import_given};
use nnc_onnx::{Imported, Port};

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
    /// The outputs of this model, from all that its function gives, in order: see [`Model::name_results`].
    pub fn outputs_of(&self, results: IndexMap<String, TensorData>) -> IndexMap<String, TensorData> {
        let (names, results): (Vec<String>, Vec<TensorData>) = results.into_iter().unzip();
        Self::name_results(&self.outputs, &names, results)
    }

    /// The function's results under the model's names, in its order. What follows the data of an output whose extent
    /// depends on data is cut off; the tensors of a sequence are `name.0`, `name.1`, ....
    pub fn name_results(outputs: &[Port], names: &[String], results: Vec<TensorData>) -> IndexMap<String, TensorData> {
        if outputs.is_empty() {
            return names.iter().cloned().zip(results).collect();
        }
        let mut named = IndexMap::new();
        for port in outputs {
            for position in port.positions.clone() {
                let data = match port.bound {
                    Some(bound) => {
                        let count = results[bound.count].to_i64().first().map_or(0, |&count| count.max(0) as usize);
                        nnc_onnx::crop(&results[position], bound.axis, count)
                    }
                    None => results[position].clone(),
                };
                named.insert(names[position].clone(), data);
            }
        }
        named
    }
}
