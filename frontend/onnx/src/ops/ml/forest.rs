//! Decision trees as tables, walked for all rows and trees at once.
//!
//! A node is a row of the tables. A leaf is its own successor, so that every walk takes as many steps as the deepest one,
//! and a step is a handful of look-ups and a comparison.

use std::collections::BTreeSet;

use nnc_frontend::Tensor;
use nnc_frontend::functional::Scan;
use nnc_frontend::tensor::where_;
use nnc_ir::{DType, Dim, Shape, TensorData};

use super::super::positions::{index_along, look_up};
use super::constant;

/// The comparison at a node, in the order of the numbers that `TreeEnsemble` has for them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Mode {
    Leq,
    Lt,
    Gte,
    Gt,
    Eq,
    Neq,
    Member,
}

impl Mode {
    const ALL: [Self; 7] = [Self::Leq, Self::Lt, Self::Gte, Self::Gt, Self::Eq, Self::Neq, Self::Member];

    pub(super) fn from_number(number: i64) -> Option<Self> {
        Self::ALL.get(usize::try_from(number).ok()?).copied()
    }

    /// The comparison of a name, or `None` for a leaf.
    pub(super) fn from_name(name: &str) -> Option<Option<Self>> {
        Some(Some(match name {
            "BRANCH_LEQ" => Self::Leq,
            "BRANCH_LT" => Self::Lt,
            "BRANCH_GTE" => Self::Gte,
            "BRANCH_GT" => Self::Gt,
            "BRANCH_EQ" => Self::Eq,
            "BRANCH_NEQ" => Self::Neq,
            "LEAF" => return Some(None),
            _ => return None,
        }))
    }
}

/// A node where a walk goes on.
#[derive(Clone, Debug)]
pub(super) struct Test {
    pub(super) feature: usize,
    pub(super) mode: Mode,
    pub(super) split: f64,
    /// For [`Mode::Member`].
    pub(super) members: Vec<f64>,
    pub(super) on_true: usize,
    pub(super) on_false: usize,
    /// Where a feature that is not a number leads to.
    pub(super) missing_is_true: bool,
}

/// A node.
#[derive(Clone, Debug)]
pub(super) enum Node {
    Test(Test),
    /// Targets with their weights.
    Leaf(Vec<(usize, f64)>),
}

/// How the weights of the leaves that a row reaches come together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Aggregate {
    Average,
    Sum,
    Min,
    Max,
}

impl Aggregate {
    pub(super) fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "AVERAGE" => Self::Average,
            "SUM" => Self::Sum,
            "MIN" => Self::Min,
            "MAX" => Self::Max,
            _ => return None,
        })
    }

    pub(super) fn from_number(number: i64) -> Option<Self> {
        [Self::Average, Self::Sum, Self::Min, Self::Max].get(usize::try_from(number).ok()?).copied()
    }
}

/// Trees over common nodes.
#[derive(Clone, Debug)]
pub(super) struct Forest {
    pub(super) nodes: Vec<Node>,
    pub(super) roots: Vec<usize>,
    pub(super) n_targets: usize,
}

impl Forest {
    /// Checks that every reference is to a node, and that no walk is endless.
    ///
    /// # Errors
    /// What is wrong.
    pub(super) fn check(&self, n_features: Option<usize>) -> Result<(), String> {
        if self.roots.is_empty() {
            return Err("there are no trees".to_string());
        }
        let n_nodes = self.nodes.len();
        let successors = self.nodes.iter().flat_map(|node| match node {
            Node::Test(test) => vec![test.on_true, test.on_false],
            Node::Leaf(_) => Vec::new(),
        });
        if let Some(wrong) = successors.chain(self.roots.iter().copied()).find(|&node| node >= n_nodes) {
            return Err(format!("node {wrong} of {n_nodes}"));
        }
        for node in &self.nodes {
            match node {
                Node::Test(test) if n_features.is_some_and(|n_features| test.feature >= n_features) => {
                    return Err(format!("feature {} of {}", test.feature, n_features.unwrap_or_default()));
                }
                Node::Leaf(votes) => {
                    if let Some((target, _)) = votes.iter().find(|(target, _)| *target >= self.n_targets) {
                        return Err(format!("target {target} of {}", self.n_targets));
                    }
                }
                Node::Test(_) => {}
            }
        }
        self.depth().map(|_| ())
    }

    /// The number of tests on the longest walk.
    fn depth(&self) -> Result<usize, String> {
        #[derive(Clone, Copy)]
        enum State {
            New,
            Open,
            Done(usize),
        }
        let mut states = vec![State::New; self.nodes.len()];
        let mut pending: Vec<usize> = self.roots.clone();
        while let Some(&node) = pending.last() {
            let Node::Test(test) = &self.nodes[node] else {
                states[node] = State::Done(0);
                pending.pop();
                continue;
            };
            match states[node] {
                State::New => {
                    states[node] = State::Open;
                    for next in [test.on_true, test.on_false] {
                        match states[next] {
                            State::New => pending.push(next),
                            State::Open => return Err(format!("node {next} comes after itself")),
                            State::Done(_) => {}
                        }
                    }
                }
                State::Open => {
                    let below = [test.on_true, test.on_false].map(|next| match states[next] {
                        State::Done(depth) => depth,
                        State::New | State::Open => 0,
                    });
                    states[node] = State::Done(1 + below[0].max(below[1]));
                    pending.pop();
                }
                State::Done(_) => {
                    pending.pop();
                }
            }
        }
        let depths = self.roots.iter().map(|&root| match states[root] {
            State::Done(depth) => depth,
            State::New | State::Open => 0,
        });
        Ok(depths.max().unwrap_or(0))
    }

