//! What is told of recordings, and when.

use proto::Kind::{Ace, Dice, Ice, Notify};
use proto::callback::Details;

use super::server::Server;
use super::{answering, script};
use crate::report::{CallReport, What};

/// Plays a call whose ICE begins with these instructions, and then has this action.
async fn played(instructions: &str, action: &str) -> (Server, CallReport) {
    let server = answering(format!(r#"{{"instructions":[{instructions}],"action":{action}}}"#)).await;
    let report = server.platform().call(script()).await;
    (server, report)
}

fn told(server: &Server) -> Vec<String> {
    let notices = server.seen().into_iter().filter_map(|callback| match callback.details {
        Details::Notify(notify) => Some(notify),
        Details::Ice(_) | Details::Ace(_) | Details::Pie(_) | Details::Dice(_) | Details::Unknown { .. } => None,
    });
    notices
        .map(|notify| {
            format!("{} {}", notify.notify_type.unwrap_or_default(), notify.destination.unwrap_or_default())
                .trim_end()
                .to_owned()
        })
        .collect()
}

/// When each notify went out.
fn times(report: &CallReport) -> Vec<u64> {
    let notifies = report.steps.iter().filter(|step| matches!(step.what, What::Callback { kind: Notify, .. }));
    notifies.map(|step| step.at_ms).collect()
}

const CONNECT: &str = r#"{"name":"connectPstn"}"#;

#[tokio::test]
async fn a_recording_ends_with_its_call() {
    let (server, report) = played(r#"{"name":"startRecording"}"#, CONNECT).await;
    assert_eq!(server.kinds(), [Ice, Ace, Dice, Notify]);
    assert_eq!(told(&server), ["recording_finished"]);
    let started = report.steps.iter().filter(|step| step.what == What::RecordingStarted).count();
    assert_eq!(started, 1);
}

#[tokio::test]
async fn it_is_stored_and_written_out_in_its_time() {
    let start = r#"{"name":"startRecording","options":{"destinationUrl":"s3://bucket/calls/","credentials":"k:s:r",
        "format":"wav","transcriptionOptions":{"enabled":true,"locale":"en-US"}}}"#;
    let (server, report) = played(start, CONNECT).await;
    let name = format!("20260301120000_669E367E-6BBA-48AB-AF15-266871C28135_{}", report.call);
    assert_eq!(server.kinds(), [Ice, Ace, Dice, Notify, Notify, Notify]);
    assert_eq!(
        told(&server),
        [
            "recording_finished".to_owned(),
            format!("recording_available s3://bucket/calls/{name}.wav"),
            format!("transcription_available s3://bucket/calls/{name}.json"),
        ]
    );
    assert_eq!(times(&report), [35_000, 40_000, 155_000]);
}

#[tokio::test]
async fn a_stopped_one_is_told_of_during_the_call() {
    let both = r#"{"name":"startRecording","options":{"destinationUrl":"azure://account/container/a.b.mp3"}},
        {"name":"stopRecording"},{"name":"stopRecording"}"#;
    let (server, report) = played(both, CONNECT).await;
    assert_eq!(told(&server), ["recording_finished", "recording_available azure://account/container/a.b.mp3"]);
    assert_eq!(server.kinds(), [Ice, Notify, Notify, Ace, Dice], "the file is there before the callee answers");
    assert_eq!(times(&report), [0, 5_000]);
}

#[tokio::test]
async fn a_second_start_ends_the_first() {
    let (server, _) = played(r#"{"name":"startRecording"},{"name":"startRecording"}"#, CONNECT).await;
    assert_eq!(server.kinds(), [Ice, Notify, Ace, Dice, Notify]);
}

#[tokio::test]
async fn nothing_is_told_where_nobody_wants_to_know() {
    let quiet = r#"{"name":"startRecording","options":{"notificationEvents":false,"destinationUrl":"s3://b",
        "transcriptionOptions":{"enabled":true}}}"#;
    assert_eq!(played(quiet, CONNECT).await.0.kinds(), [Ice, Ace, Dice]);
}

#[tokio::test]
async fn an_in_app_call_is_recorded_by_its_action() {
    let action = r#"{"name":"connectMxp","destination":{"endpoint":"bob"},"record":true,
        "recordingOptions":{"destinationUrl":"s3://b"}}"#;
    let (server, report) = played("", action).await;
    let file = format!("s3://b/20260301120005_669E367E-6BBA-48AB-AF15-266871C28135_{}.mp3", report.call);
    assert_eq!(told(&server), ["recording_finished".to_owned(), format!("recording_available {file}")]);
    let (server, _) = played("", r#"{"name":"connectMxp","destination":{"endpoint":"bob"},"record":false}"#).await;
    assert_eq!(server.kinds(), [Ice, Dice]);
}
