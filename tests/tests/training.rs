//! Training runs: what `fit` measures and decides, and that a run which is interrupted anywhere and continued gives the
//! same bits as one that is not.

use std::path::Path;

use ndarray::{Array1, Array2, Axis};
use nnc::Error;
use nnc::prelude::*;
use nnc::trainer::metrics::{Accuracy, ConfusionMatrix, MetricFn};
use nnc::trainer::{Fit, Pace};
use nnc_frontend::optim::lr_scheduler::{LrScheduler, OneCycleLR, ReduceLROnPlateau, StepLR};
use nnc_frontend::random::{Generator, next_generator};
use pretty_assertions::assert_eq;

const BATCH: usize = 8;

/// Everything that has a state: parameters, a buffer that training changes, random numbers.
#[derive(Module)]
struct Net {
    hidden: Linear,
    activation: Tanh,
    dropout: Dropout,
    output: Linear,
    mean: Buffer,
    training: Training,
}

impl Net {
    fn new() -> Self {
        Self {
            hidden: Linear::new(4, 8),
            activation: Tanh::new(),
            dropout: Dropout::new().p(0.25),
            output: Linear::new(8, 3),
            mean: Buffer::new(Array1::<f32>::zeros(4)),
            training: Training::default(),
        }
    }
}

impl Forward for Net {
    fn forward(&self, x: &Tensor) -> Tensor {
        let mean = self.mean.tensor();
        if self.training.get() {
            self.mean.update(&(&mean * 0.9 + x.mean(0) * 0.1));
        }
        let x = self.activation.forward(&self.hidden.forward(&(x - &mean)));
        self.output.forward(&self.dropout.forward(&x))
    }
}

/// Points in three clouds; each time one is asked for it lies a little elsewhere.
struct Clouds {
    points: Array2<f32>,
    jitter: bool,
}

impl Clouds {
    fn new(n: usize, seed: u64, jitter: bool) -> Self {
        let mut generator = Generator::new(seed);
        let points = Array2::from_shape_fn((n, 4), |(idx, column)| {
            (if idx % 3 == column { 1.5 } else { 0.0 } + 0.5 * generator.normal()) as f32
        });
        Self { points, jitter }
    }
}

impl Dataset for Clouds {
    type Item = (ndarray::ArrayD<f32>, i64);

    fn len(&self) -> usize {
        self.points.nrows()
    }

    fn get(&self, idx: usize) -> Self::Item {
        let shift = if self.jitter { next_generator().normal() as f32 * 0.01 } else { 0.0 };
        (self.points.index_axis(Axis(0), idx).mapv(|value| value + shift).into_dyn(), (idx % 3) as i64)
    }
}

/// Halves the learning rate when what it watches does not become smaller.
struct Halving {
    lr: f64,
    best: f64,
}

impl LrScheduler for Halving {
    fn step(&mut self, metric: Option<f64>) -> Result<(), Diagnostic> {
        let metric = metric.expect("it is watched");
        if metric >= self.best {
            self.lr *= 0.5;
        }
        self.best = self.best.min(metric);
        Ok(())
    }

    fn get_last_lr(&self) -> Vec<f64> {
        vec![self.lr]
    }

    fn state(&self) -> Vec<f64> {
        vec![self.lr, self.best]
    }

    fn load_state(&mut self, state: &[f64]) -> Result<(), Diagnostic> {
        (self.lr, self.best) = (state[0], state[1]);
        Ok(())
    }
}

/// Draws from the thread's generator, counts, and breaks down at a given step.
struct Crash {
    at: Option<u64>,
    n_seen: f64,
    drawn: f64,
}

impl Callback for Crash {
    fn on_fit_begin(&mut self, fit: &mut FitContext<'_>) -> Result<(), Error> {
        let drawn = next_generator().uniform();
        // Of the processes that continue, this leaves no trace.
        if !fit.resumed {
            self.drawn += drawn;
        }
        Ok(())
    }

    fn on_batch_end(&mut self, fit: &mut FitContext<'_>) -> Result<(), Error> {
        self.n_seen += 1.0;
        self.drawn += next_generator().uniform();
        match self.at {
            Some(step) if step == fit.step => Err(Error::message("crash")),
            _ => Ok(()),
        }
    }

    fn on_epoch_end(&mut self, fit: &mut FitContext<'_>) -> Result<(), Error> {
        assert_eq!(self.n_seen as u64, fit.step, "it saw every step, in whatever process");
        Ok(())
    }

