//! Metrics: what is measured of a model's outputs beside the loss.
//!
//! A metric is fed the outputs of the compiled model, batch by batch, and keeps a few running numbers, which a checkpoint
//! holds: an epoch that is continued by another process ends with the same value to the last bit.

use std::cell::RefCell;
use std::rc::Rc;

use nnc_frontend::array::View;
use nnc_ir::{Diagnostic, Location, Scalar, TensorData};

/// A measure of outputs against targets, over an epoch.
pub trait Metric {
    /// What the history calls it, after `train_` or `valid_`.
    fn name(&self) -> String;

    /// Forgets all batches.
    fn reset(&mut self);

    /// Takes in a batch.
    ///
    /// # Errors
    /// If output and target do not go together: what was found and what was expected.
    fn update(&mut self, output: &TensorData, target: &View<'_>) -> Result<(), Diagnostic>;

    /// The value over all batches since the last [`Metric::reset`].
    fn compute(&self) -> f64;

    /// The running numbers.
    fn state(&self) -> Vec<f64>;

    /// Continues from numbers that [`Metric::state`] gave.
    ///
    /// # Errors
    /// If they are not of this kind of metric.
    fn load_state(&mut self, state: &[f64]) -> Result<(), Diagnostic>;
}

fn fault(message: String) -> Diagnostic {
    Diagnostic::new(Location::unknown(), message)
}

/// Reads the numbers of a state, of which there must be as many as `N`.
pub(super) fn numbers<const N: usize>(what: &str, state: &[f64]) -> Result<[f64; N], Diagnostic> {
    state.try_into().map_err(|_| fault(format!("{what}: the state has {} numbers, expected {N}", state.len())))
}

/// A mean that grows batch by batch.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Mean {
    sum: f64,
    n: f64,
}

impl Mean {
    pub(super) fn add(&mut self, sum: f64, n: usize) {
        self.sum += sum;
        self.n += n as f64;
    }

    /// NaN of nothing.
    pub(super) fn get(&self) -> f64 {
        self.sum / self.n
    }

    pub(super) fn state(&self) -> Vec<f64> {
        vec![self.sum, self.n]
    }

    pub(super) fn load(&mut self, what: &str, state: &[f64]) -> Result<(), Diagnostic> {
        let [sum, n] = numbers(what, state)?;
        *self = Self { sum, n };
        Ok(())
    }
}

/// The elements of a batch's target.
fn elements<'a>(view: &'a View<'_>) -> impl ExactSizeIterator<Item = Scalar> + 'a {
    let size = view.dtype.size();
    view.bytes.chunks_exact(size).map(move |bytes| Scalar::read(view.dtype, bytes))
}

/// Scores of classes beside the class that is right, example by example.
struct Classified {
    scores: Vec<f32>,
    n_classes: usize,
    classes: Vec<i64>,
}

impl Classified {
    /// Outputs `[N, C]` against class numbers `[N]`.
    fn new(what: &str, output: &TensorData, target: &View<'_>) -> Result<Self, Diagnostic> {
        let is_index = !target.dtype.is_float();
        match (output.shape.as_slice(), target.shape) {
            (&[n, n_classes], &[n_targets]) if n == n_targets && is_index && n_classes > 0 => {
                let classes = elements(target).map(Scalar::to_i64).collect();
                Ok(Self { scores: output.to_f32(), n_classes, classes })
            }
            (found, expected) => Err(fault(format!(
                "{what}: outputs of type {}{found:?} and targets of type {}{expected:?}, expected scores [N, C] and class \
                 numbers [N]",
                output.dtype, target.dtype
            ))),
        }
    }

    fn rows(&self) -> impl Iterator<Item = (&[f32], i64)> {
        self.scores.chunks_exact(self.n_classes).zip(self.classes.iter().copied())
    }
}

