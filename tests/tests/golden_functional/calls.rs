//! Functions with many settings, against PyTorch and torchvision: `golden/calls/FUNCTION.safetensors`.
//!
//! The settings of a call are stored as PyTorch was given them; [`call`] gives them to nnc. Values and gradients are compared
//! on the interpreter and on every CPU tier, and derivatives in `f64` with finite differences.

use libtest_mimic::{Failed, Trial};
use nnc_frontend::functional::{
    Blocks, Deformable, InterpolateMode, OutputExtents, PerDimension, Regions, RoiMode, SampleMode, SamplePadding,
    Sampling,
};
use nnc_frontend::prelude::*;
use nnc_frontend::tensor::einsum;
use nnc_ir::ops::Combiner;
use nnc_tests::execute::Tensors;
use nnc_tests::finite::{self, Along};
use nnc_tests::golden::{Golden, folder};
use serde_json::Value as Json;

use crate::compare::compare;

/// One trial a call.
pub(crate) fn trials() -> Result<Vec<Trial>, std::io::Error> {
    let mut functions = Vec::new();
    for entry in std::fs::read_dir(folder().join("calls"))? {
        functions.push(entry?.path().file_stem().expect("a listed file has a name").to_string_lossy().into_owned());
    }
    functions.sort();
    let mut trials = Vec::new();
    for function in functions {
        let golden = Golden::read(&format!("calls/{function}"));
        let cases = golden.about()["cases"].as_object().expect("a file of calls lists them").clone();
        for (case, about) in cases {
            let function = function.clone();
            let name = format!("{function}::{case}");
            trials.push(Trial::test(name, move || check(&function, &case, &about)));
        }
    }
    Ok(trials)
}

fn check(function: &str, case: &str, about: &Json) -> Result<(), Failed> {
    let golden = Golden::read(&format!("calls/{function}"));
    let settings = Settings(&about["settings"]);
    let named = |(key, data): (String, TensorData)| (format!("in.{key}"), data);
    let inputs: Tensors = golden.group(&format!("{case}/in.")).into_iter().map(named).collect();
    let gradients: Tensors = golden.group(&format!("{case}/grad.")).into_iter().map(named).collect();
    let apply = |x: &[Tensor]| {
        call(function, settings, x).unwrap_or_else(|| panic!("this test knows no function `{function}`"))
    };
    let (out, ct) = (golden.get(&format!("{case}/out")), golden.get(&format!("{case}/ct")));
    compare(&inputs, ct, out, &gradients, apply)?;

    let wrt: Vec<usize> = about["finite"].as_array().into_iter().flatten().filter_map(as_size).collect();
    let inputs: Vec<TensorData> = inputs.into_values().collect();
    if !wrt.is_empty() {
        finite::check(&inputs, &wrt, Along::Directions, apply)?;
    }
    Ok(())
}

/// What a call was given beside tensors: PyTorch's keyword arguments.
#[derive(Clone, Copy)]
struct Settings<'a>(&'a Json);

impl Settings<'_> {
    fn text(&self, name: &str) -> &str {
        self.0[name].as_str().unwrap_or_default()
    }

    fn flag(&self, name: &str) -> bool {
        self.0[name].as_bool().unwrap_or_default()
    }

    fn number(&self, name: &str) -> f64 {
        self.0[name].as_f64().unwrap_or_default()
    }

    fn int(&self, name: &str) -> i64 {
        self.0[name].as_i64().unwrap_or_default()
    }

    fn sizes(&self, name: &str) -> Vec<usize> {
        self.0[name].as_array().into_iter().flatten().filter_map(as_size).collect()
    }

    fn pair(&self, name: &str) -> [usize; 2] {
        self.sizes(name).try_into().unwrap_or_else(|sizes| panic!("{name} is {sizes:?}, expected a pair"))
    }
}

fn as_size(number: &Json) -> Option<usize> {
    number.as_u64().map(|number| number as usize)
}