    fn state(&self) -> Vec<f64> {
        vec![self.n_seen, self.drawn]
    }

    fn load_state(&mut self, state: &[f64]) -> Result<(), Error> {
        (self.n_seen, self.drawn) = (state[0], state[1]);
        Ok(())
    }
}

/// A process that trains: all of it is made anew, from a seed that should not matter after the first.
fn process(dir: &Path, seed: u64, n_epochs: usize, crash: Option<u64>, n_workers: usize) -> Result<History, Error> {
    manual_seed(seed);
    let train = DataLoader::new(Clouds::new(30, 1, true)).batch_size(BATCH).shuffle(true).num_workers(n_workers);
    let valid = DataLoader::new(Clouds::new(12, 2, true)).batch_size(5).shuffle(true);
    let mut trainer = Trainer::new(Net::new(), Loss::cross_entropy(), AdamW::new(0.02))
        .clip_grad_norm(0.5)
        .keep_output(true)
        .threads(1)
        .build()?;
    trainer
        .fit(&train)
        .epochs(n_epochs)
        .validation(&valid)
        .metric(Accuracy::new())
        .train_metrics(true)
        .custom_scheduler(Halving { lr: 0.02, best: f64::INFINITY }, Pace::EachEpoch)
        .early_stopping(EarlyStopping::new("valid_loss").patience(50).restore_best(true))
        .callback(Crash { at: crash, n_seen: 0.0, drawn: 0.0 })
        .checkpoints(Checkpoints::new(dir).every_steps(3).keep(3).best("valid_loss"))
        .resume()
        .run()
}

/// Checks that two folders hold the same checkpoints, byte for byte.
fn assert_same_files(found: &Path, expected: &Path) {
    let (found, expected) = (files(found), files(expected));
    let names = |files: &[(String, Vec<u8>)]| files.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
    assert_eq!(names(&found), names(&expected));
    for ((name, found), (_, expected)) in found.iter().zip(&expected) {
        if found != expected {
            let read = |bytes: &[u8]| nnc::ir::WeightFile::from_bytes(bytes, name).expect("sound");
            let (found, expected) = (read(found), read(expected));
            let order = |file: &nnc::ir::WeightFile| file.tensors.keys().cloned().collect::<Vec<_>>();
            assert_eq!(order(&found), order(&expected), "{name}");
            for (tensor, data) in &found.tensors {
                assert!(*data == expected.tensors[tensor], "{name}: {tensor} differs");
            }
            assert_eq!(found.metadata, expected.metadata, "{name}");
            panic!("{name} differs");
        }
    }
}

/// The bytes of each checkpoint in a folder.
fn files(dir: &Path) -> Vec<(String, Vec<u8>)> {
    let entries = std::fs::read_dir(dir).expect("the folder is there").map(|entry| entry.expect("it can be listed"));
    let mut files: Vec<_> = entries
        .map(|entry| {
            let bytes = std::fs::read(entry.path()).expect("it can be read");
            (entry.file_name().into_string().expect("names are ASCII"), bytes)
        })
        .collect();
    files.sort();
    files
}

#[test]
fn a_run_that_crashes_anywhere_ends_with_the_same_bits() {
    let whole = tempfile::tempdir().expect("a temporary folder");
    let history = process(whole.path(), 0, 4, None, 0).expect("it trains");
    let expected = files(whole.path());
    // Four batches an epoch: the last checkpoints are those of the steps 12, 15 and 16, and the best epoch's.
    let names: Vec<&str> = expected.iter().map(|(name, _)| name.as_str()).collect();
    let last = ["step-0000000012.safetensors", "step-0000000015.safetensors", "step-0000000016.safetensors"];
    assert_eq!(names, [&["best.safetensors"][..], &last].concat());

    let mut generator = Generator::new(7);
    for trial in 0..6 {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let mut n_crashes = 0;
        // At most three crashes, at random steps; the seed of the first process counts.
        let (found, crashes) = loop {
            let at = 1 + generator.below(16);
            let crash = (n_crashes < 3).then_some(at);
            let n_workers = generator.below(3) as usize;
            let has_none = std::fs::read_dir(dir.path()).expect("the folder is there").next().is_none();
            let seed = if has_none { 0 } else { 100 + trial };
            match process(dir.path(), seed, 4, crash, n_workers) {
                Ok(history) => break (history, n_crashes),
                Err(error) => assert_eq!(error.to_string(), "crash"),
            }
            n_crashes += 1;
        };
        assert_eq!(found, history, "trial {trial} with {crashes} crashes");
        assert_same_files(dir.path(), whole.path());
    }
}

