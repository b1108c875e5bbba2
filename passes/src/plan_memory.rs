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
//!   needs the new value too, the result is computed apart and copied at the end.
//! - A result may take the buffer of an operand that dies, where the lowering reads that operand only at the index it
//!   writes ([`LaunchFacts::in_place`]).
//! - Values that are results without a launch of their own (parameters, constants, repeats) are copied.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use nnc_ir::{Func, Graph, Node, Op, Value};

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
    /// Bytes of the arena in use during each step.
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

/// Plans the memory of a function of fixed shapes. `facts` gives, for a node that is launched, how it was lowered.
///
/// # Panics
/// If a shape is symbolic; specialization comes first.
pub fn plan_memory(func: &Func, facts: &dyn Fn(Node) -> LaunchFacts) -> MemoryPlan {
    let mut planner = Planner::new(func, facts);
    planner.place_results();
    planner.order_steps();
    planner.place_intermediates()
}

/// Whether the node is a launch: neither a leaf without computation nor an alias.
pub fn is_launch(graph: &Graph, node: Node) -> bool {
    !matches!(graph.node(node).op, Op::Param(_) | Op::Constant(_) | Op::Reshape(_))
}

fn bytes_of(graph: &Graph, value: Value) -> u64 {
    graph.ty(value).bytes().expect("shapes are fixed before memory is planned") as u64
}

struct Planner<'a> {
    func: &'a Func,
    graph: &'a Graph,
    facts: BTreeMap<Node, LaunchFacts>,
    /// For each value, the value whose buffer it is.
    roots: Vec<Value>,
    places: Vec<Option<Place>>,
    /// Edges beyond data flow: the second launch must come after the first.
    after: BTreeSet<(Node, Node)>,
    first_copies: Vec<(Value, Place, CopySource)>,
    last_copies: Vec<(Value, CopySource, Place)>,
    results: Vec<Place>,
    steps: Vec<Step>,
}

/// What a copy reads.
#[derive(Clone, Copy, PartialEq, Eq)]
enum CopySource {
    /// The value where it lies.
    Value,
    /// The arena buffer that an earlier copy filled, by position among them.
    Saved(usize),
}

impl<'a> Planner<'a> {
    fn new(func: &'a Func, facts: &dyn Fn(Node) -> LaunchFacts) -> Self {
        let graph = &func.graph;
        let mut roots: Vec<Value> = (0..graph.n_values() as u32).map(Value).collect();
        let mut places = vec![None; graph.n_values()];
        let mut launch_facts = BTreeMap::new();
        for (node, data) in graph.nodes() {
            match &data.op {
                Op::Param(idx) => places[data.first_result.idx()] = Some(Place::Param(*idx)),
                Op::Constant(_) => places[data.first_result.idx()] = Some(Place::Constant(node)),
                Op::Reshape(_) => roots[data.first_result.idx()] = roots[data.operands[0].idx()],
                _ => {
                    launch_facts.insert(node, facts(node));
                }
            }
        }
        Self {
            func,
            graph,
            facts: launch_facts,
            roots,
            places,
            after: BTreeSet::new(),
            first_copies: Vec::new(),
            last_copies: Vec::new(),
            results: Vec::new(),
            steps: Vec::new(),
        }
    }

    fn root(&self, value: Value) -> Value {
        self.roots[value.idx()]
    }

    /// Launches that read the buffer of `root`.
    fn readers(&self, root: Value) -> Vec<Node> {
        let reads = |node: &Node| self.graph.node(*node).operands.iter().any(|&operand| self.root(operand) == root);
        self.facts.keys().copied().filter(reads).collect()
    }

    /// Whether `to` must run after `from`.
    fn depends(&self, to: Node, from: Node) -> bool {
        let mut pending = vec![to];
        let mut seen = BTreeSet::new();
        while let Some(node) = pending.pop() {
            if node == from {
                return true;
            }
            if node < from && self.after.is_empty() || !seen.insert(node) {
                continue;
            }
            pending.extend(self.graph.node(node).operands.iter().map(|&operand| self.graph.value(operand).node));
            pending.extend(self.after.iter().filter(|(_, later)| *later == node).map(|(earlier, _)| *earlier));
        }
        false
    }

