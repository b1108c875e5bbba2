//! The body of the loop over blocks: what it reads, and how a block is computed from that.

use std::collections::{BTreeMap, BTreeSet};

use nnc_ir::builder::Built;
use nnc_ir::ops::{BroadcastAttrs, DotAttrs, IotaAttrs, Trait};
use nnc_ir::{Builder, Constant, Diagnostic, Dim, Graph, Node, NodeData, Op, Shape, TensorType, Value};

use super::cluster::Cluster;
use super::{Stage, with_lead};

/// What a stage reads from outside, and in which form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Input {
    /// The value, of the old graph.
    pub(super) source: Value,
    form: Form,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Form {
    /// Its batch dimensions are at these positions and come first in the body: scanned.
    Batched(Vec<usize>),
    /// The source of a broadcast that has some of the batch dimensions (dimension, position in the batch): it is
    /// repeated along the others, and scanned.
    Partial(Vec<(usize, usize)>),
    /// The source of a broadcast without batch dimensions, but for those of extent 1, which are dropped: the same in all
    /// blocks.
    Shared,
}

impl Input {
    pub(super) fn is_scanned(&self) -> bool {
        self.form != Form::Shared
    }

    /// Dimensions of the source that the body's value has after those of the batch.
    fn rest(&self, graph: &Graph, of_batch: &[usize]) -> Vec<usize> {
        (0..graph.ty(self.source).rank()).filter(|dim| !of_batch.contains(dim)).collect()
    }

    /// The value as the loop takes it, from the new value that stands for the source.
    pub(super) fn outside(&self, b: &mut Builder<'_>, cluster: &Cluster, source: Value) -> Built {
        let shape = b.shape(source).clone();
        let batched = match &self.form {
            Form::Shared => return Ok(source),
            Form::Batched(dims) => {
                let rest = (0..shape.rank()).filter(|dim| !dims.contains(dim));
                let permutation: Vec<usize> = dims.iter().copied().chain(rest).collect();
                if permutation.is_sorted() { source } else { b.transpose(source, &permutation)? }
            }
            Form::Partial(dims) => {
                let n_lead = cluster.lead.len();
                let mut extents: Vec<Dim> = cluster.lead.iter().map(|&extent| Dim::from(extent)).collect();
                let mut targets = Vec::with_capacity(shape.rank());
                for dim in 0..shape.rank() {
                    match dims.iter().find(|(of, _)| *of == dim) {
                        Some(&(_, position)) => targets.push(position),
                        None => {
                            targets.push(extents.len());
                            extents.push(shape[dim].clone());
                        }
                    }
                }
                debug_assert!(extents.len() >= n_lead);
                b.broadcast_in_dim(source, Shape(extents), &targets)?
            }
        };
        let ty = b.ty(batched).clone();
        let mut blocks = vec![Dim::from(cluster.n_blocks())];
        blocks.extend(with_lead(&ty, &cluster.block).shape.0);
        // The batch counts as one row of elements, cut into blocks of equal length.
        b.reshape(batched, Shape(blocks))
    }

    /// The type of the body's parameter.
    fn ty(&self, graph: &Graph, cluster: &Cluster) -> TensorType {
        let ty = graph.ty(self.source);
        let of_batch: Vec<usize> = match &self.form {
            Form::Shared => return ty.clone(),
            Form::Batched(dims) => dims.clone(),
            Form::Partial(dims) => dims.iter().map(|(dim, _)| *dim).collect(),
        };
        let lead = cluster.block.iter().map(|&extent| Dim::from(extent));
        let rest = self.rest(graph, &of_batch).into_iter().map(|dim| ty.shape[dim].clone());
        TensorType { dtype: ty.dtype, shape: Shape(lead.chain(rest).collect()) }
    }
}

/// Where an operand comes from in the body of a stage.
enum Origin {
    /// Computed in the body.
    Body,
    /// Read from outside.
    Outside(Input),
}

