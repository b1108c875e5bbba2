//! How tensors print: PyTorch's form, `tensor([[0.1000, 2.0000]])`.
//!
//! Four digits after the point, scientific notation where magnitudes are far apart, columns aligned, three elements
//! from each edge where there are more than a thousand in all, lines of at most 80 characters.

use std::fmt;

use nnc_ir::{DType, TensorData};

use super::{Repr, Tensor};

const PRECISION: usize = 4;
const THRESHOLD: usize = 1000;
const EDGE: usize = 3;
const LINE_WIDTH: usize = 80;

impl fmt::Display for Tensor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.repr() {
            Repr::Data(data) => format_data(data, &[], f),
            Repr::Traced { value, ty, .. } => write!(f, "tensor({value}: {ty})"),
            Repr::Poisoned(fault) => write!(f, "tensor(poisoned: {})", fault.message),
        }
    }
}

impl fmt::Debug for Tensor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Writes `data` as PyTorch prints a tensor, with `extra` entries at the end (`requires_grad=True`).
pub(crate) fn format_data(data: &TensorData, extra: &[&str], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    const PREFIX: &str = "tensor(";
    let mut suffixes: Vec<String> = Vec::new();
    if data.is_empty() && data.shape.len() != 1 {
        let extents: Vec<String> = data.shape.iter().map(usize::to_string).collect();
        suffixes.push(format!("size=({})", extents.join(", ")));
    }
    let is_default = matches!(data.dtype, DType::F32 | DType::I64 | DType::Bool) && !data.is_empty();
    if !(is_default || data.is_empty() && data.dtype == DType::F32) {
        suffixes.push(format!("dtype={}", torch_name(data.dtype)));
    }
    suffixes.extend(extra.iter().map(|entry| (*entry).to_string()));

    let mut text = String::from(PREFIX);
    if data.is_empty() {
        text.push_str("[]");
    } else {
        let summarize = data.len() > THRESHOLD;
        let shown = shown_elements(data, summarize);
        let format = Format::choose(data.dtype, &shown);
        render(data, 0, 0, PREFIX.len(), summarize, &format, &mut text);
    }
    // PyTorch counts the line two longer than it is.
    let mut last_line_len = text.len() - text.rfind('\n').map_or(0, |at| at + 1) + 2;
    for suffix in suffixes {
        // A suffix that does not fit on the line starts the next one.
        if last_line_len + suffix.len() + 2 > LINE_WIDTH {
            text.push_str(",\n");
            text.push_str(&" ".repeat(PREFIX.len()));
            last_line_len = PREFIX.len() + suffix.len();
        } else {
            text.push_str(", ");
            last_line_len += suffix.len() + 2;
        }
        text.push_str(&suffix);
    }
    text.push(')');
    f.write_str(&text)
}

fn torch_name(dtype: DType) -> &'static str {
    match dtype {
        DType::Bool => "torch.bool",
        DType::U8 => "torch.uint8",
        DType::I8 => "torch.int8",
        DType::I16 => "torch.int16",
        DType::U16 => "torch.uint16",
        DType::I32 => "torch.int32",
        DType::U32 => "torch.uint32",
        DType::I64 => "torch.int64",
        DType::U64 => "torch.uint64",
        DType::F16 => "torch.float16",
        DType::BF16 => "torch.bfloat16",
        DType::F32 => "torch.float32",
        DType::F64 => "torch.float64",
    }
}

/// Positions along a dimension that are printed; `None` stands for the dots.
fn positions(extent: usize, summarize: bool) -> Vec<Option<usize>> {
    if summarize && extent > 2 * EDGE {
        (0..EDGE).map(Some).chain([None]).chain((extent - EDGE..extent).map(Some)).collect()
    } else {
        (0..extent).map(Some).collect()
    }
}

/// The elements that are printed.
fn shown_elements(data: &TensorData, summarize: bool) -> Vec<f64> {
    let mut offsets = vec![0usize];
    for &extent in &data.shape {
        let kept = positions(extent, summarize);
        offsets = offsets.iter().flat_map(|base| kept.iter().flatten().map(move |at| base * extent + at)).collect();
    }
    offsets.into_iter().map(|offset| data.get(offset).to_f64()).collect()
}

