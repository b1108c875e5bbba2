//! The printed form of a module: PyTorch's `repr`.

use std::fmt;

use super::Module;

/// Writes `module` as PyTorch prints it; what `#[derive(Module)]` implements `Display` with.
pub fn write_tree(module: &dyn Module, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    f.write_str(&tree(module))
}

fn tree(module: &dyn Module) -> String {
    let name = module.type_name();
    let extra = module.extra_repr();
    let children: Vec<(String, String)> =
        module.children().into_iter().map(|(name, child)| (name, tree(child))).collect();
    if children.is_empty() {
        return match extra.contains('\n') {
            true => format!("{name}(\n{}\n)", indent(&extra)),
            false => format!("{name}({extra})"),
        };
    }
    let mut lines = Vec::new();
    if !extra.is_empty() {
        lines.push(indent(&extra));
    }
    let runs = if name == "ModuleList" { runs(&children) } else { singles(&children) };
    lines.extend(runs.into_iter().map(|(label, text)| indent(&format!("({label}): {text}"))));
    format!("{name}(\n{}\n)", lines.join("\n"))
}

fn singles(children: &[(String, String)]) -> Vec<(String, String)> {
    children.to_vec()
}

/// A module list prints equal neighbors once: `(0-2): 3 x Linear(...)`.
fn runs(children: &[(String, String)]) -> Vec<(String, String)> {
    let same = |lhs: &(String, String), rhs: &(String, String)| lhs.1 == rhs.1;
    let runs = children.chunk_by(same).map(|run| match run {
        [(name, text)] => (name.clone(), text.clone()),
        [(first, text), .., (last, _)] => (format!("{first}-{last}"), format!("{} x {text}", run.len())),
        [] => unreachable!("chunks are not empty"),
    });
    runs.collect()
}

fn indent(text: &str) -> String {
    text.lines().map(|line| format!("  {line}")).collect::<Vec<_>>().join("\n")
}
