//! Loops and branches: traced once, run eagerly step by step, with the same values.

use nnc_frontend::functional::{Scan, cond, scan, while_loop};
use nnc_frontend::prelude::*;
use nnc_ir::interp::eval_func;

/// Traces `f` on inputs `x0`, `x1`, ... of the data's types, the first extent of each being `N` if `symbolic`, and
/// compares its value with the eager one. Gives the text of the function.
#[track_caller]
fn check(symbolic: bool, data: &[Tensor], f: impl Fn(&[Tensor]) -> Vec<Tensor>) -> String {
    let eager: Vec<TensorData> = f(data).iter().map(|tensor| tensor.data().unwrap()).collect();
    let module = trace("f", |t| {
        let inputs: Vec<Tensor> = data
            .iter()
            .enumerate()
            .map(|(idx, tensor)| {
                let mut ty = tensor.ty();
                if symbolic && ty.rank() > 0 {
                    ty.shape.0[0] = Dim::symbol("N");
                }
                t.input(&format!("x{idx}"), ty)
            })
            .collect();
        for (idx, tensor) in f(&inputs).into_iter().enumerate() {
            t.output(&format!("y{idx}"), tensor);
        }
    })
    .unwrap();
    module.verify().unwrap_or_else(|faults| panic!("{}\n{module}", faults[0]));
    let inputs = data.iter().enumerate().map(|(idx, tensor)| (format!("x{idx}"), tensor.data().unwrap())).collect();
    let results = eval_func(&module.funcs[0], &module.weights, &inputs, &Default::default()).unwrap();
    assert_eq!(results.into_values().collect::<Vec<_>>(), eager, "{module}");
    module.funcs[0].to_string()
}

fn faults(build: impl FnOnce(&Trace)) -> Vec<String> {
    let error = trace("f", build).unwrap_err();
    error.diagnostics.into_iter().map(|diagnostic| diagnostic.message).collect()
}

#[test]
fn a_body_becomes_one_node_that_captures_what_it_uses() {
    let w = Parameter::new(Tensor::ones([4, 3]));
    let module = trace("rnn", |t| {
        let x = t.input("x", "f32[T, N, 3]");
        let h = t.input("h", "f32[N, 4]");
        let w = t.parameter("w", &w);
        let (h, hs) = scan(h, x, |h, x| {
            let h = (x.linear(&w, None) + h).tanh();
            (h.clone(), h * 2.0)
        });
        t.output("h", h);
        t.output("hs", hs);
    })
    .unwrap();
    module.verify().unwrap();
    assert_eq!(
        module.funcs[0].to_string(),
        "func @rnn(%x: f32[T, N, 3], %h: f32[N, 4], param %w: f32[4, 3] = @w) -> (h: f32[N, 4], hs: f32[T, N, 4]) {
  %0, %1 = scan %h, %x, %w {n_carried = 1, n_scanned = 1, length = T} (%p0: f32[N, 4], %p1: f32[N, 3], %p2: f32[4, 3]) {
    %0 = dot_general %p1, %p2 {lhs_contract = [1], rhs_contract = [1]} : f32[N, 4]
    %1 = add %0, %p0 : f32[N, 4]
    %2 = tanh %1 : f32[N, 4]
    %3 = constant 2.0 : f32[N, 4]
    %4 = multiply %2, %3 : f32[N, 4]
    return %2, %4
  } : f32[N, 4], f32[T, N, 4]
  return %0, %1
}
"
    );
}

#[test]
fn traced_and_eager_scans_agree() {
    let x = Tensor::randn([5, 3]);
    for symbolic in [false, true] {
        for reverse in [false, true] {
            check(symbolic, std::slice::from_ref(&x), |x| {
                let init = (Tensor::zeros([3]), vec![Tensor::scalar(1.0f32)]);
                let ((sum, product), ys) = Scan::new().reverse(reverse).run(
                    init,
                    (x[0].clone(), &x[0] * 2.0),
                    |(sum, product), (x, twice)| {
                        let next = vec![&product[0] * x.exp().sum(..)];
                        ((&sum + &x, next), [sum, twice])
                    },
                );
                [vec![sum], product, ys.to_vec()].concat()
            });
        }
    }
}

