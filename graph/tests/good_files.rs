//! The examples that ship: each is read without a word.

use std::path::{Path, PathBuf};

fn examples() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples");
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    // Cases stand beside them.
    files.retain(|path| path.extension().is_some_and(|extension| extension == "yaml"));
    files.retain(|path| !path.to_string_lossy().ends_with(".test.yaml"));
    files.sort();
    assert!(files.len() >= 4, "{files:?}");
    files
}

#[test]
fn good_examples_have_no_diagnostics() {
    for path in examples() {
        let text = std::fs::read_to_string(&path).unwrap();
        let checked = graph::file::read(&text, Some(&["default".to_owned()]));
        assert_eq!(checked.report(&path.display().to_string()), "");
        let spec = checked.spec.unwrap();
        assert_eq!(spec.name, path.file_stem().unwrap().to_string_lossy());
        let again: graph::spec::GraphSpec = serde_json::from_slice(&spec.canonical()).unwrap();
        assert_eq!((again.hash(), &again), (spec.hash(), &spec));
    }
}
