//! The API over real HTTP, on an embedded bus with billing behind it.
#![expect(clippy::expect_used, reason = "a test that cannot go on says where")]

use api::{Api, ApiSettings, Token};
use billing::Billing;
use billing::admission::{Admission, MemoryAdmission};
use bus::{Bus, Cache, Clock};
use bytes::Bytes;
use ingress::Rejections;
use jiff::Timestamp;
use outbound::{OpenError, Outbound, OutboundSettings};
use proto::{AppName, CallId, Event, EventId, Kind, Partition, Subject};
use reqwest::{Client, Method, RequestBuilder};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use views::{Store, Views};

#[path = "../../tests/harness/openapi.rs"]
pub mod openapi;

use openapi::OpenApi;

const TOKEN: &str = "0123456789abcdef";
const CALL: &str = "7ec0f194.call@1";

struct World {
    bus: Bus,
    base: String,
    http: Client,
    tasks: JoinSet<()>,
    _directory: TempDir,
}

/// Calls the loopback, beside what is public.
fn outbound() -> Result<Outbound, OpenError> {
    let allow = "127.0.0.0/8".parse().into_iter().collect();
    Outbound::new(OutboundSettings { allow, plain_http: false, user_agent: "callbus/test".to_owned() })
}

impl World {
    async fn start() -> Self {
        let directory = tempfile::tempdir().expect("directory");
        let bus = Bus::embedded(directory.path()).expect("bus");
        let listen = ([127, 0, 0, 1], 0).into();
        let apps = vec![AppName::new("acme").expect("app")];
        let settings = ApiSettings {
            listen,
            token: Token::new(TOKEN).expect("token"),
            apps,
            region: "SG".to_owned(),
            payers: None,
        };
        let store = Store::sqlite(directory.path());
        store.prepare().await.expect("tables");
        let api = Api::build(settings, bus.clone(), store.clone(), outbound().expect("client")).await;
        let api = api.expect("api");
        let base = format!("http://{}", api.address());
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut tasks = JoinSet::new();
        tasks.spawn(async { api.run(CancellationToken::new()).await.expect("run") });
        tasks.spawn(Views::new(store, bus.clone()).run(CancellationToken::new()));
        let http = Client::builder().no_proxy().build().expect("client");
        Self { bus, base, http, tasks, _directory: directory }
    }

    async fn with_billing() -> Self {
        let mut world = Self::start().await;
        let (cache, clock) = (Cache::memory(10, Clock::System), Clock::System);
        let admission = Admission::Memory(MemoryAdmission::default());
        let billing = Billing::new(world.bus.clone(), admission, cache, clock);
        world.tasks.spawn(async { billing.run(CancellationToken::new()).await.expect("run") });
        // Nobody takes top-ups until the task has run, and that is known at once.
        while world.top_up("warm", "0.000001", "EUR").await.0 == 503 {
            tokio::task::yield_now().await;
        }
        world
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, format!("{}{path}", self.base)).bearer_auth(TOKEN)
    }

    async fn get(&self, path: &str) -> (u16, Value) {
        answer(self.request(Method::GET, path)).await
    }

    async fn top_up(&self, id: &str, amount: &str, currency: &str) -> (u16, Value) {
        let body = json!({ "id": id, "amount": amount, "currency": currency, "note": "cash" });
        answer(self.request(Method::POST, "/v1/wallets/alice/topups").json(&body)).await
    }

    async fn record(&self, kind: Kind, body: Value) {
        let call = CallId::new(CALL).expect("call");
        let app = AppName::new("acme").expect("app");
        let event = Event {
            id: EventId::of(&[kind.as_str(), &body.to_string()]),
            subject: Subject::Call { kind, app, partition: Partition::of(&call) },
            about: call.to_string(),
            source: "acme".to_owned(),
            time: "2026-01-02T03:04:05Z".parse::<Timestamp>().expect("time"),
            extra: Vec::new(),
            data: Bytes::from(body.to_string()),
        };
        self.bus.record(vec![event]).await.expect("recorded");
    }
}

