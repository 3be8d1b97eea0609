//! What a caller does in a conference, and what the platform makes of it.

use proto::Kind::{Dice, Ice, Notify, Pie};
use proto::callback::Details;

use super::server::{Canned, Server, json, only};
use super::{answering, end, inputs, ladder, script};
use crate::report::CallReport;
use crate::script::CallScript;

fn conference(options: &str) -> String {
    format!(
        r#"{{"action":{{"name":"connectConf","conferenceId":"room","moh":"music1","conferenceDtmfOptions":{options}}}}}"#
    )
}

fn caller(in_conference: &[&str]) -> CallScript {
    CallScript { in_conference: inputs(in_conference), ..script() }
}

/// Plays a caller in a conference that detects keys, where PIEs get this answer.
async fn detecting(in_conference: &[&str], options: &str, pie: fn() -> Canned) -> (Server, CallReport) {
    let ice = conference(options);
    let server = Server::start(move |callback| if callback.kind() == Ice { json(&ice) } else { pie() }).await;
    let report = server.platform().call(caller(in_conference)).await;
    (server, report)
}

fn values(server: &Server) -> Vec<String> {
    let results = server.seen().into_iter().filter_map(|callback| match callback.details {
        Details::Pie(pie) => pie.menu_result,
        Details::Ice(_) | Details::Ace(_) | Details::Dice(_) | Details::Notify(_) | Details::Unknown { .. } => None,
    });
    let text = |result: proto::callback::MenuResult| {
        format!("{} {} {} {}", result.menu_id?, result.kind?, result.value?, result.input_method?).into()
    };
    results.filter_map(text).collect()
}

#[tokio::test]
async fn keys_are_collected_as_the_options_say() {
    let plain: fn() -> Canned = || json("");
    for (keys, options, wanted) in [
        (&["12#"][..], r#"{"mode":"detect"}"#, &["1", "2"][..]),
        (&["12#34"], r#"{"mode":"detect","maxDigits":4}"#, &["12", "34"]),
        (&["12345"], r#"{"mode":"detect","maxDigits":4}"#, &["1234", "5"]),
        (&["1", "2"], r#"{"mode":"detect","maxDigits":4,"timeoutMills":500}"#, &["1", "2"]),
        (&["12"], r#"{"mode":"ignore"}"#, &[]),
        (&["12"], "{}", &[]),
    ] {
        let (server, report) = detecting(keys, options, plain).await;
        let wanted: Vec<String> = wanted.iter().map(|value| format!("room sequence {value} dtmf")).collect();
        assert_eq!(values(&server), wanted, "{keys:?} {options}");
        assert_eq!(end(&report), ("ANSWERED", "CALLERHANGUP", Some(30)), "{keys:?} {options}");
    }
}

#[tokio::test]
async fn the_time_of_a_collection_passes() {
    let options = r#"{"mode":"detect","maxDigits":4,"timeoutMills":500}"#;
    let (_, report) = detecting(&["say:hello", "12", "hangup"], options, || json("{}")).await;
    assert_eq!(
        ladder(&report),
        [
            "0.0 s  answered by the platform",
            "0.0 s  connected to room",
            "0.0 s  hears \"music1\"",
            "0.0 s  says \"hello\"",
            "2.3 s  presses 12",
            "3.8 s  ended: ANSWERED CALLERHANGUP after 4 s",
        ]
    );
}

#[tokio::test]
async fn a_pie_in_a_conference_may_be_answered_or_not() {
    let options = r#"{"mode":"detect"}"#;
    for plain in [|| json(""), || json("{}"), || only("continue"), || Canned::Status(503)] {
        let (server, report) = detecting(&["1", "2"], options, plain).await;
        assert_eq!(server.kinds(), [Ice, Pie, Pie, Dice]);
        assert_eq!(end(&report), ("ANSWERED", "CALLERHANGUP", Some(30)));
    }
    let (server, report) = detecting(&["1", "2"], options, || only("hangup")).await;
    assert_eq!((server.kinds(), end(&report)), (vec![Ice, Pie, Dice], ("ANSWERED", "MANAGERHANGUP", Some(1))));
    let (server, report) = detecting(&["1"], options, || only("park")).await;
    assert_eq!((server.kinds(), end(&report)), (vec![Ice, Pie, Notify, Dice], ("ANSWERED", "CALLBACKERROR", Some(1))));
}

#[tokio::test]
async fn who_leaves_the_conference_presses_no_more_there() {
    let menu = r#"{"action":{"name":"runMenu","menus":[{"id":"main","repeats":0}]}}"#;
    let (ice, leave) =
        (conference(r#"{"mode":"detect"}"#), r#"{"action":{"name":"connectPstn","number":"+46312345678"}}"#);
    let server = Server::start(move |callback| match &callback.details {
        Details::Ice(_) => json(&ice),
        Details::Pie(pie) => match pie.menu_result.as_ref().and_then(|result| result.value.as_deref()) {
            Some("1") => json(menu),
            Some("2") => json(leave),
            _ => only("continue"),
        },
        Details::Ace(_) | Details::Dice(_) | Details::Notify(_) | Details::Unknown { .. } => only("continue"),
    })
    .await;
    server.platform().call(caller(&["123"])).await;
    assert_eq!(values(&server), ["room sequence 1 dtmf", "main timeout  dtmf", "room sequence 2 dtmf"]);
}

#[tokio::test]
async fn the_others_hear_keys_that_are_forwarded() {
    let server = answering(conference(r#"{"mode":"forward"}"#)).await;
    let report = server.platform().call(caller(&["silence", "12#"])).await;
    assert_eq!(server.kinds(), [Ice, Dice]);
    assert_eq!(ladder(&report)[3..5], ["13.0 s  presses 12#", "13.0 s  the others hear tones 12#"]);
}
