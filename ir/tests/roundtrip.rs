//! Properties of the formats on random modules: what is written is read back, and no damaged text brings the reader
//! down.

use nnc_ir::builder::Builder;
use nnc_ir::ops::{
    BroadcastAttrs, Combiner, CompareDir, DotAttrs, FusionKind, GatherAttrs, IotaAttrs, PadAttrs, ReduceAttrs,
    ReduceKind, ScanAttrs, ScatterAttrs, SliceAttrs, infer,
};
use nnc_ir::parse::parse_dim;
use nnc_ir::{
    Constant, DType, Dim, Func, FuncParam, FuncResult, Graph, Location, Module, Op, ParamKind, Scalar, Shape,
    TensorData, TensorType, Value, WeightSource, binary, parse_module,
};
use proptest::prelude::*;

/// Random decisions from bytes, so that shrinking the bytes shrinks the module. Behind the last byte all are 0.
struct Choices<'a>(std::slice::Iter<'a, u8>);

impl Choices<'_> {
    fn byte(&mut self) -> u8 {
        self.0.next().copied().unwrap_or(0)
    }

    fn below(&mut self, n: usize) -> usize {
        self.byte() as usize % n
    }

    fn of<T: Clone>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())].clone()
    }

    fn done(&self) -> bool {
        self.0.len() == 0
    }

    fn dim(&mut self) -> Dim {
        match self.below(12) {
            0..=7 => Dim::from(self.of(&[4, 2, 3, 1, 0, 5, 1024])),
            8 => Dim::symbol("N"),
            9 => Dim::symbol(self.of(&["batch-size", "S", "a b", "2x", "é"])),
            10 => self.dim() * self.dim() + Dim::from(self.below(3)),
            _ => self.dim().floor_div(&(self.dim() + Dim::from(1))),
        }
    }

    fn dtype(&mut self) -> DType {
        if self.below(2) == 0 { DType::F32 } else { self.of(&DType::ALL) }
    }

    fn ty(&mut self) -> TensorType {
        let dims = (0..self.below(4)).map(|_| self.dim()).collect::<Vec<_>>();
        TensorType { dtype: self.dtype(), shape: Shape(dims) }
    }

    fn scalar(&mut self, dtype: DType) -> Scalar {
        match (self.below(4), dtype) {
            (0, _) => Scalar::from_f64(dtype, f64::from(self.byte()) - 128.0),
            (1, DType::Bool) => Scalar::one(dtype),
            (_, DType::Bool) => Scalar::zero(dtype),
            // Any bits: denormals, infinities, NaNs with payloads.
            (1, _) => {
                let bytes: Vec<u8> = (0..8).map(|_| self.byte()).collect();
                Scalar::read(dtype, &bytes)
            }
            (2, _) => Scalar::from_f64(dtype, 1.0 / (f64::from(self.byte()) + 0.3)),
            _ => Scalar::from_f64(dtype, self.of(&[f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -0.0, 1e-30, 65504.0])),
        }
    }

    fn constant(&mut self) -> Constant {
        if self.below(2) == 0 {
            let ty = self.ty();
            return Constant::Splat { value: self.scalar(ty.dtype), ty };
        }
        let dtype = self.dtype();
        let shape: Vec<usize> = (0..1 + self.below(3)).map(|_| self.below(4)).collect();
        let scalars: Vec<Scalar> = (0..shape.iter().product()).map(|_| self.scalar(dtype)).collect();
        Constant::Dense { data: TensorData::from_scalars(dtype, shape, scalars), name: None }
    }

    fn dims_below(&mut self, rank: usize) -> Vec<usize> {
        (0..rank).filter(|_| self.below(2) == 0).collect()
    }

    /// An op that may fit `operand`; whether it does is for its rule to say.
    fn op(&mut self, operand: &TensorType) -> Op {
        let rank = operand.rank();
        match self.below(28) {
            0 => Op::Negate,
            1 => Op::Exponential,
            2 => Op::Not,
            3 => Op::Convert(self.dtype()),
            4 => Op::BitcastConvert(self.dtype()),
            5 => Op::Add,
            6 => Op::Maximum,
            7 => Op::Compare(self.of(&CompareDir::ALL)),
            8 => Op::Reshape(Shape(vec![operand.shape.n_elements(), Dim::from(1)])),
            9 => Op::Transpose((0..rank).rev().collect()),
            10 => {
                let mut dims = operand.shape.0.clone();
                let at = self.below(rank + 1);
                dims.insert(at, self.dim());
                let kept = (0..=rank).filter(|&dim| dim != at).collect();
                Op::BroadcastInDim(BroadcastAttrs { shape: Shape(dims), dims: kept })
            }
            11 => Op::Slice(SliceAttrs {
                start: operand.shape.0.iter().map(|_| Dim::from(self.below(2))).collect(),
                limit: operand.shape.0.clone(),
                stride: (0..rank).map(|_| 1 + self.below(2)).collect(),
            }),
            12 => Op::Pad(PadAttrs {
                low: (0..rank).map(|_| self.below(3) as i64 - 1).collect(),
                high: (0..rank).map(|_| self.below(2) as i64).collect(),
                interior: (0..rank).map(|_| self.below(2)).collect(),
            }),
            13 => Op::Concatenate(self.below(rank + 1)),
            14 => Op::Reverse(self.dims_below(rank)),
            15..=17 => Op::Reduce(ReduceAttrs { kind: self.of(&ReduceKind::ALL), dims: self.dims_below(rank) }),
            18 => {
                let batch = self.dims_below(rank);
                let contract: Vec<usize> = (0..rank).filter(|dim| !batch.contains(dim) && self.below(2) == 0).collect();
                Op::DotGeneral(DotAttrs {
                    lhs_batch: batch.clone(),
                    rhs_batch: batch,
                    lhs_contract: contract.clone(),
                    rhs_contract: contract,
                })
            }
            19 => Op::Gather(GatherAttrs {
                offset_dims: (1..rank).collect(),
                collapsed_slice_dims: vec![0],
                start_index_map: vec![0],
                index_vector_dim: self.below(3),
                slice_sizes: (0..rank).map(|dim| if dim == 0 { 1 } else { self.below(3) }).collect(),
                ..GatherAttrs::default()
            }),
            20 => Op::Scatter(ScatterAttrs {
                update_window_dims: (1..rank).collect(),
                inserted_window_dims: vec![0],
                input_batching_dims: Vec::new(),
                scatter_indices_batching_dims: Vec::new(),
                scatter_dims_to_operand_dims: vec![0],
                index_vector_dim: 1,
                combiner: self.of(&Combiner::ALL),
            }),
            21 => Op::Select,
            22 => Op::Clamp,
            23 => Op::Iota(IotaAttrs { ty: self.ty(), dim: self.below(2) }),
            24 => Op::RngBits(self.ty().shape),
            25 => Op::StopGradient,
            _ => Op::Constant(self.constant()),
        }
    }

    /// A graph of the given parameters; ops that do not fit are left out.
    fn graph(&mut self, params: &[TensorType], depth: usize) -> Graph {
        let location = Location::at("model.rs", 7, 9).in_scope((depth > 0).then(|| "layers.0".into()));
        let mut graph = Graph::new();
        for ty in params {
            graph.param(ty.clone(), Location::unknown());
        }
        let mut b = Builder::new(&mut graph, location);
        for _ in 0..2 + self.below(10) {
            let n_values = b.graph().n_values();
            if n_values == 0 {
                b.constant(self.constant());
                continue;
            }
            if depth < 2 && self.below(8) == 0 {
                let inputs: Vec<Value> =
                    (0..self.below(3).min(n_values)).map(|_| Value(self.below(n_values) as u32)).collect();
                let types: Vec<TensorType> = inputs.iter().map(|&input| b.ty(input).clone()).collect();
                if self.below(2) == 0 {
                    let region = self.graph(&types, depth + 1);
                    let _ = b.fusion(self.of(&FusionKind::ALL), &inputs, region);
                } else {
                    self.control(&mut b, &inputs, &types, depth);
                }
                continue;
            }
            let first = Value(self.below(n_values) as u32);
            let op = self.op(&b.ty(first).clone());
            let n_operands = op.info().operands.len();
            let operands: Vec<Value> = (0..n_operands)
                .map(|idx| if idx == 0 || self.below(2) == 0 { first } else { Value(self.below(n_values) as u32) })
                .collect();
            let types: Vec<&TensorType> = operands.iter().map(|&operand| b.ty(operand)).collect();
            // Outer products grow beyond all bounds soon.
            if infer(&op, &types, &[]).is_ok_and(|results| results.iter().all(|ty| ty.check_size().is_ok())) {
                b.op(op, &operands).expect("it was inferred");
            }
        }
        let n_values = graph.n_values();
        // A region must have a result.
        let n_results = self.below(3) + depth;
        if n_values > 0 {
            let results = (0..n_results).map(|_| Value(self.below(n_values) as u32)).collect();
            graph.set_results(results);
        }
        graph
    }

    /// A `scan`, `cond` or `while` on these inputs, unless it does not fit.
    fn control(&mut self, b: &mut Builder, inputs: &[Value], types: &[TensorType], depth: usize) {
        match self.below(3) {
            0 => {
                // The leading extent of the last input is the length; inputs before it are carried.
                let length = types.last().and_then(|ty| ty.shape.0.first().cloned()).unwrap_or_else(|| self.dim());
                let n_carried = self.below(types.len().max(1));
                let n_scanned = usize::from(types.last().is_some_and(|ty| ty.rank() > 0));
                let mut order: Vec<usize> = (0..n_carried).collect();
                order.extend((n_scanned == 1).then(|| types.len() - 1));
                order.extend(n_carried..types.len() - n_scanned);
                let slice = |ty: &TensorType| TensorType { dtype: ty.dtype, shape: Shape(ty.shape.0[1..].to_vec()) };
                let params: Vec<TensorType> = order
                    .iter()
                    .enumerate()
                    .map(
                        |(at, &idx)| {
                            if at == n_carried && n_scanned == 1 { slice(&types[idx]) } else { types[idx].clone() }
                        },
                    )
                    .collect();
                let mut body = self.graph(&params, depth + 1);
                let carries = body.params()[..n_carried].iter().rev().copied();
                let results = carries.chain(body.results().to_vec()).collect();
                body.set_results(results);
                let operands: Vec<Value> = order.iter().map(|&idx| inputs[idx]).collect();
                let attrs = ScanAttrs { n_carried, n_scanned, length, reverse: self.below(2) == 0 };
                let types = operands.iter().map(|&operand| b.ty(operand)).collect::<Vec<_>>();
                let op = Op::Scan(attrs);
                // Stacks of what is large already may be too large.
                let regions = [body];
                if infer(&op, &types, &regions).is_ok_and(|types| types.iter().all(|ty| ty.check_size().is_ok())) {
                    b.op_with_regions(op, &operands, regions.to_vec()).expect("it was inferred");
                }
            }
            1 => {
                let pred = b.constant(Constant::Splat {
                    ty: TensorType::scalar(DType::Bool),
                    value: Scalar::from_i64(DType::Bool, self.below(2) as i64),
                });
                let on_true = self.graph(types, depth + 1);
                let mut on_false = on_true.clone();
                on_false.set_results(on_true.results().to_vec());
                let _ = b.cond(&[&[pred], inputs].concat(), on_true, on_false);
            }
            _ => {
                let mut condition = self.graph(types, depth + 1);
                let pred = Builder::new(&mut condition, Location::unknown()).constant(Constant::Splat {
                    ty: TensorType::scalar(DType::Bool),
                    value: Scalar::zero(DType::Bool),
                });
                condition.set_results(vec![pred]);
                let mut body = self.graph(types, depth + 1);
                body.set_results(body.params().to_vec());
                let _ = b.while_loop(inputs, condition, body);
            }
        }
    }

    fn func(&mut self, name: String) -> Func {
        const NAMES: [&str; 10] = ["x", "0", "0.weight", "a b", "\"", "into", "f32", "x-", "é", "new\nline"];
        let types: Vec<TensorType> = (0..self.below(4)).map(|_| self.ty()).collect();
        let graph = self.graph(&types, 0);
        let name_of = |choices: &mut Self, idx: usize| format!("{}{}", choices.of(&NAMES), ["", "1", "2", "3"][idx]);
        let params = (0..types.len())
            .map(|idx| FuncParam {
                name: name_of(self, idx),
                kind: self.of(&[ParamKind::Input, ParamKind::Param, ParamKind::State]),
                weight: (self.below(4) == 0).then(|| "some.weight".into()),
            })
            .collect();
        let mut taken = Vec::new();
        let results = (0..graph.results().len())
            .map(|idx| {
                let value = graph.results()[idx];
                let donates = (0..types.len() as u32)
                    .find(|&param| !taken.contains(&param) && types[param as usize] == *graph.ty(value));
                taken.extend(donates);
                FuncResult { name: name_of(self, idx), donates }
            })
            .collect();
        Func { name, params, results, graph }
    }

    fn module(&mut self) -> Module {
        let mut module = Module::default();
        while module.funcs.is_empty() || (!self.done() && module.funcs.len() < 3) {
            let name = format!("{}{}", self.of(&["main", "a.b", "odd name", "-"]), module.funcs.len());
            module.funcs.push(self.func(name));
        }
        module
    }
}

