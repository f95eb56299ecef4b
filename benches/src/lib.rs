//! What the benches share: real processes, a load generator that costs little, the runs of P1, and how figures are printed.

pub mod deployment;
pub mod figures;
pub mod guards;
pub mod load;
pub mod options;
pub mod process;
pub mod three_nodes;
