//! Keys, rates, budgets and the cache of answers, all on: limits that nothing reaches, each of which is looked at.

use std::path::{Path, PathBuf};

use crate::load::KEY;

const GUARDS: &str = r#"
[rates]
key_requests = 100000000
key_tokens = 1000000000
user_requests = 100000000
user_tokens = 1000000000

[budgets]
request_tokens = 1000000
run_tokens = 10000000
run_usd = 1000.0
user_day_tokens = 1000000000000
user_day_usd = 1000000.0
key_tokens = 1000000000000
key_usd = 1000000.0
tenant_day_tokens = 1000000000000
tenant_day_usd = 1000000.0
tenant_month_tokens = 1000000000000
tenant_month_usd = 1000000.0
global_day_tokens = 1000000000000
global_day_usd = 1000000.0

[cache]
exact = true

[prices.openai."*"]
input = 0.1
output = 0.4

[[auth.keys]]
name = "bench"
"#;

/// The configuration of a server that [`crate::load::Client`] has a key of.
pub fn write(folder: &Path) -> anyhow::Result<PathBuf> {
    let config = folder.join("millstream.toml");
    std::fs::write(&config, format!("{GUARDS}secret = \"{KEY}\"\n"))?;
    Ok(config)
}