    /// Gives donated results their parameter's buffer where that is safe, the other results their own.
    fn place_results(&mut self) {
        let func = self.func;
        let overwritten: BTreeSet<u32> = func.results.iter().filter_map(|result| result.donates).collect();
        for (idx, result) in func.results.iter().enumerate() {
            let value = self.graph.results()[idx];
            let root = self.root(value);
            let target = match result.donates {
                Some(param) => Place::Param(param),
                None => Place::Result(idx as u32),
            };
            self.results.push(target);
            match self.places[root.idx()] {
                Some(place) if place == target => {}
                Some(Place::Param(source)) if overwritten.contains(&source) && result.donates.is_some() => {
                    // The source's old value is needed after its buffer may have changed.
                    self.last_copies.push((value, CopySource::Saved(self.first_copies.len()), target));
                    self.first_copies.push((value, target, CopySource::Saved(self.first_copies.len())));
                }
                Some(Place::Param(_)) if result.donates.is_none() => {
                    self.first_copies.push((value, target, CopySource::Value));
                }
                Some(_) => self.last_copies.push((value, CopySource::Value, target)),
                None => match result.donates {
                    Some(param) if !self.compute_in_param(root, param) => {
                        self.last_copies.push((value, CopySource::Value, target));
                    }
                    _ => self.places[root.idx()] = Some(target),
                },
            }
        }
    }

    /// Tries to let the launch that defines `root` write to the parameter's buffer; true if nothing stands against it.
    fn compute_in_param(&mut self, root: Value, param: u32) -> bool {
        let param_value = self.graph.params()[param as usize];
        let value = self.graph.value(root);
        let node = value.node;
        let data = self.graph.node(node);
        let facts = &self.facts[&node];
        let safe_in_place = data.operands.iter().enumerate().all(|(operand_idx, &operand)| {
            self.root(operand) != param_value || facts.in_place.contains(&(operand_idx, value.result_idx as usize))
        });
        let others: Vec<Node> = self.readers(param_value).into_iter().filter(|&reader| reader != node).collect();
        if !safe_in_place || others.iter().any(|&reader| self.depends(reader, node)) {
            return false;
        }
        self.after.extend(others.into_iter().map(|reader| (reader, node)));
        true
    }

    /// Topological order of the launches, smallest id first among those ready.
    fn order_steps(&mut self) {
        let launches: Vec<Node> = self.facts.keys().copied().collect();
        let mut waits: BTreeMap<Node, BTreeSet<Node>> = BTreeMap::new();
        for &node in &launches {
            let operands = self.graph.node(node).operands.iter();
            let needed = operands.map(|&operand| self.graph.value(self.root(operand)).node);
            waits.insert(node, needed.filter(|needed| self.facts.contains_key(needed)).collect());
        }
        for (earlier, later) in &self.after {
            waits.entry(*later).or_default().insert(*earlier);
        }
        let mut dependents: BTreeMap<Node, Vec<Node>> = BTreeMap::new();
        for (&node, needed) in &waits {
            for &earlier in needed {
                dependents.entry(earlier).or_default().push(node);
            }
        }
        let mut ready: BTreeSet<Node> =
            launches.iter().copied().filter(|node| waits.get(node).is_none_or(BTreeSet::is_empty)).collect();
        let mut order = Vec::with_capacity(launches.len());
        while let Some(node) = ready.pop_first() {
            order.push(node);
            for dependent in dependents.get(&node).into_iter().flatten() {
                let needed = waits.get_mut(dependent).expect("dependents wait");
                needed.remove(&node);
                if needed.is_empty() {
                    ready.insert(*dependent);
                }
            }
        }
        assert_eq!(order.len(), launches.len(), "launch order has no cycles");
        self.steps = order.into_iter().map(Step::Launch).collect();
    }

