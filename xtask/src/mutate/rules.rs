//! The rules of `graph` that can be undone: what stands in the source, and what stands in its place, where `undone("…")` is
//! true while the rule of that name is.

mod runs;
mod steps;
mod threads;
mod work;

pub struct Patch {
    /// Below `graph/src`.
    pub file: &'static str,
    /// Stands there once.
    pub from: &'static str,
    pub to: &'static str,
}

const fn patch(file: &'static str, from: &'static str, to: &'static str) -> Patch {
    Patch { file, from, to }
}

/// Every patch, in the order in which they are tried.
pub fn patches() -> impl Iterator<Item = &'static Patch> {
    steps::PATCHES.iter().chain(runs::PATCHES).chain(threads::PATCHES).chain(work::PATCHES)
}