/// Whatever is replied is as the OpenAPI document says.
async fn answer(request: RequestBuilder) -> (u16, Value) {
    let (http, request) = request.build_split();
    let request = request.expect("request");
    let (verb, path) = (request.method().as_str().to_lowercase(), request.url().path().to_owned());
    let reply = http.execute(request).await.expect("reply");
    let status = reply.status().as_u16();
    let kind = reply.headers()["content-type"].to_str().expect("text").to_owned();
    assert_eq!(kind == "application/problem+json", status >= 400, "{status} {kind}");
    let body = reply.json().await.expect("JSON");
    let document = OpenApi::read().expect("document");
    document.check(&verb, &path, status, &kind, &body).expect("a reply that the document knows");
    (status, body)
}

#[tokio::test]
async fn everybody_may_read_the_document() {
    let world = World::start().await;
    let (status, document) = answer(world.http.get(format!("{}/v1/openapi.json", world.base))).await;
    assert_eq!((status, &document["openapi"]), (200, &json!("3.1.0")));
    // It leads to handlers, each.
    for (path, verbs) in document["paths"].as_object().expect("paths") {
        for verb in verbs.as_object().expect("verbs").keys() {
            let method = Method::from_bytes(verb.to_uppercase().as_bytes()).expect("method");
            let (_, said) = answer(world.request(method, path)).await;
            assert!(!said["detail"].as_str().unwrap_or_default().contains("such address"), "{verb} {path}");
            assert_ne!(said["status"], 405, "{verb} {path}");
        }
    }
}

#[tokio::test]
async fn everything_under_v1_needs_the_token() {
    let world = World::start().await;
    let bare = |path: &str| world.http.get(format!("{}{path}", world.base));
    assert_eq!(answer(bare("/healthz")).await, (200, json!({ "status": "ok" })));
    for path in ["/v1/calls", "/v1/wallets/alice", "/v1/nothing"] {
        assert_eq!(answer(bare(path)).await.0, 401, "{path}");
        assert_eq!(answer(bare(path).bearer_auth("0123456789abcdee")).await.0, 401, "{path}");
    }
    assert_eq!(answer(bare("/v1/calls").header("authorization", format!("BEARER {TOKEN}"))).await.0, 200);
    assert_eq!(world.get("/v1/nothing").await.0, 404);
    assert_eq!(answer(world.request(Method::DELETE, "/v1/calls")).await.0, 405);
    assert_eq!(world.get("/v1/calls?limt=1").await.0, 422);
}

#[tokio::test]
async fn a_top_up_is_posted_once() {
    let world = World::with_billing().await;
    let (status, receipt) = world.top_up("t-1", "12.50", "EUR").await;
    assert_eq!(
        (status, &receipt["duplicate"], &receipt["wallet"]["posted"]),
        (201, &json!(false), &json!("12.500001"))
    );
    assert_eq!(world.top_up("t-1", "12.50", "EUR").await.0, 200);
    assert_eq!(world.top_up("t-1", "13", "EUR").await.0, 409);
    assert_eq!(world.top_up("t-2", "1", "USD").await.0, 409);
    for (amount, currency) in [("0", "EUR"), ("-1", "EUR"), ("1e3", "EUR"), ("1", "euro")] {
        assert_eq!(world.top_up("t-3", amount, currency).await.0, 422, "{amount} {currency}");
    }

    let (_, page) = world.get("/v1/wallets").await;
    assert_eq!(page["wallets"][0]["wallet"], "alice");
    assert_eq!(world.get("/v1/wallets/alice").await.1["facts"]["available"], "12.500001");
    let (_, ledger) = world.get("/v1/wallets/alice/ledger?limit=1").await;
    let last = &ledger["postings"][0];
    assert_eq!(
        (&last["amount"], &last["balance"], &last["posting"]["id"]),
        (&json!("12.5"), &json!("12.500001"), &json!("t-1"))
    );
    assert_eq!(world.get("/v1/wallets/nobody").await.0, 404);
    assert_eq!(world.get("/v1/wallets/nobody/ledger").await.0, 404);
    assert_eq!(world.get("/v1/wallets/%7Bbad%7D").await.0, 422);
}