    /// Finds live ranges, shares buffers in place, packs the arena, and writes the copies out.
    fn place_intermediates(mut self) -> MemoryPlan {
        let n_first = self.first_copies.len();
        let n_launches = self.steps.len();
        let n_steps = n_first + n_launches + self.last_copies.len();
        let launch_at = |node: Node, steps: &[Step]| {
            n_first + steps.iter().position(|step| *step == Step::Launch(node)).expect("the node is a launch")
        };

        // Live ranges of buffers that need a place in the arena.
        let mut blocks: Vec<Block> = Vec::new();
        let mut block_of: BTreeMap<Value, usize> = BTreeMap::new();
        let mut reused = Vec::new();
        let last_use = self.last_uses(n_first);
        for step_idx in 0..n_launches {
            let Step::Launch(node) = self.steps[step_idx] else { continue };
            let at = n_first + step_idx;
            let data = self.graph.node(node);
            let mut taken = BTreeSet::new();
            for (result_idx, result) in data.results().enumerate() {
                if self.places[result.idx()].is_some() {
                    continue;
                }
                let bytes = bytes_of(self.graph, result);
                let end = last_use[result.idx()].unwrap_or(at);
                let facts = &self.facts[&node];
                let donor = facts.in_place.iter().filter(|(_, to)| *to == result_idx).find_map(|&(operand_idx, _)| {
                    let root = self.root(*data.operands.get(operand_idx)?);
                    let block = *block_of.get(&root)?;
                    // Every other use in this launch must be in place too, or it would read what is being written.
                    let only_use = data.operands.iter().enumerate().all(|(idx, &operand)| {
                        self.root(operand) != root || facts.in_place.contains(&(idx, result_idx))
                    });
                    let dies = blocks[block].end == at && last_use[root.idx()] == Some(at);
                    (dies && only_use && blocks[block].bytes == bytes && !taken.contains(&block)).then_some(block)
                });
                let block = match donor {
                    Some(block) => {
                        taken.insert(block);
                        reused.push(result);
                        blocks[block].end = end.max(at);
                        block
                    }
                    None => {
                        blocks.push(Block { bytes, begin: at, end, offset: 0 });
                        blocks.len() - 1
                    }
                };
                block_of.insert(result, block);
            }
        }
        let saved: Vec<usize> = self
            .first_copies
            .iter()
            .enumerate()
            .map(|(idx, (value, ..))| {
                blocks.push(Block { bytes: bytes_of(self.graph, *value), begin: idx, end: n_steps, offset: 0 });
                blocks.len() - 1
            })
            .collect();
        let mut scratch_blocks: BTreeMap<Node, Vec<usize>> = BTreeMap::new();
        for (&node, facts) in &self.facts {
            let at = launch_at(node, &self.steps);
            for &bytes in &facts.scratch {
                blocks.push(Block { bytes, begin: at, end: at, offset: 0 });
                scratch_blocks.entry(node).or_default().push(blocks.len() - 1);
            }
        }
        // Copies that go straight to their target need no block.
        for (idx, (.., source)) in self.first_copies.iter().enumerate() {
            if *source == CopySource::Value {
                blocks[saved[idx]].bytes = 0;
            }
        }
        let arena_bytes = pack(&mut blocks);

        for (&value, &block) in &block_of {
            self.places[value.idx()] = Some(Place::Arena(blocks[block].offset));
        }
        for idx in 0..self.places.len() {
            let root = self.roots[idx];
            self.places[idx] = self.places[root.idx()];
        }
        let place_of = |value: Value| self.places[value.idx()].expect("copied values have a place");
        let mut steps = Vec::with_capacity(n_steps);
        for (idx, &(value, target, source)) in self.first_copies.iter().enumerate() {
            let to = match source {
                CopySource::Value => target,
                CopySource::Saved(_) => Place::Arena(blocks[saved[idx]].offset),
            };
            steps.push(Step::Copy { value, from: place_of(value), to });
        }
        steps.append(&mut self.steps);
        for &(value, source, to) in &self.last_copies {
            let from = match source {
                CopySource::Value => place_of(value),
                CopySource::Saved(idx) => Place::Arena(blocks[saved[idx]].offset),
            };
            steps.push(Step::Copy { value, from, to });
        }
        let live_bytes =
            (0..n_steps).map(|at| blocks.iter().filter(|block| block.live_at(at)).map(Block::padded).sum()).collect();
        let scratch = scratch_blocks
            .into_iter()
            .map(|(node, ids)| (node, ids.into_iter().map(|id| Place::Arena(blocks[id].offset)).collect()))
            .collect();
        MemoryPlan { steps, places: self.places, results: self.results, scratch, arena_bytes, live_bytes, reused }
    }

    /// For each buffer, the last step that uses it.
    fn last_uses(&self, n_first: usize) -> Vec<Option<usize>> {
        let mut last = vec![None; self.graph.n_values()];
        for (idx, step) in self.steps.iter().enumerate() {
            if let Step::Launch(node) = step {
                for &operand in &self.graph.node(*node).operands {
                    last[self.root(operand).idx()] = Some(n_first + idx);
                }
            }
        }
        for (idx, (value, source, _)) in self.last_copies.iter().enumerate() {
            if *source == CopySource::Value {
                last[self.root(*value).idx()] = Some(n_first + self.steps.len() + idx);
            }
        }
        last
    }
}

/// A buffer of the arena and the steps it lives in, both ends included.
#[derive(Clone, Copy, Debug)]
struct Block {
    bytes: u64,
    begin: usize,
    end: usize,
    offset: u64,
}

impl Block {
    /// Bytes taken: whole cache lines, and one more for multiples of a page, so that equal tensors that are read
    /// together do not start at equal offsets of a page (loads and stores 4 KiB apart stall each other).
    fn padded(&self) -> u64 {
        let bytes = self.bytes.next_multiple_of(ALIGN);
        if bytes > 0 && bytes.is_multiple_of(4096) { bytes + ALIGN } else { bytes }
    }

    fn live_at(&self, step: usize) -> bool {
        (self.begin..=self.end).contains(&step)
    }

