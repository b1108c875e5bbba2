//! Types and dimensions.

use super::lexer::{Pos, Token};
use super::parser::{Parse, Parser};
use crate::diagnostic::Diagnostic;
use crate::dim::{self, Dim, DimExpr};
use crate::types::{DType, MAX_RANK, Shape, TensorType};

/// Parentheses nest at most this deep in a dimension: a quotient is printed with one pair around it and one around a sum
/// in it.
const MAX_DIM_DEPTH: usize = 2 * dim::MAX_DEPTH;

impl<'t> Parser<'t> {
    /// `f32[N, 784]`.
    pub(super) fn ty(&mut self) -> Parse<TensorType> {
        let (pos, token) = self.next();
        let Token::Word(name) = token else { return Err(self.unexpected(pos, &token, "a type such as f32[4]")) };
        let dtype = DType::from_name(name).ok_or_else(|| {
            let names: Vec<&str> = DType::ALL.into_iter().map(DType::name).collect();
            self.fault(pos, format!("unknown element type `{name}`"))
                .note(format!("expected one of {}", names.join(", ")))
        })?;
        self.expect('[')?;
        let mut dims = Vec::new();
        self.list(']', |parser| {
            if dims.len() == MAX_RANK {
                return Err(parser.fault(pos, format!("the type has more than {MAX_RANK} dimensions")));
            }
            dims.push(parser.dim()?);
            Ok(())
        })?;
        let ty = TensorType { dtype, shape: Shape(dims) };
        ty.check_size().map_err(|message| self.fault(pos, message))?;
        Ok(ty)
    }

    /// Whether a type starts here.
    pub(super) fn at_type(&self) -> bool {
        matches!(self.peek().1, Token::Word(name) if DType::from_name(name).is_some())
            && self.peek_second() == Token::Punct('[')
    }

    /// An extent, at least 0 if it is a number.
    pub(super) fn dim(&mut self) -> Parse<Dim> {
        let pos = self.pos();
        let expr = self.dim_expr(0)?;
        match expr.as_const() {
            Some(value) if value < 0 => Err(self.fault(pos, format!("dimension {value} is below 0"))),
            _ => Ok(Dim::normalize(expr)),
        }
    }

    pub(super) fn whole_dim(mut self) -> Result<Dim, Diagnostic> {
        let dim = self.dim()?;
        match self.next() {
            (_, Token::End) => Ok(dim),
            (pos, token) => Err(self.unexpected(pos, &token, "an operator")),
        }
    }

    /// `sum := ["-"] product { ("+" | "-") product }`.
    pub(super) fn dim_expr(&mut self, depth: usize) -> Parse<DimExpr> {
        if depth > MAX_DIM_DEPTH {
            return Err(self.fault(self.pos(), format!("parentheses are nested more than {MAX_DIM_DEPTH} deep")));
        }
        let mut sum = if self.eat('-') {
            DimExpr::default().scaled_sum(&self.dim_product(depth)?, -1)
        } else {
            self.dim_product(depth)?
        };
        loop {
            let (pos, token) = self.peek();
            let sign = match token {
                Token::Punct('+') => 1,
                Token::Punct('-') => -1,
                _ => return Ok(sum),
            };
            self.next();
            let term = self.dim_product(depth)?;
            self.check_dim_size(pos, sum.size() + term.size())?;
            sum = sum.scaled_sum(&term, sign);
        }
    }

    /// `product := atom { ("*" | "//") atom }`.
    fn dim_product(&mut self, depth: usize) -> Parse<DimExpr> {
        let mut product = self.dim_atom(depth)?;
        loop {
            let (pos, token) = self.peek();
            match token {
                Token::Punct('*') => {
                    self.next();
                    let factor = self.dim_atom(depth)?;
                    self.check_dim_size(pos, product.size().saturating_mul(factor.size()))?;
                    product = product.product(&factor);
                    self.check_dim_size(pos, product.size())?;
                }
                Token::FloorDiv => {
                    self.next();
                    let divisor = self.dim_atom(depth)?;
                    if divisor.as_const() == Some(0) {
                        return Err(self.fault(pos, "division by 0"));
                    }
                    self.check_dim_size(pos, product.size() + divisor.size())?;
                    product = product.floor_div(&divisor);
                    self.check_dim_size(pos, product.size())?;
                }
                _ => return Ok(product),
            }
        }
    }

    /// `atom := number | symbol | "(" sum ")"`.
    fn dim_atom(&mut self, depth: usize) -> Parse<DimExpr> {
        match self.next() {
            (pos, Token::Number(digits)) => digits
                .parse()
                .map(DimExpr::constant)
                .map_err(|_| self.fault(pos, format!("{digits} is not a dimension, expected an integer below 2^63"))),
            (_, Token::Word(name)) if !name.starts_with(|c: char| c.is_ascii_digit()) => Ok(DimExpr::symbol(name)),
            (_, Token::Quoted(name)) => Ok(DimExpr::symbol(name)),
            (_, Token::Punct('(')) => {
                let sum = self.dim_expr(depth + 1)?;
                self.expect(')')?;
                Ok(sum)
            }
            (pos, token) => Err(self.unexpected(pos, &token, "a dimension")),
        }
    }

    fn check_dim_size(&self, pos: Pos, size: usize) -> Parse<()> {
        if size <= dim::MAX_SIZE {
            return Ok(());
        }
        Err(self.fault(pos, format!("the dimension has more than {} terms and factors", dim::MAX_SIZE)))
    }
}
