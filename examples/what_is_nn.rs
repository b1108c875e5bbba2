//! What a neural network library is for, in thirteen rungs: a classifier of images, first written with nothing
//! but tensors, then with one more part of the library at a time.
//!
//! ```text
//! cargo run --release --example what_is_nn
//! ```
//!
//! | rung | takes over |
//! |---|---|
//! | 1 | nothing: raw tensors, hand-written `log_softmax`, negative log-likelihood and update |
//! | 2 | [`functional::cross_entropy`]: the loss |
//! | 3 | [`Module`] and [`Parameter`]: keeping track of what is trained |
//! | 4 | [`Linear`]: the layer and its parameters |
//! | 5 | [`Sgd`]: the update, which [`Trainer`] compiles into the step |
//! | 6 | [`TensorDataset`]: images and labels sliced together |
//! | 7 | [`DataLoader`]: batches |
//! | 8 | validation each epoch, `train` and `eval`, shuffled batches |
//! | 9 | [`Trainer::fit`] and `get_data`: the loop, written once |
//! | 10 | [`Conv2d`]: a convolutional network, by the same three lines |
//! | 11 | [`Sequential`] and [`Lambda`]: the same network as a list |
//! | 12 | [`WrappedDataLoader`] and [`AdaptiveAvgPool2d`]: the network no longer knows the size of images |
//! | 13 | a GPU, if there is one |
//!
//! Every rung starts from the same weights as the one before. Rungs 1 to 7 see the same batches and must end at the
//! same loss, rungs 8 and 9 at each other's, and so must the convolutional ones; the program fails if they do not.

use std::error::Error;
use std::path::PathBuf;

use clap::Parser;
use ndarray::{Array1, Array2, ArrayD, Axis, Ix1, Ix2, Slice};
use nnc::prelude::*;

/// Images a batch.
const BS: usize = 64;
/// How far losses of equal computations may lie apart: they sum in different orders.
const TOLERANCE: f64 = 1e-3;

type Outcome<T = f64> = Result<T, Box<dyn Error>>;

/// Climbs the ladder.
#[derive(Parser)]
struct Args {
    /// Folder of the four IDX files of MNIST or Fashion-MNIST, plain or gzipped
    #[arg(long, default_value = "/usr/share/datasets/fashion-mnist")]
    data: PathBuf,
    /// The rungs to climb, as `1-13` or `4`
    #[arg(long, default_value = "1-13", value_parser = parse_rungs)]
    rungs: (usize, usize),
    /// Passes over the training images
    #[arg(long, default_value_t = 2)]
    epochs: usize,
    /// Use at most this many images for training, and a fifth of it for validation
    #[arg(long)]
    limit: Option<usize>,
    /// Learning rate of rungs 1 to 9; the convolutional network takes 0.1. MNIST bears 0.5; on the brighter images of Fashion-MNIST that overshoots, and rungs whose sums
    /// differ in the last bit drift apart
    #[arg(long, default_value_t = 0.1)]
    lr: f64,
    /// What initial weights and shuffles follow from
    #[arg(long, default_value_t = 0)]
    seed: u64,
}

fn parse_rungs(text: &str) -> Result<(usize, usize), String> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    match (first.parse(), last.parse()) {
        (Ok(first), Ok(last)) if 1 <= first && first <= last && last <= RUNGS.len() => Ok((first, last)),
        _ => Err(format!("expected numbers from 1 to {}, such as 1-13 or 4", RUNGS.len())),
    }
}

/// What all rungs share: the data, and where they start.
struct Ground {
    x_train: Array2<f32>,
    y_train: Array1<i64>,
    x_valid: Array2<f32>,
    y_valid: Array1<i64>,
    /// `[784, 10]`.
    weights: ArrayD<f32>,
    epochs: usize,
    lr: f64,
    seed: u64,
}

impl Ground {
    fn load(args: &Args) -> Outcome<Self> {
        let all = data::fashion_mnist(&args.data, true)?;
        // The first five sixths train (50,000 of 60,000), the rest validates.
        let start = all.len() * 5 / 6;
        let (n_train, n_valid) = args.limit.map_or((start, all.len()), |limit| (limit, limit.div_ceil(5)));
        let (x_train, y_train) = all.slice(0..n_train.min(start));
        let (x_valid, y_valid) = all.slice(start..all.len().min(start + n_valid));
        manual_seed(args.seed);
        let weights = Tensor::randn([784, 10]) / 784f64.sqrt();
        Ok(Self {
            x_train: x_train.into_dimensionality::<Ix2>()?,
            y_train: y_train.into_dimensionality::<Ix1>()?,
            x_valid: x_valid.into_dimensionality::<Ix2>()?,
            y_valid: y_valid.into_dimensionality::<Ix1>()?,
            weights: weights.to_array()?,
            epochs: args.epochs,
            lr: args.lr,
            seed: args.seed,
        })
    }

