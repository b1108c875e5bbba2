//! Containers: `golden/nn_container.py`.

use nnc_frontend::module::{Forward, Layer};
use nnc_frontend::nn::*;
use nnc_frontend::parameter::Parameter;
use nnc_frontend::sequential;
use nnc_frontend::tensor::Tensor;
use nnc_tests::layers::{Case, case, case_with};

/// Modules of any kind in a list, run one after the other.
fn list(name: &'static str, build: impl Fn() -> ModuleList<Box<dyn Layer>> + Send + Sync + 'static) -> Case {
    case_with("ModuleList", name, build, |layers, x| {
        layers.iter().fold(x[0].clone(), |x, layer| Forward::forward(layer.as_ref(), &x))
    })
}

fn linear(out_features: usize) -> Box<dyn Layer> {
    Box::new(Linear::new(4, out_features))
}

fn ones(shape: &[usize]) -> Parameter {
    Parameter::new(Tensor::ones(shape))
}

/// Every stored configuration of the family.
pub(crate) fn cases() -> Vec<Case> {
    vec![
        case("Sequential", "three", || sequential![Linear::new(4, 5), ReLU::new(), Linear::new(5, 3)]),
        case("Sequential", "named", || {
            Sequential::new().push_named("first", Linear::new(4, 2)).push_named("second", Tanh::new())
        }),
        case("Sequential", "nested", || {
            sequential![sequential![Linear::new(4, 4).bias(false), ELU::new().alpha(0.5)], Flatten::new()]
        }),
        case("Sequential", "empty", Sequential::new),
        list("equal", || vec![linear(4), linear(4), linear(4)]),
        list("mixed", || vec![linear(4), linear(4), Box::new(Tanh::new())]),
        list("one", || vec![linear(1)]),
        case_with(
            "ModuleDict",
            "two",
            || ModuleDict::new().push("relu", ReLU::new()).push("project", Linear::new(4, 2)),
            |dict, x| {
                let layer = |name| dict.get(name).expect("it was added");
                Forward::forward(layer("project"), &Forward::forward(layer("relu"), &x[0]))
            },
        ),
        case_with(
            "ModuleDict",
            "one",
            || ModuleDict::new().push("tanh", Tanh::new()),
            |dict, x| Forward::forward(dict.get("tanh").expect("it was added"), &x[0]),
        ),
        case_with("ModuleDict", "empty", ModuleDict::new, |_, x| x[0].clone()),
        case_with(
            "ParameterList",
            "two",
            || ParameterList::new([ones(&[4, 3]), ones(&[3])]),
            |list, x| x[0].matmul(&list[0]) + &list[1],
        ),
        case_with("ParameterList", "one", || ParameterList::new([ones(&[4])]), |list, x| &x[0] * &list[0]),
        case_with(
            "ParameterDict",
            "two",
            || ParameterDict::new().push("weight", ones(&[4, 3])).push("bias", ones(&[3])),
            |dict, x| {
                let parameter = |name| dict.get(name).expect("it was added");
                x[0].matmul(parameter("weight")) + parameter("bias")
            },
        ),
        case_with(
            "ParameterDict",
            "one",
            || ParameterDict::new().push("scale", ones(&[4])),
            |dict, x| &x[0] * dict.get("scale").expect("it was added"),
        ),
    ]
}
