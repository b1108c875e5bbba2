//! Training of models that come from ONNX files.

use std::path::Path;

use nnc_frontend::optim::Optimizer;
use nnc_onnx::OnnxModule;

use super::{Loss, Trainer, TrainerBuilder};
use crate::error::Error;

impl Trainer<OnnxModule> {
    /// Starts to describe the training of the model in an ONNX file of one input; its first output goes to the loss. The
    /// model's floating-point tensors are the parameters, under their ONNX names, but for scalars and masks
    /// ([`OnnxModule`] says which exactly); running statistics of batch normalization stay as they are. [`OnnxModule::save`] writes the trained model as ONNX again, with its own graph and
    /// names; `state_dict().save` writes the weights alone.
    ///
    /// ```no_run
    /// use nnc::prelude::*;
    ///
    /// # fn main() -> Result<(), nnc::Error> {
    /// # let (x, y) = (ndarray::Array2::<f32>::ones((8, 4)), ndarray::Array1::<i64>::zeros(8));
    /// let mut trainer = Trainer::from_onnx("model.onnx", Loss::cross_entropy(), Sgd::new(0.01))?
    ///     .trainable(|name| name.starts_with("head."))
    ///     .build()?;
    /// trainer.step(&x, &y)?;
    /// trainer.sync()?.save("tuned.onnx")?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As for [`OnnxModule::load`].
    pub fn from_onnx(
        path: impl AsRef<Path>,
        loss: impl Into<Loss>,
        optimizer: impl Into<Optimizer>,
    ) -> Result<TrainerBuilder<OnnxModule>, Error> {
        Ok(Self::new(OnnxModule::load(path)?, loss, optimizer))
    }
}

impl TrainerBuilder<OnnxModule> {
    /// Trains only the parameters whose ONNX names `filter` holds of.
    #[must_use]
    pub fn trainable(self, filter: impl Fn(&str) -> bool) -> Self {
        self.model.trainable(filter);
        self
    }

    /// Gives the loss the output called `name` instead of the first.
    ///
    /// # Errors
    /// If the model has none of that name.
    pub fn output(mut self, name: &str) -> Result<Self, Error> {
        self.model = self.model.output(name)?;
        Ok(self)
    }
}