    /// The bounds of each batch of an epoch.
    fn batches(&self) -> impl Iterator<Item = Slice> + use<> {
        let n = self.x_train.nrows();
        (0..n.div_ceil(BS)).map(move |i| Slice::from(i * BS..n.min((i + 1) * BS)))
    }

    /// Batch `bounds`, where it lies.
    fn batch(&self, bounds: Slice) -> (ndarray::ArrayView2<'_, f32>, ndarray::ArrayView1<'_, i64>) {
        (self.x_train.slice_axis(Axis(0), bounds), self.y_train.slice_axis(Axis(0), bounds))
    }

    /// A linear layer that starts where the raw weights do. PyTorch's layers keep their weights transposed.
    fn linear(&self) -> Outcome<Linear> {
        let lin = Linear::new(784, 10);
        lin.weight.set(self.weights.t())?;
        if let Some(bias) = &lin.bias {
            init::zeros_(bias);
        }
        Ok(lin)
    }
}

/// Share of rows of `out` whose largest entry is at the class of `yb`.
fn accuracy(out: &Tensor, yb: &Tensor) -> Tensor {
    let preds = out.argmax(1);
    preds.eq(yb).float().mean(..)
}

/// Loss and accuracy of a model on the last batch, as compiled code.
fn report(ground: &Ground, loss: impl Fn(&Tensor, &Tensor) -> Tensor, model: impl Fn(&Tensor) -> Tensor) -> Outcome {
    let mut score = jit(trace("score", |t| {
        let (xb, yb) = (t.input("xb", "f32[N, 784]"), t.input("yb", "i64[N]"));
        let out = model(&xb);
        t.output("loss", loss(&out, &yb));
        t.output("accuracy", accuracy(&out, &yb));
    })?)?;
    let last = ground.batches().last().ok_or("there are no images to train with")?;
    let (xb, yb) = ground.batch(last);
    let results = score.call(&[&xb, &yb])?;
    let (loss, accuracy) = (f64::from(results[0].to_f32()[0]), results[1].to_f32()[0]);
    println!("  loss {loss:.4}, accuracy {accuracy:.4} on the last batch");
    Ok(loss)
}

/// `p -= p.grad * lr`.
fn update(parameter: &Parameter, grad: &TensorData, lr: f64) -> Outcome<()> {
    let grad = nnc::frontend::array::to_f32(grad);
    parameter.set(parameter.to_array() - grad * lr as f32)?;
    Ok(())
}

/// Rung 1: tensors, a compiled gradient, and everything else by hand.
fn raw_tensors(ground: &Ground) -> Outcome {
    let weights = Parameter::from_array(&ground.weights);
    let bias = Parameter::new(Tensor::zeros([10]));

    fn log_softmax(x: &Tensor) -> Tensor {
        x - x.exp().sum(-1).log().unsqueeze(-1)
    }
    fn nll(input: &Tensor, target: &Tensor) -> Tensor {
        -input.index([range(target.size(0)), target.clone()]).mean(..)
    }
    let model = |xb: &Tensor| log_softmax(&(xb.matmul(&weights) + &bias));

    let mut loss_func = nnc::grad_fn([("weights", &weights), ("bias", &bias)], |t| {
        let (xb, yb) = (t.input("xb", "f32[N, 784]"), t.input("yb", "i64[N]"));
        nll(&model(&xb), &yb)
    })?;
    for _epoch in 0..ground.epochs {
        for bounds in ground.batches() {
            let (xb, yb) = ground.batch(bounds);
            let (_loss, grads) = loss_func.call(&[&xb, &yb])?;
            update(&weights, &grads[0], ground.lr)?;
            update(&bias, &grads[1], ground.lr)?;
        }
    }
    report(ground, nll, model)
}

/// Rung 2: the library's loss, which takes logits.
fn library_loss(ground: &Ground) -> Outcome {
    let weights = Parameter::from_array(&ground.weights);
    let bias = Parameter::new(Tensor::zeros([10]));
    let model = |xb: &Tensor| xb.matmul(&weights) + &bias;

    let mut loss_func = nnc::grad_fn([("weights", &weights), ("bias", &bias)], |t| {
        let (xb, yb) = (t.input("xb", "f32[N, 784]"), t.input("yb", "i64[N]"));
        functional::cross_entropy(&model(&xb), &yb)
    })?;
    for _epoch in 0..ground.epochs {
        for bounds in ground.batches() {
            let (xb, yb) = ground.batch(bounds);
            let (_loss, grads) = loss_func.call(&[&xb, &yb])?;
            update(&weights, &grads[0], ground.lr)?;
            update(&bias, &grads[1], ground.lr)?;
        }
    }
    report(ground, functional::cross_entropy, model)
}

