//! Answering machines: the verdict before the ACE or meanwhile, and the beep.

use proto::Kind::{Ace, Dice, Ice, Notify};
use proto::callback::Details;

use super::server::{Server, json, only};
use super::{answering, end, script};
use crate::report::What;
use crate::script::{CallScript, Callee, Hangup, Party};

const MEANWHILE: &str = r#"{"action":{"name":"connectPstn","amd":{"enabled":true,"async":true}}}"#;

fn machine() -> CallScript {
    CallScript { callee: Callee::Machine { after_secs: 3 }, ..script() }
}

fn amd(callback: &proto::Callback) -> Option<proto::callback::Amd> {
    match &callback.details {
        Details::Ace(ace) => ace.amd.clone(),
        Details::Notify(notify) => notify.amd.clone(),
        Details::Ice(_) | Details::Pie(_) | Details::Dice(_) | Details::Unknown { .. } => None,
    }
}

/// Type of notify, status, reason and seconds of all that was said of detection.
fn verdicts(server: &Server) -> Vec<String> {
    let seen = server.seen();
    let said = seen.iter().filter_map(|callback| {
        let amd = amd(callback)?;
        let name =
            if let Details::Notify(notify) = &callback.details { notify.notify_type.clone()? } else { "ace".into() };
        Some(format!("{name} {} {} {}", amd.status?, amd.reason?, amd.duration?))
    });
    said.collect()
}

#[tokio::test]
async fn a_machine_is_detected_before_the_ace_or_meanwhile() {
    let server = answering(r#"{"action":{"name":"connectPstn","amd":{"enabled":true}}}"#).await;
    let report = server.platform().call(machine()).await;
    assert_eq!(server.kinds(), [Ice, Ace, Dice]);
    assert_eq!(server.seen()[1].common.timestamp_text, "2026-03-01T12:00:07Z", "3 s of ringing, 4 s of listening");
    assert_eq!(amd(&server.seen()[1]).and_then(|amd| amd.status).as_deref(), Some("machine"));
    assert_eq!(report.duration_secs, Some(30), "listening belongs to the call");
    let human = server.platform().call(script()).await;
    assert_eq!(human.duration_secs, Some(30));
    assert_eq!(amd(&server.seen()[4]).and_then(|amd| amd.status).as_deref(), Some("human"));
    let short = CallScript { hangup: Hangup { after_secs: 2, by: Party::Callee }, ..machine() };
    assert_eq!(end(&server.platform().call(short).await), ("ANSWERED", "CALLEEHANGUP", Some(2)));
    assert_eq!(amd(&server.seen()[7]).and_then(|amd| amd.status).as_deref(), Some("hangup"));

    let server = answering(MEANWHILE).await;
    server.platform().call(machine()).await;
    assert_eq!(server.kinds(), [Ice, Ace, Notify, Dice]);
    assert_eq!(verdicts(&server), ["ace inprogress n/a 0", "amd machine longgreeting 4"]);

    let server = answering(r#"{"action":{"name":"connectPstn"}}"#).await;
    server.platform().call(script()).await;
    assert_eq!(amd(&server.seen()[1]), None, "nobody asked");
}

#[tokio::test]
async fn a_beep_is_told_after_the_verdict() {
    let server = answering(MEANWHILE).await;
    let report = server.platform().call(CallScript { beep_after_secs: Some(9), ..machine() }).await;
    assert_eq!(verdicts(&server), ["ace inprogress n/a 0", "amd machine longgreeting 4", "amd_beep machine beep 9"]);
    let beep = report.steps.iter().find(|step| step.what == What::Beep);
    assert_eq!(beep.map(|step| step.at_ms), Some(12_000), "3 s of ringing, 9 s of greeting");

    let server = answering(MEANWHILE).await;
    server.platform().call(CallScript { beep_after_secs: Some(9), ..script() }).await;
    assert_eq!(verdicts(&server), ["ace inprogress n/a 0", "amd human n/a 4"], "people do not beep");
}

#[tokio::test]
async fn a_verdict_comes_while_prompts_play_and_ends_with_the_call() {
    let long = format!(
        r#"{{"instructions":[{{"name":"say","text":"{}"}},{{"name":"say","text":"bye"}}],"action":{{"name":"hangup"}}}}"#,
        "x".repeat(100)
    );
    let server = Server::start(move |callback| json(if callback.kind() == Ice { MEANWHILE } else { &long })).await;
    let report = server.platform().call(machine()).await;
    assert_eq!(verdicts(&server)[1..], ["amd machine longgreeting 4"]);
    let notify = report.steps.iter().find(|step| matches!(step.what, What::Callback { kind: Notify, .. }));
    assert_eq!(notify.map(|step| step.at_ms), Some(7_000), "in the middle of 6 s of speech");

    let server = Server::start(|callback| if callback.kind() == Ice { json(MEANWHILE) } else { only("hangup") }).await;
    server.platform().call(CallScript { beep_after_secs: Some(9), ..machine() }).await;
    assert_eq!(server.kinds(), [Ice, Ace, Notify, Dice]);
    assert_eq!(verdicts(&server)[1..], ["amd hangup n/a 0"]);
}
