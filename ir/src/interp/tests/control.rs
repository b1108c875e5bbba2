//! `scan`, `cond` and `while` on small data.

use super::*;
use crate::interp::eval_func;
use crate::parse::parse_func;
use indexmap::IndexMap;

/// The results of the function `text` on `inputs`, by position.
fn run(text: &str, inputs: &[(&str, TensorData)]) -> Result<Vec<TensorData>, String> {
    let func = parse_func(text).unwrap_or_else(|faults| panic!("{}", faults[0]));
    func.verify().unwrap_or_else(|faults| panic!("{}", faults[0]));
    let inputs: IndexMap<String, TensorData> =
        inputs.iter().map(|(name, data)| (name.to_string(), data.clone())).collect();
    match eval_func(&func, &IndexMap::new(), &inputs, &Default::default()) {
        Ok(results) => Ok(results.into_values().collect()),
        Err(faults) => Err(faults[0].to_string()),
    }
}

fn counters(values: &[i64]) -> TensorData {
    ints(DType::I32, &[values.len()], values)
}

/// The running sum of `%x`, each divided by the number of the step (an invariant scales it), and the total.
fn running(reverse: &str) -> String {
    format!(
        "func @f(%x: i32[N], %scale: i32[]) -> (total: i32[], sums: i32[N], twice: i32[N, 1]) {{
  %0 = constant 0 : i32[]
  %1, %2, %3 = scan %0, %x, %scale {{n_carried = 1, n_scanned = 1, length = N{reverse}}} (%p0: i32[], %p1: i32[], %p2: i32[]) {{
    %0 = multiply %p1, %p2 : i32[]
    %1 = add %p0, %0 : i32[]
    %2 = reshape %p1 : i32[1]
    return %1, %1, %2
  }} : i32[], i32[N], i32[N, 1]
  return %1, %2, %3
}}"
    )
}

#[test]
fn a_scan_carries_slices_and_stacks() {
    let x = ("x", counters(&[1, 2, 3]));
    let scale = ("scale", ints(DType::I32, &[], &[10]));
    let found = run(&running(""), &[x.clone(), scale.clone()]).unwrap();
    assert_eq!((found[0].to_i64(), found[1].to_i64()), (vec![60], vec![10, 30, 60]));
    assert_eq!((found[2].to_i64(), &found[2].shape), (vec![1, 2, 3], &vec![3, 1]));
    // From the end: the outputs stand where their slices stood.
    let found = run(&running(", reverse = true"), &[x, scale.clone()]).unwrap();
    assert_eq!((found[0].to_i64(), found[1].to_i64()), (vec![60], vec![60, 50, 30]));
    assert_eq!(found[2].to_i64(), [1, 2, 3]);
    let found = run(&running(""), &[("x", counters(&[])), scale]).unwrap();
    assert_eq!((found[0].to_i64(), &found[2].shape), (vec![0], &vec![0, 1]), "no step: the carries stay");
}

#[test]
fn scans_nest() {
    let text = "func @f(%x: i32[N, 2]) -> (total: i32[]) {
  %0 = constant 1 : i32[]
  %1 = scan %0, %x {n_carried = 1, n_scanned = 1, length = N} (%p0: i32[], %p1: i32[2]) {
    %0 = scan %p0, %p1 {n_carried = 1, n_scanned = 1, length = 2} (%p0: i32[], %p1: i32[]) {
      %0 = multiply %p0, %p1 : i32[]
      return %0
    } : i32[]
    return %0
  } : i32[]
  return %1
}";
    let found = run(text, &[("x", ints(DType::I32, &[2, 2], &[2, 3, 5, 7]))]).unwrap();
    assert_eq!(found[0].to_i64(), [210]);
}

#[test]
fn a_cond_runs_one_region() {
    let text = "func @f(%p: bool[], %x: i32[], %y: i32[]) -> (q: i32[], r: i32[]) {
  %0, %1 = cond %p, %x, %y (%p0: i32[], %p1: i32[]) {
    %0 = subtract %p0, %p1 : i32[]
    return %0, %p0
  } (%p0: i32[], %p1: i32[]) {
    return %p1, %p1
  } : i32[], i32[]
  return %0, %1
}";
    for (pred, expected) in [(1, [4, 7]), (0, [3, 3])] {
        let scalar = |dtype, value| ints(dtype, &[], &[value]);
        let inputs = [("p", scalar(DType::Bool, pred)), ("x", scalar(DType::I32, 7)), ("y", scalar(DType::I32, 3))];
        let found = run(text, &inputs).unwrap();
        assert_eq!([found[0].to_i64()[0], found[1].to_i64()[0]], expected);
    }
}

#[test]
fn a_while_ends_when_its_condition_fails() {
    // The greatest common divisor.
    let text = "func @gcd(%x: i32[], %y: i32[]) -> (gcd: i32[]) {
  %0, %1 = while %x, %y (%p0: i32[], %p1: i32[]) {
    %0 = constant 0 : i32[]
    %1 = compare %p1, %0 {direction = ne} : bool[]
    return %1
  } (%p0: i32[], %p1: i32[]) {
    %0 = remainder %p0, %p1 : i32[]
    return %p1, %0
  } : i32[], i32[]
  return %0
}";
    let scalar = |value| ints(DType::I32, &[], &[value]);
    let gcd = |x, y| run(text, &[("x", scalar(x)), ("y", scalar(y))]).unwrap()[0].to_i64()[0];
    assert_eq!((gcd(84, 36), gcd(7, 0)), (12, 7));
}

#[test]
fn loops_are_bounded_and_faults_inside_are_placed() {
    let text = "func @f(%x: i32[]) -> (y: i32[]) {
  %0 = scan %x {n_carried = 1, length = 99999999999} (%p0: i32[]) {
    return %p0
  } : i32[]
  return %0
}";
    let fault = run(text, &[("x", ints(DType::I32, &[], &[0]))]).unwrap_err();
    assert!(fault.ends_with(":2:3: scan: the loop does not end within 16777216 steps"), "{fault}");
}
