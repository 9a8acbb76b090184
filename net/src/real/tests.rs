//! The real back end on loopback sockets and a scratch directory.
#![allow(clippy::disallowed_methods, reason = "the tests look at files from outside")]

use super::*;
use std::cell::RefCell;

/// A directory that goes away with its value.
struct Scratch(std::path::PathBuf);

impl Scratch {
    fn new() -> Self {
        let mut seed = [0; 32];
        system::fill_random(&mut seed);
        let number = u64::from_le_bytes(seed[..8].try_into().unwrap());
        let path = std::env::temp_dir().join(format!("ramkeep-net-{number:016x}"));
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn path(&self) -> &str {
        self.0.to_str().unwrap()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn loopback() -> SocketAddr {
    "127.0.0.1:0".parse().unwrap()
}

#[test]
fn bytes_cross_a_connection_and_its_end_is_seen() {
    run(async {
        let host = Host::real();
        let listener = host.listen(loopback(), 16).unwrap();
        let client = host.connect(listener.local_address()).await.unwrap();
        let (server, peer) = listener.accept().await.unwrap();
        assert_eq!(peer, client.local_address());
        assert_eq!(server.peer_address(), peer);
        client.write_all(b"hello").await.unwrap();
        let mut buffer = Vec::with_capacity(64);
        assert_eq!(server.read(&mut buffer).await.unwrap(), 5);
        assert_eq!(server.try_read(&mut buffer).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        client.write_all(b" again").await.unwrap();
        server.readable().await.unwrap();
        server.read(&mut buffer).await.unwrap();
        assert_eq!(buffer, b"hello again");
        client.shutdown_write().unwrap();
        assert_eq!(server.read(&mut buffer).await.unwrap(), 0);
        server.write_all(b"bye").await.unwrap();
        let mut reply = Vec::new();
        assert_eq!(client.read(&mut reply).await.unwrap(), 3, "a full buffer gets room");
    })
    .unwrap();
}

#[test]
fn a_full_socket_blocks_the_writer_until_the_reader_drains_it() {
    run(async {
        let host = Host::real();
        let listener = host.listen(loopback(), 16).unwrap();
        let client = Rc::new(host.connect(listener.local_address()).await.unwrap());
        let (server, _) = listener.accept().await.unwrap();
        let total = 32 << 20;
        let writer = spawn({
            let client = Rc::clone(&client);
            async move { client.write_all(&vec![7; total]).await }
        });
        let mut buffer = Vec::with_capacity(1 << 16);
        let mut received = 0;
        while received < total {
            buffer.clear();
            received += server.read(&mut buffer).await.unwrap();
        }
        writer.await.unwrap().unwrap();
    })
    .unwrap();
}

#[test]
fn both_directions_may_be_waited_for_by_two_tasks() {
    run(async {
        let host = Host::real();
        let listener = host.listen("[::1]:0".parse().unwrap(), 16).unwrap();
        let client = host.connect(listener.local_address()).await.unwrap();
        let server = Rc::new(listener.accept().await.unwrap().0);
        let seen = Rc::new(RefCell::new(Vec::new()));
        let reader = spawn({
            let (server, seen) = (Rc::clone(&server), Rc::clone(&seen));
            async move {
                let mut buffer = Vec::with_capacity(16);
                while server.read(&mut buffer).await.unwrap() > 0 {}
                *seen.borrow_mut() = buffer;
            }
        });
        server.write_all(b"push").await.unwrap();
        client.write_all(b"ask").await.unwrap();
        let mut buffer = Vec::with_capacity(16);
        assert_eq!(client.read(&mut buffer).await.unwrap(), 4);
        server.shutdown().unwrap();
        reader.await.unwrap();
        assert!(b"ask".starts_with(&seen.borrow()), "the reader wakes when its connection is shut down");
    })
    .unwrap();
}

#[test]
fn a_refused_connection_is_an_error_and_timeouts_end_waiting() {
    run(async {
        let host = Host::real();
        let address = host.listen(loopback(), 1).unwrap().local_address();
        assert_eq!(host.connect(address).await.unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
        let before = host.clock().monotonic_ns();
        assert_eq!(timeout(Duration::from_millis(5), std::future::pending::<()>()).await, Err(Elapsed));
        host.clock().sleep_until(before + 10_000_000).await;
        assert!(host.clock().monotonic_ns() >= before + 10_000_000);
        let first = crate::select! { () = sleep(Duration::from_secs(9)) => 1, () = async {} => 2 };
        assert_eq!(first, 2);
    })
    .unwrap();
}

#[test]
fn a_created_file_is_zeros_and_keeps_what_is_written() {
    let scratch = Scratch::new();
    run(async {
        let disk = Host::real().disk(scratch.path()).unwrap();
        let file = disk.create("log-2", 3 << 20).await.unwrap();
        assert_eq!(file.len().unwrap(), 3 << 20);
        assert!(file.read_at(0, 3 << 20).await.unwrap().iter().all(|byte| *byte == 0));
        let buffer = file.write_at(4096, b"record".to_vec()).await.unwrap();
        assert_eq!(buffer, b"record", "the buffer comes back");
        file.write_now(8192, b"inline").unwrap().unwrap();
        drop(file.write_at(12288, b"dropped".to_vec()));
        let file = disk.open("log-2").await.unwrap();
        assert_eq!(file.read_at(4096, 6).await.unwrap(), b"record");
        assert_eq!(file.read_at(8192, 6).await.unwrap(), b"inline");
        file.write_at(0, vec![1]).await.unwrap();
        assert_eq!(file.read_at(12288, 7).await.unwrap(), b"dropped", "a write goes on without its future");
        assert_eq!(file.read_at((3 << 20) - 2, usize::MAX).await.unwrap().len(), 2);
        assert_eq!(disk.create("log-2", 1).await.err().unwrap().kind(), io::ErrorKind::AlreadyExists);
        file.truncate(10).await.unwrap();
        assert_eq!(file.len().unwrap(), 10);
    })
    .unwrap();
}

#[test]
fn names_are_listed_sorted_and_small_files_replaced_whole() {
    let scratch = Scratch::new();
    run(async {
        std::fs::write(scratch.0.join("left.partial"), b"half").unwrap();
        let disk = Host::real().disk(scratch.path()).unwrap();
        disk.write_file_atomic("b", b"one".to_vec()).await.unwrap();
        disk.write_file_atomic("b", b"two".to_vec()).await.unwrap();
        disk.write_file_atomic("a", Vec::new()).await.unwrap();
        assert_eq!(disk.list().await.unwrap(), ["a", "b"]);
        assert_eq!(disk.read_file("b").await.unwrap(), b"two");
        disk.rename("b", "c").await.unwrap();
        disk.remove("a").await.unwrap();
        disk.sync_dir().await.unwrap();
        assert_eq!(disk.list().await.unwrap(), ["c"]);
        assert_eq!(disk.open("b").await.err().unwrap().kind(), io::ErrorKind::NotFound);
        assert!(disk.read_file("../etc").await.is_err());
        assert!(disk.free_bytes().unwrap() > 0);
        assert!(!scratch.0.join("left.partial").exists());
    })
    .unwrap();
}

#[test]
fn a_directory_has_one_writer_and_any_number_of_readers() {
    let scratch = Scratch::new();
    run(async {
        let disk = Host::real().disk(scratch.path()).unwrap();
        let file = disk.create("log", 4096).await.unwrap();
        let error = Host::real().disk(scratch.path()).err().unwrap();
        assert_eq!(error.kind(), io::ErrorKind::ResourceBusy);
        assert!(error.to_string().contains("in use by another process"), "{error}");
        let reader = Host::real().disk_read_only(scratch.path()).unwrap();
        let copy = reader.open("log").await.unwrap();
        assert_eq!(copy.len().unwrap(), 4096);
        assert!(copy.write_now(0, b"x").unwrap().is_err());
        assert!(reader.create("other", 1).await.is_err());
        drop(disk);
        assert!(Host::real().disk(scratch.path()).is_err(), "an open file keeps the directory");
        drop(file);
    })
    .unwrap();
    // The threads let go of the lock when they have ended their last job.
    let is_free = (0..200).any(|_| {
        std::thread::sleep(Duration::from_millis(5));
        Host::real().disk(scratch.path()).is_ok()
    });
    assert!(is_free);
}

#[test]
fn a_file_without_room_is_refused_and_leaves_nothing() {
    run(async {
        // Every write to this device fails with ENOSPC.
        let file = open_full_device();
        let fence = crate::disk::Fence::default();
        let outcome = std::os::unix::fs::FileExt::write_all_at(&file, b"x", 0);
        assert_eq!(fence.watch(outcome).unwrap_err().kind(), io::ErrorKind::StorageFull);
        assert_eq!(fence.check().unwrap_err().kind(), io::ErrorKind::StorageFull);
    })
    .unwrap();
}

fn open_full_device() -> std::fs::File {
    std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap()
}

#[test]
fn facts_and_usage_of_this_process_are_known() {
    let host = Host::real();
    let facts = host.facts();
    assert_eq!(facts.process_id, std::process::id());
    assert!(!facts.hostname.is_empty() && facts.memory_total_bytes > 1 << 20 && facts.system.contains(' '));
    assert!(host.usage().resident_bytes > 1 << 16 || cfg!(not(target_os = "linux")));
    assert!(host.raise_open_files(64) >= 64);
    let (mut one, mut two) = (host.rng("a"), host.rng("a"));
    assert_ne!(rand_core::RngCore::next_u64(&mut one), rand_core::RngCore::next_u64(&mut two));
    let wall = host.clock().wall_us();
    assert!(wall > 1_700_000_000_000_000, "{wall}");
}

#[test]
fn whole_files_elsewhere_are_read_and_replaced() {
    let scratch = Scratch::new();
    let path = format!("{}/redis.conf", scratch.path());
    let host = Host::real();
    assert_eq!(host.read_file(&path).unwrap_err().kind(), io::ErrorKind::NotFound);
    host.write_file(&path, b"port 1\n").unwrap();
    host.write_file(&path, b"port 2\n").unwrap();
    assert_eq!(host.read_file(&path).unwrap(), b"port 2\n");
}

#[test]
fn a_draft_reads_back_what_was_appended_and_has_its_name_only_at_its_end() {
    run(async {
        let scratch = Scratch::new();
        let disk = Host::real().disk(scratch.path()).unwrap();
        let draft = disk.draft("large").await.unwrap();
        let pieces: Vec<Vec<u8>> = (0..9).map(|piece| vec![piece; 70_001 + usize::from(piece)]).collect();
        for piece in &pieces {
            draft.append(piece.clone()).await.unwrap();
        }
        assert!(disk.list().await.unwrap().is_empty());
        let (found, told) = std::sync::mpsc::channel();
        let read = move |file: &mut dyn std::io::Read| {
            let mut bytes = Vec::new();
            file.read_to_end(&mut bytes).unwrap();
            found.send(bytes).unwrap();
        };
        draft.read_through(Box::new(read)).await.unwrap();
        assert_eq!(told.recv().unwrap(), pieces.concat());
        draft.finish().await.unwrap();
        assert_eq!(disk.list().await.unwrap(), ["large"]);
        assert_eq!(disk.read_file("large").await.unwrap(), pieces.concat());
        let given_up = disk.draft("other").await.unwrap();
        given_up.append(vec![1; 10]).await.unwrap();
        given_up.abandon().await.unwrap();
        assert_eq!(disk.list().await.unwrap(), ["large"]);
    })
    .unwrap();
}
