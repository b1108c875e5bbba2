//! Attention and recurrence: names, initial values, printed forms, and what is said of arguments that do not fit.

use nnc_frontend::prelude::*;

fn names(module: &dyn Module) -> Vec<String> {
    module.state_dict().keys().map(str::to_string).collect()
}

/// The faults of a trace with inputs of these types, without their places.
fn faults<R>(types: &[&str], build: impl FnOnce(&[Tensor]) -> R) -> String {
    let outcome = trace("faulty", |t| {
        let inputs: Vec<Tensor> = types.iter().enumerate().map(|(idx, ty)| t.input(&format!("x{idx}"), *ty)).collect();
        build(&inputs);
    });
    let messages = outcome.expect_err("something does not fit").diagnostics;
    messages.into_iter().map(|diagnostic| diagnostic.message).collect::<Vec<_>>().join("\n")
}

#[test]
fn names_are_those_of_pytorch() {
    assert_eq!(
        names(&MultiheadAttention::new(4, 2).add_bias_kv(true)),
        ["in_proj_weight", "in_proj_bias", "bias_k", "bias_v", "out_proj.weight", "out_proj.bias"]
    );
    assert_eq!(
        names(&MultiheadAttention::new(4, 2).kdim(3).bias(false)),
        ["q_proj_weight", "k_proj_weight", "v_proj_weight", "out_proj.weight"]
    );
    let lstm = LSTM::new(3, 4).num_layers(2).bidirectional(true).proj_size(2);
    let of_cell =
        |suffix: &str| ["weight_ih", "weight_hh", "bias_ih", "bias_hh", "weight_hr"].map(|n| format!("{n}_{suffix}"));
    assert_eq!(names(&lstm), ["l0", "l0_reverse", "l1", "l1_reverse"].map(of_cell).concat());
    assert_eq!(names(&GRUCell::new(3, 4)), ["weight_ih", "weight_hh", "bias_ih", "bias_hh"]);

    let model = Transformer::new(4, 2).num_encoder_layers(1).num_decoder_layers(1).dim_feedforward(8).bias(false);
    let parts = ["self_attn.in_proj_weight", "self_attn.out_proj.weight"];
    let cross = ["multihead_attn.in_proj_weight", "multihead_attn.out_proj.weight"];
    let rest = ["linear1.weight", "linear2.weight", "norm1.weight", "norm2.weight"];
    let mut expected: Vec<String> = Vec::new();
    expected.extend([&parts[..], &rest].concat().into_iter().map(|name| format!("encoder.layers.0.{name}")));
    expected.push("encoder.norm.weight".to_string());
    let decoder = [&parts[..], &cross, &rest, &["norm3.weight"]].concat();
    expected.extend(decoder.into_iter().map(|name| format!("decoder.layers.0.{name}")));
    expected.push("decoder.norm.weight".to_string());
    assert_eq!(names(&model), expected);
}

#[test]
fn weights_start_within_pytorchs_bounds() {
    let largest = |parameter: &Parameter| parameter.to_array().iter().fold(0f32, |max, x| max.max(x.abs()));
    let gru = GRU::new(40, 25).num_layers(2);
    for (name, parameter) in gru.named_parameters() {
        let largest = largest(&parameter);
        assert!(largest <= 0.2 && largest > 0.17, "{name}: {largest}");
    }
    let attention = MultiheadAttention::new(24, 3);
    let weight = attention.in_proj_weight.as_ref().expect("all dimensions are equal");
    let bound = (6.0f32 / (24.0 + 72.0)).sqrt();
    assert!(largest(weight) <= bound && largest(weight) > 0.95 * bound);
    assert_eq!(largest(attention.in_proj_bias.as_ref().expect("it has one")), 0.0);
    assert_eq!(largest(attention.out_proj.bias.as_ref().expect("it has one")), 0.0);
}

#[test]
fn stacked_layers_start_as_copies_and_are_trained_apart() {
    let encoder = TransformerEncoder::new(TransformerEncoderLayer::new(4, 2).dim_feedforward(8), 3);
    let state = encoder.state_dict();
    for (name, data) in state.iter().filter(|(name, _)| name.starts_with("layers.0.")) {
        assert_eq!(state.get(&name.replace("layers.0", "layers.2")), Some(data), "{name}");
    }
    init::zeros_(&encoder.layers[0].linear1.weight);
    assert_ne!(encoder.layers[1].linear1.weight.to_array().sum(), 0.0);
    // A transformer draws each of its layers anew.
    let model = Transformer::new(4, 2).num_encoder_layers(2).num_decoder_layers(1).dim_feedforward(8);
    let state = model.state_dict();
    assert_ne!(state.get("encoder.layers.0.linear1.weight"), state.get("encoder.layers.1.linear1.weight"));
}

