//! No text makes reading panic, hang or overflow: random bytes, and examples with lines and words moved about.

use std::{path::Path, sync::LazyLock};

use graph::{
    file::{DIAGNOSTICS_MAX, Severity, read, read_bytes},
    mermaid::mermaid,
};
use proptest::prelude::*;

static EXAMPLES: LazyLock<Vec<String>> = LazyLock::new(examples);

/// Every example, good and bad.
fn examples() -> Vec<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples");
    let mut texts = Vec::new();
    for folder in [root.clone(), root.join("bad")] {
        let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.retain(|path| path.extension().is_some_and(|extension| extension == "yaml"));
        files.sort();
        texts.extend(files.iter().map(|path| std::fs::read_to_string(path).unwrap()));
    }
    texts
}

/// What a reader promises of any text.
fn check(text: &str) {
    let checked = read(text, None);
    assert!(checked.diagnostics.len() <= DIAGNOSTICS_MAX);
    let errors = checked.diagnostics.iter().any(|diagnostic| diagnostic.severity == Severity::Error);
    assert_eq!(checked.spec.is_none(), errors, "a spec, or a reason why there is none");
    // YAML breaks lines at a bare CR too.
    let lines = text.matches(['\n', '\r']).count() + 2;
    for diagnostic in &checked.diagnostics {
        assert!((1..=lines).contains(&diagnostic.line), "{diagnostic}");
        assert!(diagnostic.column >= 1 && !diagnostic.message.is_empty(), "{diagnostic}");
    }
    if let Some(spec) = checked.spec {
        mermaid(&spec, &checked.subgraphs);
        let again: graph::spec::GraphSpec = serde_json::from_slice(&spec.canonical()).unwrap();
        assert_eq!(again.hash(), spec.hash());
    }
}

/// One change of a text: what, where, and with what.
#[derive(Clone, Debug)]
enum Change {
    DropLine(prop::sample::Index),
    RepeatLine(prop::sample::Index),
    SwapLines(prop::sample::Index, prop::sample::Index),
    Indent(prop::sample::Index, usize),
    DropWord(prop::sample::Index),
    ReplaceWord(prop::sample::Index, prop::sample::Index),
    Insert(prop::sample::Index, String),
    Cut(prop::sample::Index),
}

const ODD: [&str; 40] = [
    "{",
    "}",
    "[",
    "]",
    "\"",
    "'",
    ": ",
    "- ",
    "->",
    "&",
    "*",
    "&a",
    "*a",
    "!",
    "|",
    ">",
    "#",
    "%",
    "@",
    "`",
    "\t",
    "\n",
    "\u{0}",
    "\u{feff}",
    "é",
    "🦀",
    "{{",
    "}}",
    "{%",
    "state.",
    "START",
    "END",
    "null",
    "~",
    "1e999",
    "-0",
    ".inf",
    "9223372036854775808",
    "---",
    "? ",
];

fn change() -> impl Strategy<Value = Change> {
    let index = any::<prop::sample::Index>;
    prop_oneof![
        index().prop_map(Change::DropLine),
        index().prop_map(Change::RepeatLine),
        (index(), index()).prop_map(|(one, other)| Change::SwapLines(one, other)),
        (index(), 0..12usize).prop_map(|(line, spaces)| Change::Indent(line, spaces)),
        index().prop_map(Change::DropWord),
        (index(), index()).prop_map(|(one, other)| Change::ReplaceWord(one, other)),
        (index(), prop::sample::select(ODD.to_vec())).prop_map(|(at, odd)| Change::Insert(at, odd.to_owned())),
        (index(), "\\PC{0,6}").prop_map(|(at, odd)| Change::Insert(at, odd)),
        index().prop_map(Change::Cut),
    ]
}

fn apply(text: &str, change: &Change) -> String {
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let mut words: Vec<String> = text.split_inclusive([' ', '\n', ',', ':', '.']).map(str::to_owned).collect();
    if lines.is_empty() || words.is_empty() {
        return text.to_owned();
    }
    match change {
        Change::DropLine(at) => drop(lines.remove(at.index(lines.len()))),
        Change::RepeatLine(at) => {
            let at = at.index(lines.len());
            lines.insert(at, lines[at].clone());
        }
        Change::SwapLines(one, other) => {
            let (one, other) = (one.index(lines.len()), other.index(lines.len()));
            lines.swap(one, other);
        }
        Change::Indent(at, spaces) => {
            let at = at.index(lines.len());
            lines[at] = format!("{}{}", " ".repeat(*spaces), lines[at].trim_start());
        }
        Change::DropWord(at) => {
            words.remove(at.index(words.len()));
            return words.concat();
        }
        Change::ReplaceWord(one, other) => {
            let (one, other) = (one.index(words.len()), other.index(words.len()));
            words[one] = words[other].clone();
            return words.concat();
        }
        Change::Insert(at, odd) => {
            let at = text.floor_char_boundary(at.index(text.len() + 1));
            return format!("{}{odd}{}", &text[..at], &text[at..]);
        }
        Change::Cut(at) => return text[..text.floor_char_boundary(at.index(text.len() + 1))].to_owned(),
    }
    lines.join("\n")
}

#[test]
fn no_example_breaks_a_promise() {
    for text in EXAMPLES.iter() {
        check(text);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn changed_examples_break_no_promise(
        example in any::<prop::sample::Index>(),
        changes in prop::collection::vec(change(), 1..6),
    ) {
        let text = changes.iter().fold(example.get(&EXAMPLES).clone(), |text, change| apply(&text, change));
        check(&text);
    }

    #[test]
    fn random_bytes_break_no_promise(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        read_bytes(&bytes, None);
        check(&String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn random_texts_of_yaml_break_no_promise(parts in prop::collection::vec(prop::sample::select(ODD.to_vec()), 0..80)) {
        check(&parts.concat());
    }

    #[test]
    fn random_expressions_break_no_promise(
        parts in prop::collection::vec(
            prop::sample::select(vec![
                "state", ".x", "['x']", "(", ")", "[", "]", "{", "}", " + ", " == ", " && ", "!", "-", "1", "'a'", "1.5",
                ".map(", "a, ", "a", ".filter(", "has(", "last(", "size(", " ? ", " : ", ", ", " in ", "null", "b'x'", "answer.text", ".exists(",
            ]),
            0..30,
        ),
    ) {
        let cel = parts.concat().replace('\'', "''");
        check(&format!(
            "version: 1\nname: f\nstate: {{x: {{type: array, items: string}}}}\nnodes:\n  a: {{kind: transform, update: {{x: '{cel}'}}}}\nedges: [START -> a, a -> END]\n"
        ));
    }
}

/// `FUZZ_CASES` runs longer than every test run should.
fn cases() -> u32 {
    std::env::var("FUZZ_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(300)
}
