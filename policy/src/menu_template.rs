//! Menus in one line: `main: { business: Acme }`. What a template says and gives stands in [`proto`], for handlers too.

use proto::svaml::menu_template::MenuTemplate;
pub(crate) use proto::svaml::menu_template::{MENU_TEMPLATES, Wants};

use crate::reader::Reader;
use crate::yaml::{Entry, Node, Shape};

/// The fields a menu's template stands for; none without a template.
pub(crate) fn expand(reader: &mut Reader<'_>, written: &[Entry]) -> Vec<Entry> {
    let mut found = written.iter().filter_map(|entry| {
        let template = MENU_TEMPLATES.iter().find(|template| template.word == entry.key)?;
        Some((template, entry))
    });
    let Some((template, entry)) = found.next() else { return Vec::new() };
    let second = found.next().map(|(_, second)| second);
    let field = |key| written.iter().find(|entry: &&Entry| entry.key == key);
    if let Some(other) = second.or_else(|| field("keys")).or_else(|| field("max_digits")) {
        reader.findings.wrong_hint(other.at, "the template brings the keys of its menu", "keep one of them");
    }
    fields(template, reader, &entry.value).unwrap_or_default()
}

fn fields(template: &MenuTemplate, reader: &mut Reader<'_>, node: &Node) -> Option<Vec<Entry>> {
    let word = template.word;
    let filled = |texts: &[&str]| {
        let key = |(key, value): &(char, &str)| entry(&key.to_string(), Node::text(node.at, *value));
        let keys = template.keys.iter().map(key).collect();
        vec![entry("prompt", Node::text(node.at, template.prompt(texts))), entry("keys", map(node, keys))]
    };
    Some(match template.wants {
        Wants::True => {
            if node.bool() != Some(true) {
                let hint = format!("write {word}: true");
                reader.findings.wrong_hint(node.at, format!("{word} takes no value"), hint);
            }
            filled(&[])
        }
        Wants::Text => filled(&[reader.text(node, word)?]),
        Wants::CompanyAndHours => {
            let [company, hours] = both(reader, node, word, ["company", "hours"])?;
            filled(&[reader.text(company, "company")?, reader.text(hours, "hours")?])
        }
        Wants::Choices => {
            let choices = reader.any_map(node, word);
            if !(1..=MenuTemplate::CHOICE_KEYS.len()).contains(&choices.len()) {
                let hint = "write { en-US: English, sv-SE: Swedish }";
                reader.findings.wrong_hint(node.at, format!("{word} wants 1 to 9 choices"), hint);
                return None;
            }
            let (mut said, mut keys) = (Vec::new(), Vec::new());
            for (choice, key) in choices.iter().zip(MenuTemplate::CHOICE_KEYS) {
                said.push(reader.text(&choice.value, word)?);
                keys.push(entry(&key.to_string(), Node::text(choice.at, choice.key.as_str())));
            }
            let prompt = Node::text(node.at, template.choices_prompt(said));
            vec![entry("prompt", prompt), entry("keys", map(node, keys))]
        }
        Wants::PromptAndDigits => {
            let [prompt, digits] = both(reader, node, word, ["prompt", "digits"])?;
            vec![entry("prompt", prompt.clone()), entry("max_digits", digits.clone())]
        }
    })
}

fn entry(key: &str, value: Node) -> Entry {
    Entry { key: key.to_owned(), at: value.at, value }
}

fn map(written: &Node, entries: Vec<Entry>) -> Node {
    Node { at: written.at, shape: Shape::Map(entries) }
}

fn both<'n>(reader: &mut Reader<'_>, node: &'n Node, word: &str, keys: [&str; 2]) -> Option<[&'n Node; 2]> {
    reader.map(node, word, &keys);
    let [first, second] = keys.map(|key| node.get(key).map(|entry| &entry.value));
    if first.is_none() || second.is_none() {
        let what = format!("{word} wants {} and {}", keys[0], keys[1]);
        reader.findings.wrong(node.at, what);
    }
    Some([first?, second?])
}
