//! The header of an `.npy` file: `{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }`.
//!
//! NumPy evaluates it as Python; here it is parsed as the one dictionary literal it may be, with keys in any order.

use super::NpyError;
use crate::literal::TensorData;
use crate::types::DType;

/// What the header says.
pub(super) struct Header {
    pub(super) dtype: DType,
    pub(super) big_endian: bool,
    pub(super) fortran_order: bool,
    pub(super) shape: Vec<usize>,
}

impl Header {
    /// The header of `data`.
    pub(super) fn of(data: &TensorData) -> Result<Self, NpyError> {
        if data.dtype == DType::BF16 {
            return Err(NpyError::NotNumpy(data.dtype));
        }
        Ok(Self { dtype: data.dtype, big_endian: false, fortran_order: false, shape: data.shape.clone() })
    }

    /// Number of elements, or `None` if the extents other than 0 multiply to more than a `usize`.
    pub(super) fn n_elements(&self) -> Option<usize> {
        let volume =
            self.shape.iter().filter(|&&extent| extent > 0).try_fold(1usize, |n, &extent| n.checked_mul(extent))?;
        Some(if self.shape.contains(&0) { 0 } else { volume })
    }

    /// The text NumPy writes, without padding.
    pub(super) fn text(&self) -> String {
        let descr = match self.dtype {
            DType::Bool => "|b1",
            DType::I8 => "|i1",
            DType::U8 => "|u1",
            DType::I16 => "<i2",
            DType::U16 => "<u2",
            DType::I32 => "<i4",
            DType::U32 => "<u4",
            DType::I64 => "<i8",
            DType::U64 => "<u8",
            DType::F16 => "<f2",
            DType::F32 => "<f4",
            DType::F64 => "<f8",
            DType::BF16 => unreachable!("a header has no type that NumPy lacks"),
        };
        text_of(descr, &self.shape)
    }

    pub(super) fn parse(text: &[u8]) -> Result<Self, NpyError> {
        let mut parser = Parser { text, at: 0 };
        let (mut element, mut fortran_order, mut shape) = (None, None, None);
        parser.expect(b'{')?;
        while !parser.eat(b'}') {
            let start = parser.at;
            let key = parser.string()?;
            parser.expect(b':')?;
            let repeated = match key.as_str() {
                "descr" => element.replace(parser.element_type()?).is_some(),
                "fortran_order" => fortran_order.replace(parser.boolean()?).is_some(),
                "shape" => shape.replace(parser.tuple()?).is_some(),
                _ => return Err(parser.fault_at(start, &format!("unknown key `{key}`"))),
            };
            if repeated {
                return Err(parser.fault_at(start, &format!("key `{key}` stands twice")));
            }
            if !parser.eat(b',') {
                parser.expect(b'}')?;
                break;
            }
        }
        if parser.peek().is_some() {
            return Err(parser.fault("expected nothing after the dictionary"));
        }
        let missing = |key: &str| parser.fault(&format!("key `{key}` is missing"));
        let (dtype, big_endian) = element.ok_or_else(|| missing("descr"))?;
        let fortran_order = fortran_order.ok_or_else(|| missing("fortran_order"))?;
        let shape = shape.ok_or_else(|| missing("shape"))?;
        Ok(Self { dtype, big_endian, fortran_order, shape })
    }
}

/// The text NumPy writes for row-major elements of a type.
pub(super) fn text_of(descr: &str, shape: &[usize]) -> String {
    let shape = match shape {
        [extent] => format!("({extent},)"),
        extents => format!("({})", extents.iter().map(usize::to_string).collect::<Vec<_>>().join(", ")),
    };
    format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}")
}

struct Parser<'a> {
    text: &'a [u8],
    at: usize,
}

impl Parser<'_> {
    fn fault(&self, message: &str) -> NpyError {
        self.fault_at(self.at, message)
    }

    fn fault_at(&self, offset: usize, message: &str) -> NpyError {
        NpyError::Header { offset, message: message.to_string() }
    }

    /// The next byte that is not space.
    fn peek(&mut self) -> Option<u8> {
        while self.text.get(self.at).is_some_and(u8::is_ascii_whitespace) {
            self.at += 1;
        }
        self.text.get(self.at).copied()
    }

    fn eat(&mut self, byte: u8) -> bool {
        let eaten = self.peek() == Some(byte);
        self.at += usize::from(eaten);
        eaten
    }

    fn expect(&mut self, byte: u8) -> Result<(), NpyError> {
        if self.eat(byte) { Ok(()) } else { Err(self.fault(&format!("expected `{}`", byte as char))) }
    }

    /// The run of bytes of which `holds`.
    fn run(&mut self, holds: impl Fn(u8) -> bool) -> &str {
        let rest = &self.text[self.at..];
        let len = rest.iter().position(|&byte| !byte.is_ascii() || !holds(byte)).unwrap_or(rest.len());
        self.at += len;
        std::str::from_utf8(&rest[..len]).expect("ASCII is UTF-8")
    }

    /// A quoted string of ASCII without escapes.
    fn string(&mut self) -> Result<String, NpyError> {
        let quote = match self.peek() {
            Some(quote @ (b'\'' | b'"')) => quote,
            _ => return Err(self.fault("expected a string")),
        };
        self.at += 1;
        let text = self.run(|byte| byte != quote && byte != b'\\').to_string();
        if self.text.get(self.at) != Some(&quote) {
            return Err(self.fault("expected the end of the string"));
        }
        self.at += 1;
        Ok(text)
    }

    fn boolean(&mut self) -> Result<bool, NpyError> {
        self.peek();
        let start = self.at;
        match self.run(|byte| byte.is_ascii_alphabetic()) {
            "True" => Ok(true),
            "False" => Ok(false),
            _ => Err(self.fault_at(start, "expected True or False")),
        }
    }

    fn tuple(&mut self) -> Result<Vec<usize>, NpyError> {
        self.expect(b'(')?;
        let mut extents = Vec::new();
        while !self.eat(b')') {
            self.peek();
            let start = self.at;
            let digits = self.run(|byte| byte.is_ascii_digit()).to_string();
            if digits.is_empty() {
                return Err(self.fault("expected an extent"));
            }
            let extent = digits.parse().map_err(|_| self.fault_at(start, &format!("extent {digits} is too large")))?;
            extents.push(extent);
            // Python 2 wrote `3L`.
            if self.text.get(self.at) == Some(&b'L') {
                self.at += 1;
            }
            if !self.eat(b',') {
                self.expect(b')')?;
                break;
            }
        }
        Ok(extents)
    }

    /// An element type such as `<f4`, and whether its bytes are in big-endian order.
    fn element_type(&mut self) -> Result<(DType, bool), NpyError> {
        if self.peek() == Some(b'[') {
            return Err(NpyError::ElementType("structured".to_string()));
        }
        let text = self.string()?;
        let (order, code) = match text.as_bytes() {
            [order @ (b'<' | b'>' | b'=' | b'|'), ..] => (*order, &text[1..]),
            _ => (b'|', text.as_str()),
        };
        let dtype = match code {
            "?" | "b1" => DType::Bool,
            "i1" => DType::I8,
            "u1" => DType::U8,
            "i2" => DType::I16,
            "u2" => DType::U16,
            "i4" => DType::I32,
            "u4" => DType::U32,
            "i8" => DType::I64,
            "u8" => DType::U64,
            "f2" => DType::F16,
            "f4" => DType::F32,
            "f8" => DType::F64,
            _ => return Err(NpyError::ElementType(text)),
        };
        Ok((dtype, order == b'>'))
    }
}
