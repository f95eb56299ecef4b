//! One Kafka broker that is its own controller (KRaft).

use std::{fs, net::SocketAddr, path::Path, process::Command};

use anyhow::{Context, Result, bail};

use super::{Backend, Lifetime, Server, ask, free_ports, java};

const CLUSTER_ID: &str = "bWlsbHN0cmVhbS10ZXN0cw";

pub fn start(jars: &Path, dir: &Path, lifetime: Lifetime) -> Result<Server> {
    let [broker, controller] = free_ports()?;
    let properties = dir.join("server.properties");
    fs::write(&properties, configuration(&dir.join("data"), broker, controller))?;
    let class_path = format!("{}/*", jars.display());
    let properties = properties.display().to_string();
    format_storage(&class_path, &properties)?;
    let arguments = ["-Xms256m", "-Xmx512m", "-XX:+UseSerialGC", "-cp", &class_path, "kafka.Kafka", &properties];
    let child = java(dir, lifetime, &arguments.map(String::from))?;
    Ok(Server {
        backend: Backend::Kafka,
        address: SocketAddr::from(([127, 0, 0, 1], broker)),
        child,
        dir: dir.to_path_buf(),
        lifetime,
    })
}

/// Whether the broker answers an ApiVersions request.
pub fn answers(address: SocketAddr) -> Result<bool> {
    // Size 10, api 18 version 0, correlation 1, no client id.
    let request = [0, 0, 0, 10, 0, 18, 0, 0, 0, 0, 0, 1, 0xff, 0xff];
    let answer: [u8; 10] = ask(address, &request)?;
    let (correlation, error) = (&answer[4..8], &answer[8..10]);
    Ok(correlation == [0, 0, 0, 1] && error == [0, 0])
}

/// The four `group.consumer.*` lines decide how soon a killed member is replaced: 6 s instead of 45 s.
fn configuration(data: &Path, broker: u16, controller: u16) -> String {
    format!(
        "process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
listeners=PLAINTEXT://127.0.0.1:{broker},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{broker}
controller.listener.names=CONTROLLER
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT
log.dirs={data}
auto.create.topics.enable=false
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
group.consumer.session.timeout.ms=6000
group.consumer.min.session.timeout.ms=6000
group.consumer.heartbeat.interval.ms=2000
group.consumer.min.heartbeat.interval.ms=2000
log.retention.check.interval.ms=1000
log.initial.task.delay.ms=1000
",
        data = data.display()
    )
}

fn format_storage(class_path: &str, properties: &str) -> Result<()> {
    let output = Command::new("java")
        .args(["-Xmx128m", "-cp", class_path, "kafka.tools.StorageTool", "format"])
        .args(["-t", CLUSTER_ID, "-c", properties])
        .output()
        .context("java did not start")?;
    if !output.status.success() {
        bail!("Kafka's storage could not be formatted: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(())
}
