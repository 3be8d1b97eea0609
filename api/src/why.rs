//! Why a callback was answered as it was, in one sentence.

use policy::{Explanation, Reason};
use proto::{Decided, Outcome};

/// Phone numbers in it are masked.
pub(crate) fn sentence(decided: &Decided) -> String {
    let reason = decided.reason.as_deref();
    let explanation = decided.explanation.as_ref().and_then(|raw| serde_json::from_str::<Explanation>(raw.get()).ok());
    match explanation {
        Some(explanation) => {
            explanation.sentence(decided.outcome, reason.and_then(|code| Reason::new(code).ok()).as_ref())
        }
        None => unexplained(decided.outcome, reason.unwrap_or("UNKNOWN")),
    }
}

/// What an ingress answers by itself has no rules behind it.
fn unexplained(outcome: Outcome, reason: &str) -> String {
    match (outcome, reason) {
        (Outcome::Fallback, "NO_WORKER") => {
            "Answered by the fallback: no worker serves this app. Is the worker role running?".to_owned()
        }
        (Outcome::Fallback, "WORKER_LATE") => {
            "Answered by the fallback: no worker answered in time. Add workers, or see why they are slow.".to_owned()
        }
        (Outcome::Fallback, reason) => format!("Answered by the fallback: {reason}."),
        (Outcome::Answered, _) => "Answered.".to_owned(),
        (Outcome::Granted, _) => "Connected on credit.".to_owned(),
        (Outcome::Refused, reason) => format!("Refused with {reason}."),
    }
}
