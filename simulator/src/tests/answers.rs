//! What the platform does with each answer.

use proto::Kind::{self, Ace, Dice, Ice, Pie};
use proto::callback::Details;

use super::server::{Server, json, only};
use super::{answering, end, script};
use crate::report::{Step, What};
use crate::script::{CallScript, Callee, Caller, Endpoint, Hangup, Party};

#[tokio::test]
async fn a_call_from_ice_to_dice() {
    let answer = r#"{"instructions":[{"name":"say","text":"Hello"}],
        "action":{"name":"connectPstn","number":"+46312345678","dtmf":"1w2"}}"#;
    let server = answering(answer).await;
    let mut shown = Vec::new();
    let report = server.platform().call_with(script(), |step: &Step| shown.push(step.clone())).await;
    assert_eq!(shown, report.steps, "the hook sees what the report says");
    assert_eq!(server.kinds(), [Ice, Ace, Dice]);
    assert_eq!(report.callbacks(), [Ice, Ace, Dice]);
    assert_eq!(end(&report), ("ANSWERED", "CALLERHANGUP", Some(30)));
    let ladder: Vec<String> = report.steps.iter().map(|step| step.to_string().trim().to_owned()).collect();
    assert_eq!(
        ladder,
        [
            "0.0 s  ICE → 200 in 0.0 ms",
            "0.0 s  say, connectPstn",
            "0.0 s  hears \"Hello\"",
            "0.3 s  rings at +46312345678",
            "5.3 s  answered by +46312345678",
            "5.3 s  connected to +46312345678",
            "5.3 s  tones 1w2",
            "6.3 s  ACE → 200 in 0.0 ms",
            "6.3 s  continue",
            "35.3 s  ended: ANSWERED CALLERHANGUP after 30 s",
            "35.3 s  DICE → 200 in 0.0 ms",
        ]
    );
}