/// How the elements of one tensor are written.
struct Format {
    style: Style,
    width: usize,
}

enum Style {
    Bool,
    Integer,
    /// All elements are whole: `1.`.
    Whole,
    Fixed,
    Scientific,
}

impl Format {
    fn choose(dtype: DType, shown: &[f64]) -> Self {
        // Zeros, infinities and NaN do not decide how floats are written.
        let deciding = |value: &f64| !dtype.is_float() || value.is_finite() && *value != 0.0;
        let deciding: Vec<f64> = shown.iter().copied().filter(deciding).collect();
        let max = deciding.iter().map(|value| value.abs()).fold(0.0, f64::max);
        let min = deciding.iter().map(|value| value.abs()).fold(f64::INFINITY, f64::min);
        let spread = max / min > 1000.0 || max > 1e8;
        let style = match dtype {
            DType::Bool => Style::Bool,
            dtype if !dtype.is_float() => Style::Integer,
            _ => match deciding.iter().all(|value| value.fract() == 0.0) {
                true if !spread => Style::Whole,
                false if !spread && min >= 1e-4 => Style::Fixed,
                _ => Style::Scientific,
            },
        };
        let mut format = Self { style, width: 1 };
        format.width = deciding.iter().map(|&value| format.bare(value).len()).fold(1, usize::max);
        format
    }

    fn bare(&self, value: f64) -> String {
        if matches!(self.style, Style::Bool) {
            return if value != 0.0 { "True".to_string() } else { "False".to_string() };
        }
        if value.is_nan() {
            return "nan".to_string();
        }
        if value.is_infinite() {
            return if value > 0.0 { "inf".to_string() } else { "-inf".to_string() };
        }
        match self.style {
            Style::Bool | Style::Integer => format!("{value}"),
            Style::Whole => format!("{value:.0}."),
            Style::Fixed => format!("{value:.PRECISION$}"),
            Style::Scientific => {
                // Rust writes `1.0000e5` where PyTorch writes `1.0000e+05`.
                let text = format!("{value:.PRECISION$e}");
                let (mantissa, exponent) = text.split_once('e').expect("the format has an exponent");
                let (sign, digits) = match exponent.strip_prefix('-') {
                    Some(digits) => ('-', digits),
                    None => ('+', exponent),
                };
                format!("{mantissa}e{sign}{digits:0>2}")
            }
        }
    }

    fn element(&self, value: f64) -> String {
        format!("{:>width$}", self.bare(value), width = self.width)
    }
}

/// Writes the part of `data` at `dim` that starts at element `offset`; `indent` is the column of its bracket.
fn render(
    data: &TensorData,
    dim: usize,
    offset: usize,
    indent: usize,
    summarize: bool,
    format: &Format,
    text: &mut String,
) {
    let Some(&extent) = data.shape.get(dim) else {
        // A scalar is written without padding.
        text.push_str(&format.bare(data.get(offset).to_f64()));
        return;
    };
    let stride: usize = data.shape[dim + 1..].iter().product();
    text.push('[');
    let kept = positions(extent, summarize);
    if dim + 1 == data.shape.len() {
        let per_line = (LINE_WIDTH.saturating_sub(indent) / (format.width + 2)).max(1);
        let entries: Vec<String> = kept
            .iter()
            .map(|at| match at {
                Some(at) => format.element(data.get(offset + at).to_f64()),
                None => " ...".to_string(),
            })
            .collect();
        let lines: Vec<String> = entries.chunks(per_line).map(|line| line.join(", ")).collect();
        text.push_str(&lines.join(&format!(",\n{}", " ".repeat(indent + 1))));
    } else {
        let separator = format!(",{}{}", "\n".repeat(data.shape.len() - dim - 1), " ".repeat(indent + 1));
        for (idx, at) in kept.iter().enumerate() {
            if idx > 0 {
                text.push_str(&separator);
            }
            match at {
                Some(at) => render(data, dim + 1, offset + at * stride, indent + 1, summarize, format, text),
                None => text.push_str("..."),
            }
        }
    }
    text.push(']');
}
