use super::{train::is_held_out, *};

const QUESTIONS: &str = include_str!("../../../examples/support-questions.jsonl");

fn example() -> Vec<Line> {
    labelled(QUESTIONS).expect("the example is whole").lines
}

#[test]
fn the_example_is_told_apart_on_lines_that_it_never_saw() {
    let lines = example();
    let (classifier, report) = train("difficulty", &lines, 0.2);
    let HeldOut { lines: held, right } = classifier.about.held_out;
    assert!(lines.len() >= 400 && held >= 80 && held + report.trained_on == lines.len(), "{held}");
    assert!(right as f64 >= 0.9 * held as f64, "{right} of {held}: {:?}", report.confusion);
    assert!(
        report.confusion.iter().enumerate().all(|(label, said)| said[label] * 10 >= 8 * said.iter().sum::<usize>())
    );
    // Length alone would do worse.
    let unseen = lines.iter().filter(|line| is_held_out(&line.text, 0.2));
    let by_length = unseen.filter(|line| (line.text.len() > 52) == (line.label == "hard")).count();
    assert!(right > by_length, "{right} against {by_length}");
}

#[test]
fn the_same_lines_give_the_same_classifier() {
    let mut lines = example();
    let first = train("difficulty", &lines, 0.2).0.to_bytes();
    lines.reverse();
    assert!(first == train("difficulty", &lines, 0.2).0.to_bytes());
}

#[test]
fn a_file_gives_the_classifier_back_or_says_why_not() {
    let lines = example();
    let (classifier, _) = train("difficulty", &lines, 0.2);
    let bytes = classifier.to_bytes();
    assert!(bytes.len() < 256 * 1024, "{}", bytes.len());
    assert!(Classifier::from_bytes(&bytes).expect("a classifier") == classifier);
    for length in (0..bytes.len()).step_by(997) {
        assert!(Classifier::from_bytes(&bytes[..length]).is_err(), "{length}");
    }
    let mut changed = bytes.clone();
    *changed.last_mut().expect("a weight") ^= 1;
    assert_eq!(Classifier::from_bytes(&changed), Err(NoClassifier::Damaged));
    assert_eq!(Classifier::from_bytes(b"text,label\n"), Err(NoClassifier::Foreign));
    assert_eq!(Classifier::from_bytes(b"{\"millstream_classifier\": 9}\n"), Err(NoClassifier::Version(9)));
}

/// One label for each of many texts, as JSON lines.
fn many(label: &str, count: usize) -> String {
    (0..count).map(|n| format!("{{\"text\": \"{label} number {n}\", \"label\": \"{label}\"}}\n")).collect()
}

#[test]
fn every_mistake_of_a_labelled_file_is_told() {
    let told = |file: &str| match labelled(file) {
        Ok(_) => panic!("nothing is wrong with it"),
        Err(mistakes) => mistakes.iter().map(ToString::to_string).collect::<Vec<_>>(),
    };
    let file = format!(
        "{}{}{{\"text\": \"a number 0\"}}\n{{\"text\": \" \", \"label\": \"a\"}}\n{{\"text\": \"A number 3 \", \"label\": \"b\"}}\n{}",
        many("a", 12),
        many("b", 10),
        many("c", 1)
    );
    let [missing, empty, both, few] = &told(&file)[..] else { panic!("{:?}", told(&file)) };
    assert!(
        missing.starts_with("line 23: missing field `label`") && missing.contains("on a line of its own"),
        "{missing}"
    );
    assert_eq!(empty, "line 24: `text` is empty: fill it, or take the line out");
    assert_eq!(both, "line 25: it says b of a text that line 4 says a of: keep one of them");
    assert_eq!(few, "the label c has 1 line, and needs 10: add some, or take it out");
    assert!(told(&many("a", 12))[0].contains("two labels at least"));
    assert!(told("question;kind\nwhere?;simple\n")[0].starts_with("line 1: the file is neither JSON lines nor CSV"));
    assert!(told("text,label\nwhere, please,simple\n")[0].starts_with("line 2: it hasn't 2 columns: put"));
}

#[test]
fn csv_and_json_lines_say_the_same() {
    let json = format!("{}{}", many("a", 11), many("b", 11));
    let lines = labelled(&json).expect("whole").lines;
    let rows: String = lines.iter().map(|Line { text, label }| format!("{label},\"{text}\"\n")).collect();
    let csv = format!("label,text\n{rows}{rows}");
    assert_eq!(labelled(&csv).expect("whole"), Labelled { lines, repeated: 22 });
}
