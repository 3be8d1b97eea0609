//! The file's own tests: what is given, and what must come of it. They run when the file is loaded, and a file whose
//! tests fail does not load.

use proto::Svaml;
use proto::svaml::{Action, Instruction};
use serde_json::{Value as Json, json};

use crate::decision::{Decision, Verdict};
use crate::emit::{Emit, EmitFailed};
use crate::errors::{Findings, quoted};
use crate::explanation::TriedResult;
use crate::given::{Given, to_json};
use crate::policy::Policy;
use crate::reader::Reader;
use crate::reason::Reason;
use crate::reply::constant;
use crate::yaml::{Entry, Node, Shape};

pub(crate) const KEYS: &[&str] = &["it", "given", "expect"];
pub(crate) const EXPECT_KEYS: &[&str] = &["rule", "reason", "action", "says", "remember", "asks", "emits"];

const TESTS_MAX: usize = 500;
/// Rules named in the report of a failure.
const TRIED_MAX: usize = 12;

/// One test.
#[derive(Debug)]
pub(crate) struct TestCase {
    at: usize,
    it: String,
    given: Given,
    expect: Vec<Entry>,
}

impl TestCase {
    pub(crate) fn list(reader: &mut Reader<'_>, node: &Node) -> Vec<Self> {
        let nodes = reader.list(node, "tests");
        if nodes.len() > TESTS_MAX {
            reader.findings.wrong(node.at, format!("a policy has at most {TESTS_MAX} tests"));
        }
        nodes.iter().take(TESTS_MAX).filter_map(|node| Self::read(reader, node)).collect()
    }

    /// Does what is given and reports what came out otherwise.
    pub(crate) fn run(&self, policy: &Policy, findings: &mut Findings<'_>) {
        let (wrong, hint) = if self.given.kind().wants_svaml() { self.decide(policy) } else { self.emit(policy) };
        for (at, what) in wrong {
            let what = format!("the test {} fails: {what}", quoted(&self.it));
            findings.wrong_hint(if at == 0 { self.at } else { at }, what, hint.as_str());
        }
    }

    /// What is wrong and where, and what was tried.
    fn decide(&self, policy: &Policy) -> (Vec<(usize, String)>, String) {
        let decision = self.given.decide(policy);
        let (svaml, reason) = self.answer(policy, &decision);
        let asks = match &decision.verdict {
            Verdict::Ask { ask, .. } => Some(ask.to.to_string()),
            Verdict::Answer(_) | Verdict::Reserve { .. } | Verdict::Deny { .. } => None,
        };
        let mut wrong = Vec::new();
        for entry in &self.expect {
            let (expected, at) = (&entry.value, entry.value.at);
            let text = expected.scalar().map(|scalar| scalar.text.as_str());
            match entry.key.as_str() {
                "rule" if text != Some(decision.rule.as_str()) => {
                    wrong.push((at, format!("expected rule {}, but {} decided", shown(text), quoted(&decision.rule))));
                }
                "reason" if text != reason.as_ref().map(Reason::as_str) => {
                    let came = reason.as_ref().map_or("there was no refusal".to_owned(), |came| format!("came {came}"));
                    wrong.push((at, format!("expected reason {}, but {came}", shown(text))));
                }
                "action" => {
                    let action = serde_json::to_value(&svaml.action).unwrap_or_default();
                    let came = if text.is_some() { &action["name"] } else { &action };
                    differences("action", expected, came, &mut wrong);
                }
                "says" if !text.is_some_and(|text| spoken(&svaml).iter().any(|said| said.contains(text))) => {
                    let said: Vec<String> = spoken(&svaml).into_iter().map(quoted).collect();
                    let said = if said.is_empty() { "nothing is said".to_owned() } else { said.join(", ") };
                    wrong.push((at, format!("expected to hear {}, but: {said}", shown(text))));
                }
                "asks" if text != asks.as_deref() => {
                    let came = asks.as_ref().map_or("nobody is asked".to_owned(), |to| format!("{to} is"));
                    wrong.push((at, format!("expected that {} is asked, but {came}", shown(text))));
                }
                "remember" => {
                    let came = decision.remember.iter().map(|(key, value)| (key.clone(), Json::from(value.as_str())));
                    differences("remember", expected, &Json::Object(came.collect()), &mut wrong);
                }
                _ => {}
            }
        }
        (wrong, tried(&decision))
    }

    /// The events of a DICE or a notify: all of them, in order.
    fn emit(&self, policy: &Policy) -> (Vec<(usize, String)>, String) {
        let made = policy.emits(&self.given.facts());
        let (mut events, mut rules, mut wrong) = (Vec::new(), Vec::new(), Vec::new());
        for made in made {
            match made {
                Ok(Emit { rule, name, data }) => {
                    rules.push(format!("{rule} emits {name}"));
                    events.push((name, data));
                }
                Err(EmitFailed { rule, error }) => rules.push(format!("{rule} failed ({error})")),
            }
        }
        for node in self.expect.iter().filter_map(|entry| entry.value.nodes()) {
            if node.len() != events.len() {
                let names: Vec<String> = events.iter().map(|(name, _)| quoted(name)).collect();
                let came =
                    if names.is_empty() { "nothing came".to_owned() } else { format!("came {}", names.join(", ")) };
                wrong.push((
                    node.first().map_or(self.at, |node| node.at),
                    format!("expected {} events, but {came}", node.len()),
                ));
                continue;
            }
            for (index, (node, (name, data))) in node.iter().zip(&events).enumerate() {
                let came = match node.shape {
                    Shape::Map(_) => json!({ "name": **name, "data": data }),
                    Shape::Null | Shape::Scalar(_) | Shape::List(_) => json!(**name),
                };
                differences(&format!("emits[{index}]"), node, &came, &mut wrong);
            }
        }
        (wrong, if rules.is_empty() { "no rule applies".to_owned() } else { rules.join(", ") })
    }

