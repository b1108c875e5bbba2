//! Trimming: loops and branches without what nobody needs of them.

use nnc_ir::ops::{BroadcastAttrs, ScanAttrs};
use nnc_ir::{Constant, Diagnostic, Graph, Node, NodeData, Op, Rewriter, Value};

use super::constant_of;
use super::hoist::Hoisted;

/// What becomes of a parameter of a region.
#[derive(Clone, Debug, PartialEq)]
enum Fate {
    /// It stays.
    Stays,
    /// Another parameter, that stays, has the same value.
    Same(usize),
    /// It is this constant.
    Constant(Constant),
    /// Nothing needs it.
    Goes,
}

/// Positions of the parameters that stay, in order.
fn staying(fates: &[Fate]) -> Vec<usize> {
    (0..fates.len()).filter(|&idx| fates[idx] == Fate::Stays).collect()
}

/// For each value of `region`, whether it is needed for `results`.
fn needed(region: &Graph, results: &[Value]) -> Vec<bool> {
    let mut needed = vec![false; region.n_values()];
    results.iter().for_each(|result| needed[result.idx()] = true);
    for (_, data) in region.nodes().rev() {
        if data.results().any(|result| needed[result.idx()]) {
            data.operands.iter().for_each(|operand| needed[operand.idx()] = true);
        }
    }
    needed
}

/// The region with the parameters in `order`, and what `results` need.
fn rebuilt(region: &Graph, order: &[usize], fates: &[Fate], results: &[Value]) -> Result<Graph, Diagnostic> {
    let needed = needed(region, results);
    let mut rewriter = Rewriter::without_params(region);
    for &idx in order {
        rewriter.param(region.params()[idx]);
    }
    for (idx, fate) in fates.iter().enumerate() {
        let param = region.params()[idx];
        match fate {
            Fate::Constant(constant) if needed[param.idx()] => {
                let location = region.def(param).location.clone();
                let made = rewriter.graph_mut().op(Op::Constant(constant.clone()), &[], location)?;
                rewriter.map(param, made);
            }
            Fate::Same(other) => {
                let value = rewriter.get(region.params()[*other]);
                rewriter.map(param, value);
            }
            _ => {}
        }
    }
    for (node, data) in region.nodes() {
        let is_needed = data.results().any(|result| needed[result.idx()]);
        if is_needed && !matches!(data.op, Op::Param(_)) {
            rewriter.copy(node);
        }
    }
    let results = results.iter().map(|&result| rewriter.get(result)).collect();
    Ok(rewriter.finish_with(results))
}

/// Fates of parameters that are the same whenever the region runs: not needed, constant, or given twice.
fn fates_of_invariants(graph: &Graph, operands: &[Value], fates: &mut [Fate], group: std::ops::Range<usize>) {
    for idx in group.clone() {
        if fates[idx] == Fate::Goes {
            continue;
        }
        let twin = group.clone().take_while(|&other| other < idx);
        let twin = { twin }.find(|&other| operands[other] == operands[idx] && fates[other] == Fate::Stays);
        fates[idx] = match (constant_of(graph, operands[idx]), twin) {
            (Some(constant), _) => Fate::Constant(constant),
            (None, Some(twin)) => Fate::Same(twin),
            (None, None) => Fate::Stays,
        };
    }
}

