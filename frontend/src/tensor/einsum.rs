//! Einstein sums.
//!
//! Letters name dimensions. An equation is parsed against the operands' types into one list of letters a term; the
//! dimensions of an ellipsis get letters of their own. Then terms are multiplied pairwise from the left.

use nnc_ir::ops::DotAttrs;
use nnc_ir::{Dim, TensorType};

use super::contract::dot;
use super::{Tensor, ToTensor, fault, live};

/// Einstein sum, as `torch.einsum`: `einsum("bij,bjk->bik", &[&x, &y])`. Letters name dimensions; letters that the
/// result lacks are summed over; without `->` the result has the letters that occur once, in the order of ASCII. A letter
/// that occurs twice in a term stands for the diagonal. `...` stands for any number of dimensions, which broadcast
/// and, without `->`, come first. Extents of 1 stretch.
///
/// ```
/// # use nnc_frontend::prelude::*;
/// # use nnc_frontend::tensor::einsum;
/// let x = Tensor::arange(9).view([3, 3]);
/// assert_eq!(einsum("ii", &[&x]).item()?, 12.0);
/// assert_eq!(einsum("...j->j...", &[Tensor::zeros([2, 3, 4])]).shape().to_string(), "[4, 2, 3]");
/// # Ok::<(), nnc_ir::Diagnostic>(())
/// ```
#[track_caller]
pub fn einsum<T: ToTensor>(equation: &str, operands: &[T]) -> Tensor {
    let mut tensors = Vec::with_capacity(operands.len());
    for operand in operands {
        let tensor = operand.to_tensor();
        live!(tensor);
        tensors.push(tensor);
    }
    let types: Vec<TensorType> = tensors.iter().map(Tensor::ty).collect();
    let Equation { terms, output, extents } = match Equation::parse(equation, &types) {
        Ok(parsed) => parsed,
        Err(message) => return fault(format!("einsum: {message}")),
    };
    let mut terms = terms.into_iter().zip(tensors).map(|(letters, tensor)| simplify(letters, tensor, &extents));
    let Some((mut letters, mut tensor)) = terms.next() else { return fault("einsum: no operands".to_string()) };
    let rest: Vec<(Vec<char>, Tensor)> = terms.collect();
    for (idx, (rhs_letters, rhs)) in rest.iter().enumerate() {
        // A letter that is still wanted later is kept; one that both sides have and nobody else wants is contracted.
        let mut wanted = output.clone();
        for (later, _) in &rest[idx + 1..] {
            wanted.extend(later);
        }
        (letters, tensor) = contract(&letters, &tensor, rhs_letters, rhs, &wanted);
    }
    (letters, tensor) = sum_out(letters, &tensor, &output);
    let permutation: Vec<usize> = output
        .iter()
        .map(|letter| letters.iter().position(|other| other == letter).expect("every letter of the result is there"))
        .collect();
    tensor.permute(permutation)
}

struct Equation {
    /// Letters of each operand.
    terms: Vec<Vec<char>>,
    /// Letters of the result.
    output: Vec<char>,
    /// The extent of each letter, in order of appearance.
    extents: Vec<(char, Dim)>,
}

impl Equation {
    fn parse(equation: &str, types: &[TensorType]) -> Result<Self, String> {
        let text: String = equation.chars().filter(|c| !c.is_whitespace()).collect();
        if let Some(odd) = text.chars().find(|c| !c.is_ascii_alphabetic() && !",->.".contains(*c)) {
            return Err(format!("`{odd}` in `{equation}`, expected letters, `...`, `,` and `->`"));
        }
        let (lhs, rhs) = match text.split_once("->") {
            Some((lhs, rhs)) => (lhs, Some(rhs)),
            None => (text.as_str(), None),
        };
        let n_terms = lhs.split(',').count();
        if n_terms != types.len() {
            return Err(format!("`{equation}` has {n_terms} terms for {} operands", types.len()));
        }
        let mut terms = Vec::with_capacity(n_terms);
        let mut n_broadcast = 0;
        for (term, ty) in lhs.split(',').zip(types) {
            let n_letters = term.chars().filter(char::is_ascii_alphabetic).count();
            let n_elided = match ty.rank().checked_sub(n_letters) {
                Some(n_elided) if n_elided == 0 || term.contains("...") => n_elided,
                _ => return Err(format!("the term `{term}` has {n_letters} letters for {ty}")),
            };
            terms.push(spell(term, n_elided)?);
            n_broadcast = n_broadcast.max(n_elided);
        }
        let extents = agree(&terms, types)?;
        let output = match rhs {
            Some(rhs) => spell(rhs, n_broadcast)?,
            None => {
                let count = |letter: char| terms.iter().flatten().filter(|other| **other == letter).count();
                let mut once: Vec<char> = extents.iter().map(|(letter, _)| *letter).collect();
                once.retain(|&letter| letter.is_ascii_alphabetic() && count(letter) == 1);
                once.sort_unstable();
                elided(n_broadcast).chain(once).collect()
            }
        };
        for (idx, letter) in output.iter().enumerate() {
            if output[..idx].contains(letter) {
                return Err(format!("the result of `{equation}` repeats `{letter}`"));
            }
            if !extents.iter().any(|(other, _)| other == letter) {
                return Err(format!("`{letter}` of the result of `{equation}` is in no operand"));
            }
        }
        Ok(Self { terms, output, extents })
    }
}