#[tokio::test]
async fn the_bodies_tell_the_call() {
    let server = answering(r#"{"action":{"name":"connectPstn","number":"+46312345678"}}"#).await;
    let report = server.platform().call(CallScript { custom: Some("x".into()), ..script() }).await;
    let seen = server.seen();
    for callback in &seen {
        assert_eq!(callback.common.call.as_ref(), Some(&report.call));
        assert_eq!(callback.common.custom.as_deref(), Some("x"));
    }
    let times: Vec<&str> = seen.iter().map(|callback| callback.common.timestamp_text.as_str()).collect();
    assert_eq!(times, ["2026-03-01T12:00:00Z", "2026-03-01T12:00:05Z", "2026-03-01T12:00:35Z"]);
    let Details::Dice(dice) = &seen[2].details else { panic!("not a DICE") };
    assert_eq!((dice.duration_secs, dice.from.as_deref()), (Some(30), Some("+46701234567")));
    assert_eq!(dice.debit.as_ref().and_then(|debit| debit.amount), Some(report.debit.amount));
    let told = serde_json::to_string(&report.steps[report.steps.len() - 2]).expect("JSON");
    assert_eq!(
        told,
        concat!(
            r#"{"at_ms":35000,"what":{"step":"ended","#,
            r#""ending":{"result":"ANSWERED","reason":"CALLERHANGUP"},"duration_secs":30}}"#
        )
    );
}

#[tokio::test]
async fn the_longest_duration_cuts_a_longer_call() {
    let server = answering(r#"{"action":{"name":"connectPstn","number":"+46312345678","maxDuration":63}}"#).await;
    let long = CallScript { hangup: Hangup { after_secs: 100, by: Party::Callee }, ..script() };
    assert_eq!(end(&server.platform().call(long).await), ("ANSWERED", "TIMEOUT", Some(63)));
    let short = CallScript { hangup: Hangup { after_secs: 62, by: Party::Callee }, ..script() };
    assert_eq!(end(&server.platform().call(short).await), ("ANSWERED", "CALLEEHANGUP", Some(62)));
}

#[tokio::test]
async fn callees_that_do_not_answer() {
    let server = answering(r#"{"action":{"name":"connectPstn","number":"+46312345678","dialTimeout":20}}"#).await;
    let slow = Callee::Answers { after_secs: 25 };
    for (callee, patience_secs, result, reason, at_ms) in [
        (Callee::NoAnswer, None, "NOANSWER", "TIMEOUT", 20_000),
        (slow, None, "NOANSWER", "TIMEOUT", 20_000),
        (slow, Some(10), "NOANSWER", "CANCEL", 10_000),
        (Callee::Busy, None, "BUSY", "N/A", 1_000),
        (Callee::Fails, None, "FAILED", "CONGESTION", 1_000),
    ] {
        let report = server.platform().call(CallScript { callee, patience_secs, ..script() }).await;
        assert_eq!(end(&report), (result, reason, None), "{callee:?}");
        assert_eq!(report.steps.last().map(|step| step.at_ms), Some(at_ms), "{callee:?}");
        assert_eq!(report.callbacks(), [Ice, Dice]);
        assert_eq!(report.debit.amount, 0.into());
    }
    let Some(Details::Dice(dice)) = server.seen().pop().map(|callback| callback.details) else { panic!("not a DICE") };
    assert_eq!(dice.duration_secs, None, "absent unless answered");
}

#[tokio::test]
async fn every_action_has_its_callbacks_and_end() {
    let sip = r#"{"name":"connectSip","destination":{"endpoint":"a@b"},"maxDuration":10}"#;
    let suppressed = r#"{"name":"connectPstn","number":"+46312345678","suppressCallbacks":true}"#;
    let stream = r#"{"name":"connectStream","destination":{"endpoint":"wss://a/b"},"maxDuration":9}"#;
    let mxp = r#"{"name":"connectMxp","destination":{"type":"username","endpoint":"bob"}}"#;
    let park = r##"{"name":"park","introPrompt":"#tts[Wait]","holdPrompt":"music.wav","maxDuration":8}"##;
    let cases: [(&str, &[Kind], _); 8] = [
        (r#"{"name":"hangup"}"#, &[Ice, Dice], ("N/A", "MANAGERHANGUP", None)),
        (r#"{"name":"connectPstn"}"#, &[Ice, Ace, Dice], ("ANSWERED", "CALLERHANGUP", Some(30))),
        (suppressed, &[Ice], ("ANSWERED", "CALLERHANGUP", Some(30))),
        (sip, &[Ice, Ace, Dice], ("ANSWERED", "TIMEOUT", Some(10))),
        (mxp, &[Ice, Dice], ("ANSWERED", "CALLERHANGUP", Some(30))),
        (r#"{"name":"connectConf","conferenceId":"c"}"#, &[Ice, Dice], ("ANSWERED", "CALLERHANGUP", Some(30))),
        (stream, &[Ice, Dice], ("ANSWERED", "TIMEOUT", Some(9))),
        (park, &[Ice, Dice], ("ANSWERED", "TIMEOUT", Some(10))),
    ];
    for (action, callbacks, ending) in cases {
        let answer = format!(r#"{{"action":{action}}}"#);
        let server = Server::start(
            move |callback| {
                if callback.kind() == Ice { json(answer.as_str()) } else { only("continue") }
            },
        )
        .await;
        let report = server.platform().call(script()).await;
        assert_eq!((server.kinds().as_slice(), end(&report)), (callbacks, ending), "{action}");
    }
}

#[tokio::test]
async fn an_in_app_call_that_rings_out_is_busy() {
    let server = answering(r#"{"action":{"name":"connectMxp"}}"#).await;
    let call = CallScript {
        callee: Callee::NoAnswer,
        ..CallScript::new(Caller::User("alice".into()), Endpoint::Username("bob".into()))
    };
    let report = server.platform().call(call).await;
    assert_eq!(end(&report), ("BUSY", "N/A", None));
    assert!(report.steps.iter().any(|step| matches!(&step.what, What::Ringing(leg) if leg.to == "bob")));
    let ice = &server.seen()[0];
    assert_eq!(ice.common.user.as_deref(), Some("alice"));
    let Details::Ice(ice) = &ice.details else { panic!("not an ICE") };
    assert_eq!(
        (ice.cli.as_deref(), ice.domain.as_deref(), ice.origination_type.as_deref()),
        (None, Some("mxp"), Some("MXP"))
    );
}

#[tokio::test]
async fn an_ace_may_hang_up() {
    let ace = r#"{"instructions":[{"name":"say","text":"0123456789"}],"action":{"name":"hangup"}}"#;
    let server =
        Server::start(move |callback| if callback.kind() == Ice { only("connectPstn") } else { json(ace) }).await;
    let report = server.platform().call(script()).await;
    assert_eq!(end(&report), ("ANSWERED", "MANAGERHANGUP", Some(1)));
    assert_eq!(report.heard(), ["0123456789"]);
}

#[tokio::test]
async fn cookies_come_back() {
    let ice = r#"{"instructions":[{"name":"setCookie","key":"a","value":"1"},{"name":"setCookie","key":"b","value":"2"},
        {"name":"setCookie","key":"a","value":"3"}],"action":{"name":"connectPstn"}}"#;
    let server = answering(ice).await;
    server.platform().call(script()).await;
    assert_eq!(server.kinds(), [Ice, Ace, Dice]);
    for callback in &server.seen()[1..] {
        let cookies: Vec<_> = callback.common.cookies.iter().map(|c| (c.key.as_str(), c.value.as_deref())).collect();
        assert_eq!(cookies, [("a", Some("3")), ("b", Some("2"))]);
    }
}

#[tokio::test]
async fn an_answered_inbound_leg_counts() {
    let ice = r#"{"instructions":[{"name":"answer"},{"name":"playFiles","ids":["a.wav"]}],"action":{"name":"hangup"}}"#;
    let server = answering(ice).await;
    assert_eq!(end(&server.platform().call(script()).await), ("ANSWERED", "MANAGERHANGUP", Some(3)));
}

#[tokio::test]
async fn a_prompt_input_may_connect() {
    let menu =
        r#"{"action":{"name":"runMenu","menus":[{"id":"main","options":[{"dtmf":"1","action":"return(sales)"}]}]}}"#;
    let connect = r#"{"action":{"name":"connectPstn","number":"+46312345678","maxDuration":20}}"#;
    let server = Server::start(move |callback| match &callback.details {
        Details::Ice(_) => json(menu),
        Details::Pie(_) => json(connect),
        Details::Ace(_) | Details::Dice(_) | Details::Notify(_) | Details::Unknown { .. } => only("continue"),
    })
    .await;
    let call = CallScript { inputs: vec!["1".parse().expect("keys")], ..script() };
    let report = server.platform().call(call).await;
    assert_eq!(server.kinds(), [Ice, Pie, Ace, Dice]);
    assert_eq!(end(&report), ("ANSWERED", "TIMEOUT", Some(26)), "1 s in the menu, 5 s of ringing, 20 s of talk");
}

#[tokio::test]
async fn a_menu_in_the_call_takes_no_more_than_the_call_has() {
    let menu = r#"{"action":{"name":"runMenu","menus":[{"id":"main"}]}}"#;
    let connect = r#"{"action":{"name":"connectPstn","number":"+46312345678","maxDuration":3}}"#;
    let server = Server::start(move |callback| json(if callback.kind() == Ice { connect } else { menu })).await;
    assert_eq!(end(&server.platform().call(script()).await), ("ANSWERED", "TIMEOUT", Some(3)));
    assert_eq!(server.kinds(), [Ice, Ace, Dice]);
}
