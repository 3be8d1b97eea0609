//! `callbus keys`: a key for each role, and what the broker must know of them.
//!
//! The secret halves lie each in a folder of its own, so that a container is given its own and no other. Keys that are
//! there stay; the broker's file is written anew, so that it has the rights of this version.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;
use bus::{BrokerUser, Permissions, accounts};
use nkeys::KeyPair;
use proto::Stream;

use crate::broker;
use crate::config::secret::write_new;
use crate::exit::Failure;
use crate::output::Output;

/// The secret half of a key, in the folder of its owner.
const SEED: &str = "nkey";
/// What the broker includes.
const ACCOUNTS: &str = "broker/accounts.conf";
/// The folder of those who subscribe.
const CONSUMERS: &str = "consumers";
/// The folder of those who decide for a rule that asks on NATS.
const DECIDERS: &str = "deciders";

pub(crate) fn run(directory: &Path, decider: Option<&str>, output: Output) -> Result<(), Failure> {
    if let Some(name) = decider {
        refuse_taken(directory, CONSUMERS, name)?;
        key(&directory.join(DECIDERS).join(name))?;
    }
    let users = write(directory)?;
    if output.json {
        output.json(&serde_json::json!({
            "accounts": directory.join(ACCOUNTS),
            "users": users.iter().map(|user| (&user.name, &user.public_key)).collect::<std::collections::BTreeMap<_, _>>(),
        }));
        return Ok(());
    }
    let rows = users.iter().map(|user| [user.name.clone(), user.public_key.clone()]).collect();
    output.table(["USER", "PUBLIC KEY"], rows);
    output.line(format!(
        "the broker includes {}; a running one reads it again on SIGHUP",
        directory.join(ACCOUNTS).display()
    ));
    Ok(())
}

/// The key of one who subscribes: made where it is missing, and made known to the broker's file.
pub(super) fn of_consumer(directory: &Path, name: &str) -> anyhow::Result<PathBuf> {
    refuse_taken(directory, DECIDERS, name)?;
    let folder = directory.join(CONSUMERS).join(name);
    key(&folder)?;
    write(directory)?;
    Ok(folder.join(SEED))
}

/// Forgets one who subscribed; false when there was none.
pub(super) fn forget_consumer(directory: &Path, name: &str) -> anyhow::Result<bool> {
    let folder = directory.join(CONSUMERS).join(name);
    if !folder.is_dir() {
        return Ok(false);
    }
    fs::remove_dir_all(&folder).with_context(|| format!("remove {}", folder.display()))?;
    write(directory)?;
    Ok(true)
}

/// A user's inboxes have its name: two of one name would read each other's answers.
fn refuse_taken(directory: &Path, others: &str, name: &str) -> anyhow::Result<()> {
    let is_own = broker::users().iter().any(|(own, _)| *own == name);
    if is_own || names_in(&directory.join(others))?.iter().any(|other| other == name) {
        anyhow::bail!("{name} is another user's name: choose another");
    }
    Ok(())
}

/// Makes the keys that are missing, and writes the broker's file.
fn write(directory: &Path) -> anyhow::Result<Vec<BrokerUser>> {
    let mut users = Vec::new();
    for (name, permissions) in broker::users() {
        let public_key = key(&directory.join(name))?;
        users.push(BrokerUser { name: name.to_owned(), public_key, permissions });
    }
    for (folder, rights) in [(CONSUMERS, pulls as fn(&str) -> Permissions), (DECIDERS, decides)] {
        for name in names_in(&directory.join(folder))? {
            let public_key = key(&directory.join(folder).join(&name))?;
            let permissions = rights(&name);
            users.push(BrokerUser { name, public_key, permissions });
        }
    }
    let path = directory.join(ACCOUNTS);
    let text =
        format!("# Written by `callbus keys`. Each user may do its own part, and nothing else.\n{}", accounts(&users));
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))?;
    }
    // Whole or not at all: the broker may read it at any time.
    let new = path.with_extension("new");
    fs::write(&new, text)
        .and_then(|()| fs::rename(&new, &path))
        .with_context(|| format!("write {}", path.display()))?;
    Ok(users)
}

fn pulls(name: &str) -> Permissions {
    Permissions::default().pulls(Stream::Calls, name)
}

/// In whatever queue group it likes: how many of them share the asks is their own affair.
fn decides(_: &str) -> Permissions {
    Permissions::default().serves_each("decide.v1.>")
}

fn names_in(folder: &Path) -> anyhow::Result<Vec<String>> {
    if !folder.is_dir() {
        return Ok(Vec::new());
    }
    let reading = || format!("read {}", folder.display());
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).with_context(reading)? {
        names.extend(entry.with_context(reading)?.file_name().into_string().ok());
    }
    names.sort();
    Ok(names)
}

/// The public half of the key in a folder; a new one where there is none.
fn key(folder: &Path) -> anyhow::Result<String> {
    let path = folder.join(SEED);
    if !path.exists() {
        fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))?;
        let seed = KeyPair::new_user().seed().context("make a key")?;
        write_new(&path, &seed).with_context(|| format!("write {}", path.display()))?;
    }
    let seed = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    let pair = KeyPair::from_seed(seed.trim());
    Ok(pair.with_context(|| format!("{} is not the seed of an nkey: remove it", path.display()))?.public_key())
}
