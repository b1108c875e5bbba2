//! Tests written as `.ir` files: what to do stands in their first line, what to expect in their comments.
//!
//! ```text
//! // test: opt(const_fold)         what to do; see below
//! // check: constant 6.0           a line of the output that holds this, after those matched before
//! // next: multiply                the very next line
//! // not: add                      no line up to the next match
//! // error: add: operands ...      a fault of this line of code (or, standing alone, of the one above it)
//! // output:                       everything below is the whole output
//!
//! // dim: N=3                       extent of a symbol
//! // weight w: f32[2] = [1.0, 2.0]  contents of a weight
//! // optimizer: sgd:lr=0.1          make a training step of the function first
//! // given x: [1.0, 2.0]            (run) contents of a parameter
//! // gives y: [2.0, 4.0]            (run) a result
//! // within: 1e-3                   (run) how far results may be from the interpreter's, as a share of the largest
//!                                (`0 bits`: the very bits, zeros' signs too)
//! // devices: cpu                   (run) not on the emulated GPU
//! ```
//!
//! The modes: `parse` prints what was parsed, and `parse(canonical)` wants it to be the file's own text; `verify`
//! prints nothing; `opt(PASSES)` prints the function after the passes, or after all of them, and `explain(PASSES)`
//! their remarks; `grad` prints the function with its gradients, or with the optimizer's update; `plan` the memory
//! plan; `kernel(TARGET)` the kernels; `run` prints nothing, but runs the function in every way there is.
//!
//! With `NNC_BLESS=1` in the environment, `output` and `error` comments are rewritten to what was found.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nnc_ir::parse::{WeightSource, parse_func, parse_module};
use nnc_ir::{Bindings, Diagnostic, Func, Module, Reporter, TensorData, TensorType};
use nnc_passes::autodiff::{trainable, value_and_grad};
use nnc_passes::optimizer::{OptimizerSpec, train_step};
use nnc_passes::pipeline::{PassManager, Step, pass, pipeline};

use crate::execute::{Tensors, Weights, check_ways, cpu_ways, gpu_ways, same_bits};
use crate::golden::{Scale, close};

/// The folder of the file tests.
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/filetests")
}

/// Whether expectations are rewritten.
pub fn blessing() -> bool {
    std::env::var_os("NNC_BLESS").is_some_and(|value| value == "1")
}

/// Every test of a folder, sorted.
///
/// # Panics
/// If the folder cannot be read.
pub fn files(mode: &str) -> Vec<PathBuf> {
    let folder = folder().join(mode);
    let entries = std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let paths = entries.map(|entry| entry.expect("the folder can be read").path());
    let mut paths: Vec<PathBuf> = paths.filter(|path| path.extension().is_some_and(|ext| ext == "ir")).collect();
    paths.sort();
    paths
}

/// A file and its expectations.
#[derive(Debug)]
pub struct FileTest {
    /// Where it lies.
    pub path: PathBuf,
    /// All of its text.
    pub text: String,
    mode: String,
    argument: String,
}

impl FileTest {
    /// Reads a file.
    ///
    /// # Errors
    /// A file that cannot be read or does not begin with `// test: MODE`.
    pub fn read(path: &Path) -> Result<Self, String> {
        let text = std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
        let first = text.lines().next().unwrap_or_default();
        let what = first.strip_prefix("// test: ").ok_or("the first line is not `// test: MODE`")?.trim();
        let (mode, argument) = match what.split_once('(') {
            Some((mode, rest)) => (mode, rest.strip_suffix(')').ok_or("the first line lacks a `)`")?),
            None => (what, ""),
        };
        Ok(Self { path: path.to_path_buf(), mode: mode.to_string(), argument: argument.to_string(), text })
    }