#[test]
fn a_scan_may_have_no_slices_no_outputs_no_steps() {
    check(false, &[Tensor::randn([3])], |x| {
        let (last, ()) = Scan::new().length(4).run(x[0].clone(), (), |x, ()| (x.sin(), ()));
        vec![last]
    });
    check(false, &[Tensor::randn([0, 3])], |x| {
        let (last, ys) = scan(Tensor::ones([3]), x[0].clone(), |carry, x| (&carry + &x, x.sum(..)));
        vec![last, ys]
    });
}

#[test]
fn bodies_nest_and_capture_across_levels() {
    let text = check(true, &[Tensor::randn([3, 3]), Tensor::randn([3])], |x| {
        let scale = x[1].exp();
        let rows = scan((), x[0].clone(), |(), row| {
            let shifted = &row + 1.0;
            let (total, ()) = scan(Tensor::scalar(0.0f32), row, |sum, element| {
                (sum + (&scale * element).sum(..) + shifted.sum(..), ())
            });
            let total = cond(&total.gt(0.0), total.clone(), |t| t * &scale, |t| &scale - t);
            ((), total)
        });
        vec![rows.1]
    });
    assert!(text.contains("%1 = scan %x0, %0 {n_scanned = 1, length = N} (%p0: f32[3], %p1: f32[N]) {"), "{text}");
}

#[test]
fn branches_give_what_the_predicate_chooses() {
    for sign in [1.0f32, -1.0] {
        check(false, &[Tensor::scalar(sign), Tensor::randn([3]), Tensor::randn([3])], |x| {
            // Each branch captures what the other does not.
            let (a, b) = cond(
                &x[0].gt(0.0),
                (x[1].clone(), Tensor::ones([3])),
                |(u, one)| (&u + &one, u),
                |(u, _)| (u.sin(), x[2].cos()),
            );
            vec![a, b]
        });
    }
}

#[test]
fn loops_end_when_the_condition_says() {
    let text = check(false, &[Tensor::scalar(1.0f32), Tensor::scalar(50.0f32)], |x| {
        let factor = &x[1] / 10.0;
        let (count, value) = while_loop(
            (Tensor::scalar(0i64), x[0].clone()),
            |(_, value)| value.lt(&x[1]),
            |(count, value)| (count + 1, value * &factor),
        );
        vec![count, value]
    });
    assert!(text.contains(" = while "), "{text}");
}

#[test]
fn buffers_and_random_numbers_are_carried() {
    let module = trace("f", |t| {
        let count = Buffer::from_data(Tensor::scalar(0.0f32).data().unwrap());
        let x = t.input("x", "f32[T]");
        let (_, ys) = scan((), x, |(), x| {
            let seen = count.tensor();
            count.update(&(&seen + 1.0));
            ((), (x + Tensor::rand([1]).sum(..), seen))
        });
        t.output("noisy", ys.0);
        t.output("seen", ys.1);
        t.output("count", count.tensor());
    })
    .unwrap();
    module.verify().unwrap_or_else(|faults| panic!("{}\n{module}", faults[0]));
    let func = &module.funcs[0];
    let donated: Vec<&str> = func.results.iter().filter(|r| r.donates.is_some()).map(|r| r.name.as_str()).collect();
    assert_eq!(donated, ["buffer.1", "rng"]);
    let inputs = [("x".to_string(), Tensor::zeros([6]).data().unwrap())].into_iter().collect();
    let results = eval_func(func, &module.weights, &inputs, &Default::default()).unwrap();
    assert_eq!(results["seen"].to_f64(), [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]);
    assert_eq!(results["count"].to_f64(), [6.0]);
    assert_eq!(results["rng"].to_i64()[2], 6, "one draw a step");
    let mut draws = results["noisy"].to_f64();
    draws.dedup();
    assert_eq!(draws.len(), 6, "each step draws anew");
}

