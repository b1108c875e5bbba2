//! What pooling, normalization and dropout do to numbers one can look at.
//!
//! ```text
//! cargo run --release --example pool_norm_dropout
//! ```

use std::error::Error;

use nnc::prelude::*;

fn main() -> Result<(), Box<dyn Error>> {
    manual_seed(0);

    // The largest element of each 3 by 3 window.
    let image = Tensor::rand([1, 6, 6]);
    println!("{image}");
    println!("{}", MaxPool2d::new(3).forward(&image));

    // Its twin: the smallest.
    println!("{}", MinPool2d::new(3).forward(&image));

    // Numbers from 5 to 25 become numbers of mean 0 and variance 1.
    let numbers = Tensor::rand([1, 4, 4]) * 20.0 + 5.0;
    println!("{numbers}");
    println!("mean {:.4}", numbers.mean(..).item()?);
    let normalized = BatchNorm1d::new(4).forward(&numbers);
    println!("{normalized}");
    let mean = normalized.mean(..).item()?;
    println!("mean within 1e-7 of 0: {}", mean.abs() <= 1e-7);

    // Each call drops others; what survives is scaled, so that the mean stays.
    let ones = Tensor::rand([1, 4, 4]);
    let dropout = Dropout::new().p(0.4);
    println!("{}", dropout.forward(&ones));
    println!("{}", dropout.forward(&ones));
    dropout.eval();
    let kept = dropout.forward(&ones).to_array()? == ones.to_array()?;
    println!("nothing is dropped in evaluation mode: {kept}");
    Ok(())
}
