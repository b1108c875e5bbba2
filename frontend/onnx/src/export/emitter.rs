//! What lowerings write ONNX nodes with: names, constants, extents, and broadcasting.
//!
//! ONNX broadcasts where the IR has equal shapes. A [`Val`] may therefore be smaller than the IR value it stands for, as
//! long as it broadcasts to it: a bias stays a vector, a literal a scalar. Elementwise operators take such values as they
//! are; whatever looks at shapes asks for the whole value ([`Emitter::full`]).

use std::collections::{BTreeMap, HashMap, HashSet};

use nnc_ir::dim::DimFactor;
use nnc_ir::{DType, Diagnostic, Dim, Location, Scalar, Shape, TensorData, TensorType};

use prost::bytes::Bytes;

use crate::elem::ElemType;
use crate::proto::{AttributeProto, GraphProto, NodeProto, TensorProto, attribute_type};

/// A name of the ONNX graph with its type, whose shape may be smaller than that of the IR value it stands for.
#[derive(Clone, Debug)]
pub(super) struct Val {
    pub(super) name: String,
    pub(super) ty: TensorType,
}

impl Val {
    pub(super) fn dtype(&self) -> DType {
        self.ty.dtype
    }

    pub(super) fn rank(&self) -> usize {
        self.ty.rank()
    }

    pub(super) fn dim(&self, dim: usize) -> &Dim {
        &self.ty.shape[dim]
    }
}

/// Why a node cannot be expressed.
pub(super) type Refusal = String;

/// Writes the nodes of one model.
pub(super) struct Emitter {
    /// The graphs being written, innermost last. Inner ones see the names of outer ones.
    graphs: Vec<GraphProto>,
    taken: HashSet<String>,
    /// What the nodes written next are called after.
    stem: String,
    /// Where they came from, for people.
    scope: String,
    /// Unnamed constants by content.
    constants: HashMap<TensorData, Val>,
    /// Where symbols can be read: input and dimension.
    symbols: BTreeMap<String, (String, usize)>,
    /// Extents read or computed so far; they stand in the outermost graph.
    extents: BTreeMap<Dim, Val>,
    opset: i64,
    pub(super) faults: Vec<Diagnostic>,
}

impl Emitter {
    /// An empty graph for operators of at least version `opset`.
    pub(super) fn new(opset: i64) -> Self {
        Self {
            graphs: vec![GraphProto::default()],
            taken: HashSet::new(),
            stem: String::new(),
            scope: String::new(),
            constants: HashMap::new(),
            symbols: BTreeMap::new(),
            extents: BTreeMap::new(),
            opset,
            faults: Vec::new(),
        }
    }

    /// The graph and the version its operators need.
    pub(super) fn finish(mut self) -> (GraphProto, i64) {
        let graph = self.graphs.pop().expect("the outermost graph stays to the end");
        debug_assert!(self.graphs.is_empty(), "nested graphs were closed");
        (graph, self.opset)
    }

    /// Says that an operator of version `opset` is used.
    pub(super) fn needs(&mut self, opset: i64) {
        self.opset = self.opset.max(opset);
    }

    /// Calls what follows after `stem`, in the module path of `location`.
    pub(super) fn place(&mut self, stem: String, location: &Location) {
        self.stem = stem;
        self.scope = location.scope.as_deref().unwrap_or_default().to_string();
    }

    /// What [`Emitter::place`] set.
    pub(super) fn placed(&self) -> (String, String) {
        (self.stem.clone(), self.scope.clone())
    }

    /// Undoes [`Emitter::place`].
    pub(super) fn restore(&mut self, (stem, scope): (String, String)) {
        (self.stem, self.scope) = (stem, scope);
    }

    /// `wanted` if nothing else is called so, else that with a number.
    pub(super) fn claim(&mut self, wanted: &str) -> String {
        let mut name = wanted.to_string();
        let mut number = 1;
        while !self.taken.insert(name.clone()) {
            name = format!("{wanted}.{number}");
            number += 1;
        }
        name
    }

