//! What the platform takes for an answer: SVAML that is legal by itself, for this callback, and in this call.

use proto::svaml::{Action, Destination, Header, Instruction};
use proto::{Kind, Svaml};
use serde_json::Value;

use crate::bodies::CallFacts;
use crate::prompt;
use crate::script::Endpoint;

/// All cookies of a call together, over all its answers.
const COOKIES_MAX_BYTES: usize = 1_024;
/// The server SDK lets an answer have no more; here it is what one prompt may join, so that no call plays without end.
const PROMPTS_MAX: usize = 64;

impl CallFacts {
    /// Reads an answer as strictly as the platform does.
    pub(crate) fn read(&self, kind: Kind, body: &str) -> Result<Svaml, String> {
        let svaml: Svaml = serde_json::from_str(body).map_err(|error| format!("not SVAML: {error}"))?;
        svaml.check(kind).map_err(|problems| problems.to_string())?;
        prompts_fit(&svaml)?;
        self.cookies_fit(&svaml.instructions)?;
        self.destination_known(&svaml.action)?;
        Ok(svaml)
    }

    fn cookies_fit(&self, instructions: &[Instruction]) -> Result<(), String> {
        let mut cookies = self.cookies.clone();
        for instruction in instructions {
            if let Instruction::SetCookie { key, value } = instruction {
                keep(&mut cookies, key, value);
            }
        }
        let bytes: usize = cookies.iter().map(|cookie| cookie.key.len() + cookie.value.len()).sum();
        if bytes <= COOKIES_MAX_BYTES {
            return Ok(());
        }
        Err(format!("instructions: the cookies of this call come to {bytes} bytes, of 1,024"))
    }

    /// Without a destination a call goes where it was dialled to, if it can go there this way.
    fn destination_known(&self, action: &Action) -> Result<(), String> {
        match action {
            Action::ConnectPstn(connect) => match (&connect.number, &self.to) {
                (Some(_), _) => Ok(()),
                (None, Endpoint::Did(number) | Endpoint::Number(number)) if !number.is_empty() => Ok(()),
                (None, Endpoint::Did(_) | Endpoint::Number(_) | Endpoint::Username(_) | Endpoint::Sip(_)) => {
                    Err("action.number: needed, for no number was dialled".to_owned())
                }
            },
            Action::ConnectMxp(connect) => match (&connect.destination, &self.to) {
                (Some(destination), _) => of_type(destination, "username"),
                (None, Endpoint::Username(_)) => Ok(()),
                (None, Endpoint::Did(_) | Endpoint::Number(_) | Endpoint::Sip(_)) => {
                    Err("action.destination: needed, for no user was dialled".to_owned())
                }
            },
            Action::ConnectSip(connect) => of_type(&connect.destination, "sip"),
            Action::ConnectStream(connect) => of_type(&connect.destination, "websocket"),
            Action::Hangup | Action::Continue | Action::ConnectConf(_) | Action::RunMenu(_) | Action::Park(_) => Ok(()),
        }
    }
}

fn prompts_fit(svaml: &Svaml) -> Result<(), String> {
    let mut prompts: Vec<&str> = Vec::new();
    for instruction in &svaml.instructions {
        if let Instruction::PlayFiles { ids, .. } = instruction {
            prompts.extend(ids.iter().map(String::as_str));
        }
    }
    match &svaml.action {
        Action::RunMenu(run) => {
            prompts.extend(
                run.menus
                    .iter()
                    .flat_map(|menu| menu.main_prompt.iter().chain(&menu.repeat_prompt))
                    .map(String::as_str),
            );
        }
        Action::Park(park) => prompts.extend(park.intro_prompt.iter().chain(&park.hold_prompt).map(String::as_str)),
        Action::Hangup
        | Action::Continue
        | Action::ConnectPstn(_)
        | Action::ConnectMxp(_)
        | Action::ConnectConf(_)
        | Action::ConnectSip(_)
        | Action::ConnectStream(_) => {}
    }
    match prompts.into_iter().map(|prompt| prompt::parts(prompt).len()).max() {
        Some(parts) if parts > PROMPTS_MAX => Err(format!("a prompt joins {parts} others, of 64")),
        Some(_) | None => Ok(()),
    }
}

/// Any casing will do, and an SDK leaves the type out.
fn of_type(destination: &Destination, wanted: &str) -> Result<(), String> {
    match &destination.kind {
        Some(kind) if !kind.eq_ignore_ascii_case(wanted) => {
            Err(format!("action.destination.type: {kind} is not {wanted}"))
        }
        Some(_) | None => Ok(()),
    }
}

/// Keeps a cookie, in the place of the one of that name if there is one.
pub(crate) fn keep(cookies: &mut Vec<Header>, key: &str, value: &str) {
    match cookies.iter_mut().find(|cookie| cookie.key == key) {
        Some(cookie) => value.clone_into(&mut cookie.value),
        None => cookies.push(Header { key: key.to_owned(), value: value.to_owned() }),
    }
}

/// A plain 200: no body, or an object without anything to do.
pub(crate) fn says_nothing(body: &str) -> bool {
    if body.trim().is_empty() {
        return true;
    }
    let body: Value = serde_json::from_str(body).unwrap_or_default();
    body.is_object() && body.get("action").is_none() && body.get("instructions").is_none()
}
