//! A recipe: what is to be asked of a CRM nobody here knows, as an operator wrote it down in YAML ([`parse`]).
//!
//! Steps come one after the other. Each may capture something of its answer, and be left out when something is there or
//! missing. The capture `remote` is what the CRM calls the activity: kept with the delivery, and there from the beginning
//! when a later CDR of the call is written. A process may end before it is kept, so a recipe searches before it creates.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use outbound::Method;
use serde_json::{Map, Value};

use super::Credentials;
use super::activity::CallActivity;
use super::template::{Template, Values, text_of};
use super::wire::{Ask, Heard, Payload, Wire, again, hopeless, short};
use crate::lane::Answer;
use crate::session::Session;

mod parse;

/// What the CRM calls the activity.
const REMOTE: &str = "remote";
/// What is captured is an id, or a token.
const CAPTURED_BYTES_MAX: usize = 8 * 1024;
/// The session is no longer good.
const LOGGED_OUT: u16 = 401;

/// A recipe that was checked, and the session there is.
#[derive(Debug)]
pub(super) struct Recipe {
    login: Vec<Step>,
    steps: Vec<Step>,
    /// Of every step but the login's.
    headers: Vec<(String, Template)>,
    /// Where an answer has something when it went wrong, whatever its status says.
    fails_at: Option<String>,
    /// Those it names.
    pub credentials: Vec<String>,
    session: Session<Values>,
}

#[derive(Debug)]
struct Step {
    name: String,
    /// Names that must stand for something, and names that must not.
    there: Vec<String>,
    missing: Vec<String>,
    method: Method,
    path: Template,
    headers: Vec<(String, Template)>,
    payload: Filled,
    /// Statuses that say: there is none.
    absent: Vec<u16>,
    /// Each with the place in the answer.
    capture: BTreeMap<String, String>,
    pick: BTreeMap<String, Pick>,
    /// Made of what is there after it.
    set: BTreeMap<String, Template>,
}

/// The first of a list that says something.
#[derive(Debug)]
struct Pick {
    list: String,
    at: String,
    says: Template,
    take: String,
}

#[derive(Debug)]
enum Filled {
    Nothing,
    Json(Tree),
    Form(Vec<(String, Template)>),
}

/// JSON with templates for texts.
#[derive(Debug)]
enum Tree {
    Text(Template),
    Plain(Value),
    List(Vec<Tree>),
    Map(Vec<(String, Tree)>),
}

impl Recipe {
    /// Writes a call; answers what the CRM calls it, as JSON. `remote` is what it called it before.
    pub(super) async fn write(
        &self,
        wire: &Wire<'_>,
        credentials: &Credentials,
        activity: &CallActivity,
        remote: Option<&str>,
    ) -> Result<(u16, String), Answer> {
        let mut values = activity.values();
        values.extend(secret(credentials));
        if let Some(remote) = remote.and_then(|remote| serde_json::from_str(remote).ok()) {
            values.insert(REMOTE.to_owned(), remote);
        }
        let mut session = self.session.get(None, wire.now, || self.log_in(wire, credentials)).await?;
        let mut status = 0;
        for (index, step) in self.steps.iter().enumerate() {
            if !step.is_due(&values) {
                continue;
            }
            let with = |session: &Arc<Values>, values: &Values| {
                let mut all = Values::clone(session);
                all.extend(values.clone());
                all
            };
            let mut heard = step.ask(wire, &self.headers, &with(&session, &values)).await?;
            if heard.status == LOGGED_OUT && !self.login.is_empty() {
                session = self.session.get(Some(&session), wire.now, || self.log_in(wire, credentials)).await?;
                heard = step.ask(wire, &self.headers, &with(&session, &values)).await?;
            }
            status = heard.status;
            let said = self.judge(step, heard).map_err(|answer| named(step, answer))?;
            if let Some(heard) = said {
                let all = with(&session, &values);
                let shown = wire.shows().then(|| self.creates(index));
                values.extend(step.taken(&heard, all, shown));
            }
        }
        let remote = values.get(REMOTE).ok_or_else(|| hopeless(None, "no step captured remote".to_owned()))?;
        Ok((status, remote.to_string()))
    }

    /// Whether a step that captures the remote name creates the activity, and does not search for it: those come behind
    /// the one that changes it, or last.
    fn creates(&self, index: usize) -> bool {
        let changes = self.steps.iter().position(|step| step.there.iter().any(|name| name == REMOTE));
        let last = self.steps.iter().rposition(|step| step.names(REMOTE));
        changes.or(last.and_then(|last| last.checked_sub(1))).is_none_or(|before| index > before)
    }

