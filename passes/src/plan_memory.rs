//! The memory plan: in what order launches run, and where every tensor lies.
//!
//! Before: a fused function of fixed shapes. After: a list of [`Step`]s and a [`Place`] for every value, with all
//! intermediates at offsets of one arena, so that running allocates nothing and the peak is known beforehand.
//!
//! ```text
//! func @step(%x: f32[64], param %w: f32[64]) -> (w: f32[64] into %w)      step  launch    place
//!   %0 = exponential %x : f32[64]                                         0     %0        arena 0
//!   %1 = subtract %w, %0 : f32[64]                                        1     %1        param w, in place
//! ```
//!
//! - A `reshape` is no launch: its result lies where its operand does.
//! - A donated result is computed in its parameter's buffer. Launches that read the parameter come first; where one
//!   needs the new value too, the result is computed apart and copied as soon as the old value is not needed.
//! - A result may take the buffer of an operand that dies, where the lowering reads that operand only at the index it
//!   writes ([`LaunchFacts::in_place`]).
//! - Values that are results without a launch of their own (parameters, constants, repeats) are copied.
//! - Launches are ordered so that the bytes live at once stay few, and live ranges are packed into the arena.
//!
//! Three files, in the order of the work: `tasks` says what must be done and after what, `order` puts it in line,
//! `arena` packs what lives at the same time.

use std::collections::BTreeMap;
use std::fmt::Write;

use nnc_ir::{Func, Graph, Node, Op, Value};

mod arena;
mod order;
mod tasks;
#[cfg(test)]
mod tests;

use arena::Block;
use tasks::{Source, Task, Tasks};

/// Alignment of every tensor in bytes.
pub const ALIGN: u64 = 64;

/// What the planner must know of how a node was lowered.
#[derive(Clone, Debug, Default)]
pub struct LaunchFacts {
    /// Pairs (operand, result) that may share a buffer: same bytes, each read of the operand is at the index being
    /// written and comes before the write.
    pub in_place: Vec<(usize, usize)>,
    /// Bytes of scratch buffers that live during the node only.
    pub scratch: Vec<u64>,
}

/// Where a tensor lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Place {
    /// The buffer of the function's parameter.
    Param(u32),
    /// The function's result's own buffer.
    Result(u32),
    /// The constant defined by the node.
    Constant(Node),
    /// Byte offset in the arena.
    Arena(u64),
}

/// One step of execution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Run the node.
    Launch(Node),
    /// Copy the value of the given size between two places.
    Copy {
        /// The value copied.
        value: Value,
        /// From where.
        from: Place,
        /// To where.
        to: Place,
    },
}

/// The plan of one function.
#[derive(Clone, Debug)]
pub struct MemoryPlan {
    /// What to do, in order.
    pub steps: Vec<Step>,
    /// Where each value lies; `None` for values that nothing uses.
    pub places: Vec<Option<Place>>,
    /// Where each result of the function is found after the last step.
    pub results: Vec<Place>,
    /// Where the scratch of each node lies.
    pub scratch: BTreeMap<Node, Vec<Place>>,
    /// Size of the arena.
    pub arena_bytes: u64,
    /// Bytes of the arena in use during each step, every tensor rounded up to [`ALIGN`].
    pub live_bytes: Vec<u64>,
    /// Values that took an operand's buffer.
    pub reused: Vec<Value>,
}

impl MemoryPlan {
    /// The largest sum of live bytes over all steps: no arena can be smaller.
    pub fn lower_bound(&self) -> u64 {
        self.live_bytes.iter().copied().max().unwrap_or(0)
    }

    /// The plan as text: a line a step, with its results' places and the live bytes.
    pub fn report(&self, func: &Func) -> String {
        let mut text = format!("arena {} bytes, lower bound {}\n", self.arena_bytes, self.lower_bound());
        let n_params = func.graph.params().len() as u32;
        let value_name = |value: Value| match func.graph.params().iter().position(|&param| param == value) {
            Some(idx) => format!("%{}", func.params[idx].name),
            None => format!("%{}", value.0 - n_params),
        };
        let place_name = |place: Place| match place {
            Place::Param(idx) => format!("param {}", func.params[idx as usize].name),
            Place::Result(idx) => format!("result {}", func.results[idx as usize].name),
            Place::Constant(_) => "constant".to_string(),
            Place::Arena(offset) => format!("arena {offset}"),
        };
        for (step, live) in self.steps.iter().zip(&self.live_bytes) {
            match *step {
                Step::Launch(node) => {
                    let data = func.graph.node(node);
                    let results: Vec<String> = data
                        .results()
                        .map(|result| {
                            let place = self.places[result.idx()].map_or("nowhere".to_string(), place_name);
                            let reused = if self.reused.contains(&result) { ", in place" } else { "" };
                            format!("{} at {place}{reused}", value_name(result))
                        })
                        .collect();
                    let _ = writeln!(text, "{}: {} [{live} live]", data.op.mnemonic(), results.join("; "));
                }
                Step::Copy { value, from, to } => {
                    let _ = writeln!(
                        text,
                        "copy: {} from {} to {} [{live} live]",
                        value_name(value),
                        place_name(from),
                        place_name(to)
                    );
                }
            }
        }
        text
    }
}

/// Whether the node is a launch: neither a leaf without computation nor an alias.
pub fn is_launch(graph: &Graph, node: Node) -> bool {
    !matches!(graph.node(node).op, Op::Param(_) | Op::Constant(_) | Op::Reshape(_))
}

fn bytes_of(graph: &Graph, value: Value) -> u64 {
    graph.ty(value).bytes().expect("shapes are fixed before memory is planned") as u64
}

