use std::path::Path;

use jsonschema::Validator;
use serde_json::{Value, json};

use crate::routes;

fn document() -> Value {
    routes::all().finish().2
}

/// `UPDATE_EXPECT=1` writes it.
#[test]
fn the_file_is_what_the_routes_say() {
    let text = serde_json::to_string_pretty(&document()).expect("JSON") + "\n";
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/openapi.json");
    expect_test::expect_file![path].assert_eq(&text);
}

#[test]
fn every_example_is_as_its_schema_says() {
    let document = document();
    let mut tried = 0;
    for operation in operations(&document) {
        for (media_type, content) in operation["requestBody"]["content"].as_object().into_iter().flatten() {
            let mut schema = content["schema"].clone();
            schema["components"] = document["components"].clone();
            let schema: Validator = jsonschema::validator_for(&schema).expect("a schema");
            for (name, example) in content["examples"].as_object().into_iter().flatten() {
                let faults: Vec<String> =
                    schema.iter_errors(&example["value"]).map(|error| error.to_string()).collect();
                assert_eq!(faults, [""; 0], "{} {media_type} {name}", operation["operationId"]);
                tried += 1;
            }
        }
    }
    assert!(tried >= 10, "{tried}");
}

#[test]
fn every_operation_has_a_name_of_its_own_and_a_sentence() {
    let document = document();
    let mut names: Vec<&Value> = operations(&document).iter().map(|operation| &operation["operationId"]).collect();
    let all = names.len();
    names.sort_by_key(|name| name.to_string());
    names.dedup();
    assert_eq!(names.len(), all);
    for operation in operations(&document) {
        assert!(operation["summary"].as_str().is_some_and(|text| text.ends_with('.')), "{operation}");
        let replies: Vec<&String> = operation["responses"].as_object().into_iter().flat_map(|all| all.keys()).collect();
        assert!(replies.iter().any(|status| status.starts_with('2')), "{operation}");
    }
}

/// Of two types of one name, one would be called so and so 2.
#[test]
fn no_two_schemas_share_a_name() {
    let document = document();
    let schemas = document["components"]["schemas"].as_object().expect("schemas");
    let shared = |name: &&String| {
        let plain = name.trim_end_matches(|last: char| last.is_ascii_digit());
        plain != *name && schemas.contains_key(plain)
    };
    assert_eq!(schemas.keys().filter(shared).collect::<Vec<_>>(), [""; 0]);
}

#[test]
fn who_asks_may_leave_out_what_who_is_told_will_find() {
    let document = document();
    let schemas = &document["components"]["schemas"];
    let requires = |name: &str, field: &str| {
        schemas[name]["required"].as_array().is_some_and(|required| required.contains(&json!(field)))
    };
    assert!(requires("TopUpRequest", "amount") && !requires("TopUpRequest", "note"));
    assert!(requires("Calls", "calls") && !requires("Calls", "next"));
}

fn operations(document: &Value) -> Vec<&Value> {
    document["paths"].as_object().into_iter().flat_map(|paths| paths.values()).flat_map(verbs).collect()
}

fn verbs(path: &Value) -> Vec<&Value> {
    path.as_object().into_iter().flat_map(|verbs| verbs.values()).collect()
}
