//! A call drawn as a ladder: caller, Sinch and callbus as three rails, one rung for each thing that happened.

use proto::svaml::{Action, Instruction};
use proto::{Kind, Svaml};
use serde_json::Value;
use simulator::{Outcome, Step, What};

use crate::output::{Output, Tone};

/// Characters between two rails.
const RAIL_GAP: usize = 14;

/// Who says something to whom, and what, in a word or two.
enum Arrow<'a> {
    ToPlatform(&'a str),
    ToCaller(&'a str),
    ToCallbus(&'a str),
    Answer(&'a str),
    /// Something that happened, without anybody being told.
    None,
}

/// Draws rungs as they come.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ladder(Output);

impl Ladder {
    /// Draws the names over the rails.
    pub(crate) fn begin(output: Output) -> Self {
        output.line(
            output.toned(Tone::Faint, format!("{:>9}  {:<w$}{:<w$}callbus", "", "caller", "Sinch", w = RAIL_GAP + 1)),
        );
        Self(output)
    }

    /// A step of a simulated call.
    pub(crate) fn step(&self, step: &Step) {
        let at = step.at_ms;
        match &step.what {
            What::Callback { kind, copy, body, latency_micros, outcome, .. } => {
                let name = kind.as_str().to_uppercase();
                let mut about = callback_text(*kind, &serde_json::from_str(body).unwrap_or_default());
                if *copy > 0 {
                    about = format!("again: {about}");
                }
                self.rung(at, Arrow::ToCallbus(&name), &about);
                let took = format!("{}.{} ms", latency_micros / 1_000, latency_micros % 1_000 / 100);
                match outcome {
                    Outcome::Replied { status, body } => {
                        let took = self.0.toned(Tone::Faint, took);
                        let text = match serde_json::from_str(body) {
                            Ok(svaml) => format!("{} · {took}", self.0.toned(Tone::Note, svaml_text(&svaml))),
                            Err(_) => took,
                        };
                        self.rung(at, Arrow::Answer(&status.to_string()), &text);
                    }
                    Outcome::Failed { why } => self.rung(at, Arrow::Answer("✗"), &self.0.toned(Tone::Bad, why)),
                }
            }
            // It stands on the rung of its reply.
            What::Answer { .. } => {}
            What::BadAnswer { why } => {
                self.rung(at, Arrow::None, &self.0.toned(Tone::Bad, format!("not legal: {why}")));
            }
            What::Heard { text } => self.rung(at, Arrow::ToCaller("hears"), &format!("“{text}”")),
            What::Pressed { digits } => self.rung(at, Arrow::ToPlatform(&format!("presses {digits}")), ""),
            What::Said { words } => self.rung(at, Arrow::ToPlatform("says"), &format!("“{words}”")),
            What::HoldRepeats => self.rung(at, Arrow::ToCaller("hears"), "the hold prompt again and again"),
            What::Silent
            | What::Tones { .. }
            | What::Forwarded { .. }
            | What::Cookie { .. }
            | What::RecordingStarted
            | What::RecordingStopped
            | What::Ringing(_)
            | What::Beep
            | What::StreamOpened { .. }
            | What::Answered { .. }
            | What::Connected { .. } => self.rung(at, Arrow::None, &step.what.to_string()),
            What::Ended { .. } => {
                self.rung(at, Arrow::None, &self.0.toned(Tone::Strong, &step.what));
            }
        }
    }

    /// A callback as the log has it.
    pub(crate) fn callback(&self, at_ms: u64, kind: Kind, body: &Value) {
        self.rung(at_ms, Arrow::ToCallbus(&kind.as_str().to_uppercase()), &callback_text(kind, body));
    }

    /// An answer as the log has it, and the words for how it was found.
    pub(crate) fn answer(&self, at_ms: u64, answer: &Value, found: &str) {
        let text =
            serde_json::from_value(answer.clone()).map_or_else(|_| answer.to_string(), |svaml| svaml_text(&svaml));
        self.rung(at_ms, Arrow::Answer("SVAML"), &self.0.toned(Tone::Note, text));
        self.rung(at_ms, Arrow::None, &self.0.toned(Tone::Faint, found));
    }

    fn rung(&self, at_ms: u64, arrow: Arrow<'_>, text: &str) {
        let time = format!("{:>5}.{} s", at_ms / 1_000, at_ms % 1_000 / 100);
        self.0.line(format!("{}  {} {text}", self.0.toned(Tone::Faint, time), rails(&arrow)).trim_end());
    }
}

fn rails(arrow: &Arrow<'_>) -> String {
    let gap = " ".repeat(RAIL_GAP);
    let right = |label: &str| format!("{:─^w$}▶", format!(" {label} "), w = RAIL_GAP - 1);
    let left = |label: &str| format!("◀{:─^w$}", format!(" {label} "), w = RAIL_GAP - 1);
    match arrow {
        Arrow::ToPlatform(label) => format!("├{}│{gap}│", right(label)),
        Arrow::ToCaller(label) => format!("│{}┤{gap}│", left(label)),
        Arrow::ToCallbus(label) => format!("│{gap}├{}│", right(label)),
        Arrow::Answer(label) => format!("│{gap}│{}┤", left(label)),
        Arrow::None => format!("│{gap}│{gap}│"),
    }
}

/// What matters of a callback, in a few words.
fn callback_text(kind: Kind, body: &Value) -> String {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let parts = match kind {
        Kind::Ice => {
            let from = text(&body["cli"]).or_else(|| text(&body["user"])).or_else(|| text(&body["userId"]));
            let to = text(&body["to"]["endpoint"]);
            vec![from.map(|from| format!("from {from}")), to.map(|to| format!("to {to}"))]
        }
        Kind::Ace => vec![text(&body["amd"]["status"])],
        Kind::Pie => vec![text(&body["menuResult"]["type"]), text(&body["menuResult"]["value"])],
        Kind::Dice => {
            let duration = body["duration"].as_u64().map(|secs| format!("after {secs} s"));
            vec![text(&body["result"]), text(&body["reason"]), duration]
        }
        Kind::Notify => {
            vec![text(&body["type"]), text(&body["amd"]["status"]), text(&body["destination"]), text(&body["errorMsg"])]
        }
        Kind::Unknown => vec![text(&body["event"])],
        Kind::Decided
        | Kind::Emitted
        | Kind::Asked
        | Kind::Placed
        | Kind::Dialled
        | Kind::Progressed
        | Kind::Settled => vec![],
    };
    parts.into_iter().flatten().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" ")
}

/// An answer in one line.
fn svaml_text(svaml: &Svaml) -> String {
    let mut parts: Vec<String> = svaml.instructions.iter().map(instruction_text).collect();
    parts.push(action_text(&svaml.action));
    parts.join(", ")
}

fn instruction_text(instruction: &Instruction) -> String {
    match instruction {
        Instruction::Say { text, .. } => format!("say “{text}”"),
        Instruction::SetCookie { key, value } => format!("setCookie {key}={value}"),
        Instruction::SendDtmf { value } => format!("sendDtmf {value}"),
        Instruction::PlayFiles { ids, .. } => format!("playFiles {}", ids.join(" ")),
        Instruction::Answer | Instruction::StartRecording { .. } | Instruction::StopRecording => {
            instruction.name().to_owned()
        }
    }
}

fn action_text(action: &Action) -> String {
    let limit = |secs: Option<u32>| secs.map(|secs| format!(", {secs} s at most")).unwrap_or_default();
    let (to, limit) = match action {
        Action::ConnectPstn(connect) => {
            (connect.number.as_deref().unwrap_or("the dialled number"), limit(connect.max_duration))
        }
        Action::ConnectSip(connect) => (connect.destination.endpoint.as_str(), limit(connect.max_duration)),
        Action::ConnectStream(connect) => (connect.destination.endpoint.as_str(), limit(connect.max_duration)),
        Action::ConnectMxp(connect) => {
            let destination = connect.destination.as_ref();
            (destination.map_or("the dialled user", |destination| destination.endpoint.as_str()), String::new())
        }
        Action::ConnectConf(connect) => (connect.conference_id.as_str(), String::new()),
        Action::RunMenu(menu) => (menu.main_menu.as_deref().unwrap_or("main"), String::new()),
        Action::Park(park) => ("", limit(park.max_duration)),
        Action::Hangup | Action::Continue => ("", String::new()),
    };
    let gap = if to.is_empty() { "" } else { " " };
    format!("{}{gap}{to}{limit}", action.name())
}

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use serde_json::json;

    use super::*;

    #[test]
    fn rungs_keep_the_rails_in_line() {
        let arrows = [
            Arrow::ToCallbus("ICE"),
            Arrow::Answer("200"),
            Arrow::ToCaller("hears"),
            Arrow::ToPlatform("presses 1"),
            Arrow::None,
        ];
        let drawn: Vec<String> = arrows.iter().map(rails).collect();
        expect![[r#"
            │              ├──── ICE ────▶│
            │              │◀──── 200 ────┤
            │◀─── hears ───┤              │
            ├─ presses 1 ─▶│              │
            │              │              │"#]]
        .assert_eq(&drawn.join("\n"));
    }

    #[test]
    fn callbacks_and_answers_in_a_few_words() {
        let ice = json!({ "cli": "+4670", "to": { "endpoint": "+1555" } });
        let dice = json!({ "result": "ANSWERED", "reason": "CALLERHANGUP", "duration": 63 });
        let svaml = r#"{ "instructions": [{ "name": "say", "text": "Hello." }, { "name": "answer" }],
            "action": { "name": "connectPstn", "number": "+1555", "maxDuration": 60 } }"#;
        let answer = |svaml| svaml_text(&serde_json::from_str(svaml).expect("SVAML"));
        let lines = [
            callback_text(Kind::Ice, &ice),
            callback_text(Kind::Ice, &json!({ "userId": "alice" })),
            callback_text(Kind::Dice, &dice),
            callback_text(Kind::Pie, &json!({ "menuResult": { "type": "return", "value": "sales" } })),
            callback_text(Kind::Ace, &json!(null)),
            callback_text(Kind::Notify, &json!({ "type": "amd", "amd": { "status": "machine" } })),
            callback_text(Kind::Notify, &json!({ "type": "recording_available", "destination": "s3://b/f.mp3" })),
            answer(svaml),
            answer(r#"{ "action": { "name": "connectMxp", "destination": { "endpoint": "bob" } } }"#),
            answer(r#"{ "action": { "name": "park", "maxDuration": 60 } }"#),
        ];
        expect![[r#"
            from +4670 to +1555
            from alice
            ANSWERED CALLERHANGUP after 63 s
            return sales

            amd machine
            recording_available s3://b/f.mp3
            say “Hello.”, answer, connectPstn +1555, 60 s at most
            connectMxp bob
            park, 60 s at most"#]]
        .assert_eq(&lines.join("\n"));
    }
}