    fn fresh(&mut self) -> String {
        let stem = self.stem.clone();
        self.claim(&stem)
    }

    /// Opens a nested graph.
    pub(super) fn open(&mut self, name: &str) {
        let name = self.claim(name);
        self.graphs.push(GraphProto { name: Some(name), ..GraphProto::default() });
    }

    /// Closes the innermost nested graph.
    pub(super) fn close(&mut self) -> GraphProto {
        self.graphs.pop().expect("a nested graph is open")
    }

    /// The innermost graph.
    pub(super) fn graph(&mut self) -> &mut GraphProto {
        self.graphs.last_mut().expect("the outermost graph stays to the end")
    }

    /// The outermost graph.
    pub(super) fn outermost(&mut self) -> &mut GraphProto {
        &mut self.graphs[0]
    }

    /// Says that dimension `dim` of input `name` is the symbol.
    pub(super) fn symbol(&mut self, symbol: &str, name: &str, dim: usize) {
        self.symbols.entry(symbol.to_string()).or_insert_with(|| (name.to_string(), dim));
    }

    // Nodes.

    /// Writes a node with the given results.
    pub(super) fn push(
        &mut self,
        op: &str,
        inputs: &[&str],
        attrs: Vec<AttributeProto>,
        types: &[TensorType],
    ) -> Vec<Val> {
        let outputs: Vec<String> = types.iter().map(|_| self.fresh()).collect();
        let scope = if self.scope.is_empty() { String::new() } else { format!("{}/", self.scope) };
        let name = format!("{scope}{}", outputs.first().map_or(op, String::as_str));
        self.graph().node.push(NodeProto {
            op_type: Some(op.to_string()),
            input: inputs.iter().map(ToString::to_string).collect(),
            output: outputs.clone(),
            name: Some(name),
            attribute: attrs,
            ..NodeProto::default()
        });
        outputs.into_iter().zip(types).map(|(name, ty)| Val { name, ty: ty.clone() }).collect()
    }

    /// Gives the value once more, under the name `name`, which was claimed.
    pub(super) fn copy(&mut self, val: &Val, name: &str) {
        self.graph().node.push(NodeProto {
            op_type: Some("Identity".to_string()),
            input: vec![val.name.clone()],
            output: vec![name.to_string()],
            name: Some(name.to_string()),
            ..NodeProto::default()
        });
    }

    /// Writes a node with one result of type `ty`.
    pub(super) fn op_with(&mut self, op: &str, inputs: &[&Val], attrs: Vec<AttributeProto>, ty: TensorType) -> Val {
        if inputs.iter().any(|input| input.dtype() == DType::BF16) {
            self.needs(bf16_since(op));
        }
        let names: Vec<&str> = inputs.iter().map(|input| input.name.as_str()).collect();
        self.push(op, &names, attrs, &[ty]).remove(0)
    }

    /// [`Emitter::op_with`] without attributes.
    pub(super) fn op(&mut self, op: &str, inputs: &[&Val], ty: TensorType) -> Val {
        self.op_with(op, inputs, Vec::new(), ty)
    }

    /// An elementwise operator whose result has the first operand's element type.
    pub(super) fn map(&mut self, op: &str, inputs: &[&Val]) -> Val {
        self.map_to(op, inputs, Vec::new(), inputs[0].dtype())
    }

    /// [`Emitter::map`] with attributes.
    pub(super) fn map_with(&mut self, op: &str, inputs: &[&Val], attrs: Vec<AttributeProto>) -> Val {
        self.map_to(op, inputs, attrs, inputs[0].dtype())
    }

    /// An elementwise operator that gives `bool`.
    pub(super) fn test(&mut self, op: &str, inputs: &[&Val]) -> Val {
        self.map_to(op, inputs, Vec::new(), DType::Bool)
    }

