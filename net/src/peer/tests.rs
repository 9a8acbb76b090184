//! Peers on real sockets: who gets in, what survives which fault.

use super::*;
use crate::{Host, Listener, Notify, run, sleep, spawn, timeout};
use std::cell::Cell;
use std::io;
use std::rc::Rc;
use std::time::Duration;

fn credentials(member: u64, secret: Option<&str>) -> Credentials {
    Credentials {
        cluster: [9; 16],
        member,
        directory: [member as u8; 16],
        secret: secret.map(|text| Secret::new(text.as_bytes())),
    }
}

fn listener() -> Listener {
    Host::real().listen("127.0.0.1:0".parse().expect("an address"), 16).expect("a free port")
}

/// What both ends say of one handshake.
fn meet(
    caller: Credentials,
    taker: Credentials,
    admits: bool,
) -> (Result<Session, HandshakeError>, Result<Session, HandshakeError>) {
    run(async move {
        let host = Host::real();
        let listener = listener();
        let address = listener.local_address();
        let taken = spawn(async move {
            let (conn, _) = listener.accept().await.expect("a connection");
            let mut random = Host::real().rng("taker");
            accept(conn, &taker, &mut random, |_| if admits { Ok(()) } else { Err(Refusal::NotAMember) })
                .await
        });
        let conn = host.connect(address).await.expect("a connection");
        let dialled = dial(conn, &caller, 2, 7, &mut host.rng("caller")).await;
        (dialled, taken.await.expect("no panic"))
    })
    .expect("a runtime")
}

fn text(outcome: &Result<Session, HandshakeError>) -> String {
    match outcome {
        Ok(session) => format!("member {} for {}", session.remote().member, session.purpose()),
        Err(error) => error.to_string(),
    }
}

#[test]
fn both_sides_know_each_other_or_say_why_not() {
    let other = Credentials { cluster: [8; 16], ..credentials(2, Some("s")) };
    for (caller, taker, admits, dialled, taken) in [
        (credentials(1, Some("s")), credentials(2, Some("s")), true, "member 2 for 7", "member 1 for 7"),
        (credentials(1, None), credentials(2, None), true, "member 2 for 7", "member 1 for 7"),
        (
            credentials(1, Some("s")),
            credentials(2, Some("t")),
            true,
            "the other side refused: the peer secrets differ",
            "refused: the peer secrets differ",
        ),
        (
            credentials(1, None),
            credentials(2, Some("s")),
            true,
            "the other side refused: one side has a peer secret, the other has none",
            "refused: one side has a peer secret, the other has none",
        ),
        (
            credentials(1, Some("s")),
            credentials(2, None),
            true,
            "the other side refused: one side has a peer secret, the other has none",
            "refused: one side has a peer secret, the other has none",
        ),
        (
            credentials(1, Some("s")),
            other,
            true,
            "the other side refused: it belongs to another cluster",
            "refused: it belongs to another cluster",
        ),
        (
            credentials(1, Some("s")),
            credentials(2, Some("s")),
            false,
            "the other side refused: the caller is no member that it knows",
            "refused: the caller is no member that it knows",
        ),
    ] {
        let (found_dialled, found_taken) = meet(caller, taker, admits);
        assert_eq!((&*text(&found_dialled), &*text(&found_taken)), (dialled, taken));
    }
}

#[test]
fn a_taker_without_the_secret_is_found_out_though_it_answers() {
    // It takes any proof and sends bytes of the right length for its own.
    let outcome = run(async {
        let host = Host::real();
        let listener = listener();
        let address = listener.local_address();
        spawn(async move {
            let (conn, _) = listener.accept().await.expect("a connection");
            let mut hello = Vec::new();
            let _ = conn.read(&mut hello).await;
            let mut outgoing = frame::Outgoing::default();
            let mut challenge = [0; 88];
            challenge[..8].copy_from_slice(b"RAMKPEER");
            (challenge[8], challenge[10]) = (1, 1);
            challenge[16..32].copy_from_slice(&[9; 16]);
            outgoing.push(0xf2, |buffer| buffer.extend_from_slice(&challenge));
            outgoing.push(0xf4, |buffer| buffer.extend_from_slice(&[1; 32]));
            let _ = outgoing.flush(|bytes| conn.try_write(bytes));
            sleep(Duration::from_secs(5)).await;
        });
        let conn = host.connect(address).await.expect("a connection");
        dial(conn, &credentials(1, Some("s")), 2, 7, &mut host.rng("caller")).await
    });
    assert_eq!(text(&outcome.expect("a runtime")), "refused: the peer secrets differ");
}

