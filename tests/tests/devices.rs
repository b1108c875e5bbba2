//! One suite on every device: each golden function, its gradients, and training steps of each golden model, compiled and
//! run. All compiled code must give the same bits: Cranelift's with one and two threads, LLVM's, and the emulated GPU's.
//! The reference interpreter must agree within rounding.
//!
//! With the feature `llvm`, each program for CUDA is also assembled by `ptxas`; where there is none (see `scripts/setup.sh
//! --test`), those trials are reported as ignored.

use std::error::Error;
use std::path::PathBuf;
use std::sync::Arc;

use indexmap::IndexMap;
use libtest_mimic::{Arguments, Failed, Trial};
use nnc_codegen::assemble::{Tier, lower_func};
use nnc_codegen::target::Target;
use nnc_ir::interp::eval_func;
use nnc_ir::parse::{WeightSource, parse_func, parse_module};
use nnc_ir::{Bindings, Diagnostic, Func, ParamKind, Scalar, TensorData};
use nnc_passes::autodiff::{trainable, value_and_grad};
use nnc_passes::optimizer::{OptimizerSpec, train_step};
use nnc_passes::pipeline::{OptLevel, optimize};
use nnc_runtime::device::Cpu;
use nnc_runtime::program::Program;
use nnc_runtime::{Device, Executable, Instance};
use nnc_tests::golden::{Golden, Scale, close, folder, symmetric};

/// The interpreter sums in `f64`, compiled code in `f32`.
const RELATIVE: f64 = 1e-4;
const STEPS: usize = 3;
const OPTIMIZERS: [&str; 3] =
    ["sgd:lr=0.1", "sgd:lr=0.05,momentum=0.9,nesterov=true,weight_decay=0.01", "adamw:lr=0.01,amsgrad=true"];

type Tensors = IndexMap<String, TensorData>;

fn main() -> Result<(), Box<dyn Error>> {
    let mut trials = Vec::new();
    for group in ["ops", "functional", "models"] {
        let mut paths: Vec<PathBuf> =
            std::fs::read_dir(folder().join(group))?.map(|entry| Ok(entry?.path())).collect::<std::io::Result<_>>()?;
        paths.retain(|path| path.extension().is_some_and(|extension| extension == "ir"));
        paths.sort();
        for path in paths {
            let stem = path.file_stem().expect("a listed file has a name").to_string_lossy();
            let case = Case { name: format!("{group}/{stem}"), is_model: group == "models" };
            let once = case.clone();
            trials.push(Trial::test(format!("{}::run", case.name), move || once.check_functions()));
            if case.is_model {
                for optimizer in OPTIMIZERS {
                    let steps = case.clone();
                    let name = format!("{}::{optimizer}", case.name);
                    trials.push(Trial::test(name, move || steps.check_training(optimizer)));
                }
            }
            #[cfg(feature = "llvm")]
            trials.push(gpu::ptx_trial(case));
        }
    }
    assert!(trials.len() > 100, "the golden files are missing");
    trials.push(Trial::test("empty_tensors", empty_tensors));
    libtest_mimic::run(&Arguments::from_args(), trials).exit()
}

/// A golden file: `GROUP/NAME`.
#[derive(Clone, Debug)]
struct Case {
    name: String,
    is_model: bool,
}

impl Case {
    /// Its functions and the derivatives of those that have parameters, all optimized.
    fn functions(&self) -> Result<Vec<Func>, Failed> {
        let text = std::fs::read_to_string(folder().join(format!("{}.ir", self.name)))?;
        let module = parse_module(&text, &self.name, WeightSource::none()).map_err(lines)?;
        let mut funcs = Vec::new();
        for func in module.funcs {
            if func.results.first().is_some_and(|result| result.name == "loss") {
                funcs.push(value_and_grad(&func, &trainable(&func), 0).map_err(lines)?);
            }
            funcs.push(func);
        }
        funcs.iter().map(optimized).collect()
    }

