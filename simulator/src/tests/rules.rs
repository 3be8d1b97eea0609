//! Answers that are legal by themselves, and not in this call.

use proto::Kind::{Ace, Dice, Ice, Notify};
use proto::callback::Details;

use super::server::{Server, json};
use super::{answering, end, script};
use crate::script::{CallScript, Caller, Endpoint};

/// What the notify says of an ICE answer that cannot be obeyed.
async fn refused(action: &str, script: CallScript) -> String {
    let server = answering(format!(r#"{{"action":{action}}}"#)).await;
    let report = server.platform().call(script).await;
    assert_eq!(
        (server.kinds(), end(&report)),
        (vec![Ice, Notify, Dice], ("FAILED", "CALLBACKERROR", None)),
        "{action}"
    );
    let Details::Notify(notify) = &server.seen()[1].details else { panic!("not a notify") };
    assert_eq!((notify.notify_type.as_deref(), notify.error_code), (Some("callingerror"), Some(40_001)));
    notify.error_msg.clone().unwrap_or_default()
}

#[tokio::test]
async fn a_destination_is_of_its_actions_type() {
    let to = |name: &str, kind: &str, endpoint: &str| {
        format!(r#"{{"name":"{name}","destination":{{"type":"{kind}","endpoint":"{endpoint}"}}}}"#)
    };
    for (action, why) in [
        (to("connectMxp", "number", "+46312345678"), "action.destination.type: number is not username"),
        (to("connectSip", "username", "a@b"), "action.destination.type: username is not sip"),
        (to("connectStream", "http", "wss://a/b"), "action.destination.type: http is not websocket"),
    ] {
        assert_eq!(refused(&action, script()).await, why);
    }
}

#[tokio::test]
async fn without_a_destination_the_dialled_one_must_do() {
    let why = refused(r#"{"name":"connectMxp"}"#, script()).await;
    assert_eq!(why, "action.destination: needed, for no user was dialled");
    let to_bob = CallScript::new(Caller::User("alice".into()), Endpoint::Username("bob".into()));
    let why = refused(r#"{"name":"connectPstn"}"#, to_bob).await;
    assert_eq!(why, "action.number: needed, for no number was dialled");
}

#[tokio::test]
async fn the_cookies_of_all_answers_are_counted_together() {
    let answer = |key: &str, bytes: usize| {
        format!(
            r#"{{"instructions":[{{"name":"setCookie","key":"{key}","value":"{}"}}],"action":{{"name":"ACTION"}}}}"#,
            "v".repeat(bytes)
        )
    };
    let (ice, ace) =
        (answer("a", 600).replace("ACTION", "connectPstn"), answer("b", 423).replace("ACTION", "continue"));
    for (ace, kinds) in [
        (ace.replace('b', "a"), vec![Ice, Ace, Dice]),
        (ace.replace("vv", "v"), vec![Ice, Ace, Dice]),
        (ace, vec![Ice, Ace, Notify, Dice]),
    ] {
        let ice = ice.clone();
        let server = Server::start(move |callback| json(if callback.kind() == Ice { &ice } else { &ace })).await;
        server.platform().call(script()).await;
        assert_eq!(server.kinds(), kinds);
    }
}

#[tokio::test]
async fn a_prompt_joins_no_more_than_the_platform_plays() {
    let prompt = |parts: usize| vec!["a"; parts].join(";");
    for action in [
        r#"{"name":"park","holdPrompt":"PROMPT"}"#,
        r#"{"name":"runMenu","menus":[{"id":"main"},{"id":"sub","repeatPrompt":"PROMPT"}]}"#,
    ] {
        assert_eq!(refused(&action.replace("PROMPT", &prompt(65)), script()).await, "a prompt joins 65 others, of 64");
        let server = answering(format!(r#"{{"action":{}}}"#, action.replace("PROMPT", &prompt(64)))).await;
        assert_eq!(end(&server.platform().call(script()).await).0, "ANSWERED");
    }
}

#[tokio::test]
async fn a_server_that_keeps_asking_keeps_nobody_for_ever() {
    let menu = format!(
        r##"{{"action":{{"name":"runMenu","menus":[{{"id":"main","repeats":1000,"mainPrompt":"#tts[{}]"}}]}}}}"##,
        "x".repeat(60_000)
    );
    let server = Server::start(move |_| json(&menu)).await;
    let report = server.platform().call(script()).await;
    assert_eq!(end(&report), ("ANSWERED", "TIMEOUT", Some(86_400)));
    assert!(report.steps.len() < 200, "{} steps", report.steps.len());
}