/// The position of the largest element, the first among equals; a NaN is larger than all, as in PyTorch's `argmax`.
fn argmax(row: &[f32]) -> usize {
    let mut best = 0;
    for (idx, &score) in row.iter().enumerate() {
        if score > row[best] || (score.is_nan() && !row[best].is_nan()) {
            best = idx;
        }
    }
    best
}

/// The share of examples whose largest score is that of the right class: `[N, C]` against class numbers `[N]`.
#[derive(Clone, Debug, Default)]
pub struct Accuracy(Mean);

impl Accuracy {
    /// Over no batches yet.
    pub fn new() -> Self {
        Self::default()
    }
}

impl Metric for Accuracy {
    fn name(&self) -> String {
        "accuracy".to_string()
    }

    fn reset(&mut self) {
        self.0 = Mean::default();
    }

    fn update(&mut self, output: &TensorData, target: &View<'_>) -> Result<(), Diagnostic> {
        let classified = Classified::new("accuracy", output, target)?;
        let n_right = classified.rows().filter(|(row, class)| argmax(row) as i64 == *class).count();
        self.0.add(n_right as f64, classified.classes.len());
        Ok(())
    }

    fn compute(&self) -> f64 {
        self.0.get()
    }

    fn state(&self) -> Vec<f64> {
        self.0.state()
    }

    fn load_state(&mut self, state: &[f64]) -> Result<(), Diagnostic> {
        self.0.load("accuracy", state)
    }
}

/// The share of examples whose right class is among the `k` largest scores. Of equal scores the first classes win.
#[derive(Clone, Debug)]
pub struct TopKAccuracy {
    k: usize,
    mean: Mean,
}

impl TopKAccuracy {
    /// Over no batches yet.
    pub fn new(k: usize) -> Self {
        Self { k, mean: Mean::default() }
    }
}

impl Metric for TopKAccuracy {
    fn name(&self) -> String {
        format!("top{}_accuracy", self.k)
    }

    fn reset(&mut self) {
        self.mean = Mean::default();
    }

    fn update(&mut self, output: &TensorData, target: &View<'_>) -> Result<(), Diagnostic> {
        let classified = Classified::new("top-k accuracy", output, target)?;
        let is_hit = |(row, class): &(&[f32], i64)| {
            let Some((class, &score)) = usize::try_from(*class).ok().and_then(|class| Some((class, row.get(class)?)))
            else {
                return false;
            };
            let is_before = |&(idx, &other): &(usize, &f32)| {
                other > score || (other == score && idx < class) || (other.is_nan() && !score.is_nan())
            };
            row.iter().enumerate().filter(is_before).count() < self.k
        };
        self.mean.add(classified.rows().filter(is_hit).count() as f64, classified.classes.len());
        Ok(())
    }

    fn compute(&self) -> f64 {
        self.mean.get()
    }

    fn state(&self) -> Vec<f64> {
        self.mean.state()
    }

    fn load_state(&mut self, state: &[f64]) -> Result<(), Diagnostic> {
        self.mean.load("top-k accuracy", state)
    }
}

/// The mean absolute difference of outputs and targets of one shape.
#[derive(Clone, Debug, Default)]
pub struct MeanAbsoluteError(Mean);

impl MeanAbsoluteError {
    /// Over no batches yet.
    pub fn new() -> Self {
        Self::default()
    }
}

impl Metric for MeanAbsoluteError {
    fn name(&self) -> String {
        "mean_absolute_error".to_string()
    }

    fn reset(&mut self) {
        self.0 = Mean::default();
    }

    fn update(&mut self, output: &TensorData, target: &View<'_>) -> Result<(), Diagnostic> {
        if output.shape != target.shape {
            return Err(fault(format!(
                "mean absolute error: outputs of shape {:?} and targets of shape {:?}, expected equal ones",
                output.shape, target.shape
            )));
        }
        let differences = output.scalars().zip(elements(target)).map(|(lhs, rhs)| (lhs.to_f64() - rhs.to_f64()).abs());
        self.0.add(differences.sum(), output.len());
        Ok(())
    }

