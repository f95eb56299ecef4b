//! What a bench is told: `NAME=VALUE` and words, in any order.

use anyhow::{Context, bail};

#[derive(Clone, Debug)]
pub struct Options {
    /// Of load.
    pub seconds: u64,
    /// Small and short: says that the bench works, and nothing about speed.
    pub smoke: bool,
    /// The log on Kafka at this address.
    pub kafka: Option<String>,
    /// The store on Cassandra or Scylla at this address.
    pub cql: Option<String>,
    /// The scripted model in a process of its own, over HTTP.
    pub http_model: bool,
}

impl Options {
    /// From the command line.
    pub fn read(seconds: u64) -> anyhow::Result<Self> {
        let mut options = Options { seconds, smoke: false, kafka: None, cql: None, http_model: false };
        for argument in std::env::args().skip(1) {
            match argument.split_once('=') {
                None if argument == "smoke" => (options.smoke, options.seconds) = (true, 2),
                Some(("seconds", value)) => options.seconds = value.parse().context("seconds=NUMBER")?,
                Some(("kafka", brokers)) => options.kafka = Some(brokers.to_owned()),
                Some(("cql", nodes)) => options.cql = Some(nodes.to_owned()),
                Some(("model", "http")) => options.http_model = true,
                _ => bail!("{argument:?} is none of: smoke, seconds=N, kafka=HOST:PORT, cql=HOST:PORT, model=http"),
            }
        }
        Ok(options)
    }

    /// The environment of a process that uses what was asked for. Names are of this bench alone.
    pub fn environment(&self) -> Vec<(&'static str, String)> {
        let unique = std::process::id();
        let mut environment = Vec::new();
        if let Some(brokers) = &self.kafka {
            environment.extend([
                ("MILLSTREAM__LOG__KIND", "kafka".to_owned()),
                ("MILLSTREAM__LOG__BROKERS", brokers.clone()),
                ("MILLSTREAM__LOG__PREFIX", format!("bench-{unique}-")),
                ("MILLSTREAM__LOG__CREATE", "true".to_owned()),
            ]);
        }
        if let Some(nodes) = &self.cql {
            environment.extend([
                ("MILLSTREAM__STORE__KIND", "scylla".to_owned()),
                ("MILLSTREAM__STORE__NODES", nodes.clone()),
                ("MILLSTREAM__STORE__KEYSPACE", format!("bench_{unique}")),
                ("MILLSTREAM__STORE__CREATE", "true".to_owned()),
            ]);
        }
        environment
    }
}

impl std::fmt::Display for Options {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let log = if self.kafka.is_some() { "Kafka" } else { "embedded log" };
        let store = if self.cql.is_some() { "CQL store" } else { "embedded store" };
        let model = if self.http_model { "model over HTTP" } else { "model in process" };
        write!(f, "{log}, {store}, {model}{}", if self.smoke { ", smoke" } else { "" })
    }
}
