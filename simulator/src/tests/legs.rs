//! Where a call may be connected to, and what the two sides notice of it.

use proto::Kind::{Dice, Ice};
use proto::callback::Details;

use super::{answering, end, ladder, script};
use crate::script::{CallScript, Callee, Caller, Endpoint};

async fn played(ice: &str, script: CallScript) -> Vec<String> {
    ladder(&answering(ice).await.platform().call(script).await)
}

#[tokio::test]
async fn a_phone_leg_shows_its_number_and_ring_tone() {
    let ice = r#"{"action":{"name":"connectPstn","number":"+46312345678","cli":"private","indications":"se"}}"#;
    let rings = "0.0 s  rings at +46312345678, showing private; the caller hears the ring tone of se";
    assert_eq!(played(ice, script()).await[0], rings);
}

#[tokio::test]
async fn a_sip_leg_carries_headers_and_the_cookies_meant_for_it() {
    let ice = r#"{"instructions":[{"name":"setCookie","key":"X-Case","value":"7"},{"name":"setCookie","key":"y","value":"8"}],
        "action":{"name":"connectSip","destination":{"type":"SIP","endpoint":"a@b.c"},"transport":"tls","cli":"+15550100200",
        "callHeaders":[{"key":"P-Queue","value":"gold"}],"moh":"music2"}}"#;
    assert_eq!(
        played(ice, script()).await[2],
        "0.0 s  rings at a@b.c over TLS, showing +15550100200, with P-Queue: gold, with X-Case: 7"
    );
}

#[tokio::test]
async fn an_in_app_leg_has_its_own_headers_in_the_end() {
    let ice = r#"{"action":{"name":"connectMxp","destination":{"type":"username","endpoint":"bob"},
        "callHeaders":[{"key":"k","value":"v"}]}}"#;
    let server = answering(ice).await;
    let report = server.platform().call(script()).await;
    assert_eq!(ladder(&report)[0], "0.0 s  rings at bob, with k: v");
    let Details::Dice(dice) = &server.seen()[1].details else { panic!("not a DICE") };
    assert_eq!(dice.call_headers.iter().map(|header| header.key.as_str()).collect::<Vec<_>>(), ["k"]);

    let away = CallScript { callee: Callee::Fails, ..script() };
    assert_eq!(end(&answering(ice).await.platform().call(away).await), ("FAILED", "USERNOTFOUND", None));
}

#[tokio::test]
async fn to_go_on_means_to_where_it_was_dialled() {
    let menu = r#"{"action":{"name":"runMenu","menus":[{"id":"main","repeats":0,"timeoutMills":0}]}}"#;
    for (to, rings) in [
        (Endpoint::Number("+46312345678".into()), "0.0 s  rings at +46312345678"),
        (Endpoint::Username("bob".into()), "0.0 s  rings at bob"),
        (Endpoint::Sip("a@b".into()), "0.0 s  rings at a@b"),
    ] {
        let call = CallScript::new(Caller::User("alice".into()), to);
        assert_eq!(played(menu, call).await[2], rings);
    }
}

#[tokio::test]
async fn a_stream_begins_with_its_message_and_may_be_refused() {
    let ice = r#"{"action":{"name":"connectStream","destination":{"type":"Websocket","endpoint":"wss://a/b"},"maxDuration":9,
        "streamingOptions":{"version":2,"sampleRate":16000},"callHeaders":[{"key":"k","value":"v"}]}}"#;
    let server = answering(ice).await;
    let report = server.platform().call(script()).await;
    assert_eq!(server.kinds(), [Ice, Dice], "no ACE");
    let message = format!(
        concat!(
            r#"{{"command":"connect","version":2,"callId":"{}","applicationKey":"669E367E-6BBA-48AB-AF15-266871C28135","#,
            r#""codec":"PCM","sampleRate":16000,"callHeaders":[{{"key":"k","value":"v"}}]}}"#
        ),
        report.call
    );
    assert_eq!(
        ladder(&report),
        [
            format!("0.0 s  streams to wss://a/b, which hears {message}"),
            "0.0 s  answered by wss://a/b".into(),
            "0.0 s  connected to wss://a/b".into(),
            "9.0 s  ended: ANSWERED TIMEOUT after 9 s".into(),
        ]
    );
    for (callee, ending) in [(Callee::Busy, ("BUSY", "N/A", None)), (Callee::Fails, ("FAILED", "CONGESTION", None))] {
        assert_eq!(end(&server.platform().call(CallScript { callee, ..script() }).await), ending);
    }
}

#[tokio::test]
async fn the_last_prompt_of_a_parked_call_is_played_out() {
    let park =
        r##"{"action":{"name":"park","introPrompt":"#tts[Please wait]","holdPrompt":"music.wav","maxDuration":8}}"##;
    assert_eq!(
        played(park, script()).await,
        [
            "0.0 s  answered by the platform",
            "0.0 s  connected to hold",
            "0.0 s  hears \"Please wait\"",
            "0.6 s  hears \"music.wav\"",
            "3.6 s  hears the hold prompt again and again",
            "9.6 s  ended: ANSWERED TIMEOUT after 10 s",
        ]
    );
    let bare = r#"{"action":{"name":"park","maxDuration":8}}"#;
    assert_eq!(played(bare, script()).await[2..], ["8.0 s  ended: ANSWERED TIMEOUT after 8 s"]);
    let long = r#"{"action":{"name":"park","holdPrompt":"music.wav"}}"#;
    assert_eq!(end(&answering(long).await.platform().call(script()).await), ("ANSWERED", "CALLERHANGUP", Some(30)));
}
