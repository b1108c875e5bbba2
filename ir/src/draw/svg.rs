//! SVG, complete in one text: no script, no font, no other file.

use std::fmt::Write;

use super::layout::{Rect, layered};
use super::{Picture, Shape};
use crate::module::Func;

/// Advance of a monospace character of 11 pixels.
const CHAR_WIDTH: f64 = 6.7;
const LINE_HEIGHT: f64 = 14.0;
const PADDING: f64 = 7.0;

/// The function as an SVG image.
pub fn svg(func: &Func) -> String {
    let picture = Picture::of(func);
    let sizes: Vec<(f64, f64)> = picture.shapes.iter().map(size).collect();
    let layout = layered(&sizes, &picture.edges);
    let (width, height) = (layout.width.ceil(), layout.height.ceil());
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} {height}\" \
         font-family=\"monospace\" font-size=\"11\">\n<title>{}</title>\n",
        escape(&func.name)
    );
    out.push_str(
        "<defs><marker id=\"head\" viewBox=\"0 0 8 8\" refX=\"8\" refY=\"4\" markerWidth=\"7\" markerHeight=\"7\" \
         orient=\"auto\"><path d=\"M0 0L8 4L0 8z\" fill=\"#777777\"/></marker></defs>\n",
    );
    for points in &layout.edges {
        write_edge(&mut out, points);
    }
    for (shape, rect) in picture.shapes.iter().zip(&layout.boxes) {
        write_box(&mut out, shape, rect);
    }
    out.push_str("</svg>\n");
    out
}

fn size(shape: &Shape) -> (f64, f64) {
    let n_chars = shape.lines.iter().map(|line| line.chars().count()).max().unwrap_or(0);
    (n_chars as f64 * CHAR_WIDTH + 2.0 * PADDING, shape.lines.len() as f64 * LINE_HEIGHT + 2.0 * PADDING)
}

/// A curve through `points` that is vertical at each of them.
fn write_edge(out: &mut String, points: &[(f64, f64)]) {
    let Some((x, y)) = points.first() else { return };
    let _ = write!(out, "<path d=\"M{x:.1} {y:.1}");
    for pair in points.windows(2) {
        let ((from_x, from_y), (to_x, to_y)) = (pair[0], pair[1]);
        let middle = (from_y + to_y) / 2.0;
        let _ = write!(out, "C{from_x:.1} {middle:.1} {to_x:.1} {middle:.1} {to_x:.1} {to_y:.1}");
    }
    out.push_str("\" fill=\"none\" stroke=\"#777777\" marker-end=\"url(#head)\"/>\n");
}

fn write_box(out: &mut String, shape: &Shape, rect: &Rect) {
    let (left, top) = (rect.x - rect.width / 2.0, rect.y);
    let _ = writeln!(
        out,
        "<g><title>{}</title><rect x=\"{left:.1}\" y=\"{top:.1}\" width=\"{:.1}\" height=\"{:.1}\" rx=\"4\" \
         fill=\"{}\" stroke=\"#555555\"/>",
        escape(&shape.tooltip),
        rect.width,
        rect.height,
        shape.class.color()
    );
    for (idx, line) in shape.lines.iter().enumerate() {
        let baseline = top + PADDING + LINE_HEIGHT * (idx as f64 + 0.78);
        let weight = if idx == 0 { " font-weight=\"bold\"" } else { "" };
        let _ = writeln!(
            out,
            "<text x=\"{:.1}\" y=\"{baseline:.1}\" xml:space=\"preserve\"{weight}>{}</text>",
            left + PADDING,
            escape(line)
        );
    }
    out.push_str("</g>\n");
}

/// Text between tags or quotes. What XML does not admit becomes a replacement character.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\n' | '\t' => escaped.push(c),
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => escaped.push('\u{fffd}'),
            c => escaped.push(c),
        }
    }
    escaped
}
