use super::*;
use crate::program::{
    Address, Bound, Case, Code, Constant, ElemType, Guard, KernelArg, KernelInfo, Launch, Port, Step, test_program,
};

/// One launch over an input, a constant, the arena and an output.
fn program() -> Program {
    let mut program = test_program(&[("x", &[4])], &[("y", &[4])], 256);
    program
        .constants
        .push(Constant { spec: TensorSpec { elem: ElemType::I64, shape: vec![2] }, data: vec![0; 16].into() });
    program.kernels.push(KernelInfo {
        symbol: "k0".to_owned(),
        bytes: 0,
        flops: 0,
        block: [1; 3],
        shared_bytes: 0,
        args: [false, false, true, true].map(|written| KernelArg { bytes: 16, align: 4, written }).to_vec(),
    });
    program.launches.push(Launch {
        kernel: 0,
        args: [Place::Input(0), Place::Constant(0), Place::Arena(64), Place::Output(0)].map(Address::Fixed).to_vec(),
        extent: 4,
        chunk: 4,
        grid: [1; 3],
        label: "relu".to_owned(),
    });
    program.steps = Step::sequence(1);
    program
}

/// The launch in a loop of four iterations over slices of `x` and `y`, and then of a longer arena.
fn scan() -> Program {
    let mut program = program();
    program.inputs[0].spec.shape = vec![4, 4];
    program.outputs[0].spec.shape = vec![4, 4];
    program.steps = vec![Step::Loop { trips: 4, body: 1 }, Step::Launch(0)];
    let written = Address::from(Place::Output(0)).moved(0, 0, 16);
    program.launches[0].args = vec![
        Address::from(Place::Input(0)).moved(48, 0, -16),
        Place::Constant(0).into(),
        Address::from(Place::Arena(64)).odd(0, &Place::Arena(0).into()),
        written,
    ];
    program
}

/// A valid program changed by `change` must be refused with a text that contains `expect`.
fn check_of(mut program: Program, change: impl FnOnce(&mut Program), expect: &str) {
    program.validate().expect("valid before the change");
    change(&mut program);
    let message = program.validate().expect_err(expect).to_string();
    assert!(message.contains(expect), "`{message}` should contain `{expect}`");
}

fn check(change: impl FnOnce(&mut Program), expect: &str) {
    check_of(program(), change, expect);
}

fn check_scan(change: impl FnOnce(&mut Program), expect: &str) {
    check_of(scan(), change, expect);
}

#[test]
fn each_fault_is_refused_with_its_place() {
    check(|p| p.launches[0].kernel = 1, "launch 0 (relu): found kernel 1, expected one of 1 kernels");
    let set = |arg: usize, place: Place| move |p: &mut Program| p.launches[0].args[arg] = place.into();
    check(set(0, Place::Input(1)), "argument 0: found Input(1), expected one of 1 inputs");
    check(set(1, Place::Constant(9)), "expected one of 1 constants");
    check(set(3, Place::Output(1)), "expected one of 1 outputs");
    check(set(2, Place::Arena(320)), "expected an arena of 256 bytes");
    check(set(2, Place::Arena(4)), "expected a multiple of 64");
    check(set(2, Place::Arena(256)), "argument 2: found 16 bytes at Arena(256), expected at most 0");
    check(set(2, Place::Constant(0)), "found a write to Constant(0), expected a place that may change");
    check(set(3, Place::Input(0)), "found a write to Input(0)");
    check(|p| p.launches[0].args.truncate(3), "found 3 arguments, expected 4 for kernel `k0`");
    check(|p| p.kernels[0].args[1].bytes = 17, "argument 1: found 17 bytes at Constant(0), expected at most 16");
    check(|p| p.kernels[0].args[1].align = 3, "argument 1: found alignment 3, expected a power of two of at most 64");
    check(|p| p.launches[0].chunk = 0, "none empty");
    check(|p| (p.launches[0].extent, p.launches[0].chunk) = (u64::MAX, 1), "4294967295 chunks");
    check(|p| p.inputs[0].initial = Some(vec![0; 3]), "input 0 (`x`): found 3 bytes, expected 16 bytes for f32[4]");
    check(|p| p.constants[0].data = vec![0; 8].into(), "constant 0: found 8 bytes, expected 16 bytes for i64[2]");
    check(|p| p.inputs.push(p.inputs[0].clone()), "found name `x` again");
    check(|p| p.outputs[0].place = Place::Input(0), "launch 0 (relu), argument 3: found Output(0)");
    check(
        |p| {
            p.launches.clear();
            p.steps.clear();
            p.inputs[0].spec.shape = vec![5];
            p.outputs[0].place = Place::Input(0);
        },
        "output 0 (`y`): found f32[4] in 20 bytes, expected 16 bytes",
    );
    check(|p| p.outputs[0].spec.shape = vec![usize::MAX, 2], "beyond the address space");
    check(
        |p| {
            p.code = Code::Ptx { arch: "sm_90".to_owned(), text: String::new() };
            p.launches[0].grid = [1, 0, 1];
        },
        "no extent of 0",
    );
}

