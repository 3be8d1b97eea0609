//! The broker is killed, cut off and robbed, and a cluster loses its leader.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bus::Bus;
use proto::{Filter, Stream};
use tests::nats::{self, Nats};
use tests::postgres::Postgres;
use tests::world::POLICY;
use tests::{World, eventually};
use tokio::time::sleep;

use crate::told::NO_WORKERS;
use crate::told::Told;
use crate::{DOORS, STAFF, installation, tables, under_load, wired};

/// Long enough for every answer that was under way to come by fallback.
const AWAY: Duration = Duration::from_secs(5);

/// While nobody reaches the broker every callback is taken at the first door, and fallbacks answer.
fn fallbacks_answered(told: &Told) -> Result<()> {
    ensure!(told.answered_for(&NO_WORKERS) > 50, "{:?}", told.books.reasons);
    ensure!(told.by_the_second_door() == 0, "a spooled callback is acknowledged");
    told.all_were_acknowledged()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nats_is_killed() -> Result<()> {
    let told = under_load("kill -9 of NATS", installation().await?, async |world, _| {
        world.servers()?.0.kill();
        sleep(AWAY).await;
        world.servers()?.0.restart()
    });
    fallbacks_answered(&told.await?)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nats_is_cut_off() -> Result<()> {
    let (world, wire) = wired(&STAFF).await?;
    let told = under_load("NATS cut off, silently", world.staffed(&STAFF).await?, async |_, _| {
        wire.cut();
        sleep(AWAY).await;
        wire.mend();
        Ok(())
    });
    fallbacks_answered(&told.await?)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_loses_its_leader() -> Result<()> {
    let mut world = World::on_servers(Nats::cluster()?, POLICY, "")?;
    world.set("provision", "CALLBUS__BUS__REPLICAS", "3");
    eventually("the cluster is one", async || Ok(world.provision(&[]).ok())).await?;
    for door in DOORS {
        world.set(door, "CALLBUS__BUS__REPLICAS", "3");
        world.set(door, "CALLBUS__BUS__DURABILITY", "replicated");
    }
    let told = under_load("leader of three NATS, kill -9", world.staffed(&STAFF).await?, async |world, load| {
        let nats = world.servers()?.0;
        let leader = leader_of_calls(nats).await?;
        nats.kill_node(leader);
        load.more(100).await?;
        world.servers()?.0.start_node(leader)
    });
    told.await?.all_were_acknowledged()
}

async fn leader_of_calls(nats: &Nats) -> Result<usize> {
    let key = nats.key_of("provision").context("a key")?;
    let options = async_nats::ConnectOptions::with_nkey(std::fs::read_to_string(key)?.trim().to_owned());
    let servers: Vec<async_nats::ServerAddr> = nats.url().split(',').map(str::parse).collect::<Result<_, _>>()?;
    let client = options.custom_inbox_prefix("_INBOX_provision").connect(servers).await?;
    let jetstream = async_nats::jetstream::new(client);
    let leader = eventually("the stream has a leader", async || {
        let stream = jetstream.get_stream(Stream::Calls.name()).await?;
        Ok(stream.cached_info().cluster.as_ref().and_then(|cluster| cluster.leader.clone()))
    });
    let leader = leader.await?;
    (0..nats.nodes()).find(|node| nats::name_of(*node) == leader).with_context(|| format!("{leader} is no node"))
}

/// As if the power had failed: what the broker had acknowledged and not put on its disk is gone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nats_loses_what_it_had_not_synced() -> Result<()> {
    let postgres = Postgres::start()?;
    let world = tables::installation(&postgres).await?;
    let told = under_load("power cut of NATS", world, async |world, load| {
        let directory = tempfile::tempdir()?;
        let (synced, nats) = (directory.path().join("synced"), world.servers()?.0);
        nats.signal("STOP")?;
        copy(&nats.store(0), &synced)?;
        nats.signal("CONT")?;
        load.more(150).await?;
        let had = world.events_total().await?;
        let nats = world.servers()?.0;
        nats.kill();
        let end = async |config| Ok(Bus::nats(config).await?.last_seq(&Filter::All(Stream::Calls)).await?);
        let has = nats.beside(&synced, end).await?;
        ensure!(has + 300 < had, "the power cut takes something: {had} events, {has} of them synced");
        std::fs::remove_dir_all(nats.store(0))?;
        copy(&synced, &nats.store(0))?;
        nats.restart()
    });
    let told = told.await?;
    tables::are_whole(&told, &postgres).await?;
    ensure!(told.world.said("views")?.contains("the tables are made anew"), "the tables had more than the log");
    told.all_were_acknowledged()
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    let copied = Command::new("cp").arg("-a").args([from, to]).status()?;
    ensure!(copied.success(), "copy {}", from.display());
    Ok(())
}
