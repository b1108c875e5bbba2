//! The payload of `constant`.

use std::sync::Arc;

use super::lexer::{Pos, Token};
use super::parser::{Parse, Parser};
use crate::literal::{Constant, Scalar, TensorData};
use crate::types::{DType, TensorType};

/// Lists nest at most this deep: no tensor has more dimensions.
const MAX_LIST_DEPTH: usize = 32;

/// A literal before its type is known: the type follows it.
pub(super) enum Literal<'t> {
    /// One element.
    Element(Element<'t>),
    /// `[...]`: all elements in order, and the number of items of every list by depth.
    List(List<'t>),
    /// `@name`.
    Weight(Pos, Arc<str>),
}

/// One element as written.
#[derive(Clone, Copy)]
pub(super) struct Element<'t> {
    pos: Pos,
    negative: bool,
    kind: ElementKind<'t>,
}

#[derive(Clone, Copy)]
enum ElementKind<'t> {
    Number(&'t str),
    /// `true`, `false`, `inf`, `nan`.
    Word(&'t str),
    /// `nan(0x7fc00001)`.
    NanBits(&'t str),
}

/// A nested list, which must be rectangular.
#[derive(Default)]
pub(super) struct List<'t> {
    pos: Option<Pos>,
    elements: Vec<Element<'t>>,
    /// Number of items of the lists at each depth, once the first is closed.
    extents: Vec<Option<usize>>,
    /// Depth at which elements stand.
    leaf_depth: Option<usize>,
}

impl<'t> Parser<'t> {
    pub(super) fn literal(&mut self) -> Parse<Literal<'t>> {
        match self.peek() {
            (pos, Token::Global(name)) => {
                self.next();
                Ok(Literal::Weight(pos, name.into()))
            }
            (pos, Token::Punct('[')) => {
                self.next();
                let mut list = List { pos: Some(pos), ..List::default() };
                self.literal_list(&mut list, 0)?;
                Ok(Literal::List(list))
            }
            _ => Ok(Literal::Element(self.element()?)),
        }
    }

    /// The items of a list at `depth`, whose bracket is open.
    fn literal_list(&mut self, list: &mut List<'t>, depth: usize) -> Parse<()> {
        if depth >= MAX_LIST_DEPTH {
            return Err(self.fault(self.pos(), format!("lists are nested more than {MAX_LIST_DEPTH} deep")));
        }
        if list.extents.len() == depth {
            list.extents.push(None);
        }
        let open = self.pos();
        let mut n_items = 0;
        self.list(']', |parser| {
            n_items += 1;
            if parser.eat('[') {
                return parser.literal_list(list, depth + 1);
            }
            let element = parser.element()?;
            if *list.leaf_depth.get_or_insert(depth) != depth {
                return Err(parser.fault(element.pos, "elements stand at different depths"));
            }
            list.elements.push(element);
            Ok(())
        })?;
        match list.extents[depth] {
            Some(extent) if extent != n_items => {
                Err(self
                    .fault(open, format!("the list has {n_items} items, but an earlier one beside it has {extent}")))
            }
            _ => {
                list.extents[depth] = Some(n_items);
                Ok(())
            }
        }
    }

    fn element(&mut self) -> Parse<Element<'t>> {
        let start = self.pos();
        let negative = self.eat('-');
        let kind = match self.next() {
            (_, Token::Number(text)) => ElementKind::Number(text),
            (_, Token::Word("nan")) if self.peek().1 == Token::Punct('(') => {
                self.next();
                let (pos, token) = self.next();
                let Token::Word(bits) = token else {
                    return Err(self.unexpected(pos, &token, "the bits of a NaN such as 0x7fc00001"));
                };
                self.expect(')')?;
                ElementKind::NanBits(bits)
            }
            (_, Token::Word(word @ ("true" | "false" | "inf" | "nan"))) => ElementKind::Word(word),
            (pos, token) => return Err(self.unexpected(pos, &token, "a number, true, false, inf, nan or @weight")),
        };
        Ok(Element { pos: start, negative, kind })
    }

    /// The constant that a literal means as `ty`, which a weight may do without.
    pub(super) fn constant(&self, pos: Pos, literal: Literal<'t>, ty: Option<&TensorType>) -> Parse<Constant> {
        let written = || ty.ok_or_else(|| self.fault(pos, "constant: the result type must be written"));
        match literal {
            Literal::Weight(pos, name) => {
                let data = self
                    .weights()
                    .get(&name)
                    .map_err(|message| self.fault(pos, format!("constant: {message}")))?
                    .clone();
                Ok(Constant::Dense { data, name: Some(name) })
            }
            Literal::Element(element) => {
                let ty = written()?;
                Ok(Constant::Splat { ty: ty.clone(), value: self.scalar(element, ty.dtype)? })
            }
            Literal::List(list) => {
                let ty = written()?;
                let at = list.pos.unwrap_or(pos);
                let Some(shape) = ty.shape.as_fixed() else {
                    return Err(self.fault(at, format!("constant: a list cannot have the symbolic type {ty}")));
                };
                list.check_shape(&shape).map_err(|found| {
                    self.fault(at, format!("constant: the list has extents {found}, expected those of {ty}"))
                })?;
                let scalars = list
                    .elements
                    .into_iter()
                    .map(|element| self.scalar(element, ty.dtype))
                    .collect::<Parse<Vec<Scalar>>>()?;
                Ok(Constant::Dense { data: TensorData::from_scalars(ty.dtype, shape, scalars), name: None })
            }
        }
    }

    fn scalar(&self, element: Element<'t>, dtype: DType) -> Parse<Scalar> {
        let sign = if element.negative { "-" } else { "" };
        let text = match element.kind {
            ElementKind::Number(text) | ElementKind::Word(text) => text,
            ElementKind::NanBits(bits) => {
                let scalar = bits
                    .strip_prefix("0x")
                    .and_then(|digits| u64::from_str_radix(digits, 16).ok())
                    .map(|bits| Scalar { dtype, bits })
                    .filter(|scalar| {
                        dtype.is_float() && scalar.bits >> (8 * dtype.size() - 1) <= 1 && scalar.to_f64().is_nan()
                    });
                return match scalar {
                    Some(scalar) if !element.negative => Ok(scalar),
                    _ => Err(self.fault(element.pos, format!("constant: {sign}nan({bits}) is no NaN of type {dtype}"))),
                };
            }
        };
        let misfit = |what: &str| Err(self.fault(element.pos, format!("constant: {sign}{text} is {what} {dtype}")));
        match (dtype, text) {
            (DType::Bool, "true" | "false") if !element.negative => {
                Ok(Scalar::from_i64(dtype, i64::from(text == "true")))
            }
            (DType::Bool, _) | (_, "true" | "false") => misfit("no"),
            _ if dtype.is_float() => {
                let magnitude: f64 = text.parse().unwrap_or(f64::NAN);
                let value = if element.negative { -magnitude } else { magnitude };
                let scalar = match dtype {
                    // Rounded once, from the decimal.
                    DType::F32 => {
                        let magnitude: f32 = text.parse().unwrap_or(f32::NAN);
                        let value = if element.negative { -magnitude } else { magnitude };
                        Scalar { dtype, bits: u64::from(value.to_bits()) }
                    }
                    _ => Scalar::from_f64(dtype, value),
                };
                match text {
                    "nan" if element.negative => misfit("no"),
                    "nan" => Ok(Scalar::from_f64(dtype, f64::NAN)),
                    "inf" => Ok(scalar),
                    _ if scalar.to_f64().is_finite() => Ok(scalar),
                    _ => misfit("out of range for"),
                }
            }
            _ => {
                let Ok(magnitude) = text.parse::<i128>() else { return misfit("no") };
                let value = if element.negative { -magnitude } else { magnitude };
                let scalar = Scalar::from_integer(dtype, value);
                if scalar.to_integer() == value { Ok(scalar) } else { misfit("out of range for") }
            }
        }
    }
}

impl List<'_> {
    /// Whether the list has the extents of `shape`; otherwise its own, as text.
    fn check_shape(&self, shape: &[usize]) -> Result<(), String> {
        let found: Vec<usize> = self.extents.iter().map(|extent| extent.unwrap_or(0)).collect();
        // Inner extents do not show below an extent of 0.
        let shown = shape.iter().position(|&extent| extent == 0).map_or(shape.len(), |at| at + 1);
        let has_depth = self.leaf_depth.is_none_or(|depth| depth + 1 == found.len());
        if has_depth && found == shape[..shown] { Ok(()) } else { Err(format!("{found:?}")) }
    }
}
