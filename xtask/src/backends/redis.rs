//! One Redis that has written what it answers.

use std::{net::SocketAddr, path::Path};

use anyhow::Result;

use super::{ask, free_ports, laid_out};

/// The arguments of redis-server for a Redis on `dir`.
pub fn prepare(dir: &Path) -> Result<(SocketAddr, Vec<String>)> {
    let address = laid_out(dir, || Ok(free_ports::<1>()?[0]))?;
    let (ip, port, dir) = (address.ip().to_string(), address.port().to_string(), dir.display().to_string());
    let arguments = [
        ["--bind", &ip],
        ["--port", &port],
        ["--dir", &dir],
        ["--save", ""],
        // `down` knows its own by the folder that stands in their command line.
        ["--set-proc-title", "no"],
        ["--appendonly", "yes"],
        ["--appendfsync", "always"],
    ];
    Ok((address, arguments.concat().into_iter().map(String::from).collect()))
}

pub fn answers(address: SocketAddr) -> Result<bool> {
    let answer: [u8; 7] = ask(address, b"*1\r\n$4\r\nPING\r\n")?;
    Ok(&answer == b"+PONG\r\n")
}
