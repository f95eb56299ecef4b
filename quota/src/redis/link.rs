//! The connection: one that all calls share, and that is made anew after any failure. A call is answered in time or
//! fails: a connection whose other end is gone may take minutes to say so.

use std::time::Duration;

use ::redis::{AsyncConnectionConfig, Client, RedisError, RedisResult, aio::MultiplexedConnection};
use tokio::{
    sync::Mutex,
    time::{Instant, timeout},
};

use super::unavailable;
use crate::contract::QuotaError;

const CONNECT_WITHIN: Duration = Duration::from_secs(1);
/// With connecting.
const ANSWER_WITHIN: Duration = Duration::from_secs(3);
/// Who asks so soon after nobody could connect is told the same.
const TRY_AGAIN_AFTER: Duration = Duration::from_millis(100);

pub struct Link {
    client: Client,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    connection: Option<MultiplexedConnection>,
    /// Of how many it is the last.
    number: u64,
    failed: Option<(Instant, String)>,
}

impl Link {
    pub fn new(url: &str) -> Result<Self, QuotaError> {
        // What is wrong with it is told without it: it may hold a password.
        let client = Client::open(url).map_err(|error| unavailable(format!("the address of Redis: {error}")))?;
        Ok(Link { client, state: Mutex::default() })
    }

    /// Asked again, once, where the connection was cut: that may have been long ago. It may be heard twice then, which budgets
    /// don't mind; a rate may be taken twice, but never too rarely.
    pub async fn ask<T, A>(&self, ask: impl Fn(MultiplexedConnection) -> A) -> Result<T, QuotaError>
    where
        A: Future<Output = RedisResult<T>>,
    {
        let mut used = None;
        let asked = timeout(ANSWER_WITHIN, async {
            let (connection, number) = self.connection().await?;
            used = Some(number);
            let error = match ask(connection).await {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            if !error.is_connection_dropped() {
                return Err(shown(&error));
            }
            self.drop_connection(number).await;
            let (connection, number) = self.connection().await?;
            used = Some(number);
            ask(connection).await.map_err(|error| shown(&error))
        });
        let reason = match asked.await {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(reason)) => reason,
            Err(_) => format!("Redis does not answer within {} s", ANSWER_WITHIN.as_secs()),
        };
        if let Some(number) = used {
            self.drop_connection(number).await;
        }
        Err(unavailable(reason))
    }

    async fn connection(&self) -> Result<(MultiplexedConnection, u64), String> {
        let mut state = self.state.lock().await;
        if let Some(connection) = &state.connection {
            return Ok((connection.clone(), state.number));
        }
        if let Some((_, reason)) = state.failed.as_ref().filter(|(at, _)| at.elapsed() < TRY_AGAIN_AFTER) {
            return Err(reason.clone());
        }
        let config =
            AsyncConnectionConfig::new().set_connection_timeout(Some(CONNECT_WITHIN)).set_response_timeout(None);
        match self.client.get_multiplexed_async_connection_with_config(&config).await {
            Ok(connection) => {
                state.number += 1;
                state.failed = None;
                state.connection = Some(connection.clone());
                Ok((connection, state.number))
            }
            Err(error) => {
                let reason = format!("Redis can't be reached: {}", shown(&error));
                state.failed = Some((Instant::now(), reason.clone()));
                Err(reason)
            }
        }
    }

    async fn drop_connection(&self, number: u64) {
        let mut state = self.state.lock().await;
        if state.number == number {
            state.connection = None;
        }
    }
}

fn shown(error: &RedisError) -> String {
    error.to_string()
}
