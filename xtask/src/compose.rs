//! Checks compose/ against the Compose specification: no Docker engine is needed for that.

use std::{fs, path::PathBuf};

use anyhow::{Context, Result};

use crate::{command, jars, packages, root, test::Session};

const CHECKER: &str = "check-jsonschema==0.35.0";

pub fn check(session: &mut Session) -> Result<()> {
    let file = root().join("compose/compose.yaml");
    if !file.exists() {
        return session.skip("compose/compose.yaml", "there is none");
    }
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

/// The checker from PyPI, in a Python environment of its own.
fn checker() -> Result<PathBuf> {
    let dir = jars::cache_dir()?.join("python");
    let (program, installed) = (dir.join("bin/check-jsonschema"), dir.join("installed"));
    if fs::read_to_string(&installed).is_ok_and(|known| known == CHECKER) {
        return Ok(program);
    }
    packages::require(&[("python3", "python3-venv")])?;
    command::program("python3", &["-m", "venv", &dir.to_string_lossy()]).run()?;
    let pip = dir.join("bin/pip");
    command::program(&pip.to_string_lossy(), &["install", "--quiet", "--disable-pip-version-check", CHECKER])
        .run()
        .context("check-jsonschema could not be fetched from PyPI")?;
    fs::write(&installed, CHECKER)?;
    Ok(program)
}