#[test]
fn more_epochs_can_be_asked_for_later() {
    let (whole, parts) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
    let history = process(whole.path(), 0, 3, None, 0).expect("it trains");
    process(parts.path(), 0, 1, None, 0).expect("it trains");
    assert_eq!(process(parts.path(), 5, 3, None, 0).expect("it continues"), history);
    assert_same_files(parts.path(), whole.path());
    assert_eq!(process(parts.path(), 6, 3, None, 0).expect("there is nothing left to do"), history);
}

/// A small task without anything random in its steps.
fn plain() -> (Trainer<Sequential>, DataLoader<Clouds>, DataLoader<Clouds>) {
    manual_seed(3);
    let model = sequential![Linear::new(4, 6), ReLU::new(), Linear::new(6, 3)];
    let train = DataLoader::new(Clouds::new(20, 1, false)).batch_size(BATCH).shuffle(true).seed(5);
    let valid = DataLoader::new(Clouds::new(9, 2, false)).batch_size(4);
    let trainer = Trainer::new(model, Loss::cross_entropy(), Sgd::new(0.2).momentum(0.9)).threads(1).build();
    (trainer.expect("it builds"), train, valid)
}

#[test]
fn fit_is_the_loop_one_would_write() {
    let (mut by_hand, train, valid) = plain();
    let (mut losses, mut valid_losses) = (Vec::new(), Vec::new());
    for _epoch in 0..2 {
        for (x, y) in &train {
            losses.push(by_hand.step(&x, &y).expect("a step"));
        }
        let mut sum = 0.0;
        for (x, y) in &valid {
            sum += by_hand.evaluate(&x, &y).expect("an evaluation").1 * y.len() as f64;
        }
        valid_losses.push(sum / 9.0);
    }
    let (mut trainer, train, valid) = plain();
    let history = trainer.fit(&train).epochs(2).validation(&valid).run().expect("it trains");
    assert_eq!((&history.step_losses, history.values("valid_loss")), (&losses, valid_losses));
    assert_eq!(trainer.n_steps(), 6);
    let mean = (losses[3] * 8.0 + losses[4] * 8.0 + losses[5] * 4.0) / 20.0;
    assert_eq!((history.last("train_loss"), history.last("lr")), (Some(mean), Some(0.2)));
    let state = |trainer: &mut Trainer<Sequential>| trainer.sync().expect("the state").state_dict();
    assert_eq!(state(&mut trainer), state(&mut by_hand));
}

#[test]
fn metrics_are_of_the_compiled_outputs() {
    let (mut trainer, train, valid) = plain();
    let confusion = ConfusionMatrix::new(3);
    let history = trainer
        .fit(&train)
        .epochs(5)
        .validation(&valid)
        .metric(Accuracy::new())
        .metric(confusion.clone())
        .metric(MetricFn::new("width", |output: &TensorData, _: &_| output.shape[1] as f64))
        .run()
        .expect("it trains");
    let counts = confusion.counts();
    assert_eq!(counts.iter().flatten().sum::<u64>(), 9);
    let n_right: u64 = (0..3).map(|class| counts[class][class]).sum();
    assert_eq!(history.last("valid_accuracy"), Some(n_right as f64 / 9.0));
    assert!(history.last("valid_balanced_accuracy").is_some_and(|share| share > 0.5));
    assert_eq!(history.last("valid_width"), Some(3.0));

    let error = trainer.fit(&train).metric(Accuracy::new()).train_metrics(true).run().expect_err("no outputs");
    assert!(error.to_string().contains("keep_output(true)"), "{error}");
}

