//! All that commands print: the one place that knows stdout, terminals, colour and JSON.

use std::io::{IsTerminal, Write, stderr, stdout};

use comfy_table::{ContentArrangement, Table, presets};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;
use serde_json::Value;

use crate::environment::Environment;

/// Where commands print to, and how.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Output {
    /// One JSON document instead of text.
    pub json: bool,
    terminal: bool,
    colour: bool,
}

/// What a piece of text means; on a terminal, its colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tone {
    Strong,
    Faint,
    Good,
    Bad,
    Note,
}

impl Output {
    pub(crate) fn new(json: bool, environment: &Environment) -> Self {
        let terminal = stdout().is_terminal();
        Self { json, terminal, colour: terminal && environment.get("NO_COLOR").is_none() }
    }

    /// A line. Whoever closed the pipe has read enough, so a failing write is no error.
    pub(crate) fn line(&self, text: impl std::fmt::Display) {
        let _ = writeln!(stdout(), "{text}");
    }

    /// Output without end, for commands that are filters. Each line leaves at once, for whoever waits for it.
    pub(crate) fn stream<T>(&self, write: impl FnOnce(&mut dyn Write) -> T) -> T {
        write(&mut stdout().lock())
    }

    pub(crate) fn json(&self, value: &impl Serialize) {
        self.line(serde_json::to_string_pretty(value).unwrap_or_default());
    }

    /// Rows under headings: drawn on a terminal, aligned plain text elsewhere.
    pub(crate) fn table<const N: usize>(&self, headings: [&str; N], rows: Vec<[String; N]>) {
        let mut table = Table::new();
        table.load_preset(if self.terminal { presets::UTF8_BORDERS_ONLY } else { presets::NOTHING });
        table.set_content_arrangement(ContentArrangement::Disabled);
        table.set_header(headings);
        table.add_rows(rows);
        for line in table.lines() {
            self.line(line.trim_end());
        }
    }

    /// Something to know about what is printed: on stderr, so that a file or a pipe does not get it.
    pub(crate) fn aside(&self, text: impl std::fmt::Display) {
        let _ = writeln!(stderr(), "{text}");
    }

    /// How far long work is: on stderr, where people look; no bar for programs.
    pub(crate) fn bar(&self, total: u64, what: &str) -> ProgressBar {
        let target = if !self.json && stderr().is_terminal() {
            ProgressDrawTarget::stderr()
        } else {
            ProgressDrawTarget::hidden()
        };
        let template = format!("{{bar:30}} {{human_pos}} of {{human_len}} {what}, {{per_sec}}, {{eta}} left");
        let style = ProgressStyle::with_template(&template).unwrap_or_else(|_| ProgressStyle::default_bar());
        ProgressBar::with_draw_target(Some(total), target).with_style(style)
    }

    pub(crate) fn toned(&self, tone: Tone, text: impl std::fmt::Display) -> String {
        let code = match tone {
            Tone::Strong => "1",
            Tone::Faint => "2",
            Tone::Good => "32",
            Tone::Bad => "31",
            Tone::Note => "36",
        };
        if self.colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_string() }
    }
}

/// Says on stderr why a command failed.
pub(crate) fn complain(failure: &crate::exit::Failure) {
    let _ = writeln!(stderr(), "callbus: {failure}");
}

/// Characters of a time without fractions of a second.
const TO_THE_SECOND: usize = "2026-01-02T03:04:05".len();

/// Text as it is, lists with commas, all else as JSON.
pub(crate) fn words(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(list) => list.iter().map(words).collect::<Vec<_>>().join(", "),
        Value::Null => String::new(),
        Value::Bool(_) | Value::Number(_) | Value::Object(_) => value.to_string(),
    }
}

/// A time to the second, as tables have it: all are UTC.
pub(crate) fn to_the_second(time: &Value) -> String {
    words(time).chars().take(TO_THE_SECOND).collect()
}

/// No more than so many characters.
pub(crate) fn cut(text: &str, chars_max: usize) -> String {
    if text.chars().count() <= chars_max {
        return text.to_owned();
    }
    text.chars().take(chars_max.saturating_sub(1)).chain(['…']).collect()
}
