//! `TreeEnsemble`, `TreeEnsembleClassifier`, `TreeEnsembleRegressor`.

use std::collections::BTreeMap;

use nnc_frontend::Tensor;

use super::super::{Domain, Entry, Outcome, one, op};
use super::classes::{Classes, two_columns};
use super::forest::{Aggregate, Forest, Mode, Node, Test};
use super::{PostTransform, constant, floats, precise, required, rows};
use crate::cx::Cx;
use crate::fault::Fault;

pub(in crate::ops) const OPS: &[Entry] = &[
    op("TreeEnsemble", 5.., tree_ensemble).in_domain(Domain::Ml),
    op("TreeEnsembleClassifier", 1.., tree_ensemble_classifier).in_domain(Domain::Ml),
    op("TreeEnsembleRegressor", 1.., tree_ensemble_regressor).in_domain(Domain::Ml),
];

/// The forest, checked against the features.
fn checked(cx: &Cx<'_>, forest: Forest, x: &Tensor) -> Result<Forest, Fault> {
    let n_nodes = forest.nodes.len();
    cx.table("the list of leaves", n_nodes.saturating_mul(forest.n_targets))?;
    cx.table("the list of members", n_nodes.saturating_mul(forest.most_members()))?;
    match forest.check(x.shape()[1].as_const()) {
        Ok(()) => Ok(forest),
        Err(message) => Err(cx.invalid(format!("the trees are not sound: {message}"))),
    }
}

