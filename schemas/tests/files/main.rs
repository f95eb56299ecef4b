//! The files of `json/` and `samples/`, held to the types. `BLESS=1 cargo test -p schemas` writes `json/`; samples are
//! written by hand, once.

mod coverage;
mod json_schemas;
mod samples;

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use schemars::{JsonSchema, SchemaGenerator};
use schemas::record::{
    ControlRecord, DeadLetter, RunsRecord, SignalRecord, TaskRecord, TokenRecord, UpdateRecord, Wire,
};
use serde::de::DeserializeOwned;
use serde_json::Value;

/// A record type, as the tests need it.
struct Record {
    /// `ce_type` without `millstream.`, such as `runs.v1`.
    name: &'static str,
    schema: Value,
    /// Parses the record and serialises it again.
    reread: fn(Value) -> serde_json::Result<Value>,
}

impl Record {
    fn of<T: Wire + JsonSchema + DeserializeOwned>() -> Self {
        Record {
            name: T::TYPE.strip_prefix("millstream.").expect("every ce_type begins so"),
            schema: schema_of::<T>(),
            // By way of text, as a reader gets it.
            reread: |value| serde_json::from_str::<T>(&value.to_string()).and_then(serde_json::to_value),
        }
    }

    fn samples(&self) -> BTreeMap<String, Value> {
        let (record, version) = self.name.rsplit_once('.').expect("a record's name ends in its version");
        let folder = folder("samples").join(version);
        let of_this = |file: &String| file.split('.').next() == Some(record);
        file_names(&folder).into_iter().filter(of_this).map(|file| (file.clone(), json(&folder.join(file)))).collect()
    }
}

fn records() -> Vec<Record> {
    vec![
        Record::of::<RunsRecord>(),
        Record::of::<TaskRecord>(),
        Record::of::<UpdateRecord>(),
        Record::of::<TokenRecord>(),
        Record::of::<SignalRecord>(),
        Record::of::<ControlRecord>(),
        Record::of::<DeadLetter>(),
    ]
}

fn schema_of<T: JsonSchema>() -> Value {
    SchemaGenerator::default().into_root_schema_for::<T>().to_value()
}

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn file_names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn json(path: &Path) -> Value {
    let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
