//! `nnc inspect`.

use std::fmt::Write;
use std::path::PathBuf;

use clap::ValueEnum;
use nnc::model::Format;
use nnc::runtime::artifact;
use nnc::runtime::program::{Bound, Code, InputRole, Line, Place, Port, Program, TensorSpec, outline};
use nnc_ir::{Func, Module, ParamKind};
use nnc_onnx::summary::Summary;

use super::build::print;
use super::given::GivenArgs;
use super::select::{load, parse_dims};
use super::{Outcome, file_fault, report};

/// How to draw.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum GraphForm {
    /// Graphviz.
    Dot,
    /// A picture.
    Svg,
}

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// A model or an artifact.
    model: PathBuf,
    /// Draw the graph instead, to standard output.
    #[arg(long, value_enum)]
    graph: Option<GraphForm>,
    /// Function to draw; the first if left out.
    #[arg(long, value_name = "NAME")]
    func: Option<String>,
    /// Extent of a symbolic dimension, for the graph of an ONNX model.
    #[arg(long = "dim", value_name = "SYMBOL=EXTENT")]
    dims: Vec<String>,
    #[command(flatten)]
    given: GivenArgs,
}

pub(super) fn main(args: &Args) -> Outcome {
    if args.model.extension().is_some_and(|extension| extension == "nnc") {
        let program = artifact::load(&args.model)?;
        program.validate()?;
        return print(&describe_program(&program));
    }
    let Some(form) = args.graph else {
        return match Format::of(&args.model)? {
            Format::Onnx => print(&describe_onnx(&nnc_onnx::summary::summarize(&args.model)?)),
            Format::Ir => print(&describe_module(&nnc::load(&args.model)?.module)),
        };
    };
    let module = load(&args.model, &mut parse_dims(&args.dims)?, &mut args.given.read()?)?.module;
    let func = match &args.func {
        Some(name) => module.func(name),
        None => module.funcs.first(),
    };
    let Some(func) = func else {
        return Err(file_fault(&args.model, "there is no such function").into());
    };
    print(&match form {
        GraphForm::Dot => nnc_ir::draw::dot(func),
        GraphForm::Svg => nnc_ir::draw::svg(func),
    })
}

fn describe_module(module: &Module) -> String {
    let mut text = String::new();
    for func in &module.funcs {
        describe_func(func, &mut text);
    }
    let total: u64 = module.weights.values().map(|data| data.bytes.len() as u64).sum();
    let _ = writeln!(text, "weights: {}, {}", module.weights.len(), report::bytes(total));
    for (name, data) in &module.weights {
        let _ = writeln!(text, "  {name}: {}", data.ty());
    }
    text
}

/// An ONNX model as its file has it; whether it can be imported shows in what is not supported.
fn describe_onnx(summary: &Summary) -> String {
    let mut text = format!("ONNX model {}, format {}", summary.graph, summary.ir_version);
    if !summary.producer.is_empty() {
        let _ = write!(text, ", by {}", summary.producer);
    }
    text.push('\n');
    for (domain, version) in &summary.opsets {
        let _ = writeln!(text, "  opset  {version} of {}", if domain.is_empty() { "ai.onnx" } else { domain });
    }
    for (kind, ports) in [("input", &summary.inputs), ("output", &summary.outputs)] {
        for (name, ty) in ports {
            let _ = writeln!(text, "  {kind:<6} {name}: {ty}");
        }
    }
    let mut counts: Vec<_> = summary.operators.iter().collect();
    counts.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
    let list: Vec<String> = counts.iter().map(|(name, count)| format!("{count} {name}")).collect();
    let n_nodes: usize = summary.operators.values().sum();
    let _ = writeln!(text, "  nodes  {n_nodes}: {}", list.join(", "));
    if !summary.functions.is_empty() {
        let _ = writeln!(text, "  functions {}", summary.functions.join(", "));
    }
    let _ = writeln!(text, "weights: {}, {}", summary.n_initializers, report::bytes(summary.initializer_bytes));
    match summary.unsupported.is_empty() {
        true => text.push_str("every operator is supported\n"),
        false => text.push_str("operators that are not supported\n"),
    }
    for unsupported in &summary.unsupported {
        let _ = writeln!(text, "  {}", report::unsupported(unsupported));
    }
    text
}

