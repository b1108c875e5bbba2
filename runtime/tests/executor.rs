//! Programs from loading to results, on the CPU and the null device.
#![cfg(target_arch = "x86_64")]

use nnc_runtime::device::{Cpu, Null};
use nnc_runtime::program::{Code, ElemType};
use nnc_runtime::{Error, Executable, Instance, artifact, profile};

#[path = "support/kernels.rs"]
mod kernels;

fn instance(len: usize, chunk: u64, threads: usize) -> Instance {
    let executable = Executable::load(kernels::step(len, chunk), &Cpu::new()).expect("a valid program");
    executable.instance(threads).expect("a small instance")
}

#[test]
fn a_step_computes_outputs_and_updates_state() {
    for (len, chunk, threads) in [(1, 1, 1), (7, 7, 4), (100, 8, 2), (1000, 10, 3), (5000, 64, 0)] {
        let mut instance = instance(len, chunk, threads);
        for (i, x) in instance.input_mut::<f32>("x").expect("x").iter_mut().enumerate() {
            *x = i as f32;
        }
        for step in 1..=5 {
            instance.run().expect("runs");
            for (i, y) in instance.output_as::<f32>("y").expect("y").iter().enumerate() {
                assert_eq!(*y, 2.0 * i as f32 + 0.5);
            }
            let updated = instance.output_as::<f32>("w").expect("w");
            assert_eq!(updated, instance.input_as::<f32>("w").expect("w"), "the output is the state");
            for (i, w) in updated.iter().enumerate() {
                assert_eq!(*w, 10.0 + (step * 2 * i) as f32);
            }
        }
    }
}

#[test]
fn instances_of_one_executable_are_independent() {
    let executable = Executable::load(kernels::step(8, 4), &Cpu::new()).expect("a valid program");
    let mut first = executable.instance(1).expect("a small instance");
    let mut second = executable.instance(2).expect("a small instance");
    drop(executable);
    first.input_mut::<f32>("x").expect("x").fill(1.0);
    first.run().expect("runs");
    second.run().expect("runs");
    assert_eq!(first.input_as::<f32>("w").expect("w"), [12.0; 8]);
    assert_eq!(second.input_as::<f32>("w").expect("w"), [10.0; 8]);
    let elsewhere = std::thread::spawn(move || {
        first.run().expect("runs");
        first.input_as::<f32>("w").expect("w").to_vec()
    });
    assert_eq!(elsewhere.join().expect("no panic"), [14.0; 8]);
}

#[test]
fn replaced_kernels_run_from_the_next_run_on() {
    let executable = Executable::load(kernels::step(100, 8), &Cpu::new()).expect("a valid program");
    let mut instances = [1, 2].map(|threads| executable.instance(threads).expect("a small instance"));
    let w = |instance: &Instance| instance.input_as::<f32>("w").expect("w").to_vec();
    for instance in &mut instances {
        instance.input_mut::<f32>("x").expect("x").fill(3.0);
        instance.run().expect("runs");
        assert_eq!(w(instance), [16.0; 100]);
    }
    let code = |triple: &str, objects| Code::Object { triple: triple.to_owned(), features: Vec::new(), objects };
    let triple = "x86_64-unknown-linux-gnu";
    executable.replace(&code(triple, vec![b"no object".to_vec()])).expect_err("malformed");
    executable.replace(&code("riscv64-unknown-linux-gnu", vec![])).expect_err("for another machine");
    executable.replace(&Code::Ptx { arch: "sm_90".to_owned(), text: String::new() }).expect_err("for a GPU");
    executable.replace(&code(triple, vec![kernels::multiplying_object()])).expect("well-formed");
    for instance in &mut instances {
        assert_eq!(w(instance), [16.0; 100], "tensors stay");
        instance.run().expect("runs");
        assert_eq!(w(instance), [16.0 * 9.0; 100]);
    }
    let mut new = executable.instance(1).expect("a small instance");
    new.write("x", &3.0_f32.to_le_bytes().repeat(100)).expect("the right size");
    new.run().expect("runs");
    assert_eq!(w(&new), [10.0 * 9.0; 100]);
}

#[test]
fn a_program_runs_the_same_from_a_file() {
    let bytes = artifact::encode(&kernels::step(16, 16)).expect("encodes");
    let program = artifact::decode(&bytes).expect("decodes");
    let mut instance = Executable::load(program, &Cpu::new()).expect("valid").instance(1).expect("small");
    instance.write("x", &3.0_f32.to_le_bytes().repeat(16)).expect("the right size");
    instance.run().expect("runs");
    assert_eq!(instance.output(0).expect("y"), 6.5_f32.to_le_bytes().repeat(16));
}

