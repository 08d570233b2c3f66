//! x
pub mod cut;
pub mod tree;
