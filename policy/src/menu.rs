//! Menus: what the caller hears and what each key gives.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;

use proto::svaml::RunMenu;
use proto::svaml::limits::{MENU_DIGITS_MAX, MENU_REPEATS_MAX, MENU_TIMEOUT_MAX_SECS, MENU_VOICE_MAX_SECS};

use crate::menu_template::{self, MENU_TEMPLATES};
use crate::reader::{Reader, prompt};
use crate::yaml::{Entry, Node, Shape};

/// Beside the words of templates.
pub(crate) const KEYS: &[&str] =
    &["prompt", "repeat_prompt", "repeats", "timeout", "max_timeout", "max_digits", "keys", "locale"];

/// Menus by id.
#[derive(Debug, Default)]
pub(crate) struct Menus(BTreeMap<String, Menu>);

#[derive(Debug)]
struct Menu {
    at: usize,
    /// The menu as SVAML writes it.
    svaml: Node,
    locale: Option<Node>,
    /// Menus its keys lead to.
    below: Vec<(String, usize)>,
    /// What its keys return.
    returns: Vec<(String, usize)>,
}

impl Menus {
    pub(crate) fn read(reader: &mut Reader<'_>, node: &Node) -> Self {
        let mut menus = BTreeMap::new();
        for entry in reader.any_map(node, "menus") {
            let menu = Menu::read(reader, entry);
            menus.insert(entry.key.clone(), menu);
        }
        for menu in menus.values() {
            for (id, at) in &menu.below {
                if !menus.contains_key(id) {
                    reader.findings.unknown(*at, "menu", id, menus.keys().map(String::as_str));
                }
            }
        }
        Self(menus)
    }

    pub(crate) fn ids(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// With their places.
    pub(crate) fn places(&self) -> Vec<(String, usize)> {
        self.0.iter().map(|(id, menu)| (id.clone(), menu.at)).collect()
    }

    pub(crate) fn locale(&self, id: &str) -> Option<&Node> {
        self.0.get(id)?.locale.as_ref()
    }

    /// The menu and all it leads to, and the one called `main`, which every answer must hold.
    pub(crate) fn reachable(&self, id: &str, at: usize) -> Node {
        let (mut seen, mut waiting, mut nodes) = (BTreeSet::new(), vec![RunMenu::MAIN, id], Vec::new());
        while let Some(id) = waiting.pop() {
            let Some(menu) = self.0.get(id).filter(|_| seen.insert(id)) else { continue };
            nodes.push(menu.svaml.clone());
            waiting.extend(menu.below.iter().map(|(id, _)| id.as_str()));
        }
        Node::list(at, nodes)
    }

    /// Everything a key returns, with its place.
    pub(crate) fn returns(&self) -> impl Iterator<Item = &(String, usize)> {
        self.0.values().flat_map(|menu| &menu.returns)
    }

    /// Where the first menu without `main` stands, if one is missing.
    pub(crate) fn without_main(&self) -> Option<usize> {
        if self.0.contains_key(RunMenu::MAIN) { None } else { self.0.values().map(|menu| menu.at).min() }
    }
}

impl Menu {
    fn read(reader: &mut Reader<'_>, entry: &Entry) -> Self {
        let before = reader.findings.count();
        let mut fields = vec![("id", Node::text(entry.at, entry.key.as_str()))];
        let (mut below, mut returns, mut locale) = (Vec::new(), Vec::new(), None);
        let words = MENU_TEMPLATES.iter().map(|template| template.word);
        let known: Vec<&str> = KEYS.iter().copied().chain(words).collect();
        let written = reader.map(&entry.value, "a menu", &known);
        let brought = menu_template::expand(reader, written);
        let brought = brought.iter().filter(|field| !written.iter().any(|written| written.key == field.key));
        for field in written.iter().chain(brought) {
            let value = &field.value;
            match field.key.as_str() {
                "prompt" if reader.text(value, "prompt").is_some() => fields.push(("mainPrompt", prompt(value))),
                "repeat_prompt" if reader.text(value, "repeat_prompt").is_some() => {
                    fields.push(("repeatPrompt", prompt(value)));
                }
                "repeats" => fields.extend(whole(reader, field, "repeats", 0..=MENU_REPEATS_MAX)),
                "max_digits" => fields.extend(whole(reader, field, "maxDigits", 1..=MENU_DIGITS_MAX)),
                "timeout" => fields.extend(millis(reader, field, "timeoutMills", MENU_TIMEOUT_MAX_SECS)),
                // For spoken input, which is longer than a key press.
                "max_timeout" => fields.extend(millis(reader, field, "maxTimeoutMills", MENU_VOICE_MAX_SECS)),
                "keys" => fields.push(("options", options(reader, value, &mut below, &mut returns))),
                "locale" => locale = reader.text(value, "locale").map(|_| value.as_text()),
                _ => {}
            }
        }
        if reader.findings.count() == before
            && !fields.iter().any(|(name, _)| *name == "mainPrompt")
            && entry.value.entries().is_some()
        {
            reader.findings.wrong_hint(entry.at, "a menu wants a prompt", "add prompt: \"Press 1 for …\"");
        }
        Self { at: entry.at, svaml: Node::map(entry.at, fields), locale, below, returns }
    }
}

/// `keys: { "1": sales, "9": { menu: more } }`.
fn options(
    reader: &mut Reader<'_>,
    node: &Node,
    below: &mut Vec<(String, usize)>,
    returns: &mut Vec<(String, usize)>,
) -> Node {
    let mut options = Vec::new();
    for key in reader.any_map(node, "keys") {
        let (target, into, action) = match &key.value.shape {
            Shape::Map(_) => {
                let menu = reader.map(&key.value, "a key", &["menu"]).iter().find(|entry| entry.key == "menu");
                let Some(menu) = menu else {
                    reader.findings.wrong_hint(key.at, "a key wants a value or a menu", "write sales, or { menu: id }");
                    continue;
                };
                (&menu.value, &mut *below, "menu")
            }
            Shape::Null | Shape::Scalar(_) | Shape::List(_) => (&key.value, &mut *returns, "return"),
        };
        let Some(text) = reader.text(target, "a key") else { continue };
        if text.is_empty() || text.contains(['(', ')']) || text.contains("${") {
            reader.findings.wrong(target.at, "a key's value is constant text without brackets");
        }
        into.push((text.to_owned(), target.at));
        let action = Node::text(target.at, format!("{action}({text})"));
        options.push(Node::map(key.at, vec![("dtmf", Node::text(key.at, key.key.as_str())), ("action", action)]));
    }
    Node::list(node.at, options)
}

fn whole(
    reader: &mut Reader<'_>,
    written: &Entry,
    field: &'static str,
    range: RangeInclusive<u32>,
) -> Option<(&'static str, Node)> {
    let number = reader.integer(&written.value, &written.key, range)?;
    Some((field, Node::plain(written.value.at, number.to_string())))
}

fn millis(
    reader: &mut Reader<'_>,
    written: &Entry,
    field: &'static str,
    secs_max: u32,
) -> Option<(&'static str, Node)> {
    let Entry { key, value, .. } = written;
    let secs = reader.seconds(value, key)?;
    if !(1..=secs_max).contains(&secs) {
        reader.findings.wrong(value.at, format!("{key} is 1 to {secs_max} seconds"));
    }
    Some((field, Node::plain(value.at, secs.saturating_mul(1_000).to_string())))
}
