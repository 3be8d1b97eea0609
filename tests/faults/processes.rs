//! Processes of callbus are killed, frozen and restarted.

use std::time::Duration;

use anyhow::{Result, ensure};
use tokio::time::sleep;

use crate::told::NO_WORKERS;
use crate::{STAFF, installation, provisioned, under_load};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_is_killed() -> Result<()> {
    let told = under_load("kill -9 of one worker of two", installation().await?, async |world, load| {
        world.kill("worker-1")?;
        load.more(60).await?;
        world.start("worker-1")
    });
    told.await?.was_not_noticed()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_workers_are_killed() -> Result<()> {
    let told = under_load("kill -9 of all workers", installation().await?, async |world, load| {
        world.kill("worker-1")?;
        world.kill("worker-2")?;
        load.more(60).await?;
        world.start("worker-1")?;
        world.start("worker-2")
    });
    let told = told.await?;
    ensure!(told.answered_for(&NO_WORKERS) > 20, "fallbacks answer while there is no worker");
    ensure!(told.by_the_second_door() == 0, "a fallback is an answer, not an error");
    told.all_were_acknowledged()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_is_frozen() -> Result<()> {
    let mut world = installation().await?;
    world.start("worker-3")?;
    let told = under_load("SIGSTOP of one worker of three", world, async |world, _| {
        world.signal("worker-1", "STOP")?;
        sleep(Duration::from_secs(5)).await;
        world.signal("worker-1", "CONT")
    });
    let told = told.await?;
    // Asked five times by lot, once in 243 it is the frozen one each time.
    ensure!(told.answered_for(&NO_WORKERS) * 50 < told.calls.len(), "{:?}", told.books.reasons);
    ensure!(told.by_the_second_door() == 0, "the first door answers");
    told.all_were_acknowledged()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_ingress_is_killed() -> Result<()> {
    let told = under_load("kill -9 of an ingress", installation().await?, async |world, load| {
        world.kill("ingress-1")?;
        load.more(60).await?;
        world.start("ingress-1")
    });
    let told = told.await?;
    ensure!(told.by_the_second_door() > 100, "the fallback URL takes over");
    told.all_were_let_through()?;
    told.all_were_acknowledged()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn billing_is_killed() -> Result<()> {
    let told = under_load("kill -9 of billing", installation().await?, async |world, load| {
        world.kill("billing")?;
        load.more(60).await?;
        world.start("billing")
    });
    told.await?.was_not_noticed()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_role_is_restarted_in_turn() -> Result<()> {
    let told = under_load("rolling restart of every role", installation().await?, async |world, load| {
        for role in STAFF {
            world.terminate(role)?;
            world.start(role)?;
            load.more(30).await?;
        }
        Ok(())
    });
    let told = told.await?;
    told.all_were_let_through()?;
    told.all_were_acknowledged()
}

/// Several share the calls; whoever works a group of them is followed by another.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn billing_processes_are_killed_in_turn() -> Result<()> {
    let world = provisioned("[billing]\ngroups = 4\n")?;
    let staff = ["billing", "billing-2", "billing-3", "worker-1", "worker-2", "ingress-1", "ingress-2", "api"];
    let told = under_load("kill -9 of three billings in turn", world.staffed(&staff).await?, async |world, load| {
        for victim in ["billing", "billing-2", "billing-3", "billing"] {
            world.kill(victim)?;
            load.more(20).await?;
            world.start(victim)?;
            load.more(20).await?;
        }
        Ok(())
    });
    told.await?.was_not_noticed()
}
