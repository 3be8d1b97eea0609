use expect_test::{Expect, expect};

use super::protection::Protection;
use super::*;

const GOOD: &str = r#"
data_dir = "data"
[ingress]
listen = "127.0.0.1:9090"
max_age = "off"
[[apps]]
name = "acme"
key = "k-1"
secret = "c2VjcmV0"
policy = "policy.yaml"
"#;

fn load(text: &str, environment: &Environment) -> Result<Config, Fault> {
    let path = Path::new("conf/callbus.toml");
    Config::resolve(path, overlay::read(path, text, environment)?)
}

fn refused(text: &str, variables: &Environment, expected: Expect) {
    says(&load(text, variables).expect_err("refused"), expected);
}

/// The parts of a message on lines of their own.
fn says(fault: &Fault, expected: Expect) {
    expected.assert_eq(&fault.to_string().replace("; ", ";\n"));
}

#[test]
fn defaults_and_paths_beside_the_file() {
    let config = load(GOOD, &Environment::default()).expect("config");
    assert_eq!(config.data_dir, Path::new("conf/data"));
    assert_eq!(config.ingress.listen.port(), 9090);
    assert_eq!(config.ingress.max_age, None);
    assert_eq!(config.api.listen.port(), 8081);
    assert_eq!(config.bus, Bus::Embedded);
    let app = &config.apps[0];
    assert_eq!((app.wallet.as_str(), app.deck.as_str()), ("acme", "standard"));
    assert_eq!(app.policy.as_deref(), Some(Path::new("conf/policy.yaml")));
    assert_eq!(config.callback_url(), "http://127.0.0.1:9090/callbacks");
}

#[test]
fn the_environment_wins() {
    let environment = Environment::from([
        ("CALLBUS__INGRESS__LISTEN", "0.0.0.0:1234"),
        ("CALLBUS__INGRESS__MAX_AGE", "90s"),
        ("CALLBUS__APPS__0__SECRET", "1234"),
        ("CALLBUS__APPS__0__OLD_SECRETS", "[\"b2xk\"]"),
        ("CALLBUS__APPS__1__NAME", "second"),
        ("CALLBUS__APPS__1__KEY", "k-2"),
        ("CALLBUS__APPS__1__SECRET_FILE", "secrets/second"),
        ("CALLBUS__APPS__1__POLICY", "/etc/policy.yaml"),
        ("CALLBUS__WORKER__CONCURRENCY_MAX", "7"),
        ("CALLBUS__BILLING__GROUPS", "4"),
        ("CALLBUS__API__TOKEN", ""),
        ("CALLBUS__BUS__KIND", "nats"),
        ("CALLBUS__BUS__URL", "nats://broker:4222"),
        ("CALLBUS__BUS__SYNC_INTERVAL", "250ms"),
    ]);
    let config = load(GOOD, &environment).expect("config");
    assert_eq!(config.callback_url(), "http://127.0.0.1:1234/callbacks");
    assert_eq!(config.ingress.max_age, Some(SignedDuration::from_secs(90)));
    assert_eq!((config.concurrency_max, config.billing_groups), (7, 4));
    assert!(config.api.token.is_none(), "an empty variable is none");
    assert_eq!(config.apps[0].secrets().expect("secrets").len(), 2);
    assert_eq!(config.apps[1].policy.as_deref(), Some(Path::new("/etc/policy.yaml")));
    assert!(matches!(&config.apps[1].secret, Secret::File(path) if path == Path::new("conf/secrets/second")));
    let Bus::Nats(nats) = config.bus else { panic!("the bus is NATS") };
    assert_eq!((nats.url.as_str(), nats.replicas), ("nats://broker:4222", 1));
    assert_eq!((nats.durability, nats.sync_interval), (Durability::Local, Duration::from_millis(250)));
}

