//! What every real host does, whichever way it gets to the machine.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use wiab_engine::id::{RunId, StepId};
use wiab_engine::ports::{Cancel, StepCx};
use wiab_steps::host::local::SystemClock;
use wiab_steps::host::shell::Shell;
use wiab_steps::host::{Cmd, Host, HostError, JobId, JobState, Meta};

/// A machine with a directory of its own, and ways to it.
pub(super) trait World {
    /// A host that was not used before, with so long between TERM and KILL.
    fn host_with(&self, grace_ms: u64) -> Box<dyn Host>;
    /// The same with 200 milliseconds.
    fn host(&self) -> Box<dyn Host> {
        self.host_with(200)
    }
    /// The directory.
    fn dir(&self) -> &Path;
    /// Where the host keeps its jobs.
    fn jobs(&self) -> PathBuf;
    /// Lets the host's user have what the test has put there.
    fn give(&self) {}
}

pub(super) fn job(label: &str) -> JobId {
    JobId::new(RunId([1; 16]), &StepId::new("a.b").unwrap(), 1, label)
}

pub(super) fn sh(script: &str) -> Cmd {
    Cmd::new(["sh", "-c", script])
}

pub(super) async fn run(host: &dyn Host, cmd: &Cmd) -> Result<wiab_steps::host::Output, HostError> {
    host.run(cmd, &Cancel::default(), &|_| {}).await
}

/// Polls a condition that must become true; the bound only ends a broken test.
pub(super) async fn until(condition: impl Fn() -> bool) {
    let mut ticks = tokio::time::interval(std::time::Duration::from_millis(5));
    for _ in 0..4_000 {
        if condition() {
            return;
        }
        ticks.tick().await;
    }
    panic!("it never happened");
}

pub(super) async fn commands(world: &dyn World) {
    let host = world.host();
    let host = host.as_ref();
    assert_eq!(run(host, &Cmd::new(["true"])).await.unwrap().code, 0);
    assert_eq!(
        run(host, &Cmd::new(["no-such-program-anywhere"])).await,
        Err(HostError::NoProgram {
            program: "no-such-program-anywhere".to_owned()
        })
    );
    let lines = Mutex::new(Vec::new());
    let cmd = sh("cat; echo \"$X $LC_ALL\"; echo oops >&2; exit 7")
        .stdin("in\n")
        .env("X", "y z");
    let output = host
        .run(&cmd, &Cancel::default(), &|line| {
            lines.lock().unwrap().push(line.to_owned());
        })
        .await
        .unwrap();
    assert_eq!((output.code, output.text().as_str()), (7, "in\ny z C\n"));
    assert_eq!(output.error_text(), "oops");
    let mut lines = lines.into_inner().unwrap();
    lines.sort();
    assert_eq!(lines, ["in", "oops", "y z C"]);
    assert_eq!(run(host, &sh("kill -KILL $$")).await.unwrap().code, 137);
    // Input that nobody reads is no failure.
    let big = Cmd::new(["true"]).stdin(vec![b'x'; 1 << 20]);
    assert!(run(host, &big).await.unwrap().ok());
}

pub(super) async fn arguments_arrive_as_they_are(world: &dyn World) {
    let host = world.host();
    let words = [
        "", " ", "a b", "'", "\"", "$(id)", "`id`", "-n", "*", "a\nb", "\\", "ü", "!x", "~", ";",
    ];
    let cmd = Cmd::new(["printf", "%s|"].into_iter().chain(words)).env("ODD", "$x 'y'\n");
    let output = run(host.as_ref(), &cmd).await.unwrap();
    assert_eq!(output.text(), words.map(|word| format!("{word}|")).concat());
    let cmd = sh("printf %s \"$ODD\"").env("ODD", "$x 'y'\n");
    assert_eq!(run(host.as_ref(), &cmd).await.unwrap().text(), "$x 'y'\n");
    let bytes: Vec<u8> = (0..=255).cycle().take(100_000).collect();
    let cmd = Cmd::new(["cat"]).stdin(bytes.clone());
    assert!(run(host.as_ref(), &cmd).await.unwrap().stdout == bytes);
}