    /// The comments `// KEY: VALUE`, without those of the output.
    pub fn directives<'a>(&'a self, key: &'a str) -> impl Iterator<Item = &'a str> {
        let lines = self.text.lines().take_while(|line| *line != OUTPUT);
        lines.filter_map(move |line| line.strip_prefix("// ")?.strip_prefix(key)?.strip_prefix(':').map(str::trim))
    }

    /// Does what the file asks for and compares.
    ///
    /// # Errors
    /// What differs.
    pub fn check(&self) -> Result<(), String> {
        self.check_outcome(self.produce())
    }

    /// The text above the output, whose length must not matter to what is said of the text.
    fn source(&self) -> &str {
        self.text.find(OUTPUT).map_or(&self.text, |end| &self.text[..end])
    }

    /// The whole output that the file expects, if it gives one.
    fn output(&self) -> Option<String> {
        let mut lines = self.text.lines().skip_while(|line| *line != OUTPUT);
        lines.next()?;
        Some(lines.map(|line| line.strip_prefix("// ").or(line.strip_prefix("//")).unwrap_or(line)).fold(
            String::new(),
            |mut text, line| {
                text.push_str(line);
                text.push('\n');
                text
            },
        ))
    }

    /// Compares with what the file expects.
    ///
    /// # Errors
    /// What differs.
    pub fn check_outcome(&self, outcome: Result<String, Vec<Diagnostic>>) -> Result<(), String> {
        let expected_faults = self.expected_faults();
        let found = match (outcome, self.output()) {
            (Err(faults), None) => return self.check_faults(&expected_faults, &faults),
            (Ok(_), _) if !expected_faults.is_empty() => {
                return Err(format!("there are no faults, expected {expected_faults:#?}"));
            }
            (Err(faults), Some(_)) => render(self.source(), &faults),
            (Ok(text), _) => text,
        };
        match self.output() {
            Some(_) if blessing() => self.bless_output(&found),
            Some(expected) if expected.trim_end() != found.trim_end() => {
                let diff = pretty_assertions::StrComparison::new(expected.trim_end(), found.trim_end());
                Err(format!("the output differs (NNC_BLESS=1 accepts it):\n{diff}"))
            }
            Some(_) => Ok(()),
            None => match_lines(&self.text, &found),
        }
    }

    fn bless_output(&self, found: &str) -> Result<(), String> {
        let mut text = String::new();
        for line in self.text.lines().take_while(|line| *line != OUTPUT) {
            let _ = writeln!(text, "{line}");
        }
        let _ = writeln!(text, "{OUTPUT}");
        for line in found.trim_end().lines() {
            let _ = writeln!(text, "{}", format!("// {line}").trim_end());
        }
        std::fs::write(&self.path, text).map_err(|error| error.to_string())
    }

    /// Line (0 before all code) and message of each expected fault.
    fn expected_faults(&self) -> Vec<(u32, String)> {
        let mut faults = Vec::new();
        let mut code_line = 0;
        for (idx, line) in self.text.lines().enumerate() {
            if line == OUTPUT {
                break;
            }
            if !line.trim_start().starts_with("//") && !line.trim().is_empty() {
                code_line = idx as u32 + 1;
            }
            if let Some((_, message)) = line.split_once(ERROR) {
                faults.push((code_line, message.trim().to_string()));
            }
        }
        faults
    }

    fn check_faults(&self, expected: &[(u32, String)], found: &[Diagnostic]) -> Result<(), String> {
        let mut found: Vec<(u32, String)> =
            found.iter().map(|fault| (fault.location.line, fault.message.clone())).collect();
        found.sort();
        let mut expected = expected.to_vec();
        expected.sort();
        if expected == found {
            return Ok(());
        }
        // Elsewhere a fault is a mistake in the test until its writer says otherwise.
        if blessing() && (!expected.is_empty() || matches!(self.mode.as_str(), "parse" | "verify")) {
            return self.bless_faults(&found);
        }
        let list = |faults: &[(u32, String)]| {
            faults.iter().map(|(line, message)| format!("{line}: {message}\n")).collect::<String>()
        };
        let diff = pretty_assertions::StrComparison::new(&list(&expected), &list(&found)).to_string();
        Err(format!("the faults differ (NNC_BLESS=1 accepts them):\n{diff}"))
    }

