//! Modules in files: text with its weights beside it, or binary.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use indexmap::IndexMap;

use crate::binary;
use crate::diagnostic::{Diagnostic, Location};
use crate::graph::Graph;
use crate::literal::{Constant, TensorData};
use crate::module::Module;
use crate::ops::Op;
use crate::parse::{WeightSource, parse_module};
use crate::weights::{WeightFile, file_fault, write_atomically};

/// Extension of binary modules.
pub const BINARY_EXTENSION: &str = "irb";
/// Dense constants of more elements than this go to the weights when a module is saved as text.
pub const MAX_INLINE_ELEMENTS: usize = 64;

/// The `.safetensors` file that belongs to the text at `path`.
pub fn weights_path(path: &Path) -> PathBuf {
    path.with_extension("safetensors")
}

/// Loads and verifies a module: text (with the `.safetensors` beside it, if there is one) or binary, told apart by
/// content.
///
/// # Errors
/// Every fault of the file that is read first to have one, and of the module.
pub fn load_module(path: &Path) -> Result<Module, Vec<Diagnostic>> {
    let bytes =
        std::fs::read(path).map_err(|error| vec![file_fault(path, format!("cannot read the file: {error}"))])?;
    let place = path.display().to_string();
    let module = if binary::is_binary(&bytes) {
        binary::from_bytes(&bytes, &place).map_err(|fault| vec![fault])?
    } else {
        let text = as_text(&bytes, &place).map_err(|fault| vec![fault])?;
        let weights_path = weights_path(path);
        let weights_place = weights_path.display().to_string();
        let weights = if weights_path.exists() {
            let file = WeightFile::read(&weights_path).map_err(|fault| vec![fault])?;
            WeightSource::file(file.tensors, weights_place)
        } else {
            WeightSource::missing_file(weights_place)
        };
        parse_module(text, &place, weights)?
    };
    module.verify()?;
    Ok(module)
}

/// The text in `bytes`, or the place of the first byte that is none.
fn as_text<'a>(bytes: &'a [u8], place: &str) -> Result<&'a str, Diagnostic> {
    std::str::from_utf8(bytes).map_err(|error| {
        let before = String::from_utf8_lossy(&bytes[..error.valid_up_to()]);
        let line = before.matches('\n').count() as u32 + 1;
        let column = before.chars().rev().take_while(|&c| c != '\n').count() as u32 + 1;
        let byte = bytes[error.valid_up_to()];
        Diagnostic::new(Location::at(place, line, column), format!("byte {byte:#04x} is not UTF-8 text"))
    })
}

/// Saves a module: binary if the extension is [`BINARY_EXTENSION`], else text, with all weights in the `.safetensors`
/// beside it (none is written if there are no weights). Dense constants of more than [`MAX_INLINE_ELEMENTS`] elements
/// become weights. Each file is replaced in one step, the text last.
///
/// # Errors
/// If a file cannot be written, or constants of one name differ.
pub fn save_module(path: &Path, module: &Module) -> Result<(), Diagnostic> {
    if path.extension().is_some_and(|extension| extension == BINARY_EXTENSION) {
        let bytes = binary::to_bytes(module)?;
        return write_atomically(path, |file| file.write_all(&bytes));
    }
    let module = with_named_constants(module)?;
    if !module.weights.is_empty() {
        let metadata = [("format".to_string(), "nnc".to_string())].into();
        WeightFile { tensors: module.weights.clone(), metadata }.write(&weights_path(path))?;
    }
    let text = module.to_string();
    write_atomically(path, |file| file.write_all(text.as_bytes()))
}

/// The module with every long constant named, and every named constant among the weights.
fn with_named_constants(module: &Module) -> Result<Module, Diagnostic> {
    let mut module = module.clone();
    let mut naming = Naming { taken: HashSet::new(), next: 0, weights: std::mem::take(&mut module.weights) };
    naming.taken.extend(naming.weights.keys().cloned());
    for func in &mut module.funcs {
        func.graph.for_each_op_mut(&mut |op| {
            if let Op::Constant(Constant::Dense { name: Some(name), .. }) = op {
                naming.taken.insert(name.clone());
            }
        });
    }
    let mut faults = Vec::new();
    for func in &mut module.funcs {
        naming.name_constants(&mut func.graph, &mut faults);
    }
    module.weights = naming.weights;
    match faults.into_iter().next() {
        Some(fault) => Err(fault),
        None => Ok(module),
    }
}

