//! What clients asked for, so that a test can say what they must and must not ask.

use http::header::RANGE;
use http::{HeaderMap, Method, Uri};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Requests remembered; older ones are forgotten, since a demo's registry runs for long.
const REMEMBERED: usize = 16 * 1024;

/// One request, as it arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recorded {
    /// The method.
    pub method: Method,
    /// The path, without the query.
    pub path: String,
    /// The query, still escaped.
    pub query: Option<String>,
    /// The `Range` header.
    pub range: Option<String>,
}

/// The requests of one registry in the order of their arrival, refused ones too. Clones are the same record.
#[derive(Debug, Clone, Default)]
pub struct Requests(Arc<Mutex<VecDeque<Recorded>>>);

impl Requests {
    /// All requests since the last [`Self::clear`], of the latest 16,384.
    pub fn all(&self) -> Vec<Recorded> {
        self.lock().iter().cloned().collect()
    }

    /// How many requests of `method` there were whose path ends in `path_end`.
    pub fn count(&self, method: &Method, path_end: &str) -> usize {
        self.lock().iter().filter(|one| one.method == *method && one.path.ends_with(path_end)).count()
    }

    /// Forgets all requests.
    pub fn clear(&self) {
        self.lock().clear();
    }

    pub(super) fn record(&self, method: &Method, uri: &Uri, headers: &HeaderMap) {
        let range = headers.get(RANGE).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let query = uri.query().map(str::to_owned);
        let mut requests = self.lock();
        if requests.len() >= REMEMBERED {
            requests.pop_front();
        }
        requests.push_back(Recorded { method: method.clone(), path: uri.path().to_owned(), query, range });
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Recorded>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn oldest_request_is_forgotten_over_the_limit() {
        let requests = Requests::default();
        for n in 0..=REMEMBERED {
            requests.record(&Method::GET, &format!("/{n}").parse().unwrap(), &HeaderMap::new());
        }
        assert_eq!(requests.all().len(), REMEMBERED);
        assert_eq!(requests.all()[0].path, "/1");
        assert_eq!(requests.count(&Method::GET, "/16384"), 1);
        assert_eq!(requests.count(&Method::HEAD, "/16384"), 0);
    }
}