    fn train_step(&self, optimizer: &str) -> Result<Func, Failed> {
        let text = std::fs::read_to_string(folder().join(format!("{}.ir", self.name)))?;
        let module = parse_module(&text, &self.name, WeightSource::none()).map_err(lines)?;
        let spec = OptimizerSpec::parse(optimizer).map_err(lines)?;
        optimized(&train_step(&module.funcs[0], 0, &spec).map_err(lines)?)
    }

    /// What goes into a parameter: the golden file's tensor, or numbers that repeat.
    fn inputs(&self, func: &Func) -> Result<Tensors, Failed> {
        let golden = Golden::read(&self.name);
        let mut inputs = Tensors::new();
        for (idx, param) in func.params.iter().enumerate() {
            let ty = func.graph.ty(func.graph.params()[idx]);
            let shape = ty.shape.as_fixed().ok_or("a symbolic shape")?;
            let stored = ["in.", "param."].iter().find_map(|group| golden.find(&format!("{group}{}", param.name)));
            let stored = stored.or_else(|| golden.find(&param.name)).filter(|data| data.shape == shape);
            let scalars = symmetric(&shape, idx as u32 + 1, 0.3);
            let data = match stored {
                Some(data) => data.clone(),
                None if param.kind == ParamKind::State => {
                    TensorData::from_doubles(ty.dtype, shape.clone(), vec![0.0; scalars.len()])
                }
                // Labels of ten classes, where they are integers.
                None => TensorData::from_scalars(
                    ty.dtype,
                    shape,
                    scalars.scalars().map(|scalar| match ty.dtype {
                        dtype if dtype.is_float() => Scalar::from_f64(dtype, scalar.to_f64()),
                        dtype => Scalar::from_i64(dtype, ((scalar.to_f64() + 0.3) * 15.0) as i64),
                    }),
                ),
            };
            inputs.insert(param.name.to_string(), data);
        }
        Ok(inputs)
    }

    fn check_functions(&self) -> Result<(), Failed> {
        for func in self.functions()? {
            let inputs = self.inputs(&func)?;
            check_func(&func, &inputs)?;
        }
        Ok(())
    }

    /// Some steps of training, parameters and states staying where they are.
    fn check_training(&self, optimizer: &str) -> Result<(), Failed> {
        let step = self.train_step(optimizer)?;
        let mut inputs = self.inputs(&step)?;
        let mut expected = Vec::new();
        for _ in 0..STEPS {
            let results = eval_func(&step, &IndexMap::new(), &inputs, &Bindings::new()).map_err(lines)?;
            expected.push(results["loss"].clone());
            for (name, value) in results {
                inputs.entry(name.to_string()).and_modify(|old| *old = value);
            }
        }
        let inputs = self.inputs(&step)?;
        let mut first: Option<(&str, Vec<Vec<Vec<u8>>>)> = None;
        for (device, mut instance) in instances(&step)? {
            write(&mut instance, &inputs)?;
            let mut found = Vec::new();
            for (idx, loss) in expected.iter().enumerate() {
                instance.run()?;
                let found_loss = TensorData::new(loss.dtype, loss.shape.clone(), instance.output("loss")?.to_vec());
                close(loss, &found_loss, RELATIVE, Scale::Tensor)
                    .map_err(|why| format!("{device}: loss of step {idx}: {why}"))?;
                found.push(outputs(&instance)?);
            }
            match &first {
                Some((base, bits)) => {
                    for (idx, (lhs, rhs)) in bits.iter().zip(&found).enumerate() {
                        same_bits(&instance, lhs, rhs)
                            .map_err(|why| format!("{device} against {base}, step {idx}: {why}"))?;
                    }
                }
                None => first = Some((device, found)),
            }
        }
        Ok(())
    }
}

/// Runs a function on every device: equal bits, near the interpreter's results.
fn check_func(func: &Func, inputs: &Tensors) -> Result<(), Failed> {
    let expected = eval_func(func, &IndexMap::new(), inputs, &Bindings::new()).map_err(lines)?;
    let mut first: Option<(&str, Vec<Vec<u8>>)> = None;
    for (device, mut instance) in instances(func)? {
        let place = |what: &str| format!("{device}: @{} {what}", func.name);
        write(&mut instance, inputs)?;
        instance.run()?;
        let outputs = outputs(&instance)?;
        let Some((base, bits)) = &first else {
            for (idx, result) in func.results.iter().enumerate() {
                let wanted = &expected[&result.name];
                let found = TensorData::new(wanted.dtype, wanted.shape.clone(), outputs[idx].clone());
                close(wanted, &found, RELATIVE, Scale::Tensor)
                    .map_err(|why| place(&format!("{}: {why}", result.name)))?;
            }
            first = Some((device, outputs));
            continue;
        };
        same_bits(&instance, bits, &outputs).map_err(|why| place(&format!("against {base}: {why}")))?;
    }
    Ok(())
}

