//! Reads the text in a picture with the three models of `rapidocr-onnxruntime` (PP-OCRv4), compiled by nnc: one finds
//! lines of text, one tells lines that stand upside down, one reads.
//!
//! ```text
//! scripts/fetch_models.sh
//! cargo run --release --example read_text -- examples/data/note.png
//! ```
//!
//! The pictures may have any size, and lines any length: each model is compiled once a shape it meets.

use std::error::Error;
use std::path::PathBuf;

use clap::Parser;
use image::imageops::{self, FilterType};
use image::{GrayImage, Luma, Rgb, RgbImage};
use imageproc::contours::{BorderType, find_contours};
use imageproc::geometric_transformations::{Border, Interpolation, Projection, warp_into};
use imageproc::geometry::min_area_rect;
use imageproc::point::Point;
use ndarray::{Array3, Array4, ArrayD, ArrayView2, Axis, Ix3, Ix4, s};
use nnc::prelude::*;

/// Reads the text in a picture.
#[derive(Parser)]
struct Args {
    /// A PNG or JPEG file
    picture: PathBuf,
    /// Folder of the models
    #[arg(long, default_value = "out/models/rapidocr")]
    models: PathBuf,
    /// Threads to run on; 0 is one a core
    #[arg(long, default_value_t = 0)]
    threads: usize,
}

/// Runs a model of one input `x` and one output.
fn run(model: &mut Session, x: &Array4<f32>) -> Result<ArrayD<f32>, nnc::Error> {
    Ok(nnc::frontend::array::to_f32(&model.run(&[("x", x)])?[0]))
}

fn main() -> Result<(), Box<dyn Error>> {
    let args = Args::parse();
    let picture = image::open(&args.picture)?.to_rgb8();
    let mut finder = Session::load(args.models.join("ch_PP-OCRv4_det_infer.onnx"))?.threads(args.threads);
    let mut turner = Session::load(args.models.join("ch_ppocr_mobile_v2.0_cls_infer.onnx"))?.threads(args.threads);
    let mut reader = Session::load(args.models.join("ch_PP-OCRv4_rec_infer.onnx"))?.threads(args.threads);

    for frame in find_lines(&mut finder, &picture)? {
        let line = upright(&mut turner, cut(&picture, &frame))?;
        let (text, confidence) = read(&mut reader, &line)?;
        if confidence >= 0.5 {
            let [x, y] = frame.corners[0];
            println!("{x:4.0} {y:4.0}  {confidence:.3}  {text}");
        }
    }
    Ok(())
}

/// Channels first, in the order blue, green, red that the models were trained on, from -1 to 1.
fn planes(picture: &RgbImage) -> Array3<f32> {
    let (width, height) = picture.dimensions();
    Array3::from_shape_fn((3, height as usize, width as usize), |(channel, y, x)| {
        f32::from(picture.get_pixel(x as u32, y as u32)[2 - channel]) / 127.5 - 1.0
    })
}

/// A line of text: a rectangle that may be tilted, its corners clockwise from the start of the text.
struct Frame {
    corners: [[f32; 2]; 4],
}

