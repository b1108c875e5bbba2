//! The attributes of every op as text.
//!
//! [`Op::attrs`] gives what the printer writes between braces, and [`op_from_text`] reads it back; the two stand side
//! by side so that a new attribute is added to both. What the result type says already (the shape of `reshape`, the
//! element type of `convert`) is no attribute, and defaults are left out: empty lists, `false`, steps of 1, padding of
//! 0, one group.

use std::cell::RefCell;

use crate::dim::{Dim, DimExpr};
use crate::ops::{
    BroadcastAttrs, Combiner, CompareDir, ConvolutionAttrs, CumulativeAttrs, DotAttrs, FusionKind, GatherAttrs,
    IotaAttrs, Op, PadAttrs, ReduceAttrs, ReduceKind, ReduceWindowAttrs, ScanAttrs, ScatterAttrs, SliceAttrs,
    SortAttrs,
};
use crate::types::TensorType;

/// The value of an attribute.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Attr<'t> {
    /// A name from a fixed set, `true` and `false` among them.
    Word(&'t str),
    /// An integer or an expression over symbols.
    Dim(DimExpr),
    /// `[...]`.
    List(Vec<Attr<'t>>),
}

impl Attr<'_> {
    fn int(value: i64) -> Self {
        Self::Dim(DimExpr::constant(value))
    }

    fn size(value: usize) -> Self {
        Self::int(i64::try_from(value).unwrap_or(i64::MAX))
    }

    fn sizes(values: &[usize]) -> Self {
        Self::List(values.iter().map(|&value| Self::size(value)).collect())
    }

    fn ints(values: &[i64]) -> Self {
        Self::List(values.iter().map(|&value| Self::int(value)).collect())
    }

    fn dims(values: &[Dim]) -> Self {
        Self::List(values.iter().map(|dim| Self::Dim(dim.expr())).collect())
    }

    fn pairs(values: &[(i64, i64)]) -> Self {
        Self::List(values.iter().map(|&(low, high)| Self::ints(&[low, high])).collect())
    }
}

impl std::fmt::Display for Attr<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Word(word) => f.write_str(word),
            Self::Dim(dim) => write!(f, "{dim}"),
            Self::List(items) => {
                f.write_str("[")?;
                for (idx, item) in items.iter().enumerate() {
                    write!(f, "{}{item}", if idx > 0 { ", " } else { "" })?;
                }
                f.write_str("]")
            }
        }
    }
}

/// Collects the attributes that differ from their defaults.
#[derive(Default)]
struct AttrWriter(Vec<(&'static str, Attr<'static>)>);

impl AttrWriter {
    fn put(mut self, name: &'static str, attr: Attr<'static>) -> Self {
        self.0.push((name, attr));
        self
    }

    fn put_unless(self, default: bool, name: &'static str, attr: Attr<'static>) -> Self {
        if default { self } else { self.put(name, attr) }
    }

    fn word(self, name: &'static str, word: &'static str) -> Self {
        self.put(name, Attr::Word(word))
    }

    fn flag(self, name: &'static str, value: bool) -> Self {
        self.put_unless(!value, name, Attr::Word("true"))
    }

    fn size(self, name: &'static str, value: usize) -> Self {
        self.put(name, Attr::size(value))
    }

    fn sizes(self, name: &'static str, values: &[usize]) -> Self {
        self.put_unless(values.is_empty(), name, Attr::sizes(values))
    }

    /// Like [`AttrWriter::sizes`], but a list of nothing but `default` is left out.
    fn sizes_unless(self, default: usize, name: &'static str, values: &[usize]) -> Self {
        self.put_unless(values.iter().all(|&value| value == default), name, Attr::sizes(values))
    }

    /// One dimension. A floor division stands in brackets, where `//` begins no comment.
    fn dim(self, name: &'static str, dim: &Dim) -> Self {
        let attr = Attr::Dim(dim.expr());
        let needs_brackets = attr.to_string().contains("//");
        self.put(name, if needs_brackets { Attr::List(vec![attr]) } else { attr })
    }

    fn ints_unless_zero(self, name: &'static str, values: &[i64]) -> Self {
        self.put_unless(values.iter().all(|&value| value == 0), name, Attr::ints(values))
    }

    fn padding(self, values: &[(i64, i64)]) -> Self {
        self.put_unless(values.iter().all(|&pair| pair == (0, 0)), "padding", Attr::pairs(values))
    }
}

