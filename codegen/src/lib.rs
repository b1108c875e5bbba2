//! nnc.