/// The lines of text in a picture, from top to bottom.
fn find_lines(finder: &mut Session, picture: &RgbImage) -> Result<Vec<Frame>, Box<dyn Error>> {
    /// The shorter side is at least this long when the model sees it.
    const SHORT_SIDE: f32 = 736.0;
    /// Above this probability a pixel is text.
    const IS_TEXT: f32 = 0.3;
    /// A frame is text if its pixels are on average.
    const FRAME_IS_TEXT: f32 = 0.5;

    let (width, height) = (picture.width() as f32, picture.height() as f32);
    let scale = (SHORT_SIDE / width.min(height)).max(1.0);
    // The model halves the picture five times.
    let extent = |side: f32| (((side * scale).floor() / 32.0).round() * 32.0).max(32.0) as u32;
    let scaled = imageops::resize(picture, extent(width), extent(height), FilterType::Triangle);
    let map = run(finder, &planes(&scaled).insert_axis(Axis(0)))?.into_dimensionality::<Ix4>()?;
    let map = map.slice(s![0, 0, .., ..]);

    let (rows, columns) = map.dim();
    let mask = GrayImage::from_fn(columns as u32, rows as u32, |x, y| {
        // A little wider than the text, so that gaps between letters close.
        let near = |dy: usize, dx: usize| {
            let (row, column) = ((y as usize).checked_sub(dy), (x as usize).checked_sub(dx));
            row.zip(column).is_some_and(|at| map[at] > IS_TEXT)
        };
        Luma([if near(0, 0) || near(0, 1) || near(1, 0) || near(1, 1) { 255 } else { 0 }])
    });

    let mut frames = Vec::new();
    for contour in find_contours::<i32>(&mask).into_iter().filter(|contour| contour.border_type == BorderType::Outer) {
        if contour.points.len() < 4 {
            continue;
        }
        let Some(rectangle) = Rectangle::around(&contour.points) else { continue };
        if rectangle.sides[0].min(rectangle.sides[1]) < 3.0 || rectangle.mean(&map) < FRAME_IS_TEXT {
            continue;
        }
        let (to_x, to_y) = (width / columns as f32, height / rows as f32);
        let corners = rectangle
            .grown()
            .corners()
            .map(|[x, y]| [(x * to_x).round().clamp(0.0, width - 1.0), (y * to_y).round().clamp(0.0, height - 1.0)]);
        frames.push(Frame { corners });
    }
    // Lines whose tops are close are one row of text, read from the left.
    let row = |frame: &Frame| (frame.corners[0][1] / 10.0).round();
    frames.sort_by(|a, b| (row(a), a.corners[0][0]).partial_cmp(&(row(b), b.corners[0][0])).expect("finite"));
    Ok(frames)
}

/// A rectangle by its center, a unit vector along its first side, and the lengths of both sides.
struct Rectangle {
    center: [f32; 2],
    along: [f32; 2],
    sides: [f32; 2],
}

impl Rectangle {
    /// The smallest rectangle around points; its first side is the one closer to horizontal.
    fn around(points: &[Point<i32>]) -> Option<Self> {
        let corners = min_area_rect(points).map(|point| [point.x as f32, point.y as f32]);
        let side = |from: usize, to: usize| [corners[to][0] - corners[from][0], corners[to][1] - corners[from][1]];
        let (mut first, mut second) = (side(0, 1), side(1, 2));
        if first[0].abs() < first[1].abs() {
            (first, second) = (second, first);
        }
        let length = |[x, y]: [f32; 2]| x.hypot(y);
        let sides = [length(first), length(second)];
        if sides[0] == 0.0 {
            return None;
        }
        let forward = if first[0] < 0.0 { -1.0 } else { 1.0 };
        let along = first.map(|part| forward * part / sides[0]);
        let center = [0, 1].map(|axis| corners.iter().map(|corner| corner[axis]).sum::<f32>() / 4.0);
        Some(Self { center, along, sides })
    }

    /// Clockwise from the top left, where `y` points down.
    fn corners(&self) -> [[f32; 2]; 4] {
        let [ax, ay] = self.along;
        [[-0.5, -0.5], [0.5, -0.5], [0.5, 0.5], [-0.5, 0.5]].map(|[u, v]| {
            let (u, v) = (u * self.sides[0], v * self.sides[1]);
            [self.center[0] + u * ax - v * ay, self.center[1] + u * ay + v * ax]
        })
    }

    /// The model marks the core of a line; this far around it lies the whole of it.
    fn grown(mut self) -> Self {
        const RATIO: f32 = 1.6;
        let [width, height] = self.sides;
        let by = RATIO * width * height / (2.0 * (width + height));
        self.sides = [width + 2.0 * by, height + 2.0 * by];
        self
    }

