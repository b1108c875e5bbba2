//! Running a model file: arrays in by name, arrays out by name, whatever their shapes.
//!
//! A [`Session`] reads the model once with its dimensions symbolic and compiles it for each new combination of shapes. An
//! ONNX model whose graph depends on more than extents (a shape that is computed from an input, a loop whose trips are
//! counted by one) is read again for what is given, and again when the values that decided change.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use indexmap::IndexMap;
use nnc_frontend::array::ToData;
use nnc_ir::{DType, TensorData};
use nnc_onnx::Labels;
use nnc_runtime::program::Port;

use crate::compile::Options;
use crate::error::Error;
use crate::jit::{Compilation, Jit, jit};
use crate::model::{Model, load, load_with, name_results};

/// A model file that runs.
///
/// ```no_run
/// use nnc::prelude::*;
///
/// let mut session = nnc::Session::load("model.onnx")?;
/// let image = ndarray::Array4::<f32>::zeros((1, 3, 224, 224));
/// let results = session.run(&[("image", &image)])?;
/// println!("{:?}", results["scores"].shape);
/// # Ok::<(), nnc::Error>(())
/// ```
pub struct Session {
    path: PathBuf,
    options: Options,
    threads: usize,
    /// The model for any shapes, if it can be read so.
    symbolic: Option<Graph>,
    /// The model for given shapes and values, in order of first use.
    specific: Vec<(Key, Graph)>,
    metadata: BTreeMap<String, String>,
}

/// A model as one function.
struct Graph {
    jit: Jit,
    /// Names of the function's inputs, in order.
    inputs: Vec<String>,
    /// Names of its results, in order.
    results: Vec<String>,
    /// What the model itself calls its outputs.
    outputs: Vec<Port>,
    /// What the numbers of its outputs stand for, if not for themselves.
    labels: IndexMap<String, Labels>,
    /// Inputs of the model whose values are part of the graph.
    fixed: Vec<String>,
}

/// What a graph was read for: element types and shapes by name, and the values that became part of it.
struct Key {
    types: Vec<(String, DType, Vec<usize>)>,
    fixed: Vec<(String, TensorData)>,
}

impl Graph {
    fn new(model: Model, options: &Options, threads: usize) -> Result<Self, Error> {
        let outputs = model.output_ports();
        let labels = model.outputs.iter().filter_map(|port| Some((port.name.clone(), port.labels.clone()?))).collect();
        let fixed = model.fixed;
        let mut options = options.clone();
        options.dims.retain(|symbol, _| !model.bound.contains(symbol));
        let jit = jit(model.module)?.options(options).threads(threads);
        let func = jit.func();
        let is_input = |param: &&nnc_ir::FuncParam| param.kind == nnc_ir::ParamKind::Input;
        let inputs = func.params.iter().filter(is_input).map(|param| param.name.clone()).collect();
        let results = func.results.iter().map(|result| result.name.clone()).collect();
        Ok(Self { inputs, results, outputs, labels, fixed, jit })
    }

    fn run(&mut self, mut given: IndexMap<String, TensorData>) -> Result<IndexMap<String, TensorData>, Error> {
        let mut missing = Vec::new();
        let mut arguments = Vec::with_capacity(self.inputs.len());
        for name in &self.inputs {
            match given.shift_remove(name) {
                Some(data) => arguments.push(data),
                None => missing.push(name.as_str()),
            }
        }
        let unknown: Vec<&String> = given.keys().filter(|name| !self.fixed.contains(name)).collect();
        if !missing.is_empty() || !unknown.is_empty() {
            let expected = self.inputs.join(", ");
            return Err(Error::message(format!(
                "inputs not given: {missing:?}, unknown: {unknown:?}, expected {expected}"
            )));
        }
        let arguments: Vec<&dyn ToData> = arguments.iter().map(|data| data as &dyn ToData).collect();
        let results = self.jit.call(&arguments)?;
        Ok(name_results(&self.outputs, &self.results, results))
    }
}

