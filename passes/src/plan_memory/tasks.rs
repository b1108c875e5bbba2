//! What must be done, and after what: launches, and the copies that results need.
//!
//! Data flow orders most of it. The rest are hazards of donated parameters: whoever reads a parameter comes before
//! whatever overwrites it.

use std::collections::{BTreeMap, BTreeSet};

use nnc_ir::{Func, Graph, Node, Op, Value};

use super::{LaunchFacts, Place};

/// One thing to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Task {
    /// Run the node.
    Launch(Node),
    /// Keep the old value of a parameter in the arena, for a later copy.
    Save { value: Value, slot: usize },
    /// Copy a value to where a result is expected.
    Copy { value: Value, source: Source, to: Place },
}

/// What a copy reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// The value where it lies.
    Value,
    /// What was saved under this number.
    Saved(usize),
}

/// All tasks of a function, by number, with what each waits for.
pub(super) struct Tasks<'a> {
    pub(super) graph: &'a Graph,
    pub(super) facts: BTreeMap<Node, LaunchFacts>,
    pub(super) list: Vec<Task>,
    /// Where values lie that need no room in the arena, by root.
    pub(super) places: Vec<Option<Place>>,
    /// Where each result of the function is found in the end.
    pub(super) results: Vec<Place>,
    /// For each value, the value whose buffer it is.
    roots: Vec<Value>,
    launch_of: BTreeMap<Node, usize>,
    /// For each task, those that come before it.
    waits: Vec<BTreeSet<usize>>,
    n_saved: usize,
}

impl<'a> Tasks<'a> {
    pub(super) fn new(func: &'a Func, facts: &dyn Fn(Node) -> LaunchFacts) -> Self {
        let graph = &func.graph;
        let mut tasks = Self {
            graph,
            facts: BTreeMap::new(),
            list: Vec::new(),
            places: vec![None; graph.n_values()],
            results: Vec::new(),
            roots: (0..graph.n_values() as u32).map(Value).collect(),
            launch_of: BTreeMap::new(),
            waits: Vec::new(),
            n_saved: 0,
        };
        for (node, data) in graph.nodes() {
            let result = data.first_result.idx();
            match &data.op {
                Op::Param(idx) => tasks.places[result] = Some(Place::Param(*idx)),
                Op::Constant(_) => tasks.places[result] = Some(Place::Constant(node)),
                Op::Reshape(_) => tasks.roots[result] = tasks.root(data.operands[0]),
                _ => {
                    let defs = data.operands.iter().map(|&operand| graph.value(tasks.root(operand)).node);
                    let waits = defs.filter_map(|def| tasks.launch_of.get(&def).copied()).collect();
                    let task = tasks.add(Task::Launch(node), waits);
                    tasks.launch_of.insert(node, task);
                    tasks.facts.insert(node, facts(node));
                }
            }
        }
        tasks.add_results(func);
        tasks
    }

    fn add(&mut self, task: Task, waits: BTreeSet<usize>) -> usize {
        self.list.push(task);
        self.waits.push(waits);
        self.list.len() - 1
    }

    /// The value whose buffer `value` is.
    pub(super) fn root(&self, value: Value) -> Value {
        self.roots[value.idx()]
    }

    /// Tasks that come before `task`.
    pub(super) fn waits(&self, task: usize) -> &BTreeSet<usize> {
        &self.waits[task]
    }

    /// Roots that the task reads, each once.
    pub(super) fn reads(&self, task: usize) -> BTreeSet<Value> {
        match self.list[task] {
            Task::Launch(node) => self.graph.node(node).operands.iter().map(|&operand| self.root(operand)).collect(),
            Task::Save { value, .. } | Task::Copy { value, source: Source::Value, .. } => {
                BTreeSet::from([self.root(value)])
            }
            Task::Copy { source: Source::Saved(_), .. } => BTreeSet::new(),
        }
    }

