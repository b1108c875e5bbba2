//! A parameter that the loss cannot train is an error with the lines of the user's program: where the parameter was
//! made, and what keeps the gradient away.

use nnc_frontend::prelude::*;
use nnc_passes::autodiff::{trainable, value_and_grad};

#[derive(Module)]
struct Forgetful {
    used: Linear,
    rounded: Linear,
    forgotten: Linear,
}

impl Forward for Forgetful {
    fn forward(&self, x: &Tensor) -> Tensor {
        let hard = self.rounded.forward(x).round(); // the gradient ends here
        self.used.forward(x) + hard
    }
}

fn make() -> Forgetful {
    let used = Linear::no_bias(3, 2);
    let rounded = Linear::no_bias(3, 2); // the rounded layer
    let forgotten = Linear::no_bias(3, 2); // the forgotten layer
    Forgetful { used, rounded, forgotten }
}

fn faults(model: &Forgetful) -> Vec<Diagnostic> {
    let module = trace("loss", |t| {
        t.bind(model);
        let y = t.input("y", "f32[N, 2]");
        functional::mse_loss(&model.forward(&t.input("x", "f32[N, 3]")), &y)
    })
    .unwrap();
    let func = &module.funcs[0];
    value_and_grad(func, &trainable(func), 0).err().unwrap_or_default()
}

/// `gradient_coverage.rs:17`, for the line that ends with `// marker`.
fn line(marker: &str) -> String {
    let ends = |line: &str| line.ends_with(&format!("// {marker}"));
    let line = include_str!("gradient_coverage.rs").lines().position(ends);
    format!("{}:{}:", file!(), line.expect("the marker is in this file") + 1)
}

#[test]
fn both_lines_are_named() {
    let found = faults(&make());
    assert_eq!(found.len(), 2, "{found:?}");
    let [rounded, forgotten] = [found[0].to_string(), found[1].to_string()];
    for part in ["`rounded.weight`", "round_nearest_even", &line("the rounded layer"), &line("the gradient ends here")]
    {
        assert!(rounded.contains(part), "{part} is not in: {rounded}");
    }
    for part in ["`forgotten.weight`", &line("the forgotten layer")] {
        assert!(forgotten.contains(part), "{part} is not in: {forgotten}");
    }
}

#[test]
fn freezing_opts_out() {
    let model = make();
    model.rounded.weight.freeze();
    model.forgotten.set_requires_grad(false);
    assert_eq!(faults(&model), []);
}
