//! `millstream classifier train|try`, and the classifiers that the configuration names.

use std::{collections::BTreeMap, fs, path::Path, process::ExitCode};

use anyhow::{Context, bail};
use node_workers::classifier::{Classifier, HeldOut, Labelled, Report, labelled, train};
use tokio::time::Instant;

use crate::{cli::ClassifierCommand, config::Config};

/// A file with more mistakes than that needs another look than line by line.
const MISTAKES_SHOWN: usize = 20;
/// Texts that are looked at to tell how long one takes.
const TIMED: usize = 2_000;

/// Those of the configuration, each read whole: what can't be used ends the start.
pub fn configured(config: &Config) -> anyhow::Result<BTreeMap<String, Classifier>> {
    let mut classifiers = BTreeMap::new();
    for (name, of) in &config.classifiers {
        let classifier = read(&of.file).with_context(|| format!("[classifiers.{name}] can't be used"))?;
        classifiers.insert(name.clone(), classifier);
    }
    Ok(classifiers)
}

/// Fails where the labelled file has mistakes.
pub fn classifier(command: ClassifierCommand) -> anyhow::Result<ExitCode> {
    match command {
        ClassifierCommand::Train { file, out, held_out } => {
            let text = fs::read_to_string(&file).with_context(|| format!("{} can't be read", file.display()))?;
            let Labelled { lines, repeated } = match labelled(&text) {
                Ok(labelled) => labelled,
                Err(mistakes) => {
                    for mistake in mistakes.iter().take(MISTAKES_SHOWN) {
                        eprintln!("{}: {mistake}", file.display());
                    }
                    if let Some(more) = mistakes.len().checked_sub(MISTAKES_SHOWN).filter(|more| *more > 0) {
                        eprintln!("and {more} more");
                    }
                    return Ok(ExitCode::FAILURE);
                }
            };
            let name = out.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            let (classifier, report) = train(&name, &lines, held_out);
            let bytes = classifier.to_bytes();
            fs::write(&out, &bytes).with_context(|| format!("{} can't be written", out.display()))?;
            if repeated > 0 {
                println!("{repeated} lines say again what one before them says: each text counts once");
            }
            println!("{}", shown(&classifier, &report));
            println!("{}: {} KiB, {}", out.display(), bytes.len() / 1024, pace(&classifier, &lines[0].text));
        }
        ClassifierCommand::Try { model, text } => {
            let classifier = read(&model)?;
            let scores = classifier.scores(&text);
            let mut labels: Vec<_> = classifier.labels().iter().zip(scores).collect();
            labels.sort_by(|(_, one), (_, other)| other.total_cmp(one));
            println!("{}", classifier.classify(&text).label);
            for (label, score) in labels {
                println!("{score:>7.3}  {label}");
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn read(file: &Path) -> anyhow::Result<Classifier> {
    let bytes = fs::read(file).with_context(|| {
        format!(
            "{} can't be read; `millstream classifier train FILE --out {}` makes it",
            file.display(),
            file.display()
        )
    })?;
    match Classifier::from_bytes(&bytes) {
        Ok(classifier) => Ok(classifier),
        Err(error) => bail!("{}: {error}", file.display()),
    }
}

/// How it does on lines that it never saw.
fn shown(classifier: &Classifier, report: &Report) -> String {
    let HeldOut { lines, right } = classifier.about.held_out;
    let labels = classifier.labels();
    let mut text = format!(
        "trained on {} lines; of {lines} that it never saw, {right} are right: {}\n\n",
        report.trained_on,
        percent(right, lines)
    );
    let width = labels.iter().map(|label| label.chars().count()).max().unwrap_or(0).max(9);
    let cell = |what: &str| format!("  {what:>width$}");
    text += &format!("{:width$}", "is \\ said");
    labels.iter().for_each(|label| text += &cell(label));
    text += &format!("{}{}\n", cell("precision"), cell("recall"));
    for (number, (label, said)) in labels.iter().zip(&report.confusion).enumerate() {
        text += &format!("{label:width$}");
        said.iter().for_each(|count| text += &cell(&count.to_string()));
        let claimed = report.confusion.iter().map(|said| said[number]).sum();
        let precision = percent(said[number], claimed);
        text += &format!("{}{}\n", cell(&precision), cell(&percent(said[number], said.iter().sum())));
    }
    text
}

fn percent(part: usize, of: usize) -> String {
    if of == 0 { "-".to_owned() } else { format!("{:.1} %", 100.0 * part as f64 / of as f64) }
}

fn pace(classifier: &Classifier, text: &str) -> String {
    let began = Instant::now();
    for _ in 0..TIMED {
        std::hint::black_box(classifier.classify(std::hint::black_box(text)));
    }
    let each = began.elapsed().as_secs_f64() / TIMED as f64;
    format!("{:.0} us for a text of {} characters", each * 1e6, text.chars().count())
}