    fn compute(&self) -> f64 {
        self.0.get()
    }

    fn state(&self) -> Vec<f64> {
        self.0.state()
    }

    fn load_state(&mut self, state: &[f64]) -> Result<(), Diagnostic> {
        self.0.load("mean absolute error", state)
    }
}

/// How often each class was taken for each: [`ConfusionMatrix::counts`]. Its value in the history is the mean over
/// classes of the share that was recognized (balanced accuracy).
///
/// A clone shares the counts, so that they can be read after `fit` took the metric.
#[derive(Clone, Debug)]
pub struct ConfusionMatrix {
    n_classes: usize,
    /// By right class, then by class found.
    counts: Rc<RefCell<Vec<u64>>>,
}

impl ConfusionMatrix {
    /// Over no batches yet.
    pub fn new(n_classes: usize) -> Self {
        Self { n_classes, counts: Rc::new(RefCell::new(vec![0; n_classes * n_classes])) }
    }

    /// A row for each right class: how often each class was found.
    pub fn counts(&self) -> Vec<Vec<u64>> {
        self.counts.borrow().chunks(self.n_classes.max(1)).map(<[u64]>::to_vec).collect()
    }
}

impl Metric for ConfusionMatrix {
    fn name(&self) -> String {
        "balanced_accuracy".to_string()
    }

    fn reset(&mut self) {
        self.counts.borrow_mut().fill(0);
    }

    fn update(&mut self, output: &TensorData, target: &View<'_>) -> Result<(), Diagnostic> {
        let classified = Classified::new("confusion matrix", output, target)?;
        if classified.n_classes != self.n_classes {
            let found = classified.n_classes;
            return Err(fault(format!("confusion matrix: outputs of {found} classes, expected {}", self.n_classes)));
        }
        let is_class = |class: &&i64| !(0..self.n_classes as i64).contains(*class);
        if let Some(class) = classified.classes.iter().find(is_class) {
            return Err(fault(format!("confusion matrix: a target of class {class}, expected 0..{}", self.n_classes)));
        }
        let mut counts = self.counts.borrow_mut();
        for (row, class) in classified.rows() {
            counts[class as usize * self.n_classes + argmax(row)] += 1;
        }
        Ok(())
    }

    fn compute(&self) -> f64 {
        let mut mean = Mean::default();
        for (class, row) in self.counts().iter().enumerate() {
            let total: u64 = row.iter().sum();
            if total > 0 {
                mean.add(row[class] as f64 / total as f64, 1);
            }
        }
        mean.get()
    }

    fn state(&self) -> Vec<f64> {
        self.counts.borrow().iter().map(|&count| count as f64).collect()
    }

    fn load_state(&mut self, state: &[f64]) -> Result<(), Diagnostic> {
        let mut counts = self.counts.borrow_mut();
        if state.len() != counts.len() {
            let (found, expected) = (state.len(), counts.len());
            return Err(fault(format!("confusion matrix: the state has {found} numbers, expected {expected}")));
        }
        counts.iter_mut().zip(state).for_each(|(count, &number)| *count = number as u64);
        Ok(())
    }
}

/// A metric that is the mean over examples of a function of each batch.
pub struct MetricFn<F> {
    name: String,
    function: F,
    mean: Mean,
}

impl<F> std::fmt::Debug for MetricFn<F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "MetricFn({:?})", self.name)
    }
}

impl<F: FnMut(&TensorData, &View<'_>) -> f64> MetricFn<F> {
    /// The mean of `function`, which gives the mean over a batch, weighted by the batches' sizes.
    pub fn new(name: impl Into<String>, function: F) -> Self {
        Self { name: name.into(), function, mean: Mean::default() }
    }
}

