//! Every action and instruction: read, written back, and checked against what it answers.
#![expect(clippy::expect_used, reason = "a test that cannot begin has failed")]

use expect_test::expect;
use proto::{Kind, Svaml};

fn check(kind: Kind, json: &str) -> String {
    let svaml: Svaml = serde_json::from_str(json).expect("SVAML");
    match svaml.check(kind) {
        Ok(()) => "ok".to_owned(),
        Err(problems) => problems.to_string(),
    }
}

/// One legal example of each action, with where it is legal.
const ACTIONS: [(&str, [bool; 3]); 9] = [
    (r#"{"name":"hangup"}"#, [true, true, true]),
    (r#"{"name":"continue"}"#, [false, true, true]),
    (
        r#"{"name":"connectPstn","number":"+15551111111","locale":"en-US","maxDuration":600,"dialTimeout":30,"cli":"private","suppressCallbacks":true,"dtmf":"w123#","indications":"se","amd":{"enabled":true,"async":true}}"#,
        [true, false, true],
    ),
    (
        r#"{"name":"connectMxp","destination":{"type":"username","endpoint":"johndoe"},"callHeaders":[{"key":"k","value":"v"}],"record":true,"recordingOptions":{"format":"mp3"}}"#,
        [true, false, false],
    ),
    (
        r#"{"name":"connectConf","conferenceId":"c","conferenceDtmfOptions":{"mode":"detect","maxDigits":1,"timeoutMills":3000},"moh":"music1"}"#,
        [true, true, true],
    ),
    (
        r#"{"name":"connectSip","destination":{"type":"sip","endpoint":"a@b.c"},"maxDuration":60,"cli":"private","callHeaders":[{"key":"k","value":"v"}],"moh":"ring","transport":"tls"}"#,
        [true, false, true],
    ),
    (
        r#"{"name":"connectStream","destination":{"type":"Websocket","endpoint":"wss://a.b/c"},"streamingOptions":{"version":1,"sampleRate":16000},"maxDuration":60}"#,
        [true, false, false],
    ),
    (
        r#"{"name":"runMenu","barge":true,"locale":"en-US","mainMenu":"main","enableVoice":true,"menus":[{"id":"main","mainPrompt":"p","repeatPrompt":"r","repeats":2,"maxDigits":1,"timeoutMills":5000,"maxTimeoutMills":20000,"options":[{"dtmf":"1","action":"menu(sub)"},{"dtmf":"2","action":"return(sales)"}]},{"id":"sub"}]}"#,
        [true, true, true],
    ),
    (r#"{"name":"park","locale":"en-US","introPrompt":"i","holdPrompt":"h","maxDuration":600}"#, [true, false, false]),
];

/// The same for instructions.
const INSTRUCTIONS: [(&str, [bool; 3]); 7] = [
    (r##"{"name":"playFiles","ids":["#tts[hello]"],"locale":"en-US"}"##, [true, true, true]),
    (r#"{"name":"say","text":"hello","locale":"en-US"}"#, [true, true, true]),
    (r#"{"name":"sendDtmf","value":"1w#"}"#, [true, false, true]),
    (r#"{"name":"setCookie","key":"k","value":"v"}"#, [true, true, true]),
    (r#"{"name":"answer"}"#, [true, false, false]),
    (
        r#"{"name":"startRecording","options":{"destinationUrl":"s3://b/p","credentials":"k:s:r","format":"mp3","notificationEvents":true,"transcriptionOptions":{"enabled":true,"locale":"en-US"}}}"#,
        [true, true, true],
    ),
    (r#"{"name":"stopRecording"}"#, [true, true, true]),
];

const ASKING: [Kind; 3] = [Kind::Ice, Kind::Ace, Kind::Pie];

#[test]
fn every_action_survives_and_is_legal_only_where_sinch_takes_it() {
    for (action, legal) in ACTIONS {
        let json = format!(r#"{{"action":{action}}}"#);
        let svaml: Svaml = serde_json::from_str(&json).expect("SVAML");
        assert_eq!(svaml.to_json(), json);
        for (kind, legal) in ASKING.into_iter().zip(legal) {
            assert_eq!(svaml.check(kind).is_ok(), legal, "{action} on {kind}: {:?}", svaml.check(kind));
        }
        assert!(svaml.check(Kind::Dice).is_err() && svaml.check(Kind::Notify).is_err());
    }
}

#[test]
fn every_instruction_survives_and_is_legal_only_where_sinch_takes_it() {
    for (instruction, legal) in INSTRUCTIONS {
        let json = format!(r#"{{"instructions":[{instruction}],"action":{{"name":"hangup"}}}}"#);
        let svaml: Svaml = serde_json::from_str(&json).expect("SVAML");
        assert_eq!(svaml.to_json(), json);
        for (kind, legal) in ASKING.into_iter().zip(legal) {
            assert_eq!(svaml.check(kind).is_ok(), legal, "{instruction} on {kind}");
        }
    }
}

#[test]
fn names_are_read_in_the_casings_in_use() {
    for name in ["connectPstn", "ConnectPstn", "connectPSTN", "connectpstn"] {
        let json = format!(r#"{{"instructions":[{{"name":"Say","text":"x"}}],"action":{{"name":"{name}"}}}}"#);
        let svaml: Svaml = serde_json::from_str(&json).expect(name);
        assert_eq!(svaml.action.name(), "connectPstn");
    }
    let key_as_number =
        r#"{"action":{"name":"RunMenu","menus":[{"id":"main","options":[{"dtmf":1,"action":"Return(x)"}]}]}}"#;
    assert_eq!(check(Kind::Ice, key_as_number), "ok");
}

#[test]
fn exactly_one_known_action() {
    for json in
        ["{}", r#"{"action":null}"#, r#"{"action":{}}"#, r#"{"action":{"name":"teleport"}}"#, r#"{"instructions":[]}"#]
    {
        assert!(serde_json::from_str::<Svaml>(json).is_err(), "{json}");
    }
}

#[test]
fn limits_are_said_with_their_place() {
    let long = "x".repeat(601);
    let json = format!(
        r#"{{"instructions":[{{"name":"say","text":"{long}"}},{{"name":"sendDtmf","value":"a"}},{{"name":"setCookie","key":"","value":"v"}}],
            "action":{{"name":"connectPstn","number":"0701234567","maxDuration":14401,"indications":"xx","dialTimeout":0}}}}"#
    );
    expect![[r#"
        action.number: not an E.164 number: '+' and 7 to 15 digits
        action.maxDuration: a call lasts 1 to 14,400 seconds
        action.dialTimeout: must ring for at least a second
        action.indications: no ring tone of that country, only of: at au bg br be ch cl cn cz de dk ee es fi fr gr hu il in it lt jp mx my nl no nz ph pl pt ru se sg th uk us tw ve za
        instructions[0].text: at most 600 characters are spoken
        instructions[1].value: tones are of 0-9, #, * and w (half a second)
        instructions[2].key: a cookie's key has 1 to 50 characters
    "#]]
    .assert_eq(&sorted(&check(Kind::Ice, &json)));
}

#[test]
fn menus_hang_together() {
    let json = r#"{"action":{"name":"runMenu","enableVoice":true,"mainMenu":"gone","menus":[
        {"id":"first","options":[{"dtmf":"1","action":"menu(nowhere)"},{"dtmf":"1","action":"return(x)"},{"dtmf":"a","action":"jump(x)"}]},
        {"id":"first"}]}}"#;
    expect![[r#"
        action.locale: voice input needs a locale
        action.mainMenu: there is no menu with this id
        action.menus: one menu must have the id main
        action.menus[0].options[0].action: there is no menu with this id
        action.menus[0].options[1].dtmf: this key is taken by an earlier option
        action.menus[0].options[2].action: reads menu(id) or return(value)
        action.menus[0].options[2].dtmf: a key is of 0-9, # and *
        action.menus[1].id: two menus have this id
    "#]]
    .assert_eq(&sorted_all(&check(Kind::Ice, json)));
}

fn sorted(problems: &str) -> String {
    let mut lines: Vec<&str> = problems.split("; ").collect();
    lines.sort_by_key(|line| line.starts_with("instructions"));
    lines.iter().map(|line| format!("{line}\n")).collect()
}

fn sorted_all(problems: &str) -> String {
    let mut lines: Vec<&str> = problems.split("; ").collect();
    lines.sort_unstable();
    lines.iter().map(|line| format!("{line}\n")).collect()
}
