//! Conferences: who is in one, who is heard, who is thrown out.

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use serde::Deserialize;
use serde_json::{Value, json};

use super::read;
use crate::lines::{Participant, Seating};
use crate::platform::Platform;
use crate::problem::Problem;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    command: Command,
    moh: Option<Music>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Command {
    Mute,
    Unmute,
    OnHold,
    Resume,
}

/// What who is on hold hears; none of it is heard here.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Music {
    Ring,
    Music1,
    Music2,
    Music3,
}

pub(crate) async fn show(State(platform): State<Platform>, Path(id): Path<String>) -> Result<Json<Value>, Problem> {
    let shown = |one: Participant| {
        json!({
            "cli": one.cli,
            "id": one.call,
            "duration": one.duration_secs,
            "muted": one.muted,
            "onhold": one.on_hold,
        })
    };
    let inside = inside(&platform, &id)?;
    Ok(Json(json!({ "participants": inside.into_iter().map(shown).collect::<Vec<_>>() })))
}

pub(crate) async fn end(State(platform): State<Platform>, Path(id): Path<String>) -> Result<(), Problem> {
    for one in inside(&platform, &id)? {
        platform.exchange().lines.hang_up(&one.call)?;
    }
    Ok(())
}

pub(crate) async fn kick(
    State(platform): State<Platform>,
    Path((id, call)): Path<(String, String)>,
) -> Result<(), Problem> {
    let one = participant(&platform, &id, &call)?;
    platform.exchange().lines.hang_up(&one.call)
}

pub(crate) async fn change(
    State(platform): State<Platform>,
    Path((id, call)): Path<(String, String)>,
    body: Bytes,
) -> Result<(), Problem> {
    let Wanted { command, moh } = read::fields(read::json(&body)?)?;
    let one = participant(&platform, &id, &call)?;
    let seating = match (command, moh) {
        (Command::Mute, None) => Seating::Muted(true),
        (Command::Unmute, None) => Seating::Muted(false),
        (Command::OnHold, _) => Seating::OnHold(true),
        (Command::Resume, None) => Seating::OnHold(false),
        (Command::Mute | Command::Unmute | Command::Resume, Some(_)) => {
            return Err(Problem::parameter("moh goes with the command onhold"));
        }
    };
    platform.exchange().lines.seat(&one.call, &id, seating)
}

fn inside(platform: &Platform, id: &str) -> Result<Vec<Participant>, Problem> {
    let inside = platform.exchange().lines.participants(id);
    if inside.is_empty() { Err(Problem::NotFound("Conference")) } else { Ok(inside) }
}

fn participant(platform: &Platform, id: &str, call: &str) -> Result<Participant, Problem> {
    let mut inside = inside(platform, id)?.into_iter();
    inside.find(|one| one.call.as_str() == call).ok_or(Problem::NotFound("Call"))
}
