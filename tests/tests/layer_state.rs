//! Layers with state in compiled training: running statistics move as they do in an eager call, for any batch size, and
//! evaluation uses them.

use nnc::prelude::*;
use nnc_tests::execute::tiers;
use nnc_tests::golden::{Scale, close, symmetric};

const RELATIVE: f64 = 1e-5;

fn model() -> Sequential {
    manual_seed(4);
    // What one layer normalized would have mean 0 in the next, but for rounding.
    sequential![
        Linear::new(3, 6),
        BatchNorm1d::new(6),
        Sigmoid::new(),
        Unflatten::new(1, [2, 3]),
        BatchNorm1d::new(2).momentum(None),
        Softplus::new(),
        InstanceNorm1d::new(2).track_running_stats(true),
        Flatten::new(),
        Linear::new(6, 4),
    ]
}

/// With a learning rate of 0 the parameters stay, and only the statistics tell one step from the next.
#[test]
fn running_statistics_follow_the_batches() {
    for &tier in tiers() {
        let eager = model();
        let loss = CrossEntropyLoss::new().label_smoothing(0.1);
        let mut trainer = Trainer::new(model(), loss, Sgd::new(0.0)).tier(tier).build().expect("the settings agree");
        // The last batch is smaller: another program, the same state.
        for (salt, n) in [(1, 8), (2, 8), (3, 5)] {
            let x = symmetric(&[n, 3], salt, 2.0);
            let y = TensorData::from_i64(vec![n], &(0..n as i64).map(|idx| idx % 4).collect::<Vec<i64>>());
            eager.forward(&Tensor::from_data(x.clone()));
            trainer.step(&x, &y).expect("the step runs");
        }
        let x = symmetric(&[4, 3], 9, 2.0);
        let found = trainer.predict(&x).expect("the model runs");
        eager.eval();
        let expected = eager.forward(&Tensor::from_data(x)).data().expect("eager tensors have data");
        close(&expected, &found, RELATIVE, Scale::Tensor).expect("evaluation uses the statistics");

        let (expected, found) = (eager.state_dict(), trainer.sync().expect("the state is read").state_dict());
        let names: Vec<&str> = found.keys().collect();
        assert_eq!(names, expected.keys().collect::<Vec<_>>());
        for (name, data) in expected.iter() {
            let found = found.get(name).expect("the names are equal");
            close(data, found, RELATIVE, Scale::Tensor).unwrap_or_else(|why| panic!("{name}, {tier:?}: {why}"));
        }
        assert_eq!(found.get("1.num_batches_tracked").expect("the layer counts").get(0).to_f64(), 3.0);
    }
}

/// Two steps on one batch drop different elements; evaluation drops none and repeats itself.
#[test]
fn compiled_dropout_is_drawn_anew_each_step() {
    manual_seed(8);
    let model = sequential![Linear::new(16, 16), Dropout::new(), Linear::new(16, 1)];
    let mut trainer = Trainer::new(model, Loss::mse(), Sgd::new(0.0)).build().expect("the settings agree");
    let (x, y) = (symmetric(&[4, 16], 1, 1.0), symmetric(&[4, 1], 2, 1.0));
    let losses: Vec<f64> = (0..4).map(|_| trainer.step(&x, &y).expect("the step runs")).collect();
    assert!(losses.windows(2).all(|pair| pair[0] != pair[1]), "{losses:?}");
    let (first, second) = (trainer.predict(&x).expect("it runs"), trainer.predict(&x).expect("it runs"));
    assert_eq!(first, second);
}
