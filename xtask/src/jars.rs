//! Fetches the jars of a backend by Maven into a folder outside of the checkout, once.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};

use crate::{command, packages, root};

/// The folder of jars for `backend`, whose pom.xml lies in xtask/backends.
pub fn fetch(backend: &str) -> Result<PathBuf> {
    let pom = root().join("xtask/backends").join(backend).join("pom.xml");
    let wanted = fs::read_to_string(&pom).with_context(|| format!("{} can't be read", pom.display()))?;
    let home = cache_dir()?.join(backend);
    let jars = home.join("jars");
    // The copy of the pom is written last: a fetch that broke off, or an older one, is seen and done anew.
    let fetched = home.join("pom.xml");
    if fs::read_to_string(&fetched).is_ok_and(|known| known == wanted) {
        return Ok(jars);
    }
    packages::require_java()?;
    println!("fetching {backend} by Maven into {}", jars.display());
    replace(&home, &jars, &pom)?;
    fs::write(&fetched, wanted)?;
    Ok(jars)
}

/// Where jars, data and logs of backends live.
pub fn cache_dir() -> Result<PathBuf> {
    if let Some(dir) = std::env::var_os("MILLSTREAM_BACKENDS_DIR") {
        return Ok(dir.into());
    }
    if let Some(dir) = std::env::var_os("XDG_CACHE_HOME") {
        return Ok(PathBuf::from(dir).join("millstream-backends"));
    }
    match std::env::var_os("HOME") {
        Some(home) => Ok(PathBuf::from(home).join(".cache/millstream-backends")),
        None => bail!("set MILLSTREAM_BACKENDS_DIR: there is no HOME to keep the backends' jars in"),
    }
}

fn replace(home: &Path, jars: &Path, pom: &Path) -> Result<()> {
    let fresh = home.join(format!("fetching-{}", std::process::id()));
    fs::create_dir_all(&fresh)?;
    command::program("mvn", &["-q", "-B", "-Dstyle.color=never", "-f"])
        .args(&[pom.display().to_string()])
        .args(&["dependency:copy-dependencies".to_string(), format!("-DoutputDirectory={}", fresh.display())])
        .dir(home)
        .run()
        .context("Maven could not fetch the jars; is a Maven repository reachable?")?;
    if jars.exists() {
        fs::remove_dir_all(jars)?;
    }
    fs::rename(&fresh, jars)?;
    Ok(())
}
