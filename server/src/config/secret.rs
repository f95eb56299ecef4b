//! Secrets: given as text, or as a command that says them; never printed.

use std::{
    fmt,
    io::Read,
    process::{Command, Stdio},
    time::Duration,
};

use secrecy::{ExposeSecret, SecretString};
use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{Error, MapAccess, Visitor},
};

/// A string that is never printed.
#[derive(Clone, Debug)]
pub struct Secret(SecretString);

impl Secret {
    pub fn new(text: impl Into<String>) -> Self {
        Secret(SecretString::from(text.into()))
    }

    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }

    pub fn inner(&self) -> SecretString {
        self.0.clone()
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str("<hidden>")
    }
}

/// Text, or `{ command = "..." }`.
impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Given)
    }
}

struct Given;

impl<'de> Visitor<'de> for Given {
    type Value = Secret;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text, or a command that prints it: { command = \"...\" }")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Secret, E> {
        Ok(Secret::new(text))
    }

    fn visit_i64<E: Error>(self, digits: i64) -> Result<Secret, E> {
        Ok(Secret::new(digits.to_string()))
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Secret, M::Error> {
        const FIELDS: &[&str] = &["command"];
        let Some((name, command)) = map.next_entry::<String, String>()? else {
            return Err(M::Error::missing_field("command"));
        };
        if name != "command" || map.next_key::<String>()?.is_some() {
            return Err(M::Error::unknown_field(if name == "command" { "what follows it" } else { &name }, FIELDS));
        }
        said(&command).map(Secret::new).map_err(M::Error::custom)
    }
}

/// Programs that ask a vault over the network take seconds.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(30);
const LOOK_EVERY: Duration = Duration::from_millis(10);
const SAID_BYTES_MAX: u64 = 64 << 10;

/// What a command prints, without the line's end. What it printed stands in no error: it may be half of a secret.
#[allow(clippy::disallowed_methods, reason = "the configuration is read before anything else runs")]
fn said(command: &str) -> Result<String, String> {
    let refused = |why: String| format!("the command of a secret, `{command}`, {why}");
    let mut shell = Command::new("sh");
    let shell = shell.args(["-c", command]).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::inherit());
    let mut child = shell.spawn().map_err(|error| refused(format!("can't be started: {error}")))?;
    let output = child.stdout.take().expect("it is piped");
    let reader = std::thread::spawn(move || {
        let mut said = String::new();
        output.take(SAID_BYTES_MAX).read_to_string(&mut said).map(|_| said)
    });
    let mut left = COMMAND_TIMEOUT;
    let status = loop {
        match child.try_wait().map_err(|error| refused(format!("can't be waited for: {error}")))? {
            Some(status) => break status,
            None if left.is_zero() => {
                let _ = child.kill();
                let _ = child.wait();
                return Err(refused(format!("has not ended within {} s", COMMAND_TIMEOUT.as_secs())));
            }
            None => {
                std::thread::sleep(LOOK_EVERY);
                left = left.saturating_sub(LOOK_EVERY);
            }
        }
    };
    if !status.success() {
        return Err(refused(format!("ended with {status}")));
    }
    let said = reader
        .join()
        .ok()
        .and_then(Result::ok)
        .ok_or_else(|| refused("printed something else than text".to_owned()))?;
    match said.trim_end_matches(['\r', '\n']) {
        "" => Err(refused("printed nothing".to_owned())),
        text => Ok(text.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize)]
    struct Section {
        password: Secret,
    }

    fn read(text: &str) -> Result<String, String> {
        let section = toml::from_str::<Section>(text).map_err(|error| error.message().to_owned())?;
        Ok(section.password.expose().to_owned())
    }

    #[test]
    fn a_secret_is_a_text_or_what_a_command_prints() {
        assert_eq!(read("password = 's3cret'").unwrap(), "s3cret");
        assert_eq!(read("password = 123").unwrap(), "123");
        assert_eq!(read("password = { command = \"printf 's3 %s\\n' cret\" }").unwrap(), "s3 cret");
        for (text, says) in [
            ("password = { command = 'echo s3cret; exit 3' }", "ended with exit status: 3"),
            ("password = { command = 'true' }", "printed nothing"),
            ("password = { command = 'no-such-program' }", "ended with exit status: 127"),
            ("password = { file = 's3cret' }", "unknown field `file`"),
            ("password = ['s3cret']", "a text, or a command"),
            ("password = {}", "missing field `command`"),
        ] {
            let refused = read(text).unwrap_err();
            assert!(refused.contains(says), "{text}: {refused}");
            assert!(text.contains("echo") || !refused.contains("s3cret"), "{text}: {refused}");
        }
    }
}