fn describe_func(func: &Func, text: &mut String) {
    let _ = writeln!(text, "@{}: {} nodes", func.name, func.graph.n_nodes());
    for (param, &value) in func.params.iter().zip(func.graph.params()) {
        let kind = match param.kind {
            ParamKind::Input => "input",
            ParamKind::Param => "param",
            ParamKind::State => "state",
        };
        let _ = writeln!(text, "  {kind:<6} {}: {}", param.name, func.graph.ty(value));
    }
    for (result, &value) in func.results.iter().zip(func.graph.results()) {
        let into = match result.donates {
            Some(param) => format!(" into {}", func.params[param as usize].name),
            None => String::new(),
        };
        let _ = writeln!(text, "  result {}: {}{into}", result.name, func.graph.ty(value));
    }
    let mut counts: indexmap::IndexMap<&str, usize> = indexmap::IndexMap::new();
    for (_, data) in func.graph.nodes() {
        *counts.entry(data.op.mnemonic()).or_default() += 1;
    }
    counts.sort_by(|lhs_name, lhs, rhs_name, rhs| rhs.cmp(lhs).then(lhs_name.cmp(rhs_name)));
    let list: Vec<String> = counts.iter().map(|(name, count)| format!("{count} {name}")).collect();
    let _ = writeln!(text, "  ops    {}", list.join(", "));
}

fn spec(spec: &TensorSpec) -> String {
    let extents: Vec<String> = spec.shape.iter().map(ToString::to_string).collect();
    format!("{}[{}]", spec.elem.name(), extents.join(", "))
}

/// What the model says of input or output `idx`.
fn port_of(ports: &[Port], idx: usize) -> Option<&Port> {
    ports.iter().find(|port| port.tensors.contains(&(idx as u32)))
}

/// The model's element type, where the tensor's is another.
fn elem(port: &Port) -> String {
    port.elem.as_ref().map(|elem| format!(" of {elem}")).unwrap_or_default()
}

fn describe_program(program: &Program) -> String {
    let mut text = format!("@{} for {} ({})\n", program.name, program.target, program.tier);
    let _ = writeln!(text, "peak memory {}", report::bytes(program.peak_bytes()));
    let constants: u64 = program.constants.iter().map(|constant| constant.spec.bytes() as u64).sum();
    let _ = writeln!(text, "  arena     {}", report::bytes(program.arena_bytes));
    let _ = writeln!(text, "  constants {}", report::bytes(constants));
    for (idx, input) in program.inputs.iter().enumerate() {
        let role = if input.role == InputRole::Data { "input" } else { "state" };
        let port = port_of(&program.ports.inputs, idx);
        let elem = port.map(elem).unwrap_or_default();
        let _ = writeln!(text, "{role:<6} {}: {}{elem}", input.name, spec(&input.spec));
    }
    for (idx, output) in program.outputs.iter().enumerate() {
        let place = match output.place {
            Place::Input(idx) => format!(" into {}", program.inputs[idx as usize].name),
            _ => String::new(),
        };
        let port = port_of(&program.ports.outputs, idx);
        let (elem, bound) = (port.map(elem).unwrap_or_default(), port.and_then(|port| port.bound));
        let bound = bound.map(|Bound { axis, count }| {
            format!(", as many along dimension {axis} as {} says", program.outputs[count as usize].name)
        });
        let bound = bound.unwrap_or_default();
        let _ = writeln!(text, "output {}: {}{elem}{bound}{place}", output.name, spec(&output.spec));
    }
    for (name, value) in &program.ports.fixed {
        let _ = writeln!(text, "fixed  {name}: {}", spec(&value.spec));
    }
    match &program.code {
        Code::Object { triple, features, objects } => {
            let size = report::bytes(objects.iter().map(|elf| elf.len() as u64).sum());
            let _ = writeln!(text, "code {size} for {triple} with {}", features.join(", "));
        }
        Code::Ptx { arch, text: ptx } => {
            let _ = writeln!(text, "code {} of PTX for {arch}", report::bytes(ptx.len() as u64));
        }
    }
    for (depth, line) in outline(&program.steps) {
        let indent = "  ".repeat(depth);
        let launch = match line {
            Line::Launch(launch) => &program.launches[launch],
            Line::Heading(heading) => {
                let _ = writeln!(text, "{indent}{heading}");
                continue;
            }
        };
        let kernel = &program.kernels[launch.kernel as usize];
        let split = match &program.code {
            Code::Object { .. } => format!("{} by {}", launch.extent, launch.chunk),
            Code::Ptx { .. } => format!("grid {:?} block {:?}", launch.grid, kernel.block),
        };
        let (label, flops, bytes) = (&launch.label, kernel.flops, kernel.bytes);
        let _ = writeln!(text, "{indent}launch {label} [{split}] {flops} flops, {bytes} bytes");
    }
    text
}