#[test]
fn steps_name_each_launch_once_and_nest() {
    check(|p| p.steps.clear(), "steps: found 0 launches, expected each of 1 launches");
    check(|p| p.steps.push(Step::Launch(0)), "step 1: found launch 0, expected launch 1 of 1");
    check(|p| p.steps[0] = Step::Launch(u32::MAX), "step 0: found launch 4294967295, expected launch 0 of 1");
    check_scan(|p| p.steps[0] = Step::Loop { trips: 4, body: 2 }, "step 0: found 2 steps that belong to it");
    let condition: Address = Place::Input(0).into();
    let branch = |on_true, on_false| Step::Branch { condition: condition.clone(), on_true, on_false };
    check(|p| p.steps.insert(0, branch(u32::MAX, u32::MAX)), "step 0: found 8589934590 steps");
    check(|p| p.steps.splice(0..0, (1..=40).rev().map(|n| branch(n, 0))).for_each(drop), "33 steps around it");
    let loops = |p: &mut Program| {
        p.steps.splice(0..0, (1..=9).rev().map(|body| Step::Loop { trips: 1, body })).for_each(drop);
    };
    check(loops, "step 8: found a loop more, expected at most 8 in each other");
    let condition = Address::from(Place::Input(0)).moved(16, 0, 0);
    let branch = Step::Branch { condition, on_true: 1, on_false: 0 };
    check(|p| p.steps.insert(0, branch), "condition of step 0: found 1 bytes from 16 to 16 bytes into Input(0)");
}

