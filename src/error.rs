//! What can go wrong between a model and its results.

use std::fmt;

use nnc_codegen::assemble;
use nnc_frontend::trace::TraceError;
use nnc_ir::{Diagnostic, Location};
use nnc_onnx::ImportError;

/// An error of the driver.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// Faults of the input, each with its place.
    Diagnostics(Vec<Diagnostic>),
    /// An ONNX model that cannot be imported as it was asked for.
    Import(ImportError),
    /// The compiler's back end.
    Codegen(assemble::Error),
    /// Loading or running a program.
    Runtime(nnc_runtime::Error),
}

impl Error {
    /// A fault without a place.
    pub fn message(message: impl Into<String>) -> Self {
        Self::Diagnostics(vec![Diagnostic::new(Location::unknown(), message)])
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Diagnostics(diagnostics) => {
                for (idx, diagnostic) in diagnostics.iter().enumerate() {
                    if idx > 0 {
                        f.write_str("\n")?;
                    }
                    write!(f, "{diagnostic}")?;
                }
                Ok(())
            }
            Self::Import(error) => error.fmt(f),
            Self::Codegen(error) => error.fmt(f),
            Self::Runtime(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Diagnostics(_) | Self::Import(_) | Self::Codegen(_) => None,
            Self::Runtime(error) => error.source(),
        }
    }
}

impl From<Diagnostic> for Error {
    fn from(diagnostic: Diagnostic) -> Self {
        Self::Diagnostics(vec![diagnostic])
    }
}

impl From<Vec<Diagnostic>> for Error {
    fn from(diagnostics: Vec<Diagnostic>) -> Self {
        Self::Diagnostics(diagnostics)
    }
}

impl From<TraceError> for Error {
    fn from(error: TraceError) -> Self {
        Self::Diagnostics(error.diagnostics)
    }
}

impl From<ImportError> for Error {
    fn from(error: ImportError) -> Self {
        Self::Import(error)
    }
}

impl From<assemble::Error> for Error {
    fn from(error: assemble::Error) -> Self {
        match error {
            assemble::Error::Lower(diagnostic) => diagnostic.into(),
            other => Self::Codegen(other),
        }
    }
}

impl From<nnc_runtime::Error> for Error {
    fn from(error: nnc_runtime::Error) -> Self {
        Self::Runtime(error)
    }
}
