//! A small model, and what can be seen of it: the tree, one layer, the parameters, and an output.
//!
//! ```text
//! cargo run --example tiny_model
//! ```

use nnc::prelude::*;

/// Two linear layers with a ReLU between them, and probabilities at the end.
#[derive(Module)]
struct TinyModel {
    linear1: Linear,
    activation: ReLU,
    linear2: Linear,
    softmax: Softmax,
}

impl TinyModel {
    fn new() -> Self {
        Self {
            linear1: Linear::new(100, 200),
            activation: ReLU::new(),
            linear2: Linear::new(200, 10),
            softmax: Softmax::new(1),
        }
    }
}

impl Forward for TinyModel {
    fn forward(&self, x: &Tensor) -> Tensor {
        let x = self.linear1.forward(x);
        let x = self.activation.forward(&x);
        let x = self.linear2.forward(&x);
        self.softmax.forward(&x)
    }
}

fn main() -> Result<(), Error> {
    manual_seed(0);
    let tinymodel = TinyModel::new();

    println!("The model:");
    println!("{tinymodel}");

    println!("\n\nJust one layer:");
    println!("{}", tinymodel.linear2);

    println!("\n\nModel params:");
    for param in tinymodel.parameters() {
        println!("{param}");
    }

    println!("\n\nLayer params:");
    for param in tinymodel.linear2.parameters() {
        println!("{param}");
    }

    // Outside a trace an op runs at once. The same `forward`, traced, is a graph, which compiles on its first call.
    let x = Tensor::rand([2, 100]);
    let eager = tinymodel.forward(&x);
    let mut forward = jit(trace("forward", |t| {
        t.bind(&tinymodel);
        tinymodel.forward(&t.input("x", "f32[N, 100]"))
    })?)?;
    let compiled = forward.call(&[&x.data()?])?;

    println!("\n\nOutput for two random rows:");
    println!("{}", Tensor::from_data(compiled[0].clone()));
    let pairs = compiled[0].to_f32().into_iter().zip(eager.to_array()?);
    let difference = pairs.map(|(lhs, rhs)| (lhs - rhs).abs()).fold(0.0, f32::max);
    println!("compiled and eager agree to 1e-6: {}", difference < 1e-6);
    Ok(())
}