    fn map_to(&mut self, op: &str, inputs: &[&Val], attrs: Vec<AttributeProto>, dtype: DType) -> Val {
        let shape = inputs.iter().fold(Shape::scalar(), |shape, input| broadcast(&shape, &input.ty.shape));
        self.op_with(op, inputs, attrs, TensorType { dtype, shape })
    }

    /// `on_true` where `pred`, else `on_false`.
    pub(super) fn select(&mut self, pred: &Val, on_true: &Val, on_false: &Val) -> Val {
        self.map_to("Where", &[pred, on_true, on_false], Vec::new(), on_true.dtype())
    }

    /// The value in another element type.
    pub(super) fn cast(&mut self, val: &Val, dtype: DType) -> Val {
        if val.dtype() == dtype {
            return val.clone();
        }
        self.op_with("Cast", &[val], vec![int("to", ElemType::of(dtype).number().into())], val.ty.with_dtype(dtype))
    }

    /// `compute` in element type `dtype`: for operators that lack the value's own.
    pub(super) fn through(&mut self, dtype: DType, val: &Val, compute: impl FnOnce(&mut Self, &Val) -> Val) -> Val {
        let wide = self.cast(val, dtype);
        let result = compute(self, &wide);
        self.cast(&result, val.dtype())
    }

    // Constants.

    /// A constant without a name of its own.
    pub(super) fn tensor(&mut self, data: TensorData) -> Val {
        if let Some(known) = self.constants.get(&data) {
            return known.clone();
        }
        let name = self.claim("constant");
        let val = self.initializer(name, &data);
        self.constants.insert(data, val.clone());
        val
    }

    /// A constant called `name`, which was claimed.
    pub(super) fn initializer(&mut self, name: String, data: &TensorData) -> Val {
        self.outermost().initializer.push(TensorProto {
            dims: data.shape.iter().map(|&extent| extent as i64).collect(),
            data_type: Some(ElemType::of(data.dtype).number()),
            name: Some(name.clone()),
            raw_data: Some(Bytes::from_owner(data.bytes.clone())),
            ..TensorProto::default()
        });
        Val { name, ty: data.ty() }
    }

    /// A scalar.
    pub(super) fn scalar(&mut self, value: Scalar) -> Val {
        self.tensor(TensorData::from_scalars(value.dtype, Vec::new(), [value]))
    }

    /// A number as a scalar of the element type.
    pub(super) fn number(&mut self, dtype: DType, value: f64) -> Val {
        self.scalar(Scalar::from_f64(dtype, value))
    }

    /// A vector of `i64`.
    pub(super) fn ints(&mut self, values: &[i64]) -> Val {
        self.tensor(TensorData::from_i64(vec![values.len()], values))
    }

    /// A scalar of `i64`.
    pub(super) fn int(&mut self, value: i64) -> Val {
        self.tensor(TensorData::from_i64(Vec::new(), &[value]))
    }

    // Extents.

    /// An extent as a vector of one `i64`.
    pub(super) fn extent(&mut self, dim: &Dim) -> Result<Val, Refusal> {
        if let Some(extent) = dim.as_const() {
            return Ok(self.ints(&[extent as i64]));
        }
        if let Some(known) = self.extents.get(dim) {
            return Ok(known.clone());
        }
        // Extents depend on inputs alone, so they can be computed in the outermost graph, before what is being written.
        let inner = self.graphs.split_off(1);
        let placed = self.placed();
        self.place(format!("extent({dim})"), &Location::unknown());
        let computed = self.compute_extent(dim);
        self.restore(placed);
        self.graphs.extend(inner);
        let computed = computed?;
        self.extents.insert(dim.clone(), computed.clone());
        Ok(computed)
    }

