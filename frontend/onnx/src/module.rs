//! ONNX models as modules of the front end: to be called in a trace, trained, and saved again.
//!
//! A call walks the model's graph on the tensors it is given, as an import does on inputs of its own: so the same model
//! serves any extents its operators allow, and what training needs (a loss, an optimizer) is traced around it. The
//! weights are the module's parameters, under their ONNX names, the same ones in every call.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use nnc_frontend::module::{Forward, Member, Members, Module};
use nnc_frontend::trace::{Trace, trace};
use nnc_frontend::{Parameter, Tensor, tensor};
use nnc_ir::interp::eval_func;
use nnc_ir::{Bindings, Diagnostic, Location, ParamKind, TensorData};
use prost::bytes::Bytes;

use crate::data::{Stored, TensorReader};
use crate::export::{ExportOptions, write_model};
use crate::fault::ImportError;
use crate::functions::{Functions, Opsets};
use crate::import::{Imported, Options, decode, file_name, import_model, read_file};
use crate::proto::{GraphProto, ModelProto, SparseTensorProto, TensorProto};
use crate::value::Value;
use crate::walk::{Walker, Weights};

/// A model read from an ONNX file, as a layer.
///
/// The file does not say which of its tensors are trained. Parameters are the floating-point tensors that something is
/// computed from, initializers and the values of `Constant` nodes alike (some exporters write weights so), under their
/// ONNX names. Of these, running statistics of a batch normalization are left alone by training unless they are
/// [unfrozen](Parameter::unfreeze). Data, and never trained, are integers and truth values (shapes, positions, axes),
/// scalars (an epsilon, a ratio), masks (tensors with infinite elements, or the largest number there is), and types of
/// which nnc holds the values alone, as `float8`. What else should stay as it is, a table of positions, say, is for
/// [`OnnxModule::trainable`] to tell.
///
/// Operators do what the file says: a dropout passes everything and a batch normalization uses its running statistics,
/// unless the model was exported in training mode. Statistics that such a model computes are not kept.
///
/// [`OnnxModule::save`] writes the file again with the present values, so a trained model is an ONNX model; to go on from
/// it with `nnc` on the command line, `nnc compile tuned.onnx -o tuned.ir` makes it a module.
///
/// ```no_run
/// use nnc_frontend::prelude::*;
/// use nnc_onnx::OnnxModule;
///
/// let model = OnnxModule::load("classifier.onnx")?;
/// model.trainable(|name| name.starts_with("head."));
/// println!("{} parameters", model.parameters().len());
/// model.save("copy.onnx").map_err(|faults| faults[0].clone())?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct OnnxModule {
    file: Arc<str>,
    model: ModelProto,
    reader: TensorReader,
    /// Every weight that a walk met.
    weights: Weights,
    /// Those that the function computes with, in the order in which it does.
    parameters: Vec<(String, Parameter)>,
    inputs: Vec<String>,
    outputs: Vec<String>,
    /// Which output a call gives.
    output: usize,
}

impl OnnxModule {
    /// Reads a model, and checks that it can be imported.
    ///
    /// # Errors
    /// As for [`import`](crate::import()).
    pub fn load(path: impl AsRef<Path>) -> Result<Self, ImportError> {
        let path = path.as_ref();
        let base = path.parent().map_or_else(PathBuf::new, Path::to_path_buf);
        let file: Arc<str> = file_name(path).into();
        let model = decode(read_file(path)?, &file)?;
        let reader = TensorReader::new(Some(&base), Some(path));
        let weights = Weights::default();
        let imported = import_model(&model, &reader, &file, &Options::default(), &weights)?;
        let Imported { module, inputs, outputs, .. } = imported;
        let func = module.func("main").expect("an import has a function @main");
        let known = weights.borrow();
        let used = func.params.iter().filter(|param| param.kind != ParamKind::Input);
        let parameters =
            used.filter_map(|param| Some((param.name.clone(), known.get(&param.name)?.parameter.clone()))).collect();
        drop(known);
        Ok(Self {
            file,
            model,
            reader,
            weights,
            parameters,
            inputs: inputs.into_iter().map(|port| port.name).collect(),
            outputs: outputs.into_iter().map(|port| port.name).collect(),
            output: 0,
        })
    }

    /// Makes a call give the output called `name` instead of the first.
    ///
    /// # Errors
    /// If there is none; its message lists those there are.
    pub fn output(mut self, name: &str) -> Result<Self, Diagnostic> {
        match self.outputs.iter().position(|output| output == name) {
            Some(at) => {
                self.output = at;
                Ok(self)
            }
            None => {
                let message = format!("there is no output `{name}`; the model gives {}", self.outputs.join(", "));
                Err(Diagnostic::new(self.location("outputs"), message))
            }
        }
    }

