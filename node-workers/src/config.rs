//! What a worker is told: what to serve, and every bound with its unit.

use std::time::Duration;

use crate::calls::CallContent;

#[derive(Clone, Debug)]
pub struct Config {
    pub serve: Serve,
    /// Tasks of one node that run at a time, where the graph has no `concurrency` for it.
    pub permits_per_node: usize,
    /// Tasks of all nodes that run at a time.
    pub permits: usize,
    /// Bytes of tasks that run or whose results are not durable yet.
    pub in_flight_bytes_max: usize,
    /// Bytes of tasks read ahead, for each node.
    pub prefetch_bytes_max: usize,
    /// Tasks read and not begun, for each node: at twice as many a partition is paused.
    pub waiting_max: usize,
    pub commit_every: Duration,
    /// Commits that fail for this long stop the intake.
    pub commit_failing_max: Duration,
    /// How long a call may go on after its partition was lost, before the run issues its task anew.
    pub keep: Duration,
    /// How long calls may go on at shutdown, before their tasks are given back.
    pub drain: Duration,
    /// The end of an attempt, where the graph has no `timeout` for the node.
    pub attempt_timeout: Duration,
    /// A longer wait before a retry isn't made here: the task is given back.
    pub retry_in_place_max: Duration,
    /// Bytes of a result with all its values; a larger result fails its task.
    pub result_bytes_max: usize,
    pub token_interval: Duration,
    pub token_bytes_max: usize,
    pub call_content: CallContent,
    /// `ce_source` of what is written.
    pub source: String,
}

/// Which nodes this worker serves.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Serve {
    #[default]
    All,
    Graph(String),
    Node {
        graph: String,
        node: String,
    },
}

impl Serve {
    pub fn covers(&self, graph: &str, node: &str) -> bool {
        match self {
            Serve::All => true,
            // Graphs that stand in its nodes are named behind it.
            Serve::Graph(only) => {
                graph.strip_prefix(only.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
            }
            Serve::Node { graph: only, node: only_node } => only == graph && only_node == node,
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        Config {
            serve: Serve::All,
            permits_per_node: 64,
            permits: 10_000,
            in_flight_bytes_max: 256 * 1024 * 1024,
            prefetch_bytes_max: 4 * 1024 * 1024,
            waiting_max: 512,
            commit_every: Duration::from_secs(1),
            commit_failing_max: Duration::from_secs(15),
            keep: Duration::from_secs(15 * 60),
            drain: Duration::from_secs(20),
            attempt_timeout: Duration::from_secs(10 * 60),
            retry_in_place_max: Duration::from_secs(30),
            result_bytes_max: 32 * 1024 * 1024,
            token_interval: Duration::from_millis(30),
            token_bytes_max: 256,
            call_content: CallContent::default(),
            source: "node-worker".to_owned(),
        }
    }
}
