//! System packages: installed where this may be done (root on Debian), otherwise named plainly.

use anyhow::{Result, bail};

use crate::command;

/// Java and Maven, which Kafka and Cassandra are fetched by and run on.
pub fn require_java() -> Result<()> {
    require(&[("java", "openjdk-17-jre-headless"), ("mvn", "maven")])
}

pub fn require_redis() -> Result<()> {
    require(&[("redis-server", "redis-server")])
}

/// Python with its virtual environments.
pub fn require_python() -> Result<()> {
    require(&[("python3", "python3-venv")])
}

/// Chromium and its WebDriver, which the page is tried in.
pub fn require_browser() -> Result<()> {
    require(&[("chromedriver", "chromium-driver")])
}

/// Programs and the Debian packages that hold them.
pub fn require(programs: &[(&str, &str)]) -> Result<()> {
    let missing: Vec<_> = programs.iter().filter(|(program, _)| !command::is_installed(program)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let packages: Vec<&str> = missing.iter().map(|(_, package)| *package).collect();
    if !may_install() {
        bail!("install {} first (not root on Debian, so it is not done here)", packages.join(" and "));
    }
    install(&packages)
}

/// With OpenSSL's headers there, librdkafka links the system's library and three minutes of building are saved.
pub fn install_openssl_headers() {
    if std::path::Path::new("/usr/include/openssl/ssl.h").exists() && command::is_installed("pkg-config") {
        return;
    }
    if !may_install() {
        println!("OpenSSL's headers are not installed (libssl-dev, pkg-config): the bundled OpenSSL is built instead");
        return;
    }
    if let Err(error) = install(&["libssl-dev", "pkg-config"]) {
        println!("OpenSSL's headers could not be installed, so the bundled OpenSSL is built: {error:#}");
    }
}

fn may_install() -> bool {
    command::is_installed("apt-get") && std::fs::metadata("/proc/self").is_ok_and(|me| is_root(&me))
}

#[cfg(unix)]
fn is_root(of: &std::fs::Metadata) -> bool {
    std::os::unix::fs::MetadataExt::uid(of) == 0
}

#[cfg(not(unix))]
fn is_root(_: &std::fs::Metadata) -> bool {
    false
}

fn install(packages: &[&str]) -> Result<()> {
    println!("installing {}", packages.join(" "));
    let apt = |arguments: &[&str]| {
        command::program("apt-get", arguments).env("DEBIAN_FRONTEND", "noninteractive").args(&["-qq", "-y"])
    };
    apt(&["update"]).run()?;
    apt(&["install", "--no-install-recommends"]).args(packages).run()
}