/// Trains all parameters of a module, whatever they are.
fn fit_by_hand<M: Module + Forward>(ground: &Ground, model: &M) -> Outcome {
    let mut loss_func = nnc::grad_fn(model.named_parameters(), |t| {
        let (xb, yb) = (t.input("xb", "f32[N, 784]"), t.input("yb", "i64[N]"));
        functional::cross_entropy(&model.forward(&xb), &yb)
    })?;
    for _epoch in 0..ground.epochs {
        for bounds in ground.batches() {
            let (xb, yb) = ground.batch(bounds);
            let (_loss, grads) = loss_func.call(&[&xb, &yb])?;
            for (p, grad) in model.parameters().iter().zip(&grads) {
                update(p, grad, ground.lr)?;
            }
        }
    }
    report(ground, functional::cross_entropy, |xb| model.forward(xb))
}

/// Rung 3: a module knows its parameters.
fn module(ground: &Ground) -> Outcome {
    #[derive(Module)]
    struct MnistLogistic {
        weights: Parameter,
        bias: Parameter,
    }

    impl Forward for MnistLogistic {
        fn forward(&self, xb: &Tensor) -> Tensor {
            xb.matmul(&self.weights) + &self.bias
        }
    }

    let weights = Parameter::from_array(&ground.weights);
    fit_by_hand(ground, &MnistLogistic { weights, bias: Parameter::new(Tensor::zeros([10])) })
}

/// The model from here on.
#[derive(Module)]
struct MnistLogistic {
    lin: Linear,
}

impl Forward for MnistLogistic {
    fn forward(&self, xb: &Tensor) -> Tensor {
        self.lin.forward(xb)
    }
}

/// Rung 4: a layer makes its parameters itself.
fn linear(ground: &Ground) -> Outcome {
    fit_by_hand(ground, &MnistLogistic { lin: ground.linear()? })
}

/// Model, loss and optimizer: one compiled step.
fn get_model(ground: &Ground) -> Outcome<Trainer<MnistLogistic>> {
    let model = MnistLogistic { lin: ground.linear()? };
    Ok(Trainer::new(model, Loss::cross_entropy(), Sgd::new(ground.lr)).build()?)
}

/// Rung 5: the optimizer updates, inside the compiled step.
fn optimizer(ground: &Ground) -> Outcome {
    let mut trainer = get_model(ground)?;
    for _epoch in 0..ground.epochs {
        for bounds in ground.batches() {
            let (xb, yb) = ground.batch(bounds);
            trainer.step(&xb, &yb)?;
        }
    }
    let model = trainer.sync()?;
    report(ground, functional::cross_entropy, |xb| model.forward(xb))
}

/// Rung 6: images and labels in one data set.
fn tensor_dataset(ground: &Ground) -> Outcome {
    let train_ds = TensorDataset::new(ground.x_train.clone(), ground.y_train.clone());
    let mut trainer = get_model(ground)?;
    for _epoch in 0..ground.epochs {
        for i in 0..train_ds.len().div_ceil(BS) {
            let (xb, yb) = train_ds.slice(i * BS..i * BS + BS);
            trainer.step(&xb, &yb)?;
        }
    }
    let model = trainer.sync()?;
    report(ground, functional::cross_entropy, |xb| model.forward(xb))
}

/// Rung 7: batches from a loader.
fn data_loader(ground: &Ground) -> Outcome {
    let train_ds = TensorDataset::new(ground.x_train.clone(), ground.y_train.clone());
    let train_dl = DataLoader::new(train_ds).batch_size(BS);
    let mut trainer = get_model(ground)?;
    for _epoch in 0..ground.epochs {
        for (xb, yb) in &train_dl {
            trainer.step(&xb, &yb)?;
        }
    }
    let model = trainer.sync()?;
    report(ground, functional::cross_entropy, |xb| model.forward(xb))
}

