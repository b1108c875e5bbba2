//! `Resize` and `Upsample`.
//!
//! Every mode works axis by axis: each position of the result lies somewhere along the input, and is a weighted sum of
//! the elements around. Where it lies is an exact fraction, so that sums which repeat do so exactly, and
//! [`resample`] makes slices of them instead of gathers. A whole factor works for symbolic extents too.

use nnc_frontend::Tensor;
use nnc_frontend::functional::{Tap, resample, resample_by};
use nnc_frontend::tensor::where_;
use nnc_ir::{DType, Dim};

use super::{Entry, Outcome, one, op, op_range};
use crate::cx::Cx;
use crate::fault::Fault;

pub(super) const OPS: &[Entry] =
    &[op_range("Upsample", 7..=10, upsample), op_range("Resize", 10..=10, upsample), op("Resize", 11.., resize)];

/// What positions between elements are made of.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Mode {
    Nearest(Rounding),
    Linear,
    /// Keys' cubic convolution with this coefficient.
    Cubic(f64),
}

/// Which of two elements is the nearest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rounding {
    PreferFloor,
    PreferCeil,
    Floor,
    Ceil,
    /// The one before, or behind where the result is smaller: what operator set 10 leaves open, as ONNX Runtime does it.
    Inward,
}

/// How positions of the result lie along the input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Coordinates {
    HalfPixel,
    /// Half an element further than those: operator set 11 alone has it.
    HalfPixelForNearest,
    HalfPixelSymmetric,
    PytorchHalfPixel,
    AlignCorners,
    Asymmetric,
    /// In the region of interest only.
    CropAndResize,
}

/// What to do with `sizes` of another aspect ratio.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Policy {
    Stretch,
    NotLarger,
    NotSmaller,
}

/// The attributes.
#[derive(Clone, Copy, Debug)]
struct Settings {
    mode: Mode,
    coordinates: Coordinates,
    antialias: bool,
    exclude_outside: bool,
    extrapolation: f64,
    policy: Policy,
}

/// The same as operator set 10 has it: elements begin where they did.
fn upsample(cx: &mut Cx<'_>) -> Outcome {
    let x = cx.input(0)?;
    let mode = match cx.string_or("mode", "nearest")?.as_str() {
        "nearest" => Mode::Nearest(Rounding::Inward),
        // The name in operator set 7.
        "linear" | "bilinear" => Mode::Linear,
        other => return Err(cx.invalid(format!("`mode` is `{other}`, expected nearest or linear"))),
    };
    let scales = match cx.floats("scales")? {
        Some(scales) => scales,
        None => cx.known_floats(1)?,
    };
    let settings = Settings {
        mode,
        coordinates: Coordinates::Asymmetric,
        antialias: false,
        exclude_outside: false,
        extrapolation: 0.0,
        policy: Policy::Stretch,
    };
    let axes: Vec<usize> = (0..x.rank()).collect();
    let targets = scaled(cx, &x, &axes, &scales)?;
    resized(cx, &x, &targets, settings)
}

fn resize(cx: &mut Cx<'_>) -> Outcome {
    let x = cx.input(0)?;
    let settings = settings(cx)?;
    let mut axes = Vec::new();
    for axis in cx.ints("axes")?.unwrap_or_else(|| (0..x.rank() as i64).collect()) {
        axes.push(cx.axis(axis, x.rank())?);
    }
    // An input of no elements stands for one that is left out.
    let scales = if cx.has(2) { cx.known_floats(2)? } else { Vec::new() };
    let mut targets =
        if scales.is_empty() { sized(cx, &x, &axes, settings.policy)? } else { scaled(cx, &x, &axes, &scales)? };
    if settings.coordinates == Coordinates::CropAndResize {
        let region = cx.known_floats(1)?;
        if region.len() != 2 * axes.len() {
            return Err(cx.invalid(format!("the region is {region:?}, expected a start and an end for each axis")));
        }
        for (idx, target) in targets.iter_mut().enumerate() {
            target.region = Some((region[idx], region[axes.len() + idx]));
        }
    }
    resized(cx, &x, &targets, settings)
}

