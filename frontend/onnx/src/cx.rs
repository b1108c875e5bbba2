//! `Cx`: one node as the function that imports it sees it.

use std::rc::Rc;

use nnc_frontend::Tensor;
use nnc_ir::{DType, TensorData};

use crate::bound::{Bound, is_bounded};
use crate::data::Stored;
use crate::elem::ElemType;
use crate::fault::Fault;
use crate::proto::{AttributeProto, GraphProto, NodeProto, attribute_type};
use crate::shape_int::ShapeInt;
use crate::value::{Source, Value};
use crate::walk::{Attributes, Walker};

/// One node being imported.
pub(crate) struct Cx<'a> {
    pub(crate) walker: &'a Walker<'a>,
    node: &'a NodeProto,
    /// The nodes of the graph that the node is in.
    siblings: &'a [NodeProto],
    inputs: Vec<Option<Value>>,
    opset: i64,
    /// Attributes of the function whose body the node is in.
    attributes: Rc<Attributes>,
}

impl<'a> Cx<'a> {
    pub(crate) fn new(
        walker: &'a Walker<'a>,
        node: &'a NodeProto,
        siblings: &'a [NodeProto],
        inputs: Vec<Option<Value>>,
        opset: i64,
        attributes: Rc<Attributes>,
    ) -> Self {
        Self { walker, node, siblings, inputs, opset, attributes }
    }

    /// Version of the operator's domain that the model asks for.
    pub(crate) fn opset(&self) -> i64 {
        self.opset
    }

    /// The nodes of the graph that the node is in.
    pub(crate) fn siblings(&self) -> &[NodeProto] {
        self.siblings
    }

    /// The operator.
    pub(crate) fn op_type(&self) -> &str {
        self.node.op_type()
    }

    /// Number of inputs, those left out at the end not counted.
    pub(crate) fn n_inputs(&self) -> usize {
        self.inputs.iter().rposition(Option::is_some).map_or(0, |last| last + 1)
    }

    /// Number of outputs that the node names.
    pub(crate) fn n_outputs(&self) -> usize {
        self.node.output.len()
    }

    /// Whether input `index` is given.
    pub(crate) fn has(&self, index: usize) -> bool {
        self.inputs.get(index).is_some_and(Option::is_some)
    }

    /// Whether somebody may read output `index`.
    pub(crate) fn wants_output(&self, index: usize) -> bool {
        self.node.output.get(index).is_some_and(|name| !name.is_empty())
    }

    /// Name of output `index`; empty if nobody wants it.
    pub(crate) fn output_name(&self, index: usize) -> &str {
        self.node.output.get(index).map_or("", String::as_str)
    }

    /// Input `index`, which must be given.
    pub(crate) fn value(&self, index: usize) -> Result<Value, Fault> {
        match self.inputs.get(index) {
            Some(Some(value)) => Ok(value.clone()),
            _ => Err(self.invalid(format!("input {index} is left out, expected one"))),
        }
    }

    /// Input `index` as a tensor of its carrier type. A weight becomes a parameter of the function.
    pub(crate) fn input(&self, index: usize) -> Result<Tensor, Fault> {
        let value = self.value(index)?;
        self.tensor_of(&value).ok_or_else(|| match value {
            Value::Sequence(_) => self.invalid(format!("input {index} is a sequence, expected a tensor")),
            Value::Optional(_) => self.invalid(format!("input {index} is an optional, expected a tensor")),
            Value::Maps(_) => self.invalid(format!("input {index} is a sequence of maps, expected a tensor")),
            _ => self.unsupported(format!("input {index} is a tensor of strings")),
        })
    }

    /// Input `index` as a tensor, if it is given.
    pub(crate) fn optional(&self, index: usize) -> Result<Option<Tensor>, Fault> {
        self.has(index).then(|| self.input(index)).transpose()
    }

    /// All inputs as tensors.
    pub(crate) fn inputs(&self) -> Result<Vec<Tensor>, Fault> {
        (0..self.n_inputs()).map(|index| self.input(index)).collect()
    }

    /// Input `index` as a parameter that training leaves alone, if it is a weight: a running mean, say.
    pub(crate) fn statistic(&self, index: usize) -> Result<Tensor, Fault> {
        if let Some(Some(Value::Tensor(value))) = self.inputs.get(index)
            && let Source::Weight(weight) = &value.source
        {
            weight.parameter.freeze();
        }
        self.input(index)
    }

