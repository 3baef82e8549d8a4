//! One question at a time: whoever wants what is already being fetched waits for it, and shares what came of it.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use strongroom_wire::Result;
use tokio::sync::OnceCell;

type Flight<T> = Arc<OnceCell<Result<T>>>;

/// The fetches of this process that are under way, by what they are for.
#[derive(Debug)]
pub(crate) struct Flights<T>(Mutex<HashMap<PathBuf, Flight<T>>>);

impl<T> Default for Flights<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T: Clone> Flights<T> {
    /// What `work` comes to, or the same work of somebody who came first: its refusal too, or each who waits would ask the
    /// service once more. Where the first gives up waiting, the next one works.
    pub(crate) async fn join(&self, name: &Path, work: impl Future<Output = Result<T>>) -> Result<T> {
        let flight = Arc::clone(self.flights().entry(name.to_owned()).or_default());
        let outcome = flight.get_or_init(|| work).await.clone();
        let mut flights = self.flights();
        if flights.get(name).is_some_and(|current| Arc::ptr_eq(current, &flight)) {
            flights.remove(name);
        }
        outcome
    }

    /// A panic between two map operations leaves the map whole.
    fn flights(&self) -> MutexGuard<'_, HashMap<PathBuf, Flight<T>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use core::time::Duration;
    use std::sync::atomic::{AtomicU32, Ordering};
    use strongroom_wire::{Code, Refusal};

    #[tokio::test]
    async fn work_under_way_is_shared_and_work_that_is_over_is_not() {
        let (flights, runs) = (Flights::<Bytes>::default(), AtomicU32::new(0));
        let work = || async {
            tokio::time::sleep(Duration::from_millis(20)).await;
            runs.fetch_add(1, Ordering::Relaxed);
            Err(Refusal::new(Code::EndorsementUnavailable, "test"))
        };
        let name = Path::new("a");
        let (one, two, other) =
            tokio::join!(flights.join(name, work()), flights.join(name, work()), flights.join(Path::new("b"), work()));
        assert_eq!((&one, &one), (&two, &other));
        assert_eq!(runs.load(Ordering::Relaxed), 2);
        assert_eq!(flights.join(name, work()).await, one);
        assert_eq!(runs.load(Ordering::Relaxed), 3);
        assert!(flights.flights().is_empty());
    }

    #[tokio::test]
    async fn work_that_is_abandoned_is_done_by_the_next() {
        let (flights, name) = (Flights::default(), Path::new("a"));
        let never = flights.join(name, core::future::pending());
        assert!(tokio::time::timeout(Duration::from_millis(10), never).await.is_err());
        let done = flights.join(name, async { Ok(Bytes::from_static(b"x")) }).await;
        assert_eq!(done.unwrap(), Bytes::from_static(b"x"));
    }
}
