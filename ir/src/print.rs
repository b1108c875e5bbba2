//! Modules, functions and graphs as text.
//!
//! The text is canonical: parameters by name, other values numbered from 0 in order, one statement a line, defaults
//! left out. What is printed parses back to the same module, and prints as the same text again. `Display` of
//! [`Module`], [`Func`] and [`Graph`] is the canonical text; [`Printer`] adds what only a reader wants.

use std::fmt::{self, Display, Write};

use crate::graph::{Graph, Node, NodeData, Value};
use crate::literal::{Constant, Scalar, TensorData};
use crate::module::{Func, Module, ParamKind};
use crate::names;
use crate::ops::Op;

/// A signature longer than this many characters has one parameter a line.
const MAX_SIGNATURE: usize = 120;

/// Tensors without elements are written as nested lists up to this extent.
const MAX_EMPTY: usize = 64;

/// How to print. The default is canonical.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Printer {
    /// Whether each statement ends with a comment that says where it came from.
    pub locations: bool,
    /// Dense constants without a name that have more elements than this show only their first ones, and then the
    /// text does not parse.
    pub max_elements: Option<usize>,
}

impl Printer {
    /// The canonical form.
    pub fn new() -> Self {
        Self::default()
    }

    /// The form for people: locations, and no long constants.
    pub fn readable() -> Self {
        Self { locations: true, max_elements: Some(16) }
    }

    /// The module as printable text.
    pub fn module<'a>(self, module: &'a Module) -> impl Display + 'a {
        display(move |f| {
            for (idx, func) in module.funcs.iter().enumerate() {
                if idx > 0 {
                    f.write_str("\n")?;
                }
                self.write_func(f, func)?;
            }
            Ok(())
        })
    }

    /// The function as printable text.
    pub fn func<'a>(self, func: &'a Func) -> impl Display + 'a {
        display(move |f| self.write_func(f, func))
    }

    /// The graph as printable text: a region, whose parameters are called `%p0`, `%p1` and so on.
    pub fn graph<'a>(self, graph: &'a Graph) -> impl Display + 'a {
        display(move |f| {
            self.write_region(f, graph, 0)?;
            f.write_str("\n")
        })
    }

    /// One statement of a function, without a line end.
    pub fn statement<'a>(self, func: &'a Func, node: Node) -> impl Display + 'a {
        self.statement_of(&func.graph, Some(func), node)
    }

    /// One statement of a function's graph, or of a region.
    pub(crate) fn statement_of<'a>(self, graph: &'a Graph, func: Option<&'a Func>, node: Node) -> impl Display + 'a {
        display(move |f| {
            let names = Names { params: func, positions: positions(graph) };
            Body { printer: self, graph, names, depth: 0 }.write_statement(f, graph.node(node))
        })
    }

    fn write_func(self, f: &mut fmt::Formatter<'_>, func: &Func) -> fmt::Result {
        f.write_str("func ")?;
        names::write_sigil(f, '@', &func.name)?;
        let names = Names::of_func(func);
        let params: Vec<String> = func
            .graph
            .params()
            .iter()
            .enumerate()
            .map(|(idx, &value)| {
                let mut text = String::new();
                let described = func.params.get(idx);
                text.push_str(match described.map(|param| param.kind) {
                    Some(ParamKind::Param) => "param ",
                    Some(ParamKind::State) => "state ",
                    Some(ParamKind::Input) | None => "",
                });
                let _ = write!(text, "{}: {}", names.get(value), func.graph.ty(value));
                if let Some(weight) = described.and_then(|param| param.weight.as_ref()) {
                    text.push_str(" = ");
                    let _ = names::write_sigil(&mut text, '@', weight);
                }
                text
            })
            .collect();
        let results: Vec<String> = func
            .results
            .iter()
            .zip(func.graph.results())
            .map(|(result, &value)| {
                let mut text = String::new();
                let _ = names::write_word(&mut text, &result.name);
                let _ = write!(text, ": {}", func.graph.ty(value));
                if let Some(&donated) = result.donates.and_then(|idx| func.graph.params().get(idx as usize)) {
                    let _ = write!(text, " into {}", names.get(donated));
                }
                text
            })
            .collect();
        let chars = |items: &[String]| items.iter().map(|item| item.chars().count() + 2).sum::<usize>();
        let separate_lines = func.name.len() + chars(&params) + chars(&results) + 16 > MAX_SIGNATURE;
        write_list(f, &params, separate_lines)?;
        f.write_str(" -> ")?;
        write_list(f, &results, separate_lines)?;
        f.write_str(" ")?;
        Body { printer: self, graph: &func.graph, names, depth: 0 }.write_block(f)?;
        f.write_str("\n")
    }

    fn write_region(self, f: &mut fmt::Formatter<'_>, graph: &Graph, depth: usize) -> fmt::Result {
        let names = Names::of_region(graph);
        f.write_str("(")?;
        for (idx, &param) in graph.params().iter().enumerate() {
            write!(f, "{}{}: {}", if idx > 0 { ", " } else { "" }, names.get(param), graph.ty(param))?;
        }
        f.write_str(") ")?;
        Body { printer: self, graph, names, depth }.write_block(f)
    }
}

