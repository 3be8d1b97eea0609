//! What somebody gave us to show at every question, and takes back some time: made once for all who need it.

use std::future::Future;
use std::sync::Arc;

use jiff::Timestamp;
use tokio::sync::Mutex;

/// What there is, until it runs out.
#[derive(Debug)]
pub(crate) struct Session<T>(Mutex<Option<(Arc<T>, Timestamp)>>);

impl<T> Default for Session<T> {
    fn default() -> Self {
        Self(Mutex::new(None))
    }
}

impl<T> Session<T> {
    /// The one there is, unless it has run out or is the one that was refused. `make` says until when a new one is good;
    /// who comes while it is made waits for that.
    ///
    /// # Errors
    /// Those of `make`, of which nothing is kept.
    pub(crate) async fn get<F, E>(
        &self,
        refused: Option<&Arc<T>>,
        now: Timestamp,
        make: impl FnOnce() -> F,
    ) -> Result<Arc<T>, E>
    where
        F: Future<Output = Result<(T, Timestamp), E>>,
    {
        let mut kept = self.0.lock().await;
        if let Some((found, good_until)) = &*kept
            && *good_until > now
            && refused.is_none_or(|refused| !Arc::ptr_eq(found, refused))
        {
            return Ok(Arc::clone(found));
        }
        *kept = None;
        let (made, good_until) = make().await?;
        let made = Arc::new(made);
        *kept = Some((Arc::clone(&made), good_until));
        Ok(made)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use futures::future::join_all;
    use jiff::SignedDuration;

    use super::*;

    /// Says which one there is at this time, each good for a minute, and made so that others come meanwhile.
    async fn ask(session: &Session<u32>, made: &AtomicU32, refused: Option<&Arc<u32>>, secs: i64) -> Arc<u32> {
        let now = Timestamp::UNIX_EPOCH + SignedDuration::from_secs(secs);
        let make = || async {
            tokio::task::yield_now().await;
            let number = made.fetch_add(1, Ordering::SeqCst) + 1;
            Ok::<_, String>((number, now + SignedDuration::from_secs(60)))
        };
        session.get(refused, now, make).await.expect("one")
    }

    #[tokio::test]
    async fn one_is_made_for_all_until_it_runs_out_or_is_refused() {
        let (session, made) = (Session::default(), AtomicU32::new(0));
        let first = join_all((0..9).map(|_| ask(&session, &made, None, 0))).await;
        assert!(first.iter().all(|one| **one == 1));
        assert_eq!((*ask(&session, &made, None, 59).await, *ask(&session, &made, None, 60).await), (1, 2));
        // Those who were refused the old one come with it; only the first of those with the new one has another made.
        let second = ask(&session, &made, None, 61).await;
        assert_eq!(*ask(&session, &made, Some(&first[0]), 61).await, 2);
        let third = join_all((0..9).map(|_| ask(&session, &made, Some(&second), 61))).await;
        assert!(third.iter().all(|one| **one == 3));
    }

    #[tokio::test]
    async fn of_what_fails_nothing_is_kept() {
        let session = Session::<u32>::default();
        let now = Timestamp::UNIX_EPOCH;
        let failed = session.get(None, now, || async { Err::<(u32, Timestamp), _>("no") }).await;
        assert_eq!(failed, Err("no"));
        let made = session.get(None, now, || async { Ok::<_, &str>((7, Timestamp::MAX)) }).await;
        assert_eq!(made.map(|made| *made), Ok(7));
    }
}
