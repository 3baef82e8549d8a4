//! The feed for routers: who holds a lease, in an order that nobody can turn back.

use crate::enclave::{Enclave, PERMIT_ROUTES};
use crate::leases::{put_routes, table};
use crate::revocations::put;
use crate::world::{AUTHORIZATION, World};
use http::Method;
use std::time::{Duration, Instant};
use strongroom_jose::TokenVerifier;
use strongroom_wire::bytes::from_base64;
use strongroom_wire::feed::{AUDIENCE, BackendState, Feed, PATH};

async fn routed() -> (World, Vec<u8>) {
    let (world, document) = World::ready().await;
    world.authorize(&format!("{AUTHORIZATION}\n{PERMIT_ROUTES}")).await;
    put_routes(&world, &table(&document)).await;
    (world, document)
}

/// A feed, verified as a router does.
async fn feed(world: &World, query: &str) -> Feed {
    let answer = world.kbs(Method::GET, &format!("{PATH}{query}"), &[], vec![]).await;
    assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
    let issuer = from_base64(&world.identity.token_key, "token key").unwrap();
    let token = String::from_utf8(answer.body).unwrap();
    let feed: Feed = TokenVerifier::new(&issuer).unwrap().verify(&token, world.now(), AUDIENCE).unwrap();
    feed.verify_sound().unwrap();
    feed
}

async fn after(world: &World, seq: u64) -> Feed {
    feed(world, &format!("?after={seq}&wait=1")).await
}

fn state(feed: &Feed, enclave: &Enclave<'_>) -> Option<BackendState> {
    feed.routes["embed.example"].backends.get(&enclave.thumbprint()).map(|backend| backend.state)
}

#[tokio::test]
async fn enclave_with_a_lease_is_in_the_next_feed_and_one_without_is_not() {
    let (world, document) = routed().await;
    let first = feed(&world, "").await;
    assert_eq!((first.tenants["search"].connections, first.routes["embed.example"].backends.len()), (100, 0));
    let (one, other) = (Enclave::with_key(&world, &document).await, Enclave::launch(&world, &document));
    one.lease().await;
    let next = after(&world, first.seq).await;
    assert!(next.seq > first.seq);
    assert_eq!((state(&next, &one), state(&next, &other)), (Some(BackendState::Live), None));
    let backend = next.routes["embed.example"].backends[&one.thumbprint()];
    assert_eq!((backend.addr, backend.expires), ("127.0.0.1:4433".parse().unwrap(), world.now() + 300));
    // Once the table names its document no more it gets no connections, whatever its lease says.
    put_routes(&world, &table(b"another")).await;
    assert_eq!(state(&after(&world, next.seq).await, &one), None);
}

#[tokio::test]
async fn revoked_enclave_is_told_of_at_once_and_the_other_goes_on() {
    let (world, document) = routed().await;
    let [one, other] = [Enclave::with_key(&world, &document).await, Enclave::launch(&world, &document)];
    one.lease().await;
    other.lease().await;
    let before = feed(&world, "").await;
    let waiting = after(&world, before.seq);
    let revoking = async {
        put(&world, "revoked", "identity", &one.thumbprint()).await;
        Instant::now()
    };
    let (mut told, revoked) = tokio::join!(waiting, revoking);
    while state(&told, &one) != Some(BackendState::Revoked) {
        told = after(&world, told.seq).await;
    }
    assert!(revoked.elapsed() < Duration::from_secs(1), "{:?}", revoked.elapsed());
    assert_eq!(state(&told, &other), Some(BackendState::Live));
    // Long after its lease ended it is still told of, so that its streams end.
    world.pass(3000);
    other.lease().await;
    let later = after(&world, told.seq).await;
    assert_eq!(state(&later, &one), Some(BackendState::Revoked));
    world.pass(1000);
    other.lease().await;
    assert_eq!(state(&after(&world, later.seq).await, &one), None, "forgotten, as its streams are");
}

#[tokio::test]
async fn sequence_goes_up_over_a_restart_and_with_a_clock_that_went_back() {
    let (mut world, document) = routed().await;
    let mut last = feed(&world, "").await.seq;
    for _ in 0..3 {
        let next = after(&world, last).await.seq;
        assert!(next > last);
        last = next;
    }
    world.restart().await;
    Enclave::with_key(&world, &document).await.lease().await;
    let next = after(&world, last).await.seq;
    assert!(next > last, "{next} {last}");
}

#[tokio::test]
async fn router_that_knows_an_older_token_key_is_answered_by_that() {
    let (world, _) = routed().await;
    let issuer = TokenVerifier::new(&from_base64(&world.identity.token_key, "token key").unwrap()).unwrap();
    let kid = world.kbs(Method::GET, "/.well-known/jwks.json", &[], vec![]).await.json()["keys"][0]["kid"].clone();
    world.pass(1);
    assert_eq!(world.admin(Method::POST, "token-key", vec![]).await.status, 201);
    for (query, known) in [(format!("?key={}", kid.as_str().unwrap()), true), (String::new(), false)] {
        let answer = world.kbs(Method::GET, &format!("{PATH}{query}"), &[], vec![]).await;
        let token = String::from_utf8(answer.body).unwrap();
        assert_eq!(issuer.verify::<Feed>(&token, world.now(), AUDIENCE).is_ok(), known, "{query}");
    }
}

#[tokio::test]
async fn feed_that_is_fresh_is_given_to_all_alike_and_a_query_that_is_none_refused() {
    let (world, _) = routed().await;
    let [one, two] = [feed(&world, "").await, feed(&world, "?after=0&wait=1").await];
    assert_eq!(one.seq, two.seq);
    for query in ["?after=x", "?before=1", "?wait=2000"] {
        let answer = world.kbs(Method::GET, &format!("{PATH}{query}"), &[], vec![]).await;
        assert_eq!((answer.status.as_u16(), answer.code()), (400, "request-invalid".into()), "{query}");
    }
}

#[tokio::test]
async fn feed_is_answered_to_whoever_asks_though_strangers_hold_every_place_to_wait() {
    let (world, _) = routed().await;
    let last = feed(&world, "").await.seq;
    // Nothing is ever newer than what these know.
    let stranger = || async { feed(&world, &format!("?after={}&wait=1", u64::MAX)).await };
    let strangers = futures_util::future::join_all((0..80).map(|_| stranger()));
    let router = async { after(&world, last).await.seq };
    let (feeds, seq) = tokio::join!(strangers, router);
    assert_eq!(feeds.len(), 80);
    assert!(seq >= last);
}

#[tokio::test]
async fn guest_whose_lease_ended_takes_no_place_in_the_feed_and_one_that_is_revoked_does() {
    let (world, document) = routed().await;
    let enclave = Enclave::with_key(&world, &document).await;
    enclave.lease().await;
    let live = feed(&world, "").await;
    assert_eq!(state(&live, &enclave), Some(BackendState::Live));
    world.pass(300);
    let ended = after(&world, live.seq).await;
    assert_eq!(state(&ended, &enclave), None);
    assert_eq!(put(&world, "revoked", "identity", &enclave.thumbprint()).await.status, 200);
    assert_eq!(state(&after(&world, ended.seq).await, &enclave), Some(BackendState::Revoked));
}
