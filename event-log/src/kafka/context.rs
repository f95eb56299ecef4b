//! What librdkafka tells its client beside answers: troubles, log lines, and changes of a group's assignment.

use std::{
    collections::VecDeque,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use rdkafka::{
    ClientContext, TopicPartitionList,
    config::RDKafkaLogLevel,
    consumer::{BaseConsumer, Consumer, ConsumerContext},
    error::{KafkaError, RDKafkaErrorCode},
    types::RDKafkaRespErr,
};

use crate::LogError;

/// Remembers the last trouble, which says more than the time-out that follows from it.
#[derive(Default)]
pub(super) struct Context {
    trouble: Mutex<Option<String>>,
    rebalances: Mutex<VecDeque<Rebalance>>,
    /// From now on partitions are given back at once: nobody listens any more.
    pub leaving: AtomicBool,
}

/// A change of assignment that the member still has to follow.
#[derive(Debug)]
pub(super) enum Rebalance {
    Assign(TopicPartitionList),
    Revoke { partitions: TopicPartitionList, lost: bool },
}

impl Context {
    pub fn next_rebalance(&self) -> Option<Rebalance> {
        self.rebalances.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
    }

    /// An error for a person: what was tried, what came of it, and what the client complained about before.
    pub fn unavailable(&self, doing: &str, error: &KafkaError) -> LogError {
        let code = error.rdkafka_error_code();
        let error = code.map_or_else(|| error.to_string(), |code| explain(code).to_string());
        let trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let trouble = trouble.map(|trouble| format!(" ({trouble})")).unwrap_or_default();
        LogError::Unavailable { reason: format!("kafka did not {doing}: {error}{trouble}") }
    }
}

fn explain(code: RDKafkaErrorCode) -> String {
    match code {
        RDKafkaErrorCode::BrokerTransportFailure
        | RDKafkaErrorCode::AllBrokersDown
        | RDKafkaErrorCode::OperationTimedOut => {
            "no broker answers; check that it runs and that `brokers` under [log] names it".into()
        }
        RDKafkaErrorCode::Authentication | RDKafkaErrorCode::SaslAuthenticationFailed => {
            "it refused the credentials; check `sasl.*` and `security.protocol` under [log]".into()
        }
        RDKafkaErrorCode::TopicAuthorizationFailed | RDKafkaErrorCode::GroupAuthorizationFailed => {
            format!("the user under [log] may not do that ({code})")
        }
        code => code.to_string(),
    }
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        match level {
            RDKafkaLogLevel::Emerg
            | RDKafkaLogLevel::Alert
            | RDKafkaLogLevel::Critical
            | RDKafkaLogLevel::Error
            | RDKafkaLogLevel::Warning => tracing::warn!(kafka.facility = facility, "{message}"),
            RDKafkaLogLevel::Notice | RDKafkaLogLevel::Info => tracing::info!(kafka.facility = facility, "{message}"),
            RDKafkaLogLevel::Debug => tracing::debug!(kafka.facility = facility, "{message}"),
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        let reason = if reason.is_empty() { error.to_string() } else { reason.to_string() };
        // librdkafka repeats itself while a broker is away: each sentence is logged once.
        let mut trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        // That all are down says less than why the last one is.
        let summary = error.rdkafka_error_code() == Some(RDKafkaErrorCode::AllBrokersDown) && trouble.is_some();
        if !summary && trouble.as_ref() != Some(&reason) {
            tracing::warn!(kafka.error = %error, "{reason}");
            *trouble = Some(reason);
        }
    }
}

impl ConsumerContext for Context {
    /// Notes the change and returns: the poll thread follows it when the member is ready, and polls on meanwhile.
    fn rebalance(&self, consumer: &BaseConsumer<Self>, kind: RDKafkaRespErr, partitions: &mut TopicPartitionList) {
        let assigning = matches!(kind, RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS);
        if partitions.count() == 0 || self.leaving.load(Ordering::SeqCst) {
            let followed = if assigning {
                consumer.incremental_assign(partitions)
            } else {
                consumer.incremental_unassign(partitions)
            };
            if let Err(error) = followed {
                tracing::warn!(kafka.error = %error, "a change of assignment could not be followed");
            }
            return;
        }
        let rebalance = if assigning {
            Rebalance::Assign(partitions.clone())
        } else {
            Rebalance::Revoke { partitions: partitions.clone(), lost: consumer.assignment_lost() }
        };
        self.rebalances.lock().unwrap_or_else(PoisonError::into_inner).push_back(rebalance);
    }
}