fn empty_tensors() -> Result<(), Failed> {
    let text = "func @main(%x: f32[0, 4], %w: f32[4, 3]) -> (sum: f32[4], product: f32[0, 3], shifted: f32[0, 4]) {
  %0 = reduce %x {kind = sum, dims = [0]} : f32[4]
  %1 = dot_general %x, %w {lhs_contract = [1], rhs_contract = [0]} : f32[0, 3]
  %2 = constant 1.0 : f32[0, 4]
  %3 = add %x, %2 : f32[0, 4]
  %4 = reduce %w {kind = max, dims = [1]} : f32[4]
  %5 = add %0, %4 : f32[4]
  return %5, %1, %3
}";
    let func = optimized(&parse_func(text).map_err(lines)?)?;
    let inputs = [("x", [0, 4]), ("w", [4, 3])].map(|(name, shape)| (name.to_string(), symmetric(&shape, 1, 0.3)));
    check_func(&func, &inputs.into_iter().collect())
}

fn optimized(func: &Func) -> Result<Func, Failed> {
    Ok(optimize(func, OptLevel::default()).map_err(|fault| fault.to_string())?.0)
}

/// The function compiled for every device of this build, ready to run.
fn instances(func: &Func) -> Result<Vec<(&'static str, Instance)>, Failed> {
    let mut instances = Vec::new();
    let mut add = |name, program: Program, device: &dyn Device, threads| -> Result<(), Failed> {
        instances.push((name, Executable::load(program, device)?.instance(threads)?));
        Ok(())
    };
    let assembly = lower_func(func, &|_| None, &Target::Cpu)?;
    let program = assembly.clone().emit(Tier::Cranelift)?.0;
    add("cranelift, 1 thread", program.clone(), &Cpu::new(), 1)?;
    add("cranelift, 2 threads", program, &Cpu::new(), 2)?;
    #[cfg(feature = "llvm")]
    {
        add("llvm", assembly.emit(Tier::Llvm)?.0, &Cpu::new(), 1)?;
        let (program, kernels) = gpu::program(func, nnc_codegen::target::DEFAULT_ARCH)?;
        add("emulated gpu", program, &nnc_codegen::llvm::emulate::EmulatedGpu::new(&kernels, 1)?, 1)?;
    }
    Ok(instances)
}

fn write(instance: &mut Instance, inputs: &Tensors) -> Result<(), Failed> {
    let program = Arc::clone(instance.program());
    for (idx, input) in program.inputs.iter().enumerate() {
        instance.write(idx, &inputs[&input.name].bytes)?;
    }
    Ok(())
}

fn outputs(instance: &Instance) -> Result<Vec<Vec<u8>>, Failed> {
    (0..instance.program().outputs.len()).map(|idx| Ok(instance.output(idx)?.to_vec())).collect()
}

/// Requires equal outputs, NaNs being equal to each other.
fn same_bits(instance: &Instance, expected: &[Vec<u8>], found: &[Vec<u8>]) -> Result<(), String> {
    for ((output, expected), found) in instance.program().outputs.iter().zip(expected).zip(found) {
        let dtype = nnc::jit::dtype_of(output.spec.elem);
        let size = dtype.size();
        let is_nan = |bytes: &[u8]| dtype.is_float() && Scalar::read(dtype, bytes).to_f64().is_nan();
        let pairs = expected.chunks_exact(size).zip(found.chunks_exact(size));
        let different = |(lhs, rhs): &(&[u8], &[u8])| lhs != rhs && !(is_nan(lhs) && is_nan(rhs));
        if let Some((idx, (lhs, rhs))) = pairs.enumerate().find(|(_, pair)| different(pair)) {
            let (lhs, rhs) = (Scalar::read(dtype, lhs), Scalar::read(dtype, rhs));
            return Err(format!("{}: element {idx} is {rhs}, expected {lhs}", output.name));
        }
    }
    Ok(())
}