fn modules() -> impl Strategy<Value = Module> {
    proptest::collection::vec(any::<u8>(), 0..600).prop_map(|bytes| Choices(bytes.iter()).module())
}

fn parse(text: &str) -> Module {
    parse_module(text, "t.ir", WeightSource::none()).unwrap_or_else(|faults| {
        let faults: Vec<String> = faults.iter().map(ToString::to_string).collect();
        panic!("{}\n{text}", faults.join("\n"))
    })
}

/// The text with every type left out that the op's rule gives.
fn without_inferred_types(text: &str) -> String {
    const NEED_TYPES: [&str; 7] =
        ["constant", "iota", "rng_bits", "convert", "bitcast_convert", "reshape", "broadcast_in_dim"];
    let mut bare = String::new();
    for line in text.lines() {
        let (statement, ty) = line.rsplit_once(" : ").unwrap_or((line, ""));
        let mnemonic = statement.split_once(" = ").map_or("", |(_, rest)| rest.split(' ').next().unwrap_or(""));
        let is_statement = line.starts_with("  ") && (statement.ends_with('}') || statement.contains(" = "));
        let keep = ty.is_empty() || !is_statement || line.ends_with('{') || NEED_TYPES.contains(&mnemonic);
        bare.push_str(if keep { line } else { statement });
        bare.push('\n');
    }
    bare
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn text_is_read_back(module in modules()) {
        let text = module.to_string();
        let parsed = parse(&text);
        prop_assert_eq!(parsed.to_string(), text);
        // The same but for where the nodes came from: then all bytes agree, since neither has a location.
        let mut plain = parsed.clone();
        let mut original = module;
        for module in [&mut plain, &mut original] {
            for func in &mut module.funcs {
                func.graph = without_locations(&func.graph);
            }
        }
        prop_assert_eq!(plain, original);
    }

    #[test]
    fn binary_is_read_back(module in modules()) {
        let bytes = binary::to_bytes(&module).expect("small");
        prop_assert_eq!(binary::from_bytes(&bytes, "t.irb").expect("sound"), module);
    }

    #[test]
    fn built_functions_are_sound(module in modules()) {
        for func in &module.funcs {
            prop_assert_eq!(func.verify(), Ok(()));
        }
    }

    #[test]
    fn types_are_inferred_as_they_were_written(module in modules()) {
        let text = module.to_string();
        prop_assert_eq!(parse(&without_inferred_types(&text)).to_string(), text);
    }

    #[test]
    fn dimensions_are_read_back(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
        let mut choices = Choices(bytes.iter());
        let mut dim = choices.dim();
        while !choices.done() {
            let other = choices.dim();
            dim = match choices.below(4) {
                0 => dim + other,
                1 => dim - other,
                2 => dim.floor_div(&(other + Dim::from(1))),
                _ => dim * other,
            };
        }
        // The reader bounds what it takes.
        if let Ok(read) = parse_dim(&dim.to_string()) {
            prop_assert_eq!(read, dim);
        } else {
            prop_assert!(dim.to_string().len() > 100, "{}", dim);
        }
    }

    #[test]
    fn damaged_text_is_a_fault_or_a_module(module in modules(), edits in proptest::collection::vec((any::<u16>(), any::<u8>(), any::<u16>()), 1..6)) {
        let mut bytes = module.to_string().into_bytes();
        const PIECES: [&[u8]; 16] = [b"{", b"}", b"[", b"]", b"(", b")", b",", b"%0", b"//", b"\n", b"\"", b"func", b"-", b"f32[4]", b" = ", b"99999999999999999999"];
        for (at, edit, other) in edits {
            if bytes.is_empty() {
                break;
            }
            let at = at as usize % bytes.len();
            let other = other as usize % bytes.len();
            match edit % 5 {
                0 => bytes[at] = edit,
                1 => { bytes.remove(at); }
                2 => { bytes.splice(at..at, PIECES[edit as usize / 5 % PIECES.len()].iter().copied()); }
                3 => bytes.truncate(at),
                _ => {
                    // A piece of the text stands somewhere else once more.
                    let piece = bytes[at.min(other)..at.max(other)].iter().copied().take(40).collect::<Vec<_>>();
                    bytes.splice(other..other, piece);
                }
            }
        }
        check_any_text(&String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn any_text_is_a_fault_or_a_module(text in "(func @f\\(|%[a-z0-9]|[ \\[\\](){}:=,\n\"@%*/+-]|f32\\[4\\]|return|\\PC){0,60}") {
        check_any_text(&text);
    }
}

/// Reading gives faults or a module, verifying the module gives faults or says it is sound, and a sound module's
/// text is canonical.
fn check_any_text(text: &str) {
    let Ok(module) = parse_module(text, "t.ir", WeightSource::none()) else { return };
    if module.funcs.iter().all(|func| func.verify().is_ok()) {
        let canonical = module.to_string();
        assert_eq!(parse(&canonical).to_string(), canonical);
    }
}

fn without_locations(graph: &Graph) -> Graph {
    let mut plain = Graph::new();
    for (_, data) in graph.nodes() {
        match data.op {
            Op::Param(_) => {
                plain.param(graph.ty(data.result()).clone(), Location::unknown());
            }
            _ => {
                let types = data.results().map(|result| graph.ty(result).clone()).collect();
                let regions = data.regions.iter().map(without_locations).collect();
                plain.push_typed(data.op.clone(), &data.operands, regions, types, Location::unknown());
            }
        }
    }
    plain.set_results(graph.results().to_vec());
    plain
}
