//! Pools over regions of interest: `RoiAlign` and `MaxRoiPool`.

use nnc_frontend::Tensor;
use nnc_frontend::functional::{Regions, RoiMode, roi_align, roi_pool};

use super::{Entry, Outcome, one, op, op_range};
use crate::cx::Cx;
use crate::fault::Fault;

pub(super) const OPS: &[Entry] = &[
    op_range("RoiAlign", 10..=15, |cx| align(cx, false)),
    op("RoiAlign", 16.., |cx| {
        let aligned = match cx.string_or("coordinate_transformation_mode", "half_pixel")?.as_str() {
            "half_pixel" => true,
            "output_half_pixel" => false,
            other => {
                let expected = "half_pixel or output_half_pixel";
                return Err(cx.invalid(format!("`coordinate_transformation_mode` is `{other}`, expected {expected}")));
            }
        };
        align(cx, aligned)
    }),
    op("MaxRoiPool", 1.., max_roi_pool),
];

/// Extents of a pooled region.
fn extent(cx: &Cx<'_>, name: &str, value: i64) -> Result<usize, Fault> {
    usize::try_from(value)
        .ok()
        .filter(|&extent| extent > 0)
        .ok_or_else(|| cx.invalid(format!("`{name}` is {value}, expected at least 1")))
}

fn align(cx: &Cx<'_>, aligned: bool) -> Outcome {
    let (x, boxes, images) = (cx.input(0)?, cx.input(1)?, cx.input(2)?);
    let side = |name: &str| extent(cx, name, cx.int_or(name, 1)?);
    let mode = match cx.string_or("mode", "avg")?.as_str() {
        "avg" => RoiMode::Mean,
        "max" => RoiMode::Max,
        other => return Err(cx.invalid(format!("`mode` is `{other}`, expected avg or max"))),
    };
    let sampling_ratio = match cx.int_or("sampling_ratio", 0)? {
        ratio @ 1.. => Some(ratio as usize),
        _ => None,
    };
    // How many points the largest is taken of must be known.
    let boxes = match (mode, sampling_ratio) {
        (RoiMode::Max, None) => Tensor::from_data(cx.known(1)?),
        _ => boxes,
    };
    let regions = Regions {
        output_size: [side("output_height")?, side("output_width")?],
        spatial_scale: cx.float_or("spatial_scale", 1.0)?,
        sampling_ratio,
        aligned,
        mode,
    };
    one(roi_align(&x, &boxes, &images, &regions))
}

/// Boxes begin with the number of their image.
fn max_roi_pool(cx: &mut Cx<'_>) -> Outcome {
    let (x, rois) = (cx.input(0)?, cx.input(1)?);
    let shape = cx.ints_or("pooled_shape", &[])?;
    let &[height, width] = shape.as_slice() else {
        return Err(cx.invalid(format!("`pooled_shape` is {shape:?}, expected height and width")));
    };
    let size = [extent(cx, "pooled_shape", height)?, extent(cx, "pooled_shape", width)?];
    if rois.rank() != 2 || rois.dims()[1] != 5.into() {
        return Err(cx.invalid(format!("the regions are {}, expected [K, 5]", rois.ty())));
    }
    let images = rois.select(1, 0).long();
    one(roi_pool(&x, &rois.narrow(1, 1, 4), &images, size, cx.float_or("spatial_scale", 1.0)?))
}
