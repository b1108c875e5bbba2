//! The inputs of a model: their types, symbolic extents, and what they become.

use std::cell::RefCell;
use std::collections::{BTreeSet, HashSet};

use nnc_frontend::trace::Trace;
use nnc_frontend::{Tensor, tensor};
use nnc_ir::{Bindings, Diagnostic, Dim, TensorType};

use super::{Options, Port};
use crate::elem::ElemType;
use crate::proto::{GraphProto, TensorProto, TypeProto, ValueInfoProto, tensor_shape_proto, type_proto};
use crate::value::Value;
use crate::walk::Walker;

/// What the inputs came to.
#[derive(Default)]
pub(super) struct Declared {
    pub(super) ports: Vec<Port>,
    /// Symbolic dimensions that have an extent, under the names it was given for.
    pub(super) bound: BTreeSet<String>,
    /// Symbolic dimensions that have none.
    pub(super) open: BTreeSet<String>,
}

/// Declares the inputs, and binds the names of inputs and constants.
pub(super) fn declare_inputs(trace: &Trace, walker: &Walker<'_>, graph: &GraphProto, options: &Options) -> Declared {
    // Older files list every constant among the inputs; a caller gives none of those.
    let values: HashSet<&str> = graph.initializer.iter().map(TensorProto::name).collect();
    walker.bind_initializers(graph, &|name| options.values.contains_key(name));
    let given: BTreeSet<&String> = options.shapes.keys().chain(options.values.keys()).collect();
    for name in given.into_iter().filter(|name| !graph.input.iter().any(|info| names(info, name))) {
        let inputs = graph.input.iter().filter(|info| !values.contains(info.name()));
        let inputs: Vec<String> = inputs.map(|info| format!("`{}`", info.name())).collect();
        let message = format!("input `{name}` is given, the model has {}", inputs.join(", "));
        tensor::record(Diagnostic::new(walker.location("inputs"), message));
    }
    let mut inputs = Inputs {
        trace,
        options,
        symbols: Symbols { dims: options.dims.clone(), bound: RefCell::default() },
        open: BTreeSet::new(),
        n_params: 0,
    };
    check_dims(graph, options, walker);
    for info in &graph.input {
        inputs.symbols.solve(info, options.shapes.get(info.name()));
    }
    let mut ports = Vec::new();
    for info in &graph.input {
        let name = info.name();
        if values.contains(name) && !options.values.contains_key(name) {
            continue;
        }
        let guard = nnc_frontend::trace::place(walker.location(&format!("input `{name}`")));
        let first = inputs.n_params;
        match inputs.value(name, info.r#type.as_ref()) {
            Ok((elem, value, sources)) => {
                let sources: Vec<&str> = sources.iter().map(String::as_str).collect();
                let is_sequence = matches!(value, Value::Sequence(_));
                walker.bind(name, value, &sources);
                let positions = first..inputs.n_params;
                if !positions.is_empty() || is_sequence {
                    ports.push(Port {
                        name: name.to_string(),
                        elem,
                        positions,
                        is_sequence,
                        bound: None,
                        labels: None,
                    });
                }
            }
            Err(message) => walker.bind(name, tensor::fault(message).into(), &[name]),
        }
        drop(guard);
    }
    Declared { ports, bound: inputs.symbols.bound.into_inner(), open: inputs.open }
}

/// Records extents that are given for no dimension of an input.
fn check_dims(graph: &GraphProto, options: &Options, walker: &Walker<'_>) {
    let mut known = BTreeSet::new();
    for info in &graph.input {
        let dims = declared_dims(info).unwrap_or_default().iter().enumerate();
        known.extend(dims.filter_map(|(axis, dim)| extent(dim, info.name(), axis).err()));
    }
    for name in options.dims.keys() {
        if !known.iter().any(|symbol| symbol == name || plain(symbol) == *name) {
            let known: Vec<String> = known.iter().map(|symbol| format!("`{symbol}`")).collect();
            let known = if known.is_empty() { "none".to_string() } else { known.join(", ") };
            let message = format!("an extent is given for `{name}`; symbolic dimensions of the inputs are {known}");
            tensor::record(Diagnostic::new(walker.location("inputs"), message));
        }
    }
}

