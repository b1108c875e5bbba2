//! Models that PyTorch builds alike: `golden/interchange/NAME.safetensors` is what it saved of them, and
//! `NAME.io.safetensors` holds inputs and results in evaluation mode.

use std::rc::Rc;

use nnc_frontend::prelude::*;
use nnc_frontend::trace::TraceError;
use nnc_ir::Module as IrModule;

use crate::execute::Tensors;
use crate::golden::{Golden, folder};
use crate::layers::Outputs;

/// Inputs to results.
type ForwardFn = dyn Fn(&[Tensor]) -> Vec<Tensor>;

/// A model, in evaluation mode, and its forward pass.
pub struct Built {
    /// The model.
    pub module: Rc<dyn Module>,
    /// Its results for inputs in order.
    pub forward: Box<ForwardFn>,
}

/// A model's name, how it is built, and the shapes of its inputs.
pub type Entry = (&'static str, fn() -> Built, &'static [&'static [usize]]);

/// The models of `golden/interchange.py`.
pub const MODELS: [Entry; 3] = [
    ("transformer", transformer, &[&[2, 7, 16], &[2, 5, 16]]),
    ("lstm", lstm, &[&[9, 2, 6]]),
    ("batch_norm_cnn", batch_norm_cnn, &[&[3, 1, 9, 7]]),
];

fn transformer() -> Built {
    let model = Transformer::new(16, 4).num_encoder_layers(2).num_decoder_layers(2).dim_feedforward(24);
    let model = model.activation(functional::gelu).batch_first(true);
    Built::new(model, |model, x| model.forward(&x[0], &x[1]))
}

fn lstm() -> Built {
    let model = LSTM::new(6, 8).num_layers(2).bidirectional(true).dropout(0.2);
    Built::new(model, |model, x| model.forward(&x[0]))
}

fn batch_norm_cnn() -> Built {
    let model = sequential![
        Conv2d::new(1, 4, 3).padding(1),
        BatchNorm2d::new(4),
        ReLU::new(),
        MaxPool2d::new(2),
        Conv2d::new(4, 6, 3).bias(false),
        BatchNorm2d::new(6),
        ReLU::new(),
        AdaptiveAvgPool2d::new(1),
        Flatten::new(),
        Linear::new(6, 3),
    ];
    Built::new(model, |model, x| model.forward(&x[0]))
}

impl Built {
    fn new<M: Module + 'static, O: Outputs + 'static>(module: M, forward: fn(&M, &[Tensor]) -> O) -> Self {
        module.eval();
        let module = Rc::new(module);
        let own = module.clone();
        let forward = move |inputs: &[Tensor]| {
            let mut outputs = Vec::new();
            forward(&own, inputs).flatten(&mut outputs);
            outputs
        };
        Self { module, forward: Box::new(forward) }
    }

    /// The model as a function of `inputs`, with results `out.0`, `out.1`, ....
    ///
    /// # Errors
    /// Faults of the model.
    pub fn trace(&self, inputs: &Tensors) -> Result<IrModule, TraceError> {
        trace("forward", |t| {
            t.bind(&*self.module);
            let inputs: Vec<Tensor> = inputs.iter().map(|(name, data)| t.input(name, data.ty())).collect();
            for (idx, output) in (self.forward)(&inputs).iter().enumerate() {
                t.output(&format!("out.{idx}"), output);
            }
        })
    }
}

/// What PyTorch saved of the model `name`.
///
/// # Errors
/// The first fault of the file.
pub fn saved(name: &str) -> Result<StateDict, Diagnostic> {
    StateDict::load(folder().join(format!("interchange/{name}.safetensors")))
}

/// Inputs of the model `name`, and PyTorch's results.
pub fn inputs_and_results(name: &str) -> (Tensors, Tensors) {
    let golden = Golden::read(&format!("interchange/{name}.io"));
    let group = |prefix: &str| golden.group("").into_iter().filter(|(key, _)| key.starts_with(prefix)).collect();
    (group("in."), group("out."))
}
