//! What some version once wrote stays readable, and reads as the same.

use jsonschema::Validator;
use serde_json::{Value, json};

use crate::{Record, coverage::Coverage, file_names, folder, records};

/// A variant that carries something is an object of one field, the variant's name: a second field there is another
/// variant, and no unknown field.
const ONE_FIELD_ONLY: [&str; 10] =
    ["checkpoint", "command", "decision", "kept", "node", "push", "reduction", "retry", "send", "timeout"];

const LATER_FIELD: &str = "a_field_of_a_later_version";

#[test]
fn samples_fit_their_schema_and_survive_a_reader() {
    for record in records() {
        let validator = validator(&record);
        for (file, sample) in record.samples() {
            if let Err(error) = validator.validate(&sample) {
                panic!("{file} doesn't fit {}: {error} at `{}`", record.name, error.instance_path());
            }
            let reread = (record.reread)(sample.clone()).unwrap_or_else(|error| panic!("{file}: {error}"));
            assert!(reread == sample, "{file} reads as something else:\n{reread:#}");
        }
    }
}

#[test]
fn unknown_fields_are_ignored_wherever_they_stand() {
    for record in records() {
        let validator = validator(&record);
        for (file, sample) in record.samples() {
            for place in objects(&sample) {
                let with_one_more = |mut value: Value| {
                    value.pointer_mut(&place).expect("a place of the sample")[LATER_FIELD] = json!({"any": ["thing"]});
                    value
                };
                let later = with_one_more(sample.clone());
                let fits = validator.is_valid(&later);
                match (record.reread)(later) {
                    // An open map of the users' own keeps it; a record drops it.
                    Ok(reread) => {
                        assert!(fits, "the schema of {file} allows no unknown field at `{place}`");
                        assert!(reread == sample || reread == with_one_more(sample.clone()), "{file} at `{place}`");
                    }
                    Err(error) => assert!(is_variant(&sample, &place), "{file} at `{place}`: {error}"),
                }
            }
            let mut later = sample.clone();
            later[LATER_FIELD] = json!(1);
            assert_eq!((record.reread)(later).unwrap(), sample, "{file} keeps what it doesn't know");
        }
    }
}

#[test]
fn every_field_and_every_variant_stands_in_a_sample() {
    // All at once: what records share, such as the envelope, need not be whole in each of them.
    let mut coverage = Coverage::default();
    for record in records() {
        coverage.add(&record.schema, record.samples().values());
    }
    let absent = coverage.absent();
    assert!(absent.is_empty(), "add samples (don't change those that stand) for\n{}", absent.join("\n"));
}

#[test]
fn every_file_is_the_sample_of_a_record() {
    let found: usize = records().iter().map(|record| record.samples().len()).sum();
    let versions = file_names(&folder("samples"));
    let there: usize = versions.iter().map(|version| file_names(&folder("samples").join(version)).len()).sum();
    assert_eq!(found, there, "a sample is named `<record>.<which>.json` in the folder of its version");
}

fn validator(record: &Record) -> Validator {
    jsonschema::options().should_validate_formats(true).build(&record.schema).expect("a schema")
}

/// JSON pointers of all objects of `value`.
fn objects(value: &Value) -> Vec<String> {
    let within = |name: &str, value: &Value| -> Vec<String> {
        let name = name.replace('~', "~0").replace('/', "~1");
        objects(value).into_iter().map(|inner| format!("/{name}{inner}")).collect()
    };
    match value {
        Value::Object(fields) => {
            let inner = fields.iter().flat_map(|(name, value)| within(name, value));
            std::iter::once(String::new()).chain(inner).collect()
        }
        Value::Array(items) => {
            items.iter().enumerate().flat_map(|(index, item)| within(&index.to_string(), item)).collect()
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Vec::new(),
    }
}

fn is_variant(sample: &Value, place: &str) -> bool {
    let fields = sample.pointer(place).and_then(Value::as_object).expect("a place of an object");
    fields.len() == 1 && fields.keys().all(|name| ONE_FIELD_ONLY.contains(&name.as_str()))
}
