//! Pictures of functions: Graphviz DOT, and SVG that needs no other program.
//!
//! Both show the same boxes: parameters, ops and results, colored by what they do, with the whole statement as the
//! tooltip. Splat constants are shown inside the op that uses them, `maximum(_, 0.0)`.

use crate::graph::{Node, Value};
use crate::literal::Constant;
use crate::module::{Func, ParamKind};
use crate::ops::{Op, Trait};
use crate::print::Printer;

mod dot;
mod layout;
mod svg;

pub use dot::dot;
pub use svg::svg;

/// What a box is, which gives its color.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    Input,
    Param,
    State,
    Constant,
    Elementwise,
    Movement,
    Reduction,
    Contraction,
    Fusion,
    Other,
    Result,
}

impl Class {
    /// Fill color in light surroundings.
    const fn color(self) -> &'static str {
        match self {
            Self::Input => "#cfe8ff",
            Self::Param => "#ffe0b3",
            Self::State => "#fff3b0",
            Self::Constant => "#eeeeee",
            Self::Elementwise => "#ffffff",
            Self::Movement => "#e8e4f8",
            Self::Reduction => "#ffd6e0",
            Self::Contraction => "#ffc2b3",
            Self::Fusion => "#d8f0d2",
            Self::Other => "#f5f5f5",
            Self::Result => "#b8e0d2",
        }
    }

    fn of(op: &Op) -> Self {
        match op {
            Op::Constant(_) | Op::Iota(_) | Op::RngBits(_) => Self::Constant,
            _ if op.has(Trait::HasRegions) => Self::Fusion,
            _ if op.has(Trait::Contraction) => Self::Contraction,
            _ if op.has(Trait::Reduction) => Self::Reduction,
            _ if op.has(Trait::Movement) => Self::Movement,
            _ if op.has(Trait::Elementwise) => Self::Elementwise,
            _ => Self::Other,
        }
    }
}

/// One box.
#[derive(Clone, Debug, PartialEq)]
struct Shape {
    class: Class,
    lines: Vec<String>,
    tooltip: String,
}

/// A picture without positions: boxes, and edges between them by index. Edges lead to boxes with higher indices.
#[derive(Debug, Default)]
struct Picture {
    shapes: Vec<Shape>,
    edges: Vec<(usize, usize)>,
}

/// Ops of a region shown in its box; further ones are counted.
const MAX_REGION_LINES: usize = 8;

impl Picture {
    fn of(func: &Func) -> Self {
        let graph = &func.graph;
        let mut picture = Self::default();
        let mut shape_of: Vec<Option<usize>> = vec![None; graph.n_nodes()];
        for (node, data) in graph.nodes() {
            if splat_text(func, node).is_some() {
                continue;
            }
            let shape = match data.op {
                Op::Param(idx) => param_shape(func, idx as usize, data.result()),
                _ => op_shape(func, node),
            };
            let idx = picture.shapes.len();
            shape_of[node.idx()] = Some(idx);
            picture.shapes.push(shape);
            picture.connect(data.operands.iter().filter_map(|&operand| shape_of[graph.value(operand).node.idx()]), idx);
        }
        for (result, &value) in func.results.iter().zip(graph.results()) {
            let idx = picture.shapes.len();
            let mut lines = vec![result.name.clone(), graph.ty(value).to_string()];
            if let Some(param) = result.donates.and_then(|idx| func.params.get(idx as usize)) {
                lines.push(format!("into {}", param.name));
            }
            picture.shapes.push(Shape { class: Class::Result, tooltip: lines.join(" : "), lines });
            picture.connect(shape_of[graph.value(value).node.idx()].into_iter(), idx);
        }
        picture
    }

    fn connect(&mut self, from: impl Iterator<Item = usize>, to: usize) {
        let first = self.edges.len();
        for from in from {
            if !self.edges[first..].contains(&(from, to)) {
                self.edges.push((from, to));
            }
        }
    }
}

/// The element of a splat constant.
fn splat_text(func: &Func, node: Node) -> Option<String> {
    match &func.graph.node(node).op {
        Op::Constant(Constant::Splat { value, .. }) => Some(value.to_string()),
        _ => None,
    }
}

fn param_shape(func: &Func, idx: usize, value: Value) -> Shape {
    let ty = func.graph.ty(value).to_string();
    let (class, name) = match func.params.get(idx) {
        Some(param) => {
            let class = match param.kind {
                ParamKind::Input => Class::Input,
                ParamKind::Param => Class::Param,
                ParamKind::State => Class::State,
            };
            (class, param.name.clone())
        }
        None => (Class::Input, format!("parameter {idx}")),
    };
    Shape { class, tooltip: format!("{name}: {ty}"), lines: vec![name, ty] }
}

