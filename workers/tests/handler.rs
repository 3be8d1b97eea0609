//! Handlers that do what they should not: nobody new gets in, who is connected stays so, and the decision says why.
#![expect(clippy::expect_used, reason = "a test that cannot be set up has failed")]

use std::collections::BTreeMap;
use std::time::Duration;

use billing::Credit;
use billing::admission::{Admission, MemoryAdmission};
use bus::{Bus, Cache, Clock, Question};
use bytes::Bytes;
use outbound::{Outbound, OutboundSettings};
use proto::subject::ask_subject;
use proto::svaml::{Ace, Action, Answer, Ice, Pie};
use proto::{
    AppKey, AppName, Callback, Decided, Event, EventId, Kind, Outcome, Partition, Subject, Svaml, WalletId, callback,
};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use workers::{App, CallHandler, Context, HandlerError, Handlers, Means, Worker, WorkerSettings};

/// Fails in the way that the dialled number says.
struct Bad;

impl CallHandler for Bad {
    async fn ice(&self, call: &callback::Ice, context: &Context<'_>) -> Result<Answer<Ice>, HandlerError> {
        context.log("about to decide");
        match call.dialled() {
            Some("panic") => panic!("on purpose"),
            Some("error") => Err("the database is away".into()),
            Some("hang") => std::future::pending().await,
            Some("illegal") => Ok(Svaml::ice().connect_conf("c".repeat(65))),
            Some("deny") => Ok(Svaml::ice().deny("NOT_TODAY")),
            Some("cache") => {
                let (cache, minute) = (context.cache(), Duration::from_secs(60));
                assert!(!cache.has("seen").await?);
                cache.set("seen", &json!({ "times": 1 }), minute).await?;
                assert!(cache.extend("seen", minute).await? && cache.has("seen").await?);
                let seen: Option<Value> = cache.get("seen").await?;
                cache.delete("seen").await?;
                assert_eq!((seen, cache.has("seen").await?), (Some(json!({ "times": 1 })), false));
                Ok(Svaml::ice().hangup())
            }
            _ => Ok(Svaml::ice().connect_mxp("alice")),
        }
    }

    async fn ace(&self, _: &callback::Ace, _: &Context<'_>) -> Result<Answer<Ace>, HandlerError> {
        Err("the database is away".into())
    }

    async fn pie(&self, _: &callback::Pie, _: &Context<'_>) -> Result<Answer<Pie>, HandlerError> {
        panic!("on purpose")
    }

    fn wallet(&self, callback: &Callback) -> Option<WalletId> {
        let call = callback.common.call.as_ref().map(|call| call.as_str());
        assert_ne!(call, Some("call-payer"), "on purpose");
        None
    }
}

struct World {
    bus: Bus,
    app: AppName,
    _tasks: JoinSet<()>,
    _directory: TempDir,
}

impl World {
    async fn start() -> Self {
        let directory = tempfile::tempdir().expect("directory");
        let bus = Bus::embedded(directory.path()).expect("bus");
        let (clock, app) = (Clock::System, AppName::new("acme").expect("app"));
        let mut handlers = Handlers::default();
        handlers.insert(app.clone(), Bad);
        let settings = WorkerSettings {
            name: "worker".to_owned(),
            concurrency_max: 8,
            decision_memory: Duration::from_secs(60),
            env: BTreeMap::new(),
        };
        let wallet = WalletId::new("acme").expect("wallet");
        let apps = vec![App { name: app.clone(), wallet, deck: "standard".to_owned(), handler: handlers.take(&app) }];
        let [cache, call_memory] = [(); 2].map(|()| Cache::memory(100, clock.clone()));
        let outbound = OutboundSettings { allow: Vec::new(), plain_http: false, user_agent: "test".to_owned() };
        let means = Means {
            bus: bus.clone(),
            credit: Credit::new(bus.clone(), Admission::Memory(MemoryAdmission::default()), clock.clone()),
            outbound: Outbound::new(outbound).expect("client"),
            cache,
            call_memory,
            clock,
        };
        let worker = Worker::build(settings, apps, means).await.expect("worker");
        let mut tasks = JoinSet::new();
        tasks.spawn(async { worker.run(CancellationToken::new()).await.expect("run") });
        Self { bus, app, _tasks: tasks, _directory: directory }
    }