fn lines(faults: Vec<Diagnostic>) -> String {
    faults.iter().map(Diagnostic::to_string).collect::<Vec<_>>().join("\n")
}

#[cfg(feature = "llvm")]
mod gpu {
    use std::sync::OnceLock;

    use nnc_codegen::kernel::{Kernel, Space};
    use nnc_codegen::llvm::ptxas::{self, Ptxas};
    use nnc_runtime::program::Code;

    use super::*;

    /// Most registers of a thread; 255 are all there are, and the assembler takes many to have loads in flight.
    const MOST_REGISTERS: u32 = 160;

    fn assembler() -> Option<&'static Ptxas> {
        static FOUND: OnceLock<Option<Ptxas>> = OnceLock::new();
        let find = || {
            let found = Ptxas::find();
            if found.is_none() {
                eprintln!(
                    "no ptxas: programs for CUDA are not assembled; set {} or run scripts/setup.sh --test",
                    ptxas::VARIABLE
                );
            }
            found
        };
        FOUND.get_or_init(find).as_ref()
    }

    /// The program for a GPU and the kernels its PTX was made of.
    pub(super) fn program(func: &Func, arch: &str) -> Result<(Program, Vec<Kernel>), Failed> {
        let assembly = lower_func(func, &|_| None, &Target::Cuda { arch: arch.to_string() })?;
        let kernels = assembly.kernels.clone();
        Ok((assembly.emit(Tier::default())?.0, kernels))
    }

    /// Assembles the programs of a case: ops for one architecture, models' training steps for all that `ptxas` knows.
    pub(super) fn ptx_trial(case: Case) -> Trial {
        let ptxas = assembler();
        let name = case.name.clone();
        let check = move || {
            let ptxas = ptxas.expect("ignored without");
            let mut funcs = case.functions()?;
            let mut arches = vec!["sm_80"];
            if case.is_model {
                funcs.push(case.train_step(OPTIMIZERS[1])?);
                arches = nnc_codegen::target::CUDA_ARCHES.iter().copied().filter(|arch| ptxas.knows(arch)).collect();
            }
            for arch in arches {
                for func in &funcs {
                    check_usage(ptxas, func, arch).map_err(|why| format!("@{} for {arch}: {why}", func.name))?;
                }
            }
            Ok(())
        };
        Trial::test(name, check).with_kind("ptxas").with_ignored_flag(ptxas.is_none())
    }

    fn check_usage(ptxas: &Ptxas, func: &Func, arch: &str) -> Result<(), String> {
        let (program, kernels) =
            program(func, arch).map_err(|failed| failed.message().unwrap_or_default().to_string())?;
        let Code::Ptx { text, .. } = &program.code else { return Err("no PTX".to_string()) };
        let usages = ptxas.assemble(text, arch)?;
        if usages.len() != kernels.len() {
            return Err(format!("{} of {} kernels were assembled", usages.len(), kernels.len()));
        }
        for usage in usages {
            let info = program.kernels.iter().find(|info| info.symbol == usage.kernel);
            let info = info.ok_or_else(|| format!("kernel {} is not in the program", usage.kernel))?;
            let kernel = kernels.iter().find(|kernel| kernel.name == usage.kernel).expect("found above");
            let has_tile = kernel.buffers.iter().any(|buffer| buffer.space == Space::Local);
            if usage.spill_stores + usage.spill_loads > 0 || usage.registers > MOST_REGISTERS {
                return Err(format!("{usage:?}"));
            }
            // Local buffers are register tiles: all of their indices are constant.
            if usage.stack_bytes > 0 && has_tile {
                return Err(format!("a register tile is in memory: {usage:?}"));
            }
            if usage.shared_bytes != info.shared_bytes {
                return Err(format!("{} bytes of shared memory are stated, {usage:?}", info.shared_bytes));
            }
        }
        Ok(())
    }
}
