//! Modules in binary, `.irb`.
//!
//! ```text
//! magic     8 bytes   89 "nncir" 0D 0A
//! version   u32
//! length    u64       of the header
//! checksum  u64       of everything behind it
//! header    bincode   functions, graphs, and where each tensor's elements lie in the data
//! data                elements of all tensors
//! ```
//!
//! Numbers are little-endian. The same module gives the same bytes. The header is flat: graphs stand in one list, a
//! region before the node that owns it, and dimensions are text; so reading never recurses deeper than the text parser
//! does, and tensors are only made of bytes that are there. What is read has sound tables; the rest is the verifier's
//! business, as it is for text.

use std::collections::HashMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::diagnostic::{Diagnostic, Location};
use crate::graph::{Graph, NodeData, Value};
use crate::literal::{Constant, TensorData};
use crate::module::{Func, FuncParam, FuncResult, Module};
use crate::ops::Op;
use crate::types::{DType, TensorType};
use crate::verify::MAX_REGION_DEPTH;

/// The first bytes of a binary module. The high bit and the line end show transfers that damage binary files.
pub const MAGIC: [u8; 8] = *b"\x89nncir\r\n";
/// The version of the format that is written and read.
pub const VERSION: u32 = 2;

/// A header beyond this many bytes is refused.
const MAX_HEADER: usize = 1 << 28;
const PREFIX: usize = 8 + 4 + 8 + 8;

#[derive(Default, Serialize, Deserialize)]
struct Header {
    /// Files and scopes of locations.
    strings: Vec<String>,
    weights: Vec<(String, WireTensor)>,
    graphs: Vec<WireGraph>,
    funcs: Vec<WireFunc>,
}

/// A tensor, by the place of its elements in the data.
#[derive(Serialize, Deserialize)]
struct WireTensor {
    dtype: DType,
    shape: Vec<usize>,
    offset: u64,
}

#[derive(Serialize, Deserialize)]
struct WireFunc {
    name: String,
    params: Vec<FuncParam>,
    results: Vec<FuncResult>,
    graph: u32,
}

#[derive(Serialize, Deserialize)]
struct WireGraph {
    params: Vec<(TensorType, WireLocation)>,
    nodes: Vec<WireNode>,
    results: Vec<u32>,
}

#[derive(Serialize, Deserialize)]
struct WireNode {
    op: WireOp,
    operands: Vec<u32>,
    types: Vec<TensorType>,
    /// Positions in [`Header::graphs`], each before the node's own graph.
    regions: Vec<u32>,
    location: WireLocation,
}

#[derive(Serialize, Deserialize)]
enum WireOp {
    /// Any op but a dense constant.
    Op(Op),
    Dense(WireTensor, Option<Arc<str>>),
    /// The weight at this position, under its name.
    Weight(u32),
}

/// A location, with positions in [`Header::strings`].
#[derive(Serialize, Deserialize)]
struct WireLocation {
    file: Option<u32>,
    line: u32,
    column: u32,
    scope: Option<u32>,
}

/// The module in binary.
///
/// # Errors
/// If the module is too large for the format.
pub fn to_bytes(module: &Module) -> Result<Vec<u8>, Diagnostic> {
    let mut writer = Writer { module, header: Header::default(), strings: HashMap::new(), data: Vec::new() };
    for (name, tensor) in &module.weights {
        let tensor = writer.tensor(tensor);
        writer.header.weights.push((name.to_string(), tensor));
    }
    for func in &module.funcs {
        let graph = writer.graph(&func.graph);
        let (params, results) = (func.params.clone(), func.results.clone());
        writer.header.funcs.push(WireFunc { name: func.name.clone(), params, results, graph });
    }
    let fault = |message: String| Diagnostic::new(Location::unknown(), message);
    let header = bincode::serde::encode_to_vec(&writer.header, bincode::config::standard())
        .map_err(|error| fault(format!("the module cannot be encoded: {error}")))?;
    if header.len() > MAX_HEADER {
        return Err(fault(format!("the module's header has {} bytes, expected at most {MAX_HEADER}", header.len())));
    }
    let mut bytes = Vec::with_capacity(PREFIX + header.len() + writer.data.len());
    bytes.extend_from_slice(&MAGIC);
    bytes.extend_from_slice(&VERSION.to_le_bytes());
    bytes.extend_from_slice(&(header.len() as u64).to_le_bytes());
    bytes.extend_from_slice(&[0; 8]);
    bytes.extend_from_slice(&header);
    bytes.extend_from_slice(&writer.data);
    let checksum = checksum(&bytes[PREFIX..]);
    bytes[PREFIX - 8..PREFIX].copy_from_slice(&checksum.to_le_bytes());
    Ok(bytes)
}

