//! Reading a recipe: all that can be wrong with it is said before it is ever used, with the line.

use std::collections::BTreeMap;
use std::str::FromStr;

use outbound::{Method, check_header};
use serde::Deserialize;
use serde_json::Value;
use serde_saphyr::Spanned;

use super::super::activity::NAMES;
use super::super::template::Template;
use super::{Filled, Pick, REMOTE, Recipe, Step, Tree};
use crate::session::Session;

const BYTES_MAX: usize = 32 * 1024;
const STEPS_MAX: usize = 16;
const NODES_MAX: usize = 10_000;
const DEPTH_MAX: usize = 24;
/// How a template names a credential.
const CREDENTIAL: &str = "credentials.";

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    /// For people.
    #[serde(rename = "name")]
    _name: String,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    #[serde(default)]
    fails_at: Option<String>,
    #[serde(default)]
    login: Vec<Spanned<WrittenStep>>,
    steps: Vec<Spanned<WrittenStep>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenStep {
    name: String,
    #[serde(default)]
    when: When,
    request: String,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    #[serde(default)]
    json: Option<Value>,
    #[serde(default)]
    form: Option<BTreeMap<String, String>>,
    #[serde(default)]
    absent: Vec<u16>,
    #[serde(default)]
    capture: BTreeMap<String, String>,
    #[serde(default)]
    pick: BTreeMap<String, WrittenPick>,
    #[serde(default)]
    set: BTreeMap<String, String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct When {
    #[serde(default)]
    there: Vec<String>,
    #[serde(default)]
    missing: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenPick {
    list: String,
    at: String,
    says: String,
    take: String,
}

impl Recipe {
    /// # Errors
    /// Says what is wrong with it, and in which line.
    pub(in crate::crm) fn parse(text: &str) -> Result<Self, String> {
        if text.len() > BYTES_MAX {
            return Err(format!("recipe: it has {} bytes; at most {BYTES_MAX} are read", text.len()));
        }
        let options = serde_saphyr::options! {
            budget: serde_saphyr::budget! { max_nodes: NODES_MAX, max_events: 2 * NODES_MAX, max_depth: DEPTH_MAX },
        };
        let written: Written = serde_saphyr::from_str_with_options(text, options).map_err(|error| {
            let line = error.location().map_or(1, |at| at.line());
            let what = error.without_snippet().render_with_options(serde_saphyr::RenderOptions::default());
            let what = what.lines().next().unwrap_or_default();
            let what = what.split(" at line ").next().unwrap_or(what).trim_start_matches("error: ");
            format!("recipe, line {line}: {what}")
        })?;
        let Written { _name, headers, fails_at, login, steps } = written;
        if steps.is_empty() || steps.len() + login.len() > STEPS_MAX {
            return Err(format!("recipe: it has 1 to {STEPS_MAX} steps"));
        }
        let credentials = credentials_in(text);
        let mut reader = Reader { text, line: 1, known: NAMES.map(str::to_owned).to_vec() };
        reader.known.extend(credentials.iter().map(|name| format!("{CREDENTIAL}{name}")));
        let login = login.into_iter().map(|step| reader.step(step)).collect::<Result<_, _>>()?;
        reader.line = 1;
        let headers = reader.headers(headers)?;
        if let Some(at) = &fails_at {
            reader.pointer(at)?;
        }
        reader.known.push(REMOTE.to_owned());
        let steps: Vec<Step> = steps.into_iter().map(|step| reader.step(step)).collect::<Result<_, _>>()?;
        if !steps.iter().any(|step| step.names(REMOTE)) {
            return Err("recipe: no step captures remote, which is what the CRM calls the activity".to_owned());
        }
        Ok(Self { login, steps, headers, fails_at, credentials, session: Session::default() })
    }
}

/// Reads steps, in their order: a name is known from the step on that captures it.
struct Reader<'a> {
    text: &'a str,
    /// Where the step begins that is read.
    line: usize,
    known: Vec<String>,
}

impl Reader<'_> {
    fn step(&mut self, step: Spanned<WrittenStep>) -> Result<Step, String> {
        self.line = usize::try_from(step.referenced.line()).unwrap_or(1);
        let WrittenStep { name, when, request, headers, json, form, absent, capture, pick, set } = step.value;
        for name in when.there.iter().chain(&when.missing) {
            if !self.known.contains(name) {
                // Said as a template says it.
                self.template(&format!("{{{{{name}}}}}"))
                    .map_err(|_| self.wrong(name, "it is captured by no step before"))?;
            }
        }
        let (method, path) = request.split_once(' ').unwrap_or((&request, ""));
        let known = ["GET", "POST", "PUT", "PATCH"].contains(&method);
        let method = Method::from_str(method).ok().filter(|_| known && path.starts_with('/'));
        let method =
            method.ok_or_else(|| self.wrong(&request, "a request is such as POST /path: GET, POST, PUT or PATCH"))?;
        let payload = match (json, form) {
            (None, None) => Filled::Nothing,
            (Some(json), None) => Filled::Json(self.tree(json)?),
            (None, Some(form)) => Filled::Form(self.templates(form)?),
            (Some(_), Some(_)) => return Err(self.wrong(&name, "a step has json or form, not both")),
        };
        let (path, headers) = (self.template(path.trim())?, self.headers(headers)?);
        for at in capture.values() {
            self.pointer(at)?;
        }
        let pick = pick.into_iter().map(|(name, pick)| Ok((name, self.pick(pick)?))).collect::<Result<_, String>>()?;
        for name in capture.keys().chain(BTreeMap::keys(&pick)).chain(set.keys()) {
            let plain =
                !name.is_empty() && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
            if !plain || NAMES.contains(&name.as_str()) {
                return Err(self.wrong(name, "a capture has a name of its own, of small letters, digits and _"));
            }
        }
        self.known.extend(capture.keys().chain(BTreeMap::keys(&pick)).cloned());
        let texts = self.templates(set)?;
        self.known.extend(texts.iter().map(|(name, _)| name.clone()));
        let set = texts.into_iter().collect();
        let When { there, missing } = when;
        Ok(Step { name, there, missing, method, path, headers, payload, absent, capture, pick, set })
    }

    fn pick(&self, WrittenPick { list, at, says, take }: WrittenPick) -> Result<Pick, String> {
        for at in [&list, &at, &take] {
            self.pointer(at)?;
        }
        Ok(Pick { list, at, says: self.template(&says)?, take })
    }

    fn headers(&self, headers: BTreeMap<String, String>) -> Result<Vec<(String, Template)>, String> {
        let bad = |name: &String| check_header(name).err().map(|why| (name.clone(), why));
        if let Some((name, why)) = headers.keys().find_map(bad) {
            return Err(self.wrong(&name, why));
        }
        self.templates(headers)
    }

    fn templates(&self, texts: BTreeMap<String, String>) -> Result<Vec<(String, Template)>, String> {
        texts.into_iter().map(|(name, text)| Ok((name, self.template(&text)?))).collect()
    }

    fn tree(&self, value: Value) -> Result<Tree, String> {
        Ok(match value {
            Value::String(text) => Tree::Text(self.template(&text)?),
            Value::Array(list) => Tree::List(list.into_iter().map(|value| self.tree(value)).collect::<Result<_, _>>()?),
            Value::Object(map) => {
                let entry = |(name, value)| Ok((name, self.tree(value)?));
                Tree::Map(map.into_iter().map(entry).collect::<Result<_, String>>()?)
            }
            plain @ (Value::Null | Value::Bool(_) | Value::Number(_)) => Tree::Plain(plain),
        })
    }

    fn template(&self, text: &str) -> Result<Template, String> {
        let known: Vec<&str> = self.known.iter().map(String::as_str).collect();
        Template::parse(text, &known).map_err(|error| {
            let seen = error.seen().unwrap_or(text);
            format!("recipe, line {}: {error}", self.line_of(seen))
        })
    }

    fn pointer(&self, at: &str) -> Result<(), String> {
        if at.is_empty() || at.starts_with('/') {
            return Ok(());
        }
        Err(self.wrong(at, "a place in an answer is such as /data/0/id"))
    }

    fn wrong(&self, seen: &str, what: &str) -> String {
        format!("recipe, line {}: {seen:?}: {what}", self.line_of(seen))
    }

    /// The first line of the step, or behind it, that has this as a word of its own.
    fn line_of(&self, seen: &str) -> usize {
        let part = |c: char| c.is_alphanumeric() || c == '_';
        let whole = |line: &str| {
            line.match_indices(seen).any(|(at, _)| {
                let (before, behind) = (&line[..at], &line[at + seen.len()..]);
                let began = before.ends_with(part) && seen.starts_with(part);
                let goes_on = behind.starts_with(part) && seen.ends_with(part);
                !began && !goes_on
            })
        };
        let mut lines = self.text.lines().enumerate().skip(self.line.saturating_sub(1));
        lines.find(|(_, line)| whole(line)).map_or(self.line, |(index, _)| index + 1)
    }
}