    /// A value as a tensor of its carrier type, or `None` if it is none, or if some of it is fill.
    pub(crate) fn tensor_of(&self, value: &Value) -> Option<Tensor> {
        match value {
            Value::Tensor(value) if value.bound.is_none() => Some(self.walker.tensor(value)),
            _ => None,
        }
    }

    /// Whether some input has slices that are fill.
    pub(crate) fn is_bounded(&self) -> bool {
        self.inputs.iter().flatten().any(is_bounded)
    }

    /// The bounds of the inputs, which from now on are plain tensors.
    pub(crate) fn take_bounds(&mut self) -> Result<Vec<Option<Bound>>, Fault> {
        let mut bounds = Vec::with_capacity(self.inputs.len());
        for (index, input) in self.inputs.iter_mut().enumerate() {
            bounds.push(match input {
                Some(Value::Tensor(value)) => value.bound.take(),
                Some(value) if is_bounded(value) => {
                    let message = format!("input {index} has parts whose extent is known only when the program runs");
                    return Err(Fault::Unsupported(message));
                }
                _ => None,
            });
        }
        Ok(bounds)
    }

    /// Replaces input `index`.
    pub(crate) fn set_input(&mut self, index: usize, value: Value) {
        self.inputs[index] = Some(value);
    }

    /// ONNX's element type of input `index`.
    pub(crate) fn elem(&self, index: usize) -> Result<ElemType, Fault> {
        match self.value(index)? {
            Value::Tensor(value) => Ok(value.elem),
            Value::Strings(_) | Value::Picked(_) => Ok(ElemType::String),
            _ => Err(self.invalid(format!("input {index} is no tensor, expected one"))),
        }
    }

    /// The elements of input `index`, if they are known while importing.
    pub(crate) fn try_known(&self, index: usize) -> Option<TensorData> {
        match self.inputs.get(index) {
            Some(Some(Value::Tensor(value))) => value.known(),
            _ => None,
        }
    }

    /// The elements of input `index`, which must be known while importing.
    pub(crate) fn known(&self, index: usize) -> Result<TensorData, Fault> {
        match self.value(index)? {
            Value::Tensor(value) => value.known().ok_or_else(|| self.needs(index, &value)),
            _ => Err(self.invalid(format!("input {index} is no tensor, expected one"))),
        }
    }

    fn needs(&self, index: usize, value: &crate::value::TensorValue) -> Fault {
        if value.is_poisoned() {
            return Fault::Reported;
        }
        Fault::NeedsValue { input: index, name: self.node.input[index].clone() }
    }

    /// Input `index`, which must be known while importing, is not.
    pub(crate) fn needs_value(&self, index: usize) -> Fault {
        match self.inputs.get(index) {
            Some(Some(Value::Tensor(value))) => self.needs(index, value),
            _ => self.invalid(format!("input {index} must be known when the model is imported")),
        }
    }

    /// Notes that the value of input `index` would help, whatever else is at fault.
    pub(crate) fn would_help(&self, index: usize) {
        if let Some(name) = self.node.input.get(index) {
            self.walker.would_help(name);
        }
    }

    /// The elements of input `index` as integers, known while importing.
    pub(crate) fn known_ints(&self, index: usize) -> Result<Vec<i64>, Fault> {
        Ok(self.known(index)?.to_i64())
    }

    /// The one element of input `index` as an integer, known while importing.
    pub(crate) fn known_int(&self, index: usize) -> Result<i64, Fault> {
        match self.known_ints(index)?.as_slice() {
            [value] => Ok(*value),
            values => Err(self.invalid(format!("input {index} has {} elements, expected one", values.len()))),
        }
    }

    /// `n`, a number of elements that are computed while importing, unless it is more than a file should ask for.
    pub(crate) fn table(&self, what: &str, n: usize) -> Result<usize, Fault> {
        /// A few seconds' worth, and at most some hundred megabytes.
        const MOST: usize = 1 << 24;
        match n {
            0..=MOST => Ok(n),
            _ => Err(self.invalid(format!("{what} is a table of {n} elements, expected at most {MOST}"))),
        }
    }

    /// The elements of input `index` as doubles, known while importing.
    pub(crate) fn known_floats(&self, index: usize) -> Result<Vec<f64>, Fault> {
        Ok(self.known(index)?.to_f64())
    }

    /// The one element of input `index` as a double, known while importing.
    pub(crate) fn known_float(&self, index: usize) -> Result<f64, Fault> {
        match self.known_floats(index)?.as_slice() {
            [value] => Ok(*value),
            values => Err(self.invalid(format!("input {index} has {} elements, expected one", values.len()))),
        }
    }