    /// Nothing says how long it is good: until it is refused.
    async fn log_in(&self, wire: &Wire<'_>, credentials: &Credentials) -> Result<(Values, Timestamp), Answer> {
        let mut values: Values = secret(credentials).collect();
        for step in &self.login {
            let heard = step.ask(wire, &[], &values).await?;
            let status = heard.status;
            match self.judge(step, heard) {
                Ok(Some(heard)) => {
                    let taken = step.taken(&heard, values.clone(), wire.shows().then_some(true));
                    values.extend(taken);
                }
                Ok(None) => {}
                // It is about us and not about the call, whatever it says: the call is kept.
                Err(Answer::Hopeless { cause, .. }) => return Err(named(step, again(Some(status), cause))),
                Err(answer) => return Err(named(step, answer)),
            }
        }
        Ok((values, Timestamp::MAX))
    }

    /// `None`: there is none of what was looked for.
    fn judge(&self, step: &Step, heard: Heard) -> Result<Option<Heard>, Answer> {
        if step.absent.contains(&heard.status) {
            return Ok(None);
        }
        if !heard.is_good() {
            return Err(heard.refusal());
        }
        let wrong = self.fails_at.as_ref().and_then(|at| heard.body.pointer(at)).filter(|wrong| !wrong.is_null());
        match wrong {
            Some(wrong) => Err(hopeless(Some(heard.status), format!("it answers {}", short(&text_of(wrong))))),
            None => Ok(Some(heard)),
        }
    }
}

impl Step {
    fn is_due(&self, values: &Values) -> bool {
        let is_there = |name: &String| values.contains_key(name);
        self.there.iter().all(is_there) && !self.missing.iter().any(is_there)
    }

    fn names(&self, name: &str) -> bool {
        self.capture.contains_key(name) || self.pick.contains_key(name) || self.set.contains_key(name)
    }

    async fn ask(&self, wire: &Wire<'_>, shared: &[(String, Template)], values: &Values) -> Result<Heard, Answer> {
        let path = self.path.in_url(values);
        let path = path.map_err(|name| hopeless(None, format!("step {:?}: there is no {{{{{name}}}}}", self.name)))?;
        let headers = shared.iter().chain(&self.headers);
        let ask = Ask {
            method: self.method.clone(),
            path,
            headers: headers.map(|(name, value)| (name.clone(), value.text(values))).collect(),
            payload: match &self.payload {
                Filled::Nothing => Payload::None,
                Filled::Json(tree) => Payload::Json(tree.fill(values).unwrap_or_default()),
                Filled::Form(pairs) => {
                    Payload::Form(pairs.iter().map(|(name, value)| (name.clone(), value.text(values))).collect())
                }
            },
        };
        wire.ask(ask, || Value::Null).await
    }

    /// What it captures. Where it is only shown each capture is its own name; the activity is there when it was created.
    fn taken(&self, heard: &Heard, mut all: Values, shown: Option<bool>) -> Values {
        let mut taken = Values::new();
        for name in self.capture.keys().chain(self.pick.keys()) {
            let found = match (shown, self.capture.get(name), self.pick.get(name)) {
                (Some(created), ..) => (created || name != REMOTE).then(|| Value::from(name.to_uppercase())),
                (None, Some(at), _) => heard.body.pointer(at).cloned(),
                (None, None, Some(pick)) => pick.of(&heard.body, &all),
                (None, None, None) => None,
            };
            let fits = |value: &Value| !value.is_null() && text_of(value).len() <= CAPTURED_BYTES_MAX;
            taken.extend(found.filter(fits).map(|value| (name.clone(), value)));
        }
        all.extend(taken.clone());
        taken.extend(self.set.iter().map(|(name, value)| (name.clone(), Value::from(value.text(&all)))));
        taken
    }
}

impl Pick {
    fn of(&self, body: &Value, values: &Values) -> Option<Value> {
        let says = self.says.text(values);
        let list = body.pointer(&self.list)?.as_array()?;
        let one = list.iter().find(|one| one.pointer(&self.at).is_some_and(|text| text_of(text).contains(&says)))?;
        one.pointer(&self.take).cloned()
    }
}

impl Tree {
    /// What stands for nothing is left out of the list or the map it is in.
    fn fill(&self, values: &Values) -> Option<Value> {
        Some(match self {
            Self::Text(template) => return template.value(values),
            Self::Plain(value) => value.clone(),
            Self::List(list) => list.iter().filter_map(|tree| tree.fill(values)).collect(),
            Self::Map(map) => {
                let filled = map.iter().filter_map(|(name, tree)| Some((name.clone(), tree.fill(values)?)));
                Value::Object(filled.collect::<Map<_, _>>())
            }
        })
    }
}