pub(super) async fn output_is_bounded(world: &dyn World) {
    let host = world.host();
    let cmd =
        sh("echo first; head -c 9000000 /dev/zero | tr '\\0' x; echo; echo last; echo quiet >&2");
    let lines = Mutex::new(Vec::new());
    let sink = |line: &str| lines.lock().unwrap().push(line.to_owned());
    let output = host.run(&cmd, &Cancel::default(), &sink).await.unwrap();
    let text = output.text();
    assert!(text.len() < wiab_steps::host::OUTPUT_BYTES_MAX + 100);
    assert!(text.starts_with("first\nxxx") && text.ends_with("xxx\nlast\n"));
    let left_out = 9_000_000 + 12 - wiab_steps::host::OUTPUT_BYTES_MAX;
    assert!(text.contains(&format!("… {left_out} bytes left out …")));
    assert_eq!(output.error_text(), "quiet");
    let lines = lines.into_inner().unwrap();
    assert!(
        ["first", "last", "quiet"]
            .iter()
            .all(|want| lines.iter().any(|line| line == want))
    );
}

pub(super) async fn the_whole_process_group_is_killed(world: &dyn World) {
    let dir = world.dir();
    let host = world.host();
    let host = host.as_ref();
    let pids = dir.join("pids");
    let script = format!(
        "trap '' TERM; sleep 600 & echo $! $$ > {0}.new; mv {0}.new {0}; wait",
        pids.display()
    );
    let alive = |pid: &str| Path::new("/proc").join(pid).join("cwd").exists();
    for by_limit in [true, false] {
        let cancel = Cancel::default();
        let limit_ms = if by_limit { 300 } else { 60_000 };
        let cmd = sh(&script).timeout_ms(limit_ms);
        let watch = async {
            until(|| pids.exists()).await;
            if !by_limit {
                cancel.cancel();
            }
        };
        let (done, ()) = tokio::join!(host.run(&cmd, &cancel, &|_| {}), watch);
        let expected = if by_limit {
            HostError::TimedOut { after_ms: 300 }
        } else {
            HostError::Cancelled
        };
        assert_eq!(done, Err(expected));
        let text = fs_err::read_to_string(&pids).unwrap();
        for pid in text.split_whitespace() {
            until(|| !alive(pid)).await;
        }
        fs_err::remove_file(&pids).unwrap();
    }
}

pub(super) async fn files(world: &dyn World) {
    let dir = world.dir();
    let host = world.host();
    let host = host.as_ref();
    let path = dir.join("deep/er/file");
    let name = path.to_str().unwrap();
    assert_eq!(host.read(name, false).await.unwrap(), None);
    assert_eq!(host.stat(name).await.unwrap(), None);
    for mode in [0o600, 0o644, 0o400, 0o640] {
        let text = format!("mode {mode:o}");
        host.write(name, text.as_bytes(), &Meta::user(mode))
            .await
            .unwrap();
        let stat = host.stat(name).await.unwrap().unwrap();
        assert_eq!((stat.mode, stat.bytes), (mode, text.len() as u64));
        assert_eq!(
            host.read(name, false).await.unwrap().unwrap(),
            text.as_bytes()
        );
    }
    let left: Vec<_> = fs_err::read_dir(path.parent().unwrap()).unwrap().collect();
    assert_eq!(left.len(), 1);
    // An interrupted write leaves a temporary file, which is not trusted and goes with the file.
    let temp = path.with_file_name(".file.wiab-new");
    std::os::unix::fs::symlink("/nowhere/at/all", &temp).unwrap();
    host.write(name, b"x", &Meta::user(0o600)).await.unwrap();
    fs_err::write(&temp, "half").unwrap();
    assert!(host.remove(name, false).await.unwrap());
    assert!(!temp.exists());
    assert!(!host.remove(name, false).await.unwrap());
    let parent = path.parent().unwrap();
    let mode = fs_err::metadata(parent).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode & 0o700, 0o700);
    assert!(host.remove(parent.to_str().unwrap(), false).await.unwrap());
    assert!(host.read("/", false).await.is_err());
}

