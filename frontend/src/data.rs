//! Data sets, loaders and readers.
