//! Losing the connection, and how often it is waited for an answer.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

use tokio::task::JoinSet;
use wiab_engine::ports::Cancel;
use wiab_steps::host::{Cmd, Host, HostError, JobState, Meta};

use super::block;
use super::sshd::Machine;
use crate::hosts::conformance::{World as _, job, lives, run, sh, until};

#[test]
fn a_job_does_not_notice_and_is_followed_on() {
    block(async {
        let machine = Machine::start(true).await;
        let (gate, count) = (machine.dir().join("gate"), machine.dir().join("count"));
        let script = format!(
            "echo begun >>{1}; echo one; while ! [ -e {0} ]; do sleep 0.02; done; echo two; exit 4",
            gate.display(),
            count.display()
        );
        let host = machine.host();
        let id = job("run");
        host.job_start(&id, &sh(&script)).await.unwrap();
        let lines = Mutex::new(Vec::new());
        let sink = |line: &str| lines.lock().unwrap().push(line.to_owned());
        let meddle = async {
            for cuts in 1..=3 {
                until(|| lines.lock().unwrap().len() == 1).await;
                until(|| machine.relay.connections.load(Ordering::SeqCst) == cuts).await;
                machine.relay.cut();
            }
            until(|| machine.relay.connections.load(Ordering::SeqCst) == 4).await;
            fs_err::write(&gate, "").unwrap();
        };
        let cancel = Cancel::default();
        let (done, ()) = tokio::join!(host.job_wait(&id, 0, 60_000, &cancel, &sink), meddle);
        let output = done.unwrap();
        assert_eq!((output.code, output.text().as_str()), (4, "one\ntwo\n"));
        assert_eq!(lines.into_inner().unwrap(), ["one", "two"]);
        assert_eq!(fs_err::read_to_string(&count).unwrap(), "begun\n");
        // Collected once, and then nothing is left.
        host.job_forget(&id).await.unwrap();
        assert_eq!(host.job_state(&id).await.unwrap(), JobState::Absent);
        assert!(!machine.at().join("home/.wiab").exists());
    });
}

#[test]
fn the_effect_of_a_command_that_was_under_way_is_unknown() {
    block(async {
        let machine = Machine::start(true).await;
        let host = machine.host();
        let pids = machine.dir().join("pids");
        let script = format!(
            "trap '' TERM; echo $$ >{0}.new; mv {0}.new {0}; while :; do sleep 0.02; done",
            pids.display()
        );
        let cmd = sh(&script);
        let cut = async {
            until(|| pids.exists()).await;
            machine.relay.cut();
        };
        let (done, ()) = tokio::join!(run(host.as_ref(), &cmd), cut);
        assert!(
            matches!(done, Err(HostError::LostMidway { .. })),
            "{done:?}"
        );
        // The next command comes after its end: nothing goes on beside it.
        let pid = fs_err::read_to_string(&pids).unwrap().trim().to_owned();
        let alive = sh(&format!(
            "if [ -e /proc/{pid}/cwd ]; then echo alive; else echo gone; fi"
        ));
        assert_eq!(run(host.as_ref(), &alive).await.unwrap().text(), "gone\n");
        assert!(!lives(&pid));
    });
}

#[test]
fn what_was_not_started_is_started_later() {
    block(async {
        let machine = Machine::start(true).await;
        let host = machine.ssh(machine.options());
        host.read("/nothing", false).await.unwrap();
        machine.cut(&host).await;
        // The first attempts to connect fail.
        machine.relay.closed.store(true, Ordering::SeqCst);
        let reopen = async {
            tokio::task::yield_now().await;
            machine.relay.closed.store(false, Ordering::SeqCst);
        };
        let cmd = Cmd::new(["echo", "x"]);
        let (done, ()) = tokio::join!(run(&host, &cmd), reopen);
        assert_eq!(done.unwrap().text(), "x\n");
        // With no patience it is given up, and nothing was started.
        let options = wiab_steps::host::ssh::SshOptions {
            reconnect_ms: 0,
            ..machine.options()
        };
        let host = machine.ssh(options);
        let id = job("run");
        host.job_start(&id, &sh("sleep 600")).await.unwrap();
        machine.relay.closed.store(true, Ordering::SeqCst);
        machine.cut(&host).await;
        let done = run(&host, &cmd).await;
        assert!(
            matches!(done, Err(HostError::Unreachable { .. })),
            "{done:?}"
        );
        let done = host
            .job_wait(&id, 0, 60_000, &Cancel::default(), &|_| {})
            .await;
        assert!(
            matches!(done, Err(HostError::LostMidway { .. })),
            "{done:?}"
        );
        assert!(host.renew(&Cancel::default()).await.is_err());
        machine.relay.closed.store(false, Ordering::SeqCst);
        host.renew(&Cancel::default()).await.unwrap();
        let cancel = Cancel::default();
        cancel.cancel();
        let done = host.job_wait(&id, 0, 60_000, &cancel, &|_| {}).await;
        assert_eq!(done, Err(HostError::Cancelled));
        assert_eq!(host.job_state(&id).await.unwrap(), JobState::Exited(143));
    });
}

#[test]
fn any_number_of_commands_at_once_is_one_round_trip() {
    block(async {
        const MANY: usize = 150;
        let machine = Machine::start(true).await;
        let host = Arc::new(machine.ssh(machine.options()));
        host.read("/nothing", false).await.unwrap();
        let before = host.counts();
        // Nothing of what the machine says is heard: what is asked now waits for no answer.
        machine.relay.hold(true);
        let mut all = JoinSet::new();
        for number in 0..MANY {
            let host = Arc::clone(&host);
            all.spawn(async move {
                let cmd = Cmd::new(["echo".to_owned(), number.to_string()]);
                (number, run(host.as_ref(), &cmd).await.unwrap().text())
            });
        }
        until(|| host.counts().requests == before.requests + MANY as u64).await;
        assert!(all.try_join_next().is_none());
        machine.relay.hold(false);
        while let Some(done) = all.join_next().await {
            let (number, text) = done.unwrap();
            assert_eq!(text, format!("{number}\n"));
        }
        // sshd was told to allow two sessions, and no more were opened.
        let after = host.counts();
        assert_eq!((after.connections, after.sessions), (1, 2));
    });
}

#[test]
fn each_thing_is_one_round_trip() {
    block(async {
        let machine = Machine::start(true).await;
        let host = machine.ssh(machine.options());
        let path = machine.dir().join("deep/er/file");
        let name = path.to_str().unwrap();
        let id = job("run");
        host.read(name, false).await.unwrap();
        let mut last = host.counts().requests;
        let mut took = |what: &str, most: u64| {
            let now = host.counts().requests;
            assert!(now - last <= most, "{what}: {} requests", now - last);
            last = now;
        };
        run(&host, &Cmd::new(["cat"]).stdin("x")).await.unwrap();
        took("a command", 1);
        host.write(name, b"x", &Meta::user(0o600)).await.unwrap();
        took("a write", 1);
        host.read(name, false).await.unwrap();
        took("a read", 1);
        host.stat(name).await.unwrap();
        took("a look", 1);
        host.remove(name, false).await.unwrap();
        took("a removal", 1);
        host.job_state(&id).await.unwrap();
        took("a job's state", 1);
        host.job_start(&id, &sh("echo x")).await.unwrap();
        took("a job's start: its directory, then its wrapper", 2);
        host.job_wait(&id, 0, 60_000, &Cancel::default(), &|_| {})
            .await
            .unwrap();
        took("a job's end: its line, then its code", 2);
        host.job_forget(&id).await.unwrap();
        took("a job's removal", 1);
    });
}
