//! Who is in a conference, who is heard there, and who is thrown out.

use std::time::Duration;

use serde_json::{Value, json};

use super::callouts::{callout, end, platform};
use super::rest::refused;
use crate::CalleeScript;

const ROOM: &str = "/calling/v1/conferences/id/placed-1";

#[tokio::test]
async fn participants_are_muted_held_and_thrown_out() {
    let (server, platform, rest) = platform(r#"{"action":{"name":"continue"}}"#).await;
    platform.everybody(CalleeScript { talks_secs: 14_000, ..CalleeScript::default() });
    assert_eq!(refused(rest.get(ROOM).await), 40400);
    for number in ["+46701234567", "+46701234568"] {
        let to = json!({ "type": "number", "endpoint": number });
        let body = callout(json!({ "destination": to, "cli": number, "maxDuration": 14_400, "mohClass": "music1" }));
        assert_eq!(rest.post("/calling/v1/callouts", &body).await.0, 200);
    }
    let shown = async || rest.get(ROOM).await.1["participants"].as_array().cloned().unwrap_or_default();
    while shown().await.len() < 2 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let of = |participants: &[Value], cli: &str| -> Value {
        participants.iter().find(|one| one["cli"] == cli).cloned().unwrap_or_default()
    };
    let first = of(&shown().await, "+46701234567");
    let call = first["id"].as_str().expect("an id").to_owned();
    let path = format!("{ROOM}/{call}");
    while of(&shown().await, "+46701234567")["duration"].as_u64().expect("seconds") < 2 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    for (command, muted, on_hold) in [
        (json!({ "command": "mute" }), true, false),
        (json!({ "command": "onhold", "moh": "music2" }), true, true),
        (json!({ "command": "unmute" }), false, true),
        (json!({ "command": "onhold" }), false, true),
        (json!({ "command": "resume" }), false, false),
    ] {
        assert_eq!(rest.patch(&path, &command).await, (200, Value::Null), "{command}");
        let now = shown().await;
        let (first, second) = (of(&now, "+46701234567"), of(&now, "+46701234568"));
        assert_eq!((&first["muted"], &first["onhold"]), (&muted.into(), &on_hold.into()), "{command}");
        assert_eq!((&second["muted"], &second["onhold"]), (&false.into(), &false.into()), "{command}");
    }
    for (path, body, code) in [
        (path.as_str(), json!({}), 40002),
        (&path, json!({ "command": "sing" }), 40001),
        (&path, json!({ "command": "Mute" }), 40001),
        (&path, json!({ "command": "mute", "loud": true }), 40001),
        (&path, json!({ "command": "onhold", "moh": "music4" }), 40001),
        (&path, json!({ "command": "mute", "moh": "music1" }), 40001),
        (&format!("{ROOM}/other"), json!({ "command": "mute" }), 40400),
        (&format!("/calling/v1/conferences/id/other/{call}"), json!({ "command": "mute" }), 40400),
    ] {
        assert_eq!(refused(rest.patch(path, &body).await), code, "{body}");
    }
    assert_eq!(refused(rest.delete(&format!("{ROOM}/other")).await), 40400);
    assert_eq!(refused(rest.delete("/calling/v1/conferences/id/other").await), 40400);
    assert_eq!(rest.delete(&path).await, (200, Value::Null));
    assert_eq!(end(&server).await.1, "MANAGERHANGUP");
    assert_eq!(shown().await.len(), 1);
    assert_eq!(rest.delete(ROOM).await, (200, Value::Null));
    while rest.get(ROOM).await.0 != 404 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let heard =
        |nth: usize| platform.placed()[nth].steps.iter().any(|step| step.what.to_string() == "hears \"music1\"");
    assert!(heard(0) ^ heard(1), "only who came first heard the music");
}