#[test]
fn random_numbers_are_carried_through_every_level() {
    let module = trace("f", |t| {
        let x = t.input("x", "f32[3, 4]");
        let before = Tensor::rand([1]).sum(..);
        let (_, ys) = scan((), x, |(), row| {
            let noisy = scan((), row, |(), x| ((), x + Tensor::rand([1]).sum(..))).1;
            let noisy = cond(&noisy.sum(..).gt(-1.0), noisy, |noisy| noisy + Tensor::rand([4]), |noisy| noisy);
            ((), noisy)
        });
        t.output("y", ys + before);
    })
    .unwrap();
    module.verify().unwrap_or_else(|faults| panic!("{}\n{module}", faults[0]));
    let inputs = [("x".to_string(), Tensor::zeros([3, 4]).data().unwrap())].into_iter().collect();
    let results = eval_func(&module.funcs[0], &module.weights, &inputs, &Default::default()).unwrap();
    assert_eq!(results["rng"].to_i64()[2], 1 + 3 * (4 + 1), "one draw before, five a row");
    let mut drawn = results["y"].to_f64();
    drawn.sort_by(f64::total_cmp);
    drawn.dedup();
    assert_eq!(drawn.len(), 12);
}

#[test]
fn a_branch_that_sets_a_buffer_sets_it_behind() {
    let run = |pred: f32| {
        let buffer = Buffer::from_data(Tensor::scalar(5.0f32).data().unwrap());
        let module = trace("f", |t| {
            let x = t.input("x", "f32[]");
            let y = cond(
                &x.gt(0.0),
                x.clone(),
                |x| {
                    buffer.update(&x);
                    x
                },
                |x| x * buffer.tensor(),
            );
            t.output("y", y);
        })
        .unwrap();
        module.verify().unwrap_or_else(|faults| panic!("{}\n{module}", faults[0]));
        let inputs = [("x".to_string(), Tensor::scalar(pred).data().unwrap())].into_iter().collect();
        let results = eval_func(&module.funcs[0], &module.weights, &inputs, &Default::default()).unwrap();
        results.values().map(|data| data.to_f64()[0]).collect::<Vec<_>>()
    };
    assert_eq!(run(2.0), [2.0, 2.0]);
    assert_eq!(run(-2.0), [-10.0, 5.0]);
}

#[test]
fn a_loop_may_set_buffers_but_its_condition_may_not() {
    let buffer = Buffer::from_data(Tensor::scalar(0.0f32).data().unwrap());
    let module = trace("f", |t| {
        let x = t.input("x", "f32[]");
        let last = while_loop(
            x,
            |x| x.lt(100.0),
            |x| {
                buffer.update(&(buffer.tensor() + &x));
                x * 2.0
            },
        );
        t.output("y", last);
    })
    .unwrap();
    let inputs = [("x".to_string(), Tensor::scalar(10.0f32).data().unwrap())].into_iter().collect();
    let results = eval_func(&module.funcs[0], &module.weights, &inputs, &Default::default()).unwrap();
    assert_eq!(results.values().map(|data| data.to_f64()[0]).collect::<Vec<_>>(), [160.0, 150.0]);

    let found = faults(|t| {
        let x = t.input("x", "f32[]");
        t.output("y", while_loop(x, |x| x.lt(Tensor::rand([1]).sum(..)), |x| x * 2.0));
    });
    assert_eq!(found, ["while_loop: the condition changes `rng`, which only the body may"]);
}

#[test]
fn every_fault_of_a_body_is_reported() {
    let found = faults(|t| {
        let x = t.input("x", "f32[T, 3]");
        let (_, y) = scan(Tensor::zeros([4]), x, |carry, x| {
            let wrong = &carry + &x;
            let also = x.matmul(carry.unsqueeze(0));
            (wrong, also)
        });
        t.output("y", y + 1.0);
    });
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found[0].contains("f32[4]") && found[0].contains("f32[3]"), "{found:?}");
}

