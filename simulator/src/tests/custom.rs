//! Custom callouts: each question is answered by the callout itself, at a URL, or by the application.

use proto::Kind::{Ace, Dice, Ice, Pie};
use proto::callback::Details;
use serde_json::{Value, json};

use super::callouts::{TO, end, ended, platform};
use super::inputs;
use super::rest::Rest;
use super::server::{Server, json as canned, only};
use crate::{Callee, CalleeScript, Platform};

const GO_ON: &str = r#"{"action":{"name":"continue"}}"#;
const MENU: &str =
    r#"{"action":{"name":"runMenu","menus":[{"id":"main","options":[{"dtmf":"1","action":"return(yes)"}]}]}}"#;

async fn place(rest: &Rest, body: Value) {
    let callout = json!({ "method": "customCallout", "customCallout": body });
    let (status, taken) = rest.post("/calling/v1/callouts", &callout).await;
    assert_eq!(status, 200, "{taken}");
}

fn steps(platform: &Platform) -> Vec<String> {
    platform.placed()[0].steps.iter().map(|step| step.what.to_string()).collect()
}

#[tokio::test]
async fn a_callout_that_answers_everything_asks_nobody() {
    let (server, platform, rest) = platform(GO_ON).await;
    platform.callee(TO, CalleeScript { inputs: inputs(&["1"]), ..CalleeScript::default() });
    let ice = json!({ "action": { "name": "ConnectPstn", "number": TO, "cli": "+46850000001" } });
    let pie = json!({ "instructions": [{ "name": "say", "text": "Thanks" }], "action": { "name": "hangup" } });
    place(&rest, json!({ "custom": "c", "ice": ice.to_string(), "ace": MENU, "pie": pie.to_string() })).await;
    assert_eq!(end(&server).await, ended("ANSWERED", "MANAGERHANGUP", Some(2)));
    assert_eq!(server.kinds(), [Dice]);
    assert_eq!(
        steps(&platform),
        [
            "connectPstn",
            "rings at +46701234567, showing +46850000001",
            "answered by +46701234567",
            "runMenu",
            "presses 1",
            "say, hangup",
            "hears \"Thanks\"",
            "ended: ANSWERED MANAGERHANGUP after 2 s",
        ]
    );
}

#[tokio::test]
async fn what_a_callout_leaves_open_the_application_is_asked() {
    let server = Server::start(|callback| match &callback.details {
        Details::Ice(_) => canned(format!(r#"{{"action":{{"name":"connectPstn","number":"{TO}"}}}}"#)),
        Details::Ace(_) => canned(MENU),
        Details::Pie(_) | Details::Dice(_) | Details::Notify(_) | Details::Unknown { .. } => only("hangup"),
    })
    .await;
    let platform = server.platform();
    platform.pace(std::time::Duration::from_millis(10));
    platform.callee(TO, CalleeScript { inputs: inputs(&["1"]), ..CalleeScript::default() });
    let rest = Rest::start(platform.clone()).await;
    place(&rest, json!({ "cli": "+46850000001" })).await;
    assert_eq!(end(&server).await.1, "MANAGERHANGUP");
    assert_eq!(server.kinds(), [Ice, Ace, Pie, Dice]);
    let Details::Ice(ice) = server.seen().remove(0).details else { panic!("an ICE") };
    assert_eq!((ice.cli.as_deref(), ice.to.is_some()), (Some("+46850000001"), false));
}

#[tokio::test]
async fn with_a_destination_and_no_ice_it_rings_at_once() {
    let (server, platform, rest) = platform(r#"{"action":{"name":"hangup"}}"#).await;
    place(
        &rest,
        json!({ "cli": "+46850000001", "destination": { "type": "number", "endpoint": TO }, "maxDuration": 9 }),
    )
    .await;
    end(&server).await;
    assert_eq!(server.kinds(), [Ace, Dice]);
    assert_eq!(platform.placed()[0].to, TO);
}

#[tokio::test]
async fn each_question_has_a_url_of_its_own() {
    let (application, _platform, rest) = platform(GO_ON).await;
    let to_sip = r#"{"action":{"name":"connectSip","destination":{"endpoint":"a@b"}}}"#;
    let asked =
        Server::start(move |callback| if callback.kind() == Ice { canned(to_sip) } else { only("hangup") }).await;
    let told = Server::start(|_| only("continue")).await;
    place(&rest, json!({ "ice": asked.url, "ace": asked.url, "dice": told.url })).await;
    assert_eq!(end(&told).await.1, "MANAGERHANGUP");
    assert_eq!((asked.kinds(), told.kinds(), application.kinds()), (vec![Ice, Ace], vec![Dice], vec![]));
}

#[tokio::test]
async fn nobody_is_called_without_an_answer_and_nobody_who_is_busy_answers() {
    for (ice, callee, expected) in [
        (GO_ON.to_owned(), Callee::default(), ended("FAILED", "CALLBACKERROR", None)),
        (r#"{"action":{"name":"hangup"}}"#.to_owned(), Callee::default(), ended("N/A", "MANAGERHANGUP", None)),
        (format!(r#"{{"action":{{"name":"connectPstn","number":"{TO}"}}}}"#), Callee::Busy, ended("BUSY", "N/A", None)),
    ] {
        let server = Server::start(move |_| canned(ice.clone())).await;
        let platform = server.platform();
        platform.pace(std::time::Duration::from_millis(10));
        platform.everybody(CalleeScript { callee, ..CalleeScript::default() });
        let rest = Rest::start(platform.clone()).await;
        place(&rest, json!({})).await;
        assert_eq!(end(&server).await, expected);
    }
}
