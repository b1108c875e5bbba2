//! LeNet (LeCun et al., 1998) on images of 32 by 32: two convolutions with pooling, three linear layers.
//!
//! ```text
//! cargo run --release --example lenet
//! ```

use std::error::Error;

use nnc::prelude::*;

/// 1×32×32 to ten scores.
#[derive(Module)]
struct LeNet {
    conv1: Conv2d,
    conv2: Conv2d,
    fc1: Linear,
    fc2: Linear,
    fc3: Linear,
}

impl LeNet {
    fn new() -> Self {
        Self {
            // One channel in, six out, a window of 5 by 5.
            conv1: Conv2d::new(1, 6, 5),
            conv2: Conv2d::new(6, 16, 3),
            // Two poolings leave 6 by 6 of the image.
            fc1: Linear::new(16 * 6 * 6, 120),
            fc2: Linear::new(120, 84),
            fc3: Linear::new(84, 10),
        }
    }
}

impl Forward for LeNet {
    fn forward(&self, x: &Tensor) -> Tensor {
        let pool = |x: &Tensor| functional::max_pool2d(x, functional::Windows::new(2));
        let x = pool(&functional::relu(&self.conv1.forward(x)));
        let x = pool(&functional::relu(&self.conv2.forward(&x)));
        let x = x.view((x.size(0), -1));
        let x = functional::relu(&self.fc1.forward(&x));
        let x = functional::relu(&self.fc2.forward(&x));
        self.fc3.forward(&x)
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    manual_seed(0);
    let net = LeNet::new();
    println!("{net}");
    println!("{} parameters", net.parameters().iter().map(Parameter::numel).sum::<usize>());

    let input = Tensor::rand([1, 1, 32, 32]).to_array()?;
    println!("\nImage batch shape: {:?}", input.shape());

    // The same model for any number of images, as compiled code.
    let mut forward = jit(trace("forward", |t| {
        t.bind(&net);
        t.output("scores", net.forward(&t.input("x", "f32[N, 1, 32, 32]")));
    })?)?;
    let output = forward.call(&[&input])?.remove(0);
    println!("Raw output: {:?}", output.to_f32());
    println!("Output shape: {:?}", output.shape);
    Ok(())
}
