//! nnc's side of the benchmarks of whole models (`benches/peers/models.py`): loads one model for one shape, says how long
//! that took and what memory it takes, then answers `run N` and `outputs FILE.npz` on standard input.

use std::error::Error;
use std::io::{BufRead, Write};
use std::path::PathBuf;
use std::time::Instant;

use clap::Parser;
use indexmap::IndexMap;
use nnc::ir::npy::{load_npz, save_npz};
use nnc::ir::{Bindings, TensorData};
use nnc::prelude::*;
use nnc::{Options, jit::read_output};
use serde_json::json;

/// One model, one shape.
#[derive(Parser)]
struct Args {
    /// The model
    model: PathBuf,
    /// Its inputs, by name
    #[arg(long)]
    inputs: PathBuf,
    /// Threads to run on
    #[arg(long)]
    threads: usize,
    /// Emitter: cranelift, llvm, or background, the first until the second has compiled
    #[arg(long, default_value = "cranelift")]
    tier: String,
}

/// The most memory that the process has held at once, in MiB.
fn peak_rss_mib() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    Some(line.split_whitespace().nth(1)?.parse::<f64>().ok()? / 1024.0)
}

fn main() -> Result<(), Box<dyn Error>> {
    let args = Args::parse();
    let inputs = load_npz(&args.inputs)?;
    let base_rss = peak_rss_mib();
    let start = Instant::now();
    let (tier, background) = match args.tier.as_str() {
        "cranelift" => (Tier::Cranelift, None),
        "llvm" => (Tier::Llvm, None),
        "background" => (Tier::Cranelift, Some(Tier::Llvm)),
        other => return Err(format!("unknown tier `{other}`, expected cranelift, llvm or background").into()),
    };
    let model = nnc::load_with(&args.model, &Bindings::new(), &inputs)?;
    let loaded = start.elapsed();
    let mut jit = nnc::jit(model.module)?
        .options(Options { tier, background, freeze: true, verify_each: false, ..Options::default() })
        .threads(args.threads);
    let given: Vec<(String, TensorData)> =
        inputs.into_iter().filter(|(name, _)| jit.func().param(name).is_some()).collect();
    let order = jit.func().params.iter().filter_map(|param| given.iter().find(|(name, _)| *name == param.name));
    let data: Vec<TensorData> = order.map(|(_, data)| data.clone()).collect();
    let instance = jit.prepare(&data)?;
    for (name, data) in &given {
        instance.write(name.as_str(), &data.bytes)?;
    }
    let compiled = start.elapsed();
    instance.run()?;
    let ready = start.elapsed();
    nnc::background::wait()?;
    let optimized = start.elapsed();
    let ms = |duration: std::time::Duration| duration.as_secs_f64() * 1e3;
    let peak = instance.program().peak_bytes() as f64 / f64::from(1 << 20);
    println!(
        "{}",
        json!({
            "load_ms": ms(loaded), "compile_ms": ms(compiled - loaded), "first_ms": ms(ready - compiled),
            "ready_ms": ms(ready), "optimized_ms": ms(optimized), "base_rss_mib": base_rss, "peak_rss_mib": peak_rss_mib(), "tensors_mib": peak,
        })
    );

    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let answer = match line.split_once(' ') {
            Some(("run", count)) => {
                let count: usize = count.trim().parse()?;
                let mut times = Vec::with_capacity(count);
                for _ in 0..count {
                    // A caller hands its inputs over each time.
                    let start = Instant::now();
                    for (name, data) in &given {
                        instance.write(name.as_str(), &data.bytes)?;
                    }
                    instance.run()?;
                    times.push(start.elapsed().as_secs_f64() * 1e6);
                }
                times.sort_by(f64::total_cmp);
                json!({ "best_us": times[0], "median_us": times[count / 2], "peak_rss_mib": peak_rss_mib() })
            }
            Some(("outputs", path)) => {
                let names = instance.program().outputs.iter().map(|output| output.name.clone()).enumerate();
                let outputs: Result<IndexMap<String, TensorData>, nnc::Error> =
                    names.map(|(idx, name)| Ok((name, read_output(instance, idx)?))).collect();
                save_npz(path.trim().as_ref(), &outputs?)?;
                json!({})
            }
            _ => return Err(format!("request `{line}`, expected `run N` or `outputs FILE`").into()),
        };
        println!("{answer}");
        std::io::stdout().flush()?;
    }
    Ok(())
}
