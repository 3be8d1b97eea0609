//! Every reply on docs/policy.md, in every event it may answer, told to a simulated caller: what the page says callbus
//! answers is what arrives at the platform, and the platform obeys it.

use std::collections::BTreeSet;
use std::fmt::Write;

use anyhow::{Result, ensure};
use policy::Policy;
use simulator::{CallScript, Caller, Endpoint, Hangup, Input, Party};
use tests::World;

const PAGE: &str = include_str!("../../docs/policy.md");
const TABLE: &str = "| reply | in | SVAML |";
/// What the page reads its replies with.
const AROUND: &str = "defaults: { locale: en-US }\ncli: { \"+46\": \"+46850001111\", default: private }\nmenus: { main: { prompt: \"Press 1.\", keys: { \"1\": one } } }\n";

/// One reply in one event.
struct Case {
    name: String,
    event: &'static str,
    reply: String,
    svaml: String,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_reply_on_the_page_is_obeyed() -> Result<()> {
    let cases = cases()?;
    let world = World::embedded(&policy_of(&cases)).await?;
    let platform = world.platform(60)?;
    let (mut actions, mut instructions) = (BTreeSet::new(), BTreeSet::new());
    for case in &cases {
        let mut script = CallScript { custom: Some(case.name.clone()), ..script(&case.reply) };
        script.inputs = vec![Input::Digits("1".to_owned())];
        script.hangup = Hangup { after_secs: 5, by: Party::Caller };
        let report = platform.call(script).await;
        let told = || format!("{} ({} in {}):\n{}", case.name, case.reply, case.event, steps(&report));
        ensure!(!steps(&report).contains("bad_answer"), "the platform does not obey {}", told());
        let answers: Vec<String> = report.answers().iter().map(|svaml| svaml.to_json()).collect();
        ensure!(answers.iter().any(|answer| answer.contains(&case.svaml)), "not answered {}: {}", case.svaml, told());
        for answer in report.answers() {
            actions.insert(answer.action.name());
            for instruction in &answer.instructions {
                let done = done_by(instruction.name());
                ensure!(steps(&report).contains(done), "{} is not done: {}", instruction.name(), told());
                instructions.insert(instruction.name());
            }
        }
    }
    assert_eq!(actions.len(), 9, "every action is on the page: {actions:?}");
    assert_eq!(instructions.len(), 7, "every instruction is on the page: {instructions:?}");
    Ok(())
}

/// A call that gets as far as the event: in ACE and PIE rows the call is connected or asked first.
fn script(reply: &str) -> CallScript {
    // An in-app user can be dialled, and then connected as dialled.
    let to = match reply.contains("connect_mxp: true") {
        true => Endpoint::Username("alice".to_owned()),
        false => Endpoint::Number("+46701234567".to_owned()),
    };
    CallScript::new(Caller::Number("+46700000001".to_owned()), to)
}

/// The step that tells that an instruction was carried out.
fn done_by(instruction: &str) -> &'static str {
    match instruction {
        "say" | "playFiles" => "\"heard\"",
        "sendDtmf" => "\"tones\"",
        "setCookie" => "\"cookie\"",
        "answer" => "\"answered\"",
        "startRecording" => "\"recording_started\"",
        "stopRecording" => "\"callback\"",
        _ => "a step for it",
    }
}

fn steps(report: &simulator::CallReport) -> String {
    report.steps.iter().filter_map(|step| serde_json::to_string(step).ok()).collect::<Vec<_>>().join("\n")
}

/// The rows of the page's tables of replies, each in each event it names.
fn cases() -> Result<Vec<Case>> {
    let mut cases = Vec::new();
    for table in PAGE.split(TABLE).skip(1) {
        for row in table.lines().skip(2).take_while(|line| line.starts_with('|')) {
            let cells: Vec<&str> =
                row.trim_matches('|').split(" | ").map(|cell| cell.trim().trim_matches('`')).collect();
            let [reply, events, svaml] = cells.as_slice() else { anyhow::bail!("three cells: {row}") };
            let alone = Policy::load(&rule("ice", reply), "row.yaml", &no_files).is_ok()
                || Policy::load(&rule("pie", reply), "row.yaml", &no_files).is_ok();
            let reply = if alone { (*reply).to_owned() } else { format!("{reply}, hangup: true") };
            for event in
                ["ice", "ace", "pie"].into_iter().filter(|event| events.split(' ').any(|named| named == *event))
            {
                let name = format!("{event}-{}", cases.len());
                cases.push(Case { name, event, reply: reply.clone(), svaml: (*svaml).to_owned() });
            }
        }
    }
    ensure!(cases.len() > 80, "the page has fewer rows than it should: {}", cases.len());
    Ok(cases)
}

/// One policy with a rule for each case, chosen by what the call was started with.
fn policy_of(cases: &[Case]) -> String {
    let mut rules = [("ice", String::new()), ("ace", String::new()), ("pie", String::new())];
    for case in cases {
        let Some((_, text)) = rules.iter_mut().find(|(event, _)| *event == case.event) else { continue };
        let Case { name, reply, .. } = case;
        // A menu that is asked again would be asked for ever.
        let once = if case.event == "pie" { " && menu.value == 'one'" } else { "" };
        let _ = writeln!(text, "  - {{ name: {name}, when: \"call.custom == '{name}'{once}\", reply: {{ {reply} }} }}");
    }
    let [(_, ice), (_, ace), (_, pie)] = rules;
    format!(
        "version: 1\n{AROUND}ice:\n{ice}  - {{ name: ask, when: call.custom.startsWith('pie'), reply: {{ menu: main }} }}\n  \
         - {{ name: connect, reply: {{ connect_pstn: \"+46709999999\" }} }}\n\
         ace:\n{ace}  - {{ name: default, reply: {{ continue: true }} }}\n\
         pie:\n{pie}  - {{ name: default, reply: {{ hangup: true }} }}\n"
    )
}

fn rule(event: &str, reply: &str) -> String {
    let pie = if event == "pie" { "" } else { "pie:\n  - { name: all, reply: { hangup: true } }\n" };
    format!("version: 1\n{AROUND}{event}:\n  - {{ name: all, reply: {{ {reply} }} }}\n{pie}")
}

fn no_files(_: &str) -> Result<String, String> {
    Err("no files here".to_owned())
}