    /// The mean of a map over the pixels inside.
    fn mean(&self, map: &ArrayView2<'_, f32>) -> f32 {
        let corners = self.corners();
        let bound = |axis: usize, limit: usize| {
            let values = corners.map(|corner| corner[axis]);
            let (low, high) = values.iter().fold((f32::MAX, 0.0f32), |(low, high), &v| (low.min(v), high.max(v)));
            (low.max(0.0) as usize, (high.ceil().max(0.0) as usize).min(limit - 1))
        };
        let ((left, right), (top, bottom)) = (bound(0, map.dim().1), bound(1, map.dim().0));
        let (mut sum, mut count) = (0.0, 0);
        for y in top..=bottom {
            for x in left..=right {
                let (dx, dy) = (x as f32 - self.center[0], y as f32 - self.center[1]);
                let (u, v) = (dx * self.along[0] + dy * self.along[1], dy * self.along[0] - dx * self.along[1]);
                if u.abs() <= 0.5 * self.sides[0] && v.abs() <= 0.5 * self.sides[1] {
                    sum += map[(y, x)];
                    count += 1;
                }
            }
        }
        if count == 0 { 0.0 } else { sum / count as f32 }
    }
}

/// The line inside a frame as a picture of its own, text from left to right.
fn cut(picture: &RgbImage, frame: &Frame) -> RgbImage {
    let [a, b, c, d] = frame.corners.map(|[x, y]| (x, y));
    let distance = |p: (f32, f32), q: (f32, f32)| (p.0 - q.0).hypot(p.1 - q.1);
    let width = distance(a, b).max(distance(d, c)).max(1.0).round();
    let height = distance(a, d).max(distance(b, c)).max(1.0).round();
    let straight = [(0.0, 0.0), (width, 0.0), (width, height), (0.0, height)];
    let mut line = RgbImage::new(width as u32, height as u32);
    if let Some(projection) = Projection::from_control_points([a, b, c, d], straight) {
        let border = Border::Constant(Rgb([0, 0, 0]));
        warp_into(picture, projection, Interpolation::Bilinear, border, &mut line);
    }
    // Text that runs from top to bottom.
    if height >= 1.5 * width { imageops::rotate270(&line) } else { line }
}

/// A line at the height that the models read, on a canvas of `width` pixels.
fn canvas(line: &RgbImage, width: usize) -> Array4<f32> {
    const HEIGHT: usize = 48;
    let ratio = line.width() as f32 / line.height() as f32;
    let used = ((HEIGHT as f32 * ratio).ceil() as usize).clamp(1, width);
    let scaled = imageops::resize(line, used as u32, HEIGHT as u32, FilterType::Triangle);
    let mut canvas = Array4::zeros((1, 3, HEIGHT, width));
    canvas.slice_mut(s![0, .., .., ..used]).assign(&planes(&scaled));
    canvas
}

/// Turns a line that stands upside down.
fn upright(turner: &mut Session, line: RgbImage) -> Result<RgbImage, Box<dyn Error>> {
    const SURE: f32 = 0.9;
    let scores = run(turner, &canvas(&line, 192))?;
    Ok(if scores[[0, 1]] > SURE { imageops::rotate180(&line) } else { line })
}

/// The text of a line, and the mean probability of its letters.
fn read(reader: &mut Session, line: &RgbImage) -> Result<(String, f32), Box<dyn Error>> {
    // At least this wide; in steps, so that not every line is a shape of its own.
    const WIDTH: usize = 320;
    const STEP: usize = 64;
    let width = (48.0 * line.width() as f32 / line.height() as f32).ceil() as usize;
    let scores = run(reader, &canvas(line, width.next_multiple_of(STEP).max(WIDTH)))?.into_dimensionality::<Ix3>()?;

    // Class 0 is no letter, the last a space; the model carries the letters between.
    let letters = reader.metadata().get("character").ok_or("the model has no list of letters")?;
    let letters: Vec<&str> = letters.lines().collect();
    let (mut text, mut sum, mut count, mut before) = (String::new(), 0.0, 0, 0);
    for step in scores.index_axis(Axis(0), 0).rows() {
        let (class, &score) = step.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1)).ok_or("no classes")?;
        if class != 0 && class != before {
            text.push_str(letters.get(class - 1).copied().unwrap_or(" "));
            sum += score;
            count += 1;
        }
        before = class;
    }
    Ok((text, if count == 0 { 0.0 } else { sum / count as f32 }))
}