    /// Roots that the task defines in the arena.
    pub(super) fn defines(&self, task: usize) -> impl Iterator<Item = Value> + '_ {
        let node = match self.list[task] {
            Task::Launch(node) => Some(node),
            Task::Save { .. } | Task::Copy { .. } => None,
        };
        let results = node.into_iter().flat_map(|node| self.graph.node(node).results());
        results.filter(|result| self.places[result.idx()].is_none())
    }

    /// Launches that read the buffer of `root`.
    fn readers(&self, root: Value) -> Vec<usize> {
        let reads = |node: &Node| self.graph.node(*node).operands.iter().any(|&operand| self.root(operand) == root);
        self.launch_of.iter().filter(|(node, _)| reads(node)).map(|(_, &task)| task).collect()
    }

    /// Whether `later` waits for `earlier`, directly or not.
    fn is_after(&self, later: usize, earlier: usize) -> bool {
        let mut seen = BTreeSet::from([later]);
        let mut pending = vec![later];
        while let Some(task) = pending.pop() {
            if task == earlier {
                return true;
            }
            pending.extend(self.waits[task].iter().copied().filter(|&wait| seen.insert(wait)));
        }
        false
    }

    /// Gives every result a place, and adds the copies this takes.
    fn add_results(&mut self, func: &Func) {
        // Results that are computed in a parameter's buffer come first: they are the ones that cost a copy otherwise.
        let values = func.graph.results();
        self.results = func
            .results
            .iter()
            .enumerate()
            .map(|(idx, result)| result.donates.map_or(Place::Result(idx as u32), Place::Param))
            .collect();
        let mut done = vec![false; values.len()];
        for (idx, result) in func.results.iter().enumerate() {
            let root = self.root(values[idx]);
            if let (Some(param), None) = (result.donates, self.places[root.idx()]) {
                done[idx] = self.compute_in_param(root, param);
            }
        }
        for (idx, place) in self.results.clone().into_iter().enumerate() {
            let root = self.root(values[idx]);
            if matches!(place, Place::Result(_)) && self.places[root.idx()].is_none() {
                self.places[root.idx()] = Some(place);
                done[idx] = true;
            }
        }
        // Copies out of parameters whose buffers change come before the change; the rest waits for the readers.
        let overwritten: BTreeSet<u32> = func
            .results
            .iter()
            .zip(values)
            .filter_map(|(result, &value)| {
                let param = result.donates?;
                (self.root(value) != func.graph.params()[param as usize]).then_some(param)
            })
            .collect();
        let mut first = Vec::new();
        for (idx, &to) in self.results.clone().iter().enumerate() {
            let value = values[idx];
            let root = self.root(value);
            let def = self.graph.value(root).node;
            if done[idx] || self.places[root.idx()] == Some(to) {
                continue;
            }
            let old_param = match self.graph.node(def).op {
                Op::Param(param) if overwritten.contains(&param) => Some(param),
                _ => None,
            };
            let mut waits: BTreeSet<usize> = self.launch_of.get(&def).copied().into_iter().collect();
            match (old_param, to) {
                (Some(_), Place::Param(param)) => {
                    let slot = self.n_saved;
                    self.n_saved += 1;
                    waits.insert(self.add(Task::Save { value, slot }, BTreeSet::new()));
                    waits.extend(self.readers(self.graph.params()[param as usize]));
                    self.add(Task::Copy { value, source: Source::Saved(slot), to }, waits);
                }
                (Some(_), _) => first.push(self.add(Task::Copy { value, source: Source::Value, to }, waits)),
                (None, Place::Param(param)) => {
                    waits.extend(self.readers(self.graph.params()[param as usize]));
                    self.add(Task::Copy { value, source: Source::Value, to }, waits);
                }
                (None, _) => {
                    self.add(Task::Copy { value, source: Source::Value, to }, waits);
                }
            }
        }
        self.order_overwrites();
    }

    /// Tries to let the launch that defines `root` write to the parameter's buffer; true if nothing stands against it.
    fn compute_in_param(&mut self, root: Value, param: u32) -> bool {
        let param_value = self.graph.params()[param as usize];
        let value = self.graph.value(root);
        let task = self.launch_of[&value.node];
        let in_place = &self.facts[&value.node].in_place;
        let data = self.graph.node(value.node);
        let reads_in_place = data.operands.iter().enumerate().all(|(idx, &operand)| {
            self.root(operand) != param_value || in_place.contains(&(idx, value.result_idx as usize))
        });
        let mut readers = self.readers(param_value);
        readers.retain(|&reader| reader != task);
        if !reads_in_place || readers.iter().any(|&reader| self.is_after(reader, task)) {
            return false;
        }
        self.waits[task].extend(readers);
        self.places[root.idx()] = Some(Place::Param(param));
        true
    }

    /// Copies out of a parameter, and saves of it, come before the task that overwrites it.
    fn order_overwrites(&mut self) {
        for task in 0..self.list.len() {
            let (Task::Save { value, .. } | Task::Copy { value, source: Source::Value, .. }) = self.list[task] else {
                continue;
            };
            let root = self.root(value);
            let Op::Param(param) = self.graph.def(root).op else { continue };
            for other in 0..self.list.len() {
                if other != task && self.writes(other, Place::Param(param)) {
                    self.waits[other].insert(task);
                }
            }
        }
    }

    fn writes(&self, task: usize, place: Place) -> bool {
        match self.list[task] {
            Task::Launch(node) => {
                self.graph.node(node).results().any(|result| self.places[result.idx()] == Some(place))
            }
            Task::Copy { to, .. } => to == place,
            Task::Save { .. } => false,
        }
    }
}
