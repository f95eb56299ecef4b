//! Bad files, each with the exact text that it gets. `BLESS=1 cargo test -p graph --test bad_files` rewrites the texts.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use graph::file::{Code, read};

const MODELS: [&str; 1] = ["default"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn bad_files() -> Vec<PathBuf> {
    let folder = std::fs::read_dir(root().join("examples/bad")).unwrap();
    let mut files: Vec<PathBuf> = folder.map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "yaml"));
    files.sort();
    files
}

fn report(path: &Path) -> String {
    let models = MODELS.map(str::to_owned);
    let name = path.file_name().unwrap().to_string_lossy().into_owned();
    read(&std::fs::read_to_string(path).unwrap(), Some(&models)).report(&name)
}

/// `cel-type-2.yaml` shows `cel-type`.
fn code_of(path: &Path) -> String {
    let stem = path.file_stem().unwrap().to_string_lossy().into_owned();
    match stem.rsplit_once('-') {
        Some((code, number)) if number.chars().all(|char| char.is_ascii_digit()) => code.to_owned(),
        _ => stem,
    }
}

#[test]
fn each_gets_its_text() {
    let files = bad_files();
    assert!(files.len() >= 40, "only {} bad files", files.len());
    let bless = std::env::var_os("BLESS").is_some();
    let mut wrong = Vec::new();
    for path in files {
        let report = report(&path);
        let code = code_of(&path);
        if !report.contains(&format!("[{code}]")) {
            wrong.push(format!("{} does not show {code}:\n{report}", path.display()));
            continue;
        }
        let expected = path.with_extension("expected");
        if bless {
            std::fs::write(&expected, &report).unwrap();
        } else if std::fs::read_to_string(&expected).ok().as_deref() != Some(&report) {
            wrong.push(format!("{}\n{report}", path.display()));
        }
    }
    assert!(wrong.is_empty(), "not as expected (look at them, then run with BLESS=1):\n{}", wrong.join("\n"));
}

#[test]
fn each_diagnostic_says_what_to_do() {
    for path in bad_files() {
        let found = read(&std::fs::read_to_string(&path).unwrap(), None).diagnostics;
        assert!(found.iter().all(|diagnostic| diagnostic.hint.is_some()), "{}: {found:?}", path.display());
    }
}

#[test]
fn each_code_has_a_bad_file_and_a_page() {
    let shown: BTreeSet<String> = bad_files().iter().map(|path| code_of(path)).collect();
    let known: BTreeSet<String> = Code::ALL.iter().map(|code| code.to_string()).collect();
    assert_eq!(shown, known);
    let pages = std::fs::read_dir(root().join("docs/errors")).unwrap();
    let pages: BTreeSet<String> = pages
        .map(|entry| entry.unwrap().path().file_stem().unwrap().to_string_lossy().into_owned())
        .filter(|page| page != "README")
        .collect();
    assert_eq!(pages, known);
}

/// Every page shows a file that is bad in just this way, and one that is good.
#[test]
fn pages_tell_the_truth() {
    let models = MODELS.map(str::to_owned);
    let mut wrong = Vec::new();
    for code in Code::ALL {
        let page = std::fs::read_to_string(root().join(format!("docs/errors/{code}.md"))).unwrap();
        assert!(page.starts_with(&format!("# {code}\n")), "{code}");
        let blocks: Vec<&str> = page.split("```yaml\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
        let [bad, good] = blocks[..] else { panic!("{code}: {} blocks", blocks.len()) };
        let found = read(bad, Some(&models)).diagnostics;
        if !found.iter().any(|diagnostic| diagnostic.code == *code) {
            wrong.push(format!("{code}: the bad example is not bad"));
        }
        wrong.push(read(good, Some(&models)).report(&format!("the good example of {code}")));
    }
    assert_eq!(wrong.concat(), "");
}

#[test]
fn a_report_never_repeats_a_secret() {
    for path in bad_files().iter().filter(|path| code_of(path) == "secret-in-file") {
        let report = report(path);
        assert!(!["0123456789", "hunter2"].iter().any(|secret| report.contains(secret)), "{report}");
    }
}
