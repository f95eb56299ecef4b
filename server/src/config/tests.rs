use super::*;

#[test]
fn secrets_are_hidden_in_print() {
    let mut config = Config::default();
    let key = |secret, hash| Key {
        name: "ci".into(),
        secret,
        hash,
        secret_file: None,
        tenant: "acme".into(),
        scopes: Vec::new(),
        graphs: vec![],
    };
    config.auth.keys.push(key(Some(Secret::new("s3cret")), None));
    config.auth.keys.push(key(None, Some("0f".repeat(32))));
    config.server.secret = Some(Secret::new("shared"));
    let provider = Provider { api_key: Some(Secret::new("sk-1")), ..Provider::default() };
    config.providers.insert("openai".into(), provider);
    let printed = config.printed().unwrap();
    for secret in ["s3cret", "shared", "sk-1"] {
        assert!(!printed.contains(secret), "{printed}");
    }
    assert!(printed.contains("<hidden>"));
    assert!(!format!("{config:?}").contains("s3cret"));
}

/// What the file and these variables make.
fn made(file: &str, variables: &[(&str, &str)]) -> anyhow::Result<Config> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join(FILE);
    std::fs::write(&path, file)?;
    read(Some(path), variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())))
}

#[test]
fn the_environment_stands_above_the_file() {
    let file = "[log]\npartitions = 8\nprefix = \"prod-\"\n[models.small]\nuse = \"openai/a\"\n";
    let variables = [
        ("MILLSTREAM__LOG__PARTITIONS", "16"),
        ("MILLSTREAM__LOG__KIND", "kafka"),
        ("MILLSTREAM__AUTH__OPEN", "true"),
        ("MILLSTREAM__SERVER__CORS", "https://a.example, https://b.example"),
        ("MILLSTREAM__PROVIDERS__OPENAI__API_KEY", "0123"),
        ("MILLSTREAM_URL", "no setting"),
    ];
    let config = made(file, &variables).unwrap();
    assert_eq!((config.log.partitions, config.log.kind, config.auth.open), (16, LogKind::Kafka, true));
    assert_eq!(config.log.prefix, "prod-");
    assert_eq!(config.server.cors, ["https://a.example", "https://b.example"]);
    assert_eq!(config.models["small"], Model::to("openai/a"));
    assert_eq!(config.providers["openai"].api_key.as_ref().unwrap().expose(), "0123");
    assert!(made("", &[("MILLSTREAM__LOG__PARTITION", "16")]).is_err(), "a setting that isn't there");
    assert!(made("", &[("MILLSTREAM__LOG__PARTITIONS", "many")]).is_err());
}

#[test]
fn a_secret_is_read_from_the_file_that_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let secret = folder.path().join("secret");
    std::fs::write(&secret, "0123\n").unwrap();
    let named = ("MILLSTREAM__STORE__PASSWORD_FILE", secret.to_str().unwrap());
    let config = made("", &[named]).unwrap();
    assert_eq!(config.store.password.unwrap().expose(), "0123");
    assert!(made("", &[named, ("MILLSTREAM__STORE__PASSWORD", "x")]).is_err(), "which one counts?");
    assert!(made("", &[("MILLSTREAM__STORE__PASSWORD_FILE", "/no/such/file")]).is_err());
}

const DOCUMENT: &str = include_str!("../../../docs/configuration.md");

#[test]
fn the_documented_example_is_read() {
    let example = DOCUMENT.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next()).expect("an example");
    let config = made(example, &[]).unwrap();
    assert_eq!(config.log.client["security.protocol"], "SASL_SSL");
    // Read again without its comments' marks: what is commented out is right, too.
    let whole: String = example
        .lines()
        .map(|line| line.strip_prefix("#: ").unwrap_or(line))
        .fold(String::new(), |text, line| text + line + "\n");
    made(&whole, &[]).unwrap();
    let shown: serde_json::Value = toml::from_str::<toml::Value>(&whole).unwrap().try_into().unwrap();
    for (setting, _) in settings() {
        let pointer = format!("/{}", setting.replace('.', "/"));
        assert!(shown.pointer(&pointer).is_some(), "the example doesn't show {setting}");
    }
}

