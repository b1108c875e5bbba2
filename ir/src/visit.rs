//! Graphs as petgraph sees them, for topological orders, dominators, strongly connected components and reachability.
//!
//! [`NodeGraph`] is a view of one [`Graph`] (regions are inside their nodes): its vertices are the nodes, and an edge
//! leads from a node to each node that uses one of its results, once.
//!
//! ```
//! use nnc_ir::visit::NodeGraph;
//!
//! let func = nnc_ir::parse_func("func @f(%x: f32[4]) {\n  %0 = negate %x\n  %1 = add %0, %0\n  return %1\n}").unwrap();
//! let view = NodeGraph::new(&func.graph);
//! let order = petgraph::algo::toposort(&view, None).unwrap();
//! assert_eq!(order, func.graph.nodes().map(|(node, _)| node).collect::<Vec<_>>());
//! ```

use petgraph::Direction;
use petgraph::visit::{
    GraphBase, GraphProp, IntoNeighbors, IntoNeighborsDirected, IntoNodeIdentifiers, NodeCompactIndexable, NodeCount,
    NodeIndexable, VisitMap, Visitable,
};

use crate::graph::{Graph, Node};

/// The nodes of a graph with the edges between them.
#[derive(Clone, Debug)]
pub struct NodeGraph<'a> {
    graph: &'a Graph,
    producers: Adjacency,
    users: Adjacency,
}

/// For each node, other nodes in ascending order without repetition.
#[derive(Clone, Debug)]
struct Adjacency {
    starts: Vec<u32>,
    targets: Vec<Node>,
}

impl Adjacency {
    /// From all edges, sorted.
    fn new(n_nodes: usize, edges: &[(Node, Node)]) -> Self {
        let mut starts = vec![0; n_nodes + 1];
        for (from, _) in edges {
            starts[from.idx() + 1] += 1;
        }
        for idx in 0..n_nodes {
            starts[idx + 1] += starts[idx];
        }
        Self { starts, targets: edges.iter().map(|&(_, to)| to).collect() }
    }

    fn get(&self, node: Node) -> &[Node] {
        &self.targets[self.starts[node.idx()] as usize..self.starts[node.idx() + 1] as usize]
    }
}

impl<'a> NodeGraph<'a> {
    /// The view of `graph`.
    pub fn new(graph: &'a Graph) -> Self {
        let mut used: Vec<(Node, Node)> = Vec::new();
        for (node, data) in graph.nodes() {
            used.extend(data.operands.iter().map(|&operand| (node, graph.value(operand).node)));
        }
        used.sort_unstable();
        used.dedup();
        let producers = Adjacency::new(graph.n_nodes(), &used);
        used.iter_mut().for_each(|(user, producer)| std::mem::swap(user, producer));
        used.sort_unstable();
        Self { graph, producers, users: Adjacency::new(graph.n_nodes(), &used) }
    }

    /// The graph that is viewed.
    pub fn graph(&self) -> &'a Graph {
        self.graph
    }

    /// Nodes that define the operands of `node`, in ascending order.
    pub fn producers(&self, node: Node) -> &[Node] {
        self.producers.get(node)
    }

    /// Nodes that use a result of `node`, in ascending order.
    pub fn users(&self, node: Node) -> &[Node] {
        self.users.get(node)
    }
}

impl GraphBase for NodeGraph<'_> {
    type NodeId = Node;
    type EdgeId = (Node, Node);
}

impl GraphProp for NodeGraph<'_> {
    type EdgeType = petgraph::Directed;
}

impl NodeCount for NodeGraph<'_> {
    fn node_count(&self) -> usize {
        self.graph.n_nodes()
    }
}

impl NodeIndexable for NodeGraph<'_> {
    fn node_bound(&self) -> usize {
        self.graph.n_nodes()
    }

    fn to_index(&self, node: Node) -> usize {
        node.idx()
    }

    fn from_index(&self, idx: usize) -> Node {
        Node(idx as u32)
    }
}