#[test]
fn types_that_do_not_fit_are_named() {
    let found = faults(|t| {
        let x = t.input("x", "f32[T, 3]");
        let y = t.input("y", "f32[5, 3]");
        let s = t.input("s", "f32[]");
        scan(Tensor::zeros([4]), x.clone(), |_, x| (x, ()));
        scan(vec![s.clone()], x.clone(), |carry, _| ([carry, vec![s.clone()]].concat(), ()));
        scan((), (x.clone(), y), |(), _| ((), ()));
        scan((), s.clone(), |(), _| ((), ()));
        scan(s.clone(), (), |s, ()| (s, ()));
        cond(&s, x.clone(), |x| x, |x| x);
        cond(&s.gt(0.0), x.clone(), |x| x.sum(..), |x| x);
        while_loop(s.clone(), |s| s.clone(), |s| s);
        while_loop(s.clone(), |s| s.gt(0.0), |s| s.gt(0.0));
    });
    assert_eq!(
        found,
        [
            "scan: the body gives carry 0 of type f32[3], expected f32[4] as it begins",
            "scan: the body gives 2 tensors as carry, expected 1 as it begins",
            "scan: input 1 has type f32[5, 3], expected the leading extent T as input 0 has",
            "scan: input 0 has type f32[], expected a leading dimension to scan",
            "scan: nothing is scanned, so the number of steps is unknown; set `Scan::length`",
            "cond: the predicate has type f32[], expected bool[]",
            "cond: the second body gives result 0 of type f32[T, 3], expected f32[] as the first gives",
            "while_loop: the condition has type f32[], expected bool[]",
            "while_loop: the body gives carry 0 of type bool[], expected f32[] as it begins",
        ]
    );
}

#[test]
fn a_tensor_does_not_outlive_its_body() {
    let found = faults(|t| {
        let x = t.input("x", "f32[T]");
        let mut kept = None;
        scan((), x, |(), x| {
            kept = Some(x);
            ((), ())
        });
        t.output("y", kept.unwrap() * 2.0);
    });
    assert_eq!(
        found,
        ["a tensor of type f32[] from the body of a loop or branch is used outside; give it back from the body"]
    );
}

#[test]
fn eager_faults_poison_what_they_reach() {
    let (carry, ys) = scan(Tensor::zeros([4]), Tensor::zeros([2, 3]), |carry, x| (carry + x, ()));
    assert!(carry.is_poisoned());
    let () = ys;
    let (carry, y) = scan(Tensor::zeros([4]), Tensor::zeros([2, 3]), |_, x| (x.clone(), x));
    assert!(carry.is_poisoned() && y.is_poisoned());
    assert!(cond(&Tensor::scalar(1.0f32), Tensor::scalar(1.0f32), |x| x, |x| x).is_poisoned());
}

#[test]
fn scopes_and_places_work_inside() {
    #[derive(Module)]
    struct Net {
        cell: Linear,
    }
    impl Forward for Net {
        fn forward(&self, x: &Tensor) -> Tensor {
            scan(Tensor::zeros([2]), x.clone(), |h, x| (self.cell.forward(&x) + h, ())).0
        }
    }
    let net = Net { cell: Linear::new(2, 2) };
    let module = trace("f", |t| {
        t.bind(&net);
        let x = t.input("x", "f32[T, 2]");
        net.forward(&x)
    })
    .unwrap();
    let text = nnc_ir::Printer { locations: true, ..nnc_ir::Printer::new() }.func(&module.funcs[0]).to_string();
    let dot = text.lines().find(|line| line.contains("dot_general")).unwrap();
    assert!(dot.contains("control.rs") && dot.contains("cell"), "{text}");
}
