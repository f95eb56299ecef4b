//! The log on real Kafka, whose address is in MILLSTREAM_TEST_KAFKA (`cargo xtask backends up` gives one): the suite
//! that every log passes, and what Kafka alone could get wrong.
#![allow(clippy::disallowed_methods, reason = "names have to be new in a broker that other tests use too")]

mod broker;
mod promises;

use event_log::conformance::writer;

mod suite {
    event_log::conformance_suite!(super::broker::Broker);
}

#[test]
fn conformance_writer() {
    writer::run_if_asked(|brokers| async move { broker::connect_to(brokers).await as _ });
}