    fn bless_faults(&self, found: &[(u32, String)]) -> Result<(), String> {
        let mut text = String::new();
        for (idx, line) in self.text.lines().enumerate() {
            let code = line.split(ERROR).next().unwrap_or_default().trim_end();
            if code.is_empty() && line.contains(ERROR) {
                continue;
            }
            text.push_str(code);
            let mut at_line = found.iter().filter(|(at, _)| *at as usize == idx + 1 || (*at == 0 && idx == 0));
            if idx > 0
                && let Some((_, message)) = at_line.next()
            {
                let _ = write!(text, "  {ERROR} {message}");
            }
            text.push('\n');
            for (_, message) in at_line {
                let _ = writeln!(text, "{ERROR} {message}");
            }
        }
        std::fs::write(&self.path, text).map_err(|error| error.to_string())
    }

    /// Does what the file asks for.
    fn produce(&self) -> Result<String, Vec<Diagnostic>> {
        let weights = self.weights().map_err(message)?;
        let module = parse_module(self.source(), PLACE, WeightSource::given(weights))?;
        module.verify()?;
        let dims = self.dims().map_err(message)?;
        let Module { funcs, weights } = &module;
        let one = || funcs.first().ok_or_else(|| message("there is no function".to_string()));
        let prepared = || -> Result<Func, Vec<Diagnostic>> {
            match self.directives("optimizer").next() {
                Some(text) => Ok(train_step(one()?, 0, OptimizerSpec::parse(text)?)?),
                None => Ok(one()?.clone()),
            }
        };
        let lowered = |target: &str| {
            let target = nnc::Target::parse(target).map_err(message)?;
            let options = nnc::Options { target, dims: dims.clone(), verify_each: true, ..nnc::Options::default() };
            nnc::compile::lower(&prepared()?, weights, &options).map_err(|error| message(error.to_string()))
        };
        match self.mode.as_str() {
            "parse" => self.round_trip(&module).map_err(message),
            "verify" => Ok(String::new()),
            "opt" | "explain" => {
                let steps = match self.argument.as_str() {
                    "" => pipeline(nnc_passes::pipeline::OptLevel::default()),
                    names => names.split(',').map(step).collect::<Result<_, String>>().map_err(message)?,
                };
                let mut manager = PassManager::new();
                manager.verify_each = Some(Func::verify);
                let mut func = prepared()?;
                if !dims.is_empty() {
                    func = nnc_passes::specialize::specialize(&func, &dims).map_err(|fault| vec![fault])?;
                }
                let func = manager.run(&func, &steps).map_err(|fault| vec![fault])?;
                let remarks = manager.remarks.iter().map(|remark| format!("{remark}\n"));
                Ok(if self.mode == "opt" { func.to_string() } else { remarks.collect() })
            }
            "grad" => match self.directives("optimizer").next() {
                Some(_) => Ok(prepared()?.to_string()),
                None => Ok(value_and_grad(one()?, &trainable(one()?), 0)?.to_string()),
            },
            "plan" => {
                let lowered = lowered("cpu")?;
                Ok(lowered.assembly.plan.report(&lowered.func))
            }
            "kernel" => {
                let target = if self.argument.is_empty() { "cpu" } else { &self.argument };
                let kernels = lowered(target)?.assembly.kernels;
                Ok(kernels.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
            }
            "run" => self.run(&prepared()?, weights, &dims).map_err(message),
            mode => Err(message(format!("there is no mode `{mode}`"))),
        }
    }

    /// The module's text, which parses to the same module; and is the file's own, if the mode's argument says so.
    fn round_trip(&self, module: &Module) -> Result<String, String> {
        let text = module.to_string();
        let again = parse_module(&text, PLACE, WeightSource::given(module.weights.clone()))
            .map_err(|faults| format!("what is printed does not parse:\n{text}\n{}", render(&text, &faults)))?;
        if again.to_string() != text {
            return Err(format!("what is printed prints differently:\n{text}\n{again}"));
        }
        let own: Vec<&str> = self.text.lines().filter(|line| !line.starts_with("//")).collect();
        if self.argument == "canonical" && own.join("\n").trim() != text.trim() {
            let diff = pretty_assertions::StrComparison::new(own.join("\n").trim(), text.trim()).to_string();
            return Err(format!("the text is not what is printed:\n{diff}"));
        }
        Ok(text)
    }

    /// Runs the function in every way; `given NAME: LITERAL` are its inputs, `gives NAME: LITERAL` its results.
    fn run(&self, func: &Func, weights: &Weights, dims: &Bindings) -> Result<String, String> {
        let inputs = self.given(func, dims)?;
        let expected = nnc_ir::interp::eval_func(func, weights, &inputs, dims)
            .map_err(|faults| format!("the interpreter: {}", render(self.source(), &faults)))?;
        let within = self.directives("within").next();
        let to_the_bit = within == Some("0 bits");
        let within = within.filter(|_| !to_the_bit).map(str::parse::<f64>).transpose();
        let within = within.map_err(|error| format!("within: {error}"))?;
        for (name, literal) in self.directives_with_name("gives") {
            let data = expected.get(&name).ok_or_else(|| format!("there is no result {name}"))?;
            let relative = within.unwrap_or_else(|| crate::execute::allowed(data.dtype));
            let given = tensor(literal, &data.ty())?;
            close(&given, data, relative, Scale::Tensor).map_err(|why| format!("the interpreter: {name}: {why}"))?;
            if to_the_bit {
                same_bits(&given, data).map_err(|why| format!("the interpreter: {name}: {why}"))?;
            }
        }
        let mut ways = cpu_ways();
        if self.directives("devices").next() != Some("cpu") {
            ways.extend(gpu_ways());
        }
        let found = check_ways(func, weights, &inputs, dims, &ways, Some(&expected), within)?;
        for (name, data) in expected.iter().filter(|_| to_the_bit) {
            same_bits(data, &found[name]).map_err(|why| format!("against the interpreter: {name}: {why}"))?;
        }
        Ok(String::new())
    }

    /// Inputs by name: `given NAME: LITERAL`.
    fn given(&self, func: &Func, dims: &Bindings) -> Result<Tensors, String> {
        let mut inputs = Tensors::new();
        for (name, literal) in self.directives_with_name("given") {
            let idx = func.params.iter().position(|param| param.name == name);
            let value = func.graph.params()[idx.ok_or_else(|| format!("there is no parameter {name}"))?];
            inputs.insert(name, tensor(literal, &func.graph.ty(value).substitute(dims))?);
        }
        Ok(inputs)
    }

    /// The function of a `run` file, with its weights, inputs and extents.
    ///
    /// # Errors
    /// A file that is not well formed.
    pub fn program(&self) -> Result<(Func, Weights, Tensors, Bindings), String> {
        let source = WeightSource::given(self.weights()?);
        let mut module = parse_module(self.source(), PLACE, source).map_err(|faults| render(self.source(), &faults))?;
        if module.funcs.is_empty() {
            return Err("there is no function".to_string());
        }
        let (func, dims) = (module.funcs.swap_remove(0), self.dims()?);
        let inputs = self.given(&func, &dims)?;
        Ok((func, module.weights, inputs, dims))
    }

    /// Values of the comments `// KEY NAME: VALUE`, by name.
    fn directives_with_name<'a>(&'a self, key: &'static str) -> impl Iterator<Item = (String, &'a str)> {
        self.text.lines().filter_map(move |line| {
            let (name, value) = line.strip_prefix("// ")?.strip_prefix(key)?.strip_prefix(' ')?.split_once(": ")?;
            Some((name.trim().to_string(), value.trim()))
        })
    }

