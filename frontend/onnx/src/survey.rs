//! What a model asks for that the table lacks, found before anything is imported: all of it, with the nodes' names.

use std::collections::{BTreeMap, HashSet};
use std::ptr;

use crate::fault::Unsupported;
use crate::functions::{Functions, Opsets, normal_domain};
use crate::ops::{self, Domain};
use crate::proto::{FunctionProto, GraphProto, NodeProto};

/// Unsupported operators by domain, name and version.
type Found = BTreeMap<(String, String, i64), Vec<String>>;

/// Every operator of the graph, of nested graphs and of called functions that has no entry.
pub(crate) fn unsupported(graph: &GraphProto, opsets: &Opsets, functions: &Functions<'_>) -> Vec<Unsupported> {
    let mut survey = Survey { functions, seen: HashSet::new(), found: Found::new() };
    survey.nodes(&graph.node, opsets);
    let describe = |((domain, op_type, opset), nodes)| Unsupported { domain, op_type, opset, nodes };
    survey.found.into_iter().map(describe).collect()
}

struct Survey<'a> {
    functions: &'a Functions<'a>,
    /// Functions that were looked through.
    seen: HashSet<*const FunctionProto>,
    found: Found,
}

impl Survey<'_> {
    fn nodes(&mut self, nodes: &[NodeProto], opsets: &Opsets) {
        for (idx, node) in nodes.iter().enumerate() {
            self.node(node, idx, opsets);
            for attribute in &node.attribute {
                for graph in attribute.g.as_deref().into_iter().chain(&attribute.graphs) {
                    self.nodes(&graph.node, opsets);
                }
            }
        }
    }

    fn node(&mut self, node: &NodeProto, idx: usize, opsets: &Opsets) {
        if let Some(function) = self.functions.called_by(node) {
            if self.seen.insert(ptr::from_ref(function)) {
                self.nodes(&function.node, &Opsets::new(&function.opset_import));
            }
            return;
        }
        let domain = Domain::from_name(node.domain());
        let opset = domain.map_or(0, |domain| opsets.version(domain));
        if domain.and_then(|domain| ops::find(domain, node.op_type(), opset)).is_none() {
            let name = if node.name().is_empty() { format!("#{idx}") } else { node.name().to_string() };
            let key = (normal_domain(node.domain()).to_string(), node.op_type().to_string(), opset);
            self.found.entry(key).or_default().push(name);
        }
    }
}
