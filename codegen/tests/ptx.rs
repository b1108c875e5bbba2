//! PTX of every instruction and of random kernels: that LLVM makes it without falling over, that it rounds as the kernels
//! say, that NVIDIA's assembler takes it for every architecture, and what it costs.
//!
//! Without `ptxas` (see `scripts/setup.sh --test`) the trials that need it are reported as ignored.

mod support;

use std::process::Command;

use libtest_mimic::{Arguments, Failed, Trial};
use nnc_codegen::kernel::{Inst, Kernel, Stmt};
use nnc_codegen::llvm::nvptx;
use nnc_codegen::llvm::ptxas::{self, Ptxas, Usage};
use nnc_codegen::target::{CUDA_ARCHES, DEFAULT_ARCH};
use support::{cases, gpu, random};

/// Kernels of one module.
const BATCH: usize = 100;

/// Makes this program compile the random kernels of so many seeds from a first one, `FIRST COUNT`.
const CHILD: &str = "NNC_RANDOM_PTX";

fn main() {
    if let Ok(range) = std::env::var(CHILD) {
        return compile_random(&range);
    }
    let arguments = Arguments::from_args();
    let ptxas = Ptxas::find();
    if ptxas.is_none() {
        eprintln!(
            "no ptxas: the trials that assemble PTX are skipped; set {} or run scripts/setup.sh --test",
            ptxas::VARIABLE
        );
    }
    let mut trials = vec![
        Trial::test("every_fma_is_one_of_the_kernel", every_fma_is_one_of_the_kernel),
        Trial::test("vectors_move_in_one_instruction", vectors_move_in_one_instruction),
        Trial::test("equal_kernels_give_equal_text", equal_kernels_give_equal_text),
    ];
    for part in 0..4 {
        trials.push(Trial::test(format!("random_kernels_compile_{part}"), move || random_kernels_compile(part * 40)));
    }
    for (idx, arch) in CUDA_ARCHES.iter().copied().enumerate() {
        let assembler = ptxas.clone().filter(|ptxas| ptxas.knows(arch));
        let ignored = assembler.is_none();
        let (first, second) = (assembler.clone(), assembler);
        let cases = move || assemble_cases(first.as_ref().expect("ignored without"), arch, idx);
        let tiled = move || registers_hold_tiles(second.as_ref().expect("ignored without"), arch);
        trials.push(Trial::test(format!("assembles_for_{arch}"), cases).with_kind("ptxas").with_ignored_flag(ignored));
        trials.push(
            Trial::test(format!("tiles_in_registers_{arch}"), tiled).with_kind("ptxas").with_ignored_flag(ignored),
        );
    }
    let ignored = ptxas.is_none();
    let random = move || assemble_random(ptxas.as_ref().expect("ignored without"));
    trials.push(Trial::test("random_kernels_assemble", random).with_kind("ptxas").with_ignored_flag(ignored));
    libtest_mimic::run(&arguments, trials).exit();
}

/// All cases as GPU kernels of different names.
fn all_cases() -> Vec<Kernel> {
    let mut kernels = Vec::new();
    let mut add = |kernel: &Kernel, _: &[Vec<u8>], _: &[usize]| {
        let name = format!("{}_{}", kernel.name, kernels.len());
        kernels.push(Kernel { name, ..gpu::on_gpu(kernel) });
    };
    cases::loads_and_stores_of_every_type(&mut add);
    cases::unary_ops(&mut add);
    cases::binary_ops(&mut add);
    cases::extrema_with_a_constant(&mut add);
    cases::shifts_by_one_amount(&mut add);
    cases::fused_multiply_add(&mut add);
    cases::compare_and_select(&mut add);
    cases::casts_between_register_types(&mut add);
    cases::bitcasts_and_narrowing(&mut add);
    cases::lanes_partial_vectors_and_folds(&mut add);
    cases::strided_and_repeated_lanes(&mut add);
    cases::register_tiles_loops_and_conditions(&mut add);
    kernels
}

fn no_spills(usages: &[Usage]) -> Result<(), Failed> {
    match usages.iter().find(|usage| usage.spill_stores + usage.spill_loads > 0) {
        Some(usage) => Err(format!("{usage:?} spills").into()),
        None => Ok(()),
    }
}

/// The oldest architecture assembles everything, the others every fifth kernel, each another one.
fn assemble_cases(ptxas: &Ptxas, arch: &str, which: usize) -> Result<(), Failed> {
    let picked = all_cases().into_iter().enumerate();
    let picked = picked.filter(|(idx, _)| arch == DEFAULT_ARCH || idx % 5 == which % 5).map(|(_, kernel)| kernel);
    let kernels: Vec<Kernel> = picked.collect();
    for batch in kernels.chunks(BATCH) {
        let usages = ptxas.assemble(&nvptx::compile(batch, arch)?, arch)?;
        if usages.len() != batch.len() {
            return Err(format!("{} of {} kernels were assembled", usages.len(), batch.len()).into());
        }
        no_spills(&usages)?;
    }
    Ok(())
}

