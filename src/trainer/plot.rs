//! The loss curve as an SVG image.
//!
//! Drawn are the loss of the steps (pale, thinned out to at most [`MAX_POINTS`] means), and the losses of training and
//! validation at the end of each epoch, over the number of steps taken.

use std::fmt::Write;

use super::history::History;

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 420.0;
/// The rectangle that the axes enclose: left, top, right, bottom.
const FRAME: [f64; 4] = [68.0, 44.0, WIDTH - 24.0, HEIGHT - 52.0];
/// Points of a curve.
const MAX_POINTS: usize = 500;
/// Values beyond are not drawn: distances between them could be infinite.
const LARGEST: f64 = 1e300;
/// Ticks that an axis has about.
const N_TICKS: f64 = 6.0;

/// A curve: what the legend calls it, and how it is drawn.
struct Curve {
    label: &'static str,
    color: &'static str,
    /// Whether each point is of interest by itself.
    has_marks: bool,
    points: Vec<(f64, f64)>,
}

/// The history as an SVG image.
pub(super) fn svg(history: &History) -> String {
    let curves = curves(history);
    let points = || curves.iter().flat_map(|curve| &curve.points);
    let x_axis = Axis::new(0.0, points().map(|point| point.0).fold(1.0, f64::max), [FRAME[0], FRAME[2]]);
    let lowest = points().map(|point| point.1).fold(f64::INFINITY, f64::min);
    let highest = points().map(|point| point.1).fold(f64::NEG_INFINITY, f64::max);
    let (lowest, highest) = if lowest <= highest { (lowest, highest) } else { (0.0, 1.0) };
    // A loss is read against zero unless that would flatten the curve.
    let lowest = if lowest > 0.0 && lowest < 0.5 * highest { 0.0 } else { lowest };
    let y_axis = Axis::new(lowest, highest, [FRAME[3], FRAME[1]]);

    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{HEIGHT}\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" \
         font-family=\"sans-serif\" font-size=\"12\" fill=\"#333333\">\n<title>loss by step</title>\n\
         <rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"#ffffff\"/>\n"
    );
    write_axes(&mut out, &x_axis, &y_axis);
    for curve in &curves {
        write_curve(&mut out, curve, &x_axis, &y_axis);
    }
    write_legend(&mut out, &curves);
    if let Some(reason) = &history.stopped {
        text(&mut out, (FRAME[2], FRAME[1] + 16.0), "end", &format!("stopped: {reason}"));
    }
    out.push_str("</svg>\n");
    out
}

/// What there is to draw. Values that are not finite leave gaps.
fn curves(history: &History) -> Vec<Curve> {
    let steps: Vec<(f64, f64)> =
        history.step_losses.iter().enumerate().map(|(idx, &loss)| ((idx + 1) as f64, loss)).collect();
    let by_epoch = |name: &str| -> Vec<(f64, f64)> {
        history.epochs.iter().filter_map(|record| Some((record.step as f64, record.get(name)?))).collect()
    };
    let curves = [
        ("steps", "#a9c7e8", false, thinned(&steps)),
        ("training", "#1f5fa8", true, by_epoch("train_loss")),
        ("validation", "#c8501e", true, by_epoch("valid_loss")),
    ];
    let curves = curves.into_iter().map(|(label, color, has_marks, points)| {
        let points = points.into_iter().filter(|point| point.1.abs() <= LARGEST).collect();
        Curve { label, color, has_marks, points }
    });
    curves.filter(|curve| !curve.points.is_empty()).collect()
}

/// Means over equal runs of points, at the last position of each.
fn thinned(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let run = points.len().div_ceil(MAX_POINTS).max(1);
    let mean = |run: &[(f64, f64)]| {
        let finite = || run.iter().map(|point| point.1).filter(|value| value.is_finite());
        let x = run.last().map_or(0.0, |point| point.0);
        (x, finite().sum::<f64>() / finite().count() as f64)
    };
    points.chunks(run).map(mean).collect()
}