    fn compute_extent(&mut self, dim: &Dim) -> Result<Val, Refusal> {
        let mut sum: Option<Val> = None;
        for term in dim.terms() {
            let mut product =
                (term.coefficient != 1 || term.factors.is_empty()).then(|| self.ints(&[term.coefficient]));
            for factor in &term.factors {
                let factor = match factor {
                    DimFactor::Symbol(symbol) => self.read_symbol(symbol)?,
                    DimFactor::FloorDiv(lhs, rhs) => {
                        let (lhs, rhs) = (self.extent(lhs)?, self.extent(rhs)?);
                        self.map("Div", &[&lhs, &rhs])
                    }
                };
                product = Some(match product {
                    None => factor,
                    Some(product) => self.map("Mul", &[&product, &factor]),
                });
            }
            let product = product.expect("a term without factors is its coefficient");
            sum = Some(match sum {
                None => product,
                Some(sum) => self.map("Add", &[&sum, &product]),
            });
        }
        Ok(sum.unwrap_or_else(|| self.ints(&[0])))
    }

    fn read_symbol(&mut self, symbol: &str) -> Result<Val, Refusal> {
        let dim = Dim::symbol(symbol);
        if let Some(known) = self.extents.get(&dim) {
            return Ok(known.clone());
        }
        let Some((input, at)) = self.symbols.get(symbol).cloned() else {
            return Err(format!("the extent {symbol} is needed, which is no dimension of an input"));
        };
        let attrs = vec![int("start", at as i64), int("end", at as i64 + 1)];
        let read = self.push("Shape", &[&input], attrs, &[TensorType::new(DType::I64, Shape::fixed(&[1]))]).remove(0);
        self.extents.insert(dim, read.clone());
        Ok(read)
    }

    /// Extents as one vector of `i64`.
    pub(super) fn extents(&mut self, dims: &[Dim]) -> Result<Val, Refusal> {
        if let Some(fixed) = dims.iter().map(|dim| Some(dim.as_const()? as i64)).collect::<Option<Vec<i64>>>() {
            return Ok(self.ints(&fixed));
        }
        let parts = dims.iter().map(|dim| self.extent(dim)).collect::<Result<Vec<_>, _>>()?;
        Ok(self.concat(&parts, 0))
    }

    /// An extent as a scalar of `i64`.
    pub(super) fn extent_scalar(&mut self, dim: &Dim) -> Result<Val, Refusal> {
        match dim.as_const() {
            Some(extent) => Ok(self.int(extent as i64)),
            None => {
                let extent = self.extent(dim)?;
                self.reshape(&extent, &Shape::scalar())
            }
        }
    }

    // Shapes.

    /// The value repeated to `shape`, to which it broadcasts.
    pub(super) fn full(&mut self, val: &Val, shape: &Shape) -> Result<Val, Refusal> {
        if val.ty.shape == *shape {
            return Ok(val.clone());
        }
        let extents = self.extents(shape.dims())?;
        Ok(self.op("Expand", &[val, &extents], TensorType { dtype: val.dtype(), shape: shape.clone() }))
    }

    /// The same elements under another shape.
    pub(super) fn reshape(&mut self, val: &Val, shape: &Shape) -> Result<Val, Refusal> {
        if val.ty.shape == *shape {
            return Ok(val.clone());
        }
        let ty = TensorType { dtype: val.dtype(), shape: shape.clone() };
        // One unknown extent follows from the others, unless there are no elements at all.
        let mut n_unknown = 0;
        let target: Vec<i64> = shape
            .dims()
            .iter()
            .map(|dim| match dim.as_const() {
                Some(extent) => extent as i64,
                None => {
                    n_unknown += 1;
                    -1
                }
            })
            .collect();
        let target = if n_unknown <= 1 && !(n_unknown == 1 && target.contains(&0)) {
            self.ints(&target)
        } else {
            self.extents(shape.dims())?
        };
        // An extent of 0 is meant, and does not copy one of the operand.
        let attrs = if shape.dims().contains(&Dim::from(0)) { vec![int("allowzero", 1)] } else { Vec::new() };
        Ok(self.op_with("Reshape", &[val, &target], attrs, ty))
    }

