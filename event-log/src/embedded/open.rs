//! Opening a folder: who has it, what is in it, and the threads that work on it.

use std::{
    collections::BTreeMap,
    fs::{self, File, TryLockError},
    path::Path,
    sync::{Arc, Mutex, atomic::AtomicU64},
    thread::{self, JoinHandle},
};

use super::{
    chain::Chain,
    committer::Committer,
    compacted::Compacted,
    config::{Clock, Config, READ_THREADS},
    ephemeral::Ephemerals,
    feed::Source,
    group::Group,
    jobs::Jobs,
    log::{EmbeddedLog, Threads},
    meta::Meta,
    queue::Queue,
    reads,
    status::{Failure, Status},
};
use crate::error::LogError;

impl EmbeddedLog {
    /// Opens the log in `folder`, which is made where it is missing. Blocks while the index of its newest segment is
    /// read.
    pub fn open(folder: &Path, config: Config, clock: Clock) -> Result<Arc<Self>, LogError> {
        Self::open_folder(folder, config, clock).map(Arc::new).map_err(|failure| failure.error())
    }

    fn open_folder(folder: &Path, config: Config, clock: Clock) -> Result<Self, Failure> {
        fs::create_dir_all(folder)?;
        let lock = lock(folder)?;
        let mut meta = Meta::open(folder)?;
        let topics = Arc::new(meta.topics()?);
        let groups = restore_groups(meta.committed(&topics)?);
        let chains = Chain::open_all(folder, &topics, clock())?;
        let compacted = Compacted::open(folder)?;
        restore_compacted(&compacted, &topics)?;

        let status = Arc::new(Status::new());
        let queue = Arc::new(Queue::new(config.queue_bytes_max));
        let (orders, reads) = (Arc::new(Jobs::new()), Arc::new(Jobs::new()));
        let ephemerals = Arc::new(Ephemerals::new(config.ephemeral_bytes_max, Arc::clone(&orders)));
        let size = Arc::new(AtomicU64::new(0));
        let committer = Committer {
            folder: folder.to_owned(),
            config: config.clone(),
            clock: Arc::clone(&clock),
            topics: Arc::clone(&topics),
            queue: Arc::clone(&queue),
            status: Arc::clone(&status),
            ephemerals: Arc::clone(&ephemerals),
            chains,
            compacted_bytes: compacted.bytes()?,
            compacted,
            windows: BTreeMap::new(),
            size: Arc::clone(&size),
        };

        let mut threads = Threads { committer: Vec::new(), others: Vec::new(), lock };
        threads.committer.push(start("log-committer", &status, move || committer.run())?);
        let (meta_orders, meta_topics, meta_status) = (Arc::clone(&orders), Arc::clone(&topics), Arc::clone(&status));
        threads.others.push(start("log-meta", &status, move || meta.run(&meta_orders, &meta_topics, &meta_status))?);
        for number in 0..READ_THREADS {
            let (jobs, folder, read_status) = (Arc::clone(&reads), folder.to_owned(), Arc::clone(&status));
            let body = move || reads::run(&jobs, &folder, &read_status);
            threads.others.push(start(&format!("log-reader-{number}"), &status, body)?);
        }
        Ok(EmbeddedLog {
            config,
            clock,
            topics,
            groups: Mutex::new(groups),
            queue,
            ephemerals,
            orders,
            source: Source { reads, status },
            size,
            threads: tokio::sync::Mutex::new(Some(threads)),
        })
    }
}

/// Held as long as the file is open; the system lets go of it when the process dies, however it dies.
fn lock(folder: &Path) -> Result<File, Failure> {
    let path = folder.join("lock");
    let file = File::create(&path)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(Failure::Disk(format!(
            "another process has opened {}; stop it, or choose another --data-dir",
            folder.display()
        ))),
        Err(TryLockError::Error(error)) => Err(error.into()),
    }
}

fn restore_groups(committed: super::meta::Committed) -> BTreeMap<String, Arc<Group>> {
    let mut groups: BTreeMap<String, Arc<Group>> = BTreeMap::new();
    for (group, topic, partition, offset, metadata) in committed {
        let group = groups.entry(group).or_insert_with_key(|name| Arc::new(Group::new(name)));
        group.restore(topic, partition, offset, metadata);
    }
    groups
}

fn restore_compacted(compacted: &Compacted, topics: &super::topics::Topics) -> Result<(), Failure> {
    let topics = topics.by_id();
    for (topic, partition, end) in compacted.ends()? {
        let known = topics.get(&topic).and_then(|topic| topic.partitions.get(partition as usize));
        known
            .ok_or_else(|| Failure::Damage(format!("compacted.db names topic {topic}, which does not exist")))?
            .restore_end(end);
    }
    Ok(())
}

/// Starts a thread whose panic ends the log, rather than leaving callers to wait for ever.
fn start(name: &str, status: &Arc<Status>, body: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, Failure> {
    struct Guard(Arc<Status>);
    impl Drop for Guard {
        fn drop(&mut self) {
            if thread::panicking() {
                self.0.fail(Failure::Damage("a thread of the log panicked".into()));
            }
        }
    }
    let guard = Guard(Arc::clone(status));
    let body = move || {
        let _guard = guard;
        body();
    };
    Ok(thread::Builder::new().name(name.to_owned()).spawn(body)?)
}