#[test]
fn every_setting_is_documented_with_its_default() {
    for (setting, default) in settings() {
        let variable = format!("MILLSTREAM__{}", setting.to_uppercase().replace('.', "__"));
        let row = format!("| `{setting}` | `{variable}` | {default} |");
        assert!(DOCUMENT.contains(&row), "docs/configuration.md lacks the row\n{row}");
    }
}

/// Each setting of a section with its default as the document writes it.
fn settings() -> Vec<(String, String)> {
    let defaults = serde_json::to_value(Config::default()).unwrap();
    let sections = defaults
        .as_object()
        .unwrap()
        .iter()
        .filter(|(section, _)| !["models", "providers", "prices"].contains(&section.as_str()));
    let settings = sections.flat_map(|(section, settings)| {
        settings.as_object().unwrap().iter().map(move |(key, value)| (format!("{section}.{key}"), written(value)))
    });
    let settings: Vec<_> =
        settings.filter(|(setting, _)| !["log.client", "auth.keys", "auth.jwt"].contains(&setting.as_str())).collect();
    assert!(settings.len() > 25, "{settings:?}");
    settings
}

fn written(value: &serde_json::Value) -> String {
    match value {
        serde_json::Value::Null => "none".to_owned(),
        serde_json::Value::Array(values) if values.is_empty() => "none".to_owned(),
        value => format!("`{value}`"),
    }
}

#[test]
fn a_key_may_be_a_hash_or_stand_in_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let secret = folder.path().join("web");
    std::fs::write(&secret, "at least sixteen\n").unwrap();
    let file = |more: &str| format!("[[auth.keys]]\nname = 'web'\nscopes = ['read', 'run']\n{more}");
    let named = format!("secret_file = '{}'", secret.display());
    let mut config = made(&file(&named), &[]).unwrap();
    config.read_key_files().unwrap();
    assert_eq!(config.auth.keys[0].secret.as_ref().unwrap().expose(), "at least sixteen");
    assert_eq!(config.auth.keys[0].scopes, [ingest::Scope::Read, ingest::Scope::Run]);
    assert!(!config.printed().unwrap().contains("at least sixteen"));
    let both = file(&format!("secret = 'x'\n{named}"));
    assert!(made(&both, &[]).unwrap().read_key_files().is_err(), "which one counts?");
    let gone = file("secret_file = '/no/such/file'");
    assert!(made(&gone, &[]).unwrap().read_key_files().is_err());
    assert!(made(&file("hash = '00'"), &[]).is_ok(), "ingest checks what a hash looks like");
    assert!(made("[[auth.keys]]\nname = 'web'\nscopes = ['everything']\n", &[]).is_err());
}

#[test]
fn openai_is_a_provider_and_default_names_a_model_of_it() {
    let with = |file: &str, variables: &[(&str, &str)]| {
        let mut config = made(file, &[]).unwrap();
        let find = |name: &str| variables.iter().find(|(known, _)| *known == name);
        add_known_models(&mut config, |name| find(name).map(|(_, value)| (*value).to_owned()));
        config
    };
    assert_eq!(with("", &[]).models["default"], Model::to("scripted/demo"));
    let keyed = with("", &[("OPENAI_API_KEY", "sk"), ("OPENAI_MODEL", "gpt-5-mini")]);
    assert_eq!(keyed.models["default"], Model::to("openai/gpt-5-mini"));
    assert_eq!(keyed.providers[OPENAI].api_key.as_ref().unwrap().expose(), "sk");
    let file = "[providers.openai]\nbase_url = 'http://a/v1'\n[models.default]\nuse = 'openai/own'\n";
    let both = with(file, &[("OPENAI_BASE_URL", "http://b/v1")]);
    assert_eq!(both.providers[OPENAI].base_url.as_deref(), Some("http://a/v1"), "the file stands above");
    assert_eq!(both.models["default"], Model::to("openai/own"));
    assert_eq!(with("", &[("ANTHROPIC_API_KEY", "sk")]).models["default"], Model::to("scripted/demo"));
    let claude = &with("", &[("ANTHROPIC_API_KEY", "sk"), ("ANTHROPIC_BASE_URL", "http://c")]).providers[ANTHROPIC];
    assert_eq!((claude.api_key.as_ref().unwrap().expose(), claude.base_url.as_deref()), ("sk", Some("http://c")));
    assert!(made("[models.x]\nuse = 'openai/a'\nbase_url = 'http://a/v1'\n", &[]).is_err(), "a provider's");
}

