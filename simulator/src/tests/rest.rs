//! The REST API: who asks properly hears how a call stands.

use proto::AppKey;
use proto::signature::{AppSecret, Authorization, SignedParts};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::script;
use super::server::{Server, only};

pub(super) struct Rest {
    base: String,
    _serving: JoinSet<()>,
}

impl Rest {
    pub(super) async fn start(platform: crate::Platform) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let base = format!("http://{}", listener.local_addr().expect("an address"));
        let mut serving = JoinSet::new();
        serving.spawn(async move { platform.serve(listener).await.expect("serving") });
        Self { base, _serving: serving }
    }

    async fn get(&self, path: &str, key: &str, secret: &str, timestamp: &str) -> (u16, Value) {
        let reply = self.send("GET", path, String::new(), (key, secret, timestamp)).await;
        (reply.status().as_u16(), reply.json().await.expect("JSON"))
    }

    pub(super) async fn get_signed(&self, path: &str) -> (u16, Value) {
        self.get(path, KEY, SECRET, NOW).await
    }

    pub(super) async fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        let reply = self.send("POST", path, body.to_string(), (KEY, SECRET, NOW)).await;
        (reply.status().as_u16(), reply.json().await.expect("JSON"))
    }

    pub(super) async fn patch(&self, path: &str, body: &Value) -> u16 {
        self.send("PATCH", path, body.to_string(), (KEY, SECRET, NOW)).await.status().as_u16()
    }

    async fn send(
        &self,
        method: &str,
        path: &str,
        body: String,
        (key, secret, timestamp): (&str, &str, &str),
    ) -> reqwest::Response {
        let signature = AppSecret::from_base64(secret).expect("secret").sign(&SignedParts {
            method,
            content_type: b"application/json",
            timestamp: timestamp.as_bytes(),
            path,
            body: body.as_bytes(),
        });
        let authorization = Authorization::header(&AppKey::new(key).expect("key"), &signature);
        let method = method.parse().expect("a method");
        let request = reqwest::Client::new().request(method, format!("{}{path}", self.base)).body(body);
        let request = request.header("authorization", authorization).header("x-timestamp", timestamp);
        request.header("content-type", "application/json").send().await.expect("a reply")
    }
}

const KEY: &str = "669e367e-6bba-48ab-af15-266871c28135";
const SECRET: &str = "BeIukql3pTKJ8RGL5zo0DA==";
const NOW: &str = "2026-03-01T12:00:00Z";

#[tokio::test]
async fn a_call_can_be_asked_about_while_it_lasts_and_after() {
    let server = Server::start(|_| only("continue")).await;
    let platform = server.platform();
    let rest = Rest::start(platform.clone()).await;
    let facts = platform.facts(&script());
    platform.began(&facts, super::server::now());
    let path = |call: &proto::CallId| format!("/calling/v1/calls/id/{call}");
    let (status, info) = rest.get(&path(&facts.call), KEY, SECRET, NOW).await;
    assert_eq!((status, &info["status"], &info["result"]), (200, &Value::from("ONGOING"), &Value::Null), "{info}");
    let report = platform.call(script()).await;
    let (_, info) = rest.get(&path(&report.call), KEY, SECRET, NOW).await;
    let seen = ["status", "result", "timestamp"].map(|name| info[name].as_str().unwrap_or_default());
    assert_eq!((seen[0], seen[1], seen[2].len()), ("FINAL", report.ending.result.as_str(), NOW.len() - 1), "{info}");
    assert_eq!(info["duration"].as_u64(), report.duration_secs.map(u64::from));
    assert_eq!(rest.get("/calling/v1/calls/id/other", KEY, SECRET, NOW).await.1["errorCode"], 40400);
    for (key, secret, now, code) in
        [(KEY, "c2VjcmV0", NOW, 40102), ("other", SECRET, NOW, 40108), (KEY, SECRET, "soon", 40101)]
    {
        let (status, problem) = rest.get(&path(&report.call), key, secret, now).await;
        assert_eq!((status, &problem["errorCode"]), (401, &Value::from(code)), "{problem}");
    }
}

#[tokio::test]
async fn a_lost_callback_never_arrives_and_the_call_is_final_all_the_same() {
    let server = Server::start(|_| only("continue")).await;
    let platform = server.platform();
    let rest = Rest::start(platform.clone()).await;
    let report = platform.call(crate::CallScript { lost: vec![proto::Kind::Dice], ..script() }).await;
    assert!(!server.kinds().contains(&proto::Kind::Dice));
    let (_, info) = rest.get(&format!("/calling/v1/calls/id/{}", report.call), KEY, SECRET, NOW).await;
    assert_eq!(info["status"], "FINAL");
}