/// Random kernels index their register tiles by threads, so they may spill.
fn assemble_random(ptxas: &Ptxas) -> Result<(), Failed> {
    for arch in CUDA_ARCHES.iter().filter(|arch| ptxas.knows(arch)) {
        let kernels: Vec<Kernel> = (0..20).map(|seed| random::kernel(&format!("random_{seed}"), seed).0).collect();
        let usages = ptxas.assemble(&nvptx::compile(&kernels, arch)?, arch)?;
        if usages.len() != kernels.len() {
            return Err(format!("{} of {} kernels were assembled", usages.len(), kernels.len()).into());
        }
    }
    Ok(())
}

fn registers_hold_tiles(ptxas: &Ptxas, arch: &str) -> Result<(), Failed> {
    let kernel = gpu::tiled_matmul("product", 256, 256, 256);
    let ptx = nvptx::compile(&[kernel], arch)?;
    let usages = ptxas.assemble(&ptx, arch)?;
    let [usage] = usages.as_slice() else { return Err(format!("{usages:?}").into()) };
    no_spills(&usages)?;
    if usage.stack_bytes > 0 || usage.registers > 96 || usage.shared_bytes != 2 * 32 * 8 * 4 {
        return Err(format!("{usage:?} for a register tile of 4 x 4").into());
    }
    Ok(())
}

fn every_fma_is_one_of_the_kernel() -> Result<(), Failed> {
    fn count(body: &[Stmt]) -> usize {
        let one = |stmt: &Stmt| match stmt {
            Stmt::Let(_, Inst::Fma(..)) => 1,
            Stmt::For(inner) => count(&inner.body),
            Stmt::If(_, body) => count(body),
            _ => 0,
        };
        body.iter().map(one).sum()
    }
    // A product and the sum that follows it are two roundings, whoever would like them to be one.
    let mut kernels = Vec::new();
    let mut add = |kernel: &Kernel, _: &[Vec<u8>], _: &[usize]| kernels.push(gpu::on_gpu(kernel));
    cases::product_and_sum(&mut add);
    cases::fused_multiply_add(&mut add);
    for kernel in kernels {
        let lanes = kernel.regs.iter().map(|reg| usize::from(reg.lanes)).max().unwrap_or(1);
        let ptx = nvptx::compile(std::slice::from_ref(&kernel), DEFAULT_ARCH)?;
        let (found, expected) = (ptx.matches("fma.rn.").count(), count(&kernel.body) * lanes);
        if found != expected {
            return Err(format!("{found} fma instructions, expected {expected}\n{kernel}\n{ptx}").into());
        }
    }
    Ok(())
}

fn vectors_move_in_one_instruction() -> Result<(), Failed> {
    let ptx = nvptx::compile(&[gpu::tiled_matmul("product", 64, 64, 64)], DEFAULT_ARCH)?;
    for (part, count) in [
        ("ld.global.v4.b32", 1),
        ("st.shared.v4.b32", 1),
        ("ld.shared.v4.b32", 16),
        ("st.global.v4.b32", 4),
        ("fma.rn.f32 ", 8 * 16),
        (".local", 0),
        ("bar.sync", 2),
    ] {
        let found = ptx.matches(part).count();
        if found != count {
            return Err(format!("{found} times {part}, expected {count}, in\n{ptx}").into());
        }
    }
    Ok(())
}

fn equal_kernels_give_equal_text() -> Result<(), Failed> {
    let (kernel, _) = random::kernel("random", 5);
    let texts = [(); 2].map(|()| nvptx::compile(std::slice::from_ref(&kernel), DEFAULT_ARCH));
    if texts[0] == texts[1] { Ok(()) } else { Err("two compilations differ".into()) }
}

/// Compiles random kernels in a process of its own: a construct that a back end of LLVM lacks ends the process.
fn random_kernels_compile(first: u64) -> Result<(), Failed> {
    let program = std::env::current_exe()?;
    let output = Command::new(program).env(CHILD, format!("{first} 40")).output()?;
    if output.status.success() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    Err(format!("{}: {text}", output.status).into())
}

fn compile_random(range: &str) {
    let numbers: Vec<u64> = range.split(' ').map(|word| word.parse().expect("two numbers")).collect();
    for seed in numbers[0]..numbers[0] + numbers[1] {
        let (kernel, _) = random::kernel("random", seed);
        let arch = CUDA_ARCHES[seed as usize % CUDA_ARCHES.len()];
        // If the process ends here, this line is the last thing it said.
        eprintln!("seed {seed} for {arch}");
        if let Err(error) = nvptx::compile(std::slice::from_ref(&kernel), arch) {
            eprintln!("{error}\n{kernel}");
            std::process::exit(1);
        }
    }
}
