//! What namespaces and keys may be, and which namespaces a list wants.

use super::{ItemsError, Result};
use crate::rows::Namespace;

/// Stands for any label.
pub(super) const ANY: &str = "*";
/// LangGraph keeps it for itself.
const RESERVED: &str = "langgraph";
/// A namespace and a key together: servers bound the names of rows.
const NAME_BYTES_MAX: usize = 8 * 1024;

/// Of what is put.
pub(super) fn check_namespace(labels: &[String]) -> Result<()> {
    check_labels(labels)?;
    match labels.first() {
        None => refused("namespace: can't be empty; give at least one label".into()),
        Some(first) if first == RESERVED => refused(format!("namespace: the first label can't be `{RESERVED}`")),
        Some(_) => Ok(()),
    }
}

pub(super) fn check_labels(labels: &[String]) -> Result<()> {
    for label in labels {
        if label.is_empty() {
            return refused("namespace: labels can't be empty".into());
        }
        if let Some(no) = ['.', '\0'].into_iter().find(|no| label.contains(*no)) {
            return refused(format!("namespace: the label {label:?} can't contain {no:?}"));
        }
    }
    Ok(())
}

pub(super) fn check_item(namespace: &[String], key: &str) -> Result<()> {
    let bytes = namespace.iter().map(String::len).sum::<usize>() + key.len();
    if bytes > NAME_BYTES_MAX {
        let says =
            format!("namespace and key have {bytes} bytes, and {NAME_BYTES_MAX} are the most: put text into the value");
        return refused(says);
    }
    Ok(())
}

pub(super) fn fits(namespace: &Namespace, prefix: &[String], suffix: &[String]) -> bool {
    let same = |label: &String, wanted: &String| wanted == ANY || label == wanted;
    namespace.len() >= prefix.len().max(suffix.len())
        && namespace.iter().zip(prefix).all(|(label, wanted)| same(label, wanted))
        && namespace.iter().rev().zip(suffix.iter().rev()).all(|(label, wanted)| same(label, wanted))
}

fn refused(says: String) -> Result<()> {
    Err(ItemsError::Refused(says))
}