/// Emits the scan `node`, with what was hoisted from it, trimmed.
pub(super) fn scan(rewriter: &mut Rewriter<'_>, node: Node, hoisted: Hoisted, used: &[bool]) -> Result<(), Diagnostic> {
    let data = rewriter.old().node(node);
    let Op::Scan(attrs) = &data.op else { unreachable!("the node is a scan") };
    let Hoisted { operands, body } = hoisted;
    let (n_carried, n_looped) = (attrs.n_carried, attrs.n_carried + attrs.n_scanned);
    let (params, given) = (body.params().to_vec(), body.results().to_vec());

    // Carries that never change, then those that matter.
    let changes = |carry: usize| given[carry] != params[carry];
    let mut live: Vec<bool> = (0..n_carried).map(|carry| changes(carry) && used[carry]).collect();
    let is_invariant = |idx: usize| idx >= n_looped || (idx < n_carried && !changes(idx));
    // What a step only hands on needs no loop.
    let passed_on = |value: Value| {
        let param = params.iter().position(|&param| param == value);
        param.filter(|&idx| is_invariant(idx) || idx >= n_carried)
    };
    let outputs: Vec<usize> =
        (n_carried..given.len()).filter(|&result| used[result] && passed_on(given[result]).is_none()).collect();
    let is_needed = loop {
        let results = (0..n_carried).filter(|&carry| live[carry]).chain(outputs.iter().copied());
        let needed = needed(&body, &results.map(|result| given[result]).collect::<Vec<_>>());
        let more: Vec<usize> =
            (0..n_carried).filter(|&carry| changes(carry) && !live[carry] && needed[params[carry].idx()]).collect();
        if more.is_empty() {
            break needed;
        }
        more.into_iter().for_each(|carry| live[carry] = true);
    };

    let mut fates: Vec<Fate> = params
        .iter()
        .enumerate()
        .map(|(idx, param)| match idx < n_carried && live[idx] || is_needed[param.idx()] {
            true => Fate::Stays,
            false => Fate::Goes,
        })
        .collect();
    // Carries that begin and go on alike are one.
    for idx in 0..n_carried {
        let twin = |other: &usize| {
            live[*other]
                && fates[*other] == Fate::Stays
                && operands[*other] == operands[idx]
                && given[*other] == given[idx]
        };
        if live[idx]
            && let Some(twin) = (0..idx).find(twin)
        {
            fates[idx] = Fate::Same(twin);
        }
    }
    // An unchanging carry is an invariant: it is looked at together with those.
    let graph = rewriter.graph();
    for idx in 0..params.len() {
        if fates[idx] == Fate::Goes || (idx < n_carried && changes(idx)) {
            continue;
        }
        let same_kind = |other: usize| {
            if is_invariant(idx) { is_invariant(other) } else { !is_invariant(other) && other >= n_carried }
        };
        let twin =
            (0..idx).find(|&other| same_kind(other) && operands[other] == operands[idx] && fates[other] == Fate::Stays);
        fates[idx] = match (constant_of(graph, operands[idx]).filter(|_| is_invariant(idx)), twin) {
            (Some(constant), _) => Fate::Constant(constant),
            (None, Some(twin)) => Fate::Same(twin),
            (None, None) => Fate::Stays,
        };
    }

    let kept = staying(&fates);
    let carries: Vec<usize> = kept.iter().copied().filter(|&idx| idx < n_carried && changes(idx)).collect();
    let scanned: Vec<usize> = kept.iter().copied().filter(|idx| (n_carried..n_looped).contains(idx)).collect();
    let invariants = kept.iter().copied().filter(|&idx| is_invariant(idx));
    let order: Vec<usize> = carries.iter().chain(&scanned).copied().chain(invariants).collect();
    // Outputs that are computed, each once.
    let mut computed: Vec<Value> = Vec::new();
    for &result in &outputs {
        if !computed.contains(&given[result]) {
            computed.push(given[result]);
        }
    }

    let is_same = order.len() == data.operands.len()
        && order.iter().enumerate().all(|(at, &idx)| at == idx)
        && carries.len() == n_carried
        && computed == given[n_carried..];
    let mut found = Vec::new();
    if is_same && rewriter.operands(node) == operands {
        rewriter.copy(node);
        return Ok(());
    } else if carries.len() + computed.len() > 0 {
        let results: Vec<Value> = carries.iter().map(|&carry| given[carry]).chain(computed.iter().copied()).collect();
        let body = rebuilt(&body, &order, &fates, &results)?;
        let attrs = ScanAttrs { n_carried: carries.len(), n_scanned: scanned.len(), ..attrs.clone() };
        let inputs: Vec<Value> = order.iter().map(|&idx| operands[idx]).collect();
        found = rewriter.build_at(node).scan(&inputs, attrs, body)?;
    }

    for (idx, old) in data.results().enumerate().filter(|(idx, _)| used[*idx]) {
        let new = if idx < n_carried {
            let carry = if let Fate::Same(twin) = fates[idx] { twin } else { idx };
            match changes(idx) {
                true => found[carries.iter().position(|&other| other == carry).expect("it is used")],
                false => operands[idx],
            }
        } else if let Some(param) = passed_on(given[idx]) {
            match is_invariant(param) {
                true => repeated(rewriter, node, old, operands[param])?,
                false => operands[param],
            }
        } else {
            found[carries.len() + computed.iter().position(|&other| other == given[idx]).expect("it is used")]
        };
        rewriter.map(old, new);
    }
    Ok(())
}

/// The stack of a value that each step gives.
fn repeated(rewriter: &mut Rewriter<'_>, node: Node, stack: Value, value: Value) -> Result<Value, Diagnostic> {
    let shape = rewriter.old().ty(stack).shape.clone();
    let dims = (1..shape.rank()).collect();
    rewriter.build_at(node).op(Op::BroadcastInDim(BroadcastAttrs { shape, dims }), &[value])
}