#[test]
fn setters_keep_what_they_do_not_change() {
    let layer = TransformerEncoderLayer::new(4, 2).dim_feedforward(8);
    let before = layer.state_dict();
    let layer = layer.dropout(0.3).norm_first(true).batch_first(true).layer_norm_eps(1e-3);
    assert_eq!(layer.state_dict().get("self_attn.in_proj_weight"), before.get("self_attn.in_proj_weight"));
    assert!(layer.to_string().contains("(dropout2): Dropout(p=0.3, inplace=False)"));
    assert!(layer.to_string().contains("(norm2): LayerNorm((4,), eps=0.001, elementwise_affine=True, bias=True)"));
    let model = Transformer::new(4, 2).num_encoder_layers(1).num_decoder_layers(1).dim_feedforward(8).dropout(0.0);
    assert!(!model.to_string().contains("p=0.1"), "{model}");
    model.eval();
    let (src, tgt) = (Tensor::rand([3, 2, 4]), Tensor::rand([5, 2, 4]));
    assert_eq!(model.forward(&src, &tgt).shape().to_string(), "[5, 2, 4]");
}

#[test]
fn printed_forms_are_those_of_pytorch() {
    let printed = [
        RNN::new(3, 4).nonlinearity(nn::Nonlinearity::Relu).to_string(),
        LSTM::new(3, 4)
            .num_layers(2)
            .bidirectional(true)
            .dropout(0.1)
            .proj_size(2)
            .batch_first(true)
            .bias(false)
            .to_string(),
        GRU::new(3, 4).to_string(),
        RNNCell::new(3, 4).nonlinearity(nn::Nonlinearity::Relu).bias(false).to_string(),
        LSTMCell::new(3, 4).to_string(),
    ];
    let expected = [
        "RNN(3, 4)",
        "LSTM(3, 4, proj_size=2, num_layers=2, bias=False, batch_first=True, dropout=0.1, bidirectional=True)",
        "GRU(3, 4)",
        "RNNCell(3, 4, bias=False, nonlinearity=relu)",
        "LSTMCell(3, 4)",
    ];
    assert_eq!(printed, expected);
}

