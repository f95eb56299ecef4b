//! LangGraph's semantics as cases: their form, the small language of their nodes, and how an outcome is held against what the
//! real library did. For tests alone; the product knows nothing of it.

pub mod case;
pub mod client;
pub mod program;
pub mod worker;

pub mod compare;
pub mod random;
pub mod tally;

pub mod fold;
pub mod stream;