fn settings(cx: &Cx<'_>) -> Result<Settings, Fault> {
    let named = |name: &str, default: &str| cx.string_or(name, default);
    let unknown = |name: &str, found: &str| cx.invalid(format!("`{name}` is `{found}`, which is none of its values"));
    let rounding = match named("nearest_mode", "round_prefer_floor")?.as_str() {
        "round_prefer_floor" => Rounding::PreferFloor,
        "round_prefer_ceil" => Rounding::PreferCeil,
        "floor" => Rounding::Floor,
        "ceil" => Rounding::Ceil,
        other => return Err(unknown("nearest_mode", other)),
    };
    Ok(Settings {
        mode: match named("mode", "nearest")?.as_str() {
            "nearest" => Mode::Nearest(rounding),
            "linear" => Mode::Linear,
            "cubic" => Mode::Cubic(cx.float_or("cubic_coeff_a", -0.75)?),
            other => return Err(unknown("mode", other)),
        },
        coordinates: match named("coordinate_transformation_mode", "half_pixel")?.as_str() {
            "half_pixel" => Coordinates::HalfPixel,
            "tf_half_pixel_for_nn" => Coordinates::HalfPixelForNearest,
            "half_pixel_symmetric" => Coordinates::HalfPixelSymmetric,
            "pytorch_half_pixel" => Coordinates::PytorchHalfPixel,
            "align_corners" => Coordinates::AlignCorners,
            "asymmetric" => Coordinates::Asymmetric,
            "tf_crop_and_resize" => Coordinates::CropAndResize,
            other => return Err(unknown("coordinate_transformation_mode", other)),
        },
        policy: match named("keep_aspect_ratio_policy", "stretch")?.as_str() {
            "stretch" => Policy::Stretch,
            "not_larger" => Policy::NotLarger,
            "not_smaller" => Policy::NotSmaller,
            other => return Err(unknown("keep_aspect_ratio_policy", other)),
        },
        antialias: cx.flag("antialias", false)?,
        exclude_outside: cx.flag("exclude_outside", false)?,
        extrapolation: cx.float_or("extrapolation_value", 0.0)?,
    })
}

/// A positive fraction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Ratio {
    over: i128,
    under: i128,
}

impl Ratio {
    fn new(over: usize, under: usize) -> Self {
        Self { over: over as i128, under: under as i128 }
    }

    /// The simplest fraction that is `value` in single precision: what a file means by 0.33333334.
    fn simplest(value: f64) -> Self {
        let (mut before, mut last) = ((0i128, 1i128), (1i128, 0i128));
        let mut rest = value;
        // Convergents of the continued fraction.
        for _ in 0..16 {
            let whole = rest.floor();
            let next = (whole as i128 * last.0 + before.0, whole as i128 * last.1 + before.1);
            (before, last) = (last, next);
            let error = (last.0 as f64 / last.1 as f64 - value).abs();
            if error <= 1.2e-7 * value || last.1 > 1 << 24 {
                break;
            }
            rest = 1.0 / (rest - whole);
        }
        Self { over: last.0, under: last.1 }
    }

    fn value(self) -> f64 {
        self.over as f64 / self.under as f64
    }

    fn is_less(self, other: Self) -> bool {
        self.over * other.under < other.over * self.under
    }
}

/// One axis of the result.
struct Target {
    axis: usize,
    extent: Dim,
    scale: Ratio,
    /// Start and end of the region of interest, as shares of the input.
    region: Option<(f64, f64)>,
}

impl Target {
    fn whole(axis: usize, extent: Dim, scale: Ratio) -> Self {
        Self { axis, extent, scale, region: None }
    }
}