#[test]
fn training_stops_when_it_should() {
    // A learning rate that makes things worse: the best epoch is the first.
    let (mut trainer, train, valid) = plain();
    trainer.set_lr(50.0);
    let stopping = EarlyStopping::new("valid_loss").patience(2).restore_best(true);
    let history = trainer.fit(&train).epochs(50).validation(&valid).early_stopping(stopping).run().expect("it trains");
    let losses = history.values("valid_loss");
    let best = losses.iter().copied().fold(f64::INFINITY, f64::min);
    assert_eq!(losses[losses.len() - 3], best, "{losses:?}");
    assert_eq!(history.stopped.as_deref(), Some("valid_loss did not become better for 2 epochs"));
    let (mut sum, mut n) = (0.0, 0);
    for (x, y) in &valid {
        sum += trainer.evaluate(&x, &y).expect("an evaluation").1 * y.len() as f64;
        n += y.len();
    }
    assert_eq!(sum / n as f64, best, "the parameters are those of the best epoch");

    let (mut trainer, train, _) = plain();
    let fit = trainer.fit(&train).epochs(9).on_batch_end(|fit| {
        fit.set_lr(0.01);
        if fit.step == 4 {
            fit.request_stop("enough");
        }
    });
    let history = fit.run().expect("it trains");
    assert_eq!((history.step_losses.len(), history.epochs.len()), (4, 1));
    assert_eq!((history.stopped.as_deref(), trainer.lr()), (Some("enough"), 0.01));

    let (mut trainer, train, _) = plain();
    let error = trainer.fit(&train).early_stopping(EarlyStopping::new("valid_loss")).run().expect_err("not measured");
    assert!(error.to_string().contains("`valid_loss` is watched, but what is measured is train_loss, lr"), "{error}");
}

#[test]
fn schedules_set_the_rates_of_the_compiled_step() {
    let (mut trainer, train, valid) = plain();
    let history = trainer.fit(&train).epochs(4).scheduler(StepLR::new(2).gamma(0.5)).run().expect("it trains");
    assert_eq!(history.values("lr"), [0.2, 0.2, 0.1, 0.1]);
    let (mut trainer, train_again, _) = plain();
    let plateau = ReduceLROnPlateau::default().patience(0_u64).threshold(1e9);
    let fit = trainer.fit(&train_again).epochs(4).validation(&valid);
    let history = fit.schedule(plateau, Pace::Watching("valid_loss".to_string())).run().expect("it trains");
    assert!(history.last("lr").is_some_and(|lr| lr < 0.2), "{:?}", history.values("lr"));

    // A schedule of the momentum too, in one go and in two processes.
    let process = |dir: &Path, stop: Option<u64>| {
        let (mut trainer, train, _) = plain();
        let fit = trainer.fit(&train).epochs(4).step_scheduler(OneCycleLR::new(0.5, 12)).on_batch_end(move |fit| {
            if stop == Some(fit.step) {
                fit.request_stop("later");
            }
        });
        fit.checkpoints(Checkpoints::new(dir).keep(1)).resume().run().expect("it trains")
    };
    let (whole, parts) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
    let history = process(whole.path(), None);
    assert_eq!(process(parts.path(), Some(5)).stopped.as_deref(), Some("later"));
    assert_eq!(process(parts.path(), None), history);
    assert_same_files(parts.path(), whole.path());

    let (mut trainer, train, _) = plain();
    let error = trainer.fit(&train).scheduler(StepLR::new(0)).run().expect_err("no such schedule").to_string();
    assert!(error.contains("step_size"), "{error}");
}

#[test]
fn reports_are_written() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let (mut trainer, train, valid) = plain();
    let (plot, csv, json) = (dir.path().join("loss.svg"), dir.path().join("log.csv"), dir.path().join("log.json"));
    let fit = trainer.fit(&train).epochs(2).validation(&valid).plot(&plot).log(&csv).log(&json);
    let history = fit.run().expect("it trains");
    assert_eq!(std::fs::read_to_string(plot).expect("the plot"), history.to_svg());
    assert_eq!(std::fs::read_to_string(csv).expect("the table"), history.to_csv());
    assert_eq!(std::fs::read_to_string(json).expect("the log"), history.to_json());
    assert_eq!(history.to_csv().lines().count(), 3);
}

/// What is wrong with continuing from `dir`, a line a fault.
fn faults(fit: Fit<'_, Sequential>, dir: &Path) -> Vec<String> {
    let error = fit.resume_from(dir).run().expect_err("it does not fit");
    error.to_string().lines().map(str::to_string).collect()
}