    fn overlaps(&self, other: &Self) -> bool {
        self.begin <= other.end && other.begin <= self.end
    }
}

/// Greedy by size: the largest block first, each at the tightest gap among those placed that live at the same time.
/// Gives the size of the arena.
fn pack(blocks: &mut [Block]) -> u64 {
    let mut by_size: Vec<usize> = (0..blocks.len()).collect();
    by_size.sort_by_key(|&idx| (std::cmp::Reverse(blocks[idx].bytes), blocks[idx].begin, idx));
    let mut placed: Vec<usize> = Vec::with_capacity(blocks.len());
    let mut arena_bytes = 0;
    for idx in by_size {
        let block = blocks[idx];
        let size = block.padded();
        let mut neighbors: Vec<&Block> = placed
            .iter()
            .map(|&other| &blocks[other])
            .filter(|other| other.overlaps(&block) && other.bytes > 0)
            .collect();
        neighbors.sort_by_key(|other| other.offset);
        let mut best: Option<(u64, u64)> = None;
        let mut free_from = 0;
        for other in neighbors {
            if other.offset >= free_from + size {
                let gap = other.offset - free_from;
                if best.is_none_or(|(smallest, _)| gap < smallest) {
                    best = Some((gap, free_from));
                }
            }
            free_from = free_from.max(other.offset + other.padded());
        }
        blocks[idx].offset = best.map_or(free_from, |(_, offset)| offset);
        arena_bytes = arena_bytes.max(blocks[idx].offset + size);
        placed.push(idx);
    }
    arena_bytes
}

#[cfg(test)]
mod tests {
    use nnc_ir::parse::parse_func;

    use super::*;

    /// Elementwise ops may work in place on any operand of the same size.
    fn plan(text: &str) -> (Func, MemoryPlan) {
        let func = parse_func(text).unwrap();
        let plan = plan_memory(&func, &|node| {
            let data = func.graph.node(node);
            let bytes = bytes_of(&func.graph, data.first_result);
            let same = |&(_, &operand): &(usize, &Value)| bytes_of(&func.graph, operand) == bytes;
            let in_place = data.operands.iter().enumerate().filter(same).map(|(idx, _)| (idx, 0)).collect();
            LaunchFacts { in_place, scratch: Vec::new() }
        });
        (func, plan)
    }

    #[test]
    fn chains_share_one_buffer() {
        let (func, plan) = plan(
            "func @f(%x: f32[64]) -> (y: f32[64]) {
              %0 = exponential %x : f32[64]
              %1 = negate %0 : f32[64]
              %2 = tanh %1 : f32[64]
              return %2
            }",
        );
        assert_eq!(
            plan.report(&func),
            "arena 256 bytes, lower bound 256\n\
             exponential: %0 at arena 0 [256 live]\n\
             negate: %1 at arena 0, in place [256 live]\n\
             tanh: %2 at result y [256 live]\n"
        );
    }

    #[test]
    fn readers_of_a_donated_parameter_come_first() {
        let (func, plan) = plan(
            "func @f(%x: f32[16], param %w: f32[16] = @w) -> (w: f32[16] into %w, y: f32[16]) {
              %0 = add %w, %x : f32[16]
              %1 = multiply %w, %x : f32[16]
              return %0, %1
            }",
        );
        assert_eq!(
            plan.report(&func),
            "arena 0 bytes, lower bound 0\n\
             multiply: %1 at result y [0 live]\n\
             add: %0 at param w [0 live]\n"
        );
    }

    #[test]
    fn a_reader_of_old_and_new_forces_a_copy() {
        let (func, plan) = plan(
            "func @f(%x: f32[16], param %w: f32[16] = @w) -> (w: f32[16] into %w, y: f32[16]) {
              %0 = add %w, %x : f32[16]
              %1 = multiply %w, %0 : f32[16]
              return %0, %1
            }",
        );
        assert_eq!(
            plan.report(&func),
            "arena 64 bytes, lower bound 64\n\
             add: %0 at arena 0 [64 live]\n\
             multiply: %1 at result y [64 live]\n\
             copy: %0 from arena 0 to param w [64 live]\n"
        );
    }

    #[test]
    fn states_can_be_swapped() {
        let (func, plan) = plan(
            "func @f(state %a: f32[4] = @a, state %b: f32[4] = @b) -> (a: f32[4] into %a, b: f32[4] into %b) {
              return %b, %a
            }",
        );
        assert_eq!(
            plan.report(&func),
            "arena 128 bytes, lower bound 128\n\
             copy: %b from param b to arena 0 [64 live]\n\
             copy: %a from param a to arena 64 [128 live]\n\
             copy: %b from arena 0 to param a [128 live]\n\
             copy: %a from arena 64 to param b [128 live]\n"
        );
    }
}