/// Extents by factors.
fn scaled(cx: &Cx<'_>, x: &Tensor, axes: &[usize], scales: &[f64]) -> Result<Vec<Target>, Fault> {
    if scales.len() != axes.len() || scales.iter().any(|scale| !(*scale > 0.0 && *scale < 1e6)) {
        return Err(
            cx.invalid(format!("the scales are {scales:?}, expected a positive number for each of axes {axes:?}"))
        );
    }
    let dims = x.dims();
    let target = |(&axis, &scale): (&usize, &f64)| {
        let scale = Ratio::simplest(scale);
        let extent = match dims[axis].as_const() {
            Some(extent) => Dim::from((extent as i128 * scale.over / scale.under) as usize),
            None if scale.under == 1 => dims[axis].clone() * Dim::from(scale.over as usize),
            None => {
                return Err(cx.unsupported(format!(
                    "a factor of {} along axis {axis} of {}, which is symbolic: bind the dimension",
                    scale.value(),
                    x.ty()
                )));
            }
        };
        Ok(Target::whole(axis, extent, scale))
    };
    axes.iter().zip(scales).map(target).collect()
}

/// Extents as they are given.
fn sized(cx: &Cx<'_>, x: &Tensor, axes: &[usize], policy: Policy) -> Result<Vec<Target>, Fault> {
    let sizes = cx.shape_ints(3)?;
    if sizes.len() != axes.len() {
        return Err(cx.invalid(format!("{} sizes, expected one for each of axes {axes:?}", sizes.len())));
    }
    let dims = x.dims();
    let mut targets = Vec::new();
    for (&axis, size) in axes.iter().zip(&sizes) {
        let Some(size) = size.to_dim() else {
            return Err(cx.invalid(format!("the size of axis {axis} is {size}, expected an extent")));
        };
        let scale = match (size.as_const(), dims[axis].as_const()) {
            (Some(size), Some(extent)) => Ratio::new(size, extent.max(1)),
            _ => match size.exact_div(&dims[axis]).and_then(|factor| factor.as_const()) {
                Some(factor) => Ratio::new(factor, 1),
                None => {
                    return Err(cx.unsupported(format!(
                        "the size {size} of axis {axis} of {} is no whole multiple of it: bind the dimensions",
                        x.ty()
                    )));
                }
            },
        };
        targets.push(Target::whole(axis, size, scale));
    }
    let scales = targets.iter().map(|target| target.scale);
    let chosen = match policy {
        Policy::Stretch => None,
        Policy::NotLarger => scales.reduce(|least, scale| if scale.is_less(least) { scale } else { least }),
        Policy::NotSmaller => scales.reduce(|most, scale| if most.is_less(scale) { scale } else { most }),
    };
    if let Some(scale) = chosen {
        for target in &mut targets {
            let Some(extent) = dims[target.axis].as_const() else {
                return Err(cx.unsupported(format!("`keep_aspect_ratio_policy` for {}: bind its dimensions", x.ty())));
            };
            // Halves are rounded up.
            let extent = (2 * extent as i128 * scale.over + scale.under) / (2 * scale.under);
            (target.extent, target.scale) = (Dim::from(extent as usize), scale);
        }
    }
    Ok(targets)
}

/// Every axis in turn.
fn resized(cx: &Cx<'_>, x: &Tensor, targets: &[Target], settings: Settings) -> Outcome {
    let moves_only = matches!(settings.mode, Mode::Nearest(_)) && settings.coordinates != Coordinates::CropAndResize;
    let mut y = match x.dtype() {
        _ if moves_only => x.clone(),
        DType::F64 | DType::F32 => x.clone(),
        _ => x.float(),
    };
    for target in targets {
        let extent = y.dims()[target.axis].clone();
        let is_whole = target.region.is_none_or(|region| region == (0.0, 1.0));
        if target.extent == extent && target.scale.over == target.scale.under && is_whole {
            continue;
        }
        y = axis_resized(cx, &y, target, &extent, settings)?;
    }
    one(y.to_dtype(x.dtype()))
}

