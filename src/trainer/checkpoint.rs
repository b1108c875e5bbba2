//! Checkpoints: files that training continues from, to the last bit.
//!
//! A checkpoint is one `.safetensors` file. Its tensors are the whole state of the compiled step under the step's own
//! names (parameters and buffers by their dotted paths, so that the file also loads as a state dict; optimizer states;
//! the random state), those of the best epoch as `best/NAME`, and all running numbers of `fit` as `fit/NAME` in double
//! precision. Whole numbers and names are a JSON text in the file's metadata. A checksum covers all of it, and the file is
//! replaced in one step, so a run that is killed at any moment leaves a whole checkpoint behind.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use indexmap::IndexMap;
use nnc_frontend::data::LoaderState;
use nnc_ir::{DType, Diagnostic, Location, Scalar, TensorData, WeightFile};
use serde::{Deserialize, Serialize};

mod saver;

pub use saver::Checkpoints;
pub(super) use saver::newest;

/// What the metadata call the file's kind.
const FORMAT: &str = "nnc.checkpoint";
const VERSION: u32 = 1;

const BEST: &str = "best/";
const FIT: &str = "fit/";

/// Tensors by name.
pub(super) type States = IndexMap<Arc<str>, TensorData>;

/// A state of training: what [`Trainer::checkpoint`](super::Trainer::checkpoint) gives and
/// [`Trainer::restore`](super::Trainer::restore) takes.
#[derive(Clone, Debug)]
pub struct Checkpoint {
    /// Where it came from, for diagnostics.
    place: String,
    pub(super) header: Header,
    pub(super) states: States,
    /// Parameters and buffers of the best epoch, if they are kept.
    pub(super) best: States,
    /// Running numbers by what they belong to.
    pub(super) numbers: BTreeMap<String, Vec<f64>>,
}

/// Whole numbers and names.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Header {
    version: u32,
    /// The optimizers of the step and its clipping, as text.
    pub(super) optimizer: String,
    /// Steps taken.
    pub(super) n_steps: u64,
    /// The thread's default generator.
    pub(super) rng: [u64; 2],
    /// Where `fit` was, if it ran.
    pub(super) fit: Option<Position>,
}

/// Where `fit` was.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Position {
    pub(super) epoch: usize,
    /// Batches of the epoch that are done.
    pub(super) batch: usize,
    /// Examples of the epoch that are done.
    pub(super) n_examples: usize,
    pub(super) train: LoaderState,
    pub(super) valid: Option<LoaderState>,
    pub(super) epochs: Vec<EpochHeader>,
}

/// What is whole of an epoch's record; the values are numbers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct EpochHeader {
    pub(super) epoch: usize,
    pub(super) step: u64,
    pub(super) n_examples: usize,
    pub(super) names: Vec<String>,
}

impl Checkpoint {
    pub(super) fn new(optimizer: String, n_steps: u64, states: States) -> Self {
        let rng = nnc_frontend::random::get_rng_state();
        let header = Header { version: VERSION, optimizer, n_steps, rng, fit: None };
        Self { place: "the checkpoint".to_string(), header, states, best: States::new(), numbers: BTreeMap::new() }
    }

    /// Steps taken up to here.
    pub fn n_steps(&self) -> u64 {
        self.header.n_steps
    }

    /// Every tensor of the step's state, by name: parameters, buffers, optimizer states.
    pub fn states(&self) -> impl Iterator<Item = (&str, &TensorData)> {
        self.states.iter().map(|(name, data)| (name.as_ref(), data))
    }