/// Names of the credentials in a recipe.
fn credentials_in(text: &str) -> Vec<String> {
    let word = |rest: &str| rest.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect::<String>();
    let inside = text.split("{{").skip(1).filter_map(|rest| rest.trim_start().strip_prefix(CREDENTIAL));
    let mut names: Vec<String> = inside.map(word).filter(|name| !name.is_empty()).collect();
    names.sort_unstable();
    names.dedup();
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "\
name: Small
headers: { x-token: '{{credentials.token}}' }
steps:
  - name: find
    request: GET /calls?id={{call_id}}
    absent: [404]
    capture: { remote: /0/id }
  - name: create
    when: { missing: [remote] }
    request: POST /calls
    json: { call: '{{call_id}}', seconds: '{{duration}}', kind: 3 }
    capture: { remote: /id }
";

    #[test]
    fn a_good_one_names_its_credentials() {
        let recipe = Recipe::parse(GOOD).expect("good");
        assert_eq!((recipe.credentials, recipe.steps.len()), (vec!["token".to_owned()], 2));
    }

    #[test]
    fn the_shipped_ones_are_good() {
        for (text, credentials) in [
            (include_str!("../../../../examples/recipes/tryton.yaml"), &["password", "user"][..]),
            (include_str!("../../../../examples/recipes/espocrm.yaml"), &["api_key"]),
            (include_str!("../../../../examples/recipes/pipedrive.yaml"), &["api_token"]),
        ] {
            assert_eq!(Recipe::parse(text).expect("good").credentials, credentials);
        }
    }

    #[test]
    fn what_is_wrong_is_said_with_its_line() {
        for (from, to, said) in [
            ("{{duration}}", "{{duratoin}}", "recipe, line 11: there is no {{duratoin}}; did you mean {{duration}}?"),
            ("id={{call_id}}", "id={{remote}}{{call}}", "recipe, line 5: there is no {{call}};"),
            (
                "missing: [remote]",
                "missing: [contact]",
                "recipe, line 9: \"contact\": it is captured by no step before",
            ),
            ("POST /calls", "SEND /calls", "recipe, line 10: \"SEND /calls\": a request is such as POST /path"),
            ("remote: /id", "remote: id", "recipe, line 12: \"id\": a place in an answer is such as /data/0/id"),
            ("remote: /id", "caller: /id", "recipe, line 12: \"caller\": a capture has a name of its own"),
            ("    absent: [404]", "    absence: [404]", "recipe, line 6: unknown field"),
            ("kind: 3", "kind: 3, 'x", "recipe, line 1"),
            ("x-token", "x token", "recipe, line 2: \"x token\": it is no name of a header"),
        ] {
            let why = Recipe::parse(&GOOD.replace(from, to)).expect_err(to);
            assert!(why.starts_with(said), "{why}");
        }
        let why = Recipe::parse(&GOOD.replace("remote: /", "other: /").replace("[remote]", "[other]"));
        assert!(why.expect_err("no remote").contains("no step captures remote"));
    }
}
