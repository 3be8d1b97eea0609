//! The architecture, held by a test: who may use whom, and who alone may know a broker, a store or the environment.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Each crate, and the crates of the workspace it may use. A crate may use only what stands above it.
const LAYERS: [(&str, &[&str]); 14] = [
    ("proto", &[]),
    ("money", &["proto"]),
    ("policy", &["proto"]),
    ("bus", &["proto"]),
    ("outbound", &["proto"]),
    ("ingress", &["proto", "bus"]),
    ("billing", &["proto", "money", "bus", "outbound"]),
    ("workers", &["proto", "money", "policy", "bus", "outbound", "billing"]),
    ("delivery", &["proto", "money", "policy", "bus", "outbound", "workers"]),
    ("views", &["proto", "money", "bus"]),
    ("api", &["proto", "money", "policy", "bus", "outbound", "ingress", "billing", "workers", "delivery", "views"]),
    ("simulator", &["proto"]),
    (
        "callbus",
        &[
            "proto",
            "money",
            "policy",
            "bus",
            "outbound",
            "ingress",
            "billing",
            "workers",
            "delivery",
            "views",
            "api",
            "simulator",
        ],
    ),
    (
        "tests",
        &["proto", "money", "policy", "bus", "ingress", "billing", "workers", "views", "api", "simulator", "callbus"],
    ),
];

/// Who alone may know what lies outside. `tests` may know everything.
const ALONE: [(&str, &[&str]); 9] = [
    ("async-nats", &["bus"]),
    ("redis", &["bus", "billing"]),
    ("rusqlite", &["bus"]),
    ("sqlx", &["views"]),
    ("parquet", &["views"]),
    ("axum", &["ingress", "api", "simulator"]),
    ("reqwest", &["outbound", "simulator", "callbus"]),
    ("clap", &["callbus"]),
    ("opentelemetry-otlp", &["callbus"]),
];

/// Pure crates do no I/O and have no async.
const PURE: [&str; 3] = ["proto", "money", "policy"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Dependencies of each member, dev-dependencies left out: they do not ship.
#[expect(clippy::expect_used, reason = "a test that cannot begin has failed")]
fn dependencies() -> BTreeMap<String, Vec<String>> {
    let read = |path: PathBuf| -> toml::Table {
        fs::read_to_string(&path)
            .expect("manifest")
            .parse()
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    };
    let workspace = read(root().join("Cargo.toml"));
    let members = workspace["workspace"]["members"].as_array().expect("members");
    let names = members.iter().filter_map(toml::Value::as_str);
    names
        .map(|name| {
            let manifest = read(root().join(name).join("Cargo.toml"));
            let table = manifest.get("dependencies").and_then(toml::Value::as_table);
            (name.to_owned(), table.map(|table| table.keys().cloned().collect()).unwrap_or_default())
        })
        .collect()
}

#[test]
fn every_crate_stays_in_its_layer() {
    let dependencies = dependencies();
    assert_eq!(dependencies.len(), LAYERS.len(), "the table names every member: {:?}", dependencies.keys());
    let members: Vec<&str> = LAYERS.iter().map(|(name, _)| *name).collect();
    for (index, (name, allowed)) in LAYERS.into_iter().enumerate() {
        let below = allowed.iter().find(|used| !members[..index].contains(*used));
        assert_eq!(below, None, "{name} may use only what stands above it");
        for used in dependencies[name].iter().filter(|used| members.contains(&used.as_str())) {
            assert!(allowed.contains(&used.as_str()), "{name} may not use {used}");
        }
    }
}

#[test]
fn what_lies_outside_is_known_in_one_place() {
    for (name, used) in dependencies() {
        for (outside, alone) in ALONE {
            let known = used.iter().any(|used| used == outside);
            assert!(!known || name == "tests" || alone.contains(&name.as_str()), "{name} may not know {outside}");
        }
        if PURE.contains(&name.as_str()) {
            let shell = used.iter().find(|used| ["tokio", "futures", "tracing", "bus"].contains(&used.as_str()));
            assert_eq!(shell, None, "{name} is pure");
        }
    }
}