pub(super) async fn a_job_outlives_its_host(world: &dyn World) {
    let dir = world.dir();
    let id = job("run");
    let gate = dir.join("gate");
    let count = dir.join("count");
    let script = format!(
        "echo begun >> {1}; echo one; while [ ! -e {0} ]; do sleep 0.02; done; cat; echo two >&2; exit 3",
        gate.display(),
        count.display()
    );
    let first = world.host();
    assert_eq!(first.job_state(&id).await.unwrap(), JobState::Absent);
    let cmd = sh(&script).stdin("input\n");
    first.job_start(&id, &cmd).await.unwrap();
    first.job_start(&id, &cmd).await.unwrap();
    drop(first);
    let second = world.host();
    second.job_start(&id, &cmd).await.unwrap();
    assert_eq!(second.job_state(&id).await.unwrap(), JobState::Running);
    assert!(second.job_forget(&id).await.is_err());
    fs_err::write(&gate, "").unwrap();
    let lines = Mutex::new(Vec::new());
    let sink = |line: &str| lines.lock().unwrap().push(line.to_owned());
    let output = second
        .job_wait(&id, 0, 60_000, &Cancel::default(), &sink)
        .await
        .unwrap();
    assert_eq!(
        (output.code, output.text().as_str()),
        (3, "one\ninput\ntwo\n")
    );
    assert_eq!(lines.into_inner().unwrap(), ["one", "input", "two"]);
    assert_eq!(second.job_state(&id).await.unwrap(), JobState::Exited(3));
    second.job_start(&id, &cmd).await.unwrap();
    assert_eq!(fs_err::read_to_string(&count).unwrap(), "begun\n");
    let again = second
        .job_wait(&id, 4, 60_000, &Cancel::default(), &|_| {})
        .await
        .unwrap();
    assert_eq!(again, output);
    second.job_forget(&id).await.unwrap();
    assert_eq!(second.job_state(&id).await.unwrap(), JobState::Absent);
}

pub(super) async fn a_job_is_claimed_once(world: &dyn World) {
    let dir = world.dir();
    let host = world.host();
    let host = host.as_ref();
    let id = job("run");
    let count = dir.join("count");
    let cmd = sh(&format!("echo begun >> {}", count.display()));
    // A directory without a claim is what a death before the claim leaves: nothing was started.
    fs_err::create_dir_all(world.jobs().join(id.dir_name())).unwrap();
    world.give();
    assert_eq!(host.job_state(&id).await.unwrap(), JobState::Absent);
    let starts = (0..6).map(|_| host.job_start(&id, &cmd));
    let mut all = Vec::new();
    for start in starts {
        all.push(start);
    }
    let (a, b, c) = (all.pop().unwrap(), all.pop().unwrap(), all.pop().unwrap());
    let (a, b, c) = tokio::join!(a, b, c);
    a.and(b).and(c).unwrap();
    host.job_wait(&id, 0, 60_000, &Cancel::default(), &|_| {})
        .await
        .unwrap();
    assert_eq!(fs_err::read_to_string(&count).unwrap(), "begun\n");
}

pub(super) async fn a_killed_job_has_ended(world: &dyn World) {
    // Nobody here resists: the time until the hard way is never used up, however slow the machine is.
    let host = world.host_with(60_000);
    let host = host.as_ref();
    let slow = sh("sleep 600 & sleep 600");
    for (label, by_limit) in [("limit", true), ("cancel", false)] {
        let id = job(label);
        host.job_start(&id, &slow).await.unwrap();
        let cancel = Cancel::default();
        if !by_limit {
            cancel.cancel();
        }
        let limit_ms = if by_limit { 50 } else { 60_000 };
        let done = host.job_wait(&id, 0, limit_ms, &cancel, &|_| {}).await;
        let expected = if by_limit {
            HostError::TimedOut { after_ms: 50 }
        } else {
            HostError::Cancelled
        };
        assert_eq!(done, Err(expected));
        assert_eq!(host.job_state(&id).await.unwrap(), JobState::Exited(143));
    }
    // A process that only has the same number is not the job.
    let id = job("stale");
    let path = world.jobs().join(id.dir_name());
    fs_err::create_dir_all(&path).unwrap();
    let boot = fs_err::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    fs_err::write(path.join("pid"), format!("{} 1 {boot}", std::process::id())).unwrap();
    assert_eq!(host.job_state(&id).await.unwrap(), JobState::Lost);
    assert!(matches!(
        host.job_wait(&id, 0, 1_000, &Cancel::default(), &|_| {})
            .await,
        Err(HostError::LostMidway { .. })
    ));
    let id = job("missing");
    host.job_start(&id, &Cmd::new(["no-such-program-anywhere"]))
        .await
        .unwrap();
    let output = host
        .job_wait(&id, 0, 60_000, &Cancel::default(), &|_| {})
        .await
        .unwrap();
    assert_eq!(output.code, 127);
}