fn secret(credentials: &Credentials) -> impl Iterator<Item = (String, Value)> {
    credentials.iter().map(|(name, value)| (format!("credentials.{name}"), Value::from(value.as_str())))
}

/// Says which step it was.
fn named(step: &Step, answer: Answer) -> Answer {
    let of = |cause: String| format!("step {:?}: {cause}", step.name);
    match answer {
        Answer::Refused { status, cause, retry_after } => Answer::Refused { status, cause: of(cause), retry_after },
        Answer::Limited { status, cause, pause } => Answer::Limited { status, cause: of(cause), pause },
        Answer::Hopeless { status, cause } => Answer::Hopeless { status, cause: of(cause) },
        taken @ Answer::Taken { .. } => taken,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use outbound::check_url;
    use serde_json::json;

    use super::super::activity::tests::activity;
    use super::super::wire::Mode;
    use super::*;

    const TRYTON: &str = include_str!("../../../examples/recipes/tryton.yaml");

    /// What would be asked of Tryton about a call.
    async fn shown(cdr: Value, remote: Option<&str>) -> Vec<Value> {
        let base = check_url("https://tryton.example.com/production").expect("URL");
        let now = "2026-11-21T21:00:00Z".parse().expect("time");
        let wire = Wire { base: &base, now, mode: Mode::Shows(Mutex::default()) };
        let credentials = ["user", "password"].map(|name| (name.to_owned(), "…".to_owned())).into();
        let recipe = Recipe::parse(TRYTON).expect("good");
        recipe.write(&wire, &credentials, &activity(cdr), remote).await.expect("shown");
        let Mode::Shows(shown) = wire.mode else { panic!("nothing is sent") };
        let shown = shown.into_inner().expect("shown");
        shown.iter().map(|request| serde_json::from_slice(&request.body).expect("JSON")).collect()
    }

    #[tokio::test]
    async fn it_is_shown_as_it_would_go() {
        let methods = |asked: &[Value]| -> Vec<String> {
            asked.iter().filter_map(|ask| ask["method"].as_str()).map(str::to_owned).collect()
        };
        let new = shown(json!({}), None).await;
        let find = "model.party.contact_mechanism.search_read";
        assert_eq!(
            methods(&new),
            ["common.db.login", find, "model.ir.attachment.search", "model.ir.attachment.create"]
        );
        assert_eq!(new[3]["params"][0][0]["resource"], "party.party,PARTY");
        let changed = shown(json!({}), Some("7")).await;
        assert_eq!(methods(&changed), ["common.db.login", find, "model.ir.attachment.write"]);
        assert_eq!(changed[2]["params"][0], json!([7]), "an id that is a number stays one");
        let unknown = shown(json!({ "from": "private" }), None).await;
        assert_eq!(methods(&unknown).len(), 3, "nobody is searched for");
        assert_eq!(unknown[2]["params"][0][0]["resource"], "res.user,USER");
    }

    #[test]
    fn one_of_a_list_is_picked_by_what_it_says() {
        let says = Template::parse("{{call_id}}", &["call_id"]).expect("template");
        let pick = Pick { list: "/data".to_owned(), at: "/note".to_owned(), says, take: "/id".to_owned() };
        let values = Values::from([("call_id".to_owned(), json!("call-1"))]);
        let body =
            json!({ "data": [{ "id": 1 }, { "id": 2, "note": "Call call-2" }, { "id": 3, "note": "Call call-1" }] });
        assert_eq!(pick.of(&body, &values), Some(json!(3)));
        assert_eq!(pick.of(&json!({ "data": null }), &values), None);
    }

    #[test]
    fn what_stands_for_nothing_is_left_out() {
        let text = |text: &str| Tree::Text(Template::parse(text, &["person", "call_id"]).expect("template"));
        let tree = Tree::Map(vec![
            ("person".to_owned(), text("{{person}}")),
            ("people".to_owned(), Tree::List(vec![text("{{person}}"), text("{{call_id}}")])),
            ("kind".to_owned(), Tree::Plain(json!(3))),
        ]);
        let values = Values::from([("call_id".to_owned(), json!("\"},{"))]);
        assert_eq!(tree.fill(&values), Some(json!({ "people": ["\"},{"], "kind": 3 })));
    }
}
