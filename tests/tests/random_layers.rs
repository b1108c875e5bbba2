//! Layers of random hyper-parameters, forward and backward: compiled by every CPU tier, fused and unfused, against the
//! interpreter.
//!
//! `NNC_CASES=1000` runs longer, on other layers each time than the few of an ordinary run.

use std::fmt::Debug;

use nnc_frontend::prelude::*;
use nnc_frontend::tensor::Tensors as _;
use nnc_ir::interp::eval_func;
use nnc_ir::{Bindings, Func, ParamKind};
use nnc_passes::autodiff::value_and_grad;
use nnc_tests::execute::{Tensors, Way, check_ways, cpu_ways};
use nnc_tests::golden::symmetric;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, RngSeed, TestCaseError, TestRunner};

/// Layers of an ordinary run, of each kind.
const CASES: u32 = 6;
/// How far gradients may be from the interpreter's, which sums in `f64`: they are sums of products of sums.
const RELATIVE: f64 = 3e-5;

/// Runs `check` on random configurations.
fn check_many<S: Strategy<Value: Debug>>(strategy: S, check: impl Fn(S::Value) -> Result<(), String>) {
    let cases = std::env::var("NNC_CASES").ok().map(|text| text.parse().expect("NNC_CASES is a number"));
    let rng_seed = if cases.is_some() { RngSeed::Random } else { RngSeed::Fixed(7) };
    let config = Config {
        cases: cases.unwrap_or(CASES),
        rng_seed,
        rng_algorithm: RngAlgorithm::ChaCha,
        failure_persistence: None,
        max_shrink_iters: 60,
        ..Config::default()
    };
    let outcome = TestRunner::new(config).run(&strategy, |value| check(value).map_err(TestCaseError::fail));
    if let Err(failure) = outcome {
        panic!("{failure}");
    }
}

/// Traces `forward` of `layer` on inputs of these types, differentiates the sum of its outputs, each weighted by an
/// input of its own, by every parameter and floating-point input, and runs that in every way.
fn check(
    layer: &dyn Module,
    inputs: &[(&str, String)],
    forward: impl Fn(&[Tensor]) -> Vec<Tensor>,
) -> Result<(), String> {
    let module = trace("layer", |t| {
        t.bind(layer);
        let tensors: Vec<Tensor> = inputs.iter().map(|(name, ty)| t.input(name, ty.clone())).collect();
        let outputs = forward(&tensors);
        let weighted = outputs.iter().enumerate().map(|(idx, output)| {
            let weight = t.input(&format!("weight of output {idx}"), output.ty());
            (output * weight).sum(..)
        });
        let loss = weighted.reduce(|lhs, rhs| lhs + rhs).expect("a layer gives something");
        t.output("loss", loss);
        for (idx, output) in outputs.iter().enumerate() {
            t.output(&format!("output {idx}"), output);
        }
    });
    let module = module.map_err(|error| error.to_string())?;
    let func = &module.funcs[0];
    let wanted = |idx: &usize| {
        let (param, ty) = (&func.params[*idx], func.graph.ty(func.graph.params()[*idx]));
        let is_input = param.kind == ParamKind::Input && ty.dtype.is_float() && !param.name.starts_with("weight of");
        param.kind == ParamKind::Param || is_input
    };
    let wrt: Vec<usize> = (0..func.params.len()).filter(wanted).collect();
    let func = value_and_grad(func, &wrt, 0).map_err(|faults| format!("{faults:?}"))?;

    let values = draw(&func);
    let lines = |faults: Vec<Diagnostic>| format!("{faults:?}");
    let expected = eval_func(&func, &module.weights, &values, &Bindings::new()).map_err(lines)?;
    let ways: Vec<Way> = cpu_ways().into_iter().filter(|way| way.threads > 1).collect();
    let checked = check_ways(&func, &module.weights, &values, &Bindings::new(), &ways, Some(&expected), Some(RELATIVE));
    checked.map(|_| ()).map_err(|why| format!("{why}\n{func}"))
}

