//! nnc's side of the peer benchmarks: answers the requests of `benches/peers/README.md` on standard input.
//!
//! ```text
//! echo "mlp_train 50" | target/release/examples/peer_bench --threads 1 --tier cranelift
//! ```

use std::io::{BufRead, Write};
use std::time::Instant;

use ndarray::{Array1, Array2};
use nnc::prelude::*;
use serde_json::{Value as Json, json};

const BATCH: usize = 64;
const LEARNING_RATE: f64 = 0.1;

/// The hash stream that all peers draw their data from.
fn hash(idx: u32, salt: u32) -> u32 {
    let mut h = idx.wrapping_add(salt.wrapping_mul(0x9E37_79B9));
    h ^= h >> 16;
    h = h.wrapping_mul(0x85EB_CA6B);
    h ^= h >> 13;
    h = h.wrapping_mul(0xC2B2_AE35);
    h ^ (h >> 16)
}

/// A multiple of 2^-24 in [0, 1).
fn unit(idx: usize, salt: u32) -> f32 {
    (hash(idx as u32, salt) >> 8) as f32 * (-24f32).exp2()
}

fn units(rows: usize, cols: usize, salt: u32) -> Array2<f32> {
    Array2::from_shape_fn((rows, cols), |(row, col)| unit(row * cols + col, salt))
}

/// The `k`-th layer of a stack, from 1.
fn linear(k: u32, n_in: usize, n_out: usize) -> Linear {
    let layer = Linear::new(n_in, n_out);
    let bound = (1.0 / (n_in as f64).sqrt()) as f32;
    let value = |idx: usize, salt: u32| (2.0 * unit(idx, salt) - 1.0) * bound;
    let weight = Array2::from_shape_fn((n_out, n_in), |(row, col)| value(row * n_in + col, 2 * k));
    let bias = Array1::from_shape_fn(n_out, |idx| value(idx, 2 * k + 1));
    layer.weight.set(weight).expect("the weight has this shape");
    layer.bias.as_ref().expect("the layer has a bias").set(bias).expect("the bias has this shape");
    layer
}

fn logistic() -> Sequential {
    Sequential::new().push(linear(1, 784, 10))
}

fn mlp() -> Sequential {
    Sequential::new()
        .push(linear(1, 784, 512))
        .push(ReLU::new())
        .push(linear(2, 512, 512))
        .push(ReLU::new())
        .push(linear(3, 512, 10))
}

fn tiny() -> Sequential {
    Sequential::new().push(linear(1, 100, 200)).push(ReLU::new()).push(linear(2, 200, 10)).push(Softmax::new(1))
}

/// Fills the parameters of a model, in order, from the hash stream.
fn filled<M: Module>(model: M) -> M {
    for (salt, parameter) in (50..).zip(model.parameters()) {
        let elements: Vec<f32> = (0..parameter.numel()).map(|idx| (2.0 * unit(idx, salt) - 1.0) * 0.1).collect();
        parameter.set(TensorData::from_f32(parameter.shape(), &elements)).expect("the data have the parameter's type");
    }
    model
}

/// The convolutional network of the tutorial.
fn cnn() -> Sequential {
    filled(sequential![
        Lambda::new(|x| x.view([-1, 1, 28, 28])),
        Conv2d::new(1, 16, 3).stride(2).padding(1),
        ReLU::new(),
        Conv2d::new(16, 16, 3).stride(2).padding(1),
        ReLU::new(),
        Conv2d::new(16, 10, 3).stride(2).padding(1),
        ReLU::new(),
        AvgPool2d::new(4),
        Flatten::new(),
    ])
}

/// Reads an image row by row, and classifies by the last state.
#[derive(Module)]
struct Rows {
    lstm: LSTM,
    fc: Linear,
}

impl Forward for Rows {
    fn forward(&self, x: &Tensor) -> Tensor {
        let (states, _last) = self.lstm.forward(&x.view([-1, 28, 28]));
        self.fc.forward(&states.select(1, -1))
    }
}

fn lstm() -> Sequential {
    sequential![filled(Rows { lstm: LSTM::new(28, 128).batch_first(true), fc: Linear::new(128, 10) })]
}

struct Setup {
    threads: usize,
    tier: Tier,
    batches: Vec<(Array2<f32>, Array1<i64>)>,
}

/// A training case: the trainer and where it is in the batches.
struct Training {
    trainer: Trainer<Sequential>,
    n_steps: usize,
}

impl Training {
    fn new(model: Sequential, setup: &Setup) -> Result<Self, Error> {
        let builder = Trainer::new(model, Loss::cross_entropy(), Sgd::new(LEARNING_RATE));
        Ok(Self { trainer: builder.threads(setup.threads).tier(setup.tier).build()?, n_steps: 0 })
    }

    fn step(&mut self, setup: &Setup) -> Result<f64, Error> {
        let (x, y) = &setup.batches[self.n_steps % setup.batches.len()];
        self.n_steps += 1;
        self.trainer.step(x, y)
    }
}

/// An inference case: a function compiled with its weights, and its input.
struct Inference {
    forward: Jit,
    input: TensorData,
}

impl Inference {
    fn new(batch: usize, setup: &Setup) -> Result<Self, Error> {
        let model = tiny();
        let module = trace("forward", |t| {
            t.bind(&model);
            model.forward(&t.input("x", "f32[N, 100]"))
        })?;
        let options = nnc::Options { tier: setup.tier, freeze: true, ..Default::default() };
        let forward = jit(module)?.options(options).threads(setup.threads);
        let input = units(batch, 100, 300);
        Ok(Self { forward, input: TensorData::from_f32(vec![batch, 100], input.as_slice().expect("it is dense")) })
    }

