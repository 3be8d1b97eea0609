//! The role: follows the log and writes what it says, batch by batch.

use std::time::Duration;

use bus::{Bus, Events};
use metrics::gauge;
use proto::{Filter, Stream};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::batch::Batch;
use crate::entries::Wallets;
use crate::error::Error;
use crate::store::{Cursor, Store};
use crate::writer::Writer;

/// Rows written together; the last event may bring a few hundred more.
const BATCH_ROWS_MAX: usize = 5_000;
/// Who is level with the log looks again after this.
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(100);
/// The database or the log is away.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// How often it is counted how far the tables are behind.
const COUNT_EVERY: Duration = Duration::from_secs(5);
/// What the tables are made of.
const STREAMS: [Stream; 3] = [Stream::Calls, Stream::Wallets, Stream::Deliveries];
/// Who stands by asks for the lock this often.
const STAND_BY: Duration = Duration::from_secs(1);

/// Keeps the tables.
#[derive(Debug)]
pub struct Views {
    store: Store,
    bus: Bus,
}

impl Views {
    pub fn new(store: Store, bus: Bus) -> Self {
        Self { store, bus }
    }

    /// Works until asked to stop. While the database or the log is away it waits, and nobody else does.
    pub async fn run(self, stop: CancellationToken) {
        let following = async {
            loop {
                match self.follow().await {
                    Err(Error::Moved) => tracing::info!("the tables were emptied or written by another: reading anew"),
                    Err(lost @ Error::Lost { .. }) => {
                        tracing::warn!(%lost, "the tables are made anew");
                        if let Err(error) = self.store.clear().await {
                            tracing::warn!(%error, "the tables are emptied later");
                        }
                    }
                    Err(error) => tracing::warn!(%error, "views wait"),
                    Ok(never) => match never {},
                }
                sleep(RETRY_AFTER).await;
            }
        };
        // Wherever it is dropped: what is not committed is written again.
        stop.run_until_cancelled(async { tokio::join!(following, self.count()) }).await;
    }

    /// Says how far the tables are behind, also while the database is away.
    #[expect(clippy::disallowed_types, reason = "a gauge is a float; no amount is near")]
    async fn count(&self) {
        let mut known = STREAMS.map(|stream| (stream, 0));
        loop {
            for (stream, seq) in &mut known {
                *seq = self.store.seq(*stream).await.unwrap_or(*seq);
                if let Ok(end) = self.bus.last_seq(&Filter::All(*stream)).await {
                    let consumer = format!("views-{}", stream.name().to_lowercase());
                    gauge!("callbus_consumer_lag", "consumer" => consumer).set(end.saturating_sub(*seq) as f64);
                }
            }
            sleep(COUNT_EVERY).await;
        }
    }

    async fn follow(&self) -> Result<std::convert::Infallible, Error> {
        let mut writer = loop {
            match Writer::open(&self.store).await? {
                Some(writer) => break writer,
                None => sleep(STAND_BY).await,
            }
        };
        let mut readings = Vec::new();
        for stream in STREAMS {
            readings.push(Reading::begin(&self.bus, &self.store, stream).await?);
        }
        loop {
            let mut moved = false;
            for reading in &mut readings {
                moved |= reading.step(&mut writer).await?;
            }
            if !moved {
                sleep(LOOK_AGAIN_AFTER).await;
            }
        }
    }
}

impl Store {
    /// Makes the tables where they are missing, unless somebody who keeps them has.
    ///
    /// # Errors
    /// When the database cannot be reached, or does not let us.
    pub async fn prepare(&self) -> Result<(), Error> {
        Writer::open(self).await.map(drop)
    }
}

/// One stream on its way into the tables.
struct Reading {
    bus: Bus,
    store: Store,
    stream: Stream,
    /// Up to here rows are written.
    written: u64,
    /// Up to here events are read.
    read: Cursor,
    events: Option<Events>,
    wallets: Wallets,
    /// Read while the batch before it was written.
    next: Option<(Cursor, Batch)>,
}

impl Reading {
    async fn begin(bus: &Bus, store: &Store, stream: Stream) -> Result<Self, Error> {
        let read = store.cursor(stream).await?;
        let wallets = Wallets::begun_at(read.seq);
        Ok(Self {
            bus: bus.clone(),
            store: store.clone(),
            stream,
            written: read.seq,
            read,
            events: None,
            wallets,
            next: None,
        })
    }

    /// Writes a batch, and reads the next one meanwhile. False when there is nothing to write.
    async fn step(&mut self, writer: &mut Writer) -> Result<bool, Error> {
        let (to, batch) = match self.next.take() {
            Some(next) => next,
            None => self.gather().await?,
        };
        if to.seq == self.written {
            // Who empties the tables tells nobody.
            return if self.store.seq(self.stream).await? == to.seq { Ok(false) } else { Err(Error::Moved) };
        }
        let statements = batch.into_statements(writer.engine());
        let (stream, from) = (self.stream, self.written);
        let (written, next) = tokio::join!(writer.write(stream, from, &to, statements), self.gather());
        written?;
        self.written = to.seq;
        self.next = Some(next?).filter(|(next, _)| next.seq > to.seq);
        Ok(true)
    }

    async fn gather(&mut self) -> Result<(Cursor, Batch), Error> {
        let mut batch = Batch::default();
        let mut events = match self.events.take() {
            Some(events) => events,
            None => match self.read_on().await? {
                Some(events) => events,
                None => return Ok((self.read.clone(), batch)),
            },
        };
        while batch.rows() < BATCH_ROWS_MAX {
            let Some(recorded) = events.next().await? else {
                self.passed(events.passed_seq());
                return Ok((self.read.clone(), batch));
            };
            match self.stream {
                Stream::Calls => batch.take(recorded.seq, &recorded.event),
                Stream::Wallets => batch.entries.extend(self.wallets.rows(&self.bus, &recorded).await?),
                Stream::Deliveries => batch.take_delivery(recorded.seq, &recorded.event),
                Stream::Config => {}
            }
            self.read = Cursor { seq: recorded.seq, id: Some(recorded.event.id.to_string()) };
        }
        self.passed(events.passed_seq());
        self.events = Some(events);
        Ok((self.read.clone(), batch))
    }

    /// Behind the last event there may be something that is none.
    fn passed(&mut self, seq: u64) {
        if seq != self.read.seq {
            self.read = Cursor { seq, id: None };
        }
    }

    /// The events after the last one that was read, which must still be there; nothing where the log ends.
    async fn read_on(&mut self) -> Result<Option<Events>, Error> {
        let (filter, Cursor { seq, id }) = (Filter::All(self.stream), &self.read);
        let lost = Error::Lost { stream: self.stream.name(), seq: *seq };
        let end = self.bus.last_seq(&filter).await?;
        let Some(id) = id.as_deref().filter(|_| end > *seq) else {
            return if end < *seq { Err(lost) } else { Ok((end > *seq).then(|| self.bus.events(&filter, *seq))) };
        };
        let mut events = self.bus.events(&filter, seq.saturating_sub(1));
        match events.next().await? {
            Some(last) if last.seq == *seq && last.event.id.as_str() == id => Ok(Some(events)),
            Some(_) | None => Err(lost),
        }
    }
}
