//! `TfIdfVectorizer`: how often runs of tokens occur.
//!
//! The pool of runs is known; each length of run and distance of tokens is one comparison of all windows of a row with all
//! runs of that length.

use std::ops::Range;

use nnc_frontend::Tensor;
use nnc_ir::TensorData;

use super::{Entry, Outcome, one, op};
use crate::cx::Cx;
use crate::fault::Fault;

pub(super) const OPS: &[Entry] = &[op("TfIdfVectorizer", 9.., tf_idf_vectorizer)];

/// The runs of one length: a matrix of tokens with a row a run, and the columns of the result that count them.
struct Grams {
    length: usize,
    tokens: Vec<i64>,
    columns: Vec<i64>,
}

fn tf_idf_vectorizer(cx: &mut Cx<'_>) -> Outcome {
    if cx.strings("pool_strings")?.is_some_and(|pool| !pool.is_empty()) {
        return Err(cx.unsupported("a pool of strings"));
    }
    let int = |name: &str| -> Result<usize, Fault> {
        let value = cx.int(name)?.ok_or_else(|| cx.invalid(format!("attribute `{name}` is left out")))?;
        usize::try_from(value).map_err(|_| cx.invalid(format!("{name} is {value}, expected 0 or more")))
    };
    let (shortest, longest, most_skipped) = (int("min_gram_length")?, int("max_gram_length")?, int("max_skip_count")?);
    let columns = cx.ints("ngram_indexes")?.unwrap_or_default();
    if columns.is_empty() || columns.iter().any(|&column| column < 0) {
        return Err(cx.invalid("ngram_indexes is left out, empty, or has negative columns"));
    }
    let n_columns = columns.iter().max().map_or(0, |&column| column as usize + 1);
    let grams = pool(cx, &columns, shortest..longest + 1)?;
    let data = cx.input(0)?;
    let rank = data.ty().rank();
    let rows = match rank {
        0 | 1 => data.reshape([1, -1]),
        2 => data,
        _ => return Err(cx.invalid(format!("the input is {}, expected [C] or [N, C]", data.ty()))),
    };
    let Some(length) = rows.shape()[1].as_const() else {
        return Err(cx.unsupported(format!("rows of symbolic length ({})", rows.ty())));
    };

    /// Each is comparisons of its own.
    const MOST_DISTANCES: usize = 1 << 10;
    let n_distances = most_skipped.saturating_add(1).min(length);
    if n_distances > MOST_DISTANCES && grams.iter().any(|gram| gram.length > 1) {
        let most = format!("expected less than {MOST_DISTANCES}");
        return Err(cx.unsupported(format!("max_skip_count {most_skipped} in rows of {length}, {most}")));
    }
    let mut counts = counts(&rows, length, &grams, most_skipped, n_columns);
    let weights = cx.floats("weights")?.filter(|weights| !weights.is_empty());
    let mode = cx.string_or("mode", "")?;
    if mode == "IDF" {
        counts = counts.gt(0.0).float();
    } else if mode != "TF" && mode != "TFIDF" {
        return Err(cx.invalid(format!("mode is `{mode}`, expected TF, IDF or TFIDF")));
    }
    if let Some(weights) = weights.filter(|_| mode != "TF") {
        if weights.len() < n_columns {
            return Err(cx.invalid(format!("{} weights for {n_columns} columns", weights.len())));
        }
        let weights: Vec<f32> = weights[..n_columns].iter().map(|&weight| weight as f32).collect();
        counts *= Tensor::from_slice(&weights);
    }
    one(if rank == 2 { counts } else { counts.squeeze(0) })
}

/// The runs of the pool whose length is one of `lengths`.
fn pool(cx: &Cx<'_>, columns: &[i64], lengths: Range<usize>) -> Result<Vec<Grams>, Fault> {
    let tokens = cx.ints("pool_int64s")?.unwrap_or_default();
    let starts = cx.ints("ngram_counts")?.unwrap_or_default();
    let mut grams = Vec::new();
    let mut next_column = 0;
    for (at, &start) in starts.iter().enumerate() {
        let end = starts.get(at + 1).copied().unwrap_or(tokens.len() as i64);
        let range = usize::try_from(start).ok().zip(usize::try_from(end).ok()).map(|(start, end)| start..end);
        let Some(tokens) = range.and_then(|range| tokens.get(range)) else {
            return Err(cx.invalid(format!("ngram_counts {starts:?} do not fit a pool of {} tokens", tokens.len())));
        };
        let length = at + 1;
        let n_grams = tokens.len() / length;
        let Some(columns) = columns.get(next_column..next_column + n_grams) else {
            return Err(cx.invalid("ngram_indexes has fewer columns than there are runs in the pool"));
        };
        next_column += n_grams;
        if n_grams > 0 && lengths.contains(&length) {
            let tokens = tokens[..n_grams * length].to_vec();
            grams.push(Grams { length, tokens, columns: columns.to_vec() });
        }
    }
    Ok(grams)
}

/// How often the runs of each column occur in each row, with up to `most_skipped` tokens left out between two of a run.
fn counts(rows: &Tensor, length: usize, grams: &[Grams], most_skipped: usize, n_columns: usize) -> Tensor {
    let mut parts = Vec::new();
    let mut columns = Vec::new();
    for Grams { length: n, tokens, columns: own } in grams {
        let pool = TensorData::from_integers(rows.dtype(), vec![own.len(), *n], tokens.iter().copied());
        let pool = Tensor::from_data(pool);
        // Nothing can be left out within a run of one.
        let distances = if *n == 1 { 1..=1 } else { 1..=most_skipped + 1 };
        for distance in distances {
            let span = (n - 1) * distance;
            let Some(n_windows) = length.checked_sub(span).filter(|&n_windows| n_windows > 0) else { break };
            let matches = (0..*n).map(|at| {
                let window = rows.narrow(1, at * distance, n_windows).unsqueeze(-1);
                window.eq(pool.select(1, at as i64))
            });
            let matches = matches.reduce(|all, next| all.logical_and(next)).expect("a run has a token");
            parts.push(matches.float().sum(1));
            columns.extend_from_slice(own);
        }
    }
    let none = Tensor::zeros([rows.shape()[0].clone(), n_columns.into()]);
    if parts.is_empty() {
        return none;
    }
    let found = Tensor::cat(&parts, 1);
    let columns = Tensor::from_slice(&columns).broadcast_to(found.shape());
    none.scatter_add(1, &columns, &found)
}
