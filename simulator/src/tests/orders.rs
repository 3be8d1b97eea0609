//! Calls that are changed while they go on.

use std::time::Duration;

use proto::Kind::{Dice, Notify, Pie};
use serde_json::{Value, json};

use super::callouts::{TO, callout, end, platform};
use super::inputs;
use super::rest::{Rest, refused};
use super::server::Server;
use crate::{Callee, CalleeScript, Platform};

const PARK: &str = r#"{"action":{"name":"park","holdPrompt":"music.wav"}}"#;

fn action(name: &str) -> Value {
    json!({ "action": { "name": name } })
}

fn say(text: &str, then: &str) -> Value {
    json!({ "instructions": [{ "name": "say", "text": text }], "action": { "name": then } })
}

/// A call on the line, and where it can be changed.
struct Changed {
    server: Server,
    platform: Platform,
    rest: Rest,
    path: String,
}

impl Changed {
    /// One that lasts for hours, unless it is ended; its seconds are long enough to find it wherever it is.
    async fn place(body: Value, callee: Callee) -> Self {
        let (server, platform, rest) = platform(r#"{"action":{"name":"continue"}}"#).await;
        platform.pace(Duration::from_millis(100));
        platform
            .callee(TO, CalleeScript { callee, talks_secs: 14_000, inputs: inputs(&["1"]), ..CalleeScript::default() });
        let (status, taken) = rest.post("/calling/v1/callouts", &body).await;
        assert_eq!(status, 200, "{taken}");
        let path = format!("/calling/v1/calls/id/{}", taken["callId"].as_str().expect("an id"));
        Self { server, platform, rest, path }
    }

    async fn patch(&self, body: Value) -> (u16, Value) {
        self.rest.patch(&self.path, &body).await
    }

    /// Waits until the last step reads so.
    async fn comes_to(&self, step: &str) {
        while self.steps().last().is_none_or(|last| last != step) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    fn steps(&self) -> Vec<String> {
        self.platform.placed()[0].steps.iter().map(|step| step.what.to_string()).collect()
    }
}

/// Into a conference, and told of at its end only.
fn to_conference() -> Value {
    callout(json!({ "enableAce": false, "maxDuration": 14_400 }))
}

fn to_custom(ice: &str) -> Value {
    json!({ "method": "customCallout", "customCallout": { "ice": ice } })
}

#[tokio::test]
async fn a_call_is_talked_to_and_goes_on_until_it_is_ended() {
    let call = Changed::place(to_conference(), Callee::Answers { after_secs: 30 }).await;
    call.comes_to("rings at +46701234567, showing +46850000001").await;
    assert_eq!(refused(call.patch(say("Too early", "continue")).await), 40003);
    call.comes_to("answered by +46701234567").await;
    assert_eq!(call.patch(say("A minute is left", "continue")).await, (200, Value::Null));
    call.comes_to("hears \"A minute is left\"").await;
    let conference = call.rest.get("/calling/v1/conferences/id/placed-1").await;
    assert_eq!(conference.0, 200, "it stays where it is");
    for leg in ["caller", "callee", "both"] {
        let path = format!("{}/leg/{leg}", call.path);
        let played =
            json!({ "instructions": [{ "name": "playFiles", "ids": [leg] }], "action": { "name": "continue" } });
        assert_eq!(call.rest.patch(&path, &played).await, (200, Value::Null));
        call.comes_to(&format!("hears \"{leg}\"")).await;
    }
    assert_eq!(call.patch(say("Goodbye", "hangup")).await.0, 200);
    let (result, reason, secs) = end(&call.server).await;
    assert_eq!((result.as_str(), reason.as_str()), ("ANSWERED", "MANAGERHANGUP"));
    assert!(secs.is_some_and(|secs| secs < 14_000) && call.steps().contains(&"hears \"Goodbye\"".to_owned()));
    assert_eq!(refused(call.patch(action("hangup")).await), 40400);
    assert_eq!(call.rest.get(&call.path).await.1["status"], "FINAL");
}

#[tokio::test]
async fn a_call_that_rings_is_ended() {
    let call = Changed::place(callout(json!({})), Callee::NoAnswer).await;
    assert_eq!(call.patch(action("hangup")).await.0, 200);
    assert_eq!(end(&call.server).await, super::callouts::ended("N/A", "MANAGERHANGUP", None));
}

#[tokio::test]
async fn a_parked_call_takes_what_answers_an_ice() {
    let call = Changed::place(to_custom(PARK), Callee::default()).await;
    call.comes_to("hears \"music.wav\"").await;
    let connect = json!({ "action": { "name": "connectPstn", "number": TO, "cli": "+46850000001" } });
    assert_eq!(call.patch(connect.clone()).await.0, 200);
    call.comes_to("continue").await;
    assert!(call.steps().contains(&format!("answered by {TO}")));
    // It is parked no more, so it is connected to nobody else.
    assert_eq!(refused(call.patch(connect).await), 40003);
    assert_eq!(call.patch(json!({ "action": { "name": "park", "maxDuration": 60 } })).await.0, 200);
    call.comes_to("park").await;
    while call.patch(json!({ "action": { "name": "connectConf", "conferenceId": "room" } })).await.0 != 200 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let conference = "/calling/v1/conferences/id/room";
    while call.rest.get(conference).await.0 == 404 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    // A participant may be asked something, and is in the conference again afterwards.
    let menu = json!({ "id": "main", "mainPrompt": "#tts[?]", "options": [{ "dtmf": "1", "action": "return(yes)" }] });
    let menu = json!({ "action": { "name": "runMenu", "menus": [menu] } });
    assert_eq!(call.patch(menu).await.0, 200);
    while !call.server.kinds().contains(&Pie) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    call.comes_to("continue").await;
    assert_eq!(call.rest.get(conference).await.0, 200);
    assert_eq!(call.rest.delete(conference).await, (200, Value::Null));
    end(&call.server).await;
}

#[tokio::test]
async fn a_call_that_nobody_fetches_times_out() {
    let park = r#"{"action":{"name":"park","maxDuration":3}}"#;
    let call = Changed::place(to_custom(park), Callee::default()).await;
    assert_eq!(end(&call.server).await, super::callouts::ended("N/A", "TIMEOUT", None));
}

#[tokio::test]
async fn a_call_is_recorded_from_here_to_there() {
    let call = Changed::place(to_conference(), Callee::default()).await;
    call.comes_to("answered by +46701234567").await;
    let options = json!({ "destinationUrl": "s3://bucket", "format": "wav" });
    let start = json!({ "action": { "name": "startRecording", "recordingOptions": options } });
    assert_eq!(call.patch(start).await.0, 200);
    call.comes_to("recording starts").await;
    assert_eq!(call.patch(action("stopRecording")).await.0, 200);
    while call.server.kinds().iter().filter(|kind| **kind == Notify).count() < 2 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(!call.server.kinds().contains(&Dice), "it is stored while the call goes on");
    assert_eq!(call.patch(action("hangup")).await.0, 200);
    end(&call.server).await;
}

#[tokio::test]
async fn what_cannot_be_done_is_refused() {
    let call = Changed::place(to_conference(), Callee::default()).await;
    call.comes_to("answered by +46701234567").await;
    let leg = |leg: &str| format!("{}/leg/{leg}", call.path);
    for body in [
        json!({}),
        json!([]),
        json!({ "action": { "name": "fly" } }),
        json!({ "action": { "name": "hangup", "cause": 1 } }),
        json!({ "action": { "name": "park", "maxDuration": 601 } }),
        json!({ "action": { "name": "connectMxp", "destination": { "endpoint": "alice" } } }),
        json!({ "instructions": [{ "name": "answer" }], "action": { "name": "continue" } }),
        json!({ "instructions": [{ "name": "say" }], "action": { "name": "continue" } }),
        say(&"x".repeat(601), "continue"),
    ] {
        assert_eq!(refused(call.patch(body.clone()).await), 40003, "{body}");
    }
    let tones = json!({ "instructions": [{ "name": "sendDtmf", "value": "1" }], "action": { "name": "continue" } });
    for (path, body) in
        [(leg("everybody"), say("Hello", "continue")), (leg("caller"), tones), (leg("caller"), action("park"))]
    {
        assert_eq!(refused(call.rest.patch(&path, &body).await), 40003, "{body}");
    }
    for path in ["/calling/v1/calls/id/other", "/calling/v1/calls/id/other/leg/caller"] {
        assert_eq!(refused(call.rest.patch(path, &action("hangup")).await), 40400);
    }
    let to = json!({ "destination": { "type": "username", "endpoint": "alice" } });
    let (_, taken) = call.rest.post("/calling/v1/callouts", &callout(to)).await;
    let path = format!("/calling/v1/calls/id/{}", taken["callId"].as_str().expect("an id"));
    assert_eq!(refused(call.rest.patch(&path, &action("hangup")).await), 40003, "not over PSTN or SIP");
}