fn axis_resized(cx: &Cx<'_>, x: &Tensor, target: &Target, extent: &Dim, settings: Settings) -> Result<Tensor, Fault> {
    let dim = target.axis as i64;
    let (Some(extent), Some(n_positions)) = (extent.as_const(), target.extent.as_const()) else {
        let depends = matches!(settings.coordinates, Coordinates::AlignCorners | Coordinates::CropAndResize);
        if depends || settings.exclude_outside {
            return Err(cx.unsupported(format!(
                "axis {} of {} is symbolic, and these coordinates depend on its extent: bind it",
                target.axis,
                x.ty()
            )));
        }
        // Far from the borders every element becomes the same sums of its neighbors.
        const FAR: i64 = 1 << 20;
        const MOST: i64 = 1 << 12;
        let factor = target.scale.over as i64;
        if !(1..=MOST).contains(&factor) {
            return Err(cx.unsupported(format!("a symbolic axis {factor} times as long: bind it")));
        }
        let axis = Axis { extent: 2 * FAR as usize, n_positions: 2 * (FAR * factor) as usize, target, settings };
        let relative = |phase: i64| {
            let taps = axis.taps((FAR * factor + phase) as usize);
            taps.into_iter().map(|(position, weight)| (position - FAR, weight)).collect()
        };
        let phases: Vec<Vec<Tap>> = (0..factor).map(relative).collect();
        return Ok(resample_by(x, dim, &phases));
    };
    if extent == 0 || n_positions == 0 {
        let empty = x.slice(dim, 0, Some(0), 1);
        return match n_positions {
            0 => Ok(empty),
            _ => {
                Err(cx.invalid(format!("axis {} of {} has no elements to make {n_positions} of", target.axis, x.ty())))
            }
        };
    }
    let axis = Axis { extent, n_positions, target, settings };
    cx.table("the list of elements that positions are made of", n_positions.saturating_mul(axis.n_taps()))?;
    let taps: Vec<Vec<Tap>> = (0..n_positions).map(|at| axis.taps(at)).collect();
    let y = resample(x, dim, &taps);
    if settings.coordinates != Coordinates::CropAndResize {
        return Ok(y);
    }
    let outside: Vec<bool> = (0..n_positions).map(|at| axis.is_outside(at)).collect();
    if !outside.contains(&true) {
        return Ok(y);
    }
    let mut shape = vec![1i64; x.rank()];
    shape[target.axis] = -1;
    Ok(where_(&Tensor::from_slice(&outside).reshape(shape), settings.extrapolation, y))
}

/// An axis being resized.
struct Axis<'a> {
    extent: usize,
    n_positions: usize,
    target: &'a Target,
    settings: Settings,
}

