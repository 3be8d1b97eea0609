//! Faults with real engines, under a steady load: processes and servers are killed, frozen, cut off, slowed and robbed
//! of what they had. Whatever it is, every acknowledged callback is followed to the log and to its bill: none is lost,
//! none charged twice, none answered too late; and what the table *When something is down* promises meanwhile is so.
//! Each prints a line of numbers.

use std::time::Instant;

use anyhow::Result;
use tests::load::Load;
use tests::nats::Nats;
use tests::wire::Wire;
use tests::world::{POLICY, WALLET};
use tests::{World, books};

use told::Told;

mod broker;
#[cfg(target_os = "linux")]
mod clock;
mod credit;
#[cfg(target_os = "linux")]
mod doors;
mod processes;
mod tables;
mod told;

/// Calls that begin in a second; each is three callbacks.
const PER_SECOND: u32 = 30;
/// Calls before the fault, and after what was broken is whole again.
const BEFORE: usize = 40;
const AFTER: usize = 100;
const TOP_UP: i64 = 1_000_000;

/// Where callbacks go, and where those that are not taken there.
const DOORS: [&str; 2] = ["ingress-1", "ingress-2"];
const STAFF: [&str; 6] = ["billing", "worker-1", "worker-2", "ingress-1", "ingress-2", "api"];

/// Two doors, two workers and billing, each a process, on NATS with keys and on Redis.
async fn installation() -> Result<World> {
    provisioned("")?.staffed(&STAFF).await
}

/// Servers with all that roles need of them, and no role yet.
fn provisioned(settings: &str) -> Result<World> {
    let world = World::on_servers(Nats::with_keys()?, POLICY, settings)?;
    world.provision(&[])?;
    Ok(world)
}

/// The same, with a wire of their own between these roles and the broker.
async fn wired(roles: &[&str]) -> Result<(World, Wire)> {
    let mut world = provisioned("")?;
    let wire = Wire::to(world.servers()?.0.port()).await?;
    for role in roles {
        world.set(role, "CALLBUS__BUS__URL", format!("nats://127.0.0.1:{}", wire.port()));
    }
    Ok((world, wire))
}

/// Calls come in; something breaks and is mended again; calls go on as before; the books are counted.
async fn under_load(
    name: &str,
    world: World,
    fault: impl AsyncFnOnce(&mut World, &Load) -> Result<()>,
) -> Result<Told> {
    let told = suffer(name, world, TOP_UP, fault).await?;
    told.came_back()?;
    Ok(told)
}

/// The same for what is not mended, or with another wallet: nobody looks how calls go on.
async fn suffer(
    name: &str,
    mut world: World,
    top_up: i64,
    fault: impl AsyncFnOnce(&mut World, &Load) -> Result<()>,
) -> Result<Told> {
    world.top_up(WALLET, &top_up.to_string()).await?;
    let load = Load::start(&world, &DOORS, PER_SECOND)?;
    load.more(BEFORE).await?;
    let broke = Instant::now();
    fault(&mut world, &load).await?;
    load.more(AFTER).await?;
    let calls = load.stop().await?;
    let books = books::of(&world, &calls, top_up).await?;
    let told = Told { name: name.to_owned(), world, calls, books, broke };
    told.print();
    told.holds()?;
    Ok(told)
}