/// How the body of a stage gets each value.
struct View<'a> {
    graph: &'a Graph,
    cluster: &'a Cluster,
    stage: usize,
}

impl View<'_> {
    fn origin(&self, data: &NodeData, idx: usize) -> Origin {
        let operand = data.operands[idx];
        if self.is_computed(operand) {
            return Origin::Body;
        }
        let n_lead = self.cluster.lead.len();
        let form = match &data.op {
            Op::DotGeneral(attrs) => Form::Batched([&attrs.lhs_batch, &attrs.rhs_batch][idx].clone()),
            Op::BroadcastInDim(attrs) if !self.cluster.contains(self.graph, operand) => {
                let shape = &self.graph.ty(operand).shape;
                let of_batch = attrs.dims.iter().enumerate().filter(|(_, target)| **target < n_lead);
                let stretched = |dim: &usize| shape[*dim].as_const() != Some(1);
                let of_batch: Vec<(usize, usize)> = of_batch.map(|(dim, &target)| (dim, target)).collect();
                match of_batch.iter().any(|(dim, _)| stretched(dim)) {
                    true => Form::Partial(of_batch),
                    false => Form::Shared,
                }
            }
            _ => Form::Batched((0..n_lead).collect()),
        };
        Origin::Outside(Input { source: operand, form })
    }

    /// Whether the body computes the value: it is of the stage, or wide and of an earlier one, or a wide value from
    /// outside that nobody need ever have whole.
    fn is_computed(&self, value: Value) -> bool {
        match self.cluster.stage_of.get(&self.graph.value(value).node) {
            Some(&stage) => stage == self.stage || self.cluster.is_wide(self.graph, value),
            None => self.cluster.is_wide(self.graph, value) && self.is_free(value),
        }
    }

    /// Whether a value from outside is made of constants, counters and broadcasts: the mask of a softmax, say.
    fn is_free(&self, value: Value) -> bool {
        let data = self.graph.def(value);
        match &data.op {
            Op::Constant(Constant::Splat { .. }) | Op::BroadcastInDim(_) => true,
            Op::Iota(attrs) => attrs.dim >= self.cluster.lead.len(),
            op if op.has(Trait::Elementwise) => data.operands.iter().all(|&operand| {
                !self.cluster.contains(self.graph, operand)
                    && self.cluster.leads(self.graph, operand)
                    && self.is_free(operand)
            }),
            _ => false,
        }
    }

    fn collect(&self, node: Node, seen: &mut BTreeSet<Node>, inputs: &mut Vec<Input>) {
        if !seen.insert(node) {
            return;
        }
        let data = self.graph.node(node);
        for (idx, &operand) in data.operands.iter().enumerate() {
            match self.origin(data, idx) {
                Origin::Body => self.collect(self.graph.value(operand).node, seen, inputs),
                Origin::Outside(input) if !inputs.contains(&input) => inputs.push(input),
                Origin::Outside(_) => {}
            }
        }
    }
}

/// What the nodes of a stage read from outside, scanned values first.
pub(super) fn inputs(graph: &Graph, cluster: &Cluster, stage: usize, nodes: &[Node]) -> Vec<Input> {
    let view = View { graph, cluster, stage };
    let (mut seen, mut inputs) = (BTreeSet::new(), Vec::new());
    for &node in nodes {
        view.collect(node, &mut seen, &mut inputs);
    }
    inputs.sort_by_key(|input| !input.is_scanned());
    inputs
}

/// A body under construction.
pub(super) struct Body<'a> {
    view: View<'a>,
    stage: &'a Stage,
    region: Graph,
    params: Vec<Value>,
    built: BTreeMap<Value, Value>,
}

