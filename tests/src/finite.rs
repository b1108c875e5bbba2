//! Gradients against central finite differences, in `f64` on the interpreter.

use nnc_frontend::tensor::Tensor;
use nnc_frontend::trace::trace;
use nnc_ir::interp::eval_func;
use nnc_ir::{Bindings, DType, Diagnostic, Func, Scalar, TensorData};
use nnc_passes::autodiff::value_and_grad;

use crate::execute::{Tensors, Weights};
use crate::golden::symmetric;

/// Step of the differences: a power of two, so that it is exact beside simple numbers.
const STEP: f64 = 1.0 / 65536.0;

/// Largest error, relative to the larger of 1 and the expected value. That of the differences is of the order of the
/// step's square, and of a double's last bit divided by the step.
const TOLERANCE: f64 = 2e-7;

/// Directions in which a function of many numbers is tried.
const N_DIRECTIONS: usize = 4;

/// Where the derivatives of a function are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Along {
    /// Each element of each input by itself.
    Elements,
    /// A few directions through all elements of all inputs at once: for what another implementation has confirmed too.
    Directions,
}

/// The same numbers in another floating element type; others as they are.
pub fn convert(data: &TensorData, dtype: DType) -> TensorData {
    if !data.dtype.is_float() {
        return data.clone();
    }
    let scalars = data.scalars().map(|scalar| Scalar::from_f64(dtype, scalar.to_f64()));
    TensorData::from_scalars(dtype, data.shape.clone(), scalars)
}

/// Compares the gradients of what `call` gives, each element weighted by `symmetric(i, 900, 1)`, with finite
/// differences. `call` gets `inputs` in order, floats as `f64`; `wrt` are the positions of those it is differentiated by.
///
/// # Errors
/// The first derivative that differs; faults of the function.
pub fn check(
    inputs: &[TensorData],
    wrt: &[usize],
    along: Along,
    call: impl FnOnce(&[Tensor]) -> Tensor,
) -> Result<(), String> {
    let named = |(idx, data): (usize, &TensorData)| (format!("in.{idx}"), convert(data, DType::F64));
    let inputs: Tensors = inputs.iter().enumerate().map(named).collect();
    let module = trace("loss", |t| {
        let tensors: Vec<Tensor> = inputs.iter().map(|(name, data)| t.input(name, data.ty())).collect();
        let out = call(&tensors);
        let Some(ty) = out.checked_ty() else { return };
        let weights = symmetric(&ty.shape.as_fixed().expect("shapes are fixed"), 900, 1.0);
        t.output("loss", (out.double() * Tensor::from_data(convert(&weights, DType::F64))).sum(..));
    });
    let module = module.map_err(|error| error.to_string())?;
    check_func(&module.funcs[0], &module.weights, &inputs, wrt, along)
}

/// [`check`] of a function whose first result is its loss, a scalar in `f64`.
///
/// # Errors
/// As for [`check`].
pub fn check_func(func: &Func, weights: &Weights, inputs: &Tensors, wrt: &[usize], along: Along) -> Result<(), String> {
    let differentiated = value_and_grad(func, wrt, 0).map_err(lines)?;
    let found = eval_func(&differentiated, weights, inputs, &Bindings::new()).map_err(lines)?;
    let loss = |inputs: &Tensors| -> Result<f64, String> {
        let results = eval_func(func, weights, inputs, &Bindings::new()).map_err(lines)?;
        Ok(results[0].get(0).to_f64())
    };
    let names: Vec<&str> = wrt.iter().map(|&idx| func.params[idx].name.as_str()).collect();
    let n_results = func.results.len();
    let gradients: Vec<Vec<f64>> = (0..wrt.len()).map(|idx| found[n_results + idx].to_f64()).collect();
    for direction in directions(&gradients, along) {
        let moved = |by: f64| -> Tensors {
            let mut moved = inputs.clone();
            for (name, direction) in names.iter().zip(&direction.along) {
                let data = &inputs[*name];
                let values = data.scalars().zip(direction).map(|(value, step)| value.to_f64() + by * step);
                let scalars = values.map(|value| Scalar::from_f64(DType::F64, value));
                moved[*name] = TensorData::from_scalars(DType::F64, data.shape.clone(), scalars);
            }
            moved
        };
        let expected = (loss(&moved(STEP))? - loss(&moved(-STEP))?) / (2.0 * STEP);
        let products = gradients.iter().flatten().zip(direction.along.iter().flatten());
        let found: f64 = products.map(|(gradient, step)| gradient * step).sum();
        let error = (found - expected).abs() / expected.abs().max(1.0);
        // A NaN is an error too.
        if !error.le(&TOLERANCE) {
            let place = match direction.element {
                Some((input, element)) => format!("by element {element} of {}", names[input]),
                None => format!("in a direction through {}", names.join(", ")),
            };
            return Err(format!("the derivative {place} is {found}, finite differences give {expected}"));
        }
    }
    Ok(())
}

/// Where to go from the inputs.
struct Direction {
    /// For each input the step of each element.
    along: Vec<Vec<f64>>,
    /// The only element that moves: its input and its position.
    element: Option<(usize, usize)>,
}

fn directions(gradients: &[Vec<f64>], along: Along) -> Vec<Direction> {
    let zeros: Vec<Vec<f64>> = gradients.iter().map(|gradient| vec![0.0; gradient.len()]).collect();
    match along {
        Along::Elements => {
            let places = gradients.iter().enumerate();
            let places = places.flat_map(|(input, gradient)| (0..gradient.len()).map(move |element| (input, element)));
            places
                .map(|(input, element)| {
                    let mut along = zeros.clone();
                    along[input][element] = 1.0;
                    Direction { along, element: Some((input, element)) }
                })
                .collect()
        }
        Along::Directions => (0..N_DIRECTIONS)
            .map(|salt| {
                let steps = |idx: usize, n: usize| symmetric(&[n], (950 + 10 * salt + idx) as u32, 1.0).to_f64();
                let along = gradients.iter().enumerate().map(|(idx, gradient)| steps(idx, gradient.len())).collect();
                Direction { along, element: None }
            })
            .collect(),
    }
}

fn lines(faults: Vec<Diagnostic>) -> String {
    faults.iter().map(Diagnostic::to_string).collect::<Vec<_>>().join("\n")
}