impl Op {
    /// Attributes by name, in the order they are printed, without those that have their default.
    pub(crate) fn attrs(&self) -> Vec<(&'static str, Attr<'static>)> {
        let none = AttrWriter::default();
        let writer = match self {
            // These say everything in their literal or type.
            Self::Param(_)
            | Self::Constant(_)
            | Self::RngBits(_)
            | Self::Convert(_)
            | Self::BitcastConvert(_)
            | Self::Reshape(_)
            | Self::DynamicSlice(_) => none,
            Self::Iota(attrs) => none.size("dim", attrs.dim),
            Self::Compare(dir) => none.word("direction", dir.name()),
            Self::Transpose(permutation) => none.sizes("permutation", permutation),
            Self::BroadcastInDim(attrs) => none.sizes("dims", &attrs.dims),
            Self::Slice(SliceAttrs { start, limit, stride }) => none
                .put_unless(start.iter().all(|start| *start == Dim::from(0)), "start", Attr::dims(start))
                .put_unless(limit.is_empty(), "limit", Attr::dims(limit))
                .sizes_unless(1, "stride", stride),
            Self::Pad(PadAttrs { low, high, interior }) => {
                none.ints_unless_zero("low", low).ints_unless_zero("high", high).sizes_unless(0, "interior", interior)
            }
            Self::Concatenate(dim) => none.size("dim", *dim),
            Self::Reverse(dims) => none.sizes("dims", dims),
            Self::Gather(attrs) => none
                .sizes("offset_dims", &attrs.offset_dims)
                .sizes("collapsed_slice_dims", &attrs.collapsed_slice_dims)
                .sizes("operand_batching_dims", &attrs.operand_batching_dims)
                .sizes("start_indices_batching_dims", &attrs.start_indices_batching_dims)
                .sizes("start_index_map", &attrs.start_index_map)
                .size("index_vector_dim", attrs.index_vector_dim)
                .sizes("slice_sizes", &attrs.slice_sizes),
            Self::Scatter(attrs) => none
                .sizes("update_window_dims", &attrs.update_window_dims)
                .sizes("inserted_window_dims", &attrs.inserted_window_dims)
                .sizes("input_batching_dims", &attrs.input_batching_dims)
                .sizes("scatter_indices_batching_dims", &attrs.scatter_indices_batching_dims)
                .sizes("scatter_dims_to_operand_dims", &attrs.scatter_dims_to_operand_dims)
                .size("index_vector_dim", attrs.index_vector_dim)
                .word("combiner", attrs.combiner.name()),
            Self::Reduce(attrs) => none.word("kind", attrs.kind.name()).sizes("dims", &attrs.dims),
            Self::Cumulative(attrs) => {
                none.word("kind", attrs.kind.name()).size("dim", attrs.dim).flag("reverse", attrs.reverse)
            }
            Self::Sort(attrs) => none.size("dim", attrs.dim).flag("descending", attrs.descending),
            Self::ReduceWindow(attrs) | Self::SelectAndScatter(attrs) => none
                .word("kind", attrs.kind.name())
                .sizes_unless(1, "window", &attrs.window)
                .sizes_unless(1, "stride", &attrs.stride)
                .sizes_unless(1, "dilation", &attrs.dilation)
                .padding(&attrs.padding),
            Self::DotGeneral(attrs) => none
                .sizes("lhs_batch", &attrs.lhs_batch)
                .sizes("rhs_batch", &attrs.rhs_batch)
                .sizes("lhs_contract", &attrs.lhs_contract)
                .sizes("rhs_contract", &attrs.rhs_contract),
            Self::Convolution(attrs) => none
                .sizes_unless(1, "stride", &attrs.stride)
                .padding(&attrs.padding)
                .sizes_unless(1, "lhs_dilation", &attrs.lhs_dilation)
                .sizes_unless(1, "rhs_dilation", &attrs.rhs_dilation)
                .put_unless(attrs.groups == 1, "groups", Attr::size(attrs.groups)),
            Self::Fusion(kind) => none.word("kind", kind.name()),
            Self::Scan(attrs) => none
                .put_unless(attrs.n_carried == 0, "n_carried", Attr::size(attrs.n_carried))
                .put_unless(attrs.n_scanned == 0, "n_scanned", Attr::size(attrs.n_scanned))
                .dim("length", &attrs.length)
                .flag("reverse", attrs.reverse),
            Self::Negate
            | Self::Abs
            | Self::Sign
            | Self::Exponential
            | Self::ExponentialMinusOne
            | Self::Log
            | Self::LogPlusOne
            | Self::Sqrt
            | Self::Rsqrt
            | Self::Tanh
            | Self::Logistic
            | Self::Erf
            | Self::Sine
            | Self::Cosine
            | Self::Tan
            | Self::Floor
            | Self::Ceil
            | Self::RoundNearestEven
            | Self::IsFinite
            | Self::Not
            | Self::Add
            | Self::Subtract
            | Self::Multiply
            | Self::Divide
            | Self::Remainder
            | Self::Maximum
            | Self::Minimum
            | Self::Power
            | Self::Atan2
            | Self::And
            | Self::Or
            | Self::Xor
            | Self::ShiftLeft
            | Self::ShiftRightLogical
            | Self::ShiftRightArithmetic
            | Self::Select
            | Self::Clamp
            | Self::DynamicUpdateSlice
            | Self::Cond
            | Self::While
            | Self::OptimizationBarrier
            | Self::StopGradient => none,
        };
        writer.0
    }
}

