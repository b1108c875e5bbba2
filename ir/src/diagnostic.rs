//! Places and diagnostics.
//!
//! Every node knows where it came from; every error names a place, what was found and what was expected.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// Where a node came from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Location {
    /// Source file: a Rust file for traced models, an `.ir` or `.onnx` file for parsed ones.
    pub file: Option<Arc<str>>,
    /// Line in `file`, from 1; 0 when unknown.
    pub line: u32,
    /// Column in `line`, from 1, counted in characters; 0 when unknown.
    pub column: u32,
    /// Path of the module that was being traced, for example `encoder.layers.0.self_attn`.
    pub scope: Option<Arc<str>>,
}

impl Location {
    /// No known place.
    pub fn unknown() -> Self {
        Self::default()
    }

    /// A place in a file.
    pub fn at(file: impl Into<Arc<str>>, line: u32, column: u32) -> Self {
        Self { file: Some(file.into()), line, column, scope: None }
    }

    /// The same place inside module path `scope`.
    pub fn in_scope(mut self, scope: Option<Arc<str>>) -> Self {
        self.scope = scope;
        self
    }

    /// Whether nothing is known.
    pub fn is_unknown(&self) -> bool {
        self.file.is_none() && self.line == 0 && self.scope.is_none()
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.file, self.line) {
            (Some(file), 0) => write!(f, "{file}")?,
            (Some(file), line) => write!(f, "{file}:{line}:{}", self.column)?,
            (None, 0) => f.write_str("unknown location")?,
            (None, line) => write!(f, "line {line}:{}", self.column)?,
        }
        match &self.scope {
            Some(scope) => write!(f, " (in {scope})"),
            None => Ok(()),
        }
    }
}

/// One fault in the input, with its place. Messages are lower case without a full stop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// What is wrong: what was found and what was expected.
    pub message: String,
    /// Where.
    pub location: Location,
    /// Further places or hints: `(place, text)`.
    pub notes: Vec<(Option<Location>, String)>,
}

impl Diagnostic {
    /// A diagnostic at `location`.
    pub fn new(location: Location, message: impl Into<String>) -> Self {
        Self { message: message.into(), location, notes: Vec::new() }
    }

    /// Adds a further place that explains the fault.
    pub fn note_at(mut self, location: Location, text: impl Into<String>) -> Self {
        self.notes.push((Some(location), text.into()));
        self
    }

    /// Adds a hint without a place.
    pub fn note(mut self, text: impl Into<String>) -> Self {
        self.notes.push((None, text.into()));
        self
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.location.is_unknown() {
            write!(f, "{}: ", self.location)?;
        }
        f.write_str(&self.message)?;
        for (location, text) in &self.notes {
            match location {
                Some(location) => write!(f, "\n  note: {location}: {text}")?,
                None => write!(f, "\n  note: {text}")?,
            }
        }
        Ok(())
    }
}

impl std::error::Error for Diagnostic {}