/// The letters of the `n` dimensions of an ellipsis, which are aligned at the last.
fn elided(n: usize) -> impl Iterator<Item = char> {
    // No equation has characters from the private use area.
    (0..n as u32).rev().filter_map(|at| char::from_u32(0xE000 + at))
}

/// The letters of a term whose ellipsis stands for `n_elided` dimensions.
fn spell(term: &str, n_elided: usize) -> Result<Vec<char>, String> {
    let (before, after) = term.split_once("...").map_or((term, None), |(before, after)| (before, Some(after)));
    let letters: Vec<char> = match after {
        Some(after) => before.chars().chain(elided(n_elided)).chain(after.chars()).collect(),
        None => before.chars().collect(),
    };
    match letters.iter().find(|letter| ".,->".contains(**letter)) {
        Some(odd) => Err(format!("`{odd}` in the term `{term}`, expected letters and at most one `...`")),
        None => Ok(letters),
    }
}

/// The extent of each letter: the one that is not 1, if there is any.
fn agree(terms: &[Vec<char>], types: &[TensorType]) -> Result<Vec<(char, Dim)>, String> {
    let one = Dim::from(1);
    let mut extents: Vec<(char, Dim)> = Vec::new();
    for (term, ty) in terms.iter().zip(types) {
        for (&letter, extent) in term.iter().zip(ty.shape.dims()) {
            match extents.iter_mut().find(|(other, _)| *other == letter) {
                Some((_, known)) if *known == one => *known = extent.clone(),
                Some((_, known)) if known != extent && *extent != one => {
                    let letter = if letter.is_ascii_alphabetic() { letter.to_string() } else { "...".to_string() };
                    return Err(format!("`{letter}` is {known} and {extent} in {ty}"));
                }
                Some(_) => {}
                None => extents.push((letter, extent.clone())),
            }
        }
    }
    Ok(extents)
}

/// A term of which no letter repeats, by taking diagonals, and none stretches, by leaving it out: what is multiplied with
/// it then repeats it.
#[track_caller]
fn simplify(mut letters: Vec<char>, mut tensor: Tensor, extents: &[(char, Dim)]) -> (Vec<char>, Tensor) {
    let one = Dim::from(1);
    for dim in (0..letters.len()).rev() {
        let wide = extents.iter().any(|(letter, extent)| *letter == letters[dim] && *extent != one);
        let repeated = letters[..dim].contains(&letters[dim]);
        if tensor.size(dim as i64) == one && (wide || repeated) {
            tensor = tensor.squeeze(dim as i64);
            letters.remove(dim);
        }
    }
    while let Some((first, second)) = repetition(&letters) {
        tensor = tensor.diagonal(0, first as i64, second as i64);
        letters.remove(second);
        let letter = letters.remove(first);
        letters.push(letter);
    }
    (letters, tensor)
}

/// The positions of a letter that occurs twice.
fn repetition(letters: &[char]) -> Option<(usize, usize)> {
    (0..letters.len()).find_map(|second| {
        letters[..second].iter().position(|letter| *letter == letters[second]).map(|first| (first, second))
    })
}

/// Sums over the letters that are not wanted.
#[track_caller]
fn sum_out(letters: Vec<char>, tensor: &Tensor, wanted: &[char]) -> (Vec<char>, Tensor) {
    let dims: Vec<usize> = (0..letters.len()).filter(|&dim| !wanted.contains(&letters[dim])).collect();
    if dims.is_empty() {
        return (letters, tensor.clone());
    }
    let kept = letters.into_iter().filter(|letter| wanted.contains(letter)).collect();
    // Integers add up in `i64`; sums modulo 2^n are the same in their own type.
    (kept, tensor.sum(dims.as_slice()).to_dtype(tensor.dtype()))
}

/// Multiplies two terms and sums over the letters that are not wanted. The result's letters are those of
/// `dot_general`: batch, free of the left, free of the right.
#[track_caller]
fn contract(
    lhs_letters: &[char],
    lhs: &Tensor,
    rhs_letters: &[char],
    rhs: &Tensor,
    wanted: &[char],
) -> (Vec<char>, Tensor) {
    let common = |letter: &char| lhs_letters.contains(letter) && rhs_letters.contains(letter);
    let useful = |letter: &char| wanted.contains(letter) || common(letter);
    let lhs_wanted: Vec<char> = lhs_letters.iter().copied().filter(useful).collect();
    let rhs_wanted: Vec<char> = rhs_letters.iter().copied().filter(useful).collect();
    let (lhs_letters, lhs) = sum_out(lhs_letters.to_vec(), lhs, &lhs_wanted);
    let (rhs_letters, rhs) = sum_out(rhs_letters.to_vec(), rhs, &rhs_wanted);

    let mut attrs = DotAttrs::default();
    let (mut batch, mut free) = (Vec::new(), Vec::new());
    for (lhs_dim, letter) in lhs_letters.iter().enumerate() {
        match rhs_letters.iter().position(|other| other == letter) {
            Some(rhs_dim) if wanted.contains(letter) => {
                attrs.lhs_batch.push(lhs_dim);
                attrs.rhs_batch.push(rhs_dim);
                batch.push(*letter);
            }
            Some(rhs_dim) => {
                attrs.lhs_contract.push(lhs_dim);
                attrs.rhs_contract.push(rhs_dim);
            }
            None => free.push(*letter),
        }
    }
    free.extend(rhs_letters.iter().filter(|letter| !lhs_letters.contains(letter)));
    batch.extend(free);
    (batch, dot(&lhs, &rhs, attrs))
}
