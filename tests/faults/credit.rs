//! Redis, where credit is held, is killed, slowed and emptied. Nobody is let through whom nobody holds credit for.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use money::Micros;
use tests::books;
use tests::wire::Wire;
use tokio::time::sleep;

use crate::{STAFF, installation, provisioned, suffer, under_load};

const AWAY: Duration = Duration::from_secs(4);
/// What a call is held for, before it is known what it costs.
const HELD: &str = "12";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_is_killed() -> Result<()> {
    let mut gone = None;
    let told = under_load("kill -9 of Redis", installation().await?, async |world, _| {
        world.servers()?.1.kill();
        let since = Instant::now();
        sleep(AWAY).await;
        gone = Some(since..Instant::now());
        world.servers()?.1.restart()
    });
    let told = told.await?;
    let gone = gone.into_iter().next();
    let uncovered = told.calls.iter().filter(|call| {
        let ice = call.sent.first().map(|ice| ice.began..ice.began + ice.took);
        call.is_connected
            && ice.zip(gone.clone()).is_some_and(|(ice, gone)| gone.start < ice.start && ice.end < gone.end)
    });
    ensure!(uncovered.count() == 0, "a call was let through while nobody could hold credit");
    ensure!(told.answered_for(&["ADMISSION_DOWN"]) > 50, "{:?}", told.books.reasons);
    ensure!(told.by_the_second_door() == 0, "a refusal is an answer");
    told.all_were_acknowledged()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_is_slow() -> Result<()> {
    let mut world = provisioned("")?;
    let wire = Wire::to(world.servers()?.1.port()).await?;
    for role in STAFF {
        world.set(role, "CALLBUS__ADMISSION__URL", format!("redis://127.0.0.1:{}", wire.port()));
    }
    let told = under_load("Redis slow: 20 ms, then 400 ms each way", world.staffed(&STAFF).await?, async |_, load| {
        wire.slow(Duration::from_millis(20));
        load.more(60).await?;
        wire.slow(Duration::from_millis(400));
        sleep(AWAY).await;
        wire.mend();
        Ok(())
    });
    let told = told.await?;
    ensure!(told.answered_for(&["ADMISSION_DOWN"]) > 30, "{:?}", told.books.reasons);
    ensure!(told.by_the_second_door() == 0, "a refusal is an answer");
    told.all_were_acknowledged()
}

/// With money for five calls at a time, and many more asked for.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_is_emptied_again_and_again() -> Result<()> {
    let told = suffer("Redis emptied six times, credit for 5 calls", installation().await?, 60, async |world, load| {
        for lost in 0..6 {
            load.more(30).await?;
            let redis = world.servers()?.1;
            if lost == 3 {
                redis.restart()?;
            } else {
                let mut connection = redis::Client::open(redis.url())?.get_multiplexed_async_connection().await?;
                let _: () = redis::cmd("FLUSHALL").query_async(&mut connection).await?;
            }
        }
        Ok(())
    });
    let told = told.await?;
    ensure!(told.books.charged > 20 && told.answered_for(&["NO_CREDIT"]) > 20, "credit is short, and used");
    // Exposed are those that were decided at a loss and not in the log yet: what was asked for at that moment.
    let (overdrawn, most) = (books::overdrawn(&told.world).await?, Micros::parse(HELD)?.get() * 5);
    ensure!(overdrawn.get() <= most, "{overdrawn} beyond what the wallet had");
    let is_told = told.world.said("billing")?.contains("a call was let through that the wallet cannot pay for");
    ensure!((overdrawn > Micros::ZERO) == is_told, "exposure is said: {overdrawn}");
    told.all_were_acknowledged()
}