/// An axis with its ticks: values from `low` to `high`, drawn between two coordinates.
struct Axis {
    low: f64,
    high: f64,
    ends: [f64; 2],
    ticks: Vec<f64>,
    /// Distance of the ticks.
    tick: f64,
}

impl Axis {
    /// An axis that shows at least these values, and ends at ticks.
    fn new(low: f64, high: f64, ends: [f64; 2]) -> Self {
        let size = high.abs().max(low.abs());
        // Values that differ in their last digits only are drawn as equal.
        let span = if high - low > 1e-9 * size { high - low } else { size.max(1e-9) };
        let tick = round_up(span / N_TICKS);
        let first = (low / tick).floor();
        let last = (high / tick).ceil().max(first + 1.0);
        let n_ticks = (last - first) as usize;
        let ticks: Vec<f64> = (0..=n_ticks).map(|idx| (first + idx as f64) * tick).collect();
        Self { low: first * tick, high: last * tick, ends, ticks, tick }
    }

    fn position(&self, value: f64) -> f64 {
        let [start, end] = self.ends;
        start + (value - self.low) / (self.high - self.low) * (end - start)
    }

    /// A tick's label, with the decimals that tell it from its neighbors.
    fn label(&self, value: f64) -> String {
        if self.tick >= 1e6 || self.tick < 1e-4 {
            return if value == 0.0 { "0".to_string() } else { format!("{value:.1e}") };
        }
        let n_decimals = (0..6).find(|&n| self.tick >= 0.999 * 0.1f64.powi(n)).unwrap_or(6);
        format!("{value:.*}", n_decimals as usize)
    }
}

/// The smallest of 1, 2 and 5 times a power of ten that is at least `value`.
fn round_up(value: f64) -> f64 {
    let power = 10f64.powi(value.log10().floor() as i32);
    let steps = [1.0, 2.0, 5.0, 10.0];
    // A little slack, so that rounding of the power does not make a step of 1 into one of 2.
    steps.into_iter().map(|step| step * power).find(|&step| step >= value * (1.0 - 1e-9)).unwrap_or(10.0 * power)
}

fn write_axes(out: &mut String, x_axis: &Axis, y_axis: &Axis) {
    let [left, top, right, bottom] = FRAME;
    for &tick in &y_axis.ticks {
        let y = y_axis.position(tick);
        let _ = writeln!(out, "<path d=\"M{left:.1} {y:.1}H{right:.1}\" stroke=\"#e4e4e4\"/>");
        text(out, (left - 8.0, y + 4.0), "end", &y_axis.label(tick));
    }
    for &tick in &x_axis.ticks {
        let x = x_axis.position(tick);
        let _ = writeln!(out, "<path d=\"M{x:.1} {bottom:.1}v5\" stroke=\"#777777\"/>");
        text(out, (x, bottom + 19.0), "middle", &x_axis.label(tick));
    }
    let _ = writeln!(out, "<path d=\"M{left:.1} {top:.1}V{bottom:.1}H{right:.1}\" fill=\"none\" stroke=\"#777777\"/>");
    text(out, ((left + right) / 2.0, bottom + 40.0), "middle", "step");
    let (x, y) = (18.0, (top + bottom) / 2.0);
    let _ = writeln!(
        out,
        "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"middle\" transform=\"rotate(-90 {x:.1} {y:.1})\">loss</text>"
    );
}

fn write_curve(out: &mut String, curve: &Curve, x_axis: &Axis, y_axis: &Axis) {
    let Curve { label, color, has_marks, points } = curve;
    let _ = write!(out, "<g><title>{}</title>", escape(label));
    let place = |&(x, y): &(f64, f64)| (x_axis.position(x), y_axis.position(y));
    let width = if *has_marks { 2.0 } else { 1.0 };
    for (idx, (x, y)) in points.iter().map(place).enumerate() {
        let command = if idx == 0 { "<path d=\"M" } else { "L" };
        let _ = write!(out, "{command}{x:.1} {y:.1}");
    }
    let _ = write!(out, "\" fill=\"none\" stroke=\"{color}\" stroke-width=\"{width}\" stroke-linejoin=\"round\"/>");
    if *has_marks && points.len() <= MAX_POINTS / 5 {
        for (point, (x, y)) in points.iter().map(|point| (point, place(point))) {
            let _ = write!(
                out,
                "\n<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\" fill=\"{color}\"><title>{}: {:.6e} after step {}</title></circle>",
                escape(label),
                point.1,
                point.0
            );
        }
    }
    out.push_str("</g>\n");
}

