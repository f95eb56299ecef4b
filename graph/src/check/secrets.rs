//! Secrets in the file: it goes into a repository, a topic and a store. The message never repeats what it found.

use super::{Found, Subject};
use crate::file::{Code, Diagnostic, Place};

/// What begins a secret, and how many characters of one must follow.
const KEYS: [(&str, usize, &str); 9] = [
    ("sk-", 16, "an API key"),
    ("Bearer ", 16, "a bearer token"),
    ("bearer ", 16, "a bearer token"),
    ("AKIA", 16, "an AWS key"),
    ("AIza", 30, "a Google key"),
    ("ghp_", 30, "a GitHub token"),
    ("github_pat_", 20, "a GitHub token"),
    ("xoxb-", 16, "a Slack token"),
    ("-----BEGIN", 0, "a private key"),
];

pub(super) fn secret_in_file(subject: &Subject<'_>, found: &mut Found) {
    for (index, line) in subject.text.lines().enumerate() {
        if let Some((offset, what)) = secret(line) {
            let column = line[..offset].chars().count() + 1;
            let message = format!("this looks like {what}");
            let hint = "take it out, revoke it, and write ${env.NAME}: the worker puts it in when it runs";
            found.push(Diagnostic::error(Code::SecretInFile, Place { line: index + 1, column }, message).hint(hint));
        }
    }
}

fn secret(line: &str) -> Option<(usize, &'static str)> {
    key(line).or_else(|| password(line))
}

fn key(line: &str) -> Option<(usize, &'static str)> {
    KEYS.iter().find_map(|(start, length, what)| {
        line.match_indices(start).find_map(|(offset, _)| {
            let alone = !line[..offset].ends_with(|char: char| char.is_ascii_alphanumeric());
            let rest = &line[offset + start.len()..];
            let secret =
                rest.chars().take_while(|char| char.is_ascii_alphanumeric() || "-_.=+/".contains(*char)).count();
            let random = *length == 0 || rest.chars().take(secret).any(|char| char.is_ascii_digit());
            (alone && secret >= *length && random).then_some((offset, *what))
        })
    })
}

/// `scheme://user:password@host`.
fn password(line: &str) -> Option<(usize, &'static str)> {
    let (offset, _) = line.match_indices("://").find(|(offset, separator)| {
        let rest = &line[offset + separator.len()..];
        let authority = rest.split(['/', ' ', '"', '\'']).next().unwrap_or_default();
        let password =
            authority.split_once('@').and_then(|(user, _)| user.split_once(':')).map(|(_, password)| password);
        password.is_some_and(|password| !password.is_empty() && !password.contains("${"))
    })?;
    let scheme = line[..offset].chars().rev().take_while(char::is_ascii_alphanumeric).count();
    let start = offset - scheme;
    Some((start, "a password in an address"))
}