/// Emits the `cond` node, trimmed.
pub(super) fn cond(rewriter: &mut Rewriter<'_>, node: Node, used: &[bool]) -> Result<(), Diagnostic> {
    let data = rewriter.old().node(node);
    let operands = rewriter.operands(node);
    let inputs = &operands[1..];
    let regions = &data.regions;
    // What both branches hand on unchanged is no result, and neither is what is given twice.
    let pair = |result: usize| (regions[0].results()[result], regions[1].results()[result]);
    let passed_on = |result: usize| {
        let (lhs, rhs) = pair(result);
        (0..inputs.len()).find(|&idx| regions[0].params()[idx] == lhs && regions[1].params()[idx] == rhs)
    };
    let mut kept: Vec<usize> = Vec::new();
    for result in (0..used.len()).filter(|&result| used[result] && passed_on(result).is_none()) {
        if !kept.iter().any(|&other| pair(other) == pair(result)) {
            kept.push(result);
        }
    }
    let results =
        |region: &Graph| -> Vec<Value> { kept.iter().map(|&result| region.results()[result]).collect::<Vec<_>>() };
    let needed: Vec<Vec<bool>> = regions.iter().map(|region| needed(region, &results(region))).collect();
    let is_needed = |idx: usize| regions.iter().zip(&needed).any(|(region, needed)| needed[region.params()[idx].idx()]);
    let mut fates: Vec<Fate> =
        (0..inputs.len()).map(|idx| if is_needed(idx) { Fate::Stays } else { Fate::Goes }).collect();
    fates_of_invariants(rewriter.graph(), inputs, &mut fates, 0..inputs.len());
    let order = staying(&fates);
    if order.len() == inputs.len() && kept.len() == used.len() {
        rewriter.copy(node);
        return Ok(());
    }
    let mut found = Vec::new();
    if !kept.is_empty() {
        let mut rebuilt = regions.iter().map(|region| rebuilt(region, &order, &fates, &results(region)));
        let (on_true, on_false) = match (rebuilt.next(), rebuilt.next()) {
            (Some(on_true), Some(on_false)) => (on_true?, on_false?),
            _ => unreachable!("a cond has two regions"),
        };
        let operands: Vec<Value> = std::iter::once(operands[0]).chain(order.iter().map(|&idx| inputs[idx])).collect();
        found = rewriter.build_at(node).cond(&operands, on_true, on_false)?;
    }
    for (result, old) in data.results().enumerate().filter(|(result, _)| used[*result]) {
        let new = match passed_on(result) {
            Some(input) => inputs[input],
            None => found[kept.iter().position(|&other| pair(other) == pair(result)).expect("it is used")],
        };
        rewriter.map(old, new);
    }
    Ok(())
}

/// Emits the `while` node, trimmed. What it does not change is carried all the same: a loop of unknown length has
/// nothing else.
pub(super) fn while_loop(rewriter: &mut Rewriter<'_>, node: Node, used: &[bool]) -> Result<(), Diagnostic> {
    let data: &NodeData = rewriter.old().node(node);
    let operands = rewriter.operands(node);
    let (condition, body) = (&data.regions[0], &data.regions[1]);
    let n_carried = operands.len();
    let changes = |carry: usize| body.results()[carry] != body.params()[carry];
    let tested = needed(condition, condition.results());
    let mut live: Vec<bool> = (0..n_carried)
        .map(|carry| tested[condition.params()[carry].idx()] || (used[carry] && changes(carry)))
        .collect();
    loop {
        let results: Vec<Value> =
            (0..n_carried).filter(|&carry| live[carry]).map(|carry| body.results()[carry]).collect();
        let needed = needed(body, &results);
        let more: Vec<usize> =
            (0..n_carried).filter(|&carry| !live[carry] && needed[body.params()[carry].idx()]).collect();
        if more.is_empty() {
            break;
        }
        more.into_iter().for_each(|carry| live[carry] = true);
    }
    let mut fates: Vec<Fate> = live.iter().map(|&live| if live { Fate::Stays } else { Fate::Goes }).collect();
    for idx in (0..n_carried).filter(|&idx| live[idx] && !changes(idx)) {
        let twin =
            (0..idx).find(|&other| !changes(other) && operands[other] == operands[idx] && fates[other] == Fate::Stays);
        fates[idx] = match (constant_of(rewriter.graph(), operands[idx]), twin) {
            (Some(constant), _) => Fate::Constant(constant),
            (None, Some(twin)) => Fate::Same(twin),
            (None, None) => Fate::Stays,
        };
    }
    let order = staying(&fates);
    if order.len() == n_carried || order.is_empty() {
        rewriter.copy(node);
        return Ok(());
    }
    let results: Vec<Value> = order.iter().map(|&idx| body.results()[idx]).collect();
    let test = rebuilt(condition, &order, &fates, condition.results())?;
    let step = rebuilt(body, &order, &fates, &results)?;
    let inputs: Vec<Value> = order.iter().map(|&idx| operands[idx]).collect();
    let found = rewriter.build_at(node).while_loop(&inputs, test, step)?;
    for (idx, old) in data.results().enumerate().filter(|(idx, _)| used[*idx]) {
        let new = match changes(idx) {
            true => found[order.iter().position(|&other| other == idx).expect("it is used")],
            false => operands[idx],
        };
        rewriter.map(old, new);
    }
    Ok(())
}