/// Calls `function` with PyTorch's settings, if this test knows it. `x` are the tensors in PyTorch's order.
fn call(function: &str, settings: Settings<'_>, x: &[Tensor]) -> Option<Tensor> {
    Some(match function {
        "grid_sample" => functional::grid_sample(&x[0], &x[1], sampling(settings)),
        "affine_grid" => functional::affine_grid(&x[0], &settings.sizes("size"), settings.flag("align_corners")),
        "interpolate" => {
            let mode = InterpolateMode::from(settings.text("mode"));
            functional::interpolate(&x[0], &extents(settings), &mode, settings.flag("align_corners"))
        }
        "roi_align" => functional::roi_align(&x[0], &x[1], &x[2], &regions(settings)),
        "roi_pool" => {
            let (size, scale) = (settings.pair("output_size"), settings.number("spatial_scale"));
            functional::roi_pool(&x[0], &x[1], &x[2], size, scale)
        }
        "deform_conv" => deform_conv(settings, x),
        "unfold" => functional::unfold(&x[0], blocks(settings)),
        "fold" => functional::fold(&x[0], settings.pair("output_size"), blocks(settings)),
        "max_unpool" => functional::max_unpool(&x[0], &x[1], &settings.sizes("output_size")),
        "einsum" => einsum(settings.text("equation"), x),
        "det" => x[0].det(),
        "diagonal" => x[0].diagonal(settings.int("offset"), settings.int("dim1"), settings.int("dim2")),
        "gather" => x[0].gather(settings.int("dim"), &x[1]),
        "index_select" => x[0].index_select(settings.int("dim"), &x[1]),
        "scatter" => x[0].scatter(settings.int("dim"), &x[1], &x[2]),
        "scatter_add" => x[0].scatter_add(settings.int("dim"), &x[1], &x[2]),
        "scatter_reduce" => {
            let combiner = match settings.text("reduce") {
                "sum" => Combiner::Add,
                "prod" => Combiner::Multiply,
                "amax" => Combiner::Maximum,
                _ => Combiner::Minimum,
            };
            x[0].scatter_reduce(settings.int("dim"), &x[1], &x[2], combiner)
        }
        "scatter_nd" => {
            let combiner = if settings.flag("accumulate") { Combiner::Add } else { Combiner::Assign };
            x[0].scatter_nd(&x[1], &x[2], combiner)
        }
        "gather_nd" => x[0].gather_nd(0, &x[1]),
        _ => return None,
    })
}

fn sampling(settings: Settings<'_>) -> Sampling {
    let mode = match settings.text("mode") {
        "nearest" => SampleMode::Nearest,
        "bicubic" => SampleMode::Cubic,
        _ => SampleMode::Linear,
    };
    let padding = match settings.text("padding_mode") {
        "border" => SamplePadding::Border,
        "reflection" => SamplePadding::Reflection,
        _ => SamplePadding::Zeros,
    };
    Sampling { mode, padding, align_corners: settings.flag("align_corners") }
}

fn extents(settings: Settings<'_>) -> OutputExtents {
    let sizes = settings.sizes("size");
    if !sizes.is_empty() {
        return OutputExtents::Size(PerDimension { values: sizes, single: false });
    }
    OutputExtents::ScaleFactor(match settings.0["scale_factor"].as_array() {
        Some(factors) => PerDimension { values: factors.iter().filter_map(Json::as_f64).collect(), single: false },
        None => settings.number("scale_factor").into(),
    })
}

fn regions(settings: Settings<'_>) -> Regions {
    Regions {
        output_size: settings.pair("output_size"),
        spatial_scale: settings.number("spatial_scale"),
        // Below 1: as many points as elements.
        sampling_ratio: usize::try_from(settings.int("sampling_ratio")).ok(),
        aligned: settings.flag("aligned"),
        mode: RoiMode::Mean,
    }
}

fn blocks(settings: Settings<'_>) -> Blocks {
    Blocks {
        kernel_size: settings.pair("kernel_size"),
        dilation: settings.pair("dilation"),
        padding: settings.pair("padding"),
        stride: settings.pair("stride"),
    }
}

/// Groups follow from the shapes, as in torchvision.
fn deform_conv(settings: Settings<'_>, x: &[Tensor]) -> Tensor {
    let extent = |tensor: usize, dim: i64| x[tensor].size(dim).as_const().expect("shapes are fixed");
    let n_taps = extent(2, 2) * extent(2, 3);
    let deformable = Deformable {
        stride: settings.sizes("stride"),
        padding: settings.sizes("padding").into_iter().map(|amount| (amount as i64, amount as i64)).collect(),
        dilation: settings.sizes("dilation"),
        groups: extent(0, 1) / extent(2, 1),
        offset_groups: extent(1, 1) / (2 * n_taps),
    };
    let bias = x.get(3).map(|bias| bias as &dyn ToTensor);
    functional::deform_conv(&x[0], &x[1], &x[2], bias, x.get(4), &deformable)
}
