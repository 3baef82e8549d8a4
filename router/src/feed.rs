//! What is known of leases: fetched, verified, and only as long as it is fresh.

use core::time::Duration;
use http::{Method, Request, Uri};
use std::sync::{Mutex, PoisonError};
use std::time::{Instant, SystemTime, UNIX_EPOCH};
use strongroom_jose::TokenVerifier;
use strongroom_transport::http::empty;
use strongroom_transport::{HttpClient, read_body};
use strongroom_wire::feed::{AGE, AUDIENCE, Feed};
use strongroom_wire::{Code, Refusal, Result, limits};
use tokio::time::timeout;

/// How long a verifier may keep an answer back until there is something new.
const WAIT: u64 = 1;
/// How long a verifier may take, all in all.
const ANSWER: Duration = Duration::from_secs(3);

/// The newest feed, and those who give it.
pub(crate) struct Feeds {
    client: HttpClient,
    key: TokenVerifier,
    /// Each with a query, which is gone on with.
    urls: Vec<String>,
    newest: Mutex<Option<Received>>,
}

struct Received {
    feed: Feed,
    /// The host's clock may be set back; this one is not.
    at: Instant,
}

impl Feeds {
    pub(crate) const fn new(client: HttpClient, key: TokenVerifier, urls: Vec<String>) -> Self {
        Self { client, key, urls, newest: Mutex::new(None) }
    }

    /// Asks the verifier number `turn` for a feed, and takes it.
    ///
    /// # Errors
    /// Those of the connection; `registry-failed` is none of them: another status than 200 is `verifier-refused`. `token-invalid`,
    /// `too-large`; `feed-rolled-back`.
    pub(crate) async fn renew(&self, turn: usize) -> Result<()> {
        let after = self.sequence();
        let url = self.urls.get(turn % self.urls.len().max(1)).map_or("", String::as_str);
        let uri = format!("{url}&after={after}&wait={WAIT}");
        let uri = Uri::try_from(&uri).map_err(|e| Refusal::new(Code::ConfigurationInvalid, "`feeds`").because(e))?;
        let mut request = Request::new(empty());
        (*request.method_mut(), *request.uri_mut()) = (Method::GET, uri);
        let answer = async {
            let response = self.client.send(request, ANSWER).await?;
            if response.status() != http::StatusCode::OK {
                return Err(Refusal::new(Code::VerifierRefused, url).got(response.status()).want("200"));
            }
            read_body(response.into_body(), limits::TOKEN, url).await
        };
        let slow = |_| Refusal::new(Code::Timeout, url).want(format!("an answer within {ANSWER:?}"));
        let body = timeout(ANSWER, answer).await.map_err(slow)??;
        let token = core::str::from_utf8(&body).map_err(|e| Refusal::malformed("feed of leases", e))?;
        self.take(token.trim_ascii(), now(), Instant::now())
    }

    /// Verifies a feed and puts it in the place of the last one.
    fn take(&self, token: &str, now: u64, at: Instant) -> Result<()> {
        let feed: Feed = self.key.verify(token, now, AUDIENCE)?;
        feed.verify_sound()?;
        let mut newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        let before = newest.as_ref().map_or(0, |received| received.feed.seq);
        if feed.seq <= before {
            return Err(Refusal::new(Code::FeedRolledBack, "sequence of the feed")
                .got(feed.seq)
                .want(format!("above {before}")));
        }
        *newest = Some(Received { feed, at });
        Ok(())
    }

    fn sequence(&self) -> u64 {
        let newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        newest.as_ref().map_or(0, |received| received.feed.seq)
    }

    /// What `read` takes from the newest feed, where that is fresh, and from the time.
    ///
    /// # Errors
    /// `feed-stale`.
    pub(crate) fn read<T>(&self, read: impl FnOnce(&Feed, u64) -> T) -> Result<T> {
        self.read_at(now(), Instant::now(), read)
    }

    fn read_at<T>(&self, now: u64, at: Instant, read: impl FnOnce(&Feed, u64) -> T) -> Result<T> {
        let newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        let stale = |got: String| Refusal::new(Code::FeedStale, "leases").got(got).want(format!("at most {AGE} s old"));
        let Received { feed, at: received } = newest.as_ref().ok_or_else(|| stale("none yet".into()))?;
        // By both clocks: one may be wrong, and neither may prolong what the other has ended.
        let held = at.saturating_duration_since(*received);
        if held >= Duration::from_secs(AGE) || now >= feed.exp {
            return Err(stale(format!("received {} s ago, until {} and it is {now}", held.as_secs(), feed.exp)));
        }
        // A lease ends by the verifier's clock, too, however slow this host's is.
        Ok(read(feed, now.max(feed.iat.saturating_add(held.as_secs()))))
    }
}

pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;
    use strongroom_jose::TokenSigner;
    use strongroom_transport::ServerTrust;

    struct Stage {
        signer: TokenSigner,
        feeds: Feeds,
        began: Instant,
    }

    impl Stage {
        fn new() -> Self {
            let signer = TokenSigner::generate().unwrap();
            let client = HttpClient::new(&ServerTrust::Pin([0; 32]), false).unwrap();
            let key = TokenVerifier::new(signer.spki_der()).unwrap();
            Self { signer, feeds: Feeds::new(client, key, vec!["https://v?key=k".into()]), began: Instant::now() }
        }

        fn signed(&self, seq: u64, iat: u64) -> String {
            self.signer.sign(&feed(seq, iat)).unwrap()
        }

        fn take(&self, token: &str, now: u64) -> Option<Code> {
            self.feeds.take(token, now, self.began).err().map(|refusal| refusal.code)
        }

        fn read(&self, now: u64, after: Duration) -> core::result::Result<u64, Code> {
            self.feeds.read_at(now, self.began + after, |feed, _| feed.seq).map_err(|refusal| refusal.code)
        }
    }

    fn feed(seq: u64, iat: u64) -> Feed {
        let (aud, iss) = (AUDIENCE.to_owned(), "verifier".to_owned());
        Feed { aud, iss, iat, exp: iat + AGE, seq, tenants: BTreeMap::new(), routes: BTreeMap::new() }
    }

    #[test]
    fn feed_is_read_until_either_clock_says_that_it_is_old() {
        let stage = Stage::new();
        assert_eq!(stage.read(100, Duration::ZERO), Err(Code::FeedStale), "none yet");
        assert_eq!(stage.take(&stage.signed(1, 100), 100), None);
        assert_eq!(stage.read(104, Duration::from_millis(4999)), Ok(1));
        assert_eq!(stage.read(105, Duration::ZERO), Err(Code::FeedStale));
        assert_eq!(stage.read(100, Duration::from_secs(5)), Err(Code::FeedStale), "the host's clock was set back");
    }

    #[test]
    fn lease_ends_by_the_verifier_s_clock_where_the_host_s_is_slow() {
        let stage = Stage::new();
        assert_eq!(stage.take(&stage.signed(1, 160), 100), None, "as much as clocks may differ");
        let time =
            |now, after| stage.feeds.read_at(now, stage.began + Duration::from_secs(after), |_, now| now).unwrap();
        assert_eq!([time(100, 0), time(100, 4), time(163, 0)], [160, 164, 163]);
    }

    #[test]
    fn feed_that_is_newer_accepted_and_the_same_or_an_older_one_refused() {
        let stage = Stage::new();
        for (seq, want) in [(5, None), (5, Some(Code::FeedRolledBack)), (4, Some(Code::FeedRolledBack)), (6, None)] {
            assert_eq!(stage.take(&stage.signed(seq, 100), 100), want, "{seq}");
        }
        assert_eq!(stage.read(100, Duration::ZERO), Ok(6));
    }

    #[test]
    fn feed_by_another_key_for_others_expired_or_unsound_refused() {
        let stage = Stage::new();
        let invalid = Some(Code::TokenInvalid);
        assert_eq!(stage.take(&TokenSigner::generate().unwrap().sign(&feed(1, 100)).unwrap(), 100), invalid);
        let sign = |feed: &Feed| stage.signer.sign(feed).unwrap();
        assert_eq!(stage.take(&sign(&Feed { aud: "strongroom-kbs".into(), ..feed(1, 100) }), 100), invalid);
        assert_eq!(stage.take(&sign(&feed(1, 100)), 105), invalid);
        assert_eq!(stage.take(&sign(&Feed { exp: 106, ..feed(1, 100) }), 100), invalid);
        assert_eq!(stage.take("x", 100), invalid);
        assert_eq!(stage.take(&sign(&feed(1, 100)), 100), None);
    }
}
