//! Who keeps the tables is killed, and so is the database.

use anyhow::{Result, ensure};
use proto::{Filter, Kind, Stream};
use tests::postgres::Postgres;
use tests::{World, eventually, tables};
use views::Store;

use crate::told::Told;
use crate::{STAFF, provisioned, under_load};

/// With views that keep the tables in PostgreSQL.
pub(crate) async fn installation(postgres: &Postgres) -> Result<World> {
    let settings = format!("[views]\nurl = \"{}\"\n", postgres.url());
    let world = provisioned(&settings)?;
    let [staff @ .., api] = STAFF;
    let with_views: Vec<&str> = staff.into_iter().chain(["views", api]).collect();
    world.staffed(&with_views).await
}

/// Every call has its row, every CDR its own, and so has every posting.
pub(crate) async fn are_whole(told: &Told, postgres: &Postgres) -> Result<()> {
    let (store, log) = (Store::postgres(&postgres.url())?, told.world.log().await?);
    eventually("the tables have all that is in the log", async || {
        for stream in [Stream::Calls, Stream::Wallets] {
            let end = log.last_seq(&Filter::All(stream)).await?;
            if store.seq(stream).await.unwrap_or(0) < end {
                return Ok(None);
            }
        }
        Ok(Some(()))
    })
    .await?;
    let rows = tables::all(&store).await?;
    let billed = rows["cdrs"].iter().filter(|row| !row["cost_micros"].is_null());
    let (calls, billed) = (rows["calls"].len(), billed.count());
    ensure!(calls == told.calls.len(), "{calls} calls in the tables, {} in the log", told.calls.len());
    let ended = told.calls.iter().filter(|call| call.has_acknowledged(Kind::Dice)).count();
    ensure!(rows["cdrs"].len() == ended, "{} CDRs in the tables, {ended} in the log", rows["cdrs"].len());
    ensure!(billed == told.books.charged, "{billed} bills in the tables, {} in the log", told.books.charged);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn views_and_postgres_are_killed() -> Result<()> {
    let mut postgres = Postgres::start()?;
    let world = installation(&postgres).await?;
    let told = under_load("kill -9 of views, then of PostgreSQL", world, async |world, load| {
        world.kill("views")?;
        load.more(40).await?;
        world.start("views")?;
        load.more(40).await?;
        postgres.kill();
        load.more(60).await?;
        postgres.restart()
    });
    let told = told.await?;
    are_whole(&told, &postgres).await?;
    told.was_not_noticed()
}
