//! `CTCLoss`: a sequence against a longer one of unknown alignment.

use nnc_ir::{DType, Dim};

use super::Reduction;
use crate::functional::scan;
use crate::module::Module;
use crate::tensor::{Tensor, ToTensor, fault, live, where_};
use crate::trace;

/// The logarithm of a probability of zero. Finite, so that differences of two of them are numbers; a sum of many steps
/// stays far from the largest `f32`.
const IMPOSSIBLE: f64 = -1e30;

loss! {
    /// Connectionist temporal classification (Graves et al., 2006): the negative logarithm of the probability that the
    /// outputs of all steps, with repetitions merged and blanks removed, are the target.
    ///
    /// The sum over alignments is a [`scan`] over the steps, so it takes one step's memory forward and its gradient is
    /// that of the sum.
    CTCLoss {
        /// The class that means nothing; 0 by default.
        blank: usize = 0,
        /// Whether targets that no alignment fits cost nothing, instead of infinity.
        zero_infinity: bool = false,
    }
}

impl CTCLoss {
    /// The loss of log-probabilities `[T, N, C]` (or `[T, C]`) against classes `[N, S]` (or `[S]`), where example `n`
    /// has `input_lengths[n]` steps and `target_lengths[n]` classes. Targets of all examples may stand one after the
    /// other in a vector. The mean is over examples, each divided by the length of its target.
    #[track_caller]
    pub fn forward(
        &self,
        log_probs: &Tensor,
        targets: &Tensor,
        input_lengths: impl ToTensor,
        target_lengths: impl ToTensor,
    ) -> Tensor {
        let _scope = trace::enter(self.key());
        let (input_lengths, target_lengths) = (input_lengths.to_tensor(), target_lengths.to_tensor());
        let ty = live!(log_probs);
        let single = ty.rank() == 2;
        let batch = |x: &Tensor, dim| if single { x.unsqueeze(dim) } else { x.clone() };
        let log_probs = batch(log_probs, 1);
        let (targets, input_lengths) = (batch(targets, 0), batch(&input_lengths, 0));
        let target_lengths = batch(&target_lengths, 0);
        let (ty, target_ty) = (live!(log_probs), live!(targets));
        let lengths = [live!(input_lengths), live!(target_lengths)];
        let n_examples = ty.shape.dims().get(1).cloned().unwrap_or(Dim::from(0));
        let fits = ty.rank() == 3
            && ty.dtype.is_float()
            && target_ty.dtype.is_int()
            && (target_ty.rank() == 1 || target_ty.rank() == 2 && target_ty.shape[0] == n_examples)
            && lengths.iter().all(|ty| ty.dtype.is_int() && ty.shape.dims() == [n_examples.clone()]);
        if !fits {
            let [inputs, outputs] = &lengths;
            return fault(format!(
                "ctc_loss: the log-probabilities are {ty}, the targets {target_ty}, and the lengths {inputs} and \
                 {outputs}, expected [T, N, C] floats, [N, S] or [S] integers, and [N] integers twice"
            ));
        }
        let n_classes = ty.shape[2].as_const();
        if n_classes.is_some_and(|n_classes| self.blank >= n_classes) {
            return fault(format!("ctc_loss: blank is {} in {ty}, expected one of its classes", self.blank));
        }

        let (input_lengths, target_lengths) = (input_lengths.long().unsqueeze(1), target_lengths.long().unsqueeze(1));
        let targets = if target_ty.rank() == 1 { apart(&targets.long(), &target_lengths) } else { targets.long() };
        let terms = self.alignments(&log_probs, &targets, &input_lengths, &target_lengths);

        let infeasible = terms.gt(-IMPOSSIBLE / 2.0);
        let terms = where_(&infeasible, if self.zero_infinity { 0.0 } else { f64::INFINITY }, terms);
        match self.reduction {
            Reduction::Mean => (terms / target_lengths.squeeze(1).maximum(1).to_dtype(ty.dtype)).mean(..),
            Reduction::None if single => terms.squeeze(0),
            reduction => reduction.apply(terms),
        }
    }

