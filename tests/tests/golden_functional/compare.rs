//! Comparing a function and its gradients with stored numbers, on the interpreter and in compiled code.

use nnc::Target;
use nnc_frontend::prelude::*;
use nnc_ir::Bindings;
use nnc_ir::interp::eval_func;
use nnc_passes::autodiff::value_and_grad;
use nnc_tests::execute::{Tensors, Way, check_ways, tiers};
use nnc_tests::golden::{Scale, close};

const RELATIVE: f64 = 1e-5;

/// Compares `out`, and the gradients of `sum(out * ct)` by the inputs that `gradients` names, with what `call` makes of
/// `inputs`: on the interpreter, and on every CPU tier, which must agree to the bit.
///
/// # Errors
/// The first thing that differs; faults of the function.
pub(crate) fn compare(
    inputs: &Tensors,
    ct: &TensorData,
    out: &TensorData,
    gradients: &Tensors,
    call: impl Fn(&[Tensor]) -> Tensor,
) -> Result<(), String> {
    let module = trace("loss", |t| {
        let tensors: Vec<Tensor> = inputs.iter().map(|(name, data)| t.input(name, data.ty())).collect();
        let out = call(&tensors);
        t.output("loss", (&out * t.input("ct", ct.ty())).sum(..));
        t.output("out", out);
    });
    let module = module.map_err(|error| error.to_string())?;
    let func = &module.funcs[0];
    let position = |name: &String| func.params.iter().position(|param| param.name == *name);
    let wrt: Vec<usize> = gradients.keys().filter_map(position).collect();
    let func = value_and_grad(func, &wrt, 0).map_err(lines)?;
    let mut inputs = inputs.clone();
    inputs.insert("ct".to_string(), ct.clone());

    let evaluated = eval_func(&func, &module.weights, &inputs, &Bindings::new()).map_err(lines)?;
    let ways: Vec<Way> =
        tiers().iter().map(|&tier| Way { target: Target::Cpu, tier, fuse: true, threads: 1 }).collect();
    let compiled = check_ways(&func, &module.weights, &inputs, &Bindings::new(), &ways, None, None)?;
    for (how, found) in [("interpreted", &evaluated), ("compiled", &compiled)] {
        close(out, &found["out"], RELATIVE, Scale::Tensor).map_err(|why| format!("{how}: {why}"))?;
        for (name, expected) in gradients {
            close(expected, &found[name.as_str()], RELATIVE, Scale::ElementOrOne)
                .map_err(|why| format!("{how}: gradient of {name}: {why}"))?;
        }
    }
    Ok(())
}

fn lines(faults: Vec<Diagnostic>) -> String {
    faults.iter().map(Diagnostic::to_string).collect::<Vec<_>>().join("\n")
}
