//! Functions that are told by their name: `golden/functional/NAME.safetensors`.
//!
//! A case's file name says what was called: the function, then its dimension or options, then the reduction.

use libtest_mimic::{Failed, Trial};
use nnc_frontend::prelude::*;
use nnc_frontend::tensor::einsum;
use nnc_tests::golden::{Golden, folder, unit};

use crate::compare::compare;

/// One trial a file.
pub(crate) fn trials() -> Result<Vec<Trial>, std::io::Error> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder().join("functional"))? {
        names.push(entry?.path().file_stem().expect("a listed file has a name").to_string_lossy().into_owned());
    }
    names.sort();
    assert!(names.len() > 80, "the golden functions are missing");
    Ok(names.into_iter().map(|name| Trial::test(name.clone(), move || check(&name))).collect())
}

fn check(name: &str) -> Result<(), Failed> {
    let golden = Golden::read(&format!("functional/{name}"));
    let mut inputs = golden.group("in.");
    // PyTorch's argument order; only `linear` has names that do not sort into it.
    inputs.sort_by_key(|key, _| ["x", "y", "weight", "bias"].iter().position(|known| known == key));
    let call = |x: &[Tensor]| call(name, x).unwrap_or_else(|| panic!("this test knows no function `{name}`"));
    Ok(compare(&inputs, golden.get("ct"), golden.get("out"), &golden.group("grad."), call)?)
}

/// Calls what `name` says. `arguments` are in PyTorch's order.
fn call(name: &str, arguments: &[Tensor]) -> Option<Tensor> {
    let x = &arguments[0];
    Some(match name {
        "softmax_dim0" => functional::softmax(x, 0),
        "softmax_dim1" | "softmax_dim1_hard" => functional::softmax(x, 1),
        "log_softmax_dim0" => functional::log_softmax(x, 0),
        "log_softmax_dim1" | "log_softmax_dim1_hard" => functional::log_softmax(x, 1),
        "logsumexp_dim0" => x.logsumexp(0),
        "logsumexp_dim1" | "logsumexp_dim1_hard" => x.logsumexp(1),
        "mean_dim1" => x.mean(1),
        "mean_all" => x.mean(..),
        "var_dim2" => x.var(2, 1),
        "var_dim02_biased" => x.var([0, 2], 0),
        "std_dim0" => x.std(0, 1),
        "norm2_dim1" => x.norm(2.0, 1),
        "norm1_all" => x.norm(1.0, ..),
        "max_all" => x.max(..),
        "prod_dim1" => x.prod(1),
        "cumsum_dim0" => x.cumsum(0),
        "cumsum_dim1" => x.cumsum(1),
        "cumprod_dim0" => x.cumprod(0),
        "cumprod_dim1" | "cumprod_zeros" => x.cumprod(1),
        "logcumsumexp_dim0" => x.logcumsumexp(0),
        "logcumsumexp_dim1" => x.logcumsumexp(1),
        "cummax" => x.cummax(1).0,
        "cummin" => x.cummin(1).0,
        "sort_dim0" => x.sort(0, false).0,
        "sort_dim1" => x.sort(1, false).0,
        "sort_descending" => x.sort(1, true).0,
        "topk3" => x.topk(3, 1, true).0,
        "topk2_smallest" => x.topk(2, 0, false).0,
        "kthvalue4" => x.kthvalue(4, 1).0,
        "median_dim1" => x.median(1).0,
        "relu" => functional::relu(x),
        "leaky_relu" => x.leaky_relu(0.1),
        "gelu" => functional::gelu(x),
        "gelu_tanh" => x.gelu_tanh(),
        "silu" => x.silu(),
        "softplus" => x.softplus(),
        "sigmoid" => functional::sigmoid(x),
        "tanh" => functional::tanh(x),
        "l1_loss" => functional::l1_loss(x, &arguments[1]),
        "linear" | "linear_rank3" => functional::linear(x, &arguments[1], Some(&arguments[2])),
        "matmul_broadcast" => x.matmul(&arguments[1]),
        "einsum" => einsum("aik,kja->ij", arguments),
        "einsum_ellipsis" => einsum("...ij,j...->i...", arguments),
        "einsum_diagonal" => einsum("iji->j", arguments),
        "diagonal" => x.diagonal(1, 2, 0),
        "det1" | "det2" | "det3" | "det4" | "det7" => x.det(),
        "remainder" => x.remainder(&arguments[1]),
        "atan" => x.atan(),
        "asin" => x.asin(),
        "acos" => x.acos(),
        "sinh" => x.sinh(),
        "cosh" => x.cosh(),
        "asinh" => x.asinh(),
        "acosh" => x.acosh(),
        "atanh" => x.atanh(),
        // The label -100 is ignored unless told otherwise.
        "cross_entropy_label_minus100" => functional::cross_entropy(x, &arguments[1]),
        _ => return call_loss(name, x, &arguments[1]),
    })
}

/// Calls a loss with the options in its name.
fn call_loss(name: &str, x: &Tensor, y: &Tensor) -> Option<Tensor> {
    let (options, reduction) = name.rsplit_once('_')?;
    let reduction = match reduction {
        "mean" => Reduction::Mean,
        "sum" => Reduction::Sum,
        "none" => Reduction::None,
        _ => return None,
    };
    let weight = || Tensor::from_data(unit(&[7], 405)) + 0.25;
    if let Some(options) = options.strip_prefix("cross_entropy") {
        let mut loss = CrossEntropyLoss::new().reduction(reduction);
        for option in options.split('_').filter(|option| !option.is_empty()) {
            loss = match option {
                "weight" => loss.weight(weight()),
                "ignore2" => loss.ignore_index(2),
                "smooth" => loss.label_smoothing(0.1),
                "hard" | "image" | "soft" => loss,
                _ => return None,
            };
        }
        return Some(loss.forward(x, y));
    }
    if let Some(options) = options.strip_prefix("nll_loss") {
        let mut loss = NLLLoss::new().reduction(reduction);
        for option in options.split('_').filter(|option| !option.is_empty()) {
            loss = match option {
                "weight" => loss.weight(weight()),
                "ignore2" => loss.ignore_index(2),
                _ => return None,
            };
        }
        return Some(loss.forward(x, y));
    }
    (options == "mse_loss").then(|| MSELoss::new().reduction(reduction).forward(x, y))
}