    /// The negative logarithm of the probability of all alignments, `[N]`. Targets are `[N, S]`, lengths `[N, 1]`.
    #[track_caller]
    fn alignments(
        &self,
        log_probs: &Tensor,
        targets: &Tensor,
        input_lengths: &Tensor,
        target_lengths: &Tensor,
    ) -> Tensor {
        let (ty, target_ty) = (live!(log_probs), live!(targets));
        let [n_steps, n_examples] = [0, 1].map(|dim| ty.shape[dim].clone());
        let Some(longest) = target_ty.shape[1].as_const() else {
            return fault(format!("ctc_loss: the length of the targets {target_ty} is symbolic"));
        };
        // Blanks stand around and between all classes: [N, 2S + 1].
        let states = 2 * longest + 1;
        let blanks = Tensor::zeros([n_examples.clone(), Dim::from(longest), Dim::from(1)]).long() + self.blank as i64;
        let pairs = Tensor::cat(&[&blanks, &targets.unsqueeze(2)], 2).flatten(1, 2);
        let last = Tensor::zeros([n_examples.clone(), Dim::from(1)]).long() + self.blank as i64;
        let labels = Tensor::cat(&[&pairs, &last], 1);
        // A blank between two different classes may be skipped.
        let before = labels.pad(&[(2, -2)], self.blank as f64);
        let may_skip = labels.ne(self.blank).logical_and(labels.ne(before));

        let picked = labels.unsqueeze(0).broadcast_to(nnc_ir::Shape(vec![
            n_steps.clone(),
            n_examples.clone(),
            Dim::from(states),
        ]));
        let emissions = log_probs.gather(2, &picked).maximum(IMPOSSIBLE);

        // Before the first step everything is on the first blank, from which that step reaches the first two states.
        let state = Tensor::iota(DType::I64, [n_examples, Dim::from(states)].to_vec().into(), 1);
        let impossible = state.to_dtype(ty.dtype).full_like(IMPOSSIBLE);
        let start = where_(&state.eq(0), 0, &impossible);
        let step = Tensor::arange(n_steps);
        let (end, _) = scan(start, (emissions, step), |alpha: Tensor, (emission, step): (Tensor, Tensor)| {
            let by_one = alpha.pad(&[(1, -1)], IMPOSSIBLE);
            let by_two = where_(&may_skip, alpha.pad(&[(2, -2)], IMPOSSIBLE), &impossible);
            let best = alpha.maximum(&by_one).maximum(&by_two).detach();
            let sum = (&alpha - &best).exp() + (by_one - &best).exp() + (by_two - &best).exp();
            let next = sum.log() + best + emission;
            (where_(&step.lt(input_lengths), next, alpha), ())
        });

        // An alignment ends on the last class or the blank after it.
        let last = target_lengths * 2;
        let ends = state.eq(&last).logical_or(state.eq(&last - 1));
        -where_(&ends, end, &impossible).logsumexp(1)
    }
}

/// Targets that stand one after the other as rows: `[N, S]`, where `S` is the length of all. What lies beyond a row's
/// length is some other class.
#[track_caller]
fn apart(targets: &Tensor, target_lengths: &Tensor) -> Tensor {
    let (ty, lengths_ty) = (live!(targets), live!(target_lengths));
    let total = ty.shape[0].clone();
    let n_examples = lengths_ty.shape[0].clone();
    // Each row starts where those before it end.
    let earlier = Tensor::arange(n_examples.clone()).lt(Tensor::arange(n_examples.clone()).unsqueeze(1));
    let start = where_(&earlier, target_lengths.squeeze(1), 0).sum_keepdim(1);
    let position = start + Tensor::arange(total.clone());
    let last = Tensor::arange(total.clone()).max(..);
    let flat = position.minimum(last).flatten(0, 1);
    targets.index_select(0, &flat).reshape(nnc_ir::Shape(vec![n_examples, total]))
}