    /// The output of the last row for class 3, of one run on the input's memory.
    fn run(&mut self) -> Result<f64, Error> {
        let Self { forward, input } = self;
        let instance = forward.prepare(std::slice::from_ref(input))?;
        instance.run_with(&[("x", &*input.bytes)])?;
        let output = instance.output_as::<f32>(0)?;
        Ok(f64::from(output[output.len() - 7]))
    }
}

/// Best and median of `n` timed runs.
fn measure(n: usize, mut run: impl FnMut() -> Result<f64, Error>) -> Result<(f64, f64), Error> {
    let mut times = Vec::with_capacity(n);
    run()?;
    for _ in 0..n {
        let start = Instant::now();
        std::hint::black_box(run()?);
        times.push(start.elapsed().as_secs_f64() * 1e6);
    }
    times.sort_by(f64::total_cmp);
    Ok((times[0], times[n / 2]))
}

#[derive(Default)]
struct Cases {
    logistic: Option<Training>,
    mlp: Option<Training>,
    cnn: Option<Training>,
    lstm: Option<Training>,
    tiny_1: Option<Inference>,
    tiny_64: Option<Inference>,
}

impl Cases {
    fn answer(&mut self, request: &str, setup: &Setup) -> Result<Json, Error> {
        let mut words = request.split_whitespace();
        let (first, second) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        if first == "check" {
            return Ok(json!({"case": second, "check": Self::check(second, setup)?}));
        }
        let n = second.parse::<usize>().unwrap_or(1).max(1);
        let (best, median) = match first {
            "logistic_train" => {
                let case = entered(&mut self.logistic, || Training::new(logistic(), setup))?;
                measure(n, || case.step(setup))?
            }
            "mlp_train" => {
                let case = entered(&mut self.mlp, || Training::new(mlp(), setup))?;
                measure(n, || case.step(setup))?
            }
            "cnn_train" => {
                let case = entered(&mut self.cnn, || Training::new(cnn(), setup))?;
                measure(n, || case.step(setup))?
            }
            "lstm_train" => {
                let case = entered(&mut self.lstm, || Training::new(lstm(), setup))?;
                measure(n, || case.step(setup))?
            }
            "mlp_first_step" => {
                let model = mlp();
                let start = Instant::now();
                Training::new(model, setup)?.step(setup)?;
                let micros = start.elapsed().as_secs_f64() * 1e6;
                (micros, micros)
            }
            "tiny_infer_1" => {
                let case = entered(&mut self.tiny_1, || Inference::new(1, setup))?;
                measure(n, || case.run())?
            }
            "tiny_infer_64" => {
                let case = entered(&mut self.tiny_64, || Inference::new(BATCH, setup))?;
                measure(n, || case.run())?
            }
            other => return Ok(json!({"case": other, "error": "no such case"})),
        };
        Ok(json!({"case": first, "n": n, "best_us": best, "median_us": median}))
    }

    fn check(case: &str, setup: &Setup) -> Result<f64, Error> {
        let tenth = |model: Sequential| {
            let mut case = Training::new(model, setup)?;
            (0..10).try_fold(0.0, |_, _| case.step(setup))
        };
        match case {
            "logistic_train" => tenth(logistic()),
            "mlp_train" | "mlp_first_step" => tenth(mlp()),
            "cnn_train" => tenth(cnn()),
            "lstm_train" => tenth(lstm()),
            "tiny_infer_1" => Inference::new(1, setup)?.run(),
            "tiny_infer_64" => Inference::new(BATCH, setup)?.run(),
            _ => Ok(f64::NAN),
        }
    }
}

/// The case, made if this is the first request for it.
fn entered<T>(slot: &mut Option<T>, make: impl FnOnce() -> Result<T, Error>) -> Result<&mut T, Error> {
    if slot.is_none() {
        *slot = Some(make()?);
    }
    Ok(slot.as_mut().expect("the case was just made"))
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().collect();
    let value = |name: &str| args.iter().position(|arg| arg == name).and_then(|idx| args.get(idx + 1));
    let threads = value("--threads").map_or(Ok(1), |text| text.parse())?;
    let tier = match value("--tier").map(String::as_str) {
        Some("llvm") => Tier::Llvm,
        Some("cranelift") | None => Tier::Cranelift,
        Some(other) => return Err(format!("unknown tier `{other}`, expected cranelift or llvm").into()),
    };
    let batches = (0..8).map(|batch| {
        let labels = Array1::from_shape_fn(BATCH, |idx| i64::from(hash(idx as u32, 200 + batch) % 10));
        (units(BATCH, 784, 100 + batch), labels)
    });
    let setup = Setup { threads, tier, batches: batches.collect() };
    let mut out = std::io::stdout().lock();
    writeln!(out, "{}", json!({"peer": "nnc", "version": env!("CARGO_PKG_VERSION"), "threads": threads}))?;
    out.flush()?;
    let mut cases = Cases::default();
    for request in std::io::stdin().lock().lines() {
        let request = request?;
        let answer = cases
            .answer(&request, &setup)
            .unwrap_or_else(|error| json!({"case": request.split_whitespace().next(), "error": error.to_string()}));
        writeln!(out, "{answer}")?;
        out.flush()?;
    }
    Ok(())
}