/// What is wrong with an op's attributes.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct AttrFault<P> {
    /// Where the attribute stands; `None` if it is missing.
    pub(crate) pos: Option<P>,
    /// The fault, without the mnemonic.
    pub(crate) message: String,
}

/// One attribute as written: name, value, place.
pub(crate) type Written<'t, P> = (&'t str, Attr<'t>, P);

/// The attributes that were written, to be taken by name. `P` is how the parser says where.
pub(crate) struct AttrReader<'t, P> {
    attrs: RefCell<Vec<Written<'t, P>>>,
    asked: RefCell<Vec<&'static str>>,
}

type Read<T, P> = Result<T, AttrFault<P>>;

impl<'t, P: Copy> AttrReader<'t, P> {
    pub(crate) fn new(attrs: Vec<Written<'t, P>>) -> Self {
        Self { attrs: RefCell::new(attrs), asked: RefCell::new(Vec::new()) }
    }

    fn take(&self, name: &'static str) -> Option<(Attr<'t>, P)> {
        self.asked.borrow_mut().push(name);
        let mut attrs = self.attrs.borrow_mut();
        let at = attrs.iter().position(|(written, ..)| *written == name)?;
        let (_, attr, pos) = attrs.remove(at);
        Some((attr, pos))
    }

    /// Takes `name` through `convert`; `default` stands in for a missing one.
    fn read<T>(
        &self,
        name: &'static str,
        expected: &str,
        convert: impl Fn(&Attr<'t>) -> Option<T>,
        default: Option<T>,
    ) -> Read<T, P> {
        match self.take(name) {
            Some((attr, pos)) => convert(&attr).ok_or_else(|| AttrFault {
                pos: Some(pos),
                message: format!("attribute `{name}` is {attr}, expected {expected}"),
            }),
            None => default.ok_or_else(|| AttrFault {
                pos: None,
                message: format!("attribute `{name}` is missing, expected {expected}"),
            }),
        }
    }

    fn size(&self, name: &'static str) -> Read<usize, P> {
        self.read(name, "a number of at least 0", as_size, None)
    }

    fn size_or(&self, name: &'static str, default: usize) -> Read<usize, P> {
        self.read(name, "a number of at least 0", as_size, Some(default))
    }

    /// One dimension, in brackets or not.
    fn dim(&self, name: &'static str) -> Read<Dim, P> {
        let convert = |attr: &Attr<'t>| match attr {
            Attr::Word(symbol) => Some(Dim::symbol(*symbol)),
            Attr::List(items) => items.first().filter(|_| items.len() == 1).and_then(as_dim),
            Attr::Dim(_) => as_dim(attr),
        };
        self.read(name, "a dimension", convert, None)
    }

