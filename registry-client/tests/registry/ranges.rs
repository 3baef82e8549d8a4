//! Long blobs: fetched in ranges side by side, from registries that have ranges, have none, cut them and lie about them.

use crate::common::{PATIENCE, Peer, client, code, pattern};
use axum::http::StatusCode;
use std::time::Duration;
use strongroom_devkit::registry::{Fault, Gate, Target, Times};
use strongroom_registry_client::{Access, Blob, BlobStream, Patience, Ranges, RegistryClient};
use strongroom_wire::{Code, Result};

const LENGTH: usize = 1_000_000;
const RANGE: u64 = 100_000;

struct Long {
    peer: Peer,
    blob: Blob,
    client: RegistryClient,
}

impl Long {
    async fn pushed(ahead: u32) -> Self {
        let peer = Peer::start().await;
        let blob = Blob::bytes(pattern(LENGTH));
        peer.client.push_blob("a/b", &blob).await.unwrap();
        peer.registry.requests().clear();
        let ranges = Ranges { length: RANGE, ahead };
        let client = client(&peer.registry, Access { ranges, ..Access::default() });
        Self { peer, blob, client }
    }

    fn fault(&self, times: Times, fault: Fault) {
        self.peer.registry.faults().set(Target::Blob(self.blob.digest()), times, fault);
    }

    fn stream(&self) -> BlobStream {
        self.client.blob_stream("a/b", self.blob.digest(), self.blob.size()).unwrap()
    }

    async fn pull(&self) -> Result<Vec<u8>> {
        read(self.stream()).await
    }

    fn asked(&self) -> Vec<Option<String>> {
        self.peer.registry.requests().all().into_iter().map(|request| request.range).collect()
    }
}

async fn read(mut stream: BlobStream) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    while let Some(chunk) = stream.next().await? {
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}

/// The first and the last offset of a range.
fn bounds(range: &Option<String>) -> (u64, u64) {
    let (first, last) = range.as_deref().unwrap().strip_prefix("bytes=").unwrap().split_once('-').unwrap();
    let last = if last.is_empty() { LENGTH as u64 - 1 } else { last.parse().unwrap() };
    (first.parse().unwrap(), last)
}

#[tokio::test]
async fn every_range_fetched_once_and_put_in_order() {
    for ahead in [1, 3, 20] {
        let long = Long::pushed(ahead).await;
        assert_eq!(long.pull().await.unwrap(), pattern(LENGTH));
        assert!(long.asked().len() >= 9, "{ahead} ahead: a rest of two may come as one");
        let mut ranges: Vec<_> = long.asked().iter().map(bounds).collect();
        ranges.sort_unstable();
        let mut end = 0;
        for (first, last) in ranges {
            assert_eq!(first, end, "{ahead} ahead: no gap, and nothing twice");
            end = last + 1;
        }
        assert_eq!(end, LENGTH as u64, "{ahead} ahead");
    }
    let long = Long::pushed(0).await;
    assert_eq!(long.pull().await.unwrap(), pattern(LENGTH));
    assert_eq!(long.asked(), [None]);
}

#[tokio::test]
async fn registry_without_ranges_asked_for_all_of_it_once() {
    let long = Long::pushed(3).await;
    long.fault(Times::Always, Fault::IgnoreRange);
    assert_eq!(long.pull().await.unwrap(), pattern(LENGTH));
    assert_eq!(long.asked().len(), 1);
}

#[tokio::test]
async fn registry_that_loses_its_ranges_gives_the_rest_in_one() {
    for fault in [Fault::IgnoreRange, Fault::Retag("\"other\"")] {
        let long = Long::pushed(1).await;
        let mut stream = long.stream();
        let first = stream.next().await.unwrap().unwrap();
        long.fault(Times::Always, fault);
        let rest = read(stream).await.unwrap();
        assert_eq!([first.to_vec(), rest].concat(), pattern(LENGTH));
        assert!(long.asked().len() < 6, "{:?}", long.asked());
    }
}

#[tokio::test]
async fn cut_of_every_range_at_every_quarter_resumed() {
    for quarter in 0..4 {
        let mut long = Long::pushed(3).await;
        // Chance may have one range meet all of the cuts.
        let patience = Patience { attempts: 11, ..PATIENCE };
        let ranges = Ranges { length: RANGE, ahead: 3 };
        let access = Access { plain_http: true, patience, ranges, ..Access::default() };
        long.client = RegistryClient::new(&long.peer.registry.addr().to_string(), access).unwrap();
        long.fault(Times::Next(10), Fault::Truncate { after: quarter * RANGE / 4 });
        assert_eq!(long.pull().await.unwrap(), pattern(LENGTH), "quarter {quarter}");
        assert_eq!(long.peer.registry.faults().armed(), 0);
    }
}

#[tokio::test]
async fn flipped_bit_of_any_range_refused() {
    let long = Long::pushed(3).await;
    for at in [0, 450_000, LENGTH as u64 - 1] {
        long.fault(Times::Always, Fault::FlipBit { at });
        assert_eq!(code(long.pull().await), Code::LayerDigestMismatch, "{at}");
        long.peer.registry.faults().clear();
    }
}

#[tokio::test]
async fn ranges_of_other_content_refused() {
    let long = Long::pushed(3).await;
    for (length, want) in [
        (LENGTH, Code::LayerDigestMismatch),
        (LENGTH + 1, Code::LayerSizeMismatch),
        (LENGTH - 1, Code::LayerSizeMismatch),
        (10, Code::LayerSizeMismatch),
    ] {
        long.fault(Times::Always, Fault::Serve(vec![7; length].into()));
        assert_eq!(code(long.pull().await), want, "{length}");
        long.peer.registry.faults().clear();
    }
}

#[tokio::test]
async fn no_more_fetched_ahead_than_there_is_room_for() {
    let long = Long::pushed(3).await;
    let gate = Gate::closed();
    long.fault(Times::Always, Fault::StallBody { after: 10, gate: gate.clone() });
    let (client, blob) = (long.client.clone(), long.blob.clone());
    // Two blobs share the room, and each takes a connection of its own from it but for the first.
    let pulls = [0, 1].map(|_| {
        let stream = client.blob_stream("a/b", blob.digest(), blob.size()).unwrap();
        tokio::spawn(read(stream))
    });
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(long.asked().len(), 1 + 3);
    gate.open();
    for pull in pulls {
        assert_eq!(pull.await.unwrap().unwrap(), pattern(LENGTH));
    }
}

#[tokio::test]
async fn failing_ranges_given_up_after_one_more_try_with_a_single_connection() {
    let long = Long::pushed(3).await;
    // The first answer is the true one, and no other: how many ranges were asked for by then is no matter of time.
    long.fault(Times::Next(1), Fault::FlipBit { at: u64::MAX });
    let down = Fault::Status { status: StatusCode::SERVICE_UNAVAILABLE, retry_after: None };
    long.fault(Times::Always, down);
    assert_eq!(code(long.pull().await), Code::RegistryFailed);
    assert!(long.asked().len() <= 1 + (3 + 1) * PATIENCE.attempts as usize, "{}", long.asked().len());
}
