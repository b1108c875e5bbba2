//! Importing with the inputs in hand.
//!
//! Arrays for the inputs say more than the file does: the extents of symbolic dimensions, and the values on which shapes or
//! control flow depend. Values are used only where the import asks for them, so that whatever can stay an input does.

use std::collections::BTreeSet;
use std::path::Path;

use indexmap::IndexMap;
use nnc_ir::{Bindings, TensorData};

use crate::fault::ImportError;
use crate::import::{Imported, Options, import};

/// A model imported for given inputs.
#[derive(Clone, Debug)]
pub struct Given {
    /// The model.
    pub imported: Imported,
    /// Inputs that are fixed to the values given, in alphabetic order: they are no inputs of the imported module.
    pub fixed: Vec<String>,
}

/// Imports the model of a file for inputs like these: symbolic dimensions get the extents of `inputs`, and inputs on
/// whose values the import depends are fixed to them. `dims` are bound beside those.
///
/// # Errors
/// As for [`import`](crate::import()); what the values given do not help with.
pub fn import_given(path: &Path, dims: &Bindings, inputs: &IndexMap<String, TensorData>) -> Result<Given, ImportError> {
    let shapes = inputs.iter().map(|(name, data)| (name.clone(), data.shape.clone())).collect();
    let mut options = Options { dims: dims.clone(), shapes, ..Options::default() };
    loop {
        // Each round fixes at least one input more, so it ends.
        match import(path, &options) {
            Ok(imported) => return Ok(Given { imported, fixed: options.values.into_keys().collect() }),
            Err(error) => {
                let helps = |name: &&String| !options.values.contains_key(*name) && inputs.contains_key(*name);
                let more: BTreeSet<String> = error.needs.iter().filter(helps).cloned().collect();
                if more.is_empty() {
                    return Err(error);
                }
                options.values.extend(more.into_iter().map(|name| {
                    let data = inputs[&name].clone();
                    (name, data)
                }));
            }
        }
    }
}