/// Whether `given` names input `info` or, of a sequence `x`, its element `x.0`, `x.1`, ....
fn names(info: &ValueInfoProto, given: &str) -> bool {
    let element = given.strip_prefix(info.name()).and_then(|rest| rest.strip_prefix('.'));
    given == info.name() || (declared(info).is_none() && element.is_some_and(|index| index.parse::<usize>().is_ok()))
}

/// An input: its element type, what its name stands for, and the inputs of the function that it is made of.
type Input = (ElemType, Value, Vec<String>);

/// The inputs of the function, as they are declared.
struct Inputs<'i> {
    trace: &'i Trace,
    options: &'i Options,
    symbols: Symbols,
    /// Dimensions that stayed symbolic.
    open: BTreeSet<String>,
    n_params: usize,
}

impl Inputs<'_> {
    /// Input `name`. Of a sequence the elements are inputs `name.0`, `name.1`, ..., as many as are given; an optional
    /// that is not given is empty.
    fn value(&mut self, name: &str, ty: Option<&TypeProto>) -> Result<Input, String> {
        let element = |element: &type_proto::Element| element.elem_type.as_deref().cloned();
        match ty.and_then(|ty| ty.value.as_ref()) {
            Some(type_proto::Value::SequenceType(of)) => self.sequence(name, element(of)),
            Some(type_proto::Value::OptionalType(of)) => {
                let inner = element(of);
                let elem = inner.as_ref().and_then(elem_of).unwrap_or(ElemType::Float);
                if !self.is_given(name) && !self.is_given(&format!("{name}.0")) {
                    return Ok((elem, Value::Optional(None), Vec::new()));
                }
                let (elem, value, sources) = self.value(name, inner.as_ref())?;
                Ok((elem, Value::Optional(Some(Box::new(value))), sources))
            }
            _ => self.tensor(name, ty),
        }
    }

    fn is_given(&self, name: &str) -> bool {
        self.options.shapes.contains_key(name) || self.options.values.contains_key(name)
    }

    fn sequence(&mut self, name: &str, element: Option<TypeProto>) -> Result<Input, String> {
        if self.options.shapes.is_empty() && self.options.values.is_empty() {
            return Err(format!(
                "the input is a sequence: give the shapes of its elements `{name}.0`, `{name}.1`, ..."
            ));
        }
        let mut elem = element.as_ref().and_then(elem_of).unwrap_or(ElemType::Float);
        // Elements may differ in shape, whatever is declared.
        let element = element.map(|mut ty| {
            if let Some(type_proto::Value::TensorType(tensor)) = &mut ty.value {
                tensor.shape = None;
            }
            ty
        });
        let (mut elements, mut sources) = (Vec::new(), Vec::new());
        loop {
            let part = format!("{name}.{}", elements.len());
            if !self.is_given(&part) {
                return Ok((elem, Value::Sequence(elements.into()), sources));
            }
            let (found, value, from) = self.tensor(&part, element.as_ref())?;
            elem = found;
            elements.push(value);
            sources.extend(from);
        }
    }

    fn tensor(&mut self, name: &str, ty: Option<&TypeProto>) -> Result<Input, String> {
        if let Some(data) = self.options.values.get(name) {
            let elem = ty.and_then(elem_of).filter(|elem| elem.carrier() == Some(data.dtype));
            let elem = elem.unwrap_or(ElemType::of(data.dtype));
            return Ok((elem, Value::with_elem(Tensor::from_data(data.clone()), elem), Vec::new()));
        }
        let info = ValueInfoProto { name: Some(name.to_string()), r#type: ty.cloned(), ..ValueInfoProto::default() };
        let (elem, ty) = input_type(&info, &self.symbols, self.options.shapes.get(name))?;
        self.n_params += 1;
        self.open.extend(ty.shape.0.iter().filter(|dim| dim.as_const().is_none()).map(ToString::to_string));
        Ok((elem, Value::with_elem(self.trace.input(name, ty), elem), vec![name.to_string()]))
    }
}

/// The element type of a tensor type.
fn elem_of(ty: &TypeProto) -> Option<ElemType> {
    match &ty.value {
        Some(type_proto::Value::TensorType(tensor)) => ElemType::from_number(tensor.elem_type()),
        _ => None,
    }
}