    /// Names of the inputs, in the order in which a call takes them.
    pub fn inputs(&self) -> &[String] {
        &self.inputs
    }

    /// Names of the outputs.
    pub fn outputs(&self) -> &[String] {
        &self.outputs
    }

    /// Freezes the parameters of whose names `filter` does not hold. Those that are frozen already stay so.
    pub fn trainable(&self, filter: impl Fn(&str) -> bool) {
        self.parameters.iter().filter(|(name, _)| !filter(name)).for_each(|(_, parameter)| parameter.freeze());
    }

    /// The outputs for inputs in order. Inside a trace their nodes become part of it.
    #[track_caller]
    pub fn forward_all(&self, inputs: &[Tensor]) -> Vec<Tensor> {
        if let Some(poisoned) = inputs.iter().find(|input| input.is_poisoned()) {
            return vec![poisoned.clone(); self.outputs.len()];
        }
        if inputs.len() != self.inputs.len() {
            let (found, expected) = (inputs.len(), self.inputs.join(", "));
            let fault = tensor::fault(format!("{}: {found} inputs are given, expected {expected}", self.file));
            return vec![fault; self.outputs.len()];
        }
        match Trace::active() {
            Some(trace) => self.walk(&trace, inputs),
            None => self.evaluate(inputs).unwrap_or_else(|fault| vec![tensor::record(fault); self.outputs.len()]),
        }
    }

    fn walk(&self, trace: &Trace, inputs: &[Tensor]) -> Vec<Tensor> {
        trace.fold_constants();
        let graph = self.graph();
        let opsets = Opsets::new(&self.model.opset_import);
        let functions = Functions::of(&self.model).expect("a model of sound functions was imported");
        let walker = Walker::new(trace, &self.reader, self.file.clone(), &functions, opsets, self.weights.clone());
        walker.bind_initializers(graph, &|_| false);
        for (name, input) in self.inputs.iter().zip(inputs) {
            walker.bind(name, input.clone().into(), &[name.as_str()]);
        }
        walker.nodes(&graph.node);
        let output = |name: &String| match walker.lookup(name) {
            Some(Value::Tensor(value)) if value.bound.is_none() => walker.tensor(&value),
            Some(Value::Picked(picked)) => picked.positions,
            Some(Value::Maps(maps)) => maps.values,
            _ => tensor::record(Diagnostic::new(
                walker.location(&format!("output `{name}`")),
                "it is no tensor whose extents are known",
            )),
        };
        self.outputs.iter().map(output).collect()
    }

    /// The outputs of concrete inputs, by the interpreter.
    fn evaluate(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, Diagnostic> {
        let first = |mut faults: Vec<Diagnostic>| faults.swap_remove(0);
        let module = trace("forward", |trace| {
            trace.bind(self);
            let inputs: Vec<Tensor> =
                inputs.iter().zip(&self.inputs).map(|(input, name)| trace.input(name, input.ty())).collect();
            for (name, output) in self.outputs.iter().zip(self.walk(trace, &inputs)) {
                trace.output(name, output);
            }
        })
        .map_err(|error| first(error.diagnostics))?;
        let func = &module.funcs[0];
        let mut values = indexmap::IndexMap::new();
        for (name, input) in self.inputs.iter().zip(inputs) {
            values.insert(name.clone(), input.data()?);
        }
        values.extend(module.weights.iter().map(|(name, data)| (name.to_string(), data.clone())));
        let results = eval_func(func, &module.weights, &values, &Bindings::new()).map_err(first)?;
        Ok(self.outputs.iter().map(|name| Tensor::from_data(results[name.as_str()].clone())).collect())
    }

    /// Writes the model with the present values of its parameters: the graph, the names and everything else are the
    /// file's own.
    ///
    /// # Errors
    /// If a file cannot be written.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<(), Vec<Diagnostic>> {
        let mut model = self.model.clone();
        let mut faults = Vec::new();
        if let Some(graph) = &mut model.graph {
            self.renew(graph, &mut faults);
        }
        for node in model.functions.iter_mut().flat_map(|function| &mut function.node) {
            self.renew_node(node, &mut faults);
        }
        if !faults.is_empty() {
            return Err(faults);
        }
        write_model(&mut model, path.as_ref(), &ExportOptions::default()).map(|_| ())
    }

