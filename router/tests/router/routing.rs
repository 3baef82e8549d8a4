//! Who gets which connection, and who gets none.

use crate::stage::{Guest, Stage, ask, gauge};
use strongroom_wire::feed::BackendState::{Draining, Live, Revoked};
use strongroom_wire::feed::Share;
use strongroom_wire::limits;

/// Why a client's handshake did not end.
fn alert(error: &std::io::Error) -> String {
    error.to_string()
}

#[tokio::test]
async fn connection_reaches_the_guest_of_its_name_and_tls_is_between_client_and_guest() {
    let stage = Stage::start().await;
    let (embed, chat) = (Guest::start("embed").await, Guest::start("chat").await);
    stage.route("embed.example", &[("1", &embed, Live)]);
    stage.route("chat.example", &[("2", &chat, Live)]);
    stage.told().await;
    for (name, guest) in [("embed.example", &embed), ("CHAT.example", &chat)] {
        let mut stream = stage.connect(name, guest.pin).await.unwrap();
        let want = name.split('.').next().unwrap().to_lowercase();
        assert_eq!(ask(&mut stream, "hello").await.unwrap(), format!("{want} hello"));
    }
    assert!(stage.connect("embed.example", chat.pin).await.is_err(), "the router has no key to end TLS with");
}

#[tokio::test]
async fn names_without_a_route_and_bytes_that_are_no_hello_get_an_alert_and_nothing_else() {
    let stage = Stage::start().await;
    let guest = Guest::start("guest").await;
    stage.route("embed.example", &[("1", &guest, Live)]);
    stage.told().await;
    let unknown = stage.connect("other.example", guest.pin).await.unwrap_err();
    assert!(alert(&unknown).contains("UnrecognisedName") || alert(&unknown).contains("UnrecognizedName"), "{unknown}");
    for bytes in [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0x16; 100]] {
        assert_eq!(stage.send(bytes).await, [21, 3, 3, 0, 2, 2, 80]);
    }
    // The beginning of a ClientHello that is longer than is read, in a record of the longest.
    let long = [[0x16, 3, 1, 0x40, 0].as_slice(), &[1, 0, 0xff, 0xff], &[0; 0x3ffc]].concat();
    assert!(long.len() > limits::CLIENT_HELLO);
    assert_eq!(stage.send(&long).await, [21, 3, 3, 0, 2, 2, 80]);
    let metrics = stage.get("/metrics").await.1;
    assert!(metrics.contains("connections_total{code=\"route-unknown\"} 1"), "{metrics}");
    assert!(metrics.contains("connections_total{code=\"request-invalid\"} 2"), "{metrics}");
    assert!(metrics.contains("connections_total{code=\"too-large\"} 1"), "{metrics}");
    stage.until(|text| gauge(text, "connections") == 0).await;
}

#[tokio::test]
async fn stale_feed_opens_no_connection_and_closes_none() {
    let stage = Stage::start().await;
    let guest = Guest::start("guest").await;
    stage.route("embed.example", &[("1", &guest, Live)]);
    stage.told().await;
    let mut open = stage.connect("embed.example", guest.pin).await.unwrap();
    assert_eq!(stage.get("/readyz").await.0, 200);
    stage.say(|says| says.silent = true);
    stage.until(|text| gauge(text, "feed_sequence") == 0).await;
    assert_eq!(stage.get("/readyz").await, (503, "feed-stale\n".to_owned()));
    assert!(stage.connect("embed.example", guest.pin).await.is_err());
    assert_eq!(ask(&mut open, "still").await.unwrap(), "guest still");
    stage.say(|says| says.silent = false);
    stage.told().await;
    assert!(stage.connect("embed.example", guest.pin).await.is_ok());
    let metrics = stage.get("/metrics").await.1;
    assert!(metrics.contains("connections_total{code=\"feed-stale\"} 1"), "{metrics}");
    assert!(metrics.contains("feeds_refused_total{code=\"verifier-refused\"}"), "{metrics}");
}

#[tokio::test]
async fn guest_that_drains_keeps_its_streams_and_one_that_is_revoked_loses_them() {
    let stage = Stage::start().await;
    let (old, new) = (Guest::start("old").await, Guest::start("new").await);
    stage.route("embed.example", &[("1", &old, Live)]);
    stage.told().await;
    let mut kept = stage.connect("embed.example", old.pin).await.unwrap();
    stage.route("embed.example", &[("1", &old, Draining), ("2", &new, Live)]);
    stage.told().await;
    for _ in 0..4 {
        let mut stream = stage.connect("embed.example", new.pin).await.unwrap();
        assert_eq!(ask(&mut stream, "x").await.unwrap(), "new x");
    }
    assert_eq!(ask(&mut kept, "x").await.unwrap(), "old x");
    // Its lease is gone altogether: what it has may finish.
    stage.route("embed.example", &[("2", &new, Live)]);
    stage.told().await;
    assert_eq!(ask(&mut kept, "x").await.unwrap(), "old x");
    let mut other = stage.connect("embed.example", new.pin).await.unwrap();
    stage.route("embed.example", &[("1", &old, Revoked), ("2", &new, Live)]);
    stage.told().await;
    assert!(!matches!(ask(&mut kept, "x").await.as_deref(), Ok("old x")), "cut off");
    assert_eq!(ask(&mut other, "x").await.unwrap(), "new x");
}