    /// What would be answered, credit considered, as far as the test says what there is.
    fn answer(&self, policy: &Policy, decision: &Decision) -> (Svaml, Option<Reason>) {
        match &decision.verdict {
            Verdict::Answer(svaml) => (svaml.clone(), None),
            Verdict::Ask { .. } => (decision.granted(0), None),
            Verdict::Deny { reason, svaml } => (svaml.clone(), Some(reason.clone())),
            Verdict::Reserve { .. } => match self.given.affordable_secs() {
                0 => (policy.refusal(self.given.kind(), &Reason::NO_CREDIT), Some(Reason::NO_CREDIT)),
                secs => (decision.granted(secs), None),
            },
        }
    }

    fn read(reader: &mut Reader<'_>, node: &Node) -> Option<Self> {
        reader.map(node, "a test", KEYS);
        node.entries()?;
        let mut part = |key: &str| {
            let found = node.get(key);
            if found.is_none() {
                reader.findings.wrong_hint(
                    node.at,
                    format!("the test has no {key}"),
                    "a test has it, given and expect",
                );
            }
            found.map(|entry| &entry.value)
        };
        let (it, given, expect) = (part("it")?, part("given")?, part("expect")?);
        let it = reader.text(it, "it")?.to_owned();
        let expect = reader.map(expect, "expect", EXPECT_KEYS).to_vec();
        for entry in expect.iter().filter(|entry| matches!(entry.key.as_str(), "rule" | "reason" | "says" | "asks")) {
            reader.text(&entry.value, &entry.key);
        }
        let given = Given::read(reader, given)?;
        let decides = given.kind().wants_svaml();
        for entry in expect.iter().filter(|entry| EXPECT_KEYS.contains(&entry.key.as_str())) {
            match (decides, entry.key.as_str()) {
                (true, "emits") => {
                    reader.findings.wrong_hint(
                        entry.at,
                        "only dice and notify emit events",
                        "expect a rule or an action",
                    );
                }
                (true, _) => {}
                (false, "emits") => drop(reader.list(&entry.value, "emits")),
                (false, _) => {
                    reader.findings.wrong_hint(entry.at, "nothing is answered here", "expect emits: [call.lost]");
                }
            }
        }
        Some(Self { at: node.at, it, given, expect })
    }
}

/// Every value that is expected must be there; more may be.
fn differences(path: &str, expected: &Node, came: &Json, wrong: &mut Vec<(usize, String)>) {
    match (&expected.shape, came) {
        (Shape::Map(entries), Json::Object(fields)) => {
            for entry in entries {
                let path = format!("{path}.{}", entry.key);
                differences(&path, &entry.value, fields.get(&entry.key).unwrap_or(&Json::Null), wrong);
            }
        }
        (Shape::List(nodes), Json::Array(items)) if nodes.len() == items.len() => {
            for (index, (node, item)) in nodes.iter().zip(items).enumerate() {
                differences(&format!("{path}[{index}]"), node, item, wrong);
            }
        }
        (Shape::Scalar(scalar), Json::String(text)) if *text == scalar.text => {}
        (Shape::Scalar(scalar), Json::Number(_) | Json::Bool(_)) if constant(&scalar.text).as_ref() == Some(came) => {}
        (Shape::Null, Json::Null) => {}
        (Shape::Null | Shape::Scalar(_) | Shape::List(_) | Shape::Map(_), came) => {
            let came = if came.is_null() { "there is none".to_owned() } else { format!("came {came}") };
            wrong.push((expected.at, format!("expected {path} {}, but {came}", to_json(expected))));
        }
    }
}

/// What the caller hears: instructions, and the prompts of a menu or of parking.
fn spoken(svaml: &Svaml) -> Vec<&str> {
    let mut said = Vec::new();
    for instruction in &svaml.instructions {
        match instruction {
            Instruction::Say { text, .. } => said.push(text.as_str()),
            Instruction::PlayFiles { ids, .. } => said.extend(ids.iter().map(String::as_str)),
            Instruction::SendDtmf { .. }
            | Instruction::SetCookie { .. }
            | Instruction::Answer
            | Instruction::StartRecording { .. }
            | Instruction::StopRecording => {}
        }
    }
    match &svaml.action {
        Action::RunMenu(run) => said.extend(run.menus.iter().filter_map(|menu| menu.main_prompt.as_deref())),
        Action::Park(park) => said.extend(park.intro_prompt.as_deref()),
        Action::Hangup
        | Action::Continue
        | Action::ConnectPstn(_)
        | Action::ConnectMxp(_)
        | Action::ConnectConf(_)
        | Action::ConnectSip(_)
        | Action::ConnectStream(_) => {}
    }
    said
}

fn tried(decision: &Decision) -> String {
    let tried = &decision.explanation.tried;
    let mut names: Vec<String> = Vec::new();
    for rule in tried.iter().skip(tried.len().saturating_sub(TRIED_MAX)) {
        names.push(match (rule.result, &rule.error) {
            (TriedResult::Matched, _) => format!("{} applies", rule.rule),
            (TriedResult::Shadow, _) => format!("{} would apply", rule.rule),
            (TriedResult::NotMatched, _) => format!("{} does not apply", rule.rule),
            (TriedResult::Failed, error) => format!("{} failed ({})", rule.rule, error.as_deref().unwrap_or_default()),
        });
    }
    if names.is_empty() {
        "there are no rules for this event".to_owned()
    } else {
        format!("tried: {}", names.join(", "))
    }
}

fn shown(text: Option<&str>) -> String {
    quoted(text.unwrap_or_default())
}