#[test]
fn addresses_stay_inside_in_every_iteration() {
    check_scan(|p| p.steps[0] = Step::Loop { trips: 5, body: 1 }, "argument 0: found 16 bytes from -16 to 48");
    check_scan(|p| p.inputs[0].spec.shape = vec![3, 4], "argument 0: found 16 bytes from 0 to 48 bytes into Input(0)");
    check_scan(|p| p.outputs[0].spec.shape = vec![3, 4], "argument 3: found 16 bytes from 0 to 48");
    let moving = |arg: usize, address: Address| move |p: &mut Program| p.launches[0].args[arg] = address;
    let y = Address::from(Place::Output(0));
    check_scan(moving(3, y.moved(2, 0, 8)), "expected multiples of 4");
    check_scan(moving(3, y.moved(0, 1, 16)), "argument 3: found loop 1, expected one of the 1 around it");
    check_scan(moving(3, y.moved(0, 0, i64::MAX)), "bytes into Output(0)");
    check_scan(moving(3, Address::Moving(Vec::new())), "expected a last case without guards");
    // A value that the iteration before has written: not in the first iteration.
    let carried = Address::from(Place::Input(0)).before(0, 1, &y.moved(0, 0, 16).previous(0));
    let mut program = scan();
    program.launches[0].args[0] = carried;
    program.validate().expect("every iteration reads what is there");
    check_scan(moving(0, y.moved(0, 0, 16).previous(0)), "argument 0: found 16 bytes from -16 to 32");
    // The same in a loop in a loop, whose first value is the outer loop's.
    let mut program = scan();
    program.steps = vec![Step::Loop { trips: 2, body: 2 }, Step::Loop { trips: 2, body: 1 }, Step::Launch(0)];
    let (outer, inner) = (y.moved(0, 0, 32), y.moved(0, 0, 32).moved(0, 1, 16));
    let first = Address::from(Place::Input(0)).before(0, 1, &outer.moved(16, 0, 0).previous(0));
    program.launches[0].args[0] = first.before(1, 1, &inner.previous(1));
    program.launches[0].args[3] = inner;
    program.validate().expect("every iteration reads what is there");
    check_of(program, |p| p.steps[0] = Step::Loop { trips: 3, body: 2 }, "argument 0: found 16 bytes from 32 to 64");
    let late = Case {
        guards: vec![Guard::Before { depth: 0, count: 2 }, Guard::Odd { depth: 0 }],
        place: Place::Input(0),
        offset: -16,
        strides: vec![(0, 16)],
    };
    let otherwise = y.cases().remove(0);
    check_scan(moving(0, Address::Moving(vec![late, otherwise])), "found 16 bytes from -16 to 0");
}

#[test]
fn loops_without_end_do_not_move() {
    let condition: Address = Place::Input(0).into();
    let mut program = scan();
    program.launches[0].args =
        [Place::Input(0), Place::Constant(0), Place::Arena(64), Place::Output(0)].map(Address::Fixed).to_vec();
    program.steps[0] = Step::While { condition, head: 0, body: 1 };
    program.validate().expect("the same every time");
    program.launches[0].args[2] = Address::from(Place::Arena(64)).odd(0, &Place::Arena(0).into());
    program.validate().expect("slots by turns");
    check_of(
        program,
        |p| p.launches[0].args[0] = Address::from(Place::Input(0)).moved(0, 0, 16),
        "argument 0: found 16 bytes from 0 to 295147905179352825840 bytes into Input(0)",
    );
}

#[test]
fn what_a_model_calls_its_inputs_and_outputs_must_fit() {
    let port = |tensors: std::ops::Range<u32>, bound| Port { name: "y".to_owned(), elem: None, tensors, bound };
    let outputs = |ports: Vec<Port>| move |program: &mut Program| program.ports.outputs = ports;
    check(outputs(vec![port(0..2, None)]), "output 0 of the model (`y`): found 0..2, expected some of 1 outputs");
    let backward = std::ops::Range { start: 1, end: 0 };
    check(outputs(vec![port(backward, None)]), "found 1..0, expected some of 1 outputs");
    let bound = |axis, count| Some(Bound { axis, count });
    check(outputs(vec![port(0..1, bound(1, 0))]), "found dimension 1 of f32[4], expected one it has");
    check(outputs(vec![port(0..1, bound(0, 7))]), "found a count in output 7, expected one of 1 outputs");
    check(outputs(vec![port(0..1, bound(0, 0))]), "found a count of type f32[4], expected i64[]");
    check(|program| program.ports.inputs = vec![port(0..1, bound(0, 0))], "found an extent that depends on data");
    check(|program| program.ports.inputs = vec![port(0..1, None), port(0..1, None)], "found name `y` again");
    let value = Constant { spec: TensorSpec { elem: ElemType::I64, shape: vec![2] }, data: vec![0; 8].into() };
    check(|program| program.ports.fixed = vec![("n".to_owned(), value)], "found 8 bytes, expected 16 bytes for i64[2]");
}
