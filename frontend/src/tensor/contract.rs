//! Contractions: matrix products and Einstein sums.

use nnc_ir::ops::DotAttrs;
use nnc_ir::{Dim, Op, Shape, TensorType};

use super::arith::{broadcast_shape, stretch};
use super::{Tensor, ToTensor, apply, fault, live};

#[track_caller]
pub(super) fn dot(lhs: &Tensor, rhs: &Tensor, attrs: DotAttrs) -> Tensor {
    apply(Op::DotGeneral(attrs), &[lhs, rhs])
}

impl Tensor {
    /// Matrix product, PyTorch's `@`: two vectors give a scalar; a vector counts as a row on the left and a column on
    /// the right; dimensions before the last two are batch dimensions and broadcast.
    #[track_caller]
    pub fn matmul(&self, other: impl ToTensor) -> Tensor {
        let other = other.to_tensor();
        let (lhs_ty, rhs_ty) = (live!(self), live!(other));
        if lhs_ty.rank() == 0 || rhs_ty.rank() == 0 {
            return fault(format!("matmul: {lhs_ty} and {rhs_ty}, expected at least one dimension each"));
        }
        if lhs_ty.dtype != rhs_ty.dtype {
            return fault(format!("matmul: {lhs_ty} and {rhs_ty} differ in element type; convert one with `to_dtype`"));
        }
        let lhs_contract = lhs_ty.rank() - 1;
        let rhs_contract = rhs_ty.rank().saturating_sub(2);
        if lhs_ty.shape[lhs_contract] != rhs_ty.shape[rhs_contract] {
            return fault(format!(
                "matmul: {lhs_ty} and {rhs_ty} do not fit: {} columns on the left, {} rows on the right",
                lhs_ty.shape[lhs_contract], rhs_ty.shape[rhs_contract]
            ));
        }
        // Without batch dimensions on the right, those on the left are more rows.
        if rhs_ty.rank() <= 2 {
            let attrs =
                DotAttrs { lhs_contract: vec![lhs_contract], rhs_contract: vec![rhs_contract], ..DotAttrs::default() };
            return dot(self, &other, attrs);
        }
        let lhs = if lhs_ty.rank() == 1 { self.unsqueeze(0) } else { self.clone() };
        let (lhs_shape, rhs_shape) = (lhs.shape().0, rhs_ty.shape.0.clone());
        let (lhs_batch, lhs_matrix) = lhs_shape.split_at(lhs_shape.len() - 2);
        let (rhs_batch, rhs_matrix) = rhs_shape.split_at(rhs_shape.len() - 2);
        let Some(batch) = broadcast_shape(&Shape(lhs_batch.to_vec()), &Shape(rhs_batch.to_vec())) else {
            return fault(format!("matmul: the batch dimensions of {lhs_ty} and {rhs_ty} do not broadcast"));
        };
        let n_batch = batch.rank();
        let with_batch = |matrix: &[Dim]| Shape([batch.dims(), matrix].concat());
        let lhs = stretch(&lhs, &with_batch(lhs_matrix));
        let rhs = stretch(&other, &with_batch(rhs_matrix));
        let attrs = DotAttrs {
            lhs_batch: (0..n_batch).collect(),
            rhs_batch: (0..n_batch).collect(),
            lhs_contract: vec![n_batch + 1],
            rhs_contract: vec![n_batch],
        };
        let product = dot(&lhs, &rhs, attrs);
        if lhs_ty.rank() == 1 { product.squeeze(-2) } else { product }
    }

    /// Product of two matrices: [`Tensor::matmul`].
    #[track_caller]
    pub fn mm(&self, other: impl ToTensor) -> Tensor {
        self.matmul(other)
    }

    /// Products of two stacks of matrices: [`Tensor::matmul`].
    #[track_caller]
    pub fn bmm(&self, other: impl ToTensor) -> Tensor {
        self.matmul(other)
    }

    /// Inner product of two vectors.
    #[track_caller]
    pub fn dot(&self, other: impl ToTensor) -> Tensor {
        let other = other.to_tensor();
        let (lhs_ty, rhs_ty) = (live!(self), live!(other));
        if lhs_ty.rank() != 1 || rhs_ty.rank() != 1 {
            return fault(format!("dot: {lhs_ty} and {rhs_ty}, expected two vectors"));
        }
        self.matmul(other)
    }