impl Display for Module {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Printer::new().module(self).fmt(f)
    }
}

impl Display for Func {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Printer::new().func(self).fmt(f)
    }
}

impl Display for Graph {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Printer::new().graph(self).fmt(f)
    }
}

impl Display for Op {
    /// The mnemonic and the attributes: `reduce {kind = sum, dims = [0]}`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.mnemonic())?;
        write_attrs(f, self)
    }
}

/// Turns a printing function into something printable.
fn display(print: impl Fn(&mut fmt::Formatter<'_>) -> fmt::Result) -> impl Display {
    struct Print<F>(F);
    impl<F: Fn(&mut fmt::Formatter<'_>) -> fmt::Result> Display for Print<F> {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            (self.0)(f)
        }
    }
    Print(print)
}

fn write_list(f: &mut fmt::Formatter<'_>, items: &[String], separate_lines: bool) -> fmt::Result {
    if separate_lines && !items.is_empty() {
        f.write_str("(\n")?;
        for item in items {
            writeln!(f, "  {item},")?;
        }
        return f.write_str(")");
    }
    write!(f, "({})", items.join(", "))
}

/// What each value of a graph is called.
struct Names<'a> {
    /// Name of each parameter; a region's parameters have none.
    params: Option<&'a Func>,
    /// For each value its position among the parameters or among the other values.
    positions: Vec<Position>,
}

#[derive(Clone, Copy)]
enum Position {
    Param(u32),
    Other(u32),
}

struct Name<'n, 'a>(&'n Names<'a>, Value);

impl<'a> Names<'a> {
    fn of_func(func: &'a Func) -> Self {
        Self { params: Some(func), positions: positions(&func.graph) }
    }

    fn of_region(graph: &Graph) -> Self {
        Self { params: None, positions: positions(graph) }
    }

    fn get(&self, value: Value) -> Name<'_, 'a> {
        Name(self, value)
    }
}

fn positions(graph: &Graph) -> Vec<Position> {
    let (mut n_params, mut n_others) = (0, 0);
    let next = |count: &mut u32| {
        *count += 1;
        *count - 1
    };
    (0..graph.n_values() as u32)
        .map(|value| match graph.def_op(Value(value)) {
            Op::Param(_) => Position::Param(next(&mut n_params)),
            _ => Position::Other(next(&mut n_others)),
        })
        .collect()
}

impl Display for Name<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Name(names, value) = self;
        match names.positions.get(value.idx()) {
            Some(Position::Other(number)) => write!(f, "%{number}"),
            Some(&Position::Param(idx)) => match names.params.and_then(|func| func.params.get(idx as usize)) {
                Some(param) => names::write_param(f, &param.name),
                None => write!(f, "%p{idx}"),
            },
            // Only in a graph that the verifier refuses.
            None => write!(f, "%\"undefined {}\"", value.0),
        }
    }
}

/// The statements of one graph.
struct Body<'a> {
    printer: Printer,
    graph: &'a Graph,
    names: Names<'a>,
    depth: usize,
}

