//! Plans as text.

use std::fmt::Write;

use nnc_ir::{Func, Graph, NodeData, Op, Value};

use super::{Carry, ControlPlan, MemoryPlan, Place, ScanPlan, Step};

/// What things are called in a graph.
struct Names<'g> {
    graph: &'g Graph,
    params: Vec<String>,
    results: Vec<String>,
}

impl<'g> Names<'g> {
    /// Of a region, whose parameters and results have numbers only.
    fn of_region(graph: &'g Graph) -> Self {
        let params = (0..graph.params().len()).map(|idx| format!("p{idx}")).collect();
        Self { graph, params, results: (0..graph.results().len()).map(|idx| idx.to_string()).collect() }
    }

    fn value(&self, value: Value) -> String {
        match self.graph.params().iter().position(|&param| param == value) {
            Some(idx) => format!("%{}", self.params[idx]),
            None => format!("%{}", value.0 - self.graph.params().len() as u32),
        }
    }

    fn place(&self, place: Place) -> String {
        match place {
            Place::Param(idx) => format!("param {}", self.params[idx as usize]),
            Place::Result(idx) => format!("result {}", self.results[idx as usize]),
            Place::Constant(_) => "constant".to_string(),
            Place::Arena(offset) => format!("arena {offset}"),
        }
    }
}

impl MemoryPlan {
    /// The plan as text: a line a step, with its results' places and the live bytes. Regions follow their owner,
    /// indented, with places of their own.
    pub fn report(&self, func: &Func) -> String {
        let names = Names {
            graph: &func.graph,
            params: func.params.iter().map(|param| param.name.to_string()).collect(),
            results: func.results.iter().map(|result| result.name.to_string()).collect(),
        };
        let mut text = self.head();
        self.report_steps(&names, "", &mut text);
        text
    }

    fn head(&self) -> String {
        format!("arena {} bytes, lower bound {}\n", self.arena_bytes, self.lower_bound())
    }

    fn report_steps(&self, names: &Names<'_>, indent: &str, text: &mut String) {
        for (step, live) in self.steps.iter().zip(&self.live_bytes) {
            match *step {
                Step::Launch(node) => {
                    let data = names.graph.node(node);
                    let results: Vec<String> = data
                        .results()
                        .map(|result| {
                            let place = self.places[result.idx()];
                            let place = place.map_or("nowhere".to_string(), |place| names.place(place));
                            let reused = if self.reused.contains(&result) { ", in place" } else { "" };
                            format!("{} at {place}{reused}", names.value(result))
                        })
                        .collect();
                    let mnemonic = data.op.mnemonic();
                    let _ = writeln!(text, "{indent}{mnemonic}: {} [{live} live]", results.join("; "));
                    if let Some(plan) = self.control.get(&node) {
                        plan.report(data, indent, text);
                    }
                }
                Step::Copy { value, from, to } => {
                    let (value, from, to) = (names.value(value), names.place(from), names.place(to));
                    let _ = writeln!(text, "{indent}copy: {value} from {from} to {to} [{live} live]");
                }
            }
        }
    }
}

impl ControlPlan {
    fn report(&self, data: &NodeData, indent: &str, text: &mut String) {
        let region = |what: &str, plan: &MemoryPlan, idx: usize, text: &mut String| {
            let _ = write!(text, "{indent}  {what}: {}", plan.head());
            plan.report_steps(&Names::of_region(&data.regions[idx]), &format!("{indent}    "), text);
        };
        match self {
            Self::Scan(plan) => {
                region(&plan.head(data), &plan.body, 0, text);
            }
            Self::Cond(arms) => {
                region("if true", &arms[0], 0, text);
                region("if false", &arms[1], 1, text);
            }
            Self::While(parts) => {
                region("condition", &parts[0], 0, text);
                region("body", &parts[1], 1, text);
            }
        }
    }
}

impl ScanPlan {
    /// How often it runs, and where the carries lie.
    fn head(&self, data: &NodeData) -> String {
        let Op::Scan(attrs) = &data.op else { unreachable!("the plan of a scan") };
        let names = Names::of_region(&data.regions[0]);
        let mut head = format!("{} times", self.length);
        if attrs.reverse {
            head.push_str(", backwards");
        }
        for (idx, carry) in self.carries.iter().enumerate() {
            let carry = match *carry {
                Carry::Unchanged => "unchanged".to_string(),
                Carry::Follows(value) => format!("the {} before", names.value(value)),
                Carry::Stacked(output) | Carry::StackedBefore(output) => {
                    format!("in the stack of output {output}")
                }
                Carry::InPlace => "in place".to_string(),
                Carry::Alternating(_) => "two slots by turns".to_string(),
            };
            let _ = write!(head, ", p{idx} {carry}");
        }
        head
    }
}
