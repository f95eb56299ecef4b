//! The embedded log keeps the contract: as it is set by default, and where everything is so small that readers go to
//! disk and segments follow one another all the time.

use event_log::{conformance::writer, embedded::Config};

mod harness;

use harness::Embedded;

mod by_default {
    use super::*;

    event_log::conformance_suite!(Embedded::new(Config::default()));
}

mod with_little_memory {
    use super::*;

    event_log::conformance_suite!(Embedded::new(Config {
        row_bytes_max: 1_000,
        segment_bytes_max: 100_000,
        tail_bytes_max: 1,
        ..Config::default()
    }));
}

#[test]
fn conformance_writer() {
    writer::run_if_asked(|folder| async move { harness::open_for_writer(&folder) as _ });
}
