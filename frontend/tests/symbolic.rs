//! Traces with symbolic extents give what eager evaluation gives once the symbols are bound.

use nnc_frontend::functional::{cross_entropy, mse_loss};
use nnc_frontend::prelude::*;
use nnc_ir::interp::eval_func;

/// Runs `f` on concrete data, traced with a symbolic first extent, and again eagerly; compares the results.
fn check(x: &[usize], f: impl Fn(&Tensor, &Tensor) -> Tensor) {
    let n = x[0];
    manual_seed(n as u64);
    let x_data = Tensor::randn(x);
    let y_data = (Tensor::rand([n]) * x[1] as f64).long();
    let eager = f(&x_data, &y_data).data().unwrap();
    let rest: String = x[1..].iter().map(|extent| format!(", {extent}")).collect();
    let module = trace("f", |t| {
        let x = t.input("x", format!("f32[N{rest}]"));
        let y = t.input("y", "i64[N]");
        f(&x, &y)
    })
    .unwrap();
    module.verify().unwrap();
    let inputs = [("x", &x_data), ("y", &y_data)].map(|(name, data)| (name.to_string(), data.data().unwrap()));
    let inputs = inputs.into_iter().collect();
    let results = eval_func(&module.funcs[0], &module.weights, &inputs, &Default::default()).unwrap();
    assert_eq!(results["output"], eager);
}

#[test]
fn losses() {
    check(&[5, 7], cross_entropy);
    check(&[5, 7], |x, y| CrossEntropyLoss::new().reduction(Reduction::None).forward(x, y));
    check(&[5, 7], |x, y| CrossEntropyLoss::new().label_smoothing(0.1).ignore_index(2).forward(x, y));
    check(&[5, 7], |x, _| mse_loss(x, &x.tanh()));
}

#[test]
fn reductions_over_the_symbol() {
    check(&[6, 3], |x, _| x.mean(0) + x.var(.., 1) + x.std(0, 0));
    check(&[6, 3], |x, _| x.view([-1]).softmax(0).sum(..));
}

#[test]
fn indexing_beside_the_symbol() {
    check(&[4, 5], |x, y| x.index([range(x.size(0)), y.clone()]));
    check(&[4, 5], |x, _| x.index_select(1, &Tensor::from_slice(&[4i64, 0, 0])));
    check(&[4, 5, 3], |x, _| x.index((.., Tensor::from_slice(&[1i64, -1]), 1..)));
    check(&[4, 5], |x, y| x.gather(1, &y.unsqueeze(1)));
    check(&[4, 5], |x, y| x.zeros_like().scatter_add(1, &y.unsqueeze(1), &x.index((.., ..1))));
    check(&[4, 5], |x, y| x.index_select(0, &y.clamp(None, 3.0).long()));
    check(&[4, 5], |x, y| x.index_select(0, &(y.clamp(None, 3.0).long() - 4)));
    check(&[4, 5], |x, y| x.gather_nd(0, &(y.clamp(None, 3.0).long() - 4).unsqueeze(1)));
    check(&[4, 5], |x, y| x.gather_nd(1, &y.unsqueeze(1)));
    check(&[4, 3, 5], |x, y| x.transpose(0, 1).gather_nd(0, &y.clamp(None, 2.0).long().index(..2).unsqueeze(1)));
    check(&[4, 5], |x, y| {
        x.scatter_nd(&(y.clamp(None, 3.0).long() - 4).unsqueeze(1), &x.exp(), nnc_ir::ops::Combiner::Add)
    });
}

#[test]
fn views_of_the_symbol() {
    check(&[4, 2, 3], |x, _| x.flatten(1, -1).view((x.size(0), 3, 2)).transpose(0, 1).view([3, -1]));
    check(&[4, 6], |x, _| Tensor::cat(&[x, &x.index(1..)], 0).index(2..));
    check(&[4, 6], |x, _| x.index(-2) + x.index((.., 1..3)).sum(..));
}

#[test]
fn random_numbers_are_state() {
    let module = trace("noise", |t| {
        let x = t.input("x", "f32[N, 3]");
        [("a", &x + Tensor::rand(x.shape())), ("b", &x + Tensor::randn(x.shape()))]
    })
    .unwrap();
    module.verify().unwrap();
    let func = &module.funcs[0];
    assert_eq!((func.params[1].name.as_str(), func.results[2].name.as_str()), ("rng", "rng"));
    assert_eq!(func.results[2].donates, Some(1));
    let zeros = Tensor::zeros([4, 3]).data().unwrap();
    let mut inputs: indexmap::IndexMap<_, _> = [("x".to_string(), zeros)].into_iter().collect();
    let run = |inputs: &_| eval_func(func, &module.weights, inputs, &Default::default()).unwrap();
    let first = run(&inputs);
    assert_eq!(first, run(&inputs), "one state, one result");
    inputs.insert("rng".to_string(), first["rng"].clone());
    let second = run(&inputs);
    assert_ne!(first["a"], second["a"]);
    assert_ne!(first["a"], first["b"]);
    assert!(first["a"].to_f32().iter().all(|value| (0.0..1.0).contains(value)));
}
