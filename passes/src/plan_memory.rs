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
//! - Regions of `scan`, `cond` and `while` are planned first, each with an arena of its own, which is scratch of the node.
//!
//! Files in the order of the work: `facts` is what lowering says, `control` plans loops and branches, `tasks` says what
//! must be done and after what, `order` puts it in line, `arena` packs what lives at the same time; `report` prints.

use std::collections::BTreeMap;

use nnc_ir::{Func, Graph, Node, Op, Value};

mod arena;
mod control;
mod facts;
mod order;
mod report;
mod tasks;
#[cfg(test)]
mod tests;

use arena::Block;
pub use control::{Carry, ControlPlan, ScanPlan};
pub use facts::{Facts, LaunchFacts, NodeFacts};
use tasks::{Source, Task, Tasks, Want};

/// Alignment of every tensor in bytes.
pub const ALIGN: u64 = 64;

/// Where a tensor lies. In the plan of a region, parameters, results and arena are the region's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Place {
    /// The parameter's buffer.
    Param(u32),
    /// The result's own buffer.
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

/// The plan of one function or region.
#[derive(Clone, Debug)]
pub struct MemoryPlan {
    /// What to do, in order.
    pub steps: Vec<Step>,
    /// Where each value lies; `None` for values that nothing uses.
    pub places: Vec<Option<Place>>,
    /// Where each result is found after the last step.
    pub results: Vec<Place>,
    /// Where the scratch of each node lies.
    pub scratch: BTreeMap<Node, Vec<Place>>,
    /// Size of the arena.
    pub arena_bytes: u64,
    /// Bytes of the arena in use during each step, every tensor rounded up to [`ALIGN`].
    pub live_bytes: Vec<u64>,
    /// Values that took an operand's buffer.
    pub reused: Vec<Value>,
    /// How control flow is run.
    pub control: BTreeMap<Node, ControlPlan>,
}

impl MemoryPlan {
    /// The largest sum of live bytes over all steps: no arena can be smaller.
    pub fn lower_bound(&self) -> u64 {
        self.live_bytes.iter().copied().max().unwrap_or(0)
    }
}

/// Whether the node is a launch: neither a leaf without computation nor an alias.
pub fn is_launch(graph: &Graph, node: Node) -> bool {
    !matches!(graph.node(node).op, Op::Param(_) | Op::Constant(_) | Op::Reshape(_))
}

fn bytes_of(graph: &Graph, value: Value) -> u64 {
    graph.ty(value).bytes().expect("shapes are fixed before memory is planned") as u64
}

/// Whether the op runs its regions as programs, rather than being one kernel.
pub fn is_control_flow(op: &Op) -> bool {
    matches!(op, Op::Scan(_) | Op::Cond | Op::While)
}

/// Plans the memory of a function of fixed shapes. `facts` says how its nodes were lowered.
///
/// # Panics
/// If a shape is symbolic; specialization comes first.
pub fn plan_memory(func: &Func, facts: &Facts) -> MemoryPlan {
    let wants: Vec<Want> = func.results.iter().map(|result| result.donates.map_or(Want::Own, Want::Param)).collect();
    plan_graph(&func.graph, &wants, facts)
}

/// Plans a graph whose results are wanted as given.
fn plan_graph(graph: &Graph, wants: &[Want], facts: &Facts) -> MemoryPlan {
    let tasks = Tasks::new(graph, wants, facts);
    let order = order::order(&tasks);
    Layout::new(&tasks, &order).finish(wants)
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
        for root in &self.tasks.kept {
            last[root.idx()] = Some(self.order.len());
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
        for (idx, &bytes) in facts.scratch.iter().enumerate() {
            let (begin, end) = if facts.kept.contains(&idx) { (0, self.order.len()) } else { (at, at) };
            let block = self.add_block(bytes, begin, end);
            self.scratch_blocks.entry(node).or_default().push(block);
        }
    }

    fn finish(mut self, wants: &[Want]) -> MemoryPlan {
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
        let results = wants.iter().zip(self.tasks.graph.results()).zip(&tasks.results);
        let results = results.map(|((want, &value), &place)| match want {
            Want::Anywhere => places[value.idx()].expect("a result that is wanted has a place"),
            _ => place,
        });
        let scratch_places = |(&node, ids): (&Node, &Vec<usize>)| (node, ids.iter().map(|&id| place(id)).collect());
        MemoryPlan {
            steps: steps.collect(),
            results: results.collect(),
            scratch: self.scratch_blocks.iter().map(scratch_places).collect(),
            arena_bytes,
            live_bytes: (0..self.order.len()).map(|at| live_at(at).sum()).collect(),
            reused: self.reused,
            control: tasks.control.clone(),
            places,
        }
    }
}
