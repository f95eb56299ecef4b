//! One Cassandra node, which stands in for Scylla: the project keeps to the CQL that both speak.

use std::{fs, net::SocketAddr, path::Path};

use anyhow::Result;

use super::{ask, free_ports, laid_out};

/// The parts of the JDK that Cassandra reaches into (its conf/jvm17-server.options, which the jar doesn't hold).
const EXPORTS: &[&str] = &[
    "java.base/java.lang.ref",
    "java.base/jdk.internal.misc",
    "java.management.rmi/com.sun.jmx.remote.internal.rmi",
    "java.rmi/sun.rmi.registry",
    "java.rmi/sun.rmi.server",
    "java.sql/java.sql",
    "jdk.unsupported/sun.misc",
];
const OPENS: &[&str] = &[
    "java.base/java.io",
    "java.base/java.lang",
    "java.base/java.lang.module",
    "java.base/java.lang.reflect",
    "java.base/java.math",
    "java.base/java.net",
    "java.base/java.nio",
    "java.base/java.util",
    "java.base/java.util.concurrent",
    "java.base/java.util.concurrent.atomic",
    "java.base/jdk.internal.loader",
    "java.base/jdk.internal.math",
    "java.base/jdk.internal.module",
    "java.base/jdk.internal.ref",
    "java.base/jdk.internal.reflect",
    "java.base/jdk.internal.util.jar",
    "java.base/sun.nio.ch",
    "java.rmi/sun.rmi.transport.tcp",
    "jdk.management/com.sun.management.internal",
];

/// The arguments of java for a node on `dir`, which is laid out at the first time.
pub fn prepare(jars: &Path, dir: &Path, sync: CommitLog) -> Result<(SocketAddr, Vec<String>)> {
    let conf = dir.join("conf");
    let address = laid_out(dir, || {
        let [native, storage] = free_ports()?;
        fs::create_dir_all(&conf)?;
        fs::write(conf.join("cassandra.yaml"), configuration(dir, native, storage, sync))?;
        fs::write(conf.join("logback.xml"), LOGGING)?;
        Ok(native)
    })?;
    Ok((address, arguments(jars, dir, &conf)?))
}

/// When a write is answered.
#[derive(Clone, Copy)]
pub enum CommitLog {
    /// Before it is on disk, as in most deployments: their other replicas have it.
    Periodic,
    /// When it is: what a node that is alone, and is killed, has to do.
    Batch,
}

/// Whether the node answers an OPTIONS frame of protocol 4 with SUPPORTED.
pub fn answers(address: SocketAddr) -> Result<bool> {
    let answer: [u8; 9] = ask(address, &[4, 0, 0, 0, 5, 0, 0, 0, 0])?;
    Ok(answer[0] == 0x84 && answer[4] == 6)
}

fn arguments(jars: &Path, dir: &Path, conf: &Path) -> Result<Vec<String>> {
    let agent = fs::read_dir(jars)?
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .find(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("jamm-")))
        .ok_or_else(|| anyhow::anyhow!("{} holds no jamm jar", jars.display()))?;
    let mut arguments: Vec<String> = vec![
        "-Xms512m".into(),
        // A keyspace for each test adds up: at 512 MB it did nothing but collect garbage after an hour of them.
        "-Xmx1g".into(),
        format!("-javaagent:{}", agent.display()),
        "-Djdk.attach.allowAttachSelf=true".into(),
    ];
    for name in EXPORTS {
        arguments.push(format!("--add-exports={name}=ALL-UNNAMED"));
    }
    for name in OPENS {
        arguments.push(format!("--add-opens={name}=ALL-UNNAMED"));
    }
    arguments.extend([
        format!("-Dcassandra.config=file://{}/cassandra.yaml", conf.display()),
        format!("-Dcassandra.storagedir={}", dir.display()),
        "-Dcassandra-foreground=yes".into(),
        "-Dcassandra.superuser_setup_delay_ms=0".into(),
        "-Dcassandra.skip_wait_for_gossip_to_settle=0".into(),
        "-Dcassandra.ring_delay_ms=1".into(),
        "-cp".into(),
        format!("{}:{}/*", conf.display(), jars.display()),
        "org.apache.cassandra.service.CassandraDaemon".into(),
    ]);
    Ok(arguments)
}

fn configuration(dir: &Path, native: u16, storage: u16, sync: CommitLog) -> String {
    let dir = dir.display();
    let sync = match sync {
        CommitLog::Periodic => "commitlog_sync: periodic\ncommitlog_sync_period: 10s",
        CommitLog::Batch => "commitlog_sync: batch",
    };
    format!(
        "cluster_name: millstream
num_tokens: 1
partitioner: org.apache.cassandra.dht.Murmur3Partitioner
{sync}
data_file_directories: [{dir}/data]
commitlog_directory: {dir}/commitlog
saved_caches_directory: {dir}/saved_caches
hints_directory: {dir}/hints
cdc_raw_directory: {dir}/cdc_raw
endpoint_snitch: SimpleSnitch
listen_address: 127.0.0.1
rpc_address: 127.0.0.1
native_transport_port: {native}
storage_port: {storage}
seed_provider:
  - class_name: org.apache.cassandra.locator.SimpleSeedProvider
    parameters:
      - seeds: 127.0.0.1:{storage}
"
    )
}

const LOGGING: &str = r#"<configuration>
  <appender name="out" class="ch.qos.logback.core.ConsoleAppender">
    <encoder><pattern>%d{HH:mm:ss} %-5level %logger{20} %msg%n</pattern></encoder>
  </appender>
  <root level="INFO"><appender-ref ref="out"/></root>
</configuration>
"#;
