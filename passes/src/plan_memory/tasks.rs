//! What must be done, and after what: launches, and the copies that results need.
//!
//! Data flow orders most of it. The rest are hazards of donated parameters: whoever reads a parameter comes before
//! whatever overwrites it.

use std::collections::{BTreeMap, BTreeSet};

use nnc_ir::{Graph, Node, Op, Value};

use super::control::{self, ControlPlan};
use super::facts::{Facts, LaunchFacts, NodeFacts};
use super::{Place, is_launch};

/// Where a result of a graph is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Want {
    /// In a buffer of its own.
    Own,
    /// In the buffer of this parameter.
    Param(u32),
    /// In the buffer of this parameter if that takes no copy, else in its own.
    ParamIfFree(u32),
    /// Where it is computed.
    Anywhere,
    /// Not at all: it is found by other means.
    Nowhere,
}

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

/// All tasks of a graph, by number, with what each waits for.
pub(super) struct Tasks<'a> {
    pub(super) graph: &'a Graph,
    pub(super) facts: BTreeMap<Node, LaunchFacts>,
    /// How control flow is run.
    pub(super) control: BTreeMap<Node, ControlPlan>,
    pub(super) list: Vec<Task>,
    /// Where values lie that need no room in the arena, by root.
    pub(super) places: Vec<Option<Place>>,
    /// Where each result of the graph is found in the end; for one that is wanted anywhere or nowhere, its own buffer
    /// stands in.
    pub(super) results: Vec<Place>,
    /// Values whose buffers are read after the last task.
    pub(super) kept: BTreeSet<Value>,
    /// For each value, the value whose buffer it is.
    roots: Vec<Value>,
    launch_of: BTreeMap<Node, usize>,
    /// For each task, those that come before it.
    waits: Vec<BTreeSet<usize>>,
    n_saved: usize,
}

impl<'a> Tasks<'a> {
    pub(super) fn new(graph: &'a Graph, wants: &[Want], facts: &Facts) -> Self {
        let mut tasks = Self {
            graph,
            facts: BTreeMap::new(),
            control: BTreeMap::new(),
            list: Vec::new(),
            places: vec![None; graph.n_values()],
            results: Vec::new(),
            kept: BTreeSet::new(),
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
                    tasks.add_facts(node, facts);
                }
            }
        }
        tasks.add_results(wants);
        tasks
    }

    /// Notes how a launch is lowered, and plans the regions of control flow.
    fn add_facts(&mut self, node: Node, facts: &Facts) {
        debug_assert!(is_launch(self.graph, node), "everything else was handled");
        let facts = match &facts.0[&node] {
            NodeFacts::Launch(facts) => facts.clone(),
            NodeFacts::Regions(regions) => {
                let planned = control::plan(self.graph.node(node), regions);
                self.control.insert(node, planned.plan);
                LaunchFacts { in_place: planned.in_place, scratch: planned.scratch, kept: BTreeSet::new() }
            }
        };
        self.facts.insert(node, facts);
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
    fn add_results(&mut self, wants: &[Want]) {
        let values = self.graph.results();
        self.results = wants
            .iter()
            .enumerate()
            .map(|(idx, want)| match *want {
                Want::Param(param) => Place::Param(param),
                Want::Own | Want::ParamIfFree(_) | Want::Anywhere | Want::Nowhere => Place::Result(idx as u32),
            })
            .collect();
        // Results that are wanted in no place of their own need no copy either.
        let mut done: Vec<bool> = wants.iter().map(|want| matches!(want, Want::Anywhere | Want::Nowhere)).collect();
        let anywhere = wants.iter().zip(values).filter(|(want, _)| **want == Want::Anywhere);
        self.kept = anywhere.map(|(_, &value)| self.root(value)).collect();
        // Results that are computed in a parameter's buffer come first: they are the ones that cost a copy otherwise.
        for (idx, want) in wants.iter().enumerate() {
            let root = self.root(values[idx]);
            if let (&(Want::Param(param) | Want::ParamIfFree(param)), None) = (want, self.places[root.idx()])
                && self.compute_in_param(root, param)
            {
                done[idx] = true;
                self.results[idx] = Place::Param(param);
            }
        }
        for (idx, place) in self.results.clone().into_iter().enumerate() {
            let root = self.root(values[idx]);
            if matches!(place, Place::Result(_)) && !done[idx] && self.places[root.idx()].is_none() {
                self.places[root.idx()] = Some(place);
                done[idx] = true;
            }
        }
        // Copies out of parameters whose buffers change come before the change; the rest waits for the readers.
        let changes = |(idx, place): (usize, &Place)| match *place {
            Place::Param(param) => (self.root(values[idx]) != self.graph.params()[param as usize]).then_some(param),
            _ => None,
        };
        let overwritten: BTreeSet<u32> = self.results.iter().enumerate().filter_map(changes).collect();
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
