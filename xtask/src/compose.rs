//! Checks compose/ against the Compose specification: no Docker engine is needed for that.

use std::{fs, path::PathBuf};

use anyhow::{Context, Result, bail};

use crate::{command, jars, packages, root, test::Session};

const CHECKER: &str = "check-jsonschema==0.39.0";

pub fn check(session: &mut Session) -> Result<()> {
    let file = root().join("compose/compose.yaml");
    let (compose, example) = (fs::read_to_string(&file)?, root().join("compose/.env.example"));
    let missing = undocumented(&compose, &fs::read_to_string(example)?);
    if !missing.is_empty() {
        bail!("compose/.env.example doesn't say what {} are for", missing.join(", "));
    }
    session.passed();
    let checker = match checker() {
        Ok(checker) => checker,
        Err(error) => return session.skip("compose/compose.yaml", &format!("{error:#}")),
    };
    command::program(&checker.to_string_lossy(), &["--builtin-schema", "vendor.compose-spec"])
        .args(&[file.to_string_lossy()])
        .run()?;
    session.passed();
    Ok(())
}

/// Variables that the file asks for and the example doesn't set. Images are for those who know what they do.
fn undocumented<'a>(compose: &'a str, example: &str) -> Vec<&'a str> {
    let asked = compose.split("${").skip(1).filter_map(|rest| rest.split([':', '}', '-', '?']).next());
    let mut missing: Vec<&str> = asked
        .filter(|name| !name.ends_with("_IMAGE"))
        .filter(|name| !example.lines().any(|line| line.split('=').next() == Some(name)))
        .collect();
    missing.sort_unstable();
    missing.dedup();
    missing
}

/// The checker from PyPI, in a Python environment of its own.
fn checker() -> Result<PathBuf> {
    let dir = jars::cache_dir()?.join("python");
    let (program, installed) = (dir.join("bin/check-jsonschema"), dir.join("installed"));
    if fs::read_to_string(&installed).is_ok_and(|known| known == CHECKER) {
        return Ok(program);
    }
    packages::require_python()?;
    command::program("python3", &["-m", "venv", &dir.to_string_lossy()]).run()?;
    let pip = dir.join("bin/pip");
    command::program(&pip.to_string_lossy(), &["install", "--quiet", "--disable-pip-version-check", CHECKER])
        .run()
        .context("check-jsonschema could not be fetched from PyPI")?;
    fs::write(&installed, CHECKER)?;
    Ok(program)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_without_an_example_is_named() {
        let compose = "image: ${X_IMAGE:-x}\nport: ${PORT:-80}\nkey: ${SECRET:?set it}\nagain: ${SECRET}";
        assert_eq!(undocumented(compose, "# PORT\nPORT=80\n"), ["SECRET"]);
        assert!(undocumented(compose, "PORT=80\nSECRET=\n").is_empty());
    }
}