/// Rung 8: shuffled training, and validation after each epoch. The trainer steps in training mode and evaluates in
/// evaluation mode, so `train()` and `eval()` need not be called.
fn validation(ground: &Ground) -> Outcome {
    let train_ds = TensorDataset::new(ground.x_train.clone(), ground.y_train.clone());
    let train_dl = DataLoader::new(train_ds).batch_size(BS).shuffle(true).seed(ground.seed);
    let valid_ds = TensorDataset::new(ground.x_valid.clone(), ground.y_valid.clone());
    // No gradients are kept, so a batch may be twice as large.
    let valid_dl = DataLoader::new(valid_ds).batch_size(BS * 2);

    let mut trainer = get_model(ground)?;
    let mut val_loss = f64::NAN;
    for epoch in 0..ground.epochs {
        for (xb, yb) in &train_dl {
            trainer.step(&xb, &yb)?;
        }
        let (mut sum, mut n) = (0.0, 0);
        for (xb, yb) in &valid_dl {
            let (_logits, loss) = trainer.evaluate(&xb, &yb)?;
            sum += loss * yb.len() as f64;
            n += yb.len();
        }
        val_loss = sum / n as f64;
        println!("  epoch {epoch}: validation loss {val_loss:.4}");
    }
    Ok(val_loss)
}

/// Rung 9: three lines, which train any model.
fn fit_and_get_data(ground: &Ground) -> Outcome {
    let (train_dl, valid_dl) = get_data(ground);
    let mut trainer = get_model(ground)?;
    fit(ground.epochs, &mut trainer, &train_dl, &valid_dl)
}

type Loader = DataLoader<TensorDataset<f32, i64>>;

/// Loaders of the training and the validation images.
fn get_data(ground: &Ground) -> (Loader, Loader) {
    let train_ds = TensorDataset::new(ground.x_train.clone(), ground.y_train.clone());
    let valid_ds = TensorDataset::new(ground.x_valid.clone(), ground.y_valid.clone());
    (
        DataLoader::new(train_ds).batch_size(BS).shuffle(true).seed(ground.seed),
        DataLoader::new(valid_ds).batch_size(BS * 2),
    )
}

/// Images and their classes.
type Batch = (ArrayD<f32>, ArrayD<i64>);

/// Trains for some epochs and gives the last validation loss.
fn fit<M: Module + Forward>(
    epochs: usize,
    trainer: &mut Trainer<M>,
    train_dl: &impl data::Loader<Batch = Batch>,
    valid_dl: &impl data::Loader<Batch = Batch>,
) -> Outcome {
    let fit = trainer.fit(train_dl).epochs(epochs).validation(valid_dl).metric(metrics::Accuracy::new());
    let fit = fit.on_epoch_end(|fit| {
        if let Some(record) = fit.record() {
            let (loss, accuracy) = (record.values["valid_loss"], record.values["valid_accuracy"]);
            println!("  epoch {}: validation loss {loss:.4}, accuracy {accuracy:.4}", record.epoch);
        }
    });
    let history = fit.run()?;
    Ok(history.last("valid_loss").unwrap_or(f64::NAN))
}

/// The optimizer of the convolutional network.
fn cnn_optimizer() -> Sgd {
    Sgd::new(0.1).momentum(0.9)
}

/// Rung 10: three convolutions, each of which halves the image, and the mean of what is left of each channel.
fn cnn(ground: &Ground) -> Outcome {
    #[derive(Module)]
    struct MnistCnn {
        conv1: Conv2d,
        conv2: Conv2d,
        conv3: Conv2d,
    }

    impl Forward for MnistCnn {
        fn forward(&self, xb: &Tensor) -> Tensor {
            let xb = xb.view([-1, 1, 28, 28]);
            let xb = functional::relu(&self.conv1.forward(&xb));
            let xb = functional::relu(&self.conv2.forward(&xb));
            let xb = functional::relu(&self.conv3.forward(&xb));
            let xb = functional::avg_pool2d(&xb, functional::Windows::new(4), true, None);
            xb.view((-1, xb.size(1)))
        }
    }

    manual_seed(ground.seed);
    let model = MnistCnn {
        conv1: Conv2d::new(1, 16, 3).stride(2).padding(1),
        conv2: Conv2d::new(16, 16, 3).stride(2).padding(1),
        conv3: Conv2d::new(16, 10, 3).stride(2).padding(1),
    };
    let (train_dl, valid_dl) = get_data(ground);
    let mut trainer = Trainer::new(model, Loss::cross_entropy(), cnn_optimizer()).build()?;
    fit(ground.epochs, &mut trainer, &train_dl, &valid_dl)
}

