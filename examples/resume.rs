//! A training run that may be killed at any moment: started again with the same arguments, it continues, and ends with
//! the same bits as if it had never been interrupted.
//!
//! ```text
//! cargo run --release --example resume -- --run out/spirals
//! ```
//!
//! writes checkpoints, the loss curve (`loss.svg`) and the history (`history.csv`) to `out/spirals`. Kill it, start it
//! again, and compare.

use std::error::Error;
use std::path::PathBuf;

use clap::Parser;
use ndarray::{Array1, Array2};
use nnc::frontend::random::Generator;
use nnc::prelude::*;

/// Tells three spirals apart.
#[derive(Parser)]
struct Args {
    /// Folder of the run
    #[arg(long)]
    run: PathBuf,
    /// Passes over the training points
    #[arg(long, default_value_t = 40)]
    epochs: usize,
    /// Steps from checkpoint to checkpoint
    #[arg(long, default_value_t = 25)]
    every_steps: u64,
    /// What initial weights, noise and shuffles follow from
    #[arg(long, default_value_t = 0)]
    seed: u64,
}

const N_CLASSES: usize = 3;

/// Points on arms of a spiral, and the arm that each is on.
fn spirals(n: usize, seed: u64) -> TensorDataset<f32, i64> {
    let mut generator = Generator::new(seed);
    let mut points = Array2::zeros((n, 2));
    for (idx, mut point) in points.rows_mut().into_iter().enumerate() {
        let arm = (idx % N_CLASSES) as f64;
        let radius = 0.1 + 0.9 * generator.uniform();
        let angle = std::f64::consts::TAU * (arm / N_CLASSES as f64 + 0.6 * radius) + 0.1 * generator.normal();
        point[0] = (radius * angle.cos()) as f32;
        point[1] = (radius * angle.sin()) as f32;
    }
    TensorDataset::new(points, Array1::from_iter((0..n).map(|idx| (idx % N_CLASSES) as i64)))
}

fn main() -> Result<(), Box<dyn Error>> {
    let args = Args::parse();
    manual_seed(args.seed);
    let parts = random_split(spirals(720, args.seed), [0.8, 0.2], args.seed)?;
    let train_dl = DataLoader::new(parts[0].clone()).batch_size(32).shuffle(true).num_workers(1);
    let valid_dl = DataLoader::new(parts[1].clone()).batch_size(64);

    let model = sequential![
        Linear::new(2, 32),
        BatchNorm1d::new(32),
        Tanh::new(),
        Dropout::new().p(0.1),
        Linear::new(32, 32),
        Tanh::new(),
        Linear::new(32, N_CLASSES),
    ];
    let mut trainer = Trainer::new(model, Loss::cross_entropy(), AdamW::new(0.01)).clip_grad_norm(1.0).build()?;
    std::fs::create_dir_all(&args.run)?;
    let history = trainer
        .fit(&train_dl)
        .epochs(args.epochs)
        .validation(&valid_dl)
        .metric(metrics::Accuracy::new())
        .early_stopping(EarlyStopping::new("valid_loss").patience(args.epochs).restore_best(true))
        .checkpoints(Checkpoints::new(args.run.join("checkpoints")).every_steps(args.every_steps).best("valid_loss"))
        .resume()
        .plot(args.run.join("loss.svg"))
        .log(args.run.join("history.csv"))
        .run()?;

    let Some(last) = history.epochs.last() else { return Err("no epochs were asked for".into()) };
    println!("after {} steps: {last}", last.step);
    let weights = trainer.sync()?.parameters();
    let sum: f64 = weights.iter().flat_map(|weight| weight.to_array()).map(f64::from).sum();
    println!(
        "sum of the {} parameters of the best epoch: {sum:?}",
        weights.iter().map(Parameter::numel).sum::<usize>()
    );
    Ok(())
}
