//! The wall clock of a process jumps. What it waits for does not: that goes by another clock.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tests::World;
use tokio::time::sleep;

use crate::told::NO_WORKERS;
use crate::{STAFF, provisioned, under_load};

const JUMPED: Duration = Duration::from_secs(5);

/// Clocks that can be set while a role runs, by libfaketime.
struct Clocks {
    file: PathBuf,
}

impl Clocks {
    /// The clocks of these roles, which show the right time.
    fn of(world: &mut World, roles: &[&str]) -> Result<Self> {
        let clocks = Self { file: world.file("clock") };
        clocks.set("+0")?;
        let (library, file) = (library()?.display().to_string(), clocks.file.display().to_string());
        for role in roles {
            world.set(role, "LD_PRELOAD", library.as_str());
            world.set(role, "FAKETIME_TIMESTAMP_FILE", file.as_str());
            world.set(role, "FAKETIME_CACHE_DURATION", "1");
            world.set(role, "FAKETIME_DONT_FAKE_MONOTONIC", "1");
        }
        Ok(clocks)
    }

    /// So far from the right time: `+3600`.
    fn set(&self, off: &str) -> Result<()> {
        fs::write(&self.file, format!("{off}\n")).context("set the clocks")
    }
}

/// Debian has it in a directory of the architecture's name.
fn library() -> Result<PathBuf> {
    let below = fs::read_dir("/usr/lib")?.flatten().map(|entry| entry.path());
    let mut found = below.chain([PathBuf::from("/usr/lib")]).map(|path| path.join("faketime/libfaketimeMT.so.1"));
    found.find(|path| Path::exists(path)).context("this fault needs libfaketime: tests/run installs it")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_clocks_of_a_worker_and_of_billing_jump() -> Result<()> {
    let mut world = provisioned("")?;
    let clocks = Clocks::of(&mut world, &["worker-1", "billing"])?;
    let world = world.staffed(&STAFF).await?;
    let told = under_load("clocks of a worker and billing 1 h ahead", world, async |_, _| {
        clocks.set("+3600")?;
        sleep(JUMPED).await;
        clocks.set("+0")
    });
    let told = told.await?;
    ensure!(told.world.said("billing")?.contains("the clock was set"), "its clock was not set");
    ensure!(told.by_the_second_door() == 0, "the first door answers");
    // Asked five times by lot, once in 32 it is the one each time that thinks it is too late to answer.
    ensure!(told.answered_for(&NO_WORKERS) * 10 < told.calls.len(), "{:?}", told.books.reasons);
    told.all_were_acknowledged()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_clock_of_an_ingress_jumps() -> Result<()> {
    let mut world = provisioned("")?;
    let clocks = Clocks::of(&mut world, &["ingress-1"])?;
    let told = under_load("an ingress' clock 10 min ahead", world.staffed(&STAFF).await?, async |_, _| {
        clocks.set("+600")?;
        sleep(JUMPED).await;
        clocks.set("+0")
    });
    let told = told.await?;
    // To it everything is ten minutes old, and may be a copy somebody kept.
    ensure!(told.by_the_second_door() > 100, "what is too old is turned away");
    told.all_were_acknowledged()
}