/// Rung 11: the network as a list of layers; a closure is a layer too.
fn sequential(ground: &Ground) -> Outcome {
    manual_seed(ground.seed);
    let model = sequential![
        Lambda::new(|x| x.view([-1, 1, 28, 28])),
        Conv2d::new(1, 16, 3).stride(2).padding(1),
        ReLU::new(),
        Conv2d::new(16, 16, 3).stride(2).padding(1),
        ReLU::new(),
        Conv2d::new(16, 10, 3).stride(2).padding(1),
        ReLU::new(),
        AvgPool2d::new(4),
        Lambda::new(|x| x.view((x.size(0), -1))),
    ];
    let (train_dl, valid_dl) = get_data(ground);
    let mut trainer = Trainer::new(model, Loss::cross_entropy(), cnn_optimizer()).build()?;
    fit(ground.epochs, &mut trainer, &train_dl, &valid_dl)
}

/// The network without a word about the size of images.
fn any_size_cnn(ground: &Ground) -> Sequential {
    manual_seed(ground.seed);
    sequential![
        Conv2d::new(1, 16, 3).stride(2).padding(1),
        ReLU::new(),
        Conv2d::new(16, 16, 3).stride(2).padding(1),
        ReLU::new(),
        Conv2d::new(16, 10, 3).stride(2).padding(1),
        ReLU::new(),
        AdaptiveAvgPool2d::new(1),
        Lambda::new(|x| x.view((x.size(0), -1))),
    ]
}

/// Rows of 784 as images of one channel.
fn preprocess((x, y): Batch) -> Batch {
    let n = x.len() / 784;
    (x.into_shape_with_order(vec![n, 1, 28, 28]).expect("a batch is rows of 784"), y)
}

/// Trains [`any_size_cnn`] on a device.
fn fit_on(ground: &Ground, device: Target) -> Outcome {
    let (train_dl, valid_dl) = get_data(ground);
    let train_dl = WrappedDataLoader::new(train_dl, preprocess);
    let valid_dl = WrappedDataLoader::new(valid_dl, preprocess);
    let builder = Trainer::new(any_size_cnn(ground), Loss::cross_entropy(), cnn_optimizer());
    let mut trainer = builder.target(device).build()?;
    fit(ground.epochs, &mut trainer, &train_dl, &valid_dl)
}

/// Rung 12: the loader shapes images, and the pooling takes whatever is left.
fn wrapped_loader(ground: &Ground) -> Outcome {
    fit_on(ground, Target::Cpu)
}

/// Rung 13: the same on a GPU, which sums in another order.
fn on_a_gpu(ground: &Ground) -> Outcome {
    let has_gpu = cfg!(feature = "llvm") && nnc::runtime::device::open("cuda").is_ok();
    println!("  {}", if has_gpu { "on the GPU" } else { "there is no GPU here: on the CPU" });
    fit_on(ground, if has_gpu { Target::parse("cuda")? } else { Target::Cpu })
}

/// A rung: its name, and what it does, which gives a loss.
type Rung = (&'static str, fn(&Ground) -> Outcome);

const RUNGS: [Rung; 13] = [
    ("raw tensors", raw_tensors),
    ("functional::cross_entropy", library_loss),
    ("Module and Parameter", module),
    ("Linear", linear),
    ("Sgd", optimizer),
    ("TensorDataset", tensor_dataset),
    ("DataLoader", data_loader),
    ("validation, shuffled batches", validation),
    ("fit and get_data", fit_and_get_data),
    ("Conv2d", cnn),
    ("Sequential and Lambda", sequential),
    ("WrappedDataLoader and AdaptiveAvgPool2d", wrapped_loader),
    ("on a GPU", on_a_gpu),
];

/// Rungs whose loss is not that of the rung before: the first one measured on the validation images after shuffled
/// training, and the first one of another model.
const FRESH_STARTS: [usize; 2] = [8, 10];

fn main() -> Outcome<()> {
    let args = Args::parse();
    let ground = Ground::load(&args)?;
    println!("{} images to train, {} to validate", ground.x_train.nrows(), ground.x_valid.nrows());
    let mut below: Option<f64> = None;
    for number in args.rungs.0..=args.rungs.1 {
        let (name, climb) = RUNGS[number - 1];
        println!("rung {number}: {name}");
        let loss = climb(&ground)?;
        let comparable = below.filter(|_| !FRESH_STARTS.contains(&number));
        if comparable.is_some_and(|below| (loss - below).abs() > TOLERANCE) {
            return Err(
                format!("rung {number} ends at loss {loss}, the rung before at {}", below.unwrap_or(loss)).into()
            );
        }
        below = Some(loss);
    }
    println!("every rung reached the loss of the rung before");
    Ok(())
}