/// Starts a job that cannot be ended with TERM and runs until the file `gate` exists; answers wrapper and command.
async fn stubborn(world: &dyn World, host: &dyn Host, id: &JobId) -> (String, String) {
    let dir = world.dir();
    let pid = dir.join(format!("{}.pid", id.label));
    let script = format!(
        "trap '' TERM; echo $$ >{0}.new; mv {0}.new {0}; while ! [ -e {1} ]; do sleep 0.01; done",
        pid.display(),
        dir.join("gate").display()
    );
    host.job_start(id, &sh(&script)).await.unwrap();
    until(|| pid.exists()).await;
    let claim = world.jobs().join(id.dir_name()).join("pid");
    let claim = fs_err::read_to_string(claim).unwrap();
    let wrapper = claim.split(' ').next().unwrap().to_owned();
    let command = fs_err::read_to_string(&pid).unwrap().trim().to_owned();
    (wrapper, command)
}

pub(super) fn lives(pid: &str) -> bool {
    Path::new("/proc").join(pid).join("cwd").exists()
}

pub(super) async fn a_job_lives_as_long_as_anything_of_it(world: &dyn World) {
    let dir = world.dir();
    let host = world.host();
    let host = host.as_ref();
    let told = job("told");
    let (wrapper, command) = stubborn(world, host, &told).await;
    let signals =
        format!("kill -TERM {wrapper} {command}; kill -INT {wrapper}; kill -HUP {wrapper}");
    assert!(run(host, &sh(&signals)).await.unwrap().ok());
    assert_eq!(host.job_state(&told).await.unwrap(), JobState::Running);
    let orphan = job("orphan");
    let (wrapper, command) = stubborn(world, host, &orphan).await;
    assert!(
        run(host, &sh(&format!("kill -KILL {wrapper}")))
            .await
            .unwrap()
            .ok()
    );
    until(|| !lives(&wrapper)).await;
    assert_eq!(host.job_state(&orphan).await.unwrap(), JobState::Running);
    assert!(host.job_forget(&orphan).await.is_err());
    fs_err::write(dir.join("gate"), "").unwrap();
    let done = host
        .job_wait(&told, 0, 60_000, &Cancel::default(), &|_| {})
        .await;
    assert_eq!(done.unwrap().code, 0);
    let done = host
        .job_wait(&orphan, 0, 60_000, &Cancel::default(), &|_| {})
        .await;
    assert!(
        matches!(done, Err(HostError::LostMidway { .. })),
        "{done:?}"
    );
    assert!(!lives(&command));
}

pub(super) async fn whoever_is_left_of_a_job_is_killed(world: &dyn World) {
    let host = world.host();
    let host = host.as_ref();
    for (label, orphaned, expected) in [
        ("whole", false, JobState::Exited(137)),
        ("rest", true, JobState::Lost),
    ] {
        let id = job(label);
        let (wrapper, command) = stubborn(world, host, &id).await;
        if orphaned {
            assert!(
                run(host, &sh(&format!("kill -KILL {wrapper}")))
                    .await
                    .unwrap()
                    .ok()
            );
            until(|| !lives(&wrapper)).await;
        }
        let done = host.job_wait(&id, 0, 50, &Cancel::default(), &|_| {}).await;
        assert_eq!(done, Err(HostError::TimedOut { after_ms: 50 }));
        assert!(!lives(&command) && !lives(&wrapper), "{label}");
        assert_eq!(host.job_state(&id).await.unwrap(), expected);
    }
}

pub(super) async fn what_a_stopped_job_said_is_evidence(world: &dyn World) {
    let dir = world.dir();
    let host = world.host();
    let host = host.as_ref();
    let step = StepId::new("a.b").unwrap();
    let cx = StepCx::new(RunId([1; 16]), step, Arc::new(SystemClock::new()));
    let ready = dir.join("ready");
    let cmd = sh(&format!(
        "echo one; printf two; : >{}; sleep 600",
        ready.display()
    ));
    let shell = Shell::new(host, &cx);
    let watch = async {
        until(|| ready.exists()).await;
        cx.cancel.cancel();
    };
    let (done, ()) = tokio::join!(shell.job("run", &cmd), watch);
    assert!(done.is_err());
    let text = String::from_utf8(cx.evidence.bytes().unwrap()).unwrap();
    assert!(
        text.contains("\none\ntwo") && text.contains("[stopped on request"),
        "{text}"
    );
}
