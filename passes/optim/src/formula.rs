//! Graphs written as arithmetic: `m * beta + g * (1.0 - beta)` appends four nodes.
//!
//! A [`Formula`] owns the graph while it grows; a [`Term`] is one of its values and has the operators. A scalar that
//! meets a tensor is converted to its element type and repeated over its shape; of two scalars the narrower is converted
//! to the wider. The first fault (operands that do not fit) is kept and reported by [`Formula::finish`].
//!
//! ```
//! use nnc_ir::{DType, Graph, Location, TensorType};
//! use nnc_optim::formula::Formula;
//!
//! let mut graph = Graph::new();
//! let x = graph.param(TensorType::new(DType::F32, [4]), Location::unknown());
//! let rate = graph.param(TensorType::scalar(DType::F64), Location::unknown());
//! let formula = Formula::new(graph, Location::unknown());
//! let (x, rate) = (formula.term(x), formula.term(rate));
//! let y = x - rate * (x * 2.0);
//! let y = y.value();
//! let graph = formula.finish()?;
//! assert_eq!(graph.ty(y), &TensorType::new(DType::F32, [4]));
//! # Ok::<(), nnc_ir::Diagnostic>(())
//! ```

use std::cell::RefCell;
use std::ops::{Add, Div, Mul, Neg, Not, Sub};

use nnc_ir::builder::Built;
use nnc_ir::{Builder, DType, Diagnostic, Graph, Location, TensorType, Value};

/// A graph that terms are added to.
#[derive(Debug)]
pub struct Formula {
    graph: RefCell<Graph>,
    location: RefCell<Location>,
    fault: RefCell<Option<Diagnostic>>,
}

impl Formula {
    /// Goes on with `graph`; new nodes are placed at `location`.
    pub fn new(graph: Graph, location: Location) -> Self {
        Self { graph: RefCell::new(graph), location: RefCell::new(location), fault: RefCell::new(None) }
    }

    /// Places what follows at the definition of `value`.
    pub fn place_at(&self, value: Value) {
        let location = self.graph.borrow().def(value).location.clone();
        *self.location.borrow_mut() = location;
    }

    /// Places what follows at `location`.
    pub fn set_location(&self, location: Location) {
        *self.location.borrow_mut() = location;
    }

    /// A value of the graph as a term.
    pub fn term(&self, value: Value) -> Term<'_> {
        Term { formula: self, value }
    }

    /// A constant scalar of type `f64`, which takes the element type of what it meets.
    pub fn scalar(&self, value: f64) -> Term<'_> {
        let value = Builder::new(&mut self.graph.borrow_mut(), self.location.borrow().clone())
            .scalar(DType::F64, value)
            .expect("a constant has no rule to break");
        self.term(value)
    }

    /// The type of a value.
    pub fn ty(&self, value: Value) -> TensorType {
        self.graph.borrow().ty(value).clone()
    }

    /// The graph with all that was added.
    ///
    /// # Errors
    /// The first pair of operands that did not fit.
    pub fn finish(self) -> Result<Graph, Diagnostic> {
        match self.fault.into_inner() {
            None => Ok(self.graph.into_inner()),
            Some(fault) => Err(fault),
        }
    }

    /// Appends what `build` builds; after a fault, `otherwise` stands for the result.
    fn apply(&self, otherwise: Value, build: impl FnOnce(&mut Builder<'_>) -> Built) -> Term<'_> {
        let mut graph = self.graph.borrow_mut();
        let built = build(&mut Builder::new(&mut graph, self.location.borrow().clone()));
        let value = built.unwrap_or_else(|fault| {
            self.fault.borrow_mut().get_or_insert(fault);
            otherwise
        });
        self.term(value)
    }
}

/// A value of a [`Formula`].
#[derive(Clone, Copy, Debug)]
pub struct Term<'f> {
    formula: &'f Formula,
    value: Value,
}

