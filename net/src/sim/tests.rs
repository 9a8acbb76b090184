//! The simulated world keeps its promises, and keeps them the same way twice.

use super::*;
use crate::random::Draw;
use crate::{ShutdownSignal, timeout, yield_now};
use std::cell::{Cell, RefCell};
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

const PORT: u16 = 6379;
const HOUR: Duration = Duration::from_secs(3600);

fn in_world<T: Send + 'static, F: Future<Output = T> + 'static>(
    seed: u64,
    body: impl FnOnce(World) -> F + Send,
) -> T {
    simulate(seed, WorldOptions::default(), HOUR, body)
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Two nodes, a server that echoes on the second, and its address.
async fn echo_world(world: &World) -> (NodeId, NodeId, SocketAddr) {
    let (client, server) = (world.add_node("client", "a"), world.add_node("server", "b"));
    start_echo(world, server);
    sleep(Duration::from_millis(1)).await;
    (client, server, SocketAddr::new(world.address(server), PORT))
}

fn start_echo(world: &World, server: NodeId) {
    world.start(server, |host| async move {
        let listener = host.listen(([0, 0, 0, 0], PORT).into(), 16).unwrap();
        loop {
            let (conn, _) = listener.accept().await.unwrap();
            host.spawn(async move {
                let mut buffer = Vec::with_capacity(1 << 12);
                while conn.read(&mut buffer).await? > 0 {
                    conn.write_all(&buffer).await?;
                    buffer.clear();
                }
                Ok::<_, io::Error>(())
            });
        }
    });
}

async fn ask(conn: &Conn, text: &[u8]) -> io::Result<Vec<u8>> {
    conn.write_all(text).await?;
    let mut answer = Vec::with_capacity(text.len());
    while answer.len() < text.len() {
        if conn.read(&mut answer).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(answer)
}

#[test]
fn an_answer_takes_the_time_of_two_links_also_below_a_millisecond() {
    in_world(1, |world| async move {
        world.change_network(|network| network.link.latency_us = (100, 200));
        let (client, _, address) = echo_world(&world).await;
        let conn = world.host(client).connect(address).await.unwrap();
        let before_ns = world.now_ns();
        assert_eq!(ask(&conn, b"hello").await.unwrap(), b"hello");
        let took_ns = world.now_ns() - before_ns;
        assert!((200_000..450_000).contains(&took_ns), "{took_ns}");
        drop(conn);
        assert_eq!(world.network_counts().connected, 1);
    });
}

#[test]
fn a_caller_is_refused_by_a_machine_without_a_server_and_hears_nothing_from_one_without_power() {
    in_world(2, |world| async move {
        let (client, server, address) = echo_world(&world).await;
        let host = world.host(client);
        world.kill(server);
        assert_eq!(host.connect(address).await.err().unwrap().kind(), io::ErrorKind::ConnectionRefused);
        world.power_loss(server);
        let before_ns = world.now_ns();
        assert_eq!(host.connect(address).await.err().unwrap().kind(), io::ErrorKind::TimedOut);
        assert!(world.now_ns() - before_ns >= 20_000_000_000);
        start_echo(&world, server);
        sleep(Duration::from_millis(1)).await;
        world.cut(server, client);
        assert_eq!(
            host.connect(address).await.err().unwrap().kind(),
            io::ErrorKind::TimedOut,
            "answers are cut"
        );
        world.heal_all();
        assert_eq!(ask(&host.connect(address).await.unwrap(), b"x").await.unwrap(), b"x");
    });
}

#[test]
fn a_slow_reader_stops_the_writer_and_no_byte_is_lost() {
    in_world(3, |world| async move {
        world.change_network(|network| network.short_io = 0.3);
        let (client, server) = (world.add_node("client", "a"), world.add_node("server", "b"));
        let sent = Rc::new(Cell::new(0));
        let address = SocketAddr::new(world.address(server), PORT);
        let listener = world.host(server).listen(address, 1).unwrap();
        let conn = world.host(client).connect(address).await.unwrap();
        let total = 1 << 20;
        let bytes: Vec<u8> = (0..total).map(|index: u32| (index % 251) as u8).collect();
        let writer = spawn({
            let (sent, bytes) = (Rc::clone(&sent), bytes.clone());
            async move {
                for piece in bytes.chunks(10_000) {
                    conn.write_all(piece).await.unwrap();
                    sent.set(sent.get() + piece.len());
                }
            }
        });
        let (taken, _) = listener.accept().await.unwrap();
        sleep(seconds(10)).await;
        assert!((64 << 10..=140 << 10).contains(&sent.get()), "{} bytes are with the kernels", sent.get());
        let mut received = Vec::new();
        while taken.read(&mut received).await.unwrap() > 0 {}
        assert_eq!(received, bytes);
        writer.await.unwrap();
        let counts = world.network_counts();
        assert!(counts.short > 20 && counts.writes_blocked > 0, "{counts:?}");
    });
}

#[test]
fn a_cut_holds_bytes_in_one_direction_until_it_heals() {
    in_world(4, |world| async move {
        let (client, server, address) = echo_world(&world).await;
        let conn = world.host(client).connect(address).await.unwrap();
        ask(&conn, b"warm").await.unwrap();
        world.cut(server, client);
        let answer = timeout(seconds(30), ask(&conn, b"one")).await;
        assert!(answer.is_err(), "the answer is held");
        assert!(world.network_counts().segments_held > 0);
        world.heal(server, client);
        let mut buffer = Vec::with_capacity(8);
        assert_eq!(timeout(seconds(1), conn.read(&mut buffer)).await.unwrap().unwrap(), 3);
        world.stall(client, server, seconds(5));
        let before_ns = world.now_ns();
        ask(&conn, b"two").await.unwrap();
        assert!(world.now_ns() - before_ns >= 5_000_000_000);
    });
}

#[test]
fn a_sender_gives_up_on_silence() {
    in_world(5, |world| async move {
        world.change_network(|network| network.give_up_us = 30_000_000);
        let (client, server, address) = echo_world(&world).await;
        let conn = world.host(client).connect(address).await.unwrap();
        world.cut(client, server);
        let before_ns = world.now_ns();
        assert_eq!(ask(&conn, b"one").await.unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert!(world.now_ns() - before_ns >= 30_000_000_000);
        assert_eq!(world.network_counts().silences, 1);
    });
}

#[test]
fn a_killed_process_ends_its_connections_and_a_dark_machine_does_not() {
    in_world(6, |world| async move {
        let (client, server, address) = echo_world(&world).await;
        let host = world.host(client);
        let conn = host.connect(address).await.unwrap();
        ask(&conn, b"x").await.unwrap();
        world.kill(server);
        assert!(!world.is_running(server));
        let mut buffer = Vec::with_capacity(8);
        assert_eq!(timeout(seconds(1), conn.read(&mut buffer)).await.unwrap().unwrap(), 0, "end of stream");
        let _ = conn.try_write(b"more");
        sleep(seconds(1)).await;
        assert_eq!(conn.try_read(&mut buffer).unwrap_err().kind(), io::ErrorKind::ConnectionReset);

        start_echo(&world, server);
        sleep(seconds(1)).await;
        let conn = host.connect(address).await.unwrap();
        ask(&conn, b"x").await.unwrap();
        world.power_loss(server);
        assert!(timeout(seconds(60), conn.read(&mut buffer)).await.is_err(), "half open");
        assert_eq!(conn.try_write(b"anyone?").unwrap(), 7);
        start_echo(&world, server);
        let error = timeout(seconds(1), conn.read(&mut buffer)).await.unwrap().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset, "the new start knows nothing of it");
    });
}

#[test]
fn keepalive_finds_a_dark_machine() {
    in_world(7, |world| async move {
        let (client, server, address) = echo_world(&world).await;
        let conn = world.host(client).connect(address).await.unwrap();
        conn.set_keepalive(30).unwrap();
        sleep(seconds(300)).await;
        world.power_loss(server);
        let error = timeout(seconds(90), conn.read(&mut Vec::with_capacity(8))).await.unwrap().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    });
}

#[test]
fn a_random_reset_is_seen_at_both_ends() {
    in_world(8, |world| async move {
        let (client, server, address) = echo_world(&world).await;
        assert!(!world.reset_random(None));
        let conn = world.host(client).connect(address).await.unwrap();
        ask(&conn, b"x").await.unwrap();
        assert!(world.reset_random(Some(server)));
        assert_eq!(ask(&conn, b"x").await.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
        assert_eq!(world.network_counts().resets, 2);
    });
}

#[test]
fn a_paused_process_answers_when_it_goes_on_and_signals_arrive_in_order() {
    in_world(9, |world| async move {
        let (client, server, address) = echo_world(&world).await;
        let conn = world.host(client).connect(address).await.unwrap();
        ask(&conn, b"x").await.unwrap();
        world.pause(server);
        assert!(timeout(seconds(30), ask(&conn, b"y")).await.is_err());
        world.resume(server);
        assert_eq!(timeout(seconds(1), conn.read(&mut Vec::with_capacity(8))).await.unwrap().unwrap(), 1);

        let node = world.add_node("third", "a");
        let seen = Rc::new(RefCell::new(Vec::new()));
        world.start(node, {
            let seen = Rc::clone(&seen);
            |host| async move {
                let mut signals = host.shutdown_signals().unwrap();
                while seen.borrow().len() < 2 {
                    let signal = signals.next().await;
                    seen.borrow_mut().push(signal);
                }
            }
        });
        world.signal(node, ShutdownSignal::Terminate);
        world.signal(node, ShutdownSignal::Interrupt);
        world.exited(node).await;
        assert_eq!(*seen.borrow(), [ShutdownSignal::Terminate, ShutdownSignal::Interrupt]);
    });
}

#[test]
fn each_node_has_a_clock_of_its_own() {
    in_world(10, |world| async move {
        let (right, wrong) = (world.add_node("right", "a"), world.add_node("wrong", "a"));
        let (right, fast) = (world.host(right).clock(), world.host(wrong).clock());
        world.set_clock_rate(wrong, 100_000);
        let (right_ns, fast_ns) = (right.monotonic_ns(), fast.monotonic_ns());
        let before_ns = world.now_ns();
        fast.sleep(seconds(11)).await;
        assert!((9_999_000_000..10_010_000_000).contains(&(world.now_ns() - before_ns)));
        assert!(fast.monotonic_ns() - fast_ns >= 11_000_000_000);
        assert!(right.monotonic_ns() - right_ns < 10_100_000_000);
        let wall_us = fast.wall_us();
        world.jump_wall_clock(wrong, -3_600_000_000);
        assert_eq!(fast.wall_us(), wall_us - 3_600_000_000);
        assert!(fast.monotonic_ns() - fast_ns >= 11_000_000_000, "jumps are the wall clock's alone");
        world.power_loss(wrong);
        world.start(wrong, |_| async {});
        assert!(fast.monotonic_ns() < 120_000_000_000, "the machine has just started");
    });
}

#[test]
fn a_completed_write_survives_a_power_loss_and_one_under_way_may() {
    let (mut present, mut absent) = (0, 0);
    for seed in 0..40 {
        let is_present = in_world(seed, |world| async move {
            let node = world.add_node("n", "a");
            let completed = Rc::new(Cell::new(false));
            world.start(node, {
                let completed = Rc::clone(&completed);
                |host| async move {
                    let disk = host.disk("data").unwrap();
                    let file = disk.create("log", 8192).await.unwrap();
                    let buffer = file.write_at(0, vec![1; 512]).await.unwrap();
                    assert_eq!(buffer.len(), 512);
                    completed.set(true);
                    let _ = file.write_at(512, vec![2; 4096]).await;
                    std::future::pending().await
                }
            });
            while !completed.get() {
                yield_now().await;
            }
            time::pause_ns(world.rng("when").below(600_000)).await;
            world.power_loss(node);
            let found = Rc::new(RefCell::new(Vec::new()));
            world.start(node, {
                let found = Rc::clone(&found);
                |host| async move {
                    let disk = host.disk("data").unwrap();
                    assert_eq!(disk.list().await.unwrap(), ["log"]);
                    let file = disk.open("log").await.unwrap();
                    assert_eq!(file.len().unwrap(), 8192);
                    *found.borrow_mut() = file.read_at(0, 8192).await.unwrap();
                }
            });
            world.exited(node).await;
            let found = found.borrow();
            assert_eq!(found[..512], [1; 512]);
            assert!(found[512..4608].iter().all(|byte| [0, 2].contains(byte)));
            found[512..4608] == [2; 4096]
        });
        present += usize::from(is_present);
        absent += usize::from(!is_present);
    }
    assert!(present > 0 && absent > 0, "{present} {absent}");
}

#[test]
fn the_directory_is_locked_by_one_process_and_free_after_its_end() {
    in_world(11, |world| async move {
        let node = world.add_node("n", "a");
        for _ in 0..3 {
            world.start(node, |host| async move {
                let disk = host.disk("data").unwrap();
                assert_eq!(host.disk("data").err().unwrap().kind(), io::ErrorKind::ResourceBusy);
                drop(disk);
                let disk = host.disk("data").unwrap();
                disk.write_file_atomic("state", b"one".to_vec()).await.unwrap();
                assert_eq!(host.disk_read_only("data").unwrap().read_file("state").await.unwrap(), b"one");
                std::future::pending().await
            });
            sleep(seconds(1)).await;
            world.kill(node);
        }
    });
}

#[test]
fn disk_errors_keep_their_kind_and_close_the_file() {
    in_world(12, |world| async move {
        let node = world.add_node("n", "a");
        world.start(node, {
            let world = world.clone();
            move |host| async move {
                let disk = host.disk("data").unwrap();
                let file = disk.create("log", 4096).await.unwrap();
                world.with_disk(node, |disk| disk.set_capacity(5000));
                let error = disk.create("spare", 4096).await.err().unwrap();
                assert_eq!(error.kind(), io::ErrorKind::StorageFull);
                assert_eq!(disk.list().await.unwrap(), ["log"]);
                file.write_at(0, vec![1]).await.unwrap();
                world.with_disk(node, |disk| disk.faults.sync_error = 1.0);
                assert!(file.write_at(512, vec![1]).await.is_err());
                world.with_disk(node, |disk| disk.faults.sync_error = 0.0);
                assert!(file.write_at(1024, vec![1]).await.is_err(), "the file stays closed");
                assert!(file.read_at(0, 1).await.is_err());
                world.record("done", node, &[]);
            }
        });
        world.exited(node).await;
        assert_eq!(world.trace().last_events().iter().filter(|event| event.kind == "done").count(), 1);
    });
}

/// A process that writes while it stands still: what it wrote, what it was told, and how long that took it.
fn writes_standing(
    seed: u64,
    set: impl Fn(&mut crate::simdisk::SimDisk) + Copy + Send + 'static,
    end: impl Fn(&World, NodeId) + Copy + Send + 'static,
) -> (Vec<u8>, Vec<bool>, u64) {
    in_world(seed, move |world| async move {
        let node = world.add_node("n", "a");
        let told = Rc::new(RefCell::new((Vec::new(), 0)));
        world.start(node, {
            let (world, told) = (world.clone(), Rc::clone(&told));
            move |host| async move {
                let disk = host.disk("data").unwrap();
                let file = disk.create("log", 8192).await.unwrap();
                file.write_now(0, &[1; 512]).unwrap().unwrap();
                world.with_disk(node, set);
                end(&world, node);
                let began_ns = world.now_ns();
                for sector in 0..4 {
                    let outcome = file.write_now(512 * sector, &[2 + sector as u8; 512]).unwrap();
                    if !world.is_running(node) {
                        return;
                    }
                    told.borrow_mut().0.push(outcome.is_ok());
                }
                told.borrow_mut().1 = world.now_ns() - began_ns;
            }
        });
        world.exited(node).await;
        world.power_loss(node);
        let found = world.with_disk(node, |disk| {
            let file = disk.find("data/log").unwrap();
            disk.read(file, 0, 2048).unwrap()
        });
        let told = told.take();
        (found, told.0, told.1)
    })
}

#[test]
fn a_write_on_the_own_thread_takes_its_time_and_is_durable() {
    let slow = |disk: &mut crate::simdisk::SimDisk| disk.faults.latency.sync_us = (3_000, 3_000);
    let (found, told, took_ns) = writes_standing(21, slow, |_, _| {});
    assert_eq!(told, [true; 4]);
    assert!((12_000_000..14_000_000).contains(&took_ns), "four syncs of 3 ms: {took_ns} ns");
    assert!(
        (0..4).all(|sector| found[512 * sector..512 * (sector + 1)]
            .iter()
            .all(|byte| *byte == 2 + sector as u8))
    );
}

#[test]
fn a_failed_write_on_the_own_thread_closes_the_file() {
    type Set = fn(&mut crate::simdisk::SimDisk);
    let sync_fails: Set = |disk| disk.faults.sync_error = 1.0;
    let write_fails: Set = |disk| disk.faults.write_error = 1.0;
    for set in [sync_fails, write_fails] {
        let (_, told, _) = writes_standing(22, set, |_, _| {});
        assert_eq!(told, [false; 4]);
    }
}

/// An end between its steps: nobody hears of the write, and any part of it may be there.
#[test]
fn a_write_on_the_own_thread_may_be_the_last_thing_that_happens() {
    let (mut lost, mut kept) = (0, 0);
    for seed in 0..40 {
        let loses_power = seed % 2 == 0;
        let (found, told, _) = writes_standing(
            seed,
            |_| {},
            move |world, node| {
                if seed % 4 < 2 {
                    world.aim(node, 1, loses_power)
                } else {
                    world.arm(node, WRITTEN_NOT_SYNCED, 1, loses_power);
                }
            },
        );
        assert!(told.is_empty(), "{told:?}");
        lost += usize::from(found[..512] == [1; 512]);
        kept += usize::from(found[..512] == [2; 512]);
        assert!(found[512..].iter().all(|byte| *byte == 0), "what would have come next did not happen");
    }
    assert!(lost > 0 && kept > 0, "{lost} lost, {kept} kept");
}

/// Servers and clients under every kind of fault; the hash of all that happened.
fn messy(seed: u64) -> (u64, u64) {
    in_world(seed, |world| async move {
        world.change_network(|network| {
            network.short_io = 0.2;
            network.link.slow = 0.05;
            network.link.reset = 0.002;
        });
        let servers: Vec<NodeId> = ["a", "b", "c"].iter().map(|zone| world.add_node(zone, zone)).collect();
        servers.iter().for_each(|server| start_echo(&world, *server));
        for (index, server) in servers.iter().enumerate() {
            let host = world.host(world.add_node(&format!("client-{index}"), "clients"));
            let address = SocketAddr::new(world.address(*server), PORT);
            drop(spawn(async move {
                let mut rng = host.rng("load");
                loop {
                    if let Ok(Ok(conn)) = timeout(seconds(2), host.connect(address)).await {
                        let text = vec![rng.below(256) as u8; 1 + rng.below(3000) as usize];
                        while let Ok(Ok(answer)) = timeout(seconds(1), ask(&conn, &text)).await {
                            assert_eq!(answer, text);
                            sleep(Duration::from_millis(rng.below(50))).await;
                        }
                    }
                    sleep(Duration::from_millis(10)).await;
                }
            }));
        }
        let mut rng = world.rng("faults");
        for _ in 0..60 {
            sleep(Duration::from_millis(rng.below(1000))).await;
            let server = servers[rng.below(3) as usize];
            let other = servers[rng.below(3) as usize];
            match rng.below(8) {
                0 => world.kill(server),
                1 => world.power_loss(server),
                2 => world.isolate(server),
                3 => world.heal_all(),
                4 => world.stall(server, other, Duration::from_millis(rng.below(3000))),
                5 => drop(world.reset_random(None)),
                6 => world.set_clock_rate(server, rng.below(100_000) as i64),
                _ => world.cut_zones("clients", "a"),
            }
            for server in &servers {
                if !world.is_running(*server) && rng.chance(0.3) {
                    start_echo(&world, *server);
                }
            }
        }
        let counts = world.network_counts();
        assert!(counts.short > 0 && counts.resets > 0 && counts.segments_held > 0, "{counts:?}");
        (world.trace().hash(), world.trace().count())
    })
}

#[test]
fn the_same_seed_gives_the_same_trace_and_another_seed_another() {
    let first = messy(1);
    println!("seed 1: hash {:016x} after {} events", first.0, first.1);
    assert_eq!(first, messy(1));
    assert_ne!(first.0, messy(2).0);
    assert!(first.1 > 1000, "{} events", first.1);
}
