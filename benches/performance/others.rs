//! What others need for the same: a naive SQLite journal, and terraform. Each only where it is installed.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::report::Report;
use crate::watch::Watch;
use crate::{Outcome, STEPS, stats};

fn command(program: &str) -> Command {
    #[expect(
        clippy::disallowed_methods,
        reason = "a comparison has to start what it compares with"
    )]
    Command::new(program)
}

/// Whether a program answers; if not, a text that says so.
fn installed(program: &str) -> Result<(), String> {
    let version = if program == "terraform" {
        "version"
    } else {
        "--version"
    };
    let found = command(program)
        .arg(version)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    match found {
        Ok(status) if status.success() => Ok(()),
        _ => Err(format!("`{program}` is not installed")),
    }
}

/// An intent and an outcome a step, each its own transaction: what one writes first.
pub(crate) fn sqlite_step_us(dir: &Path, steps: usize) -> Outcome<Result<f64, String>> {
    if let Err(missing) = installed("sqlite3") {
        return Ok(Err(missing));
    }
    let mut script = String::from(
        "PRAGMA journal_mode=WAL;\nPRAGMA synchronous=FULL;\n\
         CREATE TABLE event (seq INTEGER PRIMARY KEY, step TEXT, kind TEXT, body BLOB);\n",
    );
    for step in 0..steps {
        for kind in ["started", "succeeded"] {
            writeln!(
                script,
                "INSERT INTO event (step, kind, body) VALUES ('site.step{step}', '{kind}', zeroblob(200));"
            )?;
        }
    }
    let watch = Watch::start();
    let mut child = command("sqlite3")
        .arg(dir.join("events.db"))
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()?;
    child
        .stdin
        .take()
        .ok_or("no standard input")?
        .write_all(script.as_bytes())?;
    let status = child.wait()?;
    let us = watch.us_each(steps);
    if !status.success() {
        return Err(format!("sqlite3 ended with {status}").into());
    }
    Ok(Ok(us))
}

/// A chain of `terraform_data` resources, applied once; the provider is built in, so nothing is downloaded.
pub(crate) fn terraform(dir: &Path, report: &mut Report) -> Outcome<()> {
    let what = format!("chain of {STEPS} `terraform_data`");
    if let Err(missing) = installed("terraform") {
        report.missing(&what, &missing);
        return Ok(());
    }
    let dir = dir.join("terraform");
    fs_err::create_dir(&dir)?;
    let mut text = String::from("resource \"terraform_data\" \"s0\" {}\n");
    for number in 1..STEPS {
        writeln!(
            text,
            "resource \"terraform_data\" \"s{number}\" {{ depends_on = [terraform_data.s{}] }}",
            number - 1
        )?;
    }
    fs_err::write(dir.join("main.tf"), text)?;
    let run = |args: &[&str]| -> Outcome<f64> {
        let watch = Watch::start();
        let status = command("terraform")
            .current_dir(&dir)
            .env("CHECKPOINT_DISABLE", "1")
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .status()?;
        if !status.success() {
            return Err(format!("terraform {args:?} ended with {status}").into());
        }
        Ok(watch.ms())
    };
    run(&["init", "-input=false"])?;
    let ms = run(&["apply", "-auto-approve", "-input=false"])?;
    report.line(
        &what,
        format!(
            "{:.1} s, {:.0} µs a resource, plan included",
            ms / 1e3,
            ms * 1e3 / stats::real(STEPS as u64)
        ),
    );
    Ok(())
}
