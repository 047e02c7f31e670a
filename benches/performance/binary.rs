//! The release binary as a whole: its size, how fast it answers, and how much memory a long run takes.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::report::Report;
use crate::watch::Watch;
use crate::{Outcome, STEPS, stats};

const BINARY: &str = env!("CARGO_BIN_EXE_wiab");

/// A command without the caller's settings.
fn wiab() -> Command {
    #[expect(
        clippy::disallowed_methods,
        reason = "a benchmark of the binary has to start it"
    )]
    let mut command = Command::new(BINARY);
    command
        .env_clear()
        .stdin(Stdio::null())
        .stdout(Stdio::null());
    command
}

pub(crate) fn all(rounds: usize, dir: &Path, report: &mut Report) -> Outcome<()> {
    let bytes = fs_err::metadata(BINARY)?.len();
    report.at_most(
        "size of the binary",
        "",
        stats::real(bytes) / 1e6,
        20.0,
        "MB",
    );
    let mut starts = Vec::new();
    for _ in 0..rounds.max(1) * 10 {
        let watch = Watch::start();
        let status = wiab().arg("--help").status()?;
        starts.push(watch.ms());
        if !status.success() {
            return Err(format!("`wiab --help` ended with {status}").into());
        }
    }
    report.at_most("`wiab --help`", "", stats::median(starts), 10.0, "ms");
    long_run(dir, report)
}

/// A run of a thousand steps of `wiab.toml` on the simulated machine.
fn long_run(dir: &Path, report: &mut Report) -> Outcome<()> {
    let dir = dir.join("binary");
    fs_err::create_dir(&dir)?;
    fs_err::write(dir.join("wiab.toml"), configuration())?;
    let watch = Watch::start();
    let mut child = wiab()
        .current_dir(&dir)
        .args([
            "--state-dir",
            "state",
            "apply",
            "--yes",
            "--progress",
            "none",
        ])
        .stderr(Stdio::piped())
        .spawn()?;
    let peak_kib = peak_kib(&mut child)?;
    let output = child.wait_with_output()?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        return Err(format!("the run ended with {}: {said}", output.status).into());
    }
    report.line(
        &format!("`wiab apply` of {STEPS} steps on `sim`"),
        format!("{:.1} s", watch.ms() / 1e3),
    );
    report.at_most(
        "its peak memory",
        "",
        stats::real(peak_kib) / 1024.0,
        30.0,
        "MiB",
    );
    Ok(())
}

/// The high-water mark of a process's memory, followed until it ends. It only grows, so the last reading stands.
fn peak_kib(child: &mut Child) -> Outcome<u64> {
    let status = format!("/proc/{}/status", child.id());
    let mut peak = 0;
    while child.try_wait()?.is_none() {
        let text = fs_err::read_to_string(&status).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let read = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
        peak = peak.max(read.unwrap_or_default());
        #[expect(
            clippy::disallowed_methods,
            reason = "a reading every few milliseconds is enough"
        )]
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    Ok(peak)
}

fn configuration() -> String {
    let head = "host = \"sim\"\nplan = \"steps\"\n[sim]\nspeed = \"max\"\n";
    let mut text = head.to_owned();
    for number in 0..STEPS {
        let after = match number {
            0 => String::new(),
            _ => format!("after = [\"site.step{}\"]\n", number - 1),
        };
        let id = format!("site.step{number}");
        text.extend([
            "\n[[step]]\nid = \"",
            &id,
            "\"\n",
            &after,
            "run = [\"true\"]\n",
        ]);
    }
    text
}