#[test]
fn an_owner_may_be_silent_for_as_long_as_an_idle_one_is() {
    let mut config = Config::default();
    assert!(config.refuse_deafness().is_ok());
    config.limits.partition_silent_seconds = 4;
    assert!(config.refuse_deafness().is_err());
}

#[test]
fn threads_live_for_some_time_or_until_they_are_deleted() {
    let ttl = |file: &str| made(file, &[]).unwrap().thread_ttl();
    assert_eq!(ttl("").unwrap(), None);
    assert_eq!(ttl("[threads]\nttl_minutes = 0.5\n").unwrap().map(|ttl| ttl.ms), Some(30_000));
    for minutes in ["0", "-1", "1e12"] {
        let refused = ttl(&format!("[threads]\nttl_minutes = {minutes}\n")).unwrap_err().to_string();
        assert!(refused.contains("[threads] ttl_minutes"), "{refused}");
    }
}

#[test]
fn a_thread_whose_time_is_over_is_deleted_or_keeps_its_latest() {
    use graph::event::TtlStrategy::{Delete, KeepLatest};
    let asked = |file: &str, variables: &[(&str, &str)]| {
        let ttl = made(&format!("[threads]\n{file}\n"), variables).and_then(|config| config.thread_ttl());
        ttl.map(|ttl| ttl.map(|ttl| ttl.strategy)).map_err(|error| format!("{error:#}"))
    };
    let in_the_environment = [("MILLSTREAM__THREADS__STRATEGY", "keep_latest")];
    for (file, variables, strategy) in [
        ("ttl_minutes = 1", &[][..], Delete),
        ("ttl_minutes = 1\nstrategy = \"delete\"", &[], Delete),
        ("ttl_minutes = 1\nstrategy = \"keep_latest\"", &[], KeepLatest),
        ("ttl_minutes = 1", &in_the_environment, KeepLatest),
    ] {
        assert_eq!(asked(file, variables), Ok(Some(strategy)), "{file}");
    }
    assert_eq!(asked("strategy = \"delete\"", &[]), Ok(None));
    for (file, says) in [
        ("ttl_minutes = 1\nstrategy = \"forget\"", "[threads] strategy is forget; set it to delete or keep_latest"),
        ("strategy = \"keep_latest\"", "set ttl_minutes too"),
    ] {
        let refused = asked(file, &[]).expect_err(file);
        assert!(refused.contains(says), "{refused}");
    }
}

#[test]
fn budgets_are_whole_and_hold_over_all_processes() {
    let limits = |file: &str| made(file, &[]).and_then(|config| config.budget_limits());
    assert!(limits("").unwrap().are_none());
    assert!(limits("[log]\nkind = 'kafka'\n").unwrap().are_none());
    let found = limits("[budgets]\nrun_usd = 0.01\nuser_day_tokens = 7\n").unwrap().all;
    assert_eq!((found.run.nano_usd, found.run.tokens, found.user_day.tokens), (Some(10_000_000), None, Some(7)));
    let refused = |file: &str| limits(file).expect_err(file).to_string();
    assert!(refused("[budgets]\nkey_usd = -1.0\n").contains("[budgets] key_usd is -1"));
    let on_kafka = "[log]\nkind = 'kafka'\n[budgets]\nkey_usd = 1.0\n";
    assert!(refused(on_kafka).contains("[budgets] must hold over all processes on Kafka"));
    assert!(refused(on_kafka).contains("MILLSTREAM__QUOTA__REDIS_FILE"));
    assert!(!limits(&format!("{on_kafka}[quota]\nredis = 'redis://redis'\n")).unwrap().are_none());
    assert!(made("[budgets]\nrun_cents = 1\n", &[]).is_err(), "a setting that isn't there");
}