impl NodeCompactIndexable for NodeGraph<'_> {}

impl IntoNodeIdentifiers for &NodeGraph<'_> {
    type NodeIdentifiers = std::iter::Map<std::ops::Range<u32>, fn(u32) -> Node>;

    fn node_identifiers(self) -> Self::NodeIdentifiers {
        (0..self.graph.n_nodes() as u32).map(Node)
    }
}

impl<'v> IntoNeighbors for &'v NodeGraph<'_> {
    type Neighbors = std::iter::Copied<std::slice::Iter<'v, Node>>;

    fn neighbors(self, node: Node) -> Self::Neighbors {
        self.users(node).iter().copied()
    }
}

impl<'v> IntoNeighborsDirected for &'v NodeGraph<'_> {
    type NeighborsDirected = std::iter::Copied<std::slice::Iter<'v, Node>>;

    fn neighbors_directed(self, node: Node, direction: Direction) -> Self::NeighborsDirected {
        match direction {
            Direction::Outgoing => self.users(node).iter().copied(),
            Direction::Incoming => self.producers(node).iter().copied(),
        }
    }
}

/// The nodes that a walk has seen.
#[derive(Clone, Debug, Default)]
pub struct Visited(Vec<bool>);

impl VisitMap<Node> for Visited {
    fn visit(&mut self, node: Node) -> bool {
        !std::mem::replace(&mut self.0[node.idx()], true)
    }

    fn is_visited(&self, node: &Node) -> bool {
        self.0[node.idx()]
    }

    fn unvisit(&mut self, node: Node) -> bool {
        std::mem::replace(&mut self.0[node.idx()], false)
    }
}

impl Visitable for NodeGraph<'_> {
    type Map = Visited;

    fn visit_map(&self) -> Visited {
        Visited(vec![false; self.graph.n_nodes()])
    }

    fn reset_map(&self, map: &mut Visited) {
        map.0.clear();
        map.0.resize(self.graph.n_nodes(), false);
    }
}

#[cfg(test)]
mod tests {
    use petgraph::algo::{dominators, has_path_connecting, tarjan_scc, toposort};
    use petgraph::visit::{Dfs, Reversed};

    use super::*;
    use crate::parse::parse_func;

    fn diamond() -> Graph {
        let text = "func @f(%x: f32[4]) {
  %0 = negate %x
  %1 = abs %0
  %2 = sign %0
  %3 = add %1, %2
  %4 = multiply %3, %3
  %5 = abs %x
  return %4
}";
        parse_func(text).expect("sound").graph
    }

    #[test]
    fn edges_are_counted_once() {
        let graph = diamond();
        let view = NodeGraph::new(&graph);
        assert_eq!(view.users(Node(1)), [Node(2), Node(3)]);
        assert_eq!(view.users(Node(4)), [Node(5)]);
        assert_eq!(view.producers(Node(5)), [Node(4)]);
        assert_eq!(view.producers(Node(4)), [Node(2), Node(3)]);
        assert_eq!(view.users(Node(6)), []);
    }

    #[test]
    fn algorithms_of_petgraph_work() {
        let graph = diamond();
        let view = NodeGraph::new(&graph);
        assert_eq!(toposort(&view, None).map(|order| order.len()), Ok(7));
        let from_input = dominators::simple_fast(&view, Node(0));
        assert_eq!(from_input.immediate_dominator(Node(4)), Some(Node(1)));
        let from_result = dominators::simple_fast(Reversed(&view), Node(5));
        assert_eq!(from_result.immediate_dominator(Node(1)), Some(Node(4)));
        assert!(tarjan_scc(&view).iter().all(|component| component.len() == 1));
        assert!(has_path_connecting(&view, Node(0), Node(5), None));
        let mut live = Dfs::new(Reversed(&view), Node(5));
        let n_live = std::iter::from_fn(|| live.next(Reversed(&view))).count();
        assert_eq!(n_live, 6);
    }
}
