//! `nnc explain`.

use std::fmt::Write;
use std::path::PathBuf;

use nnc::Options;
use nnc::compile::{Lowered, lower};
use nnc::runtime::program::{Launch, Line, Step, outline, repeats};
use serde::Serialize;

use super::build::print;
use super::given::GivenArgs;
use super::select::{options, select};
use super::{FuncArgs, OptArgs, Outcome, parse_target, report};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The model.
    model: PathBuf,
    /// Target whose kernels are explained.
    #[arg(long, default_value = "cpu")]
    target: String,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    given: GivenArgs,
    #[command(flatten)]
    func: FuncArgs,
    #[command(flatten)]
    opt: OptArgs,
}

/// Everything `explain` knows, as JSON writes it.
#[derive(Serialize)]
struct Explanation {
    func: String,
    target: String,
    passes: Vec<PassTime>,
    remarks: Vec<RemarkText>,
    kernels: Vec<KernelCost>,
    memory: Memory,
}

#[derive(Serialize)]
struct PassTime {
    pass: &'static str,
    ms: f64,
    nodes_before: usize,
    nodes_after: usize,
}

#[derive(Serialize)]
struct RemarkText {
    pass: &'static str,
    kind: &'static str,
    location: Option<String>,
    message: String,
    bytes_saved: u64,
}

#[derive(Serialize)]
struct KernelCost {
    launch: String,
    kernel: String,
    schedule: String,
    flops: u64,
    bytes: u64,
    /// Parallel iterations, and how many are handed out at a time.
    extent: u64,
    chunk: u64,
    /// How often a run repeats it, if that does not depend on data.
    times: Option<u64>,
}

#[derive(Serialize)]
struct Memory {
    arena_bytes: u64,
    lower_bound: u64,
    plan: Vec<String>,
}

pub(super) fn main(args: &Args) -> Outcome {
    let selected = select(&args.model, &args.func, &mut args.given.read()?)?;
    let options = Options { target: parse_target(&args.target)?, ..options(&selected, &args.opt) };
    let lowered = lower(&selected.func, &selected.weights, &options)?;
    let explanation = explain(&lowered, &options);
    if args.json {
        let text = serde_json::to_string_pretty(&explanation).expect("the explanation has no unprintable keys");
        return print(&format!("{text}\n"));
    }
    print(&to_text(&explanation, &lowered.assembly.steps))
}

fn explain(lowered: &Lowered, options: &Options) -> Explanation {
    let assembly = &lowered.assembly;
    let kernel_of = |launch: &Launch| &assembly.kernel_infos[launch.kernel as usize];
    let schedules: std::collections::BTreeMap<&str, String> = assembly
        .lowered
        .launches()
        .into_iter()
        .flat_map(|launch| launch.lowered.kernels.iter().zip(&launch.lowered.schedule.kernels))
        .map(|(kernel, schedule)| (kernel.kernel.name.as_str(), schedule.to_string()))
        .collect();
    let plan = &assembly.plan;
    Explanation {
        func: lowered.func.name.clone(),
        target: options.target.to_string(),
        passes: lowered
            .passes
            .iter()
            .map(|timing| PassTime {
                pass: timing.pass,
                ms: timing.duration.as_secs_f64() * 1e3,
                nodes_before: timing.nodes_before,
                nodes_after: timing.nodes_after,
            })
            .collect(),
        remarks: lowered
            .remarks
            .iter()
            .map(|remark| RemarkText {
                pass: remark.pass,
                kind: remark.kind.name(),
                location: (!remark.location.is_unknown()).then(|| remark.location.to_string()),
                message: remark.message.clone(),
                bytes_saved: remark.bytes_saved,
            })
            .collect(),
        kernels: assembly
            .launches
            .iter()
            .zip(repeats(&assembly.steps))
            .map(|(launch, times)| {
                let kernel = kernel_of(launch);
                KernelCost {
                    launch: launch.label.clone(),
                    kernel: kernel.symbol.clone(),
                    schedule: schedules.get(kernel.symbol.as_str()).cloned().unwrap_or_default(),
                    flops: kernel.flops,
                    bytes: kernel.bytes,
                    extent: launch.extent,
                    chunk: launch.chunk,
                    times,
                }
            })
            .collect(),
        memory: Memory {
            arena_bytes: plan.arena_bytes,
            lower_bound: plan.lower_bound(),
            plan: plan.report(&lowered.func).lines().skip(1).map(str::to_string).collect(),
        },
    }
}

fn to_text(explanation: &Explanation, steps: &[Step]) -> String {
    let mut text = format!("@{} for {}\n\nfusions\n", explanation.func, explanation.target);
    for remark in &explanation.remarks {
        let saved = if remark.bytes_saved > 0 { format!(" [{} bytes]", remark.bytes_saved) } else { String::new() };
        let _ = writeln!(text, "  {} ({}): {}{saved}", remark.pass, remark.kind, remark.message);
        if let Some(location) = &remark.location {
            let _ = writeln!(text, "      at {location}");
        }
    }
    text.push_str("\nkernels, in order\n");
    for (depth, line) in outline(steps) {
        let indent = "  ".repeat(depth + 1);
        let kernel = match line {
            Line::Launch(launch) => &explanation.kernels[launch],
            Line::Heading(heading) => {
                let _ = writeln!(text, "{indent}{heading}");
                continue;
            }
        };
        let intensity = kernel.flops as f64 / kernel.bytes.max(1) as f64;
        let _ = writeln!(
            text,
            "{indent}{}\n{indent}    {} flops, {} bytes ({intensity:.2} flops a byte); {}",
            kernel.launch, kernel.flops, kernel.bytes, kernel.schedule
        );
    }
    let memory = &explanation.memory;
    let _ = writeln!(
        text,
        "\nmemory: arena {}, no plan could do with less than {}",
        report::bytes(memory.arena_bytes),
        report::bytes(memory.lower_bound)
    );
    for line in &memory.plan {
        let _ = writeln!(text, "  {line}");
    }
    let total: f64 = explanation.passes.iter().map(|pass| pass.ms).sum();
    let _ = writeln!(text, "\npasses: {} runs, {total:.2} ms", explanation.passes.len());
    text
}
