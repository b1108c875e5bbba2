//! Binding symbolic dimensions: finding their values from the arguments of a call, and putting the values in.
//!
//! The interpreter binds per call; the JIT binds once a shape and keeps the compiled result; ahead-of-time compilation
//! is given its bindings.

use std::collections::BTreeMap;

use crate::diagnostic::{Diagnostic, Location};
use crate::dim::{Bindings, Dim};
use crate::graph::{Graph, Value};
use crate::ops::Op;
use crate::types::{DType, Shape, TensorType};

/// What a call gives for one parameter.
#[derive(Clone, Debug)]
pub struct Argument<'a> {
    /// Name of the parameter.
    pub name: &'a str,
    /// Its declared type.
    pub expected: &'a TensorType,
    /// Element type found.
    pub dtype: DType,
    /// Extents found.
    pub shape: &'a [usize],
}

impl Argument<'_> {
    fn found(&self) -> TensorType {
        TensorType { dtype: self.dtype, shape: Shape::fixed(self.shape) }
    }
}

/// Finds the values of the symbols in parameter types from concrete arguments, starting from `given`.
///
/// A dimension `N` binds `N`; one like `2*N + 1` is solved if it is linear in a symbol that nothing else binds. All
/// others are checked.
///
/// # Errors
/// Every argument whose type does not fit, naming parameter, found and expected type.
pub fn bind_dims(arguments: &[Argument], given: &Bindings) -> Result<Bindings, Vec<Diagnostic>> {
    let mut faults = Vec::new();
    let mut fitting = Vec::new();
    for argument in arguments {
        if argument.dtype == argument.expected.dtype && argument.shape.len() == argument.expected.rank() {
            fitting.push(argument);
        } else {
            faults.push(mismatch(argument, argument.expected));
        }
    }

    let mut bindings = given.clone();
    let mut origins: BTreeMap<String, &str> = BTreeMap::new();
    // Plain symbols first: `N` where it stands alone says more than `2*N`.
    for plain_only in [true, false] {
        loop {
            let n_bound = bindings.len();
            for argument in &fitting {
                for (dim, &extent) in argument.expected.shape.dims().iter().zip(argument.shape) {
                    let dim = dim.substitute(&bindings);
                    let Some((symbol, scale, offset)) = dim.as_linear() else { continue };
                    if plain_only && (scale, offset) != (1, 0) {
                        continue;
                    }
                    if let Some(value) = solve(scale, offset, extent) {
                        origins.insert(symbol.to_string(), argument.name);
                        bindings.insert(symbol.to_string(), value);
                    }
                }
            }
            if bindings.len() == n_bound {
                break;
            }
        }
    }

    for argument in fitting {
        let expected = argument.expected.substitute(&bindings);
        let fits = |(dim, &extent): (&Dim, &usize)| dim.as_const() == Some(extent);
        if expected.shape.dims().iter().zip(argument.shape).all(fits) {
            continue;
        }
        let mut fault = mismatch(argument, &expected);
        let mut symbols: Vec<String> = argument.expected.shape.dims().iter().flat_map(Dim::symbols).collect();
        symbols.sort();
        symbols.dedup();
        for symbol in symbols {
            fault = fault.note(match (bindings.get(&symbol), origins.get(&symbol)) {
                (Some(value), Some(origin)) => format!("{symbol} is {value} because of `{origin}`"),
                (Some(value), None) => format!("{symbol} was given as {value}"),
                (None, _) => format!("{symbol} does not follow from the arguments; give it a value"),
            });
        }
        faults.push(fault);
    }
    if faults.is_empty() { Ok(bindings) } else { Err(faults) }
}

fn mismatch(argument: &Argument, expected: &TensorType) -> Diagnostic {
    let message = format!("argument `{}` has type {}, expected {expected}", argument.name, argument.found());
    Diagnostic::new(Location::unknown(), message)
}

/// The whole number `x >= 0` with `scale * x + offset == extent`.
fn solve(scale: i64, offset: i64, extent: usize) -> Option<usize> {
    let rest = i64::try_from(extent).ok()?.checked_sub(offset)?;
    if rest.checked_rem(scale)? != 0 {
        return None;
    }
    usize::try_from(rest.checked_div(scale)?).ok()
}

impl Op {
    /// The op with every bound symbol in its attributes replaced by its value.
    pub fn substitute(&self, bindings: &Bindings) -> Self {
        let mut op = self.clone();
        let bind = |shape: &mut Shape| *shape = shape.substitute(bindings);
        match &mut op {
            Self::Constant(crate::Constant::Splat { ty, .. }) => bind(&mut ty.shape),
            Self::Iota(attrs) => bind(&mut attrs.ty.shape),
            Self::RngBits(shape) | Self::Reshape(shape) | Self::DynamicSlice(shape) => bind(shape),
            Self::BroadcastInDim(attrs) => bind(&mut attrs.shape),
            Self::Slice(attrs) => {
                for dim in attrs.start.iter_mut().chain(&mut attrs.limit) {
                    *dim = dim.substitute(bindings);
                }
            }
            Self::Scan(attrs) => attrs.length = attrs.length.substitute(bindings),
            // No other op has a dimension among its attributes.
            _ => {}
        }
        op
    }
}

