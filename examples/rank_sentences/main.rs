//! Ranks sentences by how close they are to a query in meaning: all-MiniLM-L6-v2, its published weights read into nnc's
//! own `TransformerEncoder`, compiled for each length of sentence that is met.
//!
//! ```text
//! scripts/fetch_models.sh
//! cargo run --release --example rank_sentences -- "Which animals were outside?"
//! cargo run --release --example rank_sentences -- --sentences notes.txt --top 3 "When is the deadline?"
//! cargo run --release --example rank_sentences -- --export minilm.onnx
//! ```

mod minilm;

use std::path::PathBuf;
use std::time::Instant;

use clap::Parser;
use minilm::{Embedder, MiniLm};
use nnc::prelude::*;

const SENTENCES: &str = "\
The cat sits outside in the sun.
Two dogs chase each other across the yard while their owners talk by the gate and wait for the rain to end.
The stock market fell sharply after the central bank raised interest rates for the third time this year, and analysts expect the decline to last until inflation slows.
Shares dropped today.
A graph compiler traces a model into typed operations, fuses neighbors into kernels, plans memory, and emits machine code.
Pasta tastes best with fresh basil.";

/// Ranks sentences by similarity to a query.
#[derive(Parser)]
struct Args {
    /// What to look for.
    #[arg(default_value = "Which animals were outside?")]
    query: String,
    /// A text file with a sentence a line, instead of the built-in ones.
    #[arg(long)]
    sentences: Option<PathBuf>,
    /// Print only this many.
    #[arg(long)]
    top: Option<usize>,
    /// The model's folder: `config.json`, `tokenizer.json`, `model.safetensors`.
    #[arg(long, default_value_os_t = minilm::default_folder())]
    model: PathBuf,
    /// Emitter of machine code: `cranelift` or `llvm`.
    #[arg(long, default_value = "cranelift")]
    tier: String,
    /// Threads; 0 is one a core.
    #[arg(long, default_value_t = 0)]
    threads: usize,
    /// Print the similarities of all sentences to one another instead, a row a sentence.
    #[arg(long)]
    matrix: bool,
    /// Write the network as an ONNX model instead, of inputs `ids` and `padding`.
    #[arg(long)]
    export: Option<PathBuf>,
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args = Args::parse();
    let tier = match args.tier.as_str() {
        "cranelift" => Tier::Cranelift,
        "llvm" => Tier::Llvm,
        other => return Err(format!("unknown tier `{other}`, expected cranelift or llvm").into()),
    };
    if !args.model.is_dir() {
        return Err(format!("{} is no folder; scripts/fetch_models.sh fetches the model", args.model.display()).into());
    }
    if let Some(path) = &args.export {
        let module = MiniLm::load(&args.model)?.trace()?;
        let exported = nnc::onnx::export::export(&module.funcs[0], &module.weights, path, &Default::default());
        let exported = exported.map_err(Error::Diagnostics)?;
        println!("{}: opset {}, {} nodes", path.display(), exported.opset, exported.n_nodes);
        return Ok(());
    }
    let text = match &args.sentences {
        Some(path) => std::fs::read_to_string(path)?,
        None => SENTENCES.to_string(),
    };
    let sentences: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();

    let start = Instant::now();
    let mut embedder = Embedder::load(&args.model, tier, args.threads)?;
    let loading = start.elapsed();
    let start = Instant::now();
    let vectors = sentences.iter().map(|sentence| embedder.embed(sentence)).collect::<Result<Vec<_>, _>>()?;
    if args.matrix {
        for lhs in &vectors {
            let row: Vec<String> = vectors.iter().map(|rhs| format!("{:.7}", dot(lhs, rhs))).collect();
            println!("{}", row.join(" "));
        }
        return Ok(());
    }
    let query = embedder.embed(&args.query)?;
    let embedding = start.elapsed();

    let mut ranked: Vec<(f32, &str)> =
        vectors.iter().map(|vector| dot(vector, &query)).zip(sentences.iter().copied()).collect();
    ranked.sort_by(|lhs, rhs| rhs.0.total_cmp(&lhs.0));
    println!("{}", args.query);
    for (similarity, sentence) in ranked.iter().take(args.top.unwrap_or(usize::MAX)) {
        println!("  {similarity:6.3}  {sentence}");
    }
    let compiling: f64 = embedder.compilations().iter().map(|compilation| compilation.duration.as_secs_f64()).sum();
    println!(
        "weights loaded in {:.0?}; {} sentences embedded in {embedding:.0?}, {compiling:.2} s of it compiling for {} lengths",
        loading,
        ranked.len() + 1,
        embedder.compilations().len(),
    );
    Ok(())
}

/// Of unit vectors the cosine of their angle.
fn dot(lhs: &[f32], rhs: &[f32]) -> f32 {
    lhs.iter().zip(rhs).map(|(lhs, rhs)| lhs * rhs).sum()
}