    /// `// dim: N=3`.
    fn dims(&self) -> Result<Bindings, String> {
        let dim = |text: &str| -> Option<(String, usize)> {
            let (symbol, extent) = text.split_once('=')?;
            Some((symbol.trim().to_string(), extent.trim().parse().ok()?))
        };
        self.directives("dim").map(|text| dim(text).ok_or_else(|| format!("dim: {text}"))).collect()
    }

    /// `// weight NAME: TYPE = LITERAL`.
    ///
    /// # Errors
    /// A comment that is no such thing.
    pub fn weights(&self) -> Result<Weights, String> {
        let mut weights = Weights::new();
        for (name, value) in self.directives_with_name("weight") {
            let (ty, literal) = value.split_once('=').ok_or_else(|| format!("weight: {value}"))?;
            weights.insert(Arc::from(name), literal_of(literal, ty.trim())?);
        }
        Ok(weights)
    }
}

/// Name of the file in faults.
const PLACE: &str = "test.ir";
const OUTPUT: &str = "// output:";
const ERROR: &str = "// error:";

fn message(text: String) -> Vec<Diagnostic> {
    vec![Diagnostic::new(nnc_ir::Location::unknown(), text)]
}

fn render(text: &str, faults: &[Diagnostic]) -> String {
    let mut reporter = Reporter::new(false);
    reporter.add_source(PLACE, text);
    faults.iter().map(|fault| reporter.error(fault)).collect()
}

