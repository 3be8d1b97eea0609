//! Menus in one line: `main: { business: Acme }`. A template brings a prompt, and keys with the values that Sinch's own
//! menu templates give.

use crate::reader::Reader;
use crate::yaml::{Entry, Node};

/// A template, and what it brings.
pub(crate) struct MenuTemplate {
    pub(crate) word: &'static str,
    pub(crate) wants: Wants,
    /// `{}` is the text the author gives.
    prompt: &'static str,
    keys: &'static [(&'static str, &'static str)],
}

/// What the author writes behind the word.
#[derive(Clone, Copy)]
pub(crate) enum Wants {
    True,
    Text,
    /// `{ company: Acme, hours: "8 to 18" }`, both for the prompt.
    CompanyAndHours,
    /// `{ en-US: English, sv-SE: Swedish }`: what is returned, and what is said. Keys are given in this order.
    Choices,
    /// `{ prompt: "Your code?", digits: 4 }`.
    PromptAndDigits,
}

const fn template(
    word: &'static str,
    wants: Wants,
    prompt: &'static str,
    keys: &'static [(&'static str, &'static str)],
) -> MenuTemplate {
    MenuTemplate { word, wants, prompt, keys }
}

pub(crate) const MENU_TEMPLATES: &[MenuTemplate] = &[
    template(
        "business",
        Wants::Text,
        "Thank you for calling {}. For sales, press 1. For support, press 2. For the operator, press 0.",
        &[("1", "sales"), ("2", "support"), ("0", "operator")],
    ),
    template("yes_no", Wants::Text, "{} For yes, press 1. For no, press 2.", &[("1", "yes"), ("2", "no")]),
    template("language", Wants::Choices, "", &[]),
    template(
        "after_hours",
        Wants::CompanyAndHours,
        "Thank you for calling {}. We are closed now. Our hours are {}. To leave a message, press 1. To hear about our website, press 2. In an emergency, press 3.",
        &[("1", "voicemail"), ("2", "website"), ("3", "emergency")],
    ),
    template(
        "recording_consent",
        Wants::True,
        "This call may be recorded. If you agree, press 1. If you do not agree, press 2.",
        &[("1", "consent"), ("2", "no_consent")],
    ),
    template("numeric_input", Wants::PromptAndDigits, "", &[]),
    template(
        "callback_request",
        Wants::Text,
        "The wait is {}. To hold the line, press 1. To be called back, press 2.",
        &[("1", "hold"), ("2", "callback")],
    ),
    template(
        "customer_service",
        Wants::True,
        "For billing, press 1. For technical support, press 2. For a new service, press 3. For an agent, press 0.",
        &[("1", "billing"), ("2", "technical"), ("3", "new_service"), ("0", "agent")],
    ),
    template(
        "satisfaction_survey",
        Wants::True,
        "How was our service? For excellent, press 1. For good, press 2. For fair, press 3. For poor, press 4.",
        &[("1", "excellent"), ("2", "good"), ("3", "fair"), ("4", "poor")],
    ),
];

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
    template.fields(reader, &entry.value).unwrap_or_default()
}

impl MenuTemplate {
    fn fields(&self, reader: &mut Reader<'_>, node: &Node) -> Option<Vec<Entry>> {
        let keys = |keys: &[(&str, &str)]| {
            let keys = keys.iter().map(|(key, value)| (*key, Node::text(node.at, *value)));
            ("keys", Node::map(node.at, keys.collect()))
        };
        let fields = match self.wants {
            Wants::True => {
                if node.bool() != Some(true) {
                    let hint = format!("write {}: true", self.word);
                    reader.findings.wrong_hint(node.at, format!("{} takes no value", self.word), hint);
                }
                vec![("prompt", Node::text(node.at, self.prompt)), keys(self.keys)]
            }
            Wants::Text => {
                let text = reader.text(node, self.word)?;
                vec![("prompt", Node::text(node.at, self.prompt.replacen("{}", text, 1))), keys(self.keys)]
            }
            Wants::CompanyAndHours => {
                let [company, hours] = both(reader, node, self.word, ["company", "hours"])?;
                let (company, hours) = (reader.text(company, "company")?, reader.text(hours, "hours")?);
                // From the end: the first text may hold braces itself.
                let (head, tail) = self.prompt.rsplit_once("{}")?;
                let prompt = format!("{}{hours}{tail}", head.replacen("{}", company, 1));
                vec![("prompt", Node::text(node.at, prompt)), keys(self.keys)]
            }
            Wants::Choices => {
                let choices = reader.any_map(node, self.word);
                if !(1..=9).contains(&choices.len()) {
                    let hint = "write { en-US: English, sv-SE: Swedish }";
                    reader.findings.wrong_hint(node.at, format!("{} wants 1 to 9 choices", self.word), hint);
                    return None;
                }
                let (mut prompt, mut options) = (Vec::new(), Vec::new());
                for (choice, key) in choices.iter().zip(["1", "2", "3", "4", "5", "6", "7", "8", "9"]) {
                    prompt.push(format!("For {}, press {key}.", reader.text(&choice.value, self.word)?));
                    options.push((key, Node::text(choice.at, choice.key.as_str())));
                }
                vec![("prompt", Node::text(node.at, prompt.join(" "))), ("keys", Node::map(node.at, options))]
            }
            Wants::PromptAndDigits => {
                let [prompt, digits] = both(reader, node, self.word, ["prompt", "digits"])?;
                vec![("prompt", prompt.clone()), ("max_digits", digits.clone())]
            }
        };
        let entry = |(key, value): (&str, Node)| Entry { key: key.to_owned(), at: value.at, value };
        Some(fields.into_iter().map(entry).collect())
    }
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
