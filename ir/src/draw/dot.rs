//! Graphviz DOT.

use std::fmt::Write;

use super::Picture;
use crate::module::Func;

/// The function as a Graphviz digraph: `dot -Tpdf` draws it.
pub fn dot(func: &Func) -> String {
    let picture = Picture::of(func);
    let mut out = format!("digraph {} {{\n", quoted(&func.name));
    out.push_str(
        "  node [shape=box, style=\"filled,rounded\", fontname=monospace, fontsize=10, margin=\"0.1,0.05\"];\n",
    );
    out.push_str("  edge [arrowsize=0.6];\n");
    for (idx, shape) in picture.shapes.iter().enumerate() {
        let label = quoted(&shape.lines.join("\n"));
        let tooltip = quoted(&shape.tooltip);
        let color = shape.class.color();
        let _ = writeln!(out, "  n{idx} [label={label}, fillcolor=\"{color}\", tooltip={tooltip}];");
    }
    for (from, to) in &picture.edges {
        let _ = writeln!(out, "  n{from} -> n{to};");
    }
    out.push_str("}\n");
    out
}

/// A DOT string: quotes and backslashes escaped, line ends as `\n`.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n"))
}