#[test]
fn strangers_are_no_harm() {
    run(async {
        for bytes in [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0xff; 400], &[0; 400], b"*1\r\n$4\r\nPING\r\n"] {
            let listener = listener();
            let address = listener.local_address();
            let bytes = bytes.to_vec();
            spawn(async move {
                let conn = Host::real().connect(address).await.expect("a connection");
                let _ = conn.try_write(&bytes);
                let _ = conn.shutdown_write();
                sleep(Duration::from_secs(5)).await;
            });
            let (conn, _) = listener.accept().await.expect("a connection");
            let mut random = Host::real().rng("taker");
            let outcome = accept(conn, &credentials(2, Some("s")), &mut random, |_| Ok(())).await;
            assert!(outcome.is_err());
        }
    })
    .expect("a runtime");
}

fn link(port: u16, pending_bytes_max: usize) -> Rc<Link> {
    let options = LinkOptions {
        host: "127.0.0.1".into(),
        port,
        to: 2,
        purpose: 1,
        pending_bytes_max,
        label: "test".into(),
    };
    Link::new(Host::real(), credentials(1, Some("s")), options, |_| Ok(()))
}

async fn take(listener: &Listener) -> Session {
    let (conn, _) = listener.accept().await.expect("a connection");
    let mut random = Host::real().rng("taker");
    accept(conn, &credentials(2, Some("s")), &mut random, |_| Ok(())).await.expect("a session")
}

async fn until(what: impl Fn() -> bool) {
    let waiting = async {
        while !what() {
            sleep(Duration::from_millis(1)).await;
        }
    };
    timeout(Duration::from_secs(10), waiting).await.expect("it happens within ten seconds");
}

#[test]
fn a_slow_reader_gets_all_that_was_taken_in_order_and_the_rest_is_dropped() {
    run(async {
        let listener = listener();
        let link = link(listener.local_address().port(), 8 << 20);
        spawn(Rc::clone(&link).run());
        let session = take(&listener).await;
        until(|| link.is_connected()).await;
        let mut taken = Vec::new();
        for number in 0..200u32 {
            let body = vec![number as u8; 100_000 + number as usize];
            if link.send(3, |buffer| buffer.extend_from_slice(&body)) {
                taken.push(body);
            }
            link.flush();
        }
        let counts = link.counts();
        assert!(counts.dropped > 0 && counts.sent as usize == taken.len() && taken.len() > 50, "{counts:?}");
        for body in taken {
            let frame = session.receive_within(Duration::from_secs(5)).await.expect("a frame");
            assert_eq!((frame.kind, &frame.body[..]), (3, &body[..]));
        }
    })
    .expect("a runtime");
}

#[test]
fn a_link_connects_again_after_its_peer_was_gone_and_after_a_cut() {
    run(async {
        let listener = listener();
        let link = link(listener.local_address().port(), 1 << 20);
        spawn(Rc::clone(&link).run());
        for round in 1..4u64 {
            let session = take(&listener).await;
            until(|| link.is_connected()).await;
            assert_eq!(link.counts().connected, round);
            assert!(link.send(1, |buffer| buffer.push(round as u8)));
            link.flush();
            let frame = session.receive_within(Duration::from_secs(5)).await.expect("a frame");
            assert_eq!(frame.body[..], [round as u8]);
            if round == 2 {
                link.cut(true);
                let end = session.receive_within(Duration::from_secs(5)).await;
                assert_eq!(end.expect_err("an end").kind(), io::ErrorKind::UnexpectedEof);
                assert!(!link.send(1, |_| {}), "nothing is taken while cut");
                link.cut(false);
            }
        }
    })
    .expect("a runtime");
}

#[test]
fn a_peer_that_falls_silent_is_connected_to_anew() {
    run(async {
        let listener = listener();
        let link = link(listener.local_address().port(), 1 << 20);
        spawn(Rc::clone(&link).run());
        // It neither reads nor answers, as a machine behind a cut does.
        let silent = take(&listener).await;
        let again = Rc::new(Cell::new(false));
        let done = Rc::new(Notify::new());
        let (seen, told) = (Rc::clone(&again), Rc::clone(&done));
        spawn(async move {
            let session = take(&listener).await;
            seen.set(true);
            told.notify_one();
            let _ = session.receive().await;
        });
        timeout(Duration::from_secs(6), done.notified()).await.expect("it connects anew");
        assert!(again.get());
        drop(silent);
    })
    .expect("a runtime");
}
