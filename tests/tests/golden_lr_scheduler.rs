//! Twenty-five steps of every schedule of learning rates against PyTorch's (`golden/optim/lr_scheduler.safetensors`).

use std::error::Error;
use std::rc::Rc;

use libtest_mimic::{Arguments, Failed, Trial};
use nnc_frontend::optim::lr_scheduler::{
    Anneal, ChainedScheduler, ConstantLR, CosineAnnealingLR, CosineAnnealingWarmRestarts, CycleMode, CyclicLR,
    ExponentialLR, LambdaLR, LinearLR, Mode, MultiStepLR, MultiplicativeLR, OneCycleLR, PolynomialLR, Rates,
    ReduceLROnPlateau, Schedule, Scheduler, SequentialLR, StepLR, ThresholdMode,
};
use nnc_frontend::optim::{Adadelta, Sgd};
use nnc_tests::golden::Golden;

/// Both sides compute in `f64`, by the same recurrences.
const RELATIVE: f64 = 1e-12;

const CASES: [&str; 26] = [
    "step",
    "step_gamma",
    "multi_step",
    "constant",
    "linear",
    "linear_down",
    "exponential",
    "polynomial",
    "cosine",
    "cosine_min",
    "warm_restarts",
    "warm_restarts_longer",
    "lambda",
    "lambda_per_group",
    "multiplicative",
    "cyclic",
    "cyclic_uneven",
    "cyclic_exp",
    "one_cycle",
    "one_cycle_linear",
    "one_cycle_three_phase",
    "sequential",
    "sequential_three",
    "chained",
    "plateau",
    "plateau_max",
];

fn main() -> Result<(), Box<dyn Error>> {
    let mut trials: Vec<Trial> = CASES.iter().map(|case| Trial::test(*case, || check(case))).collect();
    trials.push(Trial::test("every case is known", every_case_is_known));
    trials.push(Trial::test("arguments that are not allowed are named", arguments_that_are_not_allowed_are_named));
    libtest_mimic::run(&Arguments::from_args(), trials).exit()
}

/// The schedule that `golden/optim.py` calls by this name.
fn schedule(case: &str) -> Schedule {
    match case {
        "step" => StepLR::new(3).into(),
        "step_gamma" => StepLR::new(7).gamma(0.7).into(),
        "multi_step" => MultiStepLR::new([4, 9, 9, 15]).gamma(0.3).into(),
        "constant" => ConstantLR::default().factor(0.4).total_iters(6).into(),
        "linear" => LinearLR::default().into(),
        "linear_down" => LinearLR::default().start_factor(0.9).end_factor(0.2).total_iters(11).into(),
        "exponential" => ExponentialLR::new(0.87).into(),
        "polynomial" => PolynomialLR::default().total_iters(13).power(1.7).into(),
        "cosine" => CosineAnnealingLR::new(7).into(),
        "cosine_min" => CosineAnnealingLR::new(10).eta_min(0.005).into(),
        "warm_restarts" => CosineAnnealingWarmRestarts::new(5).into(),
        "warm_restarts_longer" => CosineAnnealingWarmRestarts::new(3).t_mult(2).eta_min(0.001).into(),
        "lambda" => LambdaLR::new(|epoch| 0.95f64.powi(epoch as i32)).into(),
        "lambda_per_group" => LambdaLR::per_group(vec![
            Rc::new(|epoch| 1.0 / (1 + epoch) as f64),
            Rc::new(|epoch| 0.5 + (epoch % 2) as f64),
        ])
        .into(),
        "multiplicative" => MultiplicativeLR::new(|epoch| if epoch % 3 != 0 { 0.9 } else { 1.1 }).into(),
        "cyclic" => CyclicLR::new(0.01, 0.2).step_size_up(4u64).into(),
        "cyclic_uneven" => CyclicLR::new([0.01, 0.02], [0.2, 0.3])
            .step_size_up(3u64)
            .step_size_down(5)
            .mode(CycleMode::Triangular2)
            .base_momentum(0.6)
            .into(),
        "cyclic_exp" => CyclicLR::new(0.01, 0.2)
            .step_size_up(4u64)
            .mode(CycleMode::ExpRange)
            .gamma(0.95)
            .cycle_momentum(false)
            .into(),
        "one_cycle" => OneCycleLR::new(0.3, 25).into(),
        "one_cycle_linear" => OneCycleLR::new([0.3, 0.1], 30)
            .pct_start(0.4)
            .anneal_strategy(Anneal::Linear)
            .div_factor(10.0)
            .final_div_factor(100.0)
            .into(),
        "one_cycle_three_phase" => {
            OneCycleLR::new(0.3, 5 * 6).three_phase(true).base_momentum(0.5).max_momentum(0.8).into()
        }
        "sequential" => {
            let warm_up = LinearLR::default().total_iters(4);
            SequentialLR::new(vec![warm_up.into(), ExponentialLR::new(0.9).into()], [4]).into()
        }
        "sequential_three" => {
            let constant = ConstantLR::default().factor(0.1).total_iters(20);
            let (cosine, steps) = (CosineAnnealingWarmRestarts::new(4), StepLR::new(2).gamma(0.5));
            SequentialLR::new(vec![constant.into(), cosine.into(), steps.into()], [5, 14]).into()
        }
        "chained" => {
            let constant = ConstantLR::default().factor(0.1).total_iters(4);
            ChainedScheduler::new(vec![constant.into(), ExponentialLR::new(0.9).into()]).into()
        }
        "plateau" => ReduceLROnPlateau::default().patience(2u64).into(),
        "plateau_max" => ReduceLROnPlateau::default()
            .mode(Mode::Max)
            .factor(0.5)
            .patience(1u64)
            .threshold(0.05)
            .threshold_mode(ThresholdMode::Abs)
            .cooldown(3u64)
            .min_lr([0.02, 0.004])
            .into(),
        other => panic!("there is no schedule {other}"),
    }
}

