//! Gradients as arrays, for training loops that do the update themselves.
//!
//! [`grad_fn`] sits beside [`Trainer`](crate::Trainer): it compiles forward, loss and backward, but no optimizer.
//! Parameters stay with the caller, who may change them between calls in any way.

use std::collections::BTreeMap;

use nnc_frontend::array::ToData;
use nnc_frontend::parameter::Parameter;
use nnc_frontend::tensor::Tensor;
use nnc_frontend::trace::{Trace, trace};
use nnc_ir::{Bindings, Module, Scalar, TensorData};
use nnc_passes::autodiff::value_and_grad;
use nnc_runtime::Instance;

use crate::compile::Options;
use crate::error::Error;
use crate::jit::{bind_inputs, compile_cached, read_output};

/// A loss and its gradients, compiled on first call with new shapes: what [`grad_fn`] makes.
pub struct GradFn {
    module: Module,
    /// By the name that the function knows them under.
    parameters: Vec<(String, Parameter)>,
    options: Options,
    threads: usize,
    instances: BTreeMap<Bindings, Instance>,
}

/// The function that `loss` builds, with its gradients with respect to `parameters`, named as given (or by
/// [`Module::named_parameters`](nnc_frontend::Module::named_parameters)).
///
/// ```
/// use nnc::prelude::*;
///
/// let weight = Parameter::new(Tensor::ones([2]));
/// let mut loss = nnc::grad_fn([("weight", &weight)], |t| (t.input("x", "f32[2]") * &weight).square().sum(..))?;
/// let (value, grads) = loss.call(&[&ndarray::array![1.0f32, 3.0]])?;
/// assert_eq!((value, grads[0].to_f32()), (10.0, vec![2.0, 18.0]));
///
/// weight.set(&ndarray::array![0.0f32, 1.0])?;
/// assert_eq!(loss.call(&[&ndarray::array![1.0f32, 3.0]])?.0, 9.0);
/// # Ok::<(), nnc::Error>(())
/// ```
///
/// # Errors
/// Faults of the loss with their source lines, parameters without a path to it, and a loss that is no scalar.
pub fn grad_fn<N: Into<String>, P: std::borrow::Borrow<Parameter>>(
    parameters: impl IntoIterator<Item = (N, P)>,
    loss: impl FnOnce(&Trace) -> Tensor,
) -> Result<GradFn, Error> {
    let parameters: Vec<(String, Parameter)> =
        parameters.into_iter().map(|(name, parameter)| (name.into(), parameter.borrow().clone())).collect();
    let Module { mut funcs, weights } = trace("loss_and_gradients", |t| {
        for (name, parameter) in &parameters {
            t.parameter(name, parameter);
        }
        let loss = loss(t);
        t.output("loss", loss);
    })?;
    let func = funcs.remove(0);
    let wrt = |(name, _): &(String, Parameter)| {
        func.params.iter().position(|param| param.name == *name).expect("the parameter was declared under this name")
    };
    let wrt: Vec<usize> = parameters.iter().map(wrt).collect();
    let func = value_and_grad(&func, &wrt, 0)?;
    let module = Module { funcs: vec![func], weights };
    Ok(GradFn { module, parameters, options: Options::default(), threads: 0, instances: BTreeMap::new() })
}

impl GradFn {
    /// Compiles with other options from here on.
    #[must_use]
    pub fn options(mut self, options: Options) -> Self {
        self.options = options;
        self.instances.clear();
        self
    }

    /// Runs on at most this many threads; 0 is one a core.
    #[must_use]
    pub fn threads(mut self, threads: usize) -> Self {
        self.threads = threads;
        self.instances.clear();
        self
    }

    /// The loss for these inputs and the parameters' present data, and the gradient of each parameter in order.
    ///
    /// # Errors
    /// Wrong number, types or shapes of inputs, and whatever compiling or running reports.
    pub fn call(&mut self, inputs: &[&dyn ToData]) -> Result<(f64, Vec<TensorData>), Error> {
        let data: Vec<TensorData> = inputs.iter().map(|input| input.to_data()).collect();
        let func = &self.module.funcs[0];
        let dims = bind_inputs(func, &data, &self.options.dims)?;
        if !self.instances.contains_key(&dims) {
            let options = Options { dims: dims.clone(), freeze: false, ..self.options.clone() };
            let (executable, _) = compile_cached(func, &self.module.weights, &options)?;
            self.instances.insert(dims.clone(), executable.instance(self.threads)?);
        }
        let instance = self.instances.get_mut(&dims).expect("the instance was just made");
        for (name, parameter) in &self.parameters {
            instance.write(name.as_str(), &parameter.data().bytes)?;
        }
        // Inputs come first among a function's parameters.
        for (param, data) in func.params.iter().zip(&data) {
            instance.write(param.name.as_str(), &data.bytes)?;
        }
        instance.run()?;
        let loss = read_output(instance, 0)?;
        let loss = Scalar::read(loss.dtype, &loss.bytes).to_f64();
        // Between loss and gradients stand the states that the forward pass changes, such as the random one.
        let n_results = func.results.len();
        let gradients = (n_results - self.parameters.len()..n_results).map(|idx| read_output(instance, idx));
        Ok((loss, gradients.collect::<Result<_, _>>()?))
    }
}

#[cfg(test)]
mod tests {
    use ndarray::array;
    use nnc_frontend::module::Module as _;
    use nnc_frontend::nn::Linear;

    use super::*;

    #[test]
    fn gradients_follow_the_parameters_and_the_batch() {
        let layer = Linear::new(2, 1);
        layer.weight.set(array![[1.0f32, -1.0]]).expect("it has this shape");
        layer.bias.as_ref().expect("it has one").set(array![0.5f32]).expect("it has this shape");
        let mut loss = grad_fn(layer.named_parameters(), |t| layer.forward(&t.input("x", "f32[N, 2]")).sum(..))
            .expect("it is differentiable");
        let (value, grads) = loss.call(&[&array![[1.0f32, 2.0], [3.0, 4.0]]]).expect("it runs");
        assert_eq!(value, -1.0);
        assert_eq!((grads[0].to_f32(), grads[1].to_f32()), (vec![4.0, 6.0], vec![2.0]));

        layer.weight.set(array![[0.0f32, 0.0]]).expect("it has this shape");
        let (value, grads) = loss.call(&[&array![[1.0f32, 2.0]]]).expect("it runs");
        assert_eq!((value, grads[0].to_f32()), (0.5, vec![1.0, 2.0]));
    }

    #[test]
    fn gradients_stand_behind_changed_states() {
        let scale = Parameter::new(Tensor::ones([3]));
        let dropout = |x: &Tensor| nnc_frontend::functional::dropout(x, 0.5, true);
        let mut loss = grad_fn([("scale", &scale)], |t| dropout(&(t.input("x", "f32[3]") * &scale)).sum(..))
            .expect("it is differentiable");
        let (value, grads) = loss.call(&[&array![1.0f32, 2.0, 4.0]]).expect("it runs");
        assert_eq!(grads[0].shape, [3]);
        assert_eq!(grads[0].to_f32().iter().map(|&grad| f64::from(grad)).sum::<f64>(), value);
    }

    #[test]
    fn a_parameter_the_loss_does_not_use_is_refused() {
        let unused = Parameter::new(Tensor::ones([2]));
        let Err(error) = grad_fn([("unused", &unused)], |t| t.input("x", "f32[]")) else {
            panic!("there is no path from the parameter to the loss");
        };
        assert!(error.to_string().contains("unused"), "{error}");
    }
}