    /// Writes the file, replacing it in one step.
    ///
    /// # Errors
    /// If the directory or the disk refuses.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<(), Diagnostic> {
        self.to_file().write(path.as_ref())
    }

    /// Reads a file that [`Checkpoint::save`] wrote.
    ///
    /// # Errors
    /// If it cannot be read, is damaged, or is something else.
    pub fn load(path: impl AsRef<Path>) -> Result<Self, Diagnostic> {
        let path = path.as_ref();
        Self::from_file(WeightFile::read(path)?, path.display().to_string())
    }

    /// A fault of this checkpoint.
    pub(super) fn fault(&self, message: impl Into<String>) -> Diagnostic {
        Diagnostic::new(Location::at(self.place.as_str(), 0, 0), message)
    }

    fn to_file(&self) -> WeightFile {
        let mut file = WeightFile { tensors: self.states.clone(), ..WeightFile::default() };
        for (name, data) in &self.best {
            file.tensors.insert(format!("{BEST}{name}").into(), data.clone());
        }
        for (name, values) in &self.numbers {
            let scalars = values.iter().map(|value| Scalar { dtype: DType::F64, bits: value.to_bits() });
            let data = TensorData::from_scalars(DType::F64, vec![values.len()], scalars);
            file.tensors.insert(format!("{FIT}{name}").into(), data);
        }
        let header = serde_json::to_string(&self.header).expect("whole numbers and texts are JSON");
        file.metadata.insert("format".to_string(), FORMAT.to_string());
        file.metadata.insert("crc32".to_string(), format!("{:08x}", checksum(&file.tensors, &header)));
        file.metadata.insert("header".to_string(), header);
        file
    }

    fn from_file(file: WeightFile, place: String) -> Result<Self, Diagnostic> {
        let fault = |message: String| Err(Diagnostic::new(Location::at(place.as_str(), 0, 0), message));
        let text = |key: &str| file.metadata.get(key).map_or("", String::as_str);
        if text("format") != FORMAT {
            return fault(format!("the file's format is `{}`, expected `{FORMAT}`", text("format")));
        }
        let found = format!("{:08x}", checksum(&file.tensors, text("header")));
        if found != text("crc32") {
            return fault(format!("the checkpoint is damaged: checksum {found}, expected {}", text("crc32")));
        }
        let header: Header = match serde_json::from_str(text("header")) {
            Ok(header) => header,
            Err(error) => return fault(format!("malformed header: {error}")),
        };
        if header.version != VERSION {
            return fault(format!("the checkpoint is of version {}, expected {VERSION}", header.version));
        }
        let (mut states, mut best, mut numbers) = (States::new(), States::new(), BTreeMap::new());
        for (name, data) in file.tensors {
            if let Some(name) = name.strip_prefix(BEST) {
                best.insert(name.into(), data);
            } else if let Some(name) = name.strip_prefix(FIT) {
                if data.dtype != DType::F64 {
                    return fault(format!("`{FIT}{name}` is {}, expected f64", data.ty()));
                }
                numbers.insert(name.to_string(), data.scalars().map(Scalar::to_f64).collect());
            } else {
                states.insert(name, data);
            }
        }
        Ok(Self { place, header, states, best, numbers })
    }
}

/// The checksum of a file's tensors and header, whatever the order of the tensors.
fn checksum(tensors: &States, header: &str) -> u32 {
    let mut names: Vec<&Arc<str>> = tensors.keys().collect();
    names.sort_unstable();
    let mut hasher = crc32fast::Hasher::new();
    for name in names {
        let data = &tensors[name];
        hasher.update(format!("{name}\0{}\0", data.ty()).as_bytes());
        hasher.update(&data.bytes);
    }
    hasher.update(header.as_bytes());
    hasher.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Checkpoint {
        let states =
            [("weight", TensorData::from_f32(vec![2], &[1.0, -2.0])), ("step", TensorData::from_i64(vec![], &[7]))];
        let states: States = states.map(|(name, data)| (name.into(), data)).into_iter().collect();
        let mut checkpoint = Checkpoint::new("sgd:lr=0.1".to_string(), 7, states.clone());
        checkpoint.best = states;
        checkpoint.header.fit = Some(Position {
            epoch: 1,
            batch: 2,
            n_examples: 30,
            train: LoaderState { seed: u64::MAX, epoch: 1, batch: 2, n_batches: 5, n_examples: 70 },
            valid: None,
            epochs: vec![EpochHeader { epoch: 0, step: 5, n_examples: 70, names: vec!["odd \"name\"".to_string()] }],
        });
        checkpoint.numbers.insert("history".to_string(), vec![0.1, f64::INFINITY, f64::NAN, -0.0]);
        checkpoint
    }

    #[test]
    fn what_is_saved_is_loaded() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let path = dir.path().join("a.safetensors");
        let checkpoint = sample();
        checkpoint.save(&path).expect("saved");
        let loaded = Checkpoint::load(&path).expect("sound");
        assert_eq!(loaded.header, checkpoint.header);
        assert_eq!((&loaded.best, loaded.states.len()), (&checkpoint.best, 2));
        let bits = |values: &[f64]| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(&loaded.numbers["history"]), bits(&checkpoint.numbers["history"]));
    }

    #[test]
    fn damage_is_noticed_wherever_it_is() {
        let bytes = sample().to_file().to_bytes();
        let read = |bytes: &[u8]| {
            WeightFile::from_bytes(bytes, "c").and_then(|file| Checkpoint::from_file(file, "c".to_string()))
        };
        assert!(read(&bytes).is_ok());
        let text_end = 8 + u64::from_le_bytes(bytes[..8].try_into().expect("eight bytes")) as usize;
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 0x10;
            let outcome = read(&damaged);
            // In the text, a changed space or letter case of the file's own format may mean the same.
            assert!(outcome.is_err() || at < text_end, "byte {at}");
            if let Ok(found) = outcome {
                assert_eq!(found.header, sample().header, "byte {at}");
            }
        }
        for len in 0..bytes.len() {
            assert!(read(&bytes[..len]).is_err());
        }
        let other = WeightFile { tensors: sample().states, ..WeightFile::default() };
        let fault = read(&other.to_bytes()).expect_err("no checkpoint").to_string();
        assert_eq!(fault, "c: the file's format is ``, expected `nnc.checkpoint`");
    }
}