/// One method for each op of one operand.
macro_rules! unary {
    ($( $(#[$doc:meta])* $name:ident => $op:ident; )*) => {
        $(
            $(#[$doc])*
            #[must_use]
            pub fn $name(self) -> Self {
                self.formula.apply(self.value, |b| b.$op(self.value))
            }
        )*
    };
}

/// One method for each op of two operands that meet.
macro_rules! binary {
    ($( $(#[$doc:meta])* $name:ident => $op:ident; )*) => {
        $(
            $(#[$doc])*
            #[must_use]
            pub fn $name(self, other: impl Operand<'f>) -> Self {
                self.meet(other, |b, lhs, rhs| b.$op(lhs, rhs))
            }
        )*
    };
}

impl<'f> Term<'f> {
    /// The value in the graph.
    pub fn value(self) -> Value {
        self.value
    }

    /// The formula it belongs to.
    pub fn formula(self) -> &'f Formula {
        self.formula
    }

    /// Element type.
    pub fn dtype(self) -> DType {
        self.formula.graph.borrow().ty(self.value).dtype
    }

    fn rank(self) -> usize {
        self.formula.graph.borrow().ty(self.value).rank()
    }

    unary! {
        /// Square root.
        sqrt => sqrt;
        /// `|x|`.
        abs => abs;
        /// -1, 0 or 1.
        sign => sign;
        /// Whether the value is neither infinite nor NaN.
        is_finite => is_finite;
    }

    binary! {
        /// The larger; NaN propagates.
        maximum => maximum;
        /// The smaller; NaN propagates.
        minimum => minimum;
        /// This value to the power of `other`.
        powf => power;
        /// Whether this is larger.
        gt => gt;
        /// Whether this is smaller.
        lt => lt;
        /// Whether both are equal.
        equals => eq;
        /// Whether this is at least `other`.
        ge => ge;
        /// Whether both are true.
        and => and;
    }

    /// `x * x`.
    #[must_use]
    pub fn square(self) -> Self {
        self * self
    }

    /// `base` to the power of this value.
    #[must_use]
    pub fn power_of(self, base: impl Operand<'f>) -> Self {
        base.beside(self).powf(self)
    }

    /// `self` moved toward `end` by the share `weight`.
    #[must_use]
    pub fn lerp(self, end: Self, weight: impl Operand<'f>) -> Self {
        let way = end - self;
        self + way * weight.beside(way)
    }

    /// `on_true` where this truth value holds, else `on_false`; all three meet.
    #[must_use]
    pub fn select(self, on_true: Term<'f>, on_false: impl Operand<'f>) -> Self {
        let on_false = on_false.beside(on_true);
        on_true.meet(on_false, |b, on_true, on_false| {
            let pred = b.broadcast_to(self.value, b.shape(on_true).clone())?;
            b.select(pred, on_true, on_false)
        })
    }

    /// The same values as another element type.
    #[must_use]
    pub fn convert(self, dtype: DType) -> Self {
        self.formula.apply(self.value, |b| b.convert(self.value, dtype))
    }

    /// A constant of this term's type.
    #[must_use]
    pub fn splat(self, value: f64) -> Self {
        self.formula.apply(self.value, |b| b.splat_like(self.value, value))
    }

    /// Folds all elements to a scalar.
    #[must_use]
    pub fn reduce(self, kind: nnc_ir::ops::ReduceKind) -> Self {
        let dims: Vec<usize> = (0..self.rank()).collect();
        if dims.is_empty() {
            return self;
        }
        self.formula.apply(self.value, |b| b.reduce(kind, self.value, &dims))
    }

    /// Appends an op of two operands once they have one type.
    fn meet(self, other: impl Operand<'f>, op: impl FnOnce(&mut Builder<'_>, Value, Value) -> Built) -> Self {
        let other = other.beside(self);
        let (lhs, rhs) = match (self.rank(), other.rank()) {
            (0, 0) if is_narrower(self.dtype(), other.dtype()) => (self.convert(other.dtype()), other),
            (0, 0) => (self, other.convert(self.dtype())),
            (0, _) => (self.spread(other), other),
            (_, 0) => (self, other.spread(self)),
            _ => (self, other),
        };
        self.formula.apply(self.value, |b| op(b, lhs.value, rhs.value))
    }

    /// This scalar repeated over the shape of `over`, in its element type.
    fn spread(self, over: Self) -> Self {
        self.formula.apply(self.value, |b| {
            let scalar = b.convert(self.value, b.dtype(over.value))?;
            b.broadcast_scalar(scalar, b.shape(over.value).clone())
        })
    }
}

/// Whether `dtype` gives way to `other` where two scalars meet.
fn is_narrower(dtype: DType, other: DType) -> bool {
    let place = |dtype: DType| (dtype.is_float(), dtype.size());
    place(dtype) < place(other)
}

/// What may stand on the right of an operator: a term, or a number, which is a constant.
pub trait Operand<'f> {
    /// The operand as a term, given the one it meets.
    fn beside(self, other: Term<'f>) -> Term<'f>;
}

impl<'f> Operand<'f> for Term<'f> {
    fn beside(self, _: Term<'f>) -> Term<'f> {
        self
    }
}

impl<'f> Operand<'f> for f64 {
    fn beside(self, other: Term<'f>) -> Term<'f> {
        other.splat(self)
    }
}

/// The operators of terms among themselves and with numbers on either side.
macro_rules! operators {
    ($( $trait:ident::$name:ident => $op:ident; )*) => {
        $(
            impl<'f, T: Operand<'f>> $trait<T> for Term<'f> {
                type Output = Self;

                fn $name(self, other: T) -> Self {
                    self.meet(other, |b, lhs, rhs| b.$op(lhs, rhs))
                }
            }

            impl<'f> $trait<Term<'f>> for f64 {
                type Output = Term<'f>;

                fn $name(self, other: Term<'f>) -> Term<'f> {
                    self.beside(other).$name(other)
                }
            }
        )*
    };
}

operators! {
    Add::add => add;
    Sub::sub => subtract;
    Mul::mul => multiply;
    Div::div => divide;
}

impl Neg for Term<'_> {
    type Output = Self;

    fn neg(self) -> Self {
        self.formula.apply(self.value, |b| b.negate(self.value))
    }
}

impl Not for Term<'_> {
    type Output = Self;

    /// Negation of a truth value.
    fn not(self) -> Self {
        self.formula.apply(self.value, |b| b.not(self.value))
    }
}