#[test]
fn every_mismatch_is_listed() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let (mut trainer, train, valid) = plain();
    let fit = trainer.fit(&train).validation(&valid).checkpoints(Checkpoints::new(dir.path()).best("valid_loss"));
    fit.run().expect("it trains");

    manual_seed(1);
    let model = sequential![Linear::new(4, 7), ReLU::new(), Linear::new(7, 3), Linear::new(3, 3)];
    let mut other = Trainer::new(model, Loss::cross_entropy(), Sgd::new(0.1)).build().expect("it builds");
    let loader = DataLoader::new(Clouds::new(21, 1, false)).batch_size(BATCH);
    let fit = other.fit(&loader).custom_scheduler(Halving { lr: 0.1, best: 1.0 }, Pace::EachStep);
    let found = faults(fit, dir.path());
    for expected in [
        "the optimizer is sgd:lr=0.2,momentum=0.9",
        "the tensor `0.weight` is of type f32[6, 4], expected f32[7, 4]",
        "the tensor `0.bias` is of type f32[6], expected f32[7]",
        "the tensor `2.weight` is of type f32[3, 6], expected f32[3, 7]",
        "there is no tensor `3.weight`, expected one of type f32[3, 3]",
        "there is no tensor `3.bias`, expected one of type f32[3]",
        "the run had no part `scheduler.0`, expected one",
        "the run had a part `checkpoints.best`, expected none",
        "the loader was at a data set of 20 examples, expected 21",
        "the run had validation batches, expected none",
    ] {
        assert_eq!(found.iter().filter(|line| line.contains(expected)).count(), 1, "{expected}: {found:#?}");
    }
    assert_eq!(found.len(), 10, "{found:#?}");
    assert!(found.iter().all(|line| line.contains("step-0000000003.safetensors: ")), "{found:#?}");
    assert_eq!(other.n_steps(), 0);

    // A trainer that was used already is compared with its compiled step.
    let (x, y) = loader.iter().next().expect("a batch");
    other.step(&x, &y).expect("a step");
    let checkpoint = Checkpoint::load(dir.path().join("step-0000000003.safetensors")).expect("sound");
    let error = other.restore(&checkpoint).expect_err("it does not fit").to_string();
    assert!(error.contains("there is a tensor `0.weight.momentum_buffer` of type f32[6, 4], expected none"), "{error}");
}

#[test]
fn folders_and_files_are_checked() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let checkpoints = || Checkpoints::new(dir.path().join("run"));
    let (mut trainer, train, _) = plain();
    let error = |fit: Fit<'_, Sequential>| fit.run().expect_err("it cannot").to_string();
    assert!(error(trainer.fit(&train).resume_from(dir.path())).contains("no checkpoint to continue from"));
    assert!(error(trainer.fit(&train).resume_from(dir.path().join("none"))).contains("cannot read the file"));
    assert!(error(trainer.fit(&train).resume()).contains("give them with `checkpoints`"));
    trainer.fit(&train).checkpoints(checkpoints()).run().expect("it trains");
    let fault = error(trainer.fit(&train).checkpoints(checkpoints()));
    assert!(fault.contains("checkpoints of another run, such as") && fault.contains("`resume`"), "{fault}");

    // What an interrupted write left behind is removed; a damaged checkpoint is refused.
    let remains = dir.path().join("run/.nnc-abc");
    std::fs::write(&remains, "half").expect("written");
    trainer.fit(&train).epochs(2).checkpoints(checkpoints()).resume().run().expect("it continues");
    assert!(!remains.exists());
    let path = dir.path().join("run/step-0000000006.safetensors");
    let mut bytes = std::fs::read(&path).expect("it is there");
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    std::fs::write(&path, bytes).expect("written");
    assert!(error(trainer.fit(&train).checkpoints(checkpoints()).resume()).contains("the checkpoint is damaged"));
}

#[test]
fn a_trainer_continues_in_a_loop_of_ones_own() {
    let (mut first, train, _) = plain();
    let batches: Vec<_> = train.iter().chain(train.iter()).collect();
    let checkpoints: Vec<Checkpoint> = batches
        .iter()
        .map(|(x, y)| {
            let checkpoint = first.checkpoint().expect("a state");
            first.step(x, y).expect("a step");
            checkpoint
        })
        .collect();
    let expected = first.sync().expect("the state").state_dict();
    // In a new trainer, and in the same one.
    for start in [0, 1, 3, 5] {
        for mut trainer in [plain().0, std::mem::replace(&mut first, plain().0)] {
            trainer.restore(&checkpoints[start]).expect("it fits");
            assert_eq!(trainer.n_steps(), start as u64);
            let (x, y) = &batches[start];
            let before = trainer.evaluate(x, y).expect("an evaluation").1;
            for (step, (x, y)) in batches.iter().enumerate().skip(start) {
                let loss = trainer.step(x, y).expect("a step");
                assert!(step > start || (loss - before).abs() < 1e-6, "the restored parameters are evaluated");
            }
            assert_eq!(trainer.sync().expect("the state").state_dict(), expected, "from step {start}");
            first = trainer;
        }
    }
}
