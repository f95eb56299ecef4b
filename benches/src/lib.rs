//! What the benches share: a server as a real process, a load generator that costs little, and how figures are printed.

pub mod figures;
pub mod load;
pub mod server;
