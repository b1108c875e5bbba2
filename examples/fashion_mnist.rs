//! Fashion-MNIST from images to a saved model: a network of three linear layers, trained in compiled code.
//!
//! ```text
//! cargo run --release --example fashion_mnist -- --out out/fashion_mnist
//! ```
//!
//! writes `out/fashion_mnist.ir` with its weights in `out/fashion_mnist.safetensors`, and sixteen images of the test
//! set in `out/test_images.npz`, for `nnc compile` and `nnc run`. With `--predictions logits.npz` it reads what
//! `nnc run` made of those images and names the classes.

use std::error::Error;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Parser;
use ndarray::{Array1, Array2, Array3, Ix2, Ix3};
use ndarray_npy::{NpzReader, NpzWriter};
use nnc::ir::file::save_module;
use nnc::prelude::*;
use nnc::trainer::Metric;

const CLASSES: [&str; 10] =
    ["T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"];

/// Images of the test set that are written for `nnc run`.
const N_SAVED: usize = 16;

/// Trains a classifier of Fashion-MNIST and saves it.
#[derive(Parser)]
struct Args {
    /// Folder of the four IDX files, plain or gzipped
    #[arg(long, default_value = "/usr/share/datasets/fashion-mnist")]
    data: PathBuf,
    /// Passes over the training images
    #[arg(long, default_value_t = 5)]
    epochs: usize,
    /// What initial weights and shuffles follow from
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Threads a run may use; 0 is one a core
    #[arg(long, default_value_t = 0)]
    threads: usize,
    /// Emitter of CPU code: cranelift or llvm
    #[arg(long, default_value = "cranelift", value_parser = parse_tier)]
    tier: Tier,
    /// Use at most this many images for training, and a fifth of it for validation and for the test
    #[arg(long)]
    limit: Option<usize>,
    /// Where the trained model goes, without extension
    #[arg(long)]
    out: Option<PathBuf>,
    /// Folder for checkpoints after each epoch and each minute
    #[arg(long, value_name = "DIR")]
    checkpoints: Option<PathBuf>,
    /// Continue from the newest checkpoint, if there is one
    #[arg(long, requires = "checkpoints")]
    resume: bool,
    /// Draw the loss curve to this file
    #[arg(long, value_name = "SVG")]
    plot: Option<PathBuf>,
    /// Name the classes in these logits of the saved images, instead of training
    #[arg(long, value_name = "NPZ", requires = "out")]
    predictions: Option<PathBuf>,
}

fn parse_tier(text: &str) -> Result<Tier, String> {
    match text {
        "cranelift" => Ok(Tier::Cranelift),
        "llvm" => Ok(Tier::Llvm),
        _ => Err("expected cranelift or llvm".to_string()),
    }
}

/// 784-512-512-10 with ReLUs.
#[derive(Module)]
struct NeuralNetwork {
    flatten: Flatten,
    linear_relu_stack: Sequential,
}

impl NeuralNetwork {
    fn new() -> Self {
        Self {
            flatten: Flatten::new(),
            linear_relu_stack: sequential![
                Linear::new(28 * 28, 512),
                ReLU::new(),
                Linear::new(512, 512),
                ReLU::new(),
                Linear::new(512, 10),
            ],
        }
    }
}

impl Forward for NeuralNetwork {
    fn forward(&self, x: &Tensor) -> Tensor {
        let x = self.flatten.forward(x);
        self.linear_relu_stack.forward(&x)
    }
}

type Images = TensorDataset<f32, i64>;

/// The first 50,000 images to train with, the last 10,000 of the same file to validate, the test file to test.
struct Splits {
    train: Images,
    valid: Images,
    test: Images,
}

impl Splits {
    fn load(dir: &Path, limit: Option<usize>) -> Result<Self, Box<dyn Error>> {
        let (all, test) = (data::fashion_mnist(dir, true)?, data::fashion_mnist(dir, false)?);
        let n_train = all.len() * 5 / 6;
        let part = |images: &Images, start: usize, limit: Option<usize>, end: usize| {
            let end = limit.map_or(end, |limit| end.min(start + limit));
            let (x, y) = images.slice(start..end);
            // The files' rows of 784 are images of 28 x 28.
            let shape = (y.len(), 28, 28);
            Ok::<_, ndarray::ShapeError>(TensorDataset::new(x.into_shape_with_order(shape)?, y))
        };
        let fifth = limit.map(|limit| limit.div_ceil(5));
        Ok(Self {
            train: part(&all, 0, limit, n_train)?,
            valid: part(&all, n_train, fifth, all.len())?,
            test: part(&test, 0, fifth, test.len())?,
        })
    }
}

/// The GPU if there is one that this build makes code for, else the CPU.
fn pick_device() -> Target {
    let cuda = cfg!(feature = "llvm") && nnc::runtime::device::open("cuda").is_ok();
    if cuda { Target::parse("cuda").expect("cuda is a target") } else { Target::Cpu }
}

/// What there is to see before training.
fn introduce(model: &NeuralNetwork) -> Result<(), Box<dyn Error>> {
    println!("{model}");

    let x = Tensor::rand([1, 28, 28]);
    let logits = model.forward(&x);
    let pred_probab = Softmax::new(1).forward(&logits);
    let y_pred = pred_probab.argmax(1);
    println!("Predicted class: {y_pred}");

    println!("\nModel structure: {model}\n");
    for (name, param) in model.named_parameters() {
        let first = param.tensor().index(0..2);
        println!("Layer: {name} | Size: {:?} | Values : {first} \n", param.shape());
    }
    Ok(())
}