struct Writer<'a> {
    module: &'a Module,
    header: Header,
    /// Positions in the header's strings; never iterated.
    strings: HashMap<Arc<str>, u32>,
    data: Vec<u8>,
}

impl Writer<'_> {
    fn tensor(&mut self, tensor: &TensorData) -> WireTensor {
        let offset = self.data.len() as u64;
        self.data.extend_from_slice(&tensor.bytes);
        WireTensor { dtype: tensor.dtype, shape: tensor.shape.clone(), offset }
    }

    fn string(&mut self, text: Option<&Arc<str>>) -> Option<u32> {
        let text = text?;
        if let Some(&idx) = self.strings.get(text) {
            return Some(idx);
        }
        let idx = self.header.strings.len() as u32;
        self.header.strings.push(text.to_string());
        self.strings.insert(text.clone(), idx);
        Some(idx)
    }

    fn location(&mut self, location: &Location) -> WireLocation {
        let (file, scope) = (self.string(location.file.as_ref()), self.string(location.scope.as_ref()));
        WireLocation { file, line: location.line, column: location.column, scope }
    }

    /// Writes the regions of a graph, then the graph, and gives its position.
    fn graph(&mut self, graph: &Graph) -> u32 {
        let params = graph
            .params()
            .iter()
            .map(|&param| (graph.ty(param).clone(), self.location(&graph.def(param).location)))
            .collect();
        let nodes = graph
            .nodes()
            .filter(|(_, data)| !matches!(data.op, Op::Param(_)))
            .map(|(_, data)| self.node(graph, data))
            .collect();
        let results = graph.results().iter().map(|result| result.0).collect();
        self.header.graphs.push(WireGraph { params, nodes, results });
        self.header.graphs.len() as u32 - 1
    }

    fn node(&mut self, graph: &Graph, data: &NodeData) -> WireNode {
        let op = match &data.op {
            Op::Constant(Constant::Dense { data, name }) => self.dense(data, name.as_ref()),
            op => WireOp::Op(op.clone()),
        };
        WireNode {
            op,
            operands: data.operands.iter().map(|operand| operand.0).collect(),
            types: data.results().map(|result| graph.ty(result).clone()).collect(),
            regions: data.regions.iter().map(|region| self.graph(region)).collect(),
            location: self.location(&data.location),
        }
    }

    /// A weight's elements are written once.
    fn dense(&mut self, data: &TensorData, name: Option<&Arc<str>>) -> WireOp {
        let weight = name.and_then(|name| self.module.weights.get_full(name));
        match weight {
            Some((idx, _, weight)) if weight == data => WireOp::Weight(idx as u32),
            _ => WireOp::Dense(self.tensor(data), name.cloned()),
        }
    }
}

/// Whether `bytes` are meant to be a binary module.
pub fn is_binary(bytes: &[u8]) -> bool {
    bytes.starts_with(&MAGIC)
}

/// Reads a module from `bytes`, which diagnostics call `place`.
///
/// # Errors
/// If the bytes are truncated, damaged, of another version or malformed.
pub fn from_bytes(bytes: &[u8], place: &str) -> Result<Module, Diagnostic> {
    read(bytes).map_err(|message| Diagnostic::new(Location::at(place, 0, 0), message))
}

fn read(bytes: &[u8]) -> Result<Module, String> {
    if !is_binary(bytes) {
        return Err("the file does not start like a binary module".to_string());
    }
    let Some((prefix, body)) = bytes.split_at_checked(PREFIX) else {
        return Err(format!("the file is truncated: it has {} bytes, expected at least {PREFIX}", bytes.len()));
    };
    let word = |at: usize| u64::from_le_bytes(prefix[at..at + 8].try_into().expect("eight bytes"));
    let version = u32::from_le_bytes(prefix[8..12].try_into().expect("four bytes"));
    if version != VERSION {
        return Err(format!("the file has version {version} of the format, expected {VERSION}"));
    }
    if checksum(body) != word(20) {
        return Err("the file is truncated or damaged: its checksum does not fit".to_string());
    }
    let header_len = usize::try_from(word(12)).unwrap_or(usize::MAX);
    if header_len > MAX_HEADER {
        return Err(format!("the header has {header_len} bytes, expected at most {MAX_HEADER}"));
    }
    let Some((header, data)) = body.split_at_checked(header_len) else {
        return Err(format!("the header has {header_len} bytes, but only {} follow", body.len()));
    };
    let config = bincode::config::standard().with_limit::<MAX_HEADER>();
    let (header, n_read) = bincode::serde::decode_from_slice::<Header, _>(header, config)
        .map_err(|error| format!("the header is malformed: {error}"))?;
    if n_read != header_len {
        return Err(format!("the header ends after {n_read} of {header_len} bytes"));
    }
    Reader { strings: header.strings.into_iter().map(Arc::from).collect(), data, module: Module::default() }.module(
        header.weights,
        header.graphs,
        header.funcs,
    )
}

