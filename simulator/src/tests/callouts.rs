//! Calls the application places: taken, rung, answered, obeyed, hung up.

use std::time::Duration;

use proto::Callback;
use proto::Kind::{Ace, Dice};
use proto::callback::Details;
use serde_json::{Value, json};

use super::rest::{Rest, refused};
use super::server::{Server, json as canned, only};
use crate::{Callee, CalleeScript, CalloutReply, Platform};

pub(super) const TO: &str = "+46701234567";

pub(super) fn callout(more: Value) -> Value {
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

pub(super) async fn platform(answer: &'static str) -> (Server, Platform, Rest) {
    let server =
        Server::start(move |callback| if callback.kind() == Ace { canned(answer) } else { only("continue") }).await;
    let platform = server.platform();
    platform.pace(Duration::from_millis(10));
    let rest = Rest::start(platform.clone()).await;
    (server, platform, rest)
}

/// How the one call ended, once it has: result, reason, seconds.
pub(super) async fn end(server: &Server) -> (String, String, Option<u32>) {
    loop {
        let dice = |seen: Callback| if let Details::Dice(dice) = seen.details { Some(dice) } else { None };
        let dice = server.seen().into_iter().find_map(dice);
        if let Some(dice) = dice {
            return (dice.result.unwrap_or_default(), dice.reason.unwrap_or_default(), dice.duration_secs);
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

pub(super) fn ended(result: &str, reason: &str, secs: Option<u32>) -> (String, String, Option<u32>) {
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
async fn words_and_files_are_said_to_whoever_answers() {
    let (server, platform, rest) = platform(r#"{"action":{"name":"continue"}}"#).await;
    let said = json!({ "method": "ttsCallout", "ttsCallout": {
        "cli": "46850000001", "destination": { "type": "Number", "endpoint": "46701234567" }, "domain": "pstn",
        "dtmf": "ww1", "locale": "en-US", "prompts": "#tts[Hello];jingle.wav", "enableDice": true,
    }});
    assert_eq!(rest.post("/calling/v1/callouts", &said).await.0, 200);
    assert_eq!(end(&server).await, ended("ANSWERED", "MANAGERHANGUP", Some(5)));
    assert_eq!(server.kinds(), [Dice], "ACE was not asked for");
    let steps: Vec<_> = platform.placed()[0].steps.iter().map(|step| step.what.to_string()).collect();
    assert_eq!(
        steps,
        [
            "rings at 46701234567, showing 46850000001",
            "answered by 46701234567",
            "tones ww1",
            "hears \"Hello\"",
            "hears \"jingle.wav\"",
            "ended: ANSWERED MANAGERHANGUP after 5 s",
        ]
    );
}

#[tokio::test]
async fn of_a_call_to_an_app_nothing_is_told() {
    let (server, platform, rest) = platform(r#"{"action":{"name":"hangup"}}"#).await;
    let to = json!({ "destination": { "type": "username", "endpoint": "alice" }, "domain": "mxp" });
    let (_, taken) = rest.post("/calling/v1/callouts", &callout(to)).await;
    let path = format!("/calling/v1/calls/id/{}", taken["callId"].as_str().expect("an id"));
    let info = loop {
        let (_, info) = rest.get(&path).await;
        if info["status"] == "FINAL" {
            break info;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    };
    assert_eq!(
        (&info["to"]["type"], &info["domain"], &info["duration"]),
        (&"Username".into(), &"mxp".into(), &20.into())
    );
    assert!(server.seen().is_empty() && platform.placed()[0].to == "alice");
}

#[tokio::test]
async fn what_the_platform_does_not_take_is_no_call() {
    let (_server, platform, rest) = platform(r#"{"action":{"name":"continue"}}"#).await;
    let said = |more: Value| {
        let mut body = json!({ "destination": { "type": "number", "endpoint": TO }, "text": "Hello" });
        for (key, value) in more.as_object().into_iter().flatten() {
            body[key] = value.clone();
        }
        json!({ "method": "ttsCallout", "ttsCallout": body })
    };
    let custom = |body: Value| json!({ "method": "customCallout", "customCallout": body });
    let to = |kind: &str, endpoint: &str| json!({ "destination": { "type": kind, "endpoint": endpoint } });
    for (body, code) in [
        (json!([]), 40001),
        (json!({}), 40002),
        (json!({ "method": "callout" }), 40001),
        (json!({ "method": "ttsCallout" }), 40002),
        (json!({ "method": "customCallout" }), 40002),
        (json!({ "method": "ttsCallout", "conferenceCallout": {} }), 40001),
        (callout(to("number", "0701234567")), 40001),
        (callout(to("sip", "nobody")), 40001),
        (callout(to("email", "a@b")), 40001),
        (callout(json!({ "destination": null })), 40002),
        (callout(json!({ "destination": { "endpoint": TO } })), 40002),
        (callout(json!({ "domain": "mxp" })), 40001),
        (callout(json!({ "conferenceId": null })), 40002),
        (callout(json!({ "conferenceId": "x".repeat(65) })), 40001),
        (callout(json!({ "conferenceDtmfOptions": { "mode": "listen" } })), 40001),
        (callout(json!({ "mohClass": "music4" })), 40001),
        (callout(json!({ "maxduration": 5 })), 40001),
        (callout(json!({ "maxDuration": "5" })), 40001),
        (callout(json!({ "maxDuration": 14_401 })), 40001),
        (callout(json!({ "cli": "me" })), 40001),
        (callout(json!({ "dtmf": "1*" })), 40001),
        (callout(json!({ "custom": "x".repeat(1_025) })), 40001),
        (callout(json!({ "text": "Hello" })), 40001),
        (said(json!({ "text": null })), 40002),
        (said(json!({ "text": "x".repeat(601) })), 40001),
        (said(json!({ "prompts": "#tts[Hello]" })), 40001),
        (said(json!({ "maxDuration": 5 })), 40001),
        (custom(json!({ "enableDice": true })), 40001),
        (custom(json!({ "ice": "here" })), 40001),
        (custom(json!({ "ice": "{" })), 40001),
        (custom(json!({ "ice": r#"{"action":{"name":"continue"}}"# })), 40001),
        (custom(json!({ "ice": r#"{"action":{"name":"hangup"}}"#, "cli": TO })), 40001),
        (custom(json!({ "ace": r#"{"action":{"name":"hangup","why":1}}"# })), 40001),
        (custom(json!({ "dice": r#"{"action":{"name":"hangup"}}"# })), 40001),
    ] {
        assert_eq!(refused(rest.post("/calling/v1/callouts", &body).await), code, "{body}");
    }
    for (reply, code) in [
        (CalloutReply::NoCredit, 40200),
        (CalloutReply::Refused, 40300),
        (CalloutReply::Fails, 50000),
        (CalloutReply::Down, 50300),
    ] {
        platform.callee(TO, CalleeScript { reply, ..CalleeScript::default() });
        assert_eq!(refused(rest.post("/calling/v1/callouts", &callout(json!({}))).await), code);
    }
    assert!(platform.placed().is_empty());
    platform.callee(TO, CalleeScript { reply: CalloutReply::TakenUnsaid, ..CalleeScript::default() });
    assert_eq!(rest.post("/calling/v1/callouts", &callout(json!({}))).await.0, 503);
    assert_eq!(platform.placed().len(), 1);
}