    /// `x · weightᵀ + bias` over the last dimension: what a `Linear` layer computes. `weight` is `[out, in]`.
    #[track_caller]
    pub fn linear(&self, weight: impl ToTensor, bias: Option<&dyn ToTensor>) -> Tensor {
        let weight = weight.to_tensor();
        let (ty, weight_ty) = (live!(self), live!(weight));
        if weight_ty.rank() != 2 {
            return fault(format!("linear: the weight is {weight_ty}, expected two dimensions, [out, in]"));
        }
        if ty.shape.dims().last() != Some(&weight_ty.shape[1]) {
            return fault(format!(
                "linear: the input is {ty}, expected {} features in the last dimension for a weight of {weight_ty}",
                weight_ty.shape[1]
            ));
        }
        if ty.dtype != weight_ty.dtype {
            return fault(format!(
                "linear: the input is {ty}, expected element type {} as the weight",
                weight_ty.dtype
            ));
        }
        let attrs = DotAttrs { lhs_contract: vec![ty.rank() - 1], rhs_contract: vec![1], ..DotAttrs::default() };
        let product = dot(self, &weight, attrs);
        match bias {
            Some(bias) => product + bias.to_tensor(),
            None => product,
        }
    }
}

/// Einstein sum, as `torch.einsum`: `einsum("bij,bjk->bik", &[&x, &y])`. Letters name dimensions; letters that the
/// result lacks are summed over; without `->` the result has the letters that occur once, in alphabetical order.
/// Each letter may occur once in an operand.
#[track_caller]
pub fn einsum<T: ToTensor>(equation: &str, operands: &[T]) -> Tensor {
    let mut tensors = Vec::with_capacity(operands.len());
    for operand in operands {
        let tensor = operand.to_tensor();
        live!(tensor);
        tensors.push(tensor);
    }
    let types: Vec<TensorType> = tensors.iter().map(Tensor::ty).collect();
    let (inputs, output) = match parse_equation(equation, &types) {
        Ok(parsed) => parsed,
        Err(message) => return fault(format!("einsum: {message}")),
    };
    let mut terms = inputs.into_iter().zip(tensors);
    let Some((letters, tensor)) = terms.next() else { return fault("einsum: no operands".to_string()) };
    let rest: Vec<(Vec<char>, Tensor)> = terms.collect();
    let (mut letters, mut tensor) = (letters, tensor);
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
        .map(|letter| letters.iter().position(|other| other == letter).expect("checked by parse_equation"))
        .collect();
    tensor.permute(permutation)
}

/// Letters of each operand and of the result.
type Equation = (Vec<Vec<char>>, Vec<char>);

fn parse_equation(equation: &str, types: &[TensorType]) -> Result<Equation, String> {
    let text: String = equation.chars().filter(|c| !c.is_whitespace()).collect();
    if let Some(odd) = text.chars().find(|c| !c.is_ascii_alphabetic() && !",->".contains(*c)) {
        return Err(format!("`{odd}` in `{equation}`, expected letters, `,` and `->`"));
    }
    let (lhs, output) = match text.split_once("->") {
        Some((lhs, output)) => (lhs, Some(output.chars().collect::<Vec<char>>())),
        None => (text.as_str(), None),
    };
    let inputs: Vec<Vec<char>> = lhs.split(',').map(|term| term.chars().collect()).collect();
    if inputs.len() != types.len() {
        return Err(format!("`{equation}` has {} terms for {} operands", inputs.len(), types.len()));
    }
    let mut extents: Vec<(char, Dim)> = Vec::new();
    for (term, ty) in inputs.iter().zip(types) {
        if term.len() != ty.rank() {
            return Err(format!("the term `{}` has {} letters for {ty}", String::from_iter(term), term.len()));
        }
        for (idx, letter) in term.iter().enumerate() {
            if term[..idx].contains(letter) {
                return Err(format!("the term `{}` repeats `{letter}`", String::from_iter(term)));
            }
            match extents.iter().find(|(other, _)| other == letter) {
                Some((_, extent)) if *extent != ty.shape[idx] => {
                    return Err(format!("`{letter}` is {extent} and {} in {ty}", ty.shape[idx]));
                }
                Some(_) => {}
                None => extents.push((*letter, ty.shape[idx].clone())),
            }
        }
    }
    let output = output.unwrap_or_else(|| {
        let count = |letter: char| inputs.iter().flatten().filter(|other| **other == letter).count();
        let mut once: Vec<char> =
            extents.iter().map(|(letter, _)| *letter).filter(|&letter| count(letter) == 1).collect();
        once.sort_unstable();
        once
    });
    for (idx, letter) in output.iter().enumerate() {
        if output[..idx].contains(letter) {
            return Err(format!("the result repeats `{letter}`"));
        }
        if !extents.iter().any(|(other, _)| other == letter) {
            return Err(format!("`{letter}` of the result is in no operand"));
        }
    }
    Ok((inputs, output))
}

/// Sums over the letters that are not wanted.
#[track_caller]
fn sum_out(letters: Vec<char>, tensor: &Tensor, wanted: &[char]) -> (Vec<char>, Tensor) {
    let dims: Vec<usize> = (0..letters.len()).filter(|&dim| !wanted.contains(&letters[dim])).collect();
    if dims.is_empty() {
        return (letters, tensor.clone());
    }
    let kept = letters.into_iter().filter(|letter| wanted.contains(letter)).collect();
    (kept, tensor.sum(dims.as_slice()))
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