    fn flag(&self, name: &'static str) -> Read<bool, P> {
        let convert = |attr: &Attr<'t>| match attr {
            Attr::Word("true") => Some(true),
            Attr::Word("false") => Some(false),
            _ => None,
        };
        self.read(name, "true or false", convert, Some(false))
    }

    fn sizes_or(&self, name: &'static str, default: Vec<usize>) -> Read<Vec<usize>, P> {
        self.read(name, "a list of numbers of at least 0", |attr| as_list(attr, as_size), Some(default))
    }

    fn sizes(&self, name: &'static str) -> Read<Vec<usize>, P> {
        self.sizes_or(name, Vec::new())
    }

    fn ints_or(&self, name: &'static str, default: Vec<i64>) -> Read<Vec<i64>, P> {
        self.read(name, "a list of numbers", |attr| as_list(attr, as_int), Some(default))
    }

    fn dims_or(&self, name: &'static str, default: Vec<Dim>) -> Read<Vec<Dim>, P> {
        self.read(name, "a list of dimensions", |attr| as_list(attr, as_dim), Some(default))
    }

    fn padding(&self, rank: usize) -> Read<Vec<(i64, i64)>, P> {
        let pair = |attr: &Attr<'_>| match as_list(attr, as_int)?.as_slice() {
            &[low, high] => Some((low, high)),
            _ => None,
        };
        self.read("padding", "a list of pairs [low, high]", |attr| as_list(attr, pair), Some(vec![(0, 0); rank]))
    }

    fn choice<T: Copy>(&self, name: &'static str, all: &[T], name_of: impl Fn(T) -> &'static str) -> Read<T, P> {
        let names: Vec<&str> = all.iter().map(|&choice| name_of(choice)).collect();
        let convert = |attr: &Attr<'t>| match attr {
            Attr::Word(word) => all.iter().copied().find(|&choice| name_of(choice) == *word),
            _ => None,
        };
        self.read(name, &format!("one of {}", names.join(", ")), convert, None)
    }

    /// The reader is done: whatever is left is unknown to the op.
    pub(crate) fn finish(&self) -> Read<(), P> {
        let Some((name, _, pos)) = self.attrs.borrow().first().cloned() else { return Ok(()) };
        let known = self.asked.borrow();
        let expected = if known.is_empty() {
            "the op has none".to_string()
        } else {
            format!("expected {}", known.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", "))
        };
        Err(AttrFault { pos: Some(pos), message: format!("unknown attribute `{name}`, {expected}") })
    }
}

fn as_int(attr: &Attr<'_>) -> Option<i64> {
    match attr {
        Attr::Dim(dim) => dim.as_const(),
        _ => None,
    }
}

fn as_size(attr: &Attr<'_>) -> Option<usize> {
    usize::try_from(as_int(attr)?).ok()
}

fn as_dim(attr: &Attr<'_>) -> Option<Dim> {
    match attr {
        Attr::Dim(dim) if dim.as_const().is_none_or(|value| value >= 0) => Some(Dim::normalize(dim.clone())),
        _ => None,
    }
}

fn as_list<T>(attr: &Attr<'_>, item: impl Fn(&Attr<'_>) -> Option<T>) -> Option<Vec<T>> {
    match attr {
        Attr::List(items) => items.iter().map(item).collect(),
        _ => None,
    }
}

/// The op called `mnemonic` with the attributes that were written, or `None` if there is no such op. `written` is the
/// type written for the first result.
///
/// # Errors
/// An attribute that is missing, unknown or not what the op expects, or a type that is missing.
pub(crate) fn op_from_text<P: Copy>(
    mnemonic: &str,
    attrs: &AttrReader<'_, P>,
    operands: &[&TensorType],
    written: Option<&TensorType>,
) -> Result<Option<Op>, AttrFault<P>> {
    let op = match Op::plain(mnemonic) {
        Some(op) => op,
        None => match op_with_attrs(mnemonic, attrs, operands, written)? {
            Some(op) => op,
            None => return Ok(None),
        },
    };
    attrs.finish()?;
    Ok(Some(op))
}

