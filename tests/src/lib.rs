//! What the test suites of nnc share.

pub mod golden;