/// A value for every parameter: floats in [-1, 1), lengths, and masks that leave the first key open.
fn draw(func: &Func) -> Tensors {
    let mut values = Tensors::new();
    for (idx, (param, &value)) in func.params.iter().zip(func.graph.params()).enumerate() {
        let ty = func.graph.ty(value);
        let shape = ty.shape.as_fixed().expect("the inputs have fixed shapes");
        let noise = symmetric(&shape, 40 + idx as u32, 1.0);
        let tensor = match ty.dtype {
            DType::Bool => {
                let keys = Tensor::arange(*shape.last().expect("a mask has dimensions"));
                Tensor::from_data(noise).gt(0.2).logical_and(keys.ne(0))
            }
            DType::I64 => (Tensor::from_data(noise).abs() * 5.0).long(),
            _ => Tensor::from_data(noise),
        };
        values.insert(param.name.clone(), tensor.data().expect("the tensor is concrete"));
    }
    values
}

#[test]
fn scaled_dot_product_attention() {
    let sizes = (1usize..4, 1usize..4, 1usize..7, 1usize..7, 1usize..6, 1usize..6);
    let options = (0usize..4, any::<bool>(), 1usize..4);
    check_many((sizes, options), |((n, heads, queries, keys, features, value_features), (mask, scaled, groups))| {
        let query = format!("f32[{n}, {}, {queries}, {features}]", heads * groups);
        let key = format!("f32[{n}, {heads}, {keys}, {features}]");
        let value = format!("f32[{n}, {heads}, {keys}, {value_features}]");
        let mut inputs = vec![("query", query), ("key", key), ("value", value)];
        match mask {
            1 => inputs.push(("mask", format!("bool[{queries}, {keys}]"))),
            2 => inputs.push(("mask", format!("f32[{n}, 1, {queries}, {keys}]"))),
            _ => {}
        }
        let scale = scaled.then_some(0.7);
        check(&nn::Identity::new(), &inputs, |x| {
            let (is_causal, gqa) = (mask == 3, groups > 1);
            let out =
                functional::scaled_dot_product_attention(&x[0], &x[1], &x[2], x.get(3), 0.0, is_causal, scale, gqa);
            vec![out]
        })
    });
}

#[test]
fn multihead_attention() {
    let sizes = (1usize..4, 1usize..4, 1usize..4, 1usize..6, 1usize..6);
    let flags = (any::<[bool; 6]>(), proptest::option::of((1usize..6, 1usize..6)), 0usize..3);
    check_many((sizes, flags), |((heads, head_dim, n, queries, keys), (flags, dims, mask))| {
        let [batch_first, bias, bias_kv, zero_attn, padding, each_head] = flags;
        let embed_dim = heads * head_dim;
        let (kdim, vdim) = dims.unwrap_or((embed_dim, embed_dim));
        let layer = MultiheadAttention::new(embed_dim, heads).batch_first(batch_first).bias(bias);
        let layer = layer.add_bias_kv(bias_kv).add_zero_attn(zero_attn).kdim(kdim).vdim(vdim);
        let sequence = |length: usize, features: usize| match batch_first {
            true => format!("f32[{n}, {length}, {features}]"),
            false => format!("f32[{length}, {n}, {features}]"),
        };
        let mut inputs = vec![
            ("query", sequence(queries, embed_dim)),
            ("key", sequence(keys, kdim)),
            ("value", sequence(keys, vdim)),
        ];
        let many = if each_head { format!("{}, ", n * heads) } else { String::new() };
        match mask {
            1 => inputs.push(("attn_mask", format!("bool[{many}{queries}, {keys}]"))),
            2 => inputs.push(("attn_mask", format!("f32[{many}{queries}, {keys}]"))),
            _ => {}
        }
        if padding {
            inputs.push(("key_padding_mask", format!("bool[{n}, {keys}]")));
        }
        let names: Vec<&str> = inputs.iter().map(|(name, _)| *name).collect();
        check(&layer, &inputs, |x| {
            let mut options = AttentionOptions::new();
            for (name, tensor) in names.iter().zip(x) {
                options = match *name {
                    "attn_mask" => options.attn_mask(tensor),
                    "key_padding_mask" => options.key_padding_mask(tensor),
                    _ => options,
                };
            }
            let (output, weights) = layer.forward_with(&x[0], &x[1], &x[2], &options);
            [Some(output), weights].into_iter().flatten().collect()
        })
    });
}