    /// The elements of input `index` as integers that may follow from symbolic extents.
    pub(crate) fn shape_ints(&self, index: usize) -> Result<Vec<ShapeInt>, Fault> {
        if let Value::Tensor(value) = self.value(index)?
            && let Some(ints) = &value.ints
        {
            return Ok(ints.to_vec());
        }
        Ok(self.known_ints(index)?.into_iter().map(ShapeInt::Known).collect())
    }

    /// Attribute `name`, where it is given. In the body of a function it may stand for one of the function's.
    pub(crate) fn attribute(&self, name: &str) -> Option<&AttributeProto> {
        let attribute = self.node.attribute.iter().find(|attribute| attribute.name() == name)?;
        match &attribute.ref_attr_name {
            Some(reference) if !reference.is_empty() => self.attributes.get(reference),
            _ => Some(attribute),
        }
    }

    /// All attributes, references resolved: what a call gives to a function.
    pub(crate) fn attributes(&self) -> impl Iterator<Item = (&str, &AttributeProto)> {
        self.node.attribute.iter().filter_map(|attribute| Some((attribute.name(), self.attribute(attribute.name())?)))
    }

    fn typed<'s, T>(
        &'s self,
        name: &str,
        expected: (i32, &str),
        get: impl FnOnce(&'s AttributeProto) -> Option<T>,
    ) -> Result<Option<T>, Fault> {
        let Some(attribute) = self.attribute(name) else { return Ok(None) };
        // Files of the first format version have no type field.
        let fits = attribute.r#type.is_none_or(|found| found == 0 || found == expected.0);
        let value = fits.then(|| get(attribute)).flatten();
        match value {
            Some(value) => Ok(Some(value)),
            None => Err(self.invalid(format!("attribute `{name}` is of another type, expected {}", expected.1))),
        }
    }

    /// Integer attribute `name`.
    pub(crate) fn int(&self, name: &str) -> Result<Option<i64>, Fault> {
        self.typed(name, (attribute_type::INT, "an integer"), |attribute| Some(attribute.i()))
    }

    /// Integer attribute `name`, or `default`.
    pub(crate) fn int_or(&self, name: &str, default: i64) -> Result<i64, Fault> {
        Ok(self.int(name)?.unwrap_or(default))
    }

    /// Integer attribute `name` as a truth value, or `default`.
    pub(crate) fn flag(&self, name: &str, default: bool) -> Result<bool, Fault> {
        Ok(self.int_or(name, i64::from(default))? != 0)
    }

    /// Integer list attribute `name`.
    pub(crate) fn ints(&self, name: &str) -> Result<Option<Vec<i64>>, Fault> {
        self.typed(name, (attribute_type::INTS, "integers"), |attribute| Some(attribute.ints.clone()))
    }

    /// Integer list attribute `name`, or `default`.
    pub(crate) fn ints_or(&self, name: &str, default: &[i64]) -> Result<Vec<i64>, Fault> {
        Ok(self.ints(name)?.unwrap_or_else(|| default.to_vec()))
    }

    /// Float attribute `name`.
    pub(crate) fn float(&self, name: &str) -> Result<Option<f64>, Fault> {
        self.typed(name, (attribute_type::FLOAT, "a float"), |attribute| Some(f64::from(attribute.f())))
    }

    /// Float attribute `name`, or `default`.
    pub(crate) fn float_or(&self, name: &str, default: f64) -> Result<f64, Fault> {
        Ok(self.float(name)?.unwrap_or(default))
    }

    /// Float list attribute `name`.
    pub(crate) fn floats(&self, name: &str) -> Result<Option<Vec<f64>>, Fault> {
        self.typed(name, (attribute_type::FLOATS, "floats"), |attribute| {
            Some(attribute.floats.iter().map(|&value| f64::from(value)).collect())
        })
    }

    /// String attribute `name`.
    pub(crate) fn string(&self, name: &str) -> Result<Option<String>, Fault> {
        self.typed(name, (attribute_type::STRING, "a string"), |attribute| {
            String::from_utf8(attribute.s().to_vec()).ok()
        })
    }

    /// String attribute `name`, or `default`.
    pub(crate) fn string_or(&self, name: &str, default: &str) -> Result<String, Fault> {
        Ok(self.string(name)?.unwrap_or_else(|| default.to_string()))
    }