fn rates() -> Rates {
    Rates::of([&Sgd::new(0.1).momentum(0.9).into(), &Sgd::new(0.02).momentum(0.9).into()])
}

fn check(case: &str) -> Result<(), Failed> {
    let golden = Golden::read("optim/lr_scheduler");
    let (expected, metrics) = (golden.get(case), golden.get("metrics"));
    let mut scheduler = Scheduler::new(rates(), schedule(case))?;
    let n_steps = metrics.len();
    for step in 0..=n_steps {
        for (idx, group) in scheduler.rates().groups().iter().enumerate() {
            let momentum = group.momentum.ok_or("the optimizer has a momentum")?;
            for (what, found, at) in [("lr", group.lr, 0), ("momentum", momentum, 1)] {
                let expected = expected.get((step * 2 + idx) * 2 + at).to_f64();
                if (found - expected).abs() > RELATIVE * expected.abs().max(1e-6) {
                    return Err(format!("step {step}, group {idx}: {what} is {found}, expected {expected}").into());
                }
            }
        }
        if step == n_steps {
            break;
        }
        if step == 11 {
            // A scheduler that is saved and restored goes on as if nothing had happened.
            let state = scheduler.state();
            scheduler = Scheduler::new(rates(), schedule(case))?;
            scheduler.load_state(&state)?;
        }
        let metric = metrics.get(step).to_f64();
        if case.starts_with("plateau") { scheduler.step_with(metric)? } else { scheduler.step()? }
    }
    Ok(())
}

fn every_case_is_known() -> Result<(), Failed> {
    for key in Golden::read("optim/lr_scheduler").group("").keys().filter(|key| *key != "metrics") {
        if !CASES.contains(&key.as_str()) {
            return Err(format!("no test knows the schedule {key}").into());
        }
    }
    Ok(())
}

fn arguments_that_are_not_allowed_are_named() -> Result<(), Failed> {
    let message = |rates: Rates, schedule: Schedule| match Scheduler::new(rates, schedule) {
        Ok(_) => "nothing".to_string(),
        Err(error) => error.to_string(),
    };
    let without_momentum = Rates::of([&Adadelta::default().into()]);
    for (found, expected) in [
        (
            message(without_momentum, OneCycleLR::new(0.1, 10).into()),
            "OneCycleLR: `cycle_momentum` is true, but the optimizer has no momentum: give it one above 0, or set \
             `cycle_momentum(false)`",
        ),
        (message(rates(), StepLR::new(0).into()), "StepLR: `step_size` is 0, expected at least 1"),
        (
            message(rates(), OneCycleLR::new([0.1, 0.2, 0.3], 0).into()),
            "OneCycleLR: `total_steps` is 0, expected at least 1; OneCycleLR: `max_lr` is [0.1, 0.2, 0.3], expected one \
             finite number, or one for each of 2 groups",
        ),
        (
            message(rates(), SequentialLR::new(vec![ReduceLROnPlateau::default().into()], [3]).into()),
            "SequentialLR: `schedulers` has a ReduceLROnPlateau, whose steps need a metric; run it as a scheduler of \
             its own; SequentialLR: `milestones` has 1 entries, expected one less than the 1 schedulers",
        ),
    ] {
        if found != expected {
            return Err(format!("found:    {found}\nexpected: {expected}").into());
        }
    }
    let mut plateau = Scheduler::new(rates(), ReduceLROnPlateau::default())?;
    assert_eq!(
        plateau.step().expect_err("needs a metric").to_string(),
        "ReduceLROnPlateau: `metric` needs a value to watch: use `step_with`"
    );
    let state = Scheduler::new(rates(), StepLR::new(3))?.state();
    assert_eq!(
        plateau.load_state(&state).expect_err("another kind").to_string(),
        "Scheduler: `state` is not that of a ReduceLROnPlateau for 2 parameter groups"
    );
    let mut short = Scheduler::new(rates(), OneCycleLR::new(0.1, 1))?;
    short.step()?;
    assert_eq!(short.step().expect_err("is over").to_string(), "OneCycleLR: `total_steps` is 1, but this is step 2");
    Ok(())
}
