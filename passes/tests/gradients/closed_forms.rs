//! Gradients of whole functions against their formulas.

use nnc_ir::TensorData;
use nnc_ir::interp::eval_graph;
use nnc_ir::parse::parse_func;
use nnc_passes::autodiff::{trainable, value_and_grad};

use crate::table::spread;

/// The results of the function in `text`, extended by the gradients of its first result, as doubles.
fn results(text: &str, inputs: &[TensorData]) -> Vec<Vec<f64>> {
    let func = parse_func(text).unwrap_or_else(|faults| panic!("{faults:?}"));
    let func = value_and_grad(&func, &trainable(&func), 0).unwrap_or_else(|faults| panic!("{faults:?}"));
    let results = eval_graph(&func.graph, inputs).unwrap_or_else(|faults| panic!("{faults:?}"));
    results.iter().map(TensorData::to_f64).collect()
}

fn assert_close(found: &[f64], expected: &[f64]) {
    assert_eq!(found.len(), expected.len());
    for (found, expected) in found.iter().zip(expected) {
        assert!((found - expected).abs() < 1e-12, "found {found}, expected {expected}");
    }
}

/// Row-major `rows x inner` by `inner x columns`.
fn matmul(lhs: &[f64], rhs: &[f64], inner: usize) -> Vec<f64> {
    let columns = rhs.len() / inner;
    lhs.chunks(inner)
        .flat_map(|row| (0..columns).map(|column| (0..inner).map(|k| row[k] * rhs[k * columns + column]).sum::<f64>()))
        .collect()
}

fn transposed(matrix: &[f64], columns: usize) -> Vec<f64> {
    (0..columns).flat_map(|column| matrix.iter().skip(column).step_by(columns).copied()).collect()
}

#[test]
fn cross_entropy_of_softmax_is_probabilities_minus_target() {
    let text = "
func @cross_entropy(param %logits: f64[3, 4], %labels: i64[3]) -> (loss: f64[], softmax: f64[3, 4]) {
  %0 = reduce %logits {kind = max, dims = [1]}
  %1 = stop_gradient %0
  %2 = broadcast_in_dim %1 {dims = [0]} : f64[3, 4]
  %3 = subtract %logits, %2
  %4 = exponential %3
  %5 = reduce %4 {kind = sum, dims = [1]}
  %6 = log %5
  %7 = broadcast_in_dim %6 {dims = [0]} : f64[3, 4]
  %8 = subtract %3, %7
  %9 = reshape %labels : i64[3, 1]
  %10 = gather %8, %9 {collapsed_slice_dims = [1], operand_batching_dims = [0], start_indices_batching_dims = [0], \
            start_index_map = [1], index_vector_dim = 2, slice_sizes = [1, 1]}
  %11 = reduce %10 {kind = sum, dims = [0, 1]}
  %12 = constant -3.0 : f64[]
  %13 = divide %11, %12
  %14 = exponential %8
  return %13, %14
}";
    let labels = [2usize, 0, 3];
    let logits = spread(&[3, 4], -3.0, 3.0, 0);
    let labels_data = TensorData::from_i64(vec![3], &labels.map(|label| label as i64));
    let results = results(text, &[logits, labels_data]);
    let mut expected: Vec<f64> = results[1].iter().map(|p| p / 3.0).collect();
    for (row, label) in labels.into_iter().enumerate() {
        expected[row * 4 + label] -= 1.0 / 3.0;
    }
    assert_close(&results[2], &expected);
}

#[test]
fn linear_regression_has_the_normal_equations() {
    let text = "
func @regression(%x: f64[5, 3], %y: f64[5, 2], param %w: f64[3, 2]) -> (loss: f64[]) {
  %0 = dot_general %x, %w {lhs_contract = [1], rhs_contract = [0]}
  %1 = subtract %0, %y
  %2 = multiply %1, %1
  %3 = reduce %2 {kind = sum, dims = [0, 1]}
  return %3
}";
    let inputs = [spread(&[5, 3], -1.0, 1.0, 0), spread(&[5, 2], -1.0, 1.0, 1), spread(&[3, 2], -1.0, 1.0, 2)];
    let [x, y, w] = inputs.each_ref().map(TensorData::to_f64);
    let residual: Vec<f64> = matmul(&x, &w, 3).iter().zip(&y).map(|(found, y)| 2.0 * (found - y)).collect();
    assert_close(&results(text, &inputs)[1], &matmul(&transposed(&x, 3), &residual, 5));
}

#[test]
fn logistic_regression_is_probability_minus_label() {
    // Binary cross entropy of logits: softplus(z) - y z.
    let text = "
func @logistic(%z: f64[4], %y: f64[4], param %shift: f64[4]) -> (loss: f64[]) {
  %0 = add %z, %shift
  %1 = exponential %0
  %2 = log_plus_one %1
  %3 = multiply %0, %y
  %4 = subtract %2, %3
  %5 = reduce %4 {kind = sum, dims = [0]}
  return %5
}";
    let inputs = [spread(&[4], -3.0, 3.0, 0), spread(&[4], 0.0, 1.0, 1), spread(&[4], -1.0, 1.0, 2)];
    let [z, y, shift] = inputs.each_ref().map(TensorData::to_f64);
    let expected: Vec<f64> = (0..4).map(|idx| 1.0 / (1.0 + (-z[idx] - shift[idx]).exp()) - y[idx]).collect();
    assert_close(&results(text, &inputs)[1], &expected);
}

#[test]
fn the_gradient_of_a_gradient_is_the_hessian() {
    // loss = x' A x / 2 has gradient (A + A') x / 2; its inner product with v has gradient (A + A') v / 2.
    let text = "
func @quadratic(param %x: f64[3], %a: f64[3, 3]) -> (loss: f64[]) {
  %0 = dot_general %a, %x {lhs_contract = [1], rhs_contract = [0]}
  %1 = dot_general %x, %0 {lhs_contract = [0], rhs_contract = [0]}
  %2 = constant 0.5 : f64[]
  %3 = multiply %1, %2
  return %3
}";
    let func = parse_func(text).unwrap();
    let mut func = value_and_grad(&func, &[0], 0).unwrap();
    let gradient = func.graph.results()[1];
    let v = [0.3, -0.7, 1.1];
    let mut b = nnc_ir::Builder::new(&mut func.graph, nnc_ir::Location::unknown());
    let weights = b.tensor(crate::table::f64s(&[3], &v)).unwrap();
    let product = b.multiply(gradient, weights).unwrap();
    let inner = b.reduce_sum(product, &[0]).unwrap();
    func.graph.set_results(vec![inner]);
    func.results.truncate(1);

    let second = value_and_grad(&func, &[0], 0).unwrap();
    let inputs = [spread(&[3], -1.0, 1.0, 0), spread(&[3, 3], -1.0, 1.0, 1)];
    let a = inputs[1].to_f64();
    let expected: Vec<f64> =
        matmul(&a, &v, 3).iter().zip(matmul(&transposed(&a, 3), &v, 3)).map(|(av, atv)| (av + atv) / 2.0).collect();
    assert_close(&eval_graph(&second.graph, &inputs).unwrap()[1].to_f64(), &expected);
}