/// A number as an index; a negative one is out of every range.
fn index(number: i64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

/// Tests and leaves are numbered apart.
fn tree_ensemble(cx: &mut Cx<'_>) -> Outcome {
    let x = floats(&rows(cx, cx.input(0)?)?);
    let ints = |name: &str| required(cx, name, cx.ints(name)?);
    let tensor = |name: &str| required(cx, name, cx.tensor(name)?);
    let (features, splits) = (ints("nodes_featureids")?, tensor("nodes_splits")?.to_f64());
    let modes = tensor("nodes_modes")?.to_i64();
    let (true_ids, false_ids) = (ints("nodes_truenodeids")?, ints("nodes_falsenodeids")?);
    let (true_leafs, false_leafs) = (ints("nodes_trueleafs")?, ints("nodes_falseleafs")?);
    let missing = cx.ints("nodes_missing_value_tracks_true")?.unwrap_or_default();
    let (targets, weights) = (ints("leaf_targetids")?, tensor("leaf_weights")?.to_f64());
    let roots = ints("tree_roots")?;
    let n_tests = features.len();
    let lengths = [splits.len(), modes.len(), true_ids.len(), false_ids.len(), true_leafs.len(), false_leafs.len()];
    if lengths.iter().any(|&length| length != n_tests) || targets.len() != weights.len() {
        return Err(cx.invalid("the attributes of nodes or those of leaves have different lengths"));
    }
    // The members of sets stand one after the other, each set closed by what is not a number.
    let values = cx.tensor("membership_values")?.map(|values| values.to_f64()).unwrap_or_default();
    let mut sets = values.split(|value| value.is_nan());
    let at = |id: i64, is_leaf: i64| index(id).saturating_add(if is_leaf != 0 { n_tests } else { 0 });
    let mut nodes = Vec::with_capacity(n_tests + weights.len());
    let mut members: BTreeMap<usize, Vec<f64>> = BTreeMap::new();
    let is_leaf_only = |root: usize| {
        root < n_tests && true_leafs[root] != 0 && false_leafs[root] != 0 && true_ids[root] == false_ids[root]
    };
    for node in set_order(&roots, n_tests, &modes, [&true_ids, &false_ids], [&true_leafs, &false_leafs]) {
        let set =
            sets.next().ok_or_else(|| cx.invalid("`membership_values` has fewer sets than there are nodes of them"))?;
        members.insert(node, set.to_vec());
    }
    for node in 0..n_tests {
        let mode = Mode::from_number(modes[node])
            .ok_or_else(|| cx.invalid(format!("node {node} has mode {}, expected 0 to 6", modes[node])))?;
        nodes.push(Node::Test(Test {
            feature: index(features[node]),
            mode,
            split: splits[node],
            members: members.remove(&node).unwrap_or_default(),
            on_true: at(true_ids[node], true_leafs[node]),
            on_false: at(false_ids[node], false_leafs[node]),
            missing_is_true: missing.get(node).is_some_and(|&tracks| tracks != 0),
        }));
    }
    nodes.extend(targets.iter().zip(&weights).map(|(&target, &weight)| Node::Leaf(vec![(index(target), weight)])));
    let roots = roots.into_iter().map(index);
    let roots = roots.map(|root| if is_leaf_only(root) { at(true_ids[root], 1) } else { root }).collect();
    let n_targets = index(required(cx, "n_targets", cx.int("n_targets")?)?);
    let forest = checked(cx, Forest { nodes, roots, n_targets }, &x)?;

    let aggregate = cx.int_or("aggregate_function", 1)?;
    let aggregate = Aggregate::from_number(aggregate)
        .ok_or_else(|| cx.invalid(format!("aggregate_function is {aggregate}, expected 0 to 3")))?;
    let transform = match cx.int_or("post_transform", 0)? {
        0 => PostTransform::None,
        1 => PostTransform::Softmax,
        2 => PostTransform::Logistic,
        3 => PostTransform::SoftmaxZero,
        4 => PostTransform::Probit,
        number => return Err(cx.invalid(format!("post_transform is {number}, expected 0 to 4"))),
    };
    one(transform.of_scores(&forest.targets(&x, aggregate)))
}

/// The nodes that test for members of a set, in the order in which a walk through the trees (true branch first) meets
/// them: so their sets are stored.
fn set_order(roots: &[i64], n_tests: usize, modes: &[i64], ids: [&[i64]; 2], leafs: [&[i64]; 2]) -> Vec<usize> {
    let mut order = Vec::new();
    let mut seen = vec![false; n_tests];
    let mut pending: Vec<usize> = roots.iter().rev().map(|&root| index(root)).collect();
    while let Some(node) = pending.pop() {
        if node >= n_tests || std::mem::replace(&mut seen[node], true) {
            continue;
        }
        if modes[node] == Mode::Member as i64 {
            order.push(node);
        }
        for branch in [1, 0] {
            if leafs[branch][node] == 0 {
                pending.push(index(ids[branch][node]));
            }
        }
    }
    order
}

/// The trees of the older operators: nodes named by tree and number, leaves among them; `kind` votes.
fn named_forest(cx: &Cx<'_>, kind: &str, n_targets: usize) -> Result<Forest, Fault> {
    let ints = |name: String| required(cx, &name, cx.ints(&name)?);
    let of_nodes = |name: &str| ints(format!("nodes_{name}"));
    let (trees, ids) = (of_nodes("treeids")?, of_nodes("nodeids")?);
    let (features, true_ids, false_ids) =
        (of_nodes("featureids")?, of_nodes("truenodeids")?, of_nodes("falsenodeids")?);
    let modes = required(cx, "nodes_modes", cx.strings("nodes_modes")?)?;
    let splits = required(cx, "nodes_values", precise(cx, "nodes_values")?)?;
    let missing = cx.ints("nodes_missing_value_tracks_true")?.unwrap_or_default();
    let n_nodes = ids.len();
    let lengths = [trees.len(), features.len(), true_ids.len(), false_ids.len(), modes.len(), splits.len()];
    if lengths.iter().any(|&length| length != n_nodes) {
        return Err(cx.invalid("the attributes of nodes have different lengths"));
    }
    let mut places: BTreeMap<(i64, i64), usize> = BTreeMap::new();
    let mut roots: BTreeMap<i64, usize> = BTreeMap::new();
    for (at, (&tree, &id)) in trees.iter().zip(&ids).enumerate() {
        if places.insert((tree, id), at).is_some() {
            return Err(cx.invalid(format!("node {id} of tree {tree} is there twice")));
        }
        roots.entry(tree).or_insert(at);
    }
    let find = |tree: i64, id: i64| {
        let place = places.get(&(tree, id)).copied();
        place.ok_or_else(|| cx.invalid(format!("node {id} of tree {tree}, which is not there")))
    };
    let mut nodes = Vec::with_capacity(n_nodes);
    for at in 0..n_nodes {
        let mode = Mode::from_name(&modes[at]).ok_or_else(|| cx.invalid(format!("mode `{}` of a node", modes[at])))?;
        nodes.push(match mode {
            None => Node::Leaf(Vec::new()),
            Some(mode) => Node::Test(Test {
                feature: index(features[at]),
                mode,
                split: splits[at],
                members: Vec::new(),
                on_true: find(trees[at], true_ids[at])?,
                on_false: find(trees[at], false_ids[at])?,
                missing_is_true: missing.get(at).is_some_and(|&tracks| tracks != 0),
            }),
        });
    }
    let of_votes = |name: &str| ints(format!("{kind}_{name}"));
    let (trees, ids, targets) = (of_votes("treeids")?, of_votes("nodeids")?, of_votes("ids")?);
    let name = format!("{kind}_weights");
    let weights = required(cx, &name, precise(cx, &name)?)?;
    if [trees.len(), ids.len(), targets.len()].iter().any(|&length| length != weights.len()) {
        return Err(cx.invalid(format!("the attributes `{kind}_...` have different lengths")));
    }
    for (vote, &weight) in weights.iter().enumerate() {
        if let Node::Leaf(votes) = &mut nodes[find(trees[vote], ids[vote])?] {
            votes.push((index(targets[vote]), weight));
        }
    }
    Ok(Forest { nodes, roots: roots.into_values().collect(), n_targets })
}

fn tree_ensemble_regressor(cx: &mut Cx<'_>) -> Outcome {
    let x = floats(&rows(cx, cx.input(0)?)?);
    let n_targets = index(required(cx, "n_targets", cx.int("n_targets")?)?);
    let forest = checked(cx, named_forest(cx, "target", n_targets)?, &x)?;
    let name = cx.string_or("aggregate_function", "SUM")?;
    let aggregate = Aggregate::from_name(&name)
        .ok_or_else(|| cx.invalid(format!("aggregate_function is `{name}`, expected AVERAGE, SUM, MIN or MAX")))?;
    let targets = plus_base(cx, forest.targets(&x, aggregate))?;
    one(PostTransform::of(cx)?.of_scores(&targets).float())
}

/// Scores with `base_values` added.
fn plus_base(cx: &Cx<'_>, scores: Tensor) -> Result<Tensor, Fault> {
    match precise(cx, "base_values")?.filter(|values| !values.is_empty()) {
        Some(values) => {
            let n_columns = scores.shape()[1].as_const();
            if values.len() != 1 && Some(values.len()) != n_columns {
                return Err(cx.invalid(format!("{} base_values for {} columns", values.len(), scores.shape()[1])));
            }
            Ok(&scores + constant(scores.dtype(), &[values.len()], values))
        }
        None => Ok(scores),
    }
}

/// Two classes of which only one gets votes are told apart by the sign of the score, or, if no weight is negative, by
/// whether it is above a half: as ONNX Runtime does, for the specification is silent.
fn tree_ensemble_classifier(cx: &mut Cx<'_>) -> Outcome {
    let x = floats(&rows(cx, cx.input(0)?)?);
    let classes = Classes::of(cx, "classlabels_int64s", "classlabels_strings")?;
    let forest = checked(cx, named_forest(cx, "class", classes.len())?, &x)?;
    let votes = forest.nodes.iter().filter_map(|node| match node {
        Node::Leaf(votes) => Some(votes),
        Node::Test(_) => None,
    });
    let votes: Vec<(usize, f64)> = votes.flatten().copied().collect();
    let transform = PostTransform::of(cx)?;
    let scores = forest.targets(&x, Aggregate::Sum);
    let is_probability = votes.iter().all(|&(_, weight)| weight >= 0.0);
    let only = |class: usize| classes.len() == 2 && votes.iter().all(|&(target, _)| target == class);
    let threshold = if is_probability { 0.5 } else { 0.0 };
    if only(0) {
        let base = precise(cx, "base_values")?.unwrap_or_default().last().copied().unwrap_or(0.0);
        let score = scores.select(1, 0) + base;
        let label = classes.second_where(&score.gt(threshold));
        return Ok(vec![label, two_columns(&score, is_probability, transform).float().into()]);
    }
    let scores = plus_base(cx, scores)?;
    let label = match only(1) {
        true => classes.second_where(&scores.select(1, 1).gt(threshold)),
        false => classes.label(&scores),
    };
    Ok(vec![label, transform.of_scores(&scores).float().into()])
}