    /// Replaces the weights of a graph and the graphs in it.
    fn renew(&self, graph: &mut GraphProto, faults: &mut Vec<Diagnostic>) {
        for proto in &mut graph.initializer {
            let name = proto.name().to_string();
            self.renew_tensor(&name, proto, faults);
        }
        // What was trained is no longer sparse.
        let sparse = std::mem::take(&mut graph.sparse_initializer);
        for proto in sparse {
            match self.dense(&proto) {
                Ok(Some(dense)) => graph.initializer.push(dense),
                Ok(None) => graph.sparse_initializer.push(proto),
                Err(fault) => faults.push(fault),
            }
        }
        graph.node.iter_mut().for_each(|node| self.renew_node(node, faults));
    }

    fn renew_node(&self, node: &mut crate::proto::NodeProto, faults: &mut Vec<Diagnostic>) {
        let output = node.output.first().cloned().unwrap_or_default();
        let is_constant = node.op_type() == "Constant";
        for attribute in &mut node.attribute {
            if let Some(graph) = &mut attribute.g {
                self.renew(graph, faults);
            }
            if let Some(proto) = &mut attribute.t {
                // A constant's tensor is known by the name of what the node gives.
                let name = if is_constant { output.as_str() } else { "" };
                self.renew_tensor(name, proto, faults);
            }
        }
    }

    /// Puts the present value of a weight into its tensor, and the elements of others that lie in a file beside the old
    /// model into the new one.
    fn renew_tensor(&self, name: &str, proto: &mut TensorProto, faults: &mut Vec<Diagnostic>) {
        let is_outside = proto.data_location == Some(1);
        let stored = match self.reader.read(proto) {
            Ok(Stored::Numbers { elem, data }) => (elem, data),
            Ok(Stored::Strings { .. }) => return,
            Err(message) => return faults.push(Diagnostic::new(self.location(&format!("tensor `{name}`")), message)),
        };
        let (elem, data) = stored;
        let present = self.present(name, &data);
        match present {
            Some(present) => replace(proto, present),
            None if is_outside && elem.is_exact() => replace(proto, data),
            None if is_outside => {
                let message = format!("elements of type {elem} lie outside the model, and cannot be moved");
                faults.push(Diagnostic::new(self.location(&format!("tensor `{name}`")), message));
            }
            None => {}
        }
    }

    /// The present value of the weight that a sparse tensor was, if it is one of the parameters.
    fn dense(&self, proto: &SparseTensorProto) -> Result<Option<TensorProto>, Diagnostic> {
        let name = proto.values.as_ref().map_or("", |values| values.name());
        let fault = |message: String| Diagnostic::new(self.location(&format!("tensor `{name}`")), message);
        let Stored::Numbers { elem, data } = self.reader.read_sparse(proto).map_err(fault)? else { return Ok(None) };
        Ok(self.present(name, &data).filter(|present| *present != data).map(|present| TensorProto {
            dims: data.shape.iter().map(|&extent| extent as i64).collect(),
            data_type: Some(elem.number()),
            name: Some(name.to_string()),
            raw_data: Some(Bytes::from_owner(present.bytes)),
            ..TensorProto::default()
        }))
    }

    /// The present value of the weight that was read as `data` under `name`, if it is one of the parameters.
    fn present(&self, name: &str, data: &TensorData) -> Option<TensorData> {
        let weights = self.weights.borrow();
        // Names that graphs share got numbers.
        let numbered = (1..).map(|number| format!("{name}.{number}"));
        let names = std::iter::once(name.to_string()).chain(numbered);
        let known = names.map_while(|name| weights.get(&name).cloned());
        { known }.find(|weight| weight.stored == *data).map(|weight| weight.parameter.data())
    }

    fn graph(&self) -> &GraphProto {
        self.model.graph.as_ref().expect("a model without a graph was refused")
    }

    fn location(&self, what: &str) -> Location {
        Location::at(self.file.clone(), 0, 0).in_scope(Some(Arc::from(what)))
    }
}

/// Makes `data`, of the tensor's own type, what a tensor holds.
fn replace(proto: &mut TensorProto, data: TensorData) {
    *proto = TensorProto {
        dims: std::mem::take(&mut proto.dims),
        data_type: proto.data_type,
        name: proto.name.take(),
        doc_string: proto.doc_string.take(),
        raw_data: Some(Bytes::from_owner(data.bytes)),
        ..TensorProto::default()
    };
}

impl Module for OnnxModule {
    fn members(&self) -> Members<'_> {
        self.parameters.iter().map(|(name, parameter)| (name.clone(), Member::Parameter(parameter))).collect()
    }

    fn extra_repr(&self) -> String {
        format!("{}: {} -> {}", self.file, self.inputs.join(", "), self.outputs.join(", "))
    }
}

impl Forward for OnnxModule {
    /// The chosen output of a model of one input.
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Tensor {
        self.forward_all(std::slice::from_ref(x)).swap_remove(self.output)
    }
}

impl std::fmt::Debug for OnnxModule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "OnnxModule({})", self.extra_repr())
    }
}