fn step(name: &str) -> Result<Step, String> {
    pass(name.trim()).map(Step::Once).ok_or_else(|| format!("there is no pass {name}"))
}

fn tensor(literal: &str, ty: &TensorType) -> Result<TensorData, String> {
    literal_of(literal, &ty.to_string())
}

/// A tensor written as a constant of the IR.
fn literal_of(literal: &str, ty: &str) -> Result<TensorData, String> {
    let text = format!("func @f() -> (r: {ty}) {{\n  %0 = constant {literal} : {ty}\n  return %0\n}}\n");
    let func = parse_func(&text).map_err(|faults| format!("`{literal}`: {}", faults[0].message))?;
    let results = nnc_ir::interp::eval_graph(&func.graph, &[]).map_err(|faults| faults[0].message.clone())?;
    results.into_iter().next().ok_or_else(|| "a constant has a value".to_string())
}

/// Matches `check`, `next` and `not` comments with the lines of `found`.
fn match_lines(text: &str, found: &str) -> Result<(), String> {
    let squeeze = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
    let lines: Vec<String> = found.lines().map(squeeze).collect();
    let mut at = 0;
    let mut absent: Vec<String> = Vec::new();
    let refuse = |absent: &[String], lines: &[String]| match absent.iter().find(|what| any_holds(lines, what)) {
        Some(what) => Err(format!("a line holds `{what}`, expected none:\n{found}")),
        None => Ok(()),
    };
    for line in text.lines() {
        let Some((key, what)) = line.strip_prefix("// ").and_then(|line| line.split_once(':')) else { continue };
        let what = squeeze(what);
        match key {
            "check" => {
                let matched = lines[at..].iter().position(|line| line.contains(&what));
                let matched = matched.ok_or_else(|| format!("no line from {} on holds `{what}`:\n{found}", at + 1))?;
                refuse(&absent, &lines[at..at + matched])?;
                absent.clear();
                at += matched + 1;
            }
            "next" => {
                if !lines.get(at).is_some_and(|line| line.contains(&what)) {
                    return Err(format!("line {} does not hold `{what}`:\n{found}", at + 1));
                }
                at += 1;
            }
            "not" => absent.push(what),
            _ => {}
        }
    }
    refuse(&absent, &lines[at..])
}

fn any_holds(lines: &[String], what: &str) -> bool {
    lines.iter().any(|line| line.contains(what))
}