/// The class of the largest logit of each row.
fn classes(logits: &[f32]) -> impl Iterator<Item = i64> {
    logits.chunks(CLASSES.len()).map(|row| {
        let largest = row.iter().enumerate().max_by(|lhs, rhs| lhs.1.total_cmp(rhs.1));
        largest.map_or(-1, |(class, _)| class as i64)
    })
}

/// Trains, with validation after each epoch.
fn train(trainer: &mut Trainer<NeuralNetwork>, splits: &Splits, args: &Args) -> Result<(), nnc::Error> {
    let train_dl = DataLoader::new(splits.train.clone()).batch_size(64).shuffle(true);
    let valid_dl = DataLoader::new(splits.valid.clone()).batch_size(128);
    let fit = trainer.fit(&train_dl).epochs(args.epochs).validation(&valid_dl).metric(metrics::Accuracy::new());
    let mut fit = fit.on_epoch_end(|fit| {
        if let Some(record) = fit.record() {
            let speed = record.examples_per_second().map_or(String::new(), |speed| format!(", {speed:.0} images/s"));
            println!("epoch {}: {record}{speed}", record.epoch + 1);
        }
    });
    if let Some(dir) = &args.checkpoints {
        fit = fit.checkpoints(Checkpoints::new(dir).every(Duration::from_secs(60)).best("valid_loss"));
    }
    if args.resume {
        fit = fit.resume();
    }
    if let Some(path) = &args.plot {
        fit = fit.plot(path);
    }
    fit.run()?;
    Ok(())
}

/// Where the images beside a saved model lie.
fn images_path(out: &Path) -> PathBuf {
    out.with_file_name("test_images.npz")
}

/// The forward function with its trained weights, and images to try it on.
fn save(model: &NeuralNetwork, test: &Images, out: &Path) -> Result<(), Box<dyn Error>> {
    if let Some(dir) = out.parent() {
        std::fs::create_dir_all(dir)?;
    }
    model.eval();
    let module = trace("forward", |t| {
        t.bind(model);
        let logits = model.forward(&t.input("x", "f32[N, 28, 28]"));
        t.output("logits", logits);
    })?;
    let path = out.with_extension("ir");
    save_module(&path, &module)?;

    let (x, y) = test.slice(0..N_SAVED);
    let mut npz = NpzWriter::new(File::create(images_path(out))?);
    let x: Array3<f32> = x.into_dimensionality::<Ix3>()?;
    npz.add_array("x", &x)?;
    npz.finish()?;
    let mut npz = NpzWriter::new(File::create(labels_path(out))?);
    let y: Array1<i64> = y.into_dimensionality()?;
    npz.add_array("y", &y)?;
    npz.finish()?;
    println!("wrote {} and its weights, and {}", path.display(), images_path(out).display());
    Ok(())
}

/// Where the true classes of the saved images lie.
fn labels_path(out: &Path) -> PathBuf {
    out.with_file_name("test_labels.npz")
}

/// Predicted beside true classes of the saved images.
fn name_predictions(logits: &Path, out: &Path) -> Result<(), Box<dyn Error>> {
    let logits: Array2<f32> = NpzReader::new(File::open(logits)?)?.by_name("logits")?;
    let labels: Array1<i64> = NpzReader::new(File::open(labels_path(out))?)?.by_name("y")?;
    let logits = logits.into_dimensionality::<Ix2>()?.as_standard_layout().into_owned();
    let found: Vec<i64> = classes(logits.as_slice().expect("it is in standard layout")).collect();
    if found.len() != labels.len() {
        return Err(format!("logits of {} images, expected {}", found.len(), labels.len()).into());
    }
    let name = |class: i64| usize::try_from(class).ok().and_then(|idx| CLASSES.get(idx)).copied().unwrap_or("?");
    for (idx, (&found, &expected)) in found.iter().zip(&labels).enumerate() {
        let note = if found == expected { "" } else { "  <- wrong" };
        println!("image {idx:2}: predicted {:<11}  true {}{note}", name(found), name(expected));
    }
    let n_right = found.iter().zip(&labels).filter(|(found, expected)| found == expected).count();
    println!("{n_right} of {} right", labels.len());
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    let args = Args::parse();
    if let (Some(logits), Some(out)) = (&args.predictions, &args.out) {
        return name_predictions(logits, out);
    }
    manual_seed(args.seed);
    let device = pick_device();
    println!("Using {} device", if device == Target::Cpu { "cpu" } else { "cuda" });

    let model = NeuralNetwork::new();
    introduce(&model)?;

    let splits = Splits::load(&args.data, args.limit)?;
    println!(
        "{} images to train, {} to validate, {} to test",
        splits.train.len(),
        splits.valid.len(),
        splits.test.len()
    );
    let builder = Trainer::new(model, Loss::cross_entropy(), Sgd::new(0.1));
    let mut trainer = builder.target(device).tier(args.tier).threads(args.threads).build()?;
    train(&mut trainer, &splits, &args)?;
    let mut accuracy = metrics::Accuracy::new();
    let test_dl = DataLoader::new(splits.test.clone()).batch_size(128);
    let test_loss = trainer.test(&test_dl, &mut [&mut accuracy])?;
    println!("test loss {test_loss:.4}, test accuracy {:.4}", accuracy.compute());

    if let Some(out) = &args.out {
        save(trainer.sync()?, &splits.test, out)?;
    }
    Ok(())
}