#[tokio::test]
async fn a_wallet_is_changed_as_often_as_asked_and_posted_once() {
    let world = World::with_billing().await;
    let change = |body: Value| answer(world.request(Method::PATCH, "/v1/wallets/alice").json(&body));
    let limits = json!({ "credit_limit": "5", "limits": { "concurrent_max": 2, "allowed": ["SE", "+47"] } });
    let (status, receipt) = change(limits.clone()).await;
    assert_eq!(
        (status, &receipt["duplicate"], &receipt["wallet"]["available"]),
        (200, &json!(false), &json!("5.000001"))
    );
    assert_eq!(receipt["wallet"]["limits"], json!({ "concurrent_max": 2, "allowed": ["47", "SE"] }));
    assert_eq!(change(limits).await.1["duplicate"], true);
    let (_, receipt) = change(json!({ "limits": { "concurrent_max": null }, "status": "blocked" })).await;
    assert_eq!(receipt["wallet"]["limits"], json!({ "allowed": ["47", "SE"] }));
    assert_eq!(world.get("/v1/wallets/alice").await.1["facts"]["status"], "blocked");
    for (body, expected) in [
        (json!({ "limits": { "concurrent": 2 } }), 422),
        (json!({ "limits": { "allowed": [] } }), 422),
        (json!({ "limits": { "allowed": ["XX"] } }), 422),
        (json!({ "limits": { "time_zone": "Mars" } }), 422),
        (json!({ "status": "asleep" }), 422),
        (json!({ "note": "two\nlines" }), 422),
        (json!({ "credit_limit": "-1" }), 409),
        (json!({ "currency": "USD" }), 409),
    ] {
        assert_eq!(change(body.clone()).await.0, expected, "{body}");
    }
}

#[tokio::test]
async fn without_billing_nothing_is_posted_and_503_says_so() {
    let world = World::start().await;
    let (status, problem) = world.top_up("t-1", "1", "EUR").await;
    assert_eq!((status, problem["detail"].as_str()), (503, Some("no billing role is running")));
}

#[tokio::test]
async fn calls_are_told_with_their_numbers_masked() {
    let world = World::start().await;
    assert_eq!(world.get("/v1/calls").await.1, json!({ "calls": [] }));
    let to = json!({ "type": "number", "endpoint": "+15612600684" });
    world.record(Kind::Ice, json!({ "event": "ice", "callid": CALL, "cli": "+46701234567", "to": to })).await;
    let key = EventId::of(&["key"]);
    let decided = json!({
        "key": key, "kind": "ice", "callback": key, "answer": { "action": { "name": "hangup" } }, "outcome": "refused",
        "reason": "NO_CREDIT", "rule": "allowlisted", "by": "worker", "took_micros": 7,
    });
    world.record(Kind::Decided, decided).await;
    let settled = json!({ "call": CALL, "app": "acme", "result": "N/A", "duration_secs": 0, "refused": "NO_CREDIT" });
    world.record(Kind::Settled, settled).await;

    let (_, page) = world.get("/v1/calls").await;
    let call = &page["calls"][0];
    assert_eq!(
        (&call["call"], &call["state"], &call["reason"]),
        (&json!(CALL), &json!("settled"), &json!("NO_CREDIT"))
    );
    assert_eq!((&call["from"], &call["to"]), (&json!("+467••••••67"), &json!("+156••••••84")));
    assert_eq!(world.get("/v1/calls?reveal=1").await.1["calls"][0]["from"], "+46701234567");
    assert_eq!(world.get("/v1/calls?app=other").await.1, json!({ "calls": [] }));

    let path = "/v1/calls/7ec0f194%2Ecall%401";
    let (_, page) = world.get(path).await;
    let kinds: Vec<&str> =
        page["events"].as_array().expect("events").iter().filter_map(|e| e["kind"].as_str()).collect();
    assert_eq!(kinds, ["ice", "decided", "settled"]);
    assert_eq!(page["events"][1]["why"], "Refused with NO_CREDIT.");
    assert!(!page.to_string().contains("15612600684"), "{page}");
    assert!(world.get(&format!("{path}?reveal=1")).await.1.to_string().contains("+15612600684"));
    assert_eq!(world.get("/v1/calls/other").await.0, 404);
}