    /// New dimensions of extent 1 at the positions `axes` of the result.
    pub(super) fn unsqueeze(&mut self, val: &Val, axes: &[usize]) -> Val {
        if axes.is_empty() {
            return val.clone();
        }
        let mut shape = val.ty.shape.clone();
        for &axis in axes {
            shape.0.insert(axis, Dim::from(1));
        }
        let positions: Vec<i64> = axes.iter().map(|&axis| axis as i64).collect();
        let positions = self.ints(&positions);
        self.op("Unsqueeze", &[val, &positions], TensorType { dtype: val.dtype(), shape })
    }

    /// Result dimension `i` is dimension `permutation[i]`.
    pub(super) fn transpose(&mut self, val: &Val, permutation: &[usize]) -> Val {
        if permutation.is_sorted() {
            return val.clone();
        }
        let shape = Shape(permutation.iter().map(|&dim| val.dim(dim).clone()).collect());
        let attrs = vec![ints("perm", permutation.iter().map(|&dim| dim as i64))];
        self.op_with("Transpose", &[val], attrs, TensorType { dtype: val.dtype(), shape })
    }

    /// The values one after the other along `axis`.
    pub(super) fn concat(&mut self, vals: &[Val], axis: usize) -> Val {
        if let [val] = vals {
            return val.clone();
        }
        let mut ty = vals[0].ty.clone();
        for val in &vals[1..] {
            ty.shape.0[axis] = ty.shape[axis].clone() + val.dim(axis).clone();
        }
        let inputs: Vec<&Val> = vals.iter().collect();
        self.op_with("Concat", &inputs, vec![int("axis", axis as i64)], ty)
    }

    /// Every `step`-th element from `start` to `end` (exclusive) along `axis`; bounds are vectors of one `i64`.
    pub(super) fn slice(&mut self, val: &Val, axis: usize, (start, end): (&Val, &Val), step: i64, extent: Dim) -> Val {
        let mut ty = val.ty.clone();
        ty.shape.0[axis] = extent;
        let (axis, step) = (self.ints(&[axis as i64]), self.ints(&[step]));
        self.op("Slice", &[val, start, end, &axis, &step], ty)
    }
}

/// The version since which an operator takes `bf16`, where that is after [`crate::export::BASE_OPSET`].
pub(super) fn bf16_since(op: &str) -> i64 {
    match op {
        "Atan" | "AveragePool" | "Conv" | "Cos" | "MaxPool" | "Round" | "Sin" | "Tan" => 22,
        "TopK" => 24,
        "Einsum" => 28,
        _ => 0,
    }
}

/// The shape that both broadcast to.
fn broadcast(lhs: &Shape, rhs: &Shape) -> Shape {
    let (longer, shorter) = if lhs.rank() >= rhs.rank() { (lhs, rhs) } else { (rhs, lhs) };
    let mut shape = longer.clone();
    let skipped = longer.rank() - shorter.rank();
    for (dim, other) in shape.0[skipped..].iter_mut().zip(shorter.dims()) {
        if *dim == Dim::from(1) {
            *dim = other.clone();
        }
    }
    shape
}

/// An integer attribute.
pub(super) fn int(name: &str, value: i64) -> AttributeProto {
    AttributeProto { i: Some(value), ..attribute(name, attribute_type::INT) }
}

/// An attribute of integers.
pub(super) fn ints(name: &str, values: impl IntoIterator<Item = i64>) -> AttributeProto {
    AttributeProto { ints: values.into_iter().collect(), ..attribute(name, attribute_type::INTS) }
}

/// A text attribute.
pub(super) fn text(name: &str, value: &str) -> AttributeProto {
    AttributeProto { s: Some(value.as_bytes().to_vec()), ..attribute(name, attribute_type::STRING) }
}

/// A graph attribute.
pub(super) fn graph(name: &str, value: GraphProto) -> AttributeProto {
    AttributeProto { g: Some(Box::new(value)), ..attribute(name, attribute_type::GRAPH) }
}

fn attribute(name: &str, ty: i32) -> AttributeProto {
    AttributeProto { name: Some(name.to_string()), r#type: Some(ty), ..AttributeProto::default() }
}
