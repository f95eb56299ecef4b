//! One Kafka broker that is its own controller (KRaft).

use std::{fs, net::SocketAddr, path::Path, process::Command};

use anyhow::{Context, Result, bail};

use super::{ask, free_ports, laid_out};

const CLUSTER_ID: &str = "bWlsbHN0cmVhbS10ZXN0cw";

/// The arguments of java for a broker on `dir`, which is laid out at the first time.
pub fn prepare(jars: &Path, dir: &Path) -> Result<(SocketAddr, Vec<String>)> {
    let properties = dir.join("server.properties");
    let class_path = format!("{}/*", jars.display());
    let shown = properties.display().to_string();
    let address = laid_out(dir, || {
        let [broker, controller] = free_ports()?;
        fs::write(&properties, configuration(&dir.join("data"), broker, controller))?;
        format_storage(&class_path, &shown)?;
        Ok(broker)
    })?;
    let arguments = ["-Xms256m", "-Xmx512m", "-XX:+UseSerialGC", "-cp", &class_path, "kafka.Kafka", &shown];
    Ok((address, arguments.map(String::from).to_vec()))
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
