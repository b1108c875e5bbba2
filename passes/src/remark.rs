//! Remarks: what passes decided and why, for `nnc explain`.
//!
//! A pass that changes what will run, or declines to where a reader would expect it to, leaves a [`Remark`]. Remarks
//! are kept in the order in which decisions were made, which depends on the graph alone.

use std::fmt;

use nnc_ir::Location;

/// What a remark reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RemarkKind {
    /// An optimization was made.
    Made,
    /// An optimization that a reader might expect was not made; the message says why.
    Missed,
    /// A fact worth knowing that is neither.
    Note,
}

impl RemarkKind {
    /// The name in text and JSON output.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Made => "made",
            Self::Missed => "missed",
            Self::Note => "note",
        }
    }
}

/// One decision of a pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remark {
    /// Name of the pass.
    pub pass: &'static str,
    /// Made or missed.
    pub kind: RemarkKind,
    /// Where the node decided about came from.
    pub location: Location,
    /// What was decided and why, without a full stop.
    pub message: String,
    /// Bytes of memory traffic a run is spared (or, when missed, would have been spared).
    pub bytes_saved: u64,
}

impl fmt::Display for Remark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}): ", self.pass, self.kind.name())?;
        if !self.location.is_unknown() {
            write!(f, "{}: ", self.location)?;
        }
        f.write_str(&self.message)?;
        if self.bytes_saved > 0 {
            write!(f, " [{} bytes]", self.bytes_saved)?;
        }
        Ok(())
    }
}

/// The remarks of a run of passes, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Remarks {
    list: Vec<Remark>,
}

impl Remarks {
    /// No remarks.
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends a remark.
    pub fn push(&mut self, remark: Remark) {
        self.list.push(remark);
    }

    /// Reports an optimization.
    pub fn made(&mut self, pass: &'static str, location: &Location, message: impl Into<String>, bytes_saved: u64) {
        let (kind, location, message) = (RemarkKind::Made, location.clone(), message.into());
        self.push(Remark { pass, kind, location, message, bytes_saved });
    }

    /// Reports an optimization that was not made; `message` gives the reason.
    pub fn missed(&mut self, pass: &'static str, location: &Location, message: impl Into<String>, bytes_saved: u64) {
        let (kind, location, message) = (RemarkKind::Missed, location.clone(), message.into());
        self.push(Remark { pass, kind, location, message, bytes_saved });
    }

    /// Reports a fact.
    pub fn note(&mut self, pass: &'static str, location: &Location, message: impl Into<String>) {
        let (kind, location, message) = (RemarkKind::Note, location.clone(), message.into());
        self.push(Remark { pass, kind, location, message, bytes_saved: 0 });
    }

    /// All remarks in order.
    pub fn iter(&self) -> std::slice::Iter<'_, Remark> {
        self.list.iter()
    }

    /// Number of remarks.
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }
}

impl<'a> IntoIterator for &'a Remarks {
    type Item = &'a Remark;
    type IntoIter = std::slice::Iter<'a, Remark>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}
