//! Runs other programs: plainly, or with their output read as it passes by.

use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail};

use crate::{
    backends::{Backend, Server},
    root,
};

pub struct Run {
    command: Command,
    shown: String,
}

/// `cargo` with these arguments, in the workspace's root.
pub fn cargo(arguments: &[&str]) -> Run {
    program(&std::env::var("CARGO").unwrap_or_else(|_| "cargo".into()), arguments)
}

pub fn program(name: &str, arguments: &[&str]) -> Run {
    let mut command = Command::new(name);
    command.args(arguments).current_dir(root());
    let short = Path::new(name).file_name().map_or(name.into(), |name| name.to_string_lossy());
    Run { shown: format!("{short} {}", arguments.join(" ")), command }
}

impl Run {
    pub fn args<S: AsRef<str>>(mut self, arguments: &[S]) -> Self {
        for argument in arguments {
            self.command.arg(argument.as_ref());
            self.shown.push(' ');
            self.shown.push_str(argument.as_ref());
        }
        self
    }

    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.command.env(name, value);
        self
    }

    /// Tells it where these are.
    pub fn servers(mut self, servers: &[(Backend, Server)]) -> Self {
        for (backend, server) in servers {
            self = self.env(backend.variable(), &server.address.to_string());
        }
        self
    }

    pub fn dir(mut self, dir: &Path) -> Self {
        self.command.current_dir(dir);
        self
    }

    pub fn run(mut self) -> Result<()> {
        let status = self.command.status().with_context(|| format!("`{}` did not start", self.shown))?;
        if !status.success() {
            bail!("`{}` failed ({status})", self.shown);
        }
        Ok(())
    }

    /// Runs it to its end, passing each line of its standard output on. Says whether it succeeded.
    pub fn watch(mut self, mut seen: impl FnMut(&str)) -> Result<bool> {
        self.command.stdout(Stdio::piped());
        let mut child = self.command.spawn().with_context(|| format!("`{}` did not start", self.shown))?;
        let output = child.stdout.take().context("its output was piped")?;
        for line in BufReader::new(output).split(b'\n') {
            let line = line?;
            let line = String::from_utf8_lossy(&line);
            println!("{line}");
            seen(&line);
        }
        Ok(child.wait()?.success())
    }

    /// What it writes to standard output.
    pub fn output(mut self) -> Result<String> {
        let output = self.command.stderr(Stdio::inherit()).output();
        let output = output.with_context(|| format!("`{}` did not start", self.shown))?;
        if !output.status.success() {
            bail!("`{}` failed ({})", self.shown, output.status);
        }
        Ok(String::from_utf8(output.stdout)?)
    }
}

/// Whether a program of that name is on the path.
pub fn is_installed(name: &str) -> bool {
    let Some(path) = std::env::var_os("PATH") else { return false };
    std::env::split_paths(&path).any(|dir| dir.join(name).is_file())
}
