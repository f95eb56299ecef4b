//! Holds `dashboards/pipeline.json` to the code: it shows only what some crate says, and tells people what to do.

mod dashboard_file;

use std::collections::BTreeSet;

use dashboard_file::{dashboard, expressions, families, panels, workspace};

/// Where names of metrics are written down.
const SOURCES: [&str; 7] = [
    "ingest/src/metrics.rs",
    "orchestrator/src/metrics.rs",
    "node-workers/src/metrics.rs",
    "sink/src/metrics.rs",
    "event-log/src/metrics.rs",
    "run-store/src/metrics.rs",
    "server/src/telemetry.rs",
];

#[test]
fn it_is_a_dashboard_for_any_prometheus() {
    let dashboard = dashboard();
    assert!(dashboard["schemaVersion"].as_u64() >= Some(39));
    assert_eq!(dashboard["uid"], "millstream-pipeline");
    let variables = dashboard["templating"]["list"].as_array().expect("variables");
    let named = |name: &str| variables.iter().find(|variable| variable["name"] == name).expect("the variable is there");
    assert_eq!(named("datasource")["type"], "datasource");
    for name in ["graph", "node"] {
        let variable = named(name);
        assert_eq!((&variable["multi"], &variable["includeAll"]), (&true.into(), &true.into()), "{name}");
        assert_eq!(variable["datasource"]["uid"], "${datasource}", "{name}");
    }
}

#[test]
fn every_panel_has_an_id_a_unit_and_advice() {
    let dashboard = dashboard();
    let all = dashboard["panels"].as_array().expect("a list of panels");
    let ids: BTreeSet<u64> = all.iter().map(|panel| panel["id"].as_u64().expect("an id")).collect();
    assert_eq!(ids.len(), all.len(), "two panels share an id");
    let shown = panels(&dashboard);
    assert!(shown.len() > 30, "{} panels", shown.len());
    for panel in shown {
        let title = panel["title"].as_str().unwrap_or_default();
        assert!(!title.is_empty(), "a panel without a title");
        let unit = panel["fieldConfig"]["defaults"]["unit"].as_str().unwrap_or_default();
        assert!(!unit.is_empty(), "{title} has no unit");
        let advice = panel["description"].as_str().unwrap_or_default();
        assert!(advice.len() > 60, "{title} doesn't say what to do when it is bad");
        assert_eq!(panel["datasource"]["uid"], "${datasource}", "{title}");
        let targets = panel["targets"].as_array().expect("targets");
        assert!(!targets.is_empty(), "{title} asks nothing");
        for target in targets {
            assert_eq!(target["datasource"]["uid"], "${datasource}", "{title}");
        }
    }
}

#[test]
fn every_metric_is_one_that_the_code_names() {
    let mut written = BTreeSet::new();
    for source in SOURCES {
        let text =
            std::fs::read_to_string(workspace().join(source)).unwrap_or_else(|error| panic!("{source}: {error}"));
        written.extend(text.split('"').filter(|word| word.starts_with("millstream_")).map(str::to_owned));
    }
    let dashboard = dashboard();
    for expression in expressions(&panels(&dashboard)) {
        let families = families(expression);
        assert!(!families.is_empty(), "{expression} shows none of our metrics");
        for family in families {
            assert!(written.contains(family), "{family} is in no metrics.rs, but in {expression}");
        }
    }
}

#[test]
fn rates_follow_the_scrape_interval() {
    let dashboard = dashboard();
    for expression in expressions(&panels(&dashboard)) {
        for range in expression.split('[').skip(1).filter_map(|rest| rest.split(']').next()) {
            assert!(["$__rate_interval", "$__range"].contains(&range), "[{range}] in {expression}");
        }
    }
}
