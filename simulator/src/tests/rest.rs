//! The REST API: who asks properly hears how a call stands.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use proto::AppKey;
use proto::signature::{AppSecret, Authorization, SignedParts};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::script;
use super::server::{Server, only};

pub(super) struct Rest {
    base: String,
    _serving: JoinSet<()>,
}

/// How a request says whose it is.
#[derive(Clone, Copy)]
enum As<'a> {
    Signed { key: &'a str, secret: &'a str, timestamp: &'a str },
    Header(&'a str),
    Nobody,
}

impl Rest {
    pub(super) async fn start(platform: crate::Platform) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let base = format!("http://{}", listener.local_addr().expect("an address"));
        let mut serving = JoinSet::new();
        serving.spawn(async move { platform.serve(listener).await.expect("serving") });
        Self { base, _serving: serving }
    }

    pub(super) async fn get(&self, path: &str) -> (u16, Value) {
        self.send("GET", path, String::new(), OURS).await
    }

    pub(super) async fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        self.send("POST", path, body.to_string(), OURS).await
    }

    pub(super) async fn patch(&self, path: &str, body: &Value) -> (u16, Value) {
        self.send("PATCH", path, body.to_string(), OURS).await
    }

    pub(super) async fn delete(&self, path: &str) -> (u16, Value) {
        self.send("DELETE", path, String::new(), OURS).await
    }

    /// The status, and the body where there is one.
    async fn send(&self, method: &str, path: &str, body: String, whose: As<'_>) -> (u16, Value) {
        let url = format!("{}{path}", self.base);
        let request = reqwest::Client::new().request(method.parse().expect("a method"), url);
        let mut request = request.header("content-type", "application/json");
        match whose {
            As::Signed { key, secret, timestamp } => {
                let signature = AppSecret::from_base64(secret).expect("secret").sign(&SignedParts {
                    method,
                    content_type: b"application/json",
                    timestamp: timestamp.as_bytes(),
                    path,
                    body: body.as_bytes(),
                });
                let authorization = Authorization::header(&AppKey::new(key).expect("key"), &signature);
                request = request.header("authorization", authorization).header("x-timestamp", timestamp);
            }
            As::Header(authorization) => request = request.header("authorization", authorization),
            As::Nobody => {}
        }
        let reply = request.body(body).send().await.expect("a reply");
        let (status, body) = (reply.status().as_u16(), reply.bytes().await.expect("a body"));
        (status, if body.is_empty() { Value::Null } else { serde_json::from_slice(&body).expect("JSON") })
    }
}

/// Refused, with this code.
pub(super) fn refused((status, body): (u16, Value)) -> u64 {
    let code = body["errorCode"].as_u64().unwrap_or_default();
    assert_eq!(u64::from(status), code / 100, "{body}");
    assert!(body["message"].as_str().is_some_and(|message| !message.is_empty()), "{body}");
    code
}

const KEY: &str = "669e367e-6bba-48ab-af15-266871c28135";
const SECRET: &str = "BeIukql3pTKJ8RGL5zo0DA==";
const NOW: &str = "2026-03-01T12:00:00Z";
const OURS: As<'_> = As::Signed { key: KEY, secret: SECRET, timestamp: NOW };

#[tokio::test]
async fn a_call_can_be_asked_about_while_it_lasts_and_after() {
    let server = Server::start(|_| only("continue")).await;
    let platform = server.platform();
    let rest = Rest::start(platform.clone()).await;
    let facts = platform.facts(&script());
    platform.began(&facts, super::server::now());
    let path = |call: &proto::CallId| format!("/calling/v1/calls/id/{call}");
    let (status, info) = rest.get(&path(&facts.call)).await;
    assert_eq!((status, &info["status"], &info["result"]), (200, &Value::from("ONGOING"), &Value::Null), "{info}");
    let report = platform.call(script()).await;
    let (_, info) = rest.get(&path(&report.call)).await;
    let seen = ["status", "result", "timestamp"].map(|name| info[name].as_str().unwrap_or_default());
    assert_eq!((seen[0], seen[1], seen[2].len()), ("FINAL", report.ending.result.as_str(), NOW.len() - 1), "{info}");
    assert_eq!(info["duration"].as_u64(), report.duration_secs.map(u64::from));
    assert_eq!(refused(rest.get("/calling/v1/calls/id/other").await), 40400);
    assert_eq!(refused(rest.get("/calling/v1/nothing").await), 40400);
    assert_eq!(refused(rest.delete(&path(&report.call)).await), 40003);
}

#[tokio::test]
async fn only_the_application_is_let_in() {
    let rest = Rest::start(super::server::platform("http://127.0.0.1:1/", None)).await;
    let ask = async |whose: As<'_>| rest.send("GET", "/calling/v1/calls/id/other", String::new(), whose).await;
    let basic = |text: &str| format!("basic {}", STANDARD.encode(text));
    let (ours, of_nobody) = (basic(&format!("{KEY}:{SECRET}")), basic("no colon"));
    let unpadded = basic(&format!("{}:{}", KEY.to_uppercase(), SECRET.trim_end_matches('=')));
    let signed = |key, secret, timestamp| As::Signed { key, secret, timestamp };
    for whose in [OURS, As::Header(&ours), As::Header(&unpadded), signed(KEY, SECRET, "2026-03-01T12:05:00Z")] {
        assert_eq!(refused(ask(whose).await), 40400, "there is no such call");
    }
    let (other_key, other_secret) = (basic(&format!("other:{SECRET}")), basic(&format!("{KEY}:c2VjcmV0")));
    for (whose, code) in [
        (signed(KEY, "c2VjcmV0", NOW), 40102),
        (signed("other", SECRET, NOW), 40108),
        (signed(KEY, SECRET, "soon"), 40101),
        (signed(KEY, SECRET, "2026-03-01T11:55:00Z"), 40101),
        (signed(KEY, SECRET, "2026-03-01T12:05:01Z"), 40101),
        (As::Nobody, 40100),
        (As::Header("application"), 40100),
        (As::Header("application no-signature"), 40100),
        (As::Header(&of_nobody), 40100),
        (As::Header("basic %"), 40100),
        (As::Header(&other_key), 40108),
        (As::Header(&other_secret), 40108),
        (As::Header("bearer token"), 40301),
    ] {
        assert_eq!(refused(ask(whose).await), code);
    }
    // What is signed is the request that came, and no other.
    let (status, _) = rest.send("POST", "/calling/v1/callouts", "{".to_owned(), OURS).await;
    assert_eq!(status, 400);
    let too_large = json!({ "method": "x".repeat(70_000) });
    assert_eq!(refused(rest.post("/calling/v1/callouts", &too_large).await), 40001);
}

#[tokio::test]
async fn a_lost_callback_never_arrives_and_the_call_is_final_all_the_same() {
    let server = Server::start(|_| only("continue")).await;
    let platform = server.platform();
    let rest = Rest::start(platform.clone()).await;
    let report = platform.call(crate::CallScript { lost: vec![proto::Kind::Dice], ..script() }).await;
    assert!(!server.kinds().contains(&proto::Kind::Dice));
    let (_, info) = rest.get(&format!("/calling/v1/calls/id/{}", report.call)).await;
    assert_eq!(info["status"], "FINAL");
}