#[test]
fn a_collector_is_named_by_the_file_or_the_standard_variable() {
    let standard = Environment::from([("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318")]);
    let otlp = |text: &str, environment: &Environment| load(text, environment).expect("config").otlp;
    assert_eq!(otlp(GOOD, &Environment::default()), None);
    assert_eq!(otlp(GOOD, &standard).as_deref(), Some("http://collector:4318"));
    let named = format!("{GOOD}[telemetry]\notlp = \"http://127.0.0.1:4318\"\n");
    assert_eq!(otlp(&named, &standard).as_deref(), Some("http://127.0.0.1:4318"));
    refused(
        "[telemetry]\notlp = \"collector:4318\"\n",
        &Environment::default(),
        expect![[r#"
        conf/callbus.toml:2:8: "collector:4318" is not the address of a server: write "http://host:port"
         2 | otlp = "collector:4318"
           |        ^"#]],
    );
    refused(
        GOOD,
        &Environment::from([("OTEL_EXPORTER_OTLP_ENDPOINT", "4318")]),
        expect![[r#"
        OTEL_EXPORTER_OTLP_ENDPOINT: "4318" is not the address of a server: write "http://host:port";
        or leave it unset to trace nothing"#]],
    );
}

#[test]
fn faults_say_what_where_and_what_to_do() {
    let none = Environment::default();
    let variable = |name: &str, value: &str| Environment::from([(name, value)]);
    refused(
        "[ingress]\nlistn = \"127.0.0.1:1\"\n",
        &none,
        expect![[r#"
        conf/callbus.toml:2:1: unknown key listn
         2 | listn = "127.0.0.1:1"
           | ^ did you mean listen?"#]],
    );
    refused(
        "[ingress]\nlisten = \"here\"\n",
        &none,
        expect![[r#"
        conf/callbus.toml:2:10: "here" is not an address: write ip:port, such as "127.0.0.1:8080"
         2 | listen = "here"
           |          ^"#]],
    );
    refused(
        "[ingress]\nmax_age = \"long\"\n",
        &none,
        expect![[r#"
        conf/callbus.toml:2:11: "long" is not a time: write "5m", "90s" or "off"
         2 | max_age = "long"
           |           ^"#]],
    );
    refused(
        "[bus]\nkind = \"kafka\"\n",
        &none,
        expect![[r#"
        conf/callbus.toml:2:8: unknown value kafka
         2 | kind = "kafka"
           |        ^ known here: embedded, nats"#]],
    );
    refused(
        "data_dir = \n",
        &none,
        expect![[r#"
        conf/callbus.toml:1:12: string values must be quoted, expected literal string
         1 | data_dir = 
           |            ^"#]],
    );
    refused(
        "[[apps]]\nname = \"acme\"\n",
        &none,
        expect![[r#"
        [[apps]] number 1 (acme), key: it is missing;
        copy the application key from the Sinch dashboard"#]],
    );
    refused(
        &format!("{GOOD}secret_file = \"x\"\n"),
        &none,
        expect![[r#"
        [[apps]] number 1 (acme), secret: it is given twice, as text and as a file;
        keep one"#]],
    );
    refused(
        &format!("{GOOD}[bus]\nkind = \"nats\"\n"),
        &none,
        expect![[r#"
        [bus] url: it is missing;
        write url = "nats://host:4222""#]],
    );
    refused(
        GOOD,
        &variable("CALLBUS__INGRES__LISTEN", "x"),
        expect![[r#"
        the environment variable CALLBUS__INGRES__LISTEN: unknown key ingres;
        did you mean ingress?"#]],
    );
    refused(
        GOOD,
        &variable("CALLBUS__APPS__5__NAME", "x"),
        expect![[r#"
        CALLBUS__APPS__5__NAME: there is no entry number 5;
        the next free number is 1"#]],
    );
    refused(
        GOOD,
        &variable("CALLBUS__WORKER__CONCURRENCY_MAX", "many"),
        expect![[r#"
        the environment variable CALLBUS__WORKER__CONCURRENCY_MAX: invalid type: string "many", expected a nonzero usize;
        set it right, or not at all"#]],
    );
}

#[test]
fn a_missing_file_says_run_init() {
    let fault = Config::load(Path::new("nowhere/callbus.toml"), &Environment::default()).expect_err("missing");
    says(
        &fault,
        expect!["there is no nowhere/callbus.toml: run `callbus init` to write one, or name yours with --config"],
    );
}

#[test]
fn two_apps_must_differ() {
    let twin = |name: &str, key: &str| {
        format!("{GOOD}[[apps]]\nname = \"{name}\"\nkey = \"{key}\"\nsecret = \"eA==\"\npolicy = \"p.yaml\"\n")
    };
    refused(
        &twin("acme", "k-2"),
        &Environment::default(),
        expect![[r#"
        [[apps]] name: acme stands twice;
        give each app a name of its own"#]],
    );
    refused(
        &twin("other", "K-1"),
        &Environment::default(),
        expect![[r#"
        [[apps]] key: the app other has the key of another;
        give each app its own"#]],
    );
}

#[test]
fn unsafe_combinations_are_refused() {
    let with = |variables: [(&str, &str); 4]| load(GOOD, &Environment::from(variables)).expect("config");
    let embedded = load(GOOD, &Environment::default()).expect("config");
    assert!(embedded.refuse_unsafe(Role::All).is_ok());
    says(
        &embedded.refuse_unsafe(Role::Worker).expect_err("refused"),
        expect![[r#"
        [bus] kind = "embedded": the embedded bus lives in one process, so a worker of its own would reach nobody;
        run `callbus` without a role, or set [bus] kind = "nats""#]],
    );
    let nats = [("CALLBUS__BUS__KIND", "nats"), ("CALLBUS__BUS__URL", "nats://h:1")];
    let memory = with([nats[0], nats[1], ("A", ""), ("B", "")]);
    assert!(memory.refuse_unsafe(Role::All).is_ok());
    says(
        &memory.refuse_unsafe(Role::Ingress).expect_err("refused"),
        expect![[r#"
        [admission] kind = "memory": each process would hold credit by itself, and a wallet could be spent twice;
        set [admission] kind = "redis" with its url, or run all roles in one process (`callbus`)"#]],
    );
    let redis =
        with([nats[0], nats[1], ("CALLBUS__ADMISSION__KIND", "redis"), ("CALLBUS__ADMISSION__URL", "redis://h:1")]);
    for role in [Role::All, Role::Ingress, Role::Worker, Role::Billing, Role::Api] {
        assert!(redis.refuse_unsafe(role).is_ok(), "{role}");
    }
    says(
        &redis.refuse_unsafe(Role::Views).expect_err("refused"),
        expect![[r#"
        [views] url: it is missing, so views would write a file that nobody else reads;
        write url = "postgres://user:password@host/database";
        without it the api keeps tables of its own"#]],
    );
    let shared = with([nats[0], nats[1], ("CALLBUS__VIEWS__URL", "postgres://h/callbus"), ("B", "")]);
    assert!(shared.refuse_unsafe(Role::Views).is_ok(), "views need no admission");
    let alone = with([nats[0], nats[1], ("CALLBUS__BUS__DURABILITY", "replicated"), ("B", "")]);
    says(
        &alone.refuse_unsafe(Role::Ingress).expect_err("refused"),
        expect![[r#"
        [bus] durability = "replicated": with replicas = 1 the log cannot lose one and go on;
        set replicas = 3, for a cluster of three;
        or leave durability out"#]],
    );
    let nobody = load("", &Environment::default()).expect("config");
    says(
        &nobody.refuse_unsafe(Role::All).expect_err("refused"),
        expect![[r#"
        [[apps]]: there is no app to take callbacks for;
        add a block with name, key, secret and policy"#]],
    );
}

#[test]
fn protection_is_on_unless_said_otherwise() {
    for (variables, verifies) in [
        ([("X", ""), ("Y", "")], true),
        ([("CALLBUS_ENV", "development"), ("Y", "")], false),
        ([("CALLBUS_ENV", "development"), ("WEBHOOK_PROTECTION", "always")], true),
        ([("CALLBUS_ENV", "staging"), ("WEBHOOK_PROTECTION", "Deploy")], true),
        ([("WEBHOOK_PROTECTION", "never"), ("Y", "")], false),
        ([("PROTECT_VOICE_CALLBACKS", "never"), ("Y", "")], false),
        ([("PROTECT_VOICE_CALLBACKS", "never"), ("WEBHOOK_PROTECTION", "always")], true),
    ] {
        let environment = Environment::from(variables);
        let protection = Protection::of(&environment).expect("known");
        assert_eq!(protection.verifies(&environment), verifies, "{variables:?}");
    }
    let error = Protection::of(&Environment::from([("WEBHOOK_PROTECTION", "no")])).expect_err("refused");
    says(
        &error,
        expect![[r#"
        WEBHOOK_PROTECTION: "no" is not known;
        write never, deploy or always"#]],
    );
}