struct Reader<'a> {
    strings: Vec<Arc<str>>,
    data: &'a [u8],
    module: Module,
}

/// A graph that waits for its owner, and how deep its regions nest.
type Waiting = Option<(Graph, usize)>;

impl Reader<'_> {
    fn module(
        mut self,
        weights: Vec<(String, WireTensor)>,
        graphs: Vec<WireGraph>,
        funcs: Vec<WireFunc>,
    ) -> Result<Module, String> {
        for (name, tensor) in weights {
            let tensor = self.tensor(tensor)?;
            if self.module.weights.insert(name.as_str().into(), tensor).is_some() {
                return Err(format!("there are two weights called @{name}"));
            }
        }
        let mut waiting: Vec<Waiting> = Vec::new();
        for graph in graphs {
            let graph = self.graph(graph, &mut waiting)?;
            waiting.push(Some(graph));
        }
        for func in funcs {
            let (graph, _) = claim(&mut waiting, func.graph)?;
            self.module.funcs.push(Func { name: func.name, params: func.params, results: func.results, graph });
        }
        Ok(self.module)
    }

    fn tensor(&self, tensor: WireTensor) -> Result<TensorData, String> {
        let WireTensor { dtype, shape, offset } = tensor;
        let n_elements = shape.iter().try_fold(1usize, |product, &extent| product.checked_mul(extent));
        let n_bytes = n_elements.and_then(|n| n.checked_mul(dtype.size()));
        let bytes = usize::try_from(offset)
            .ok()
            .zip(n_bytes)
            .and_then(|(start, n_bytes)| self.data.get(start..start.checked_add(n_bytes)?))
            .ok_or_else(|| format!("a tensor of type {dtype}{shape:?} at byte {offset} is beyond the data"))?;
        Ok(TensorData::new(dtype, shape, bytes))
    }

    fn string(&self, idx: Option<u32>) -> Result<Option<Arc<str>>, String> {
        let find = |idx: u32| self.strings.get(idx as usize).cloned().ok_or_else(|| format!("string {idx} is missing"));
        idx.map(find).transpose()
    }

    fn location(&self, location: &WireLocation) -> Result<Location, String> {
        let (file, scope) = (self.string(location.file)?, self.string(location.scope)?);
        Ok(Location { file, line: location.line, column: location.column, scope })
    }

    fn graph(&self, wire: WireGraph, waiting: &mut [Waiting]) -> Result<(Graph, usize), String> {
        let mut graph = Graph::new();
        let mut depth = 0;
        for (ty, location) in wire.params {
            graph.param(ty, self.location(&location)?);
        }
        for node in wire.nodes {
            let op = match node.op {
                WireOp::Op(op @ (Op::Param(_) | Op::Constant(Constant::Dense { .. }))) => {
                    return Err(format!("a {} stands where it may not", op.mnemonic()));
                }
                WireOp::Op(op) => op,
                WireOp::Dense(tensor, name) => Op::Constant(Constant::Dense { data: self.tensor(tensor)?, name }),
                WireOp::Weight(idx) => {
                    let weight = self.module.weights.get_index(idx as usize);
                    let (name, data) = weight.ok_or_else(|| format!("weight {idx} is missing"))?;
                    Op::Constant(Constant::Dense { data: data.clone(), name: Some(name.clone()) })
                }
            };
            let operands = values(&graph, node.operands)?;
            let mut regions = Vec::new();
            for region in node.regions {
                let (region, region_depth) = claim(waiting, region)?;
                regions.push(region);
                depth = depth.max(region_depth + 1);
            }
            if depth > MAX_REGION_DEPTH {
                return Err(format!("regions nest deeper than {MAX_REGION_DEPTH}"));
            }
            graph.push_typed(op, &operands, regions, node.types, self.location(&node.location)?);
        }
        let results = values(&graph, wire.results)?;
        graph.set_results(results);
        Ok((graph, depth))
    }
}

/// Every graph has one owner, so that a small file cannot stand for a huge module.
fn claim(waiting: &mut [Waiting], idx: u32) -> Result<(Graph, usize), String> {
    waiting
        .get_mut(idx as usize)
        .and_then(Option::take)
        .ok_or_else(|| format!("graph {idx} is missing or has two owners"))
}

fn values(graph: &Graph, ids: Vec<u32>) -> Result<Vec<Value>, String> {
    match ids.iter().find(|&&id| id as usize >= graph.n_values()) {
        Some(id) => Err(format!("value {id} is used before it is defined")),
        None => Ok(ids.into_iter().map(Value).collect()),
    }
}