#[tokio::test]
async fn connections_go_to_who_has_the_fewest_and_pass_by_who_cannot_be_reached() {
    let stage = Stage::start().await;
    let (a, b) = (Guest::start("a").await, Guest::start("b").await);
    let gone = Guest::at(std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap());
    stage.route("embed.example", &[("1", &a, Live), ("2", &b, Live), ("3", &gone, Live)]);
    stage.told().await;
    // Whom a connection reaches is not known before, and whose key it has shows in the handshake.
    let mut open = Vec::new();
    for _ in 0..10 {
        open.push(stage.connect_to_any("embed.example", &[&a, &b]).await);
    }
    let of_a = open.iter().filter(|(_, which)| *which == 0).count();
    assert_eq!((of_a, open.len() - of_a), (5, 5));
    // Three of a's end: the next three are its own.
    for _ in 0..3 {
        let at = open.iter().position(|(_, which)| *which == 0).unwrap();
        open.remove(at);
    }
    stage.until(|text| gauge(text, "connections_of_guests") == 7).await;
    for _ in 0..3 {
        let (stream, which) = stage.connect_to_any("embed.example", &[&a, &b]).await;
        assert_eq!(which, 0);
        open.push((stream, which));
    }
    stage.until(|text| gauge(text, "backends_reachable") == 2 && gauge(text, "backends") == 3).await;
}

#[tokio::test]
async fn route_whose_guests_cannot_be_reached_refused() {
    let stage = Stage::start().await;
    let gone = Guest::at(std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap());
    stage.route("embed.example", &[("1", &gone, Live)]);
    stage.route("none.example", &[]);
    stage.told().await;
    for name in ["embed.example", "none.example"] {
        assert!(stage.connect(name, gone.pin).await.is_err());
    }
    assert!(stage.get("/metrics").await.1.contains("connections_total{code=\"no-backend\"} 2"));
}

#[tokio::test]
async fn tenant_at_its_share_is_refused_until_a_connection_of_its_own_ends() {
    let stage = Stage::start().await;
    let guest = Guest::start("guest").await;
    stage.route("embed.example", &[("1", &guest, Live)]);
    stage.say(|says| says.share = Share { connections: 1, per_second: 1000 });
    stage.told().await;
    let first = stage.connect("embed.example", guest.pin).await.unwrap();
    assert!(stage.connect("embed.example", guest.pin).await.is_err());
    drop(first);
    stage.until(|text| gauge(text, "connections") == 0).await;
    assert!(stage.connect("embed.example", guest.pin).await.is_ok());
    assert!(stage.get("/metrics").await.1.contains("connections_total{code=\"busy\"} 1"));
}

#[tokio::test]
async fn client_that_does_not_end_holds_no_place_once_its_guest_has() {
    let stage = Stage::start().await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let guest = Guest::at(listener.local_addr().unwrap());
    // Takes connections, reads what comes first, and ends.
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move { drop(tokio::io::AsyncReadExt::read(&mut stream, &mut [0; 4096]).await) });
        }
    });
    stage.route("embed.example", &[("1", &guest, Live)]);
    stage.told().await;
    let mut client = stage.hello("embed.example").await;
    let mut rest = Vec::new();
    drop(tokio::io::AsyncReadExt::read_to_end(&mut client, &mut rest).await);
    // The client's own half is open still.
    stage.until(|text| gauge(text, "connections_of_guests") == 0 && gauge(text, "connections") == 0).await;
    drop(client);
}

#[tokio::test]
async fn stop_lets_open_streams_go_on_until_the_grace_ends() {
    let stage = Stage::start().await;
    let guest = Guest::start("guest").await;
    stage.route("embed.example", &[("1", &guest, Live)]);
    stage.told().await;
    let mut open = stage.connect("embed.example", guest.pin).await.unwrap();
    stage.stop.send_replace(true);
    // It is closed to new ones first.
    while tokio::net::TcpStream::connect(stage.addr).await.is_ok() {
        tokio::task::yield_now().await;
    }
    assert_eq!(ask(&mut open, "x").await.unwrap(), "guest x");
    stage.running.await.unwrap().unwrap();
    assert!(!matches!(ask(&mut open, "x").await.as_deref(), Ok("guest x")));
}
