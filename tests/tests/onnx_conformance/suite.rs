//! The cases as files: `KIND/CASE/{model.onnx, tolerance, test_data_set_K/{input,output}_I.pb}`.

use std::path::{Path, PathBuf};

use nnc_onnx::proto::{GraphProto, ModelProto, TypeProto, ValueInfoProto, type_proto};
use nnc_onnx::values::{FileValue, read_value};
use prost::Message;

/// One case.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    /// `node/test_abs`.
    pub(crate) name: String,
    /// Where its files lie.
    pub(crate) folder: PathBuf,
}

/// Inputs of a model and the outputs it shall give, in the model's order.
#[derive(Debug)]
pub(crate) struct DataSet {
    pub(crate) inputs: Vec<(String, FileValue)>,
    pub(crate) outputs: Vec<(String, FileValue)>,
}

/// The cases in a folder, by name. With filters, those whose names contain one of them.
pub(crate) fn find(folder: &Path, filters: &[String]) -> Result<Vec<Case>, String> {
    let mut cases = Vec::new();
    for kind in entries(folder)?.into_iter().filter(|kind| kind.is_dir()) {
        for folder in entries(&kind)? {
            if !folder.join("model.onnx").exists() {
                continue;
            }
            let name = format!("{}/{}", file_name(&kind), file_name(&folder));
            if filters.is_empty() || filters.iter().any(|filter| name.contains(filter)) {
                cases.push(Case { name, folder });
            }
        }
    }
    if cases.is_empty() {
        return Err(format!(
            "{}: there is no case{}",
            folder.display(),
            if filters.is_empty() { "" } else { " of that name" }
        ));
    }
    Ok(cases)
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// What a folder holds, by name.
fn entries(folder: &Path) -> Result<Vec<PathBuf>, String> {
    let fault = |error: std::io::Error| format!("{}: {error}", folder.display());
    let mut paths: Vec<PathBuf> = std::fs::read_dir(folder)
        .map_err(fault)?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<_, _>>()
        .map_err(fault)?;
    paths.sort();
    Ok(paths)
}

impl Case {
    pub(crate) fn model_path(&self) -> PathBuf {
        self.folder.join("model.onnx")
    }

    pub(crate) fn model(&self) -> Result<ModelProto, String> {
        let bytes = std::fs::read(self.model_path()).map_err(|error| error.to_string())?;
        ModelProto::decode(bytes.as_slice()).map_err(|error| error.to_string())
    }

    /// How far an output may be from the expected one: relative to its size, and absolutely.
    pub(crate) fn tolerance(&self) -> (f64, f64) {
        let text = std::fs::read_to_string(self.folder.join("tolerance")).unwrap_or_default();
        let mut numbers = text.split_whitespace().filter_map(|word| word.parse().ok());
        (numbers.next().unwrap_or(1e-3), numbers.next().unwrap_or(1e-7))
    }

    pub(crate) fn data_sets(&self, model: &ModelProto) -> Result<Vec<DataSet>, String> {
        let graph = model.graph.as_ref().ok_or("the model has no graph")?;
        let mut sets = Vec::new();
        for folder in entries(&self.folder)?.into_iter().filter(|path| path.is_dir()) {
            let read = |kind: &str, infos: &[&ValueInfoProto]| {
                let mut values = Vec::new();
                for (idx, info) in infos.iter().enumerate() {
                    let path = folder.join(format!("{kind}_{idx}.pb"));
                    if !path.exists() {
                        continue;
                    }
                    let bytes = std::fs::read(&path).map_err(|error| error.to_string())?;
                    let value =
                        read_value(&bytes, info.r#type.as_ref()).map_err(|fault| format!("{kind} {idx}: {fault}"))?;
                    values.push((info.name.clone().unwrap_or_default(), value));
                }
                Ok::<_, String>(values)
            };
            // Older models list their constants among the inputs.
            let is_constant = |info: &&ValueInfoProto| graph.initializer.iter().any(|tensor| tensor.name == info.name);
            let inputs: Vec<&ValueInfoProto> = graph.input.iter().filter(|info| !is_constant(info)).collect();
            let outputs: Vec<&ValueInfoProto> = graph.output.iter().collect();
            sets.push(DataSet { inputs: read("input", &inputs)?, outputs: read("output", &outputs)? });
        }
        Ok(sets)
    }
}

/// The operator a case is about. Most models are one node; of others the one whose name the case has, and where there is
/// none (an operator written out as its defining function) the one of the case it was made from.
pub(crate) fn operator(case: &Case, model: &ModelProto) -> String {
    let operators = |graph: &GraphProto| -> Vec<String> {
        let mut names = Vec::new();
        for node in &graph.node {
            let domain = node.domain.as_deref().unwrap_or_default();
            let op = node.op_type.clone().unwrap_or_default();
            let name = if domain.is_empty() || domain == "ai.onnx" { op } else { format!("{domain}.{op}") };
            if !names.contains(&name) {
                names.push(name);
            }
        }
        names
    };
    let kind = case.name.split('/').next().unwrap_or_default();
    if kind != "node" {
        return format!("({kind})");
    }
    if let Some((base, _)) = case.name.split_once("_expanded")
        && let Some(base) = base.strip_prefix("node/")
        && let Some(folder) = case.folder.parent()
        && let base = (Case { name: format!("node/{base}"), folder: folder.join(base) })
        && let Ok(model) = base.model()
    {
        return operator(&base, &model);
    }
    let names = model.graph.as_ref().map(operators).unwrap_or_default();
    let squash = |text: &str| text.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_lowercase();
    let title = squash(case.name.trim_start_matches("node/test_"));
    let plain = |name: &str| squash(name.rsplit('.').next().unwrap_or_default());
    let named = names.iter().filter(|name| title.starts_with(&plain(name))).max_by_key(|name| name.len());
    named.or(names.first()).cloned().unwrap_or_else(|| "(none)".to_string())
}

/// Whether a type holds tensors of strings, at any depth.
pub(crate) fn has_strings(ty: Option<&TypeProto>) -> bool {
    const STRING: i32 = 8;
    match ty.and_then(|ty| ty.value.as_ref()) {
        Some(type_proto::Value::TensorType(tensor) | type_proto::Value::SparseTensorType(tensor)) => {
            tensor.elem_type == Some(STRING)
        }
        Some(type_proto::Value::SequenceType(element) | type_proto::Value::OptionalType(element)) => {
            has_strings(element.elem_type.as_deref())
        }
        Some(type_proto::Value::MapType(map)) => map.key_type == Some(STRING) || has_strings(map.value_type.as_deref()),
        None => false,
    }
}
