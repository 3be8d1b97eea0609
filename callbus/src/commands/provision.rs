//! `callbus provision`: makes at the broker what the roles need, and brings the first policies into force. Safe to do
//! again; what is there stays as it is.

use bus::{Clock, Piece, PieceState};
use serde_json::json;

use crate::broker;
use crate::config::Config;
use crate::environment::Environment;
use crate::exit::{Exit, Failure};
use crate::output::{Output, Tone};
use crate::policy_files;

pub(crate) async fn run(
    config: &Config,
    environment: &Environment,
    output: Output,
    dry_run: bool,
) -> Result<(), Failure> {
    let nats = broker::settings(config).map_err(|error| Failure::new(Exit::Usage, error))?;
    let unreachable = |error: anyhow::Error| Failure::new(Exit::Unreachable, error);
    let bus = broker::connect_to_provision(nats, environment).await.map_err(unreachable)?;
    let pieces = bus
        .provision(&broker::consumers(config.billing_groups, config.delivery_groups), dry_run)
        .await
        .map_err(|error| unreachable(error.into()))?;
    if !dry_run {
        policy_files::begin(config, &bus, &Clock::System).await?;
    }
    print(&pieces, output, dry_run);
    Ok(())
}

fn print(pieces: &[Piece], output: Output, dry_run: bool) {
    let made = if dry_run { "would be made" } else { "made" };
    if output.json {
        let pieces: Vec<_> = pieces
            .iter()
            .map(|piece| match &piece.state {
                PieceState::There => json!({ "what": piece.what, "name": piece.name, "state": "there" }),
                PieceState::Missing => json!({ "what": piece.what, "name": piece.name, "state": made }),
                PieceState::Differs(how) => {
                    json!({ "what": piece.what, "name": piece.name, "state": "differs", "how": how })
                }
            })
            .collect();
        output.json(&pieces);
        return;
    }
    let rows = pieces.iter().map(|piece| {
        let state = match &piece.state {
            PieceState::There => output.toned(Tone::Faint, "there"),
            PieceState::Missing => output.toned(Tone::Good, made),
            PieceState::Differs(how) => {
                output.toned(Tone::Note, format!("there, and left as it is: {}", how.join("; ")))
            }
        };
        [piece.what.to_owned(), piece.name.clone(), state]
    });
    output.table(["WHAT", "NAME", "STATE"], rows.collect());
}
