//! Calls the application places: taken, rung, answered, obeyed, hung up.

use std::time::Duration;

use proto::Callback;
use proto::Kind::{Ace, Dice};
use proto::callback::Details;
use serde_json::{Value, json};

use super::rest::Rest;
use super::server::{Server, json as canned, only};
use crate::{Callee, CalleeScript, CalloutReply, Platform};

const TO: &str = "+46701234567";

fn callout(more: Value) -> Value {
    let mut body = json!({
        "cli": "+46850000001",
        "destination": { "type": "number", "endpoint": TO },
        "conferenceId": "placed-1",
        "custom": "callbus:1:placed-1",
        "maxDuration": 60,
        "enableAce": true,
        "enableDice": true,
    });
    for (key, value) in more.as_object().into_iter().flatten() {
        body[key] = value.clone();
    }
    json!({ "method": "conferenceCallout", "conferenceCallout": body })
}

async fn platform(answer: &'static str) -> (Server, Platform, Rest) {
    let server =
        Server::start(move |callback| if callback.kind() == Ace { canned(answer) } else { only("continue") }).await;
    let platform = server.platform();
    platform.pace(Duration::from_millis(10));
    let rest = Rest::start(platform.clone()).await;
    (server, platform, rest)
}

/// How the one call ended, once it has: result, reason, seconds.
async fn end(server: &Server) -> (String, String, Option<u32>) {
    loop {
        let dice = |seen: Callback| if let Details::Dice(dice) = seen.details { Some(dice) } else { None };
        let dice = server.seen().into_iter().find_map(dice);
        if let Some(dice) = dice {
            return (dice.result.unwrap_or_default(), dice.reason.unwrap_or_default(), dice.duration_secs);
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn ended(result: &str, reason: &str, secs: Option<u32>) -> (String, String, Option<u32>) {
    (result.to_owned(), reason.to_owned(), secs)
}

#[tokio::test]
async fn a_placed_call_is_answered_told_so_and_obeys() {
    let (server, platform, rest) =
        platform(r#"{"instructions":[{"name":"say","text":"One hundred characters, or nearly so."}],"action":{"name":"hangup"}}"#)
            .await;
    let (status, taken) = rest.post("/calling/v1/callouts", &callout(json!({}))).await;
    assert_eq!((status, taken["callId"].as_str()), (200, Some(platform.placed()[0].call.as_str())));
    assert_eq!(end(&server).await, ended("ANSWERED", "MANAGERHANGUP", Some(3)));
    assert_eq!(server.kinds(), [Ace, Dice]);
    assert!(server.seen().iter().all(|seen| seen.common.custom.as_deref() == Some("callbus:1:placed-1")));
}

#[tokio::test]
async fn a_placed_call_ends_by_whoever_ends_it() {
    let talks = CalleeScript { talks_secs: 7, ..CalleeScript::default() };
    for (script, maximum, expected) in [
        (talks.clone(), 60, ended("ANSWERED", "CALLEEHANGUP", Some(7))),
        (talks, 5, ended("ANSWERED", "TIMEOUT", Some(5))),
        (CalleeScript { callee: Callee::Busy, ..CalleeScript::default() }, 5, ended("BUSY", "N/A", None)),
        (CalleeScript { callee: Callee::NoAnswer, ..CalleeScript::default() }, 5, ended("NOANSWER", "TIMEOUT", None)),
        (CalleeScript { callee: Callee::Fails, ..CalleeScript::default() }, 5, ended("FAILED", "CONGESTION", None)),
    ] {
        let (server, platform, rest) = platform(r#"{"action":{"name":"continue"}}"#).await;
        platform.callee(TO, script);
        assert_eq!(rest.post("/calling/v1/callouts", &callout(json!({ "maxDuration": maximum }))).await.0, 200);
        assert_eq!(end(&server).await, expected);
    }
}

#[tokio::test]
async fn who_placed_a_call_may_hang_up_and_look_into_the_conference() {
    let (server, platform, rest) = platform(r#"{"action":{"name":"continue"}}"#).await;
    platform.callee(TO, CalleeScript { talks_secs: 14_000, ..CalleeScript::default() });
    let (_, taken) = rest.post("/calling/v1/callouts", &callout(json!({ "maxDuration": 14_400 }))).await;
    let call = taken["callId"].as_str().expect("an id").to_owned();
    let conference = "/calling/v1/conferences/id/placed-1";
    while rest.get_signed(conference).await.0 == 404 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(rest.get_signed(conference).await.1["participants"][0]["id"], call);
    let path = format!("/calling/v1/calls/id/{call}");
    assert_eq!(rest.patch(&path, &json!({ "action": { "name": "continue" } })).await, 400);
    assert_eq!(rest.patch(&path, &json!({ "action": { "name": "hangup" } })).await, 200);
    let (result, reason, secs) = end(&server).await;
    assert_eq!((result.as_str(), reason.as_str()), ("ANSWERED", "MANAGERHANGUP"));
    assert!(secs.is_some_and(|secs| secs < 14_000));
    assert_eq!(rest.patch(&path, &json!({ "action": { "name": "hangup" } })).await, 404);
    assert_eq!(rest.get_signed(&path).await.1["status"], "FINAL");
}

#[tokio::test]
async fn what_the_platform_does_not_take_is_no_call() {
    let (_server, platform, rest) = platform(r#"{"action":{"name":"continue"}}"#).await;
    let nobody = json!({ "destination": { "type": "number", "endpoint": "0701234567" } });
    for (body, code) in [
        (callout(nobody), 40001),
        (callout(json!({ "conferenceId": null })), 40002),
        (callout(json!({ "maxduration": 5 })), 40001),
        (callout(json!({ "custom": "x".repeat(1_025) })), 40001),
        (json!({ "method": "customCallout" }), 40001),
    ] {
        let (status, problem) = rest.post("/calling/v1/callouts", &body).await;
        assert_eq!((status, problem["errorCode"].as_u64()), (400, Some(code)), "{body}");
    }
    for (reply, status) in [(CalloutReply::Refused, 403), (CalloutReply::Down, 503)] {
        platform.callee(TO, CalleeScript { reply, ..CalleeScript::default() });
        assert_eq!(rest.post("/calling/v1/callouts", &callout(json!({}))).await.0, status);
    }
    assert!(platform.placed().is_empty());
    platform.callee(TO, CalleeScript { reply: CalloutReply::TakenUnsaid, ..CalleeScript::default() });
    assert_eq!(rest.post("/calling/v1/callouts", &callout(json!({}))).await.0, 503);
    assert_eq!(platform.placed().len(), 1);
}
