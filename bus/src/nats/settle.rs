//! Telling the broker what has become of the events it handed out.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::AckKind;
use async_nats::jetstream::message::Acker;
use tokio::time::Instant;

use super::Broker;
use super::append::headers_of;
use super::dead::put_aside;
use crate::bus::Recorded;
use crate::error::Unavailable;
use crate::lanes::Receipt;

/// How often the broker hears that what is held is not forgotten; well below its time-out.
const PROGRESS_EVERY: Duration = Duration::from_secs(10);
/// How often an acknowledgement is tried; after that the event comes again.
const ACK_ATTEMPTS: u32 = 3;
const ACK_PAUSE: Duration = Duration::from_secs(1);

/// What acknowledges one event.
pub(crate) type NatsReceipt = Arc<Acker>;

/// Settles with the broker.
#[derive(Clone)]
pub(crate) struct NatsSettle {
    broker: Broker,
    consumer: String,
    progressed: Instant,
}

impl NatsSettle {
    pub(super) fn new(broker: Broker, consumer: String) -> Self {
        Self { broker, consumer, progressed: Instant::now() }
    }

    /// Acknowledges and waits until the broker has it: a lost acknowledgement would repeat a settled event.
    pub(crate) async fn done(&self, receipt: &NatsReceipt) {
        for _ in 0..ACK_ATTEMPTS {
            match self.broker.call("acknowledge an event", receipt.double_ack()).await {
                Ok(()) => return,
                Err(error) => tracing::warn!(%error, consumer = self.consumer, "an event may come again"),
            }
            tokio::time::sleep(ACK_PAUSE).await;
        }
    }

    pub(crate) async fn dead(&self, recorded: &Recorded, reason: &str) -> Result<(), Unavailable> {
        let event = &recorded.event;
        let headers = headers_of(&event.headers()).map_err(|error| Unavailable::new("write a dead letter", error))?;
        let subject = event.subject.to_string();
        put_aside(&self.broker, &self.consumer, recorded.seq, &subject, headers, event.data.clone(), reason).await
    }

    /// Tells the broker that what is held is not forgotten.
    pub(crate) async fn keep(&mut self, held: &BTreeMap<u64, Receipt>) {
        if self.progressed.elapsed() < PROGRESS_EVERY {
            return;
        }
        self.progressed = Instant::now();
        let tell = async {
            for receipt in held.values() {
                if let Receipt::Nats(acker) = receipt {
                    acker
                        .ack_with(AckKind::Progress)
                        .await
                        .map_err(|error| Unavailable::new("say that events are in work", error))?;
                }
            }
            Ok::<_, Unavailable>(())
        };
        if let Err(error) = self.broker.bounded("say that events are in work", tell).await.and_then(|told| told) {
            tracing::warn!(%error, consumer = self.consumer, "events in work may be handed out again");
        }
    }
}