impl Graph {
    /// Whether no type in the graph or its regions has a symbol.
    pub fn is_fixed(&self) -> bool {
        let fixed = |value: Value| self.ty(value).shape.as_fixed().is_some();
        self.nodes().all(|(_, node)| node.results().all(fixed) && node.regions.iter().all(Self::is_fixed))
    }

    /// The graph with every bound symbol replaced by its value. Ids stay the same, and every type is inferred again,
    /// so that the rules symbolic shapes could not decide are checked now.
    ///
    /// # Errors
    /// The first op whose rule the bound shapes break.
    pub fn substitute(&self, bindings: &Bindings) -> Result<Self, Diagnostic> {
        let mut bound = Self::new();
        for (_, node) in self.nodes() {
            if let Op::Param(_) = node.op {
                let ty = self.ty(node.result()).substitute(bindings);
                bound.param(ty, node.location.clone());
                continue;
            }
            let regions = node.regions.iter().map(|region| region.substitute(bindings)).collect::<Result<_, _>>()?;
            let op = node.op.substitute(bindings);
            bound.push_with_regions(op, &node.operands, regions, node.location.clone())?;
        }
        bound.set_results(self.results().to_vec());
        Ok(bound)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::BroadcastAttrs;

    fn ty(shape: &[Dim]) -> TensorType {
        TensorType { dtype: DType::F32, shape: Shape(shape.to_vec()) }
    }

    fn check(cases: &[(&[Dim], &[usize])], given: &[(&str, usize)], expected: Result<&str, &str>) {
        let types: Vec<TensorType> = cases.iter().map(|(dims, _)| ty(dims)).collect();
        let names = ["x", "y", "z"];
        let arguments: Vec<Argument> = cases
            .iter()
            .zip(&types)
            .zip(names)
            .map(|(((_, shape), expected), name)| Argument { name, expected, dtype: DType::F32, shape })
            .collect();
        let given = given.iter().map(|&(name, value)| (name.to_string(), value)).collect();
        let found = bind_dims(&arguments, &given);
        let text = |bindings: Bindings| {
            bindings.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(" ")
        };
        let faults = |faults: Vec<Diagnostic>| faults.iter().map(Diagnostic::to_string).collect::<Vec<_>>().join("\n");
        assert_eq!(found.map(text).map_err(faults), expected.map(str::to_string).map_err(str::to_string));
    }

    #[test]
    fn symbols_are_bound_by_the_arguments() {
        let n = || Dim::symbol("N");
        let m = || Dim::symbol("M");
        check(&[(&[n(), Dim::from(784)], &[64, 784])], &[], Ok("N=64"));
        check(&[(&[n()], &[0])], &[], Ok("N=0"));
        check(&[(&[n() + m()], &[7]), (&[n()], &[3])], &[], Ok("M=4 N=3"));
        check(&[(&[n() * Dim::from(2) + Dim::from(1)], &[9])], &[], Ok("N=4"));
        check(&[(&[n() * m()], &[12])], &[("M", 3)], Ok("M=3 N=4"));
    }

    #[test]
    fn arguments_that_do_not_fit_are_named() {
        let n = || Dim::symbol("N");
        check(
            &[(&[n(), Dim::from(784)], &[64, 783])],
            &[],
            Err("argument `x` has type f32[64, 783], expected f32[64, 784]\n  note: N is 64 because of `x`"),
        );
        check(
            &[(&[n()], &[3]), (&[n()], &[4])],
            &[],
            Err("argument `y` has type f32[4], expected f32[3]\n  note: N is 3 because of `x`"),
        );
        check(
            &[(&[n()], &[3])],
            &[("N", 4)],
            Err("argument `x` has type f32[3], expected f32[4]\n  note: N was given as 4"),
        );
        check(
            &[(&[n() * Dim::from(2)], &[3])],
            &[],
            Err("argument `x` has type f32[3], expected f32[2*N]\n  note: N does not follow from the arguments; give \
                 it a value"),
        );
        check(&[(&[n()], &[3, 3])], &[], Err("argument `x` has type f32[3, 3], expected f32[N]"));
    }

    #[test]
    fn rules_that_symbols_hid_are_checked_when_bound() {
        let mut graph = Graph::new();
        let x = graph.param(ty(&[Dim::symbol("N")]), Location::unknown());
        let shape = Shape(vec![Dim::symbol("N"), Dim::from(2)]);
        let attrs = BroadcastAttrs { shape, dims: vec![0] };
        let wide = graph.op(Op::BroadcastInDim(attrs), &[x], Location::unknown()).unwrap();
        let cut = crate::ops::SliceAttrs {
            start: vec![Dim::from(0), Dim::from(0)],
            limit: vec![Dim::from(3), Dim::from(1)],
            stride: vec![1, 1],
        };
        let cut = graph.op(Op::Slice(cut), &[wide], Location::unknown()).unwrap();
        graph.set_results(vec![cut]);
        assert!(!graph.is_fixed());

        let bound = graph.substitute(&Bindings::from([("N".to_string(), 4)])).unwrap();
        assert!(bound.is_fixed());
        assert_eq!(bound.ty(wide).to_string(), "f32[4, 2]");
        assert_eq!(bound.results(), graph.results());

        let fault = graph.substitute(&Bindings::from([("N".to_string(), 2)])).unwrap_err();
        assert_eq!(fault.to_string(), "slice: limit 3 of dimension 0 is beyond operand type f32[2, 2]");
    }
}
