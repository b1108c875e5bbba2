//! Losses and tables where golden numbers do not reach: faults, gradients at the ends, empty bags.

use nnc_frontend::prelude::*;

fn message(y: Tensor) -> String {
    y.data().expect_err("it is a fault").to_string()
}

#[test]
fn shapes_must_agree() {
    let (x, y) = (Tensor::ones([4, 1]), Tensor::ones([4]));
    for fault in [
        functional::mse_loss(&x, &y),
        functional::l1_loss(&x, &y),
        functional::huber_loss(&x, &y),
        functional::binary_cross_entropy_with_logits(&x, &y),
        functional::kl_div(&x, &y),
        functional::soft_margin_loss(&x, &y),
        functional::margin_ranking_loss(&x, &x, &y),
        functional::triplet_margin_loss(&x, &y, &x),
    ] {
        let message = message(fault);
        assert!(message.contains("expected one shape") && message.contains("f32[4, 1]"), "{message}");
    }
}

#[test]
fn options_out_of_range_are_named() {
    let x = Tensor::ones([2, 3]);
    let classes = Tensor::from_slice(&[0i64, 2]);
    assert!(message(HuberLoss::new().delta(0.0).forward(&x, &x)).contains("delta is 0"));
    assert!(message(SmoothL1Loss::new().beta(-1.0).forward(&x, &x)).contains("beta is -1"));
    assert!(message(MultiMarginLoss::new().p(3.0).forward(&x, &classes)).contains("p is 3"));
    let lengths = Tensor::from_slice(&[2i64]);
    let fault =
        CTCLoss::new().blank(9).forward(&Tensor::zeros([2, 1, 3]), &Tensor::zeros([1, 1]).long(), &lengths, &lengths);
    assert!(message(fault).contains("blank is 9"));
}

#[test]
fn unsupported_settings_of_tables_say_what_to_do() {
    let index = Tensor::from_slice(&[0i64, 1]);
    assert!(message(Embedding::new(3, 2).max_norm(1.0).forward(&index)).contains("renormalize the rows between steps"));
    assert!(message(Embedding::new(3, 2).padding_idx(5).forward(&index)).contains("padding_idx is 5"));
    assert!(message(Embedding::new(3, 2).forward(&index.float())).contains("expected an integer type"));
    let bag = EmbeddingBag::new(3, 2);
    assert!(message(bag.forward(&index, None, None)).contains("expected [B, L] without offsets"));
    let fault = bag.forward(&index.view([1, 2]), None, Some(&Tensor::ones([1, 2])));
    assert!(message(fault).contains("mode 'sum'"));
}

#[test]
fn tables_and_clusters_of_wrong_shape_are_faults_where_they_are_used() {
    let index = Tensor::from_slice(&[0i64]);
    let table = Embedding::from_pretrained(Tensor::ones([3]), true);
    assert!(message(table.forward(&index)).contains("expected a matrix"));
    let loss = AdaptiveLogSoftmaxWithLoss::new(8, 10, &[5, 2]);
    assert!(message(loss.forward(&Tensor::ones([1, 8]), &index).1).contains("cutoffs are [5, 2]"));
    let loss = AdaptiveLogSoftmaxWithLoss::new(8, 10, &[2, 5]);
    assert!(message(loss.forward(&Tensor::ones([1, 7]), &index).0).contains("expected [N, 8]"));
    assert!(message(loss.forward(&Tensor::ones([2, 8]), &index).0).contains("i64[1]"));
}

#[test]
fn a_padding_row_starts_as_zeros() {
    let rows = Embedding::new(4, 3).padding_idx(1).weight.to_array();
    assert!(rows.index_axis(ndarray::Axis(0), 1).iter().all(|&value| value == 0.0));
    assert!(rows.index_axis(ndarray::Axis(0), 0).iter().any(|&value| value != 0.0));
}

#[test]
fn batch_mean_divides_by_the_examples() {
    let (x, y) = (Tensor::zeros([4, 5]), Tensor::ones([4, 5]));
    let loss = |reduction| MSELoss::new().reduction(reduction).forward(&x, &y).item().expect("a number");
    assert_eq!((loss(Reduction::Sum), loss(Reduction::Mean), loss(Reduction::BatchMean)), (20.0, 1.0, 5.0));
}

#[test]
fn a_norm_of_zeros_has_the_value_zero() {
    assert_eq!(Tensor::zeros([3]).norm(2.0, ..).item().expect("a number"), 0.0);
    let nan = Tensor::full([3], f64::NAN).norm(2.0, ..).item().expect("a number");
    assert!(nan.is_nan());
}

#[test]
fn resampling_needs_an_extent_and_a_known_mode() {
    let x = Tensor::ones([1, 1, 2, 2]);
    assert!(message(Upsample::new().forward(&x)).contains("neither a size nor a scale factor"));
    assert!(message(Upsample::new().size(4).mode("area").forward(&x)).contains("the mode is `area`"));
    assert!(message(Upsample::new().size(4).mode("linear").forward(&x)).contains("for mode `linear`"));
    assert!(message(PixelShuffle::new(2).forward(&x)).contains("expected [..., C * 2², H, W]"));
    assert!(message(Unfold::new(3).forward(&x)).contains("has no window"));
}
