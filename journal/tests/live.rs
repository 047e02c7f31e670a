//! Reading from a running holder, while it runs and when it is gone.

use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixListener;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use wiab_journal::live::{Client, LiveItem, Server};
use wiab_journal::{Journal, Reader, Source};

use crate::common::{all, batch, options, run, scratch};

fn serve(dir: &std::path::Path) -> (Journal, Server) {
    let journal = Journal::open(dir, options()).expect("open");
    let status = Arc::new(|| serde_json::json!({ "step": "vm.disk" }));
    let server = Server::start(&journal, dir, status).expect("serve");
    (journal, server)
}

#[test]
fn a_reader_sees_a_running_journal() {
    let dir = scratch();
    let (journal, server) = serve(dir.path());
    journal.append(batch(run(1), "one", 2)).expect("append");
    journal
        .append(batch(run(2), &"large ".repeat(9_000), 1))
        .expect("append");
    let reader = Reader::open(dir.path(), options()).expect("read");
    assert_eq!(*reader.source(), Source::Live);
    assert_eq!(
        reader
            .frames(1)
            .collect::<Result<Vec<_>, _>>()
            .expect("frames"),
        all(&journal)
    );
    assert_eq!(reader.runs(), journal.runs());
    assert_eq!(reader.head(), journal.head());
    assert_eq!(
        reader.run_frames(&run(1)).expect("run"),
        journal.run_frames(&run(1)).expect("run")
    );
    let client = Client::connect(dir.path())
        .expect("connect")
        .expect("served");
    assert_eq!(
        client.status().expect("status"),
        serde_json::json!({ "step": "vm.disk" })
    );
    assert_eq!(client.frames(99).expect("frames"), []);
    let mode = std::fs::metadata(dir.path().join("live.sock"))
        .expect("socket")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    drop(server);
    assert!(Client::connect(dir.path()).expect("connect").is_none());
    journal.close().expect("close");
    assert_eq!(
        *Reader::open(dir.path(), options()).expect("read").source(),
        Source::Database
    );
}

#[test]
fn a_follower_gets_everything_in_order_and_the_end() {
    let dir = scratch();
    let (journal, server) = serve(dir.path());
    journal.append(batch(run(1), "before", 2)).expect("append");
    let (told, items) = mpsc::channel();
    let path = dir.path().to_owned();
    let follower = std::thread::spawn(move || {
        let client = Client::connect(&path).expect("connect").expect("served");
        client
            .follow(1, &mut |item| told.send(item).is_ok())
            .expect("follow");
    });
    // Only a deadlock waits this long.
    let next = || items.recv_timeout(Duration::from_mins(1)).expect("an item");
    for frame in all(&journal) {
        assert_eq!(next(), LiveItem::Frame(frame));
    }
    journal.append(batch(run(1), "after", 1)).expect("append");
    assert_eq!(next(), LiveItem::Frame(all(&journal).pop().expect("last")));
    server.progress("{\"percent\":40}");
    assert_eq!(next(), LiveItem::Progress("{\"percent\":40}".to_owned()));
    drop(server);
    assert_eq!(next(), LiveItem::End);
    follower.join().expect("follower");
}

#[test]
fn a_follower_that_does_not_read_stops_nobody() {
    use std::io::Write as _;
    let dir = scratch();
    let (journal, server) = serve(dir.path());
    let mut lazy: Vec<_> = (0..4)
        .map(|_| {
            std::os::unix::net::UnixStream::connect(dir.path().join("live.sock")).expect("connect")
        })
        .collect();
    for stream in &mut lazy {
        stream
            .write_all(b"{\"ask\":\"follow\",\"from\":1}\n")
            .expect("ask");
    }
    for number in 0..200 {
        journal
            .append(batch(run(1), &"much ".repeat(1_000), 2))
            .expect("append");
        server.progress(&format!("{{\"line\":{number}}}"));
    }
    assert_eq!(journal.head().seq, 401);
    drop(server);
    journal.close().expect("close");
}

#[test]
fn a_stale_socket_is_no_holder_and_is_replaced() {
    let dir = scratch();
    Journal::open(dir.path(), options())
        .expect("open")
        .close()
        .expect("close");
    drop(UnixListener::bind(dir.path().join("live.sock")).expect("bind"));
    assert!(Client::connect(dir.path()).expect("connect").is_none());
    let (journal, server) = serve(dir.path());
    assert!(Client::connect(dir.path()).expect("connect").is_some());
    drop(server);
    drop(journal);
}

#[test]
fn a_holder_without_socket_leaves_the_copies() {
    let dir = scratch();
    let journal = Journal::open(dir.path(), options()).expect("open");
    journal.append(batch(run(1), "one", 2)).expect("append");
    journal.append(batch(run(1), "two", 1)).expect("append");
    journal.settle();
    let reader = Reader::open(dir.path(), options()).expect("read");
    assert!(matches!(reader.source(), Source::Copy { why } if why.contains("in use by process")));
    assert_eq!(reader.frames(1).count(), 4);
}

#[test]
fn a_long_path_is_no_obstacle() {
    let dir = scratch();
    let deep = dir.path().join("x".repeat(120));
    let (journal, server) = serve(&deep);
    let client = Client::connect(&deep).expect("connect").expect("served");
    assert_eq!(client.frames(1).expect("frames"), all(&journal));
    drop(server);
    assert!(!deep.join("live.sock").exists());
}

#[test]
fn a_server_ends_when_its_socket_was_removed_or_replaced() {
    for replace in [false, true] {
        let dir = scratch();
        let socket = dir.path().join("live.sock");
        let (journal, server) = serve(dir.path());
        std::fs::remove_file(&socket).expect("remove");
        let other = replace.then(|| UnixListener::bind(&socket).expect("bind"));
        let (ended, end) = mpsc::channel();
        let dropping = std::thread::spawn(move || {
            drop(server);
            ended.send(()).expect("told");
        });
        // Only a deadlock waits this long.
        end.recv_timeout(Duration::from_mins(1)).expect("it ends");
        dropping.join().expect("dropped");
        assert_eq!(socket.exists(), other.is_some());
        journal.close().expect("close");
    }
}
