//! Algebraic simplification: a table of rewrite rules, applied bottom up until none fires.
//!
//! ```text
//! %0 = negate %x : f32[4]
//! %1 = negate %0 : f32[4]            ->        return %x
//! return %1
//! ```
//!
//! No rule changes a result bit (NaN payloads aside): `x + 0.0` stays, because of `-0.0`, but `x + -0.0` goes. The one
//! exception is stated by its rule: `power` with a small constant exponent becomes exact arithmetic, within `power`'s
//! tolerance. The right side is never worse than the left, and operands are [canonical](mod@crate::canonicalize), so
//! that a rule matches constants on the right only. What a rewrite leaves unused is swept by `dce`.

use nnc_ir::ops::Trait;
use nnc_ir::{Constant, DType, Diagnostic, Graph, Location, Op, Rewriter, Scalar, Shape, TensorType, Value};

mod arithmetic;
mod contract;
mod movement;
#[cfg(test)]
mod tests;

/// One rewrite rule.
#[derive(Clone, Copy)]
pub struct Rule {
    /// Name, unique in the table.
    pub name: &'static str,
    /// What becomes what.
    pub doc: &'static str,
    apply: fn(&mut Site, &Op, &[Value]) -> Option<Outcome>,
}

/// Builds a table of rules from functions: the name is the function's.
macro_rules! rule_table {
    ($( $name:ident: $doc:literal; )*) => {
        /// The rules of this family.
        pub(super) const RULES: &[super::Rule] = &[
            $( super::Rule { name: stringify!($name), doc: $doc, apply: $name } ),*
        ];
    };
}
use rule_table;

/// All rules, in the order in which they are tried.
pub fn rules() -> impl Iterator<Item = &'static Rule> {
    arithmetic::RULES.iter().chain(movement::RULES).chain(contract::RULES)
}

/// What a rule makes of a node.
enum Outcome {
    /// A value that exists already.
    Value(Value),
    /// Another node in its place, to which rules apply again.
    Node(Op, Vec<Value>),
}

/// Where a rule is applied: the new graph, and the node's location for what the rule adds.
struct Site<'a> {
    graph: &'a mut Graph,
    location: &'a Location,
    /// For each new value, how many uses the old graph had of what it stands for.
    n_uses: &'a [u32],
    /// Type of the node's result.
    ty: TensorType,
}

impl Site<'_> {
    fn ty(&self, value: Value) -> &TensorType {
        self.graph.ty(value)
    }

    fn shape(&self, value: Value) -> &Shape {
        &self.graph.ty(value).shape
    }

    fn dtype(&self, value: Value) -> DType {
        self.graph.ty(value).dtype
    }

    /// Op and operands of the node that defines `value`, cloned so that the graph can grow meanwhile.
    fn def(&self, value: Value) -> (Op, Vec<Value>) {
        let def = self.graph.def(value);
        (def.op.clone(), def.operands.clone())
    }

    /// The operand of `value`'s definition if that is `op`.
    fn operand_of(&self, value: Value, op: &Op) -> Option<Value> {
        let def = self.graph.def(value);
        (def.op == *op).then(|| def.operands[0])
    }

    /// The element that every position of `value` holds, if that is known.
    fn splat(&self, value: Value) -> Option<Scalar> {
        match &self.graph.def(value).op {
            Op::Constant(constant) => constant.splat_value(),
            _ => None,
        }
    }

    /// Whether `value` is a splat of the number `number`; zeros of the other sign do not count.
    fn is_splat(&self, value: Value, number: f64) -> bool {
        self.splat(value).is_some_and(|scalar| scalar == Scalar::from_f64(scalar.dtype, number))
    }

    /// Whether nothing but the node at hand uses `value`.
    fn is_used_once(&self, value: Value) -> bool {
        self.n_uses.get(value.idx()) == Some(&1)
    }

    fn push(&mut self, op: Op, operands: &[Value]) -> Value {
        self.graph.op(op, operands, self.location.clone()).expect("a rule keeps types valid")
    }

    fn constant(&mut self, ty: TensorType, value: Scalar) -> Value {
        self.push(Op::Constant(Constant::Splat { ty, value }), &[])
    }

    /// A splat of the node's result type.
    fn splat_result(&mut self, number: f64) -> Outcome {
        let value = Scalar::from_f64(self.ty.dtype, number);
        Outcome::Node(Op::Constant(Constant::Splat { ty: self.ty.clone(), value }), Vec::new())
    }
}

/// The graph with every rule applied where it fires.
///
/// # Errors
/// None on a verified graph.
pub fn simplify(graph: &Graph) -> Result<Graph, Diagnostic> {
    let mut old_uses = vec![0u32; graph.n_values()];
    for operand in graph.nodes().flat_map(|(_, data)| &data.operands).chain(graph.results()) {
        old_uses[operand.idx()] += 1;
    }
    let mut rewriter = Rewriter::new(graph);
    let mut n_uses: Vec<u32> = graph.params().iter().map(|param| old_uses[param.idx()]).collect();
    for (node, data) in graph.nodes() {
        if matches!(data.op, Op::Param(_)) {
            continue;
        }
        if data.n_results != 1 || !data.regions.is_empty() {
            rewriter.copy(node);
        } else {
            let operands = rewriter.operands(node);
            let ty = graph.ty(data.result()).clone();
            let value = simplified(rewriter.graph_mut(), &n_uses, data.op.clone(), operands, ty, &data.location)?;
            rewriter.map(data.result(), value);
        }
        n_uses.resize(rewriter.graph().n_values(), 0);
        for result in data.results() {
            n_uses[rewriter.get(result).idx()] += old_uses[result.idx()];
        }
    }
    Ok(rewriter.finish())
}

/// The value of `op` on `operands` in `graph`, by the first rules that fire, or by a new node.
fn simplified(
    graph: &mut Graph,
    n_uses: &[u32],
    mut op: Op,
    mut operands: Vec<Value>,
    ty: TensorType,
    location: &Location,
) -> Result<Value, Diagnostic> {
    'again: loop {
        let mut site = Site { graph, location, n_uses, ty: ty.clone() };
        for rule in rules() {
            match (rule.apply)(&mut site, &op, &operands) {
                Some(Outcome::Value(value)) => {
                    debug_assert_eq!(*site.ty(value), ty, "rule {} keeps the type", rule.name);
                    return Ok(value);
                }
                Some(Outcome::Node(new_op, new_operands)) => {
                    (op, operands) = (new_op, new_operands);
                    continue 'again;
                }
                None => {}
            }
        }
        let value = graph.op(op, &operands, location.clone())?;
        debug_assert_eq!(*graph.ty(value), ty, "rules keep the type");
        return Ok(value);
    }
}

/// Whether `op` computes each element from the elements at the same index.
fn is_elementwise(op: &Op) -> bool {
    op.has(Trait::Elementwise)
}