impl Key {
    fn of(given: &IndexMap<String, TensorData>, fixed: &[String]) -> Self {
        let types = given.iter().map(|(name, data)| (name.clone(), data.dtype, data.shape.clone())).collect();
        let fixed = fixed.iter().filter_map(|name| Some((name.clone(), given.get(name)?.clone()))).collect();
        Self { types, fixed }
    }

    fn fits(&self, given: &IndexMap<String, TensorData>) -> bool {
        let same = |(name, dtype, shape): &(String, DType, Vec<usize>)| {
            given.get(name).is_some_and(|data| data.dtype == *dtype && data.shape == *shape)
        };
        self.types.len() == given.len()
            && self.types.iter().all(same)
            && self.fixed.iter().all(|(name, value)| given.get(name) == Some(value))
    }
}

impl Session {
    /// Reads a model: `.onnx`, `.ir` or `.irb`.
    ///
    /// # Errors
    /// Every fault of the file. That an ONNX model needs shapes or values is none: they come with the first run.
    pub fn load(path: impl AsRef<Path>) -> Result<Self, Error> {
        let path = path.as_ref().to_path_buf();
        let options = Options { freeze: true, ..Options::default() };
        let (symbolic, metadata) = match load(&path) {
            Ok(mut model) => {
                let metadata = std::mem::take(&mut model.metadata);
                (Some(Graph::new(model, &options, 0)?), metadata)
            }
            Err(Error::Import(error)) if error.symbolic || !error.needs.is_empty() => {
                (None, nnc_onnx::summary::summarize(&path)?.metadata)
            }
            Err(error) => return Err(error),
        };
        Ok(Self { path, options, threads: 0, symbolic, specific: Vec::new(), metadata })
    }

    /// Compiles with other options from here on.
    #[must_use]
    pub fn options(mut self, options: Options) -> Self {
        self.symbolic = self.symbolic.map(|graph| Graph { jit: graph.jit.options(options.clone()), ..graph });
        self.specific.clear();
        self.options = options;
        self
    }

    /// Runs on at most this many threads; 0 is one a core.
    #[must_use]
    pub fn threads(mut self, threads: usize) -> Self {
        self.symbolic = self.symbolic.map(|graph| Graph { jit: graph.jit.threads(threads), ..graph });
        self.specific.clear();
        self.threads = threads;
        self
    }

    /// Runs the model on arrays by name and gives its results by name. Compiles first if the shapes are new.
    ///
    /// # Errors
    /// Inputs that are missing, unknown, or of types and shapes the model does not take; whatever compiling or running
    /// reports.
    pub fn run(&mut self, inputs: &[(&str, &dyn ToData)]) -> Result<IndexMap<String, TensorData>, Error> {
        let given = inputs.iter().map(|(name, data)| (name.to_string(), data.to_data())).collect();
        if let Some(graph) = &mut self.symbolic {
            return graph.run(given);
        }
        let known = self.specific.iter().position(|(key, _)| key.fits(&given));
        let idx = match known {
            Some(idx) => idx,
            None => {
                let model = load_with(&self.path, &self.options.dims, &given)?;
                let graph = Graph::new(model, &self.options, self.threads)?;
                self.specific.push((Key::of(&given, &graph.fixed), graph));
                self.specific.len() - 1
            }
        };
        self.specific[idx].1.run(given)
    }

    /// Further facts that an ONNX model carries: a vocabulary, the names of classes.
    pub fn metadata(&self) -> &BTreeMap<String, String> {
        &self.metadata
    }

    /// What the numbers of an output stand for, where the model itself gives strings or maps. A model that cannot be read
    /// without inputs says so after its first run.
    pub fn labels(&self, output: &str) -> Option<&Labels> {
        let graph = self.symbolic.as_ref().or(self.specific.first().map(|(_, graph)| graph))?;
        graph.labels.get(output)
    }

    /// Every compilation so far: more than a few mean that shapes keep changing.
    pub fn compilations(&self) -> Vec<Compilation> {
        let graphs = self.symbolic.iter().chain(self.specific.iter().map(|(_, graph)| graph));
        graphs.flat_map(|graph| graph.jit.compilations()).cloned().collect()
    }
}