/// Extents of symbolic dimensions.
struct Symbols {
    dims: Bindings,
    /// Names in `dims` that an input had.
    bound: RefCell<BTreeSet<String>>,
}

impl Symbols {
    /// Binds the symbols of an input from the shape it will have.
    fn solve(&mut self, info: &ValueInfoProto, shape: Option<&Vec<usize>>) {
        let (Some(dims), Some(shape)) = (declared_dims(info), shape) else { return };
        for (dim, &extent) in dims.iter().zip(shape) {
            if let Some(tensor_shape_proto::Value::DimParam(param)) = &dim.value
                && is_symbol(param)
            {
                self.dims.entry(param.clone()).or_insert(extent);
            }
        }
    }

    /// The extent of dimension `axis` of input `input`.
    fn dim(&self, dim: &tensor_shape_proto::Dimension, input: &str, axis: usize) -> Dim {
        let symbol = match extent(dim, input, axis) {
            Ok(extent) => return Dim::from(extent),
            Err(symbol) => symbol,
        };
        let plain = plain(&symbol);
        match self.dims.get_key_value(&symbol).or_else(|| self.dims.get_key_value(&plain)) {
            Some((name, &extent)) => {
                self.bound.borrow_mut().insert(name.clone());
                Dim::from(extent)
            }
            None => Dim::symbol(plain),
        }
    }
}

/// The extent that is declared for dimension `axis` of input `input`, or what the dimension is called.
fn extent(dim: &tensor_shape_proto::Dimension, input: &str, axis: usize) -> Result<usize, String> {
    match &dim.value {
        Some(tensor_shape_proto::Value::DimValue(value)) if *value >= 0 => Ok(*value as usize),
        Some(tensor_shape_proto::Value::DimParam(param)) if is_symbol(param) => Err(param.clone()),
        // Nothing is said, or what exporters write for that: a symbol of its own.
        _ => Err(format!("{input}.{axis}")),
    }
}

/// Whether a `dim_param` names a dimension. Some exporters write `?` or `-1` for any.
fn is_symbol(param: &str) -> bool {
    param.chars().any(char::is_alphabetic)
}

/// A symbol that needs no quotes: other characters become `_`.
fn plain(symbol: &str) -> String {
    let body = symbol.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' });
    let start = if symbol.starts_with(|c: char| c.is_ascii_digit()) { "_" } else { "" };
    start.chars().chain(body).collect()
}

fn declared(info: &ValueInfoProto) -> Option<&type_proto::Tensor> {
    match &info.r#type {
        Some(TypeProto { value: Some(type_proto::Value::TensorType(tensor)), .. }) => Some(tensor),
        _ => None,
    }
}

pub(super) fn declared_dims(info: &ValueInfoProto) -> Option<&[tensor_shape_proto::Dimension]> {
    Some(&declared(info)?.shape.as_ref()?.dim)
}

fn input_type(
    info: &ValueInfoProto,
    symbols: &Symbols,
    given: Option<&Vec<usize>>,
) -> Result<(ElemType, TensorType), String> {
    let Some(tensor) = declared(info) else {
        return Err("the input is no tensor (a map, say, or without a type), which nnc does not take".to_string());
    };
    let number = tensor.elem_type();
    let elem =
        ElemType::from_number(number).ok_or_else(|| format!("element type {number}, which ONNX does not know"))?;
    let dtype = elem.carrier().ok_or_else(|| format!("element type {elem}, which nnc does not have"))?;
    let dims: Vec<Dim> = match (declared_dims(info), given) {
        (Some(dims), _) => {
            if let Some(given) = given
                && given.len() != dims.len()
            {
                return Err(format!("a shape of rank {} is given, expected {}", given.len(), dims.len()));
            }
            let dim = |(axis, dim)| match given {
                Some(given) if symbols.dim(dim, info.name(), axis).as_const().is_none() => Dim::from(given[axis]),
                _ => symbols.dim(dim, info.name(), axis),
            };
            dims.iter().enumerate().map(dim).collect()
        }
        (None, Some(given)) => given.iter().map(|&extent| Dim::from(extent)).collect(),
        (None, None) => return Err("the model declares no shape of it: give one".to_string()),
    };
    let ty = TensorType::new(dtype, dims);
    ty.check_size()?;
    Ok((elem, ty))
}