/// Name and color of each curve, above the frame.
fn write_legend(out: &mut String, curves: &[Curve]) {
    let (mut x, y) = (FRAME[0], FRAME[1] - 20.0);
    for curve in curves {
        let _ = writeln!(
            out,
            "<path d=\"M{x:.1} {:.1}h22\" stroke=\"{}\" stroke-width=\"{}\"/>",
            y - 4.0,
            curve.color,
            if curve.has_marks { 3 } else { 2 }
        );
        text(out, (x + 28.0, y), "start", curve.label);
        x += 28.0 + 7.0 * curve.label.chars().count() as f64 + 20.0;
    }
    if curves.is_empty() {
        text(out, (x, y), "start", "nothing was measured");
    }
}

fn text(out: &mut String, (x, y): (f64, f64), anchor: &str, content: &str) {
    let _ = writeln!(out, "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{}</text>", escape(content));
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
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => escaped.push('\u{fffd}'),
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trainer::history::EpochRecord;

    fn history(n_epochs: usize, stopped: Option<&str>) -> History {
        let loss = |step: usize| 2.3 / (1.0 + step as f64 / 40.0);
        let record = |epoch: usize| EpochRecord {
            epoch,
            step: 50 * (epoch as u64 + 1),
            values: [("train_loss", loss(50 * epoch + 25)), ("valid_loss", 1.1 * loss(50 * epoch + 50))]
                .map(|(name, value)| (name.to_string(), value))
                .into_iter()
                .collect(),
            ..EpochRecord::default()
        };
        History {
            epochs: (0..n_epochs).map(record).collect(),
            step_losses: (1..=50 * n_epochs).map(loss).collect(),
            stopped: stopped.map(str::to_string),
            ..History::default()
        }
    }

    #[test]
    fn a_curve_looks_as_it_did() {
        let found = svg(&history(4, Some("<\"&\u{1}>")));
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/loss_curve.svg");
        if std::env::var_os("NNC_BLESS").is_some() {
            std::fs::write(&path, &found).expect("the golden file can be written");
        }
        let expected = std::fs::read_to_string(&path).unwrap_or_default();
        pretty_assertions::assert_eq!(expected, found, "{} (NNC_BLESS=1 rewrites it)", path.display());
        assert!(found.contains("stopped: &lt;&quot;&amp;\u{fffd}&gt;"));
    }

    #[test]
    fn any_numbers_can_be_drawn() {
        let odd = [f64::NAN, f64::INFINITY, -1e300, 1e300, 0.0, 1e-300, f64::MIN_POSITIVE, 5.0];
        for n in 0..=odd.len() {
            for value in odd {
                let step_losses = odd[..n].iter().copied().chain([value]).collect();
                let image = svg(&History { step_losses, ..History::default() });
                assert!(image.ends_with("</svg>\n") && !image.contains("NaN") && !image.contains("inf"), "{image}");
            }
        }
        assert!(svg(&History::default()).contains("nothing was measured"));
    }

    #[test]
    fn ticks_are_round_and_enclose() {
        let axis = Axis::new(0.13, 0.87, [0.0, 1.0]);
        assert_eq!((axis.low, axis.tick), (0.0, 0.2));
        assert_eq!(
            axis.ticks.iter().map(|&tick| axis.label(tick)).collect::<Vec<_>>(),
            ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]
        );
        assert_eq!(Axis::new(0.0, 3910.0, [0.0, 1.0]).label(4000.0), "4000");
        let flat = Axis::new(2.0, 2.0, [0.0, 1.0]);
        assert!(flat.position(2.0).is_finite() && flat.ticks.len() >= 2);
        assert_eq!(thinned(&vec![(1.0, 2.0); 1001]).len(), 334);
    }
}