    async fn asked(&self, kind: Kind, dialled: &str) -> Decided {
        let body = json!({
            "event": kind.as_str(), "callid": format!("call-{dialled}"), "timestamp": "2026-01-01T00:00:00Z",
            "to": { "type": "number", "endpoint": dialled }, "menuResult": { "menuId": "main", "type": "return" },
        });
        let body = Bytes::from(body.to_string());
        let key = AppKey::new("key").expect("key");
        let event = Event {
            id: EventId::of_callback(&key, &body),
            subject: Subject::Call { kind, app: self.app.clone(), partition: Partition::of_text("") },
            about: String::new(),
            source: "acme".to_owned(),
            time: Clock::System.now(),
            extra: Vec::new(),
            data: body.clone(),
        };
        let question = Question { headers: event.headers(), data: body };
        loop {
            let deadline = Instant::now() + Duration::from_millis(700);
            match self.bus.ask(&ask_subject(kind, &self.app), question.clone(), deadline).await {
                Ok(reply) => return serde_json::from_slice(&reply).expect("a decision"),
                // The worker is not there yet.
                Err(bus::AskError::NoResponder { .. }) => tokio::task::yield_now().await,
                Err(error) => panic!("{dialled}: {error}"),
            }
        }
    }
}

fn error(decided: &Decided) -> String {
    let explanation: Value =
        serde_json::from_str(decided.explanation.as_ref().expect("an explanation").get()).expect("JSON");
    explanation["tried"][0]["error"].as_str().unwrap_or_default().to_owned()
}

#[tokio::test]
async fn a_handler_that_fails_lets_nobody_in_and_drops_nobody() {
    let world = World::start().await;
    for (dialled, why) in
        [("panic", "panicked"), ("error", "the database is away"), ("hang", "in time"), ("illegal", "conferenceId")]
    {
        let decided = world.asked(Kind::Ice, dialled).await;
        assert_eq!((decided.outcome, decided.reason.as_deref()), (Outcome::Refused, Some("POLICY_ERROR")), "{dialled}");
        assert!(error(&decided).contains(why), "{dialled}: {}", error(&decided));
    }
    let ace = world.asked(Kind::Ace, "any").await;
    let answer: Svaml = serde_json::from_str(ace.answer.get()).expect("SVAML");
    assert_eq!((answer.action, ace.outcome), (Action::Continue, Outcome::Answered));
    let pie = world.asked(Kind::Pie, "any").await;
    assert_eq!(pie.outcome, Outcome::Refused);
}

#[tokio::test]
async fn a_handler_that_decides_is_told_as_a_policy_is() {
    let world = World::start().await;
    let decided = world.asked(Kind::Ice, "alice").await;
    assert_eq!(
        decided.answer.get(),
        r#"{"action":{"name":"connectMxp","destination":{"type":"username","endpoint":"alice"}}}"#
    );
    assert_eq!(decided.policy.as_deref(), Some("rust handler::Bad"));
    assert!(decided.explanation.as_ref().is_some_and(|told| told.get().contains("about to decide")));
    let denied = world.asked(Kind::Ice, "deny").await;
    assert_eq!((denied.outcome, denied.reason.as_deref()), (Outcome::Refused, Some("NOT_TODAY")));
    // Whoever does not know who pays lets the app pay.
    let payer = world.asked(Kind::Ice, "payer").await;
    assert_eq!((payer.outcome, payer.wallet.as_ref().map(WalletId::as_str)), (Outcome::Answered, Some("acme")));
    let kept = world.asked(Kind::Ice, "cache").await;
    assert_eq!(kept.outcome, Outcome::Answered, "{}", error(&kept));
}