#[test]
fn a_tenant_and_a_key_may_have_limits_of_their_own() {
    let file = "[budgets]\nkey_usd = 1.0\nrun_tokens = 5\n[budgets.tenants.acme]\ntenant_day_usd = 2.0\nrun_tokens = 6\n\
                [budgets.keys.web]\nrun_tokens = 7\n[rates.keys.web]\nkey_requests = 8\n";
    let config = made(file, &[]).unwrap();
    let (budgets, rates) = (config.budget_limits().unwrap(), config.rate_limits().unwrap().expect("limits"));
    let found = |tenant, key| {
        let limits = budgets.of(tenant, key);
        (limits.run.tokens, limits.key.nano_usd, limits.tenant_day.nano_usd, rates.of(tenant, key).key.requests)
    };
    let (one, two) = (Some(1_000_000_000), Some(2_000_000_000));
    assert_eq!(found("acme", Some("web")), (Some(7), one, two, Some(8)));
    assert_eq!(found("acme", None), (Some(6), one, two, None));
    assert_eq!(found("other", Some("app")), (Some(5), one, None, None));
    for (file, says) in [
        (
            "[budgets.keys.web]\ntenant_day_usd = 1.0",
            "[budgets.keys.web] has tenant_day, a budget that others spend too",
        ),
        ("[budgets.tenants.acme]\nglobal_day_usd = 1.0", "[budgets.tenants.acme] has global_day"),
        ("[budgets.tenants.acme]\nrun_usd = -1.0", "[budgets.tenants.acme] run_usd is -1"),
        ("[budgets.keys.web]\noutput_tokens_max = 1", "stands in [budgets] alone"),
        (
            "[budgets.tenants.acme.keys.web]\nrun_usd = 1.0",
            "write them as [budgets.tenants.NAME] and [budgets.keys.NAME]",
        ),
        ("[rates.tenants.acme]\nkey_requests = 0", "above 0"),
        ("[log]\nkind = 'kafka'\n[budgets.keys.web]\nrun_usd = 1.0", "[budgets] must hold over all processes on Kafka"),
    ] {
        let config = made(file, &[]).unwrap();
        let refused = config.budget_limits().map(drop).and_then(|()| config.rate_limits().map(drop)).expect_err(file);
        assert!(refused.to_string().contains(says), "{refused}");
    }
}

#[test]
fn rates_hold_over_all_processes() {
    let limits = |file: &str| made(file, &[]).and_then(|config| config.rate_limits());
    assert_eq!(limits("").unwrap(), None);
    let found = limits("[rates]\nkey_requests = 60\nuser_tokens = 7\n").unwrap().expect("limits").all;
    assert_eq!((found.key.requests, found.key.tokens, found.user.tokens), (Some(60), None, Some(7)));
    let refused = |file: &str| limits(file).expect_err(file).to_string();
    for limit in ["0", "100000000001"] {
        assert!(refused(&format!("[rates]\nkey_requests = {limit}\n")).contains("above 0 and to 100000000000"));
    }
    let on_kafka = "[log]\nkind = 'kafka'\n[rates]\nkey_requests = 1\n";
    assert!(refused(on_kafka).contains("[rates] must hold over all processes on Kafka"));
    assert!(limits(&format!("{on_kafka}[quota]\nredis = 'redis://redis'\n")).unwrap().is_some());
}

