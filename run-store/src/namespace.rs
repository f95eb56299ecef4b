//! Namespaces as the stores keep them: one text, in the order of the labels. Frozen.
//!
//! A mark, then each label and a mark behind it. So what begins with some labels lies in one span of the texts.

use crate::{error::StoreError, rows::Namespace, stored::corrupt};

const MARK: char = '\u{1}';
/// The character after the mark: what a span ends before.
const BEHIND_MARK: char = '\u{2}';
/// Within a label: the next character stands for one that is up to here.
const ESCAPE: char = '\u{2}';
const ESCAPED_BY: u32 = 3;

pub(crate) fn stored(labels: &[String]) -> String {
    let mut text = String::from(MARK);
    for label in labels {
        for character in label.chars() {
            match char::from_u32(u32::from(character) + ESCAPED_BY).filter(|_| character <= ESCAPE) {
                Some(escaped) => text.extend([ESCAPE, escaped]),
                None => text.push(character),
            }
        }
        text.push(MARK);
    }
    text
}

pub(crate) fn read(text: &str) -> Result<Namespace, StoreError> {
    let unreadable = || corrupt(format!("a namespace can't be read: {text:?}"));
    let labels = text.strip_prefix(MARK).and_then(|labels| labels.strip_suffix(MARK)).ok_or_else(unreadable)?;
    labels.split(MARK).map(|label| unescaped(label).ok_or_else(unreadable)).collect()
}

fn unescaped(label: &str) -> Option<String> {
    let mut characters = label.chars();
    let mut text = String::with_capacity(label.len());
    while let Some(character) = characters.next() {
        text.push(match character {
            ESCAPE => char::from_u32(u32::from(characters.next()?).checked_sub(ESCAPED_BY)?)?,
            other => other,
        });
    }
    Some(text)
}

/// The texts of all namespaces that begin with some labels: behind the first of the two and before the second.
pub(crate) fn span(prefix: &[String]) -> (String, String) {
    let mut from = stored(prefix);
    from.pop();
    let to = format!("{from}{BEHIND_MARK}");
    (from, to)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(labels: &[&str]) -> Namespace {
        labels.iter().map(|label| (*label).to_owned()).collect()
    }

    #[test]
    fn texts_are_in_the_order_of_labels() {
        let mut all = [
            labels(&["a"]),
            labels(&["a", "b"]),
            labels(&["a\0"]),
            labels(&["a\u{1}", "b"]),
            labels(&["a\u{2}"]),
            labels(&["a\u{3}"]),
            labels(&["a b"]),
            labels(&["ab"]),
            labels(&["é", ""]),
            labels(&["\u{10ffff}"]),
        ];
        all.sort();
        let texts: Vec<String> = all.iter().map(|labels| stored(labels)).collect();
        assert!(texts.is_sorted(), "{texts:?}");
        for (labels, text) in all.iter().zip(&texts) {
            assert_eq!(&read(text).unwrap(), labels);
        }
        for prefix in [labels(&[]), labels(&["a"]), labels(&["a", "b"]), labels(&["\u{10ffff}"])] {
            let (from, to) = span(&prefix);
            let within = texts.iter().filter(|text| **text > from && **text < to).count();
            assert_eq!(within, all.iter().filter(|labels| labels.starts_with(&prefix)).count(), "{prefix:?}");
        }
        for broken in ["", "\u{1}a", "a\u{1}", "\u{1}a\u{2}\u{1}", "\u{1}\u{2}\u{1}\u{1}"] {
            assert!(matches!(read(broken), Err(StoreError::Corrupt { .. })), "{broken:?}");
        }
    }
}
