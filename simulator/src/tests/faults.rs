//! What the platform does when an answer is wrong, late or missing, and how it sends what is wrong itself.

use proto::Kind::{Ace, Dice, Ice, Notify, Pie};
use proto::callback::Details;
use proto::signature::AppSecret;

use super::server::{Canned, Server, json, only, platform};
use super::{end, script};
use crate::http::{NoReply, SignWith, Tamper};
use crate::platform::BadPlatform;
use crate::report::{Outcome, What};
use crate::script::CallScript;

/// Nobody listens there.
const CLOSED: &str = "http://127.0.0.1:1/callback";

fn broken() -> [fn() -> Canned; 8] {
    [
        || Canned::Status(503),
        || Canned::Redirect,
        || Canned::Never,
        || json(""),
        || json("{}"),
        || only("continue"),
        || json(r#"{"action":{"name":"connectPstn","number":"0701234567"}}"#),
        || json(format!(r#"{{"action":{{"name":"hangup"}},"x":"{}"}}"#, "x".repeat(65_536))),
    ]
}

#[tokio::test]
async fn without_an_ice_answer_the_caller_hears_an_error() {
    for (index, answer) in broken().into_iter().enumerate() {
        let server = Server::start(move |_| answer()).await;
        let report = server.platform().call(script()).await;
        assert_eq!(end(&report), ("FAILED", "CALLBACKERROR", None), "{index}");
        assert_eq!(report.heard(), ["We are sorry, an error has occurred."]);
        let illegal = (3..7).contains(&index);
        assert_eq!(server.kinds(), if illegal { vec![Ice, Notify, Dice] } else { vec![Ice, Dice] }, "{index}");
        if illegal {
            let Details::Notify(notify) = &server.seen()[1].details else { panic!("not a notify") };
            assert_eq!((notify.notify_type.as_deref(), notify.error_code), (Some("callingerror"), Some(40_001)));
        }
    }
}

#[tokio::test]
async fn the_fallback_url_takes_over() {
    for answer in broken() {
        let primary = Server::start(move |_| answer()).await;
        let fallback = Server::start(|_| only("hangup")).await;
        let report = platform(&primary.url, Some(&fallback.url)).call(script()).await;
        assert_eq!(end(&report), ("N/A", "MANAGERHANGUP", None));
        assert_eq!(primary.kinds().last(), Some(&Dice));
        assert_eq!(fallback.kinds(), [Ice]);
    }
    let fallback = Server::start(|_| only("hangup")).await;
    let report = platform(CLOSED, Some(&fallback.url)).call(script()).await;
    assert_eq!(report.callbacks(), [Ice, Ice, Dice, Dice]);
    assert_eq!(fallback.kinds(), [Ice, Dice]);
}

#[tokio::test]
async fn nobody_there_is_a_step_and_no_panic() {
    let report = platform(CLOSED, None).call(script()).await;
    assert_eq!(end(&report), ("FAILED", "CALLBACKERROR", None));
    let What::Callback { outcome: Outcome::Failed { why }, .. } = &report.steps[0].what else { panic!("no callback") };
    assert!(why.contains("refused"), "{why}");
}

#[tokio::test]
async fn an_ace_without_an_answer_is_connected_anyway() {
    for answer in
        broken().into_iter().filter(|answer| !matches!(answer(), Canned::Json(text) if text.contains("continue")))
    {
        let server =
            Server::start(move |callback| if callback.kind() == Ice { only("connectPstn") } else { answer() }).await;
        let report = server.platform().call(script()).await;
        assert_eq!(end(&report), ("ANSWERED", "CALLERHANGUP", Some(30)));
        assert_eq!(&report.callbacks()[..2], [Ice, Ace]);
    }
}

#[tokio::test]
async fn a_pie_without_an_answer_ends_the_call() {
    let menu = r#"{"action":{"name":"runMenu","menus":[{"id":"main","repeats":0}]}}"#;
    let server =
        Server::start(move |callback| if callback.kind() == Ice { json(menu) } else { Canned::Status(500) }).await;
    let report = server.platform().call(script()).await;
    assert_eq!(end(&report), ("ANSWERED", "CALLBACKERROR", Some(5)));
    assert_eq!(server.kinds(), [Ice, Pie, Dice]);
}

#[tokio::test]
async fn duplicates_are_the_same_to_the_byte() {
    let server = Server::start(|callback| only(if callback.kind() == Ice { "connectPstn" } else { "continue" })).await;
    let report = server.platform().call(CallScript { duplicate: 2, ..script() }).await;
    assert_eq!(report.callbacks(), [Ice, Ice, Ice, Ace, Ace, Ace, Dice, Dice, Dice]);
    assert_eq!(report.answers().len(), 2, "each question is obeyed once");
    let seen = server.seen();
    assert!(seen.chunks(3).all(|copies| copies[0] == copies[1] && copies[1] == copies[2]));
}

#[tokio::test]
async fn a_seed_makes_the_same_calls() {
    let server = Server::start(|_| only("hangup")).await;
    let (one, two) = (server.platform(), server.platform());
    let mut calls = Vec::new();
    for _ in 0..3 {
        let (a, b) = (one.call(script()).await, two.call(script()).await);
        assert_eq!((&a.call, &a.debit), (&b.call, &b.debit));
        calls.push(a.call);
    }
    // Many at once, as a load would have them: each is a call of its own.
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..20 {
        let platform = one.clone();
        tasks.spawn(async move { platform.call(script()).await.call });
    }
    calls.extend(tasks.join_all().await);
    calls.sort();
    calls.dedup();
    assert_eq!(calls.len(), 23);
}

#[tokio::test]
async fn raw_callbacks_are_sent_as_told() {
    let server = Server::start(|_| only("hangup")).await;
    let platform = server.platform();
    let body = platform.facts(&script()).ice(super::server::now());
    let spoilt = |tamper| SignWith { tamper: Some(tamper), ..SignWith::default() };
    let secret = AppSecret::from_base64("JViE5vDor0Sw3WllZka15Q==").expect("secret");
    for (sign, status, says) in [
        (SignWith::default(), 200, r#"{"action":{"name":"hangup"}}"#),
        (
            SignWith { content_type: Some("application/json; charset=utf-8".into()), ..SignWith::default() },
            200,
            r#"{"action":{"name":"hangup"}}"#,
        ),
        (SignWith { secret: Some(secret), ..SignWith::default() }, 401, "signature"),
        (SignWith { timestamp: Some("2026-03-01T11:00:00Z".into()), ..SignWith::default() }, 401, "age"),
        (SignWith { timestamp: Some("now".into()), ..SignWith::default() }, 401, "bad_timestamp"),
        (spoilt(Tamper::Body), 401, "signature"),
        (spoilt(Tamper::Signature), 401, "signature"),
        (spoilt(Tamper::NoAuthorization), 401, "no_authorization"),
        (spoilt(Tamper::NoTimestamp), 401, "no_timestamp"),
    ] {
        let reply = platform.send(body.clone(), sign).await.expect("a reply");
        assert_eq!((reply.status, reply.body.as_ref()), (status, says.as_bytes()));
    }
    let silent = Server::start(|_| Canned::Never).await;
    assert_eq!(silent.platform().send(body, SignWith::default()).await, Err(NoReply::Timeout));
}

#[test]
fn a_url_that_is_none_is_refused() {
    for url in ["", "callbus", "ftp://host/", "http://"] {
        let config = crate::platform::PlatformConfig {
            callback_url: url.to_owned(),
            fallback_url: None,
            app_key: proto::AppKey::new("key").expect("key"),
            secret: AppSecret::from_base64("c2VjcmV0").expect("secret"),
            seed: 0,
            timeout: crate::DEFAULT_TIMEOUT,
            age_max: crate::DEFAULT_AGE_MAX,
            now: super::server::now,
        };
        assert!(matches!(crate::Platform::new(config), Err(BadPlatform::Url { .. })), "{url:?}");
    }
}