impl Body<'_> {
    fn write_block(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("{\n")?;
        for (_, data) in self.graph.nodes() {
            if matches!(data.op, Op::Param(_)) {
                continue;
            }
            self.indent(f, self.depth + 1)?;
            self.write_statement(f, data)?;
            if self.printer.locations && !data.location.is_unknown() {
                write!(f, "  // {}", data.location)?;
            }
            f.write_str("\n")?;
        }
        self.indent(f, self.depth + 1)?;
        f.write_str("return")?;
        self.write_values(f, self.graph.results().iter().copied())?;
        f.write_str("\n")?;
        self.indent(f, self.depth)?;
        f.write_str("}")
    }

    fn indent(&self, f: &mut fmt::Formatter<'_>, depth: usize) -> fmt::Result {
        write!(f, "{:1$}", "", 2 * depth)
    }

    /// Writes `values` with commas between and a space before.
    fn write_values(&self, f: &mut fmt::Formatter<'_>, values: impl Iterator<Item = Value>) -> fmt::Result {
        for (idx, value) in values.enumerate() {
            write!(f, "{}{}", if idx > 0 { ", " } else { " " }, self.names.get(value))?;
        }
        Ok(())
    }

    fn write_statement(&self, f: &mut fmt::Formatter<'_>, data: &NodeData) -> fmt::Result {
        for (idx, result) in data.results().enumerate() {
            write!(f, "{}{}", if idx > 0 { ", " } else { "" }, self.names.get(result))?;
        }
        write!(f, " = {}", data.op.mnemonic())?;
        if let Op::Constant(constant) = &data.op {
            f.write_str(" ")?;
            self.write_constant(f, constant)?;
        }
        self.write_values(f, data.operands.iter().copied())?;
        write_attrs(f, &data.op)?;
        for region in &data.regions {
            f.write_str(" ")?;
            self.printer.write_region(f, region, self.depth + 1)?;
        }
        for (idx, result) in data.results().enumerate() {
            write!(f, "{}{}", if idx > 0 { ", " } else { " : " }, self.graph.ty(result))?;
        }
        Ok(())
    }

    fn write_constant(&self, f: &mut fmt::Formatter<'_>, constant: &Constant) -> fmt::Result {
        match constant {
            Constant::Splat { value, .. } => write!(f, "{value}"),
            Constant::Dense { name: Some(name), .. } => names::write_sigil(f, '@', name),
            // Only in a graph that the verifier refuses.
            Constant::Dense { data, name: None } if data.ty().bytes() != Some(data.bytes.len()) => {
                write!(f, "[... {} bytes]", data.bytes.len())
            }
            // No elements need not be written as many empty lists.
            Constant::Dense { data, name: None }
                if data.bytes.is_empty() && data.shape.iter().any(|&extent| extent > MAX_EMPTY) =>
            {
                write!(f, "{}", Scalar::zero(data.dtype))
            }
            Constant::Dense { data, name: None } => match self.printer.max_elements {
                Some(max) if data.len() > max => {
                    f.write_str("[")?;
                    for scalar in data.scalars().take(max) {
                        write!(f, "{scalar}, ")?;
                    }
                    write!(f, "... {} elements]", data.len())
                }
                _ => write_dense(f, data),
            },
        }
    }
}

fn write_attrs(f: &mut fmt::Formatter<'_>, op: &Op) -> fmt::Result {
    let attrs = op.attrs();
    for (idx, (name, attr)) in attrs.iter().enumerate() {
        write!(f, "{}{name} = {attr}", if idx > 0 { ", " } else { " {" })?;
    }
    if attrs.is_empty() { Ok(()) } else { f.write_str("}") }
}

/// Writes the elements as lists nested to the rank; a tensor without dimensions is its element.
fn write_dense(f: &mut fmt::Formatter<'_>, data: &TensorData) -> fmt::Result {
    fn write_slice(f: &mut fmt::Formatter<'_>, data: &TensorData, dim: usize, first: usize) -> fmt::Result {
        let Some(&extent) = data.shape.get(dim) else { return write!(f, "{}", data.get(first)) };
        let stride: usize = data.shape[dim + 1..].iter().product();
        f.write_str("[")?;
        for idx in 0..extent {
            if idx > 0 {
                f.write_str(", ")?;
            }
            write_slice(f, data, dim + 1, first + idx * stride)?;
        }
        f.write_str("]")
    }
    write_slice(f, data, 0, 0)
}