    /// String list attribute `name`.
    pub(crate) fn strings(&self, name: &str) -> Result<Option<Vec<String>>, Fault> {
        self.typed(name, (attribute_type::STRINGS, "strings"), |attribute| {
            attribute.strings.iter().map(|text| String::from_utf8(text.clone()).ok()).collect()
        })
    }

    /// Tensor attribute `name`, as read.
    pub(crate) fn stored(&self, name: &str) -> Result<Option<Stored>, Fault> {
        let proto = self.typed(name, (attribute_type::TENSOR, "a tensor"), |attribute| attribute.t.as_ref())?;
        let read = proto.map(|proto| self.walker.reader.read(proto)).transpose();
        read.map_err(|message| self.invalid(format!("attribute `{name}`: {message}")))
    }

    /// Tensor attribute `name` as numbers.
    pub(crate) fn tensor(&self, name: &str) -> Result<Option<TensorData>, Fault> {
        match self.stored(name)? {
            None => Ok(None),
            Some(Stored::Numbers { data, .. }) => Ok(Some(data)),
            Some(Stored::Strings { .. }) => Err(self.unsupported(format!("attribute `{name}` is a tensor of strings"))),
        }
    }

    /// The element type that integer attribute `name` is the number of, where it is given and not 0.
    pub(crate) fn elem_attribute(&self, name: &str) -> Result<Option<ElemType>, Fault> {
        let number = self.int_or(name, 0)?;
        if number == 0 {
            return Ok(None);
        }
        let elem = i32::try_from(number).ok().and_then(ElemType::from_number);
        let wrong = || self.invalid(format!("attribute `{name}` is {number}, expected the number of an element type"));
        elem.map(Some).ok_or_else(wrong)
    }

    /// The element type of attribute `name`, or `default`, and the IR type that carries it.
    pub(crate) fn elem_or(&self, name: &str, default: ElemType) -> Result<(ElemType, DType), Fault> {
        let elem = self.elem_attribute(name)?.unwrap_or(default);
        Ok((elem, self.carrier(elem)?))
    }

    /// The element type of attribute `name`, or `default`: one that the IR has itself.
    pub(crate) fn dtype_or(&self, name: &str, default: DType) -> Result<DType, Fault> {
        match self.elem_attribute(name)? {
            None => Ok(default),
            Some(elem) if elem.is_exact() => self.carrier(elem),
            Some(elem) => Err(self.unsupported(format!("attribute `{name}` is {elem}"))),
        }
    }

    /// The IR type that carries `elem`.
    pub(crate) fn carrier(&self, elem: ElemType) -> Result<DType, Fault> {
        elem.carrier().ok_or_else(|| self.unsupported(format!("element type {elem}, which nnc does not have")))
    }

    /// Graph attribute `name`, which must be given.
    pub(crate) fn graph(&self, name: &str) -> Result<&GraphProto, Fault> {
        let graph = self.typed(name, (attribute_type::GRAPH, "a graph"), |attribute| attribute.g.as_deref())?;
        graph.ok_or_else(|| self.invalid(format!("attribute `{name}` is left out, expected a graph")))
    }

    /// `axis` counted from the front.
    pub(crate) fn axis(&self, axis: i64, rank: usize) -> Result<usize, Fault> {
        let from_front = if axis < 0 { axis + rank as i64 } else { axis };
        match usize::try_from(from_front) {
            Ok(found) if found < rank => Ok(found),
            _ => Err(self.invalid(format!("axis {axis} of a tensor of rank {rank}"))),
        }
    }

    /// Axes from attribute `axes`, as older operator sets have it, or from input `index`. An empty input is `Some` of no axes.
    pub(crate) fn axes(&self, index: usize) -> Result<Option<Vec<i64>>, Fault> {
        match self.has(index) {
            true => self.known_ints(index).map(Some),
            false => self.ints("axes"),
        }
    }

    /// Imports a nested graph here; the names around the node are visible in it.
    pub(crate) fn subgraph(&self, graph: &GraphProto, inputs: Vec<Value>) -> Result<Vec<Value>, Fault> {
        self.walker.subgraph(graph, inputs)
    }

    /// The node breaks the operator's rules.
    pub(crate) fn invalid(&self, message: impl Into<String>) -> Fault {
        Fault::Invalid(message.into())
    }

    /// The node asks for something that nnc does not do.
    pub(crate) fn unsupported(&self, message: impl Into<String>) -> Fault {
        Fault::Unsupported(message.into())
    }
}