/// FNV-1a over words of 8 bytes: every step is a bijection of the state, so no damage to a single word goes unseen.
fn checksum(bytes: &[u8]) -> u64 {
    let mix = |hash: u64, word: u64| (hash ^ word).wrapping_mul(0x0000_0100_0000_01b3);
    let (words, rest) = bytes.as_chunks::<8>();
    let mut last = [0; 8];
    last[..rest.len()].copy_from_slice(rest);
    let start = mix(0xcbf2_9ce4_8422_2325, bytes.len() as u64);
    words.iter().chain([&last]).fold(start, |hash, &word| mix(hash, u64::from_le_bytes(word)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parse::{WeightSource, parse_module};

    fn sample() -> Module {
        let weights = [("w".into(), TensorData::from_f32(vec![2, 2], &[1.0, 2.0, 3.0, 4.0]))];
        let text =
            "func @f(%x: f32[(N // 2), 2], param %w: f32[2, 2] = @w) -> (y: f32[(N // 2), 2], w: f32[2, 2] into %w) {
  %0 = constant @w : f32[2, 2]
  %1 = constant [1.5, 2.5] : f32[2]
  %2 = fusion %x, %0 {kind = contraction} (%p0: f32[(N // 2), 2], %p1: f32[2, 2]) {
    %0 = dot_general %p0, %p1 {lhs_contract = [1], rhs_contract = [0]} : f32[(N // 2), 2]
    return %0
  } : f32[(N // 2), 2]
  %3 = broadcast_in_dim %1 {dims = [1]} : f32[(N // 2), 2]
  %4 = add %2, %3 : f32[(N // 2), 2]
  return %4, %w
}
";
        parse_module(text, "t.ir", WeightSource::given(weights.into())).expect("sound")
    }

    #[test]
    fn what_is_written_is_read() {
        let module = sample();
        module.verify().expect("sound");
        let bytes = to_bytes(&module).expect("small");
        assert_eq!(bytes, to_bytes(&module).expect("small"));
        assert_eq!(from_bytes(&bytes, "t.irb"), Ok(module));
        // 16 bytes of the weight, written once, and 8 of the anonymous constant.
        assert_eq!(bytes.len() as u64, PREFIX as u64 + u64::from_le_bytes(bytes[12..20].try_into().expect("8")) + 24);
    }

    #[test]
    fn damage_is_noticed() {
        let bytes = to_bytes(&sample()).expect("small");
        for len in 0..bytes.len() {
            from_bytes(&bytes[..len], "t.irb").expect_err("truncated");
        }
        for at in 0..bytes.len() {
            let mut bytes = bytes.clone();
            bytes[at] ^= 0x10;
            from_bytes(&bytes, "t.irb").expect_err("damaged");
        }
        let mut old = bytes.clone();
        old[8] = 9;
        let fault = from_bytes(&old, "t.irb").expect_err("another version");
        assert_eq!(fault.to_string(), "t.irb: the file has version 9 of the format, expected 2");
    }

    #[test]
    fn bytes_with_a_right_checksum_do_not_panic() {
        let bytes = to_bytes(&sample()).expect("small");
        for at in PREFIX..bytes.len() {
            for value in [0, 1, 0x7f, 0xfb, 0xfc, 0xfd, 0xff, bytes[at].wrapping_add(1)] {
                let mut bytes = bytes.clone();
                bytes[at] = value;
                let sum = checksum(&bytes[PREFIX..]);
                bytes[PREFIX - 8..PREFIX].copy_from_slice(&sum.to_le_bytes());
                if let Ok(module) = from_bytes(&bytes, "t.irb") {
                    let _ = module.verify();
                    let _ = module.to_string();
                }
            }
        }
    }

    #[test]
    fn a_graph_has_one_owner() {
        let graph = |regions: Vec<u32>| WireGraph {
            params: Vec::new(),
            nodes: vec![WireNode {
                op: WireOp::Op(Op::Cond),
                operands: Vec::new(),
                types: Vec::new(),
                regions,
                location: WireLocation { file: None, line: 0, column: 0, scope: None },
            }],
            results: Vec::new(),
        };
        let read = |graphs: Vec<WireGraph>| {
            let reader = Reader { strings: Vec::new(), data: &[], module: Module::default() };
            reader.module(Vec::new(), graphs, Vec::new()).map(|_| ())
        };
        assert_eq!(
            read(vec![graph(vec![]), graph(vec![0, 0])]),
            Err("graph 0 is missing or has two owners".to_string())
        );
        assert_eq!(read(vec![graph(vec![0])]), Err("graph 0 is missing or has two owners".to_string()));
        let chain = (0..100_000u32).map(|idx| graph(idx.checked_sub(1).into_iter().collect())).collect();
        assert_eq!(read(chain), Err("regions nest deeper than 32".to_string()));
    }
}