#[test]
fn attention_explains_what_does_not_fit() {
    use functional::scaled_dot_product_attention as attend;
    let qkv = ["f32[2, 5, 4]", "f32[2, 3, 4]", "f32[2, 3, 4]"];
    assert_eq!(
        faults(&["f32[5, 4]", "f32[3, 6]", "f32[3, 6]"], |x| attend(
            &x[0], &x[1], &x[2], None, 0.0, false, None, false
        )),
        "scaled_dot_product_attention: query f32[5, 4] and key f32[3, 6] differ in features, the last dimension"
    );
    assert_eq!(
        faults(&["f32[5, 4]", "f32[3, 4]", "f32[2, 4]"], |x| attend(
            &x[0], &x[1], &x[2], None, 0.0, false, None, false
        )),
        "scaled_dot_product_attention: key f32[3, 4] and value f32[2, 4] differ in length, the dimension before the last"
    );
    let masked = [&qkv[..], &["bool[5, 4]"]].concat();
    assert_eq!(
        faults(&masked, |x| attend(&x[0], &x[1], &x[2], Some(&x[3]), 0.0, false, None, false)),
        "scaled_dot_product_attention: the mask is bool[5, 4], which does not broadcast to scores of f32[2, 5, 3]"
    );
    let masked = [&qkv[..], &["bool[5, 3]"]].concat();
    assert_eq!(
        faults(&masked, |x| attend(&x[0], &x[1], &x[2], Some(&x[3]), 0.0, true, None, false)),
        "scaled_dot_product_attention: attn_mask is given together with is_causal; combine them in attn_mask"
    );
    let heads = ["f32[3, 5, 4]", "f32[2, 5, 4]", "f32[2, 5, 4]"];
    assert!(
        faults(&heads, |x| attend(&x[0], &x[1], &x[2], None, 0.0, false, None, true))
            .contains("equal numbers of heads (third dimension from the end) that divide the query's")
    );

    let layer = MultiheadAttention::new(4, 3);
    assert_eq!(
        faults(&["f32[5, 2, 4]"], |x| layer.forward(&x[0], &x[0], &x[0])),
        "MultiheadAttention: num_heads is 3, expected a divisor of embed_dim 4"
    );
    let layer = MultiheadAttention::new(4, 2).batch_first(true);
    assert_eq!(
        faults(&["f32[2, 5, 6]"], |x| layer.forward(&x[0], &x[0], &x[0])),
        "MultiheadAttention: query is f32[2, 5, 6], expected floats [N, length, features] or [length, features] with 4 \
         features"
    );
    assert_eq!(
        faults(&["f32[2, 5, 4]", "i32[5, 5]"], |x| {
            layer.forward_with(&x[0], &x[0], &x[0], &AttentionOptions::new().attn_mask(&x[1]))
        }),
        "MultiheadAttention: attn_mask is i32[5, 5], expected bool or a floating-point type"
    );
    assert_eq!(
        faults(&["f32[2, 5, 4]", "bool[5, 2]"], |x| {
            layer.forward_with(&x[0], &x[0], &x[0], &AttentionOptions::new().key_padding_mask(&x[1]))
        }),
        "MultiheadAttention: key_padding_mask is bool[5, 2], expected shape [2, 5]"
    );
    let layer = TransformerDecoderLayer::new(4, 2).dim_feedforward(8);
    assert_eq!(
        faults(&["f32[5, 2, 4]", "f32[5, 2, 3]"], |x| layer.forward(&x[0], &x[1])),
        "TransformerDecoderLayer: memory is f32[5, 2, 3], expected floats of two or three dimensions, the last of them 4"
    );
}

#[test]
fn recurrence_explains_what_does_not_fit() {
    let lstm = LSTM::new(3, 4).batch_first(true);
    assert_eq!(
        faults(&["f32[2, 5, 4]"], |x| lstm.forward(&x[0])),
        "LSTM: the input is f32[2, 5, 4], expected floats [N, T, features] or [T, features] with 3 features"
    );
    assert_eq!(
        faults(&["f32[2, 5, 3]", "f32[1, 2, 4]", "f32[1, 2, 3]"], |x| {
            lstm.forward_from(&x[0], &(x[1].clone(), x[2].clone()))
        }),
        "LSTM: tensor 1 of the state is f32[1, 2, 3], expected f32[1, 2, 4]"
    );
    assert_eq!(
        faults(&["f32[2, 5, 3]", "f32[2]"], |x| lstm.forward_padded(&x[0], &x[1], None)),
        "LSTM: lengths is f32[2], expected integers such as i64[2]"
    );
    let projected = LSTM::new(3, 4).proj_size(4);
    assert_eq!(
        faults(&["f32[5, 2, 3]"], |x| projected.forward(&x[0])),
        "LSTM: proj_size is 4, expected less than hidden_size 4"
    );
    let cell = GRUCell::new(3, 4);
    assert_eq!(
        faults(&["f32[2, 3]", "f32[3, 4]"], |x| cell.forward_from(&x[0], &x[1])),
        "GRUCell: tensor 0 of the state is f32[3, 4], expected f32[2, 4]"
    );
}

#[test]
fn lengths_and_batches_may_be_symbolic() {
    let lstm = LSTM::new(3, 4).bidirectional(true);
    let model = Transformer::new(4, 2).num_encoder_layers(1).num_decoder_layers(1).dim_feedforward(8);
    let module = trace("forward", |t| {
        t.bind_as("lstm", &lstm);
        t.bind_as("model", &model);
        let (output, (h, _)) = lstm.forward(&t.input("x", "f32[T, N, 3]"));
        assert_eq!((output.shape().to_string(), h.shape().to_string()), ("[T, N, 8]".into(), "[2, N, 4]".into()));
        let masks = TransformerMasks::new().tgt_is_causal(true);
        let decoded = model.forward_with(&t.input("src", "f32[S, N, 4]"), &t.input("tgt", "f32[T, N, 4]"), &masks);
        assert_eq!(decoded.shape().to_string(), "[T, N, 4]");
        [("output", output), ("decoded", decoded)]
    });
    module.expect("nothing depends on the extents");
}