impl<F: FnMut(&TensorData, &View<'_>) -> f64> Metric for MetricFn<F> {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn reset(&mut self) {
        self.mean = Mean::default();
    }

    fn update(&mut self, output: &TensorData, target: &View<'_>) -> Result<(), Diagnostic> {
        let n = output.shape.first().copied().unwrap_or(1);
        let value = (self.function)(output, target);
        self.mean.add(value * n as f64, n);
        Ok(())
    }

    fn compute(&self) -> f64 {
        self.mean.get()
    }

    fn state(&self) -> Vec<f64> {
        self.mean.state()
    }

    fn load_state(&mut self, state: &[f64]) -> Result<(), Diagnostic> {
        self.mean.load(&self.name, state)
    }
}

#[cfg(test)]
mod tests {
    use ndarray::array;
    use nnc_frontend::array::{ToData, from_array};

    use super::*;

    /// The value of a metric over two batches, by way of its state.
    fn measure<M: Metric>(make: impl Fn() -> M, batches: [(&TensorData, &dyn ToData); 2]) -> f64 {
        let mut first = make();
        first.update(batches[0].0, &batches[0].1.view().expect("dense")).expect("it fits");
        let mut second = make();
        second.load_state(&first.state()).expect("of its kind");
        second.update(batches[1].0, &batches[1].1.view().expect("dense")).expect("it fits");
        second.compute()
    }

    #[test]
    fn classes_are_counted() {
        let first = from_array(&array![[0.1f32, 0.7, 0.2], [0.5, 0.2, 0.3], [0.1, 0.2, 0.7]]);
        let (second, labels) = (from_array(&array![[1.0f32, 1.0, 0.0]]), array![1i64, 2, 2]);
        let tie = array![1i64];
        let batches: [(&TensorData, &dyn ToData); 2] = [(&first, &labels), (&second, &tie)];
        assert_eq!(measure(Accuracy::new, batches), 0.5, "of equal scores the first class is taken");
        assert_eq!(measure(|| TopKAccuracy::new(2), batches), 1.0);
        assert_eq!(measure(|| TopKAccuracy::new(1), batches), 0.5);
        let confusion = ConfusionMatrix::new(3);
        let value = measure(|| confusion.clone(), [(&first, &labels), (&second, &tie)]);
        assert_eq!(confusion.counts(), [[0, 0, 0], [1, 1, 0], [1, 0, 1]]);
        assert_eq!(value, 0.5);
    }

    #[test]
    fn numbers_are_averaged() {
        let (x, y) = (from_array(&array![[1.0f32], [2.0]]), array![[2.0f32], [4.0]]);
        let (z, w) = (from_array(&array![[0.0f32]]), array![[3.0f32]]);
        assert_eq!(measure(MeanAbsoluteError::new, [(&x, &y), (&z, &w)]), 2.0);
        let rows = || MetricFn::new("rows", |output: &TensorData, _: &View<'_>| output.shape[0] as f64);
        assert_eq!(measure(rows, [(&x, &y), (&z, &w)]), 5.0 / 3.0);
        assert!(MeanAbsoluteError::new().compute().is_nan());
    }

    #[test]
    fn what_does_not_go_together_is_explained() {
        let x = from_array(&array![[1.0f32, 0.0]]);
        let update = |metric: &mut dyn Metric, y: &dyn ToData| {
            metric.update(&x, &y.view().expect("dense")).expect_err("it does not fit").to_string()
        };
        let fault = update(&mut Accuracy::new(), &array![1.0f32]);
        assert!(fault.contains("outputs of type f32[1, 2] and targets of type f32[1]"), "{fault}");
        assert!(update(&mut MeanAbsoluteError::new(), &array![1.0f32]).contains("[1, 2] and targets of shape [1]"));
        assert!(update(&mut ConfusionMatrix::new(3), &array![1i64]).contains("outputs of 2 classes, expected 3"));
        assert!(update(&mut ConfusionMatrix::new(2), &array![2i64]).contains("class 2, expected 0..2"));
        assert!(Accuracy::new().load_state(&[1.0]).is_err());
    }
}
