//! What a training run measured, step by step and epoch by epoch.

use std::fmt;
use std::path::Path;

use indexmap::IndexMap;
use nnc_ir::weights::write_atomically;

use crate::error::Error;

/// What was measured in one epoch.
#[derive(Clone, Debug, Default)]
pub struct EpochRecord {
    /// Position of the epoch, from 0.
    pub epoch: usize,
    /// Steps taken up to its end.
    pub step: u64,
    /// `train_loss`, `valid_loss`, metrics such as `valid_accuracy`, and `lr`, by name.
    pub values: IndexMap<String, f64>,
    /// Examples trained on.
    pub n_examples: usize,
    /// Time the steps took; none if some were taken in another process.
    pub seconds: Option<f64>,
}

impl EpochRecord {
    /// The value called `name`.
    pub fn get(&self, name: &str) -> Option<f64> {
        self.values.get(name).copied()
    }

    /// Examples trained on each second, if all were in this process.
    pub fn examples_per_second(&self) -> Option<f64> {
        self.seconds.map(|seconds| self.n_examples as f64 / seconds)
    }
}

impl PartialEq for EpochRecord {
    /// Whether the same was measured, to the last bit; the time it took is not compared.
    fn eq(&self, other: &Self) -> bool {
        let bits = |record: &Self| {
            record.values.iter().map(|(name, value)| (name.clone(), value.to_bits())).collect::<Vec<_>>()
        };
        (self.epoch, self.step, self.n_examples) == (other.epoch, other.step, other.n_examples)
            && bits(self) == bits(other)
    }
}

impl fmt::Display for EpochRecord {
    /// `train loss 0.5123, valid loss 0.4871, valid accuracy 0.8320`: everything but the learning rate.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = self.values.iter().filter(|(name, _)| *name != "lr");
        for (idx, (name, value)) in shown.enumerate() {
            let lead = if idx == 0 { "" } else { ", " };
            write!(f, "{lead}{} {value:.4}", name.replace('_', " "))?;
        }
        Ok(())
    }
}

/// What a training run measured: the result of [`Fit::run`](super::Fit::run).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct History {
    /// Epochs that ended, in order.
    pub epochs: Vec<EpochRecord>,
    /// The loss of every step, before its update.
    pub step_losses: Vec<f64>,
    /// The gradients' norm at every step, before clipping; empty unless they are clipped by norm.
    pub grad_norms: Vec<f64>,
    /// Why training ended before the last epoch, if it did.
    pub stopped: Option<String>,
}

impl History {
    /// The value called `name` in the last epoch.
    pub fn last(&self, name: &str) -> Option<f64> {
        self.epochs.last()?.get(name)
    }

    /// The values called `name`, one an epoch that has it.
    pub fn values(&self, name: &str) -> Vec<f64> {
        self.epochs.iter().filter_map(|record| record.get(name)).collect()
    }

    /// Names of the values, in order of appearance.
    pub fn names(&self) -> Vec<&str> {
        let mut names: Vec<&str> = Vec::new();
        for name in self.epochs.iter().flat_map(|record| record.values.keys()) {
            if !names.contains(&name.as_str()) {
                names.push(name);
            }
        }
        names
    }

    /// A line an epoch: `epoch,step,...`, values as the shortest decimals that mean the same double. Empty where an epoch
    /// lacks a value.
    pub fn to_csv(&self) -> String {
        let names = self.names();
        let quoted = names.iter().map(|name| match name.contains([',', '"', '\n', '\r']) {
            true => format!("\"{}\"", name.replace('"', "\"\"")),
            false => (*name).to_string(),
        });
        let header = ["epoch", "step"].map(str::to_string).into_iter().chain(quoted);
        let mut text = header.collect::<Vec<_>>().join(",") + "\n";
        for record in &self.epochs {
            let values = names.iter().map(|name| record.get(name).map_or(String::new(), |value| value.to_string()));
            let row = [record.epoch.to_string(), record.step.to_string()].into_iter().chain(values);
            text.push_str(&row.collect::<Vec<_>>().join(","));
            text.push('\n');
        }
        text
    }

    /// A JSON object with the epochs, the losses and gradient norms of all steps, and why training ended. JSON has no
    /// infinities and NaNs: those become `null`.
    pub fn to_json(&self) -> String {
        let epochs: Vec<serde_json::Value> = self
            .epochs
            .iter()
            .map(|record| {
                let mut object = serde_json::Map::new();
                object.insert("epoch".to_string(), record.epoch.into());
                object.insert("step".to_string(), record.step.into());
                for (name, value) in &record.values {
                    object.insert(name.clone(), (*value).into());
                }
                object.into()
            })
            .collect();
        let value = serde_json::json!({
            "epochs": epochs,
            "step_losses": self.step_losses,
            "grad_norms": self.grad_norms,
            "stopped": self.stopped,
        });
        format!("{value:#}\n")
    }

    /// Writes [`History::to_json`] if the path ends in `.json`, else [`History::to_csv`]. The file is replaced in one step.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<(), Error> {
        let path = path.as_ref();
        let is_json = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("json"));
        let text = if is_json { self.to_json() } else { self.to_csv() };
        Ok(write_atomically(path, |out| out.write_all(text.as_bytes()))?)
    }

    /// Draws the losses of training and validation as an SVG image that needs nothing beside it.
    pub fn to_svg(&self) -> String {
        super::plot::svg(self)
    }

    /// Writes [`History::to_svg`]. The file is replaced in one step.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn plot_svg(&self, path: impl AsRef<Path>) -> Result<(), Error> {
        Ok(write_atomically(path.as_ref(), |out| out.write_all(self.to_svg().as_bytes()))?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_hold_what_was_measured() {
        let record = |epoch, values: &[(&str, f64)]| EpochRecord {
            epoch,
            step: 10 * (epoch as u64 + 1),
            values: values.iter().map(|&(name, value)| (name.to_string(), value)).collect(),
            n_examples: 640,
            seconds: Some(2.0),
        };
        let epochs = vec![
            record(0, &[("train_loss", 0.1 + 0.2), ("lr", 0.5)]),
            record(1, &[("train_loss", f64::NAN), ("lr", 0.5), ("odd \"name\",", 1.0)]),
        ];
        let history = History { epochs, step_losses: vec![1.0], ..History::default() };
        assert_eq!(
            history.to_csv(),
            "epoch,step,train_loss,lr,\"odd \"\"name\"\",\"\n0,10,0.30000000000000004,0.5,\n1,20,NaN,0.5,1\n"
        );
        let json: serde_json::Value = serde_json::from_str(&history.to_json()).expect("valid JSON");
        assert_eq!(json["epochs"][0]["train_loss"], 0.1 + 0.2);
        assert!(json["epochs"][1]["train_loss"].is_null());
        assert_eq!(history.epochs[0].to_string(), "train loss 0.3000");
        assert_eq!(history.epochs[0].examples_per_second(), Some(320.0));
        assert_eq!(history.values("train_loss").len(), 2);
        assert_eq!(history, history.clone(), "NaN is the same NaN");
    }
}