#[tokio::test]
async fn the_list_of_calls_goes_on_where_it_was_and_stays_short() {
    let world = World::start().await;
    assert_eq!(world.get("/v1/calls").await.1, json!({ "calls": [] }));
    world.record(Kind::Ice, json!({ "event": "ice", "callid": CALL })).await;
    assert_eq!(world.get("/v1/calls").await.1["calls"].as_array().map(Vec::len), Some(1));
    world.record(Kind::Dice, json!({ "event": "dice", "callid": CALL, "result": "BUSY" })).await;
    let (_, page) = world.get("/v1/calls?limit=0").await;
    assert_eq!(page, json!({ "calls": [] }));
    let (_, page) = world.get("/v1/calls").await;
    assert_eq!((page["calls"].as_array().map(Vec::len), &page["calls"][0]["state"]), (Some(1), &json!("ended")));
}

#[tokio::test]
async fn rejected_callbacks_are_asked_of_the_ingress() {
    let mut world = World::start().await;
    assert_eq!(world.get("/v1/rejected").await.0, 503);
    let bus = world.bus.clone();
    world.tasks.spawn(async move {
        api::rejected::serve(&bus, Rejections::default(), CancellationToken::new()).await.expect("serve");
    });
    while world.get("/v1/rejected").await.0 == 503 {
        tokio::task::yield_now().await;
    }
    assert_eq!(world.get("/v1/rejected").await, (200, json!({ "rejected": [] })));
}

#[tokio::test]
async fn a_destination_is_checked_and_its_secrets_are_not_told_again() {
    let world = World::start().await;
    let put = async |spec: Value| answer(world.request(Method::PUT, "/v1/destinations/crm").json(&spec)).await;
    let good =
        json!({ "url": "http://127.0.0.1:9/hook", "kinds": ["settled"], "headers": { "authorization": "s3cret" } });
    let with = |key: &str, value: Value| {
        let mut spec = good.clone();
        spec[key] = value;
        spec
    };
    for (spec, said) in [
        (with("url", json!("http://10.0.0.1/")), "[outbound] allow"),
        (with("url", json!("ftp://example.com/")), "http"),
        (with("kinds", json!([])), "settled"),
        (with("kinds", json!(["setled"])), "settled"),
        (with("wen", json!("true")), "when"),
        (with("when", json!("event.kid == 'ice'")), "event.kind"),
        (with("retry", json!({ "table": [] })), "pauses"),
        (with("timeout_secs", json!(0)), "timeout_secs is 1 to 60"),
        (with("headers", json!({ "webhook-id": "1" })), "webhook-id"),
        (with("headers", json!({ "x-a": "1\r\nx-b: 2" })), "x-a"),
        (with("secret", json!("short")), "whsec_"),
    ] {
        let (status, problem) = put(spec.clone()).await;
        let detail = problem["detail"].as_str().unwrap_or_default();
        assert!(status == 422 && detail.contains(said), "{spec}: {status} {problem}");
    }
    let (status, made) = put(good).await;
    let secret = made["secret"].as_str().expect("a secret");
    assert!(status == 200 && secret.starts_with("whsec_"), "{made}");
    for path in ["/v1/destinations/crm", "/v1/destinations"] {
        let told = world.get(path).await.1.to_string();
        assert!(!told.contains(secret) && !told.contains("s3cret") && told.contains("authorization"), "{told}");
    }
    let (_, rotated) = answer(world.request(Method::POST, "/v1/destinations/crm/rotate")).await;
    assert!(rotated["secret"].is_string() && rotated["secret"] != made["secret"]);
    assert_eq!(rotated["is"]["keys"].as_array().map(Vec::len), Some(2), "both sign for a while");
    let (_, paused) = answer(world.request(Method::POST, "/v1/destinations/crm/pause")).await;
    assert_eq!(paused["paused"], true);
    assert_eq!(answer(world.request(Method::DELETE, "/v1/destinations/crm")).await.0, 200);
    assert_eq!(world.get("/v1/destinations/crm").await.0, 404);
}
