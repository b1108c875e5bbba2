//! Every op against PyTorch: `golden/ops/NAME.ir` evaluated by the interpreter must give `golden/ops/NAME.safetensors`,
//! its derivative the gradients there.

use std::error::Error;
use std::path::Path;

use indexmap::IndexMap;
use libtest_mimic::{Arguments, Failed, Trial};
use nnc_ir::interp::eval_func;
use nnc_ir::parse::{WeightSource, parse_module};
use nnc_ir::{Bindings, Diagnostic, Func, Module, Op, TensorData};
use nnc_passes::autodiff::value_and_grad;
use nnc_tests::golden::{Golden, Scale, close, folder};

const RELATIVE: f64 = 1e-5;

fn main() -> Result<(), Box<dyn Error>> {
    let mut paths: Vec<_> = std::fs::read_dir(folder().join("ops"))?
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<_, std::io::Error>>()?;
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "ir"));
    paths.sort();
    assert!(paths.len() > 100, "the golden ops are missing");
    let trials = paths.into_iter().map(|path| {
        let name = path.file_stem().expect("a listed file has a name").to_string_lossy().into_owned();
        Trial::test(name.clone(), move || check(&name, &path))
    });
    libtest_mimic::run(&Arguments::from_args(), trials.collect()).exit()
}

fn check(name: &str, path: &Path) -> Result<(), Failed> {
    let golden = Golden::read(&format!("ops/{name}"));
    let module = read(path)?;
    let main = module.func("main").ok_or("no function @main")?;
    let inputs = golden.group("in.");
    let results = eval_func(main, &IndexMap::new(), &inputs, &Bindings::new()).map_err(lines)?;
    close(golden.get("out"), &results["out"], RELATIVE, scale(main, Scale::Element))?;
    match module.func("loss") {
        Some(loss) => check_gradients(&golden, loss, inputs),
        None => Ok(()),
    }
}

fn check_gradients(golden: &Golden, loss: &Func, mut inputs: IndexMap<String, TensorData>) -> Result<(), Failed> {
    let wrt = nnc_passes::autodiff::trainable(loss);
    let gradient = value_and_grad(loss, &wrt, 0).map_err(lines)?;
    let regular = regular_elements(&inputs);
    inputs.insert("ct".into(), golden.get("ct").clone());
    let results = eval_func(&gradient, &IndexMap::new(), &inputs, &Bindings::new()).map_err(lines)?;
    for (name, expected) in golden.group("grad.") {
        // Where an input or PyTorch's gradient is not finite, the two differ by which form of the derivative they have.
        let compared =
            |idx: usize| regular.get(idx).is_none_or(|&regular| regular) && expected.get(idx).to_f64().is_finite();
        let keep = |data: &TensorData| {
            let kept: Vec<f64> =
                (0..data.len()).filter(|&idx| compared(idx)).map(|idx| data.get(idx).to_f64()).collect();
            TensorData::from_doubles(data.dtype, vec![kept.len()], kept)
        };
        close(&keep(&expected), &keep(&results[name.as_str()]), RELATIVE, scale(loss, Scale::ElementOrOne))
            .map_err(|why| format!("gradient of {name}: {why}"))?;
    }
    Ok(())
}

/// Which elements have only finite inputs; elementwise cases alone have others, and their inputs are all of one shape.
fn regular_elements(inputs: &IndexMap<String, TensorData>) -> Vec<bool> {
    let n = inputs.values().map(TensorData::len).max().unwrap_or(0);
    let finite = |idx: usize| inputs.values().all(|data| data.len() != n || data.get(idx).to_f64().is_finite());
    if inputs.values().all(|data| data.len() == n) { (0..n).map(finite).collect() } else { Vec::new() }
}

/// Results that are sums are measured against their largest element, others by `elementwise`.
fn scale(func: &Func, elementwise: Scale) -> Scale {
    let (_, node) =
        func.graph.nodes().find(|(_, node)| !matches!(node.op, Op::Param(_))).expect("an op's function has a node");
    match node.op {
        Op::Reduce(_)
        | Op::ReduceWindow(_)
        | Op::SelectAndScatter(_)
        | Op::Cumulative(_)
        | Op::DotGeneral(_)
        | Op::Scatter(_)
        | Op::Gather(_) => Scale::Tensor,
        _ => elementwise,
    }
}

fn read(path: &Path) -> Result<Module, Failed> {
    let text = std::fs::read_to_string(path)?;
    parse_module(&text, &path.to_string_lossy(), WeightSource::none()).map_err(|faults| lines(faults).into())
}

fn lines(faults: Vec<Diagnostic>) -> String {
    faults.iter().map(Diagnostic::to_string).collect::<Vec<_>>().join("\n")
}
