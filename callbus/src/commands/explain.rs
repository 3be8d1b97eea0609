//! `callbus policy explain`: what a policy file would do with a callback, and why. No installation is needed.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Context;
use bus::Clock;
use bytes::Bytes;
use policy::{AppFacts, Decision, Facts, LiveLists, Outline, Policy, Verdict};
use proto::signature::Verified;
use proto::{AppName, Callback, Outcome, WalletId};
use serde_json::json;

use crate::exit::{Exit, Failure};
use crate::output::{Output, Tone};
use crate::policy_files::PolicyFile;
use crate::why;

/// The app that a callback from a file is said to be for.
const APP: &str = "acme";

/// `given` is what a policy's own tests give; `callback` a file with the JSON that Sinch sends.
///
/// # Errors
/// Exit 3 when the file is bad, exit 2 when what is given cannot be read.
pub(crate) fn run(output: Output, file: &Path, given: Option<&str>, callback: Option<&Path>) -> Result<(), Failure> {
    let read = PolicyFile::read(file).map_err(|fault| Failure::new(Exit::CheckFailed, anyhow::Error::new(fault)))?;
    let usage = |error: policy::PolicyErrors| Failure::say(Exit::Usage, error.to_string());
    let decision = match (given, callback) {
        (Some(given), _) => policy::decide_given(&read.policy, given).map_err(usage)?,
        (None, Some(path)) => {
            let body = std::fs::read(path).with_context(|| format!("read {}", path.display()))?;
            decide(&read.policy, body)?
        }
        (None, None) => return Err(Failure::say(Exit::Usage, "say --given or --callback")),
    };
    let outline = Outline::of(&decision);
    if output.json {
        output.json(&json!({
            "rule": outline.rule, "outcome": outline.outcome, "reason": outline.reason, "answer": outline.answer,
            "wallet": decision.wallet, "remember": decision.remember, "explanation": decision.explanation,
        }));
        return Ok(());
    }
    output.line(decision.explanation.sentence(outcome(&decision), outline.reason.as_ref()));
    why::table(output, &decision.explanation);
    if let Some(answer) = &outline.answer {
        output.line(output.toned(Tone::Note, answer.to_json()));
    }
    Ok(())
}

/// Everything that Sinch does not send is absent: wallet, price, call memory.
fn decide(policy: &Policy, body: Vec<u8>) -> Result<Decision, Failure> {
    let callback = Callback::parse(&Verified::unchecked(Bytes::from(body)));
    let callback = callback.map_err(|error| Failure::say(Exit::Usage, error.to_string()))?;
    if !callback.kind().wants_svaml() {
        return Err(Failure::say(
            Exit::Usage,
            format!("a {} is not decided about: give an ICE, ACE or PIE", callback.kind()),
        ));
    }
    let (name, wallet) = (AppName::new(APP)?, WalletId::new(APP)?);
    Ok(policy.decide(&Facts {
        app: AppFacts { name: &name, wallet: &wallet },
        callback: &callback,
        now: callback.common.timestamp.unwrap_or_else(|| Clock::System.now()),
        memory: &BTreeMap::new(),
        wallet: None,
        price: None,
        env: &BTreeMap::new(),
        lists: &LiveLists::default(),
    }))
}

fn outcome(decision: &Decision) -> Outcome {
    match &decision.verdict {
        Verdict::Answer(_) | Verdict::Ask { .. } => Outcome::Answered,
        Verdict::Reserve { .. } => Outcome::Granted,
        Verdict::Deny { .. } => Outcome::Refused,
    }
}
