//! What an ingress has on its own disk: a replica that never comes back, and a disk without room.

use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tokio::time::sleep;

use crate::told::NO_WORKERS;
use crate::{DOORS, STAFF, TOP_UP, suffer, under_load, wired};

/// The spools lie side by side on a disk that both ingresses see.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_ingress_is_removed_for_good() -> Result<()> {
    let (mut world, wire) = wired(&DOORS[..1]).await?;
    let shared = world.data("ingress").display().to_string();
    DOORS.iter().for_each(|door| world.set(door, "CALLBUS__DATA_DIR", shared.as_str()));
    let world = world.staffed(&STAFF).await?;
    let told = suffer("ingress removed with a full spool", world, TOP_UP, async |world, load| {
        wire.cut();
        load.more(60).await?;
        world.kill("ingress-1")?;
        load.more(100).await
    });
    let told = told.await?;
    ensure!(told.answered_for(&NO_WORKERS) > 10, "who was cut off had something: {:?}", told.books.reasons);
    ensure!(told.by_the_second_door() > 100, "the fallback URL takes over");
    told.all_were_acknowledged()
}

/// What lets a process have mounts of its own: a user namespace, or being root.
const OWN_MOUNTS: [&[&str]; 2] = [&["unshare", "--map-root-user", "--mount"], &["unshare", "--mount"]];

fn own_mounts() -> Result<&'static [&'static str]> {
    let works = |words: &&[&str]| {
        let mount = ["mount", "-t", "tmpfs", "tmpfs", "/tmp"];
        let tried = Command::new(words[0]).args(&words[1..]).args(mount).stderr(Stdio::null()).status();
        tried.is_ok_and(|status| status.success())
    };
    OWN_MOUNTS.into_iter().find(works).context(
        "this fault needs a disk of its own: allow user namespaces \
         (sysctl kernel.apparmor_restrict_unprivileged_userns=0), or run it as root",
    )
}

/// A disk of an ingress's own. Of these 25,600 KB all but some 1,000 are left free for the write-ahead log.
const DISK: &str = "mkdir -p $0 && mount -t tmpfs -o size=25600k tmpfs $0 && exec \"$@\"";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_disk_is_full_and_nats_is_gone() -> Result<()> {
    let (mut world, wire) = wired(&STAFF).await?;
    for door in DOORS {
        let data = world.data(door).display().to_string();
        // So copies need not be kept for longer than a second where there is no room for them.
        world.set(door, "CALLBUS__BUS__SYNC_INTERVAL", "250ms");
        world.start_under(door, &[own_mounts()?, &["sh", "-c", DISK, &data]].concat());
    }
    let told = under_load("disks full, NATS cut off", world.staffed(&STAFF).await?, async |_, load| {
        wire.cut();
        sleep(Duration::from_secs(22)).await;
        wire.mend();
        // Those that were under way.
        load.more(200).await
    });
    let told = told.await?;
    ensure!(told.not_acknowledged() > 0, "what cannot be kept is not acknowledged");
    Ok(())
}