impl Axis<'_> {
    /// Where position `at` of the result lies: the position before it, and the share of the way to the next.
    fn source(&self, at: usize) -> (i64, f64) {
        let Ratio { over, under } = self.target.scale;
        let (at, extent, n_positions) = (at as i128, self.extent as i128, self.n_positions as i128);
        let half_pixel = ((2 * at + 1) * under - over, 2 * over);
        // The extent before rounding is `extent * over / under`.
        let is_single = extent * over == under;
        let (number, of) = match self.settings.coordinates {
            Coordinates::HalfPixel => half_pixel,
            Coordinates::HalfPixelForNearest => (half_pixel.0 + over, half_pixel.1),
            Coordinates::HalfPixelSymmetric => (half_pixel.0 + extent * over - n_positions * under, half_pixel.1),
            Coordinates::PytorchHalfPixel if n_positions == 1 => (0, 1),
            Coordinates::PytorchHalfPixel => half_pixel,
            Coordinates::Asymmetric => (at * under, over),
            Coordinates::AlignCorners if is_single => (0, 1),
            Coordinates::AlignCorners => (at * (extent - 1) * under, extent * over - under),
            Coordinates::CropAndResize => {
                let source = self.cropped(at as f64);
                return (source.floor() as i64, source - source.floor());
            }
        };
        (number.div_euclid(of) as i64, number.rem_euclid(of) as f64 / of as f64)
    }

    /// Where a position of the result lies in a region of interest.
    fn cropped(&self, at: f64) -> f64 {
        let (start, end) = self.target.region.unwrap_or((0.0, 1.0));
        let last = self.extent as f64 - 1.0;
        let full = self.target.scale.value() * self.extent as f64;
        let source = if full == 1.0 {
            0.5 * (start + end) * last
        } else {
            start * last + at * (end - start) * last / (full - 1.0)
        };
        let nearest = source.round();
        if (source - nearest).abs() < 1e-9 { nearest } else { source }
    }

    /// Whether a position of the result is none of the input's.
    fn is_outside(&self, at: usize) -> bool {
        let source = self.cropped(at as f64);
        source < 0.0 || source > self.extent as f64 - 1.0
    }

    /// A filter against aliasing is as much wider as the result is smaller.
    fn shrink(&self) -> f64 {
        if self.settings.antialias { self.target.scale.value().min(1.0) } else { 1.0 }
    }

    /// How many elements a position of the result is made of at most.
    fn n_taps(&self) -> usize {
        match self.settings.mode {
            Mode::Nearest(_) => 1,
            Mode::Linear => 2 * (1.0 / self.shrink()).ceil() as usize,
            Mode::Cubic(_) => 2 * (2.0 / self.shrink()).ceil() as usize,
        }
    }

    /// The elements that a position of the result is made of, and their weights.
    fn taps(&self, at: usize) -> Vec<Tap> {
        let (low, share) = self.source(at);
        let shrink = self.shrink();
        let weigh: &dyn Fn(f64) -> f64 = match self.settings.mode {
            Mode::Nearest(rounding) => {
                let up = match rounding {
                    Rounding::PreferFloor => share > 0.5,
                    Rounding::PreferCeil => share >= 0.5,
                    Rounding::Floor => false,
                    Rounding::Ceil => share > 0.0,
                    Rounding::Inward => share > 0.0 && self.target.scale.value() < 1.0,
                };
                return vec![(low + i64::from(up), 1.0)];
            }
            Mode::Linear => &|distance| (1.0 - distance).max(0.0),
            Mode::Cubic(a) => &move |distance| cubic(a, distance),
        };
        let reach = self.n_taps() as i64 / 2;
        let positions = low + 1 - reach..=low + reach;
        let weight = |position: i64| weigh(((position - low) as f64 - share).abs() * shrink);
        let mut taps: Vec<Tap> = positions.map(|position| (position, weight(position))).collect();
        if self.settings.exclude_outside {
            taps.retain(|&(position, _)| (0..self.extent as i64).contains(&position));
        }
        let sum: f64 = taps.iter().map(|&(_, weight)| weight).sum();
        if taps.is_empty() || sum == 0.0 {
            return vec![(low, 0.0)];
        }
        if self.settings.exclude_outside || shrink < 1.0 {
            taps.iter_mut().for_each(|(_, weight)| *weight /= sum);
        }
        taps
    }
}

/// Keys' cubic convolution (1981) with coefficient `a`.
fn cubic(a: f64, distance: f64) -> f64 {
    match distance {
        ..=1.0 => ((a + 2.0) * distance - (a + 3.0)) * distance * distance + 1.0,
        ..2.0 => ((a * distance - 5.0 * a) * distance + 8.0 * a) * distance - 4.0 * a,
        _ => 0.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fractions_are_the_simplest() {
        for (value, over, under) in
            [(2.0, 2, 1), (0.5, 1, 2), (f64::from(0.6f32), 3, 5), (f64::from(1.0f32 / 3.0), 1, 3)]
        {
            assert_eq!(Ratio::simplest(value), Ratio { over, under });
        }
        let odd = f64::from(1.234_567_8_f32);
        assert!((Ratio::simplest(odd).value() - odd).abs() <= 1.3e-7 * odd);
    }
}
