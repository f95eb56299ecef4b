//! `${env.X}`: resolved here and nowhere else, so that no secret is in a graph or a record.

use std::sync::Arc;

use graph::task::TaskError;

use crate::failure;

/// Reads a variable; only `server` knows the real ones.
pub type Environment = Arc<dyn Fn(&str) -> Option<String> + Send + Sync>;

const OPEN: &str = "${env.";

/// The text with every `${env.X}` replaced.
pub fn resolve(text: &str, environment: &Environment) -> Result<String, TaskError> {
    let mut resolved = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, behind)) = rest.split_once(OPEN) {
        let (name, after) = behind
            .split_once('}')
            .ok_or_else(|| failure::node_failed(format!("`{OPEN}` without its `}}`: close it")))?;
        let value = environment(name).ok_or_else(|| {
            failure::node_failed(format!("the environment variable {name} is not set in this worker: set it"))
        })?;
        resolved.push_str(before);
        resolved.push_str(&value);
        rest = after;
    }
    resolved.push_str(rest);
    Ok(resolved)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables() {
        let environment: Environment = Arc::new(|name| (name == "HOST").then(|| "h${env.HOST}".to_owned()));
        let table = [
            ("plain", "plain"),
            ("http://${env.HOST}/a", "http://h${env.HOST}/a"),
            ("${env.HOST}${env.HOST}", "h${env.HOST}h${env.HOST}"),
            ("${other}", "${other}"),
        ];
        for (text, expect) in table {
            assert_eq!(resolve(text, &environment).unwrap(), expect);
        }
        assert!(resolve("${env.NONE}", &environment).unwrap_err().message.contains("NONE is not set"));
        assert!(resolve("${env.HOST", &environment).is_err());
    }
}