fn op_with_attrs<P: Copy>(
    mnemonic: &str,
    attrs: &AttrReader<'_, P>,
    operands: &[&TensorType],
    written: Option<&TensorType>,
) -> Result<Option<Op>, AttrFault<P>> {
    // Lists that are left out have one default entry for each dimension of the first operand.
    let rank = operands.first().map_or(0, |operand| operand.rank());
    let ty = || {
        written.cloned().ok_or_else(|| AttrFault { pos: None, message: "the result type must be written".to_string() })
    };
    Ok(Some(match mnemonic {
        "rng_bits" => Op::RngBits(ty()?.shape),
        "convert" => Op::Convert(ty()?.dtype),
        "bitcast_convert" => Op::BitcastConvert(ty()?.dtype),
        "reshape" => Op::Reshape(ty()?.shape),
        "dynamic_slice" => Op::DynamicSlice(ty()?.shape),
        "iota" => Op::Iota(IotaAttrs { dim: attrs.size("dim")?, ty: ty()? }),
        "compare" => Op::Compare(attrs.choice("direction", &CompareDir::ALL, CompareDir::name)?),
        "transpose" => Op::Transpose(attrs.sizes("permutation")?),
        "broadcast_in_dim" => Op::BroadcastInDim(BroadcastAttrs { dims: attrs.sizes("dims")?, shape: ty()?.shape }),
        "slice" => {
            let limit = attrs.dims_or("limit", Vec::new())?;
            Op::Slice(SliceAttrs {
                start: attrs.dims_or("start", vec![Dim::from(0); limit.len()])?,
                stride: attrs.sizes_or("stride", vec![1; limit.len()])?,
                limit,
            })
        }
        "pad" => Op::Pad(PadAttrs {
            low: attrs.ints_or("low", vec![0; rank])?,
            high: attrs.ints_or("high", vec![0; rank])?,
            interior: attrs.sizes_or("interior", vec![0; rank])?,
        }),
        "concatenate" => Op::Concatenate(attrs.size("dim")?),
        "reverse" => Op::Reverse(attrs.sizes("dims")?),
        "gather" => Op::Gather(GatherAttrs {
            offset_dims: attrs.sizes("offset_dims")?,
            collapsed_slice_dims: attrs.sizes("collapsed_slice_dims")?,
            operand_batching_dims: attrs.sizes("operand_batching_dims")?,
            start_indices_batching_dims: attrs.sizes("start_indices_batching_dims")?,
            start_index_map: attrs.sizes("start_index_map")?,
            index_vector_dim: attrs.size("index_vector_dim")?,
            slice_sizes: attrs.sizes("slice_sizes")?,
        }),
        "scatter" => Op::Scatter(ScatterAttrs {
            update_window_dims: attrs.sizes("update_window_dims")?,
            inserted_window_dims: attrs.sizes("inserted_window_dims")?,
            input_batching_dims: attrs.sizes("input_batching_dims")?,
            scatter_indices_batching_dims: attrs.sizes("scatter_indices_batching_dims")?,
            scatter_dims_to_operand_dims: attrs.sizes("scatter_dims_to_operand_dims")?,
            index_vector_dim: attrs.size("index_vector_dim")?,
            combiner: attrs.choice("combiner", &Combiner::ALL, Combiner::name)?,
        }),
        "reduce" => Op::Reduce(ReduceAttrs { kind: reduce_kind(attrs)?, dims: attrs.sizes("dims")? }),
        "cumulative" => Op::Cumulative(CumulativeAttrs {
            kind: reduce_kind(attrs)?,
            dim: attrs.size("dim")?,
            reverse: attrs.flag("reverse")?,
        }),
        "sort" => Op::Sort(SortAttrs { dim: attrs.size("dim")?, descending: attrs.flag("descending")? }),
        "reduce_window" | "select_and_scatter" => {
            let window = ReduceWindowAttrs {
                kind: reduce_kind(attrs)?,
                window: attrs.sizes_or("window", vec![1; rank])?,
                stride: attrs.sizes_or("stride", vec![1; rank])?,
                dilation: attrs.sizes_or("dilation", vec![1; rank])?,
                padding: attrs.padding(rank)?,
            };
            if mnemonic == "reduce_window" { Op::ReduceWindow(window) } else { Op::SelectAndScatter(window) }
        }
        "dot_general" => Op::DotGeneral(DotAttrs {
            lhs_batch: attrs.sizes("lhs_batch")?,
            rhs_batch: attrs.sizes("rhs_batch")?,
            lhs_contract: attrs.sizes("lhs_contract")?,
            rhs_contract: attrs.sizes("rhs_contract")?,
        }),
        "convolution" => {
            let n_spatial = rank.saturating_sub(2);
            Op::Convolution(ConvolutionAttrs {
                stride: attrs.sizes_or("stride", vec![1; n_spatial])?,
                padding: attrs.padding(n_spatial)?,
                lhs_dilation: attrs.sizes_or("lhs_dilation", vec![1; n_spatial])?,
                rhs_dilation: attrs.sizes_or("rhs_dilation", vec![1; n_spatial])?,
                groups: attrs.size_or("groups", 1)?,
            })
        }
        "fusion" => Op::Fusion(attrs.choice("kind", &FusionKind::ALL, FusionKind::name)?),
        "scan" => Op::Scan(ScanAttrs {
            n_carried: attrs.size_or("n_carried", 0)?,
            n_scanned: attrs.size_or("n_scanned", 0)?,
            length: attrs.dim("length")?,
            reverse: attrs.flag("reverse")?,
        }),
        _ => return Ok(None),
    }))
}

fn reduce_kind<P: Copy>(attrs: &AttrReader<'_, P>) -> Read<ReduceKind, P> {
    attrs.choice("kind", &ReduceKind::ALL, ReduceKind::name)
}
