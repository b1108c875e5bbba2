//! One linear layer on one row, and the same by hand: y = x · Wᵀ + b.
//!
//! ```text
//! cargo run --example linear_layer
//! ```

use nnc::prelude::*;

fn main() -> Result<(), Error> {
    manual_seed(0);
    let lin = Linear::new(3, 2);
    let x = Tensor::rand([1, 3]);
    println!("Input:");
    println!("{x}");

    println!("\n\nWeight and Bias parameters:");
    for param in lin.parameters() {
        println!("{param}");
    }

    let y = lin.forward(&x);
    println!("\n\nOutput:");
    println!("{y}");

    let bias = lin.bias.as_ref().expect("the layer was made with a bias");
    let (x, weight, bias) = (x.to_array()?, lin.weight.to_array(), bias.to_array());
    println!("\n\nBy hand:");
    for (row, &found) in y.to_array()?.iter().enumerate() {
        let terms: Vec<String> = (0..3).map(|k| format!("{:.4} * {:.4}", x[[0, k]], weight[[row, k]])).collect();
        let by_hand = (0..3).map(|k| x[[0, k]] * weight[[row, k]]).sum::<f32>() + bias[row];
        println!("y[{row}] = {} + {:.4} = {by_hand:.4}", terms.join(" + "), bias[row]);
        assert!((by_hand - found).abs() < 1e-6, "y[{row}] is {found}, by hand {by_hand}");
    }
    Ok(())
}