/// Plans the memory of a function of fixed shapes. `facts` gives, for a node that is launched, how it was lowered.
///
/// # Panics
/// If a shape is symbolic; specialization comes first.
pub fn plan_memory(func: &Func, facts: &dyn Fn(Node) -> LaunchFacts) -> MemoryPlan {
    let tasks = Tasks::new(func, facts);
    let order = order::order(&tasks);
    Layout::new(&tasks, &order).finish()
}

/// Live ranges of everything that needs room in the arena, in a given order of the tasks.
struct Layout<'a> {
    tasks: &'a Tasks<'a>,
    order: &'a [usize],
    blocks: Vec<Block>,
    /// Block of each value that has one.
    block_of: BTreeMap<Value, usize>,
    scratch_blocks: BTreeMap<Node, Vec<usize>>,
    saved_blocks: BTreeMap<usize, usize>,
    reused: Vec<Value>,
}

impl<'a> Layout<'a> {
    fn new(tasks: &'a Tasks<'a>, order: &'a [usize]) -> Self {
        let mut layout = Self {
            tasks,
            order,
            blocks: Vec::new(),
            block_of: BTreeMap::new(),
            scratch_blocks: BTreeMap::new(),
            saved_blocks: BTreeMap::new(),
            reused: Vec::new(),
        };
        let last_uses = layout.last_uses();
        for (at, &task) in order.iter().enumerate() {
            match tasks.list[task] {
                Task::Launch(node) => layout.add_launch(at, node, &last_uses),
                Task::Save { value, slot } => {
                    let restores = |&task: &usize| match tasks.list[task] {
                        Task::Copy { source, .. } => source == Source::Saved(slot),
                        Task::Launch(_) | Task::Save { .. } => false,
                    };
                    let end = order.iter().position(restores).expect("what is saved is restored");
                    let block = layout.add_block(bytes_of(tasks.graph, value), at, end);
                    layout.saved_blocks.insert(slot, block);
                }
                Task::Copy { .. } => {}
            }
        }
        layout
    }

    fn add_block(&mut self, bytes: u64, begin: usize, end: usize) -> usize {
        self.blocks.push(Block { bytes, begin, end, offset: 0 });
        self.blocks.len() - 1
    }

    /// For each root, the position of the last task that reads it.
    fn last_uses(&self) -> Vec<Option<usize>> {
        let mut last = vec![None; self.tasks.graph.n_values()];
        for (at, &task) in self.order.iter().enumerate() {
            for root in self.tasks.reads(task) {
                last[root.idx()] = Some(at);
            }
        }
        last
    }

    fn add_launch(&mut self, at: usize, node: Node, last_uses: &[Option<usize>]) {
        let (tasks, graph) = (self.tasks, self.tasks.graph);
        let facts = &tasks.facts[&node];
        let data = graph.node(node);
        let mut taken = Vec::new();
        for (result_idx, result) in data.results().enumerate() {
            if tasks.places[result.idx()].is_some() {
                continue;
            }
            let bytes = bytes_of(graph, result);
            let end = last_uses[result.idx()].unwrap_or(at);
            let donor = facts.in_place.iter().filter(|pair| pair.1 == result_idx).find_map(|&(operand_idx, _)| {
                let root = tasks.root(*data.operands.get(operand_idx)?);
                let block = *self.block_of.get(&root)?;
                let dies = self.blocks[block].end == at && last_uses[root.idx()] == Some(at);
                // Every other read of the operand must be in place too, or it would find what is being written.
                let only_in_place =
                    data.operands.iter().enumerate().all(|(idx, &operand)| {
                        tasks.root(operand) != root || facts.in_place.contains(&(idx, result_idx))
                    });
                (dies && only_in_place && self.blocks[block].bytes == bytes && !taken.contains(&block)).then_some(block)
            });
            let block = match donor {
                Some(block) => {
                    taken.push(block);
                    self.reused.push(result);
                    self.blocks[block].end = end;
                    block
                }
                None => self.add_block(bytes, at, end),
            };
            self.block_of.insert(result, block);
        }
        for &bytes in &facts.scratch {
            let block = self.add_block(bytes, at, at);
            self.scratch_blocks.entry(node).or_default().push(block);
        }
    }

    fn finish(mut self) -> MemoryPlan {
        let arena_bytes = arena::pack(&mut self.blocks);
        let tasks = self.tasks;
        let place = |block: usize| Place::Arena(self.blocks[block].offset);
        let mut places = tasks.places.clone();
        for (&value, &block) in &self.block_of {
            places[value.idx()] = Some(place(block));
        }
        for idx in 0..places.len() {
            places[idx] = places[tasks.root(Value(idx as u32)).idx()];
        }
        let place_of = |value: Value| places[value.idx()].expect("what is copied has a place");
        let steps = self.order.iter().map(|&task| match tasks.list[task] {
            Task::Launch(node) => Step::Launch(node),
            Task::Save { value, slot } => {
                Step::Copy { value, from: place_of(value), to: place(self.saved_blocks[&slot]) }
            }
            Task::Copy { value, source: Source::Value, to } => Step::Copy { value, from: place_of(value), to },
            Task::Copy { value, source: Source::Saved(slot), to } => {
                Step::Copy { value, from: place(self.saved_blocks[&slot]), to }
            }
        });
        let live_at = |at| self.blocks.iter().filter(move |block| block.lives_at(at)).map(Block::aligned);
        let scratch_places = |(&node, ids): (&Node, &Vec<usize>)| (node, ids.iter().map(|&id| place(id)).collect());
        MemoryPlan {
            steps: steps.collect(),
            results: tasks.results.clone(),
            scratch: self.scratch_blocks.iter().map(scratch_places).collect(),
            arena_bytes,
            live_bytes: (0..self.order.len()).map(|at| live_at(at).sum()).collect(),
            reused: self.reused,
            places,
        }
    }
}
