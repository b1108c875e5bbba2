//! What the test suites of nnc share.

pub mod execute;
pub mod filetest;
pub mod finite;
pub mod golden;
pub mod layers;
pub mod models;
pub mod random;