#[test]
fn transformer_layers() {
    let sizes = (1usize..3, 1usize..4, 1usize..9, 1usize..3, 1usize..5, 1usize..5);
    check_many((sizes, any::<[bool; 5]>()), |((heads, head_dim, hidden, n, source, target), flags)| {
        let [batch_first, norm_first, bias, gelu, causal] = flags;
        let d_model = heads * head_dim;
        let sequence = |length: usize| match batch_first {
            true => format!("f32[{n}, {length}, {d_model}]"),
            false => format!("f32[{length}, {n}, {d_model}]"),
        };
        let model = Transformer::new(d_model, heads).num_encoder_layers(1).num_decoder_layers(1);
        let model = model.dim_feedforward(hidden).dropout(0.0).batch_first(batch_first).norm_first(norm_first);
        let model = if gelu { model.activation(functional::gelu) } else { model };
        // Of one feature, a norm without bias leaves nothing but rounding.
        let model = model.bias(bias || d_model == 1).layer_norm_eps(0.1);
        let masks = TransformerMasks::new().tgt_is_causal(causal);
        check(&model, &[("src", sequence(source)), ("tgt", sequence(target))], |x| {
            vec![model.forward_with(&x[0], &x[1], &masks)]
        })
    });
}

/// What all kinds of recurrent layers have: sizes and options.
type Configuration = ((usize, usize, usize, usize, usize), ([bool; 5], bool));

fn configurations() -> impl Strategy<Value = Configuration> {
    let sizes = (1usize..5, 1usize..6, 1usize..3, 1usize..4, 1usize..5);
    (sizes, (any::<[bool; 5]>(), any::<bool>()))
}

/// Forward and backward of a recurrent layer that `adjust` has the last word on.
fn check_recurrent<K: nn::Recurrence>(
    new: fn(usize, usize) -> nn::Recurrent<K>,
    adjust: impl Fn(nn::Recurrent<K>, bool) -> (nn::Recurrent<K>, usize),
    configuration: Configuration,
) -> Result<(), String> {
    let ((input_size, hidden_size, num_layers, n, n_steps), (flags, adjusted)) = configuration;
    let [batch_first, bias, bidirectional, from_state, padded] = flags;
    let layer = new(input_size, hidden_size).num_layers(num_layers).batch_first(batch_first);
    let (layer, features) = adjust(layer.bias(bias).bidirectional(bidirectional), adjusted);
    let input = match batch_first {
        true => format!("f32[{n}, {n_steps}, {input_size}]"),
        false => format!("f32[{n_steps}, {n}, {input_size}]"),
    };
    let mut inputs = vec![("input", input)];
    if padded {
        inputs.push(("lengths", format!("i64[{n}]")));
    }
    let n_cells = num_layers * (1 + usize::from(bidirectional));
    if from_state {
        for (name, width) in [("h", features), ("c", hidden_size)].into_iter().take(K::N_STATES) {
            inputs.push((name, format!("f32[{n_cells}, {n}, {width}]")));
        }
    }
    check(&layer, &inputs, |x| {
        let state = from_state.then(|| K::state(x[1 + usize::from(padded)..].to_vec()));
        let (output, state) = match (padded, state) {
            (true, state) => layer.forward_padded(&x[0], &x[1], state.as_ref()),
            (false, Some(state)) => layer.forward_from(&x[0], &state),
            (false, None) => layer.forward(&x[0]),
        };
        std::iter::once(output).chain(state.tensors()).collect()
    })
    .map_err(|why| format!("{layer}: {why}"))
}

#[test]
fn rnn() {
    check_many(configurations(), |configuration| {
        let hidden_size = configuration.0.1;
        // A rectifier's gradient at 0 is not for comparing: tanh has none.
        check_recurrent(nn::RNN::new, |layer, _| (layer, hidden_size), configuration)
    });
}

#[test]
fn lstm() {
    check_many(configurations(), |configuration| {
        let hidden_size = configuration.0.1;
        let project = |layer: nn::LSTM, projected: bool| match projected && hidden_size > 1 {
            true => (layer.proj_size(hidden_size - 1), hidden_size - 1),
            false => (layer, hidden_size),
        };
        check_recurrent(nn::LSTM::new, project, configuration)
    });
}

#[test]
fn gru() {
    check_many(configurations(), |configuration| {
        let hidden_size = configuration.0.1;
        check_recurrent(nn::GRU::new, |layer, _| (layer, hidden_size), configuration)
    });
}