impl<'a> Body<'a> {
    /// The region that computes a block of each of the stage's outputs.
    pub(super) fn build(graph: &'a Graph, cluster: &'a Cluster, stage: &'a Stage) -> Result<Graph, Diagnostic> {
        let number = cluster.stage_of[&stage.nodes[0]];
        let view = View { graph, cluster, stage: number };
        let mut region = Graph::new();
        let params = stage.inputs.iter().map(|input| {
            let location = graph.def(input.source).location.clone();
            region.param(input.ty(graph, cluster), location)
        });
        let params = params.collect();
        let mut body = Self { view, stage, region, params, built: BTreeMap::new() };
        let results = stage.outputs.iter().map(|&output| body.value(output)).collect::<Result<_, _>>()?;
        body.region.set_results(results);
        Ok(body.region)
    }

    /// The block of a value that the body computes.
    fn value(&mut self, value: Value) -> Built {
        if let Some(&built) = self.built.get(&value) {
            return Ok(built);
        }
        let graph = self.view.graph;
        let data = graph.def(value);
        let mut operands = Vec::with_capacity(data.operands.len());
        for (idx, &operand) in data.operands.iter().enumerate() {
            operands.push(match self.view.origin(data, idx) {
                Origin::Body => self.value(operand)?,
                Origin::Outside(input) => {
                    let position = self.stage.inputs.iter().position(|known| *known == input);
                    self.params[position.expect("inputs were collected by the same rules")]
                }
            });
        }
        let block = with_lead(graph.ty(value), &self.view.cluster.block);
        let mut b = Builder::new(&mut self.region, data.location.clone());
        let built = match &data.op {
            Op::Constant(Constant::Splat { value, .. }) => b.constant(Constant::Splat { ty: block, value: *value }),
            Op::Iota(attrs) => b.op(Op::Iota(IotaAttrs { ty: block, dim: attrs.dim }), &[])?,
            Op::Reshape(_) => b.reshape(operands[0], block.shape)?,
            Op::BroadcastInDim(attrs) => match self.view.origin(data, 0) {
                Origin::Outside(Input { form: Form::Batched(_), .. }) | Origin::Body => {
                    let attrs = BroadcastAttrs { shape: block.shape, dims: attrs.dims.clone() };
                    b.op(Op::BroadcastInDim(attrs), &operands)?
                }
                Origin::Outside(Input { form: Form::Partial(_), .. }) => {
                    let n_lead = self.view.cluster.lead.len();
                    let others = attrs.dims.iter().copied().filter(|&dim| dim >= n_lead);
                    let dims: Vec<usize> = (0..n_lead).chain(others).collect();
                    b.broadcast_in_dim(operands[0], block.shape, &dims)?
                }
                // Dimensions of extent 1 along the batch stay: they stretch to the block.
                Origin::Outside(Input { form: Form::Shared, .. }) => {
                    b.broadcast_in_dim(operands[0], block.shape, &attrs.dims)?
                }
            },
            Op::DotGeneral(attrs) => {
                let sides = [(&attrs.lhs_batch, &attrs.lhs_contract, 0), (&attrs.rhs_batch, &attrs.rhs_contract, 1)];
                let [lhs, rhs] =
                    sides.map(|(batch, contract, idx)| moved(batch, contract, graph.ty(data.operands[idx]).rank()));
                let batch: Vec<usize> = (0..attrs.lhs_batch.len()).collect();
                let attrs =
                    DotAttrs { lhs_batch: batch.clone(), rhs_batch: batch, lhs_contract: lhs, rhs_contract: rhs };
                b.dot(operands[0], operands[1], attrs)?
            }
            op => b.op(op.clone(), &operands)?,
        };
        self.built.insert(value, built);
        Ok(built)
    }
}

/// Where contracted dimensions are once the batch dimensions come first.
fn moved(batch: &[usize], contract: &[usize], rank: usize) -> Vec<usize> {
    let rest: Vec<usize> = (0..rank).filter(|dim| !batch.contains(dim)).collect();
    let position =
        |dim: &usize| rest.iter().position(|other| other == dim).expect("contracted dimensions are no batch");
    contract.iter().map(|dim| batch.len() + position(dim)).collect()
}