/// Gives names to constants.
struct Naming {
    taken: HashSet<Arc<str>>,
    next: usize,
    weights: IndexMap<Arc<str>, TensorData>,
}

impl Naming {
    fn name_constants(&mut self, graph: &mut Graph, faults: &mut Vec<Diagnostic>) {
        graph.for_each_op_mut(&mut |op| {
            let Op::Constant(Constant::Dense { data, name }) = op else { return };
            if name.is_none() && data.len() > MAX_INLINE_ELEMENTS {
                *name = Some(self.fresh());
            }
            let Some(name) = name else { return };
            match self.weights.get(name) {
                Some(weight) if weight != data => faults.push(Diagnostic::new(
                    Location::unknown(),
                    format!("constant: the elements differ from those of weight @{name}"),
                )),
                Some(_) => {}
                None => {
                    self.weights.insert(name.clone(), data.clone());
                }
            }
        });
    }

    fn fresh(&mut self) -> Arc<str> {
        loop {
            let name: Arc<str> = format!("constant.{}", self.next).into();
            self.next += 1;
            if self.taken.insert(name.clone()) {
                return name;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::builder::Builder;
    use crate::module::{Func, FuncResult};

    /// A module with a long constant in a region, one outside, and a weight.
    fn sample() -> Module {
        let long = |from: i64| TensorData::from_i64(vec![100], &(from..from + 100).collect::<Vec<_>>());
        let mut region = Graph::new();
        let inner = Builder::new(&mut region, Location::unknown()).tensor(long(0)).expect("no rule");
        region.set_results(vec![inner]);
        let mut graph = Graph::new();
        let mut b = Builder::new(&mut graph, Location::unknown());
        let fused = b.fusion(crate::ops::FusionKind::Pointwise, &[], region).expect("fits")[0];
        let outer = b.tensor(long(1)).expect("no rule");
        let taken = b.weight("constant.0", long(2)).expect("no rule");
        let sum = b.add(fused, outer).expect("fits");
        let sum = b.add(sum, taken).expect("fits");
        graph.set_results(vec![sum]);
        let results = vec![FuncResult { name: "sum".to_string(), donates: None }];
        Module {
            funcs: vec![Func { name: "f".to_string(), params: Vec::new(), results, graph }],
            weights: IndexMap::from([("other".into(), long(3))]),
        }
    }

    #[test]
    fn text_keeps_long_constants_beside_it() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("model.ir");
        save_module(&path, &sample()).expect("saved");
        let text = std::fs::read_to_string(&path).expect("written");
        for name in ["constant @constant.0", "constant @constant.1", "constant @constant.2"] {
            assert!(text.contains(name), "{name} in\n{text}");
        }
        let loaded = load_module(&path).expect("sound");
        assert_eq!(loaded.weights.len(), 4);
        assert_eq!(loaded.to_string(), text);
        save_module(&path, &loaded).expect("saved");
        assert_eq!(load_module(&path), Ok(loaded), "saving what was loaded changes nothing");

        std::fs::remove_file(weights_path(&path)).expect("removed");
        let faults = load_module(&path).expect_err("no weights");
        assert_eq!(faults.len(), 3);
        assert!(faults[0].message.contains("does not exist"), "{}", faults[0]);
    }

    #[test]
    fn binary_holds_everything() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("model.irb");
        save_module(&path, &sample()).expect("saved");
        assert_eq!(load_module(&path), Ok(sample()));
        assert_eq!(std::fs::read_dir(dir.path()).expect("listed").count(), 1);
    }

    #[test]
    fn names_must_not_clash() {
        let mut module = sample();
        module.weights.insert("constant.0".into(), TensorData::from_i64(vec![1], &[1]));
        let dir = tempfile::tempdir().expect("a temporary directory");
        let fault = save_module(&dir.path().join("model.ir"), &module).expect_err("two weights of one name");
        assert_eq!(fault.message, "constant: the elements differ from those of weight @constant.0");
    }

    #[test]
    fn what_is_no_text_has_a_place() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("model.ir");
        std::fs::write(&path, b"// fine\n// \xc3\xa9 \xff").expect("written");
        let faults = load_module(&path).expect_err("not UTF-8");
        assert!(faults[0].to_string().ends_with("model.ir:2:6: byte 0xff is not UTF-8 text"), "{}", faults[0]);
    }
}
