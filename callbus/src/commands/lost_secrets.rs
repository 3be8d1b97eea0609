//! What a backup does not have, and somebody must enter again: the secrets of destinations and callback profiles. What
//! goes to one that lacks its own waits.

use std::path::Path;

use bus::{Bus, Clock};
use delivery::{Destination, Profile, Profiles, Register};
use proto::ProfileAuth;
use serde::Serialize;

use crate::exit::Failure;
use crate::output::{Output, Tone};

/// A secret that is missing.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct Lost {
    /// Whose it is: `destination crm`, `profile CRM of Singapore`.
    of: String,
    what: String,
    /// What enters it again.
    command: String,
}

/// All that a backup's destinations and profiles name.
///
/// # Errors
/// When it cannot be read.
pub(super) async fn of_backup(directory: &Path) -> Result<Vec<Lost>, Failure> {
    let log = Bus::embedded_read_only(directory)?;
    let destinations = Register::new(log.clone(), Clock::System).all().await?;
    let profiles = Profiles::new(log, Clock::System).all().await?;
    let profiles = profiles.values().filter(|profile| profile.removed_at.is_none());
    Ok(destinations.values().flat_map(of_destination).chain(profiles.flat_map(of_profile)).collect())
}

fn of_destination(destination: &Destination) -> Vec<Lost> {
    let Destination { name, put, .. } = destination;
    let lost = |what: String, command: String| Lost { of: format!("destination {name}"), what, command };
    let again = |with: &str| format!("callbus destination put {name} --file FILE, as before, with \"{with}\"");
    let mut all = Vec::new();
    if put.header_values.is_some() {
        all.push(lost(format!("what its headers say: {}", put.headers.join(", ")), again("headers")));
    }
    if put.credential_values.is_some() {
        all.push(lost(format!("credentials: {}", put.credentials.join(", ")), again("credentials")));
    }
    if !put.keys.is_empty() {
        all.push(lost("its signing secret".to_owned(), format!("callbus destination rotate {name}")));
    }
    all
}

fn of_profile(profile: &Profile) -> Vec<Lost> {
    let Profile { id, put, .. } = profile;
    let lost = |what: &str, with: &str| Lost {
        of: format!("profile {}", put.title),
        what: what.to_owned(),
        command: format!("callbus profile set {id} --file FILE, with {with}"),
    };
    let auth = match &put.auth {
        ProfileAuth::None => None,
        ProfileAuth::Basic { .. } => Some(lost("its password", "\"auth\"")),
        ProfileAuth::Bearer { .. } => Some(lost("its client's secret", "\"auth\"")),
    };
    let key = (!put.keys.is_empty()).then(|| lost("its signing secret", "\"secret\": \"new\""));
    auth.into_iter().chain(key).collect()
}

pub(super) fn print(output: Output, lost: Vec<Lost>) {
    if lost.is_empty() {
        return;
    }
    output.line("");
    output.line(
        output.toned(Tone::Note, "secrets are in no backup: what goes to these waits until they have theirs again"),
    );
    let rows = lost.into_iter().map(|Lost { of, what, command }| [of, what, command]).collect();
    output.table(["WHOSE", "LACKS", "ENTER IT AGAIN"], rows);
}