    fn tests(&self) -> impl Iterator<Item = &Test> {
        self.nodes.iter().filter_map(|node| match node {
            Node::Test(test) => Some(test),
            Node::Leaf(_) => None,
        })
    }

    /// One number a node: `of` a test, the default for a leaf.
    fn table(&self, dtype: DType, of: impl Fn(usize, Option<&Test>) -> f64) -> Tensor {
        let value = |(at, node): (usize, &Node)| match node {
            Node::Test(test) => of(at, Some(test)),
            Node::Leaf(_) => of(at, None),
        };
        constant(dtype, &[self.nodes.len()], self.nodes.iter().enumerate().map(value))
    }

    /// The leaf that each row of `x` (`[N, F]`, floats) reaches in each tree, `[N, T]`.
    fn leaves(&self, x: &Tensor) -> Tensor {
        let roots =
            TensorData::from_integers(DType::I32, vec![self.roots.len()], self.roots.iter().map(|&at| at as i64));
        let shape = Shape(vec![x.shape()[0].clone(), Dim::from(self.roots.len())]);
        let start = Tensor::from_data(roots).broadcast_to(shape);
        let depth = self.depth().unwrap_or_default();
        let feature = self.table(DType::I32, |_, test| test.map_or(0.0, |test| test.feature as f64));
        let split = self.table(x.dtype(), |_, test| test.map_or(0.0, |test| test.split));
        let on_true = self.table(DType::I32, |at, test| test.map_or(at, |test| test.on_true) as f64);
        let on_false = self.table(DType::I32, |at, test| test.map_or(at, |test| test.on_false) as f64);
        let modes: BTreeSet<Mode> = self.tests().map(|test| test.mode).collect();
        let mode = self.table(DType::I32, |_, test| test.map_or(0.0, |test| test.mode as i32 as f64));
        let members = self.members(x.dtype());
        // A comparison with what is not a number is false but for inequality.
        let tracks = modes.contains(&Mode::Neq) || self.tests().any(|test| test.missing_is_true);
        let missing = self.table(DType::F32, |_, test| f64::from(test.is_some_and(|test| test.missing_is_true))).bool();

        let step = |node: Tensor| {
            let value = x.gather(1, &look_up(&feature, &node));
            let split = look_up(&split, &node);
            let compare = |mode: Mode| match mode {
                Mode::Leq => value.le(&split),
                Mode::Lt => value.lt(&split),
                Mode::Gte => value.ge(&split),
                Mode::Gt => value.gt(&split),
                Mode::Eq => value.eq(&split),
                Mode::Neq => value.ne(&split),
                Mode::Member => index_along(&members, 0, &node).eq(value.unsqueeze(-1)).any(-1),
            };
            let mut result: Option<Tensor> = None;
            for &candidate in &modes {
                let holds = compare(candidate);
                result = Some(match result {
                    None => holds,
                    Some(others) => where_(&look_up(&mode, &node).eq(candidate as i32), holds, others),
                });
            }
            let Some(mut result) = result else { return node };
            if tracks {
                result = where_(&value.isnan(), look_up(&missing, &node), result);
            }
            where_(&result, look_up(&on_true, &node), look_up(&on_false, &node))
        };
        match depth {
            0 => start,
            1 => step(start),
            _ => Scan::new().length(depth).run(start, (), |node, ()| (step(node), ())).0,
        }
    }

    /// The largest number of members that a test has.
    pub(super) fn most_members(&self) -> usize {
        self.tests().map(|test| test.members.len()).max().unwrap_or(0)
    }

    /// The members of each node, `[nodes, most]`; what is not a number fills up and is no member.
    fn members(&self, dtype: DType) -> Tensor {
        let most = self.most_members();
        let rows = self.nodes.iter().flat_map(|node| {
            let members = match node {
                Node::Test(test) => test.members.as_slice(),
                Node::Leaf(_) => &[],
            };
            (0..most).map(|at| members.get(at).copied().unwrap_or(f64::NAN))
        });
        constant(dtype, &[self.nodes.len(), most], rows.collect::<Vec<_>>())
    }

    /// The targets of each row of `x` (`[N, F]`, floats): `[N, n_targets]`.
    pub(super) fn targets(&self, x: &Tensor, aggregate: Aggregate) -> Tensor {
        let none = match aggregate {
            Aggregate::Average | Aggregate::Sum => 0.0,
            Aggregate::Min => f64::INFINITY,
            Aggregate::Max => f64::NEG_INFINITY,
        };
        let mut weights = vec![none; self.nodes.len() * self.n_targets];
        for (at, node) in self.nodes.iter().enumerate() {
            let Node::Leaf(votes) = node else { continue };
            for &(target, weight) in votes {
                let sum = &mut weights[at * self.n_targets + target];
                *sum = match aggregate {
                    Aggregate::Average | Aggregate::Sum => *sum + weight,
                    Aggregate::Min => sum.min(weight),
                    Aggregate::Max => sum.max(weight),
                };
            }
        }
        let leaves = self.leaves(x);
        let votes = match self.n_targets {
            1 => look_up(&constant(x.dtype(), &[self.nodes.len()], weights), &leaves).unsqueeze(-1),
            n_targets => index_along(&constant(x.dtype(), &[self.nodes.len(), n_targets], weights), 0, &leaves),
        };
        // A target that no leaf votes for has the largest or smallest number.
        let largest = if x.dtype() == DType::F64 { f64::MAX } else { f64::from(f32::MAX) };
        match aggregate {
            Aggregate::Sum => votes.sum(1),
            Aggregate::Average => votes.sum(1) / self.roots.len() as f64,
            Aggregate::Min => votes.min(1).minimum(largest),
            Aggregate::Max => votes.max(1).maximum(-largest),
        }
    }
}