#[test]
fn the_address_of_redis_is_a_secret() {
    let config = made("", &[("MILLSTREAM__QUOTA__REDIS", "redis://:pass123@host")]).unwrap();
    assert_eq!(config.quota.redis.as_ref().unwrap().expose(), "redis://:pass123@host");
    assert!(!config.printed().unwrap().contains("pass123") && !format!("{config:?}").contains("pass123"));
    assert_eq!(config.quota_prefix().unwrap(), "millstream");
    for prefix in ["", "a{b}"] {
        let config = made(&format!("[quota]\nprefix = '{prefix}'\n"), &[]).unwrap();
        assert!(config.quota_prefix().unwrap_err().to_string().contains("[quota] prefix is"), "{prefix}");
    }
}

#[test]
fn own_prices_are_read() {
    let config = made("[prices.ollama]\n'*' = {input = 0.0, output = 0.0}\n", &[]).unwrap();
    assert_eq!(config.prices["ollama"]["*"].input, 0.0);
    assert!(made("[prices.ollama.llama]\ninput = 0.0\n", &[]).is_err(), "what comes out has a price, too");
}

#[test]
fn strangers_are_refused() {
    let mut config = Config::default();
    assert!(config.refuse_strangers().is_ok());
    config.server.listen = "0.0.0.0:80".parse().unwrap();
    assert!(config.refuse_strangers().is_err());
    config.auth.open = true;
    assert!(config.refuse_strangers().is_ok());
}

#[test]
fn roles_refuse_embedded_parts() {
    let message = Config::default().refuse_embedded("sink").unwrap_err().to_string();
    assert!(message.contains("MILLSTREAM__LOG__KIND=kafka"), "{message}");
}

#[test]
fn a_provider_says_which_wire_format_it_speaks() {
    let of = |kind: &str| {
        made(&format!("[providers.x]\nkind = '{kind}'\nbase_url = 'http://x/v1'\napi_version = '1'\n"), &[])
    };
    assert_eq!(of("anthropic").unwrap().providers["x"].kind, Some(ProviderKind::Anthropic));
    assert_eq!(of("openai").unwrap().providers["x"].kind, Some(ProviderKind::OpenAi));
    let error = format!("{:#}", of("gemini").unwrap_err());
    for said in ["gemini", "`openai`", "`anthropic`", "providers.x.kind"] {
        assert!(error.contains(said), "{said} is not in {error}");
    }
}

#[test]
fn an_issuer_of_tokens_is_named_whole_or_not_at_all() {
    let jwt = |more: &str| {
        let base = "[auth.jwt]\nissuer = 'https://login.example.com/'\naudience = ['millstream']\n";
        made(&format!("{base}{more}"), &[]).unwrap().auth.jwt.unwrap().read()
    };
    let url = "jwks_url = 'https://login.example.com/jwks.json'\n";
    let read = jwt(url).unwrap();
    assert_eq!((read.leeway.as_secs(), read.user_claim.as_str()), (60, "sub"));
    jwt("jwks_url = 'http://127.0.0.1:9/jwks'\n").unwrap();
    jwt("jwks_file = '/etc/millstream/jwks.json'\n").unwrap();
    for (more, says) in [
        ("", "says nowhere"),
        ("jwks_url = 'https://x/y'\njwks_file = '/z'\n", "take one away"),
        ("jwks_url = 'http://login.example.com/jwks.json'\n", "use https"),
        ("jwks_url = 'https://x/y'\nleeway_seconds = 86400\n", "600 at most"),
    ] {
        let refused = jwt(more).map(|_| ()).unwrap_err().to_string();
        assert!(refused.contains(says), "{more}: {refused}");
    }
    assert!(made("[auth.jwt]\naudience = ['millstream']\n", &[]).is_err(), "no issuer");
    let variables = [
        ("MILLSTREAM__AUTH__JWT__ISSUER", "https://x/"),
        ("MILLSTREAM__AUTH__JWT__AUDIENCE", "one, two"),
        ("MILLSTREAM__AUTH__JWT__JWKS_URL", "https://x/y"),
    ];
    assert_eq!(made("", &variables).unwrap().auth.jwt.unwrap().audience, ["one", "two"]);
}
