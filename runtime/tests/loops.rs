//! Programs with loops and branches, made by hand.
#![cfg(target_arch = "x86_64")]

use nnc_runtime::device::{Cpu, Null};
use nnc_runtime::program::{Address, Place, Step};
use nnc_runtime::{Executable, Instance, Program, artifact};

#[path = "support/kernels.rs"]
mod kernels;

fn instance(program: Program, threads: usize) -> Instance {
    let bytes = artifact::encode(&program).expect("encodes");
    let program = artifact::decode(&bytes).expect("decodes");
    Executable::load(program, &Cpu::new()).expect("a valid program").instance(threads).expect("a small instance")
}

#[test]
fn iterations_read_what_the_ones_before_have_written() {
    for (len, trips, chunk, threads) in [(1, 1, 1, 1), (5, 7, 5, 1), (64, 100, 8, 2), (33, 20, 4, 3), (16, 1, 1, 2)] {
        let mut instance = instance(kernels::running_sums(len, trips, chunk), threads);
        for (i, x) in instance.input_mut::<f32>("x").expect("x").iter_mut().enumerate() {
            *x = (i % 13) as f32;
        }
        for _ in 0..3 {
            instance.run().expect("runs");
            let mut sums = vec![10.0; len];
            for (trip, row) in instance.output_as::<f32>("y").expect("y").chunks(len).enumerate() {
                for (i, sum) in sums.iter_mut().enumerate() {
                    *sum += ((trip * len + i) % 13) as f32;
                }
                assert_eq!(row, sums, "iteration {trip}");
            }
        }
        let times = instance.profile_run().expect("runs");
        assert_eq!((times.len(), times[0].runs, times[0].flops), (1, trips, trips * len as u64));
    }
}

#[test]
fn inputs_may_be_borrowed_in_loops() {
    let mut instance = instance(kernels::running_sums(3, 4, 3), 1);
    let x: Vec<u8> = [1.0_f32; 12].iter().flat_map(|x| x.to_le_bytes()).collect();
    instance.run_with(&[("x", x.as_slice())]).expect("runs");
    assert_eq!(instance.output_as::<f32>("y").expect("y")[9..], [14.0; 3]);
    instance.run().expect("runs with its own again");
    assert_eq!(instance.output_as::<f32>("y").expect("y"), [10.0; 12]);
}

/// A byte of a number that is not 0 unless the number is (or is tiny).
fn is_not_0(place: Place) -> Address {
    Address::from(place).moved(3, 0, 0)
}

/// The step of `support/kernels.rs` with its launches in other steps: `h = x + x`, `y = h + 0.5`, `w = w + h`.
fn with_steps(steps: Vec<Step>, chunk: u64) -> Program {
    let mut program = kernels::step(8, chunk);
    program.steps = steps;
    program
}

#[test]
fn branches_run_one_arm() {
    for (chunk, threads) in [(8, 1), (2, 2)] {
        let branch = Step::Branch { condition: is_not_0(Place::Input(0)), on_true: 1, on_false: 1 };
        let steps = vec![Step::Launch(0), branch, Step::Launch(1), Step::Launch(2)];
        let mut instance = instance(with_steps(steps, chunk), threads);
        instance.run().expect("runs");
        assert_eq!(instance.output_as::<f32>("y").expect("y"), [0.0; 8], "not run");
        assert_eq!(instance.output_as::<f32>("w").expect("w"), [10.0; 8], "10 + 0");
        instance.input_mut::<f32>("x").expect("x").fill(1.5);
        instance.run().expect("runs");
        assert_eq!(instance.output_as::<f32>("y").expect("y"), [3.5; 8]);
        assert_eq!(instance.output_as::<f32>("w").expect("w"), [10.0; 8], "not run");
        let runs: Vec<u64> = instance.profile_run().expect("runs").iter().map(|time| time.runs).collect();
        assert_eq!(runs, [1, 1, 0]);
    }
}

#[test]
fn loops_end_when_their_condition_fails() {
    for (chunk, threads) in [(8, 1), (2, 2), (1, 3)] {
        // w counts down by 2 x in each of the loop's iterations, and y is written in the last one too.
        let repeat = Step::While { condition: is_not_0(Place::Input(1)), head: 1, body: 2 };
        let steps = vec![repeat, Step::Launch(0), Step::Launch(1), Step::Launch(2)];
        let mut instance = instance(with_steps(steps, chunk), threads);
        for trips in [5, 1, 20] {
            instance.input_mut::<f32>("x").expect("x").fill(-0.5);
            instance.input_mut::<f32>("w").expect("w").fill(trips as f32);
            instance.run().expect("runs");
            assert_eq!(instance.output_as::<f32>("w").expect("w"), [0.0; 8]);
            assert_eq!(instance.output_as::<f32>("y").expect("y"), [-0.5; 8]);
        }
        instance.input_mut::<f32>("w").expect("w").fill(3.0);
        let runs: Vec<u64> = instance.profile_run().expect("runs").iter().map(|time| time.runs).collect();
        assert_eq!(runs, [4, 3, 3], "the condition is looked at once more than it holds");
    }
}

#[test]
fn the_null_device_counts_every_trip() {
    let device = Null::new();
    let executable = Executable::load(kernels::running_sums(4, 9, 4), &device).expect("valid");
    let mut instance = executable.instance(1).expect("nothing to allocate");
    instance.run().expect("does nothing");
    assert_eq!((device.launches(), device.flops()), (9, 36));

    let device = Null::new();
    let condition = is_not_0(Place::Input(1));
    let repeat = Step::While { condition: condition.clone(), head: 1, body: 3 };
    let branch = Step::Branch { condition, on_true: 1, on_false: 1 };
    let program = with_steps(vec![repeat, Step::Launch(0), branch, Step::Launch(1), Step::Launch(2)], 8);
    let mut instance = Executable::load(program, &device).expect("valid").instance(1).expect("nothing to allocate");
    for runs in 1..4 {
        let times = instance.profile_run().expect("does nothing");
        assert_eq!(times.iter().map(|time| time.runs).collect::<Vec<_>>(), [2, 1, 0], "one trip, the first arm");
        assert_eq!(device.launches(), 3 * runs);
    }
}
