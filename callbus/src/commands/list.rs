//! `callbus list`: lists that policies ask, edited while calls go on.

use std::io::Read;
use std::path::Path;

use anyhow::Context;
use serde_json::{Value, json};

use crate::cli::ListEdit;
use crate::client::{ApiClient, segment};
use crate::config::Config;
use crate::exit::{Exit, Failure};
use crate::output::Output;

/// How the log names who edits here.
const BY: &str = "callbus list";

/// What to do with the entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Edit {
    Add,
    Remove,
    /// They are all there is to be.
    Replace,
}

/// # Errors
/// With the exit code of what went wrong; so with all that follow.
pub(crate) async fn ls(config: &Config, output: Output) -> Result<(), Failure> {
    let page: Value = ApiClient::new(config)?.get("/v1/lists").await?;
    if output.json {
        output.json(&page);
        return Ok(());
    }
    let row = |list: &Value| {
        [
            list["list"].as_str().unwrap_or_default().to_owned(),
            list["entries"].to_string(),
            list["revision"].to_string(),
        ]
    };
    let rows = page["lists"].as_array().into_iter().flatten().map(row).collect();
    output.table(["LIST", "ENTRIES", "REVISION"], rows);
    Ok(())
}

/// All entries, one a line: a file that `list replace` and a policy's `file:` read.
pub(crate) async fn show(config: &Config, output: Output, name: &str) -> Result<(), Failure> {
    let api = ApiClient::new(config)?;
    let (mut entries, mut after): (Vec<Value>, String) = (Vec::new(), String::new());
    loop {
        let page: Value = api.get(&format!("/v1/lists/{}?after={}", segment(name), segment(&after))).await?;
        let page = page["page"].as_array().cloned().unwrap_or_default();
        let Some(last) = page.last().and_then(Value::as_str) else { break };
        after = last.to_owned();
        if output.json {
            entries.extend(page);
        } else {
            page.iter().filter_map(Value::as_str).for_each(|entry| output.line(entry));
        }
    }
    if output.json {
        output.json(&json!({ "list": name, "entries": entries }));
    }
    Ok(())
}

/// Exit 5 when it is not on the list, so that scripts can ask.
pub(crate) async fn has(config: &Config, output: Output, name: &str, entry: &str) -> Result<(), Failure> {
    let path = format!("/v1/lists/{}?has={}", segment(name), segment(entry));
    let answer: Value = ApiClient::new(config)?.get(&path).await?;
    let has = answer["has"] == true;
    if output.json {
        output.json(&answer);
    } else if has {
        output.line(format!("{entry} is on {name}"));
    }
    if has { Ok(()) } else { Err(Failure::say(Exit::NotFound, format!("{entry} is not on {name}"))) }
}

pub(crate) async fn edit(config: &Config, output: Output, edit: Edit, asked: ListEdit) -> Result<(), Failure> {
    let ListEdit { name, mut entries, file } = asked;
    if let Some(file) = &file {
        entries.extend(lines(&read(file)?));
    }
    if entries.is_empty() && edit != Edit::Replace {
        return Err(Failure::say(Exit::Usage, "name entries, or a file with one a line: --file numbers.txt"));
    }
    let body = match edit {
        Edit::Add => json!({ "add": entries, "by": BY }),
        Edit::Remove => json!({ "remove": entries, "by": BY }),
        Edit::Replace => json!({ "add": entries, "replace": true, "by": BY }),
    };
    let changed: Value = ApiClient::new(config)?.post(&format!("/v1/lists/{}", segment(&name)), &body).await?;
    if output.json {
        output.json(&changed);
    } else {
        let (added, removed, entries) = (&changed["added"], &changed["removed"], &changed["entries"]);
        output.line(format!("{name}: {added} added, {removed} removed, {entries} on it now; in use within a second"));
    }
    Ok(())
}

/// `-` is stdin.
fn read(file: &Path) -> Result<String, Failure> {
    if file == Path::new("-") {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).context("read the entries from stdin")?;
        return Ok(text);
    }
    Ok(std::fs::read_to_string(file).with_context(|| format!("read {}", file.display()))?)
}

/// One entry a line, `#` begins a comment: the same as in a policy's list files.
fn lines(text: &str) -> impl Iterator<Item = String> {
    text.lines()
        .map(|line| line.split('#').next().unwrap_or_default().trim().to_owned())
        .filter(|line| !line.is_empty())
}
