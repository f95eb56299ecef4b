//! Opens log and store. Until both answer, the process lives, says what it can't reach, and refuses requests with the
//! word when to come back.

use std::{
    net::TcpListener as StdListener,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::Context;
use event_log::LogError;
use graph::world::Random;
use ingest::Missing;
use run_store::StoreError;
use schemas::error::Code;
use tokio::net::TcpListener;

use crate::{
    config::Config,
    parts::{self, Parts},
    stages::stop_signal,
};

/// Between two tries.
const AGAIN: Duration = Duration::from_millis(500);

/// Both parts, and the listener that has answered meanwhile. None where the process was told to stop first.
pub async fn open(config: &Config, random: Arc<dyn Random>) -> anyhow::Result<Option<(Parts, TcpListener)>> {
    let address = config.server.listen;
    let listener = StdListener::bind(address)
        .and_then(|listener| listener.set_nonblocking(true).map(|()| listener))
        .with_context(|| format!("{address} can't be listened on; choose another with --listen or [server] listen"))?;
    let missing = Arc::new(Mutex::new(Missing {
        code: Code::LogUnavailable,
        reason: "the log and the store are being opened".to_owned(),
    }));
    let said = Arc::clone(&missing);
    let says = move || said.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let meanwhile = TcpListener::from_std(listener.try_clone()?)?;
    let meanwhile = axum::serve(meanwhile, ingest::opening(Arc::new(says), random));
    let parts = tokio::select! {
        parts = until_open(config, &missing) => parts?,
        ended = meanwhile.into_future() => return ended.map(|()| None).context("requests can't be answered"),
        () = stop_signal() => return Ok(None),
    };
    Ok(Some((parts, TcpListener::from_std(listener)?)))
}

async fn until_open(config: &Config, missing: &Mutex<Missing>) -> anyhow::Result<Parts> {
    loop {
        let error = match parts::open(config).await {
            Ok(parts) => return Ok(parts),
            Err(error) => error,
        };
        let Some(code) = away(&error) else { return Err(error) };
        let reason = format!("{error:#}");
        let news = {
            let mut missing = missing.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::replace(&mut *missing, Missing { code, reason: reason.clone() }).reason != reason
        };
        if news {
            tracing::warn!(error = reason, "this process waits for its log and store");
        }
        tokio::time::sleep(AGAIN).await;
    }
}

/// Which part is away, where the error is one that passes by itself.
fn away(error: &anyhow::Error) -> Option<Code> {
    error.chain().find_map(|cause| {
        if let Some(LogError::Unavailable { .. }) = cause.downcast_ref() {
            return Some(Code::LogUnavailable);
        }
        matches!(cause.downcast_ref(), Some(StoreError::Unavailable { .. })).then_some(Code::StoreUnavailable)
    })
}