fn op_shape(func: &Func, node: Node) -> Shape {
    let graph = &func.graph;
    let data = graph.node(node);
    let splats: Vec<Option<String>> =
        data.operands.iter().map(|&operand| splat_text(func, graph.value(operand).node)).collect();
    let mut head = match &data.op {
        Op::Constant(Constant::Dense { name: Some(name), .. }) => format!("@{name}"),
        Op::Reduce(attrs) => format!("reduce {}", attrs.kind.name()),
        Op::Compare(direction) => format!("compare {}", direction.name()),
        Op::Fusion(kind) => format!("fusion {}", kind.name()),
        Op::Scan(attrs) => {
            format!("scan of {} steps{}", attrs.length, if attrs.reverse { ", backward" } else { "" })
        }
        op => op.mnemonic().to_string(),
    };
    if splats.iter().any(Option::is_some) {
        let operands: Vec<&str> = splats.iter().map(|splat| splat.as_deref().unwrap_or("_")).collect();
        head = format!("{head}({})", operands.join(", "));
    }
    let mut lines = vec![head];
    for region in &data.regions {
        let ops: Vec<&Op> = region
            .nodes()
            .map(|(_, data)| &data.op)
            .filter(|op| !matches!(op, Op::Param(_) | Op::Constant(Constant::Splat { .. })))
            .collect();
        let n_shown = if ops.len() > MAX_REGION_LINES { MAX_REGION_LINES - 1 } else { ops.len() };
        lines.extend(ops[..n_shown].iter().map(|op| format!("  {}", op.mnemonic())));
        if n_shown < ops.len() {
            lines.push(format!("  and {} more", ops.len() - n_shown));
        }
    }
    lines.extend(data.results().map(|result| graph.ty(result).to_string()));
    let mut tooltip = Printer::readable().statement(func, node).to_string();
    if !data.location.is_unknown() {
        tooltip = format!("{tooltip}\n{}", data.location);
    }
    Shape { class: Class::of(&data.op), lines, tooltip }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parse::parse_func;

    fn sample() -> Func {
        let text = r#"func @f(%x: f32[8, 4], param %"<w> \"1\"": f32[2, 4], state %m: f32[2]) -> (y: f32[8, 2], m: f32[2] into %m) {
  %0 = dot_general %x, %"<w> \"1\"" {lhs_contract = [1], rhs_contract = [1]} : f32[8, 2]
  %1 = constant 0.0 : f32[8, 2]
  %2 = fusion %0 {kind = pointwise} (%p0: f32[8, 2]) {
    %0 = tanh %p0 : f32[8, 2]
    %1 = multiply %0, %0 : f32[8, 2]
    return %1
  } : f32[8, 2]
  %3 = maximum %2, %1 : f32[8, 2]
  %4 = reduce %3 {kind = sum, dims = [0]} : f32[2]
  %5 = add %4, %m : f32[2]
  return %3, %5
}
"#;
        parse_func(text).expect("sound")
    }

    #[test]
    fn a_picture_has_a_box_for_all_but_splats() {
        let picture = Picture::of(&sample());
        let heads: Vec<&str> = picture.shapes.iter().map(|shape| shape.lines[0].as_str()).collect();
        assert_eq!(
            heads,
            [
                "x",
                "<w> \"1\"",
                "m",
                "dot_general",
                "fusion pointwise",
                "maximum(_, 0.0)",
                "reduce sum",
                "add",
                "y",
                "m"
            ]
        );
        assert_eq!(picture.shapes[4].lines, ["fusion pointwise", "  tanh", "  multiply", "f32[8, 2]"]);
        assert_eq!(picture.edges, [(0, 3), (1, 3), (3, 4), (4, 5), (5, 6), (6, 7), (2, 7), (5, 8), (7, 9)]);
    }

    #[test]
    fn both_forms_are_well_formed_and_repeatable() {
        let func = sample();
        let text = dot(&func);
        assert_eq!(text, dot(&func));
        assert!(text.starts_with("digraph \"f\" {\n") && text.ends_with("}\n"));
        assert_eq!(text.matches(" -> ").count(), 9);
        assert!(text.contains(r#"label="<w> \"1\"\nf32[2, 4]""#), "{text}");

        let image = svg(&func);
        assert_eq!(image, svg(&func));
        assert!(image.starts_with("<svg ") && image.ends_with("</svg>\n"));
        assert_eq!(image.matches("<rect ").count(), 10);
        assert_eq!(image.matches("<path ").count(), 9 + 1, "edges and the arrow head");
        assert!(image.contains("&lt;w&gt; &quot;1&quot;"), "{image}");
        assert!(!image.contains("NaN") && !image.contains("inf"));
    }

    #[test]
    fn an_empty_function_has_an_empty_picture() {
        let func = parse_func("func @f() -> () {\n  return\n}").expect("sound");
        assert_eq!(dot(&func).lines().filter(|line| line.contains("label")).count(), 0);
        assert!(svg(&func).ends_with("</svg>\n"));
    }
}
