//! What `advance` does with the events of runs: requests, results, timers and ends, in the order in which they come,
//! and in any other.

mod copies;
mod delays;
mod edits;
mod edits_ask;
mod edits_inside;
mod ends;
mod exit;
mod expiry;
mod interrupts;
mod lost;
mod multitask;
mod programs;
mod properties;
mod prunes;
mod remembers;
mod requests;
mod retries;
mod rig;
mod steps;
mod tasks;
