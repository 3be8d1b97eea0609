//! What there is to tell of a fault.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use proto::Kind;
use tests::World;
use tests::books::Books;
use tests::load::{Call, Failed, Sent};

/// An answer that took longer was noticed by whoever waits on the phone.
const NOTICED: Duration = Duration::from_secs(1);

/// Why a fallback answers where no worker does.
pub(crate) const NO_WORKERS: [&str; 4] = ["NO_WORKER", "WORKER_LATE", "WORKERS_BUSY", "WORKERS_UNREACHABLE"];

/// So many calls at the end of a load tell whether all is as before.
const LAST: usize = 30;

/// A load that met a fault, and what came of it.
pub(crate) struct Told {
    pub(crate) name: String,
    pub(crate) world: World,
    pub(crate) calls: Vec<Call>,
    pub(crate) books: Books,
    pub(crate) broke: Instant,
}

impl Told {
    /// One line of numbers, as docs/durability.md shows them.
    #[expect(clippy::print_stdout, reason = "the numbers are for whoever runs the suite")]
    pub(crate) fn print(&self) {
        let mut took: Vec<Duration> = self.sent().filter(|sent| sent.answer.is_some()).map(|sent| sent.took).collect();
        took.sort();
        let millis =
            |percent: usize| took.get(took.len() * percent / 100).or(took.last()).map_or(0, Duration::as_millis);
        let reasons: Vec<String> = self.books.reasons.iter().map(|(why, count)| format!("{count} {why}")).collect();
        println!(
            "| {} | {} | {} | {} | {} | {} | {} | {} / {} / {} | {} | {} | {} | {} | {} |",
            self.name,
            self.calls.len(),
            self.sent().count(),
            took.len(),
            self.by_the_second_door(),
            self.not_acknowledged(),
            reasons.join(", "),
            millis(50),
            millis(99),
            millis(100),
            secs(self.normal_after()),
            secs(self.books.settled_after),
            self.late(),
            self.books.missing.len(),
            self.books.charged_twice.len(),
        );
    }

    /// What holds whatever breaks.
    pub(crate) fn holds(&self) -> Result<()> {
        let Books { missing, charged_twice, .. } = &self.books;
        ensure!(
            missing.is_empty(),
            "{}: {} are missing: {:#?}",
            self.name,
            missing.len(),
            &missing[..missing.len().min(10)]
        );
        ensure!(charged_twice.is_empty(), "{}: charged twice: {charged_twice:?}", self.name);
        ensure!(self.late() == 0, "{}: {} answers were late", self.name, self.late());
        let connected = self.calls.iter().filter(|call| call.is_connected && call.has_acknowledged(Kind::Dice));
        ensure!(self.books.charged >= connected.count(), "{}: a call was not charged", self.name);
        Ok(())
    }

    /// The last calls were as always.
    pub(crate) fn came_back(&self) -> Result<()> {
        let strange = self.calls.iter().rev().take(LAST).find(|call| !is_normal(call));
        ensure!(strange.is_none(), "{}: it did not come back: {strange:#?}", self.name);
        Ok(())
    }

    /// Every callback was taken at the first door, and a worker gave every answer.
    pub(crate) fn was_not_noticed(&self) -> Result<()> {
        ensure!(self.by_the_second_door() == 0 && self.not_acknowledged() == 0, "{}: not at the first door", self.name);
        self.all_were_let_through()
    }

    /// The policy's yes was every answer.
    pub(crate) fn all_were_let_through(&self) -> Result<()> {
        ensure!(self.books.reasons.is_empty(), "{}: {:?}", self.name, self.books.reasons);
        Ok(())
    }

    /// Answers for one of these reasons.
    pub(crate) fn answered_for(&self, reasons: &[&str]) -> usize {
        reasons.iter().filter_map(|reason| self.books.reasons.get(*reason)).sum()
    }

    /// Every callback was acknowledged, at one door or the other.
    pub(crate) fn all_were_acknowledged(&self) -> Result<()> {
        ensure!(self.not_acknowledged() == 0, "{}: {} were not acknowledged", self.name, self.not_acknowledged());
        Ok(())
    }

    fn sent(&self) -> impl Iterator<Item = &Sent> {
        self.calls.iter().flat_map(|call| &call.sent)
    }

    pub(crate) fn by_the_second_door(&self) -> usize {
        self.sent().filter(|sent| sent.answer.is_some() && !sent.failed.is_empty()).count()
    }

    pub(crate) fn not_acknowledged(&self) -> usize {
        self.sent().filter(|sent| sent.answer.is_none()).count()
    }

    /// Doors that said nothing within the platform's patience.
    fn late(&self) -> usize {
        self.sent().filter(|sent| sent.failed.contains(&Failed::Late)).count()
    }

    /// From the fault to the end of the last call that was not as always.
    fn normal_after(&self) -> Duration {
        let ends = self.calls.iter().filter(|call| !is_normal(call)).flat_map(|call| &call.sent);
        ends.map(|sent| (sent.began + sent.took).saturating_duration_since(self.broke)).max().unwrap_or_default()
    }
}

/// Let through, at the first door, at once.
fn is_normal(call: &Call) -> bool {
    call.is_connected
        && call.sent.iter().all(|sent| sent.answer.is_some() && sent.failed.is_empty() && sent.took < NOTICED)
}

fn secs(time: Duration) -> String {
    format!("{}.{} s", time.as_secs(), time.subsec_millis() / 100)
}