#[test]
fn wrong_use_is_an_error_with_names() {
    #[track_caller]
    fn check<T>(result: Result<T, Error>, expect: &str) {
        assert_eq!(result.err().expect("an error").to_string(), expect);
    }
    let mut instance = instance(4, 4, 1);
    check(instance.write("z", &[0; 16]), "program `step` has no input `z`; it has `x`, `w`");
    check(instance.write(2, &[0; 16]), "program `step` has no input `2`; it has `x`, `w`");
    check(instance.output("x").map(<[u8]>::to_vec), "program `step` has no output `x`; it has `y`, `w`");
    check(instance.write("x", &[0; 15]), "input `x`: f32[4]: found 15 bytes, expected 16");
    check(instance.input_mut::<i32>("x").map(|_| ()), "input `x`: f32[4]: found a view of i32, expected f32");
    check(instance.output_as::<f64>(0).map(|_| ()), "output `y`: f32[4]: found a view of f64, expected f32");
}

#[test]
fn booleans_are_0_or_1() {
    let mut program = kernels::step(4, 4);
    (program.inputs[0].spec.elem, program.inputs[0].spec.shape) = (ElemType::Bool, vec![16]);
    let mut instance = Executable::load(program, &Cpu::new()).expect("valid").instance(1).expect("small");
    instance.write("x", &[[0, 1, 1, 0]; 4].concat()).expect("booleans");
    assert_eq!(instance.input_as::<u8>("x").expect("a view of bytes")[..4], [0, 1, 1, 0]);
    let message = instance.write("x", &[[0, 1, 2, 0]; 4].concat()).expect_err("not a boolean").to_string();
    assert_eq!(message, "input `x`: bool[16]: found byte 2 at element 2, expected 0 or 1");
}

#[test]
fn code_that_cannot_run_here_is_refused() {
    let load = |change: fn(&mut nnc_runtime::Program)| {
        let mut program = kernels::step(4, 4);
        change(&mut program);
        Executable::load(program, &Cpu::new()).expect_err("cannot run").to_string()
    };
    let message = load(|program| program.code = Code::Ptx { arch: "sm_90".to_owned(), text: String::new() });
    assert_eq!(message, "device `cpu` cannot run PTX; run it on `cuda`, or compile for `cpu`");
    let message = load(|program| {
        let Code::Object { features, .. } = &mut program.code else { unreachable!("an object") };
        features.push("avx1024".to_owned());
    });
    assert_eq!(message, "code needs CPU feature `avx1024`, which this machine does not have");
    let message = load(|program| program.kernels[0].symbol = "mul".to_owned());
    assert_eq!(message, "kernel `mul` is not in the program's code");
    let message = load(|program| program.launches[0].kernel = 7);
    assert!(message.starts_with("invalid program: launch 0 (double)"), "{message}");
}

#[test]
fn profiles_have_one_entry_a_launch() {
    for threads in [1, 2] {
        let mut instance = instance(1000, 100, threads);
        let times = instance.profile_run().expect("runs");
        assert_eq!(times.iter().map(|time| &*time.label).collect::<Vec<_>>(), ["double", "bias", "update"]);
        assert!(times.windows(2).all(|pair| pair[0].start_ns + pair[0].ns <= pair[1].start_ns));
        assert!(times.iter().all(|time| time.bytes == 12_000 && time.flops == 1000 && time.kernel == "add"));
        assert!(profile::chrome_trace("step", &times).contains("\"name\":\"bias\""));
        assert_eq!(instance.output_as::<f32>("y").expect("y"), [0.5; 1000], "profiling computes as well");
        instance.run().expect("runs after profiling");
    }
}

#[test]
fn the_null_device_does_everything_but_run() {
    let mut program = kernels::step(4, 4);
    program.code = Code::Ptx { arch: "sm_90".to_owned(), text: "nobody assembles this".to_owned() };
    let device = Null::new();
    let executable = Executable::load(program, &device).expect("any code");
    let mut instance = executable.instance(1).expect("nothing to allocate");
    assert_eq!(instance.tensor_bytes(), executable.program().peak_bytes());
    instance.write("x", &[1; 16]).expect("the right size");
    assert_eq!(instance.input("x").expect("x"), [1; 16]);
    assert_eq!(instance.input_as::<f32>("w").expect("w"), [10.0; 4]);
    assert!(instance.write("x", &[1; 17]).is_err());
    instance.run().expect("does nothing");
    assert_eq!((device.launches(), device.bytes(), device.flops()), (3, 3 * 48, 3 * 4));
    assert_eq!(instance.profile_run().expect("does nothing").len(), 3);
    let message = instance.output("y").expect_err("never computed").to_string();
    assert_eq!(message, "the null device plans without running, so output `y`: f32[4] has no contents");
}
