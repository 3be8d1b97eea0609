//! What a caller does in a menu, and what the PIE says of it.

use proto::Kind::{Ice, Pie};
use proto::callback::{Details, MenuResult};

use super::server::{Server, json, only};
use super::{end, inputs, script};
use crate::script::{CallScript, Input};

const MENU: &str = r##"{"action":{"name":"runMenu","barge":false,"menus":[
    {"id":"main","mainPrompt":"#tts[Welcome]","repeatPrompt":"#tts[Again]","repeats":1,
     "options":[{"dtmf":"1","action":"return(sales)"},{"dtmf":"2","action":"menu(pin)"},
                {"dtmf":"3","action":"menu(main)"}]},
    {"id":"pin","mainPrompt":"#tts[Your PIN]","maxDigits":4,"repeats":0,"timeoutMills":2000}]}}"##;

/// Plays a call through the menu; returns type, value and menu of the PIE, and what was heard.
async fn pie(inputs: &[&str]) -> ((String, String, String), Vec<String>) {
    let (result, heard) = result_of(MENU, inputs).await;
    let text = |text: Option<String>| text.expect("text");
    ((text(result.kind), text(result.value), text(result.menu_id)), heard)
}

async fn result_of(menu: &'static str, keys: &[&str]) -> (MenuResult, Vec<String>) {
    let server = Server::start(move |callback| if callback.kind() == Ice { json(menu) } else { only("hangup") }).await;
    let report = server.platform().call(CallScript { inputs: inputs(keys), ..script() }).await;
    let result = server.seen().into_iter().find_map(|callback| match callback.details {
        Details::Pie(pie) => pie.menu_result,
        Details::Ice(_) | Details::Ace(_) | Details::Dice(_) | Details::Notify(_) | Details::Unknown { .. } => None,
    });
    (result.expect("a PIE"), report.heard().into_iter().map(str::to_owned).collect())
}

#[tokio::test]
async fn keys_lead_where_the_menu_says() {
    let cases: [(&[&str], _, &[&str]); 10] = [
        (&["1"], ("return", "sales", "main"), &["Welcome"]),
        (&["silence", "1"], ("return", "sales", "main"), &["Welcome", "Again"]),
        (&["9", "1"], ("return", "sales", "main"), &["Welcome", "Again"]),
        (&["3", "1"], ("return", "sales", "main"), &["Welcome", "Welcome"]),
        (&["2", "1234"], ("sequence", "1234", "pin"), &["Welcome", "Your PIN"]),
        (&["2", "12345"], ("sequence", "1234", "pin"), &["Welcome", "Your PIN"]),
        (&["2", "12#9"], ("sequence", "12", "pin"), &["Welcome", "Your PIN"]),
        (&["2"], ("timeout", "", "pin"), &["Welcome", "Your PIN"]),
        (&["silence", "9"], ("invalidinput", "", "main"), &["Welcome", "Again"]),
        (&[], ("timeout", "", "main"), &["Welcome", "Again"]),
    ];
    for (inputs, (kind, value, menu), heard) in cases {
        let (result, said) = pie(inputs).await;
        assert_eq!(result, (kind.into(), value.into(), menu.into()), "{inputs:?}");
        assert_eq!(said, heard, "{inputs:?}");
    }
    assert_eq!(pie(&["hangup"]).await.0, ("hangup".into(), String::new(), "main".into()));
}

const VOICE: &str = r##"{"action":{"name":"runMenu","enableVoice":true,"locale":"en-US","menus":[
    {"id":"main","mainPrompt":"#tts[Say sales]","repeats":0,"options":[
     {"dtmf":"1","action":"return(sales)"},{"dtmf":"2","action":"menu(why)"}]},
    {"id":"why","mainPrompt":"#tts[Why]","repeats":0,"maxTimeoutMills":1000}]}}"##;

#[tokio::test]
async fn words_lead_where_the_menu_says() {
    let cases: [(&[&str], _); 8] = [
        (&["say:why", "say:more than it listens to"], ("invalidinput", "", "why", "dtmf")),
        (&["say:Sales"], ("return", "sales", "main", "voice")),
        (&["say:1"], ("return", "sales", "main", "voice")),
        (&["say:why", "say:my bill"], ("sequence", "my bill", "why", "voice")),
        (&["2", "say:4 2"], ("sequence", "42", "why", "voice")),
        (&["say:help"], ("invalidinput", "", "main", "dtmf")),
        (&["1"], ("return", "sales", "main", "dtmf")),
        (&["say:why"], ("timeout", "", "why", "dtmf")),
    ];
    for (inputs, wanted) in cases {
        let (result, _) = result_of(VOICE, inputs).await;
        let text = |text: &'static str| Some(text.to_owned());
        let (kind, value, menu_id, input_method) = wanted;
        assert_eq!(
            (result.kind, result.value, result.menu_id, result.input_method),
            (text(kind), text(value), text(menu_id), text(input_method)),
            "{inputs:?}"
        );
    }
    assert_eq!(pie(&["say:sales", "1"]).await.0.0, "return", "a menu without voice hears nothing, and asks again");
    assert_eq!(pie(&["say:sales", "silence"]).await.0.0, "timeout");
}

#[tokio::test]
async fn time_passes_in_a_menu() {
    let server = Server::start(|callback| if callback.kind() == Ice { json(MENU) } else { only("hangup") }).await;
    let report = server.platform().call(CallScript { inputs: vec![Input::Digits("2".into())], ..script() }).await;
    // "Welcome" 0.42 s, the key 1 s, "Your PIN" 0.48 s, silence 2 s.
    assert_eq!(report.steps.last().map(|step| step.at_ms), Some(3_900));
    assert_eq!(end(&report), ("ANSWERED", "MANAGERHANGUP", Some(4)));
}

#[tokio::test]
async fn a_caller_may_hang_up_and_the_answer_no_longer_matters() {
    let server = Server::start(|callback| if callback.kind() == Ice { json(MENU) } else { only("continue") }).await;
    let report = server.platform().call(CallScript { inputs: vec![Input::HangUp], ..script() }).await;
    assert_eq!(end(&report), ("ANSWERED", "CALLERHANGUP", Some(1)));
}

#[tokio::test]
async fn menus_without_end_do_not_keep_the_call() {
    let server = Server::start(|_| json(MENU)).await;
    let report = server.platform().call(script()).await;
    assert_eq!(report.ending.reason.as_str(), "GENERALERROR");
    assert_eq!(report.callbacks().iter().filter(|kind| **kind == Pie).count(), 100);
}
