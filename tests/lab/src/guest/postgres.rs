//! PostgreSQL: one primary, and standbys that stay connected to it.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use crate::http::{self, Reply};
use crate::{Answer, host, text, write};

pub(crate) const PORT: u16 = 5432;
const DATA: &str = "/var/lib/postgresql/17/main";
const CONTROL: &str = "/var/lib/postgresql/17/main/global/pg_control";
/// Marks a standby; the text is the primary's address.
const STANDBY: &str = "/var/lib/postgresql/17/main/standby.signal";
/// How long a standby rests between two attempts to connect.
const REST: Duration = Duration::from_millis(500);

/// Standbys that stream from this server.
static STREAMS: AtomicUsize = AtomicUsize::new(0);

fn control() -> Value {
    serde_json::from_str(&text(CONTROL)).unwrap_or_default()
}

fn standby() -> Option<String> {
    fs_err::read_to_string(STANDBY)
        .ok()
        .map(|text| text.trim().to_owned())
}

/// What the server says; `None` when it keeps a standby's connection until that ends.
pub(crate) fn reply(path: &str, stream: &mut TcpStream) -> Option<Reply> {
    let control = control();
    match path {
        "/backup" if standby().is_none() => Some((200, control.to_string())),
        "/row" => Some((200, row(&control))),
        _ if path.strip_prefix("/stream/") == control.get("system").and_then(Value::as_str) => {
            hold(stream);
            None
        }
        _ => Some((403, String::new())),
    }
}

fn hold(stream: &mut TcpStream) {
    if stream.set_read_timeout(None).is_err() || stream.write_all(b"+").is_err() {
        return;
    }
    STREAMS.fetch_add(1, Ordering::SeqCst);
    // Nothing ever comes; an end or an error is the end of the stream.
    let mut byte = [0];
    while stream.read(&mut byte).is_ok_and(|count| count > 0) {}
    STREAMS.fetch_sub(1, Ordering::SeqCst);
}

fn row(control: &Value) -> String {
    let streams = STREAMS.load(Ordering::SeqCst);
    let text = |name: &str| {
        control
            .get(name)
            .and_then(Value::as_str)
            .unwrap_or_default()
    };
    let flag = |yes: bool| if yes { "t" } else { "f" };
    let timeline = control.get("timeline").and_then(Value::as_u64).unwrap_or(1);
    let databases = control.get("databases").and_then(Value::as_array);
    let wire = databases
        .into_iter()
        .flatten()
        .any(|name| name == "wire-server");
    format!(
        "{}|{streams}|{streams}|{}|{timeline}|{}\n",
        flag(standby().is_some()),
        text("system"),
        flag(wire)
    )
}

/// A standby stays connected to its primary.
#[expect(
    clippy::disallowed_methods,
    reason = "a standby tries again after a while"
)]
pub(crate) fn follow() {
    loop {
        if let Some(primary) = standby() {
            let system = control()
                .get("system")
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned();
            // It tries again whatever the reason was.
            let _ = stream_from(&primary, &system);
        }
        std::thread::sleep(REST);
    }
}

fn stream_from(primary: &str, system: &str) -> std::io::Result<()> {
    let mut stream = http::connect(primary, PORT)?;
    stream.write_all(format!("GET /stream/{system} HTTP/1.1\r\n\r\n").as_bytes())?;
    stream.set_read_timeout(None)?;
    let mut byte = [0];
    while stream.read(&mut byte)? > 0 {}
    Ok(())
}

pub(crate) fn psql(_: &[&str]) -> Answer {
    if rustix::process::geteuid().is_root() {
        return Answer::fail(2, "psql: error: FATAL:  role \"root\" does not exist\n");
    }
    http::get("127.0.0.1", PORT, "/row").map_or_else(
        || Answer::fail(2, "psql: error: connection to server on socket \"/var/run/postgresql/.s.PGSQL.5432\" failed: No such file or directory\n"),
        Answer::ok,
    )
}

/// `init`, `primary DATABASE`, `clone ADDRESS`: what initdb, createdb and repmgr do to the data directory.
pub(crate) fn prepare(args: &[&str]) -> Answer {
    let done = match args {
        ["init"] if text(CONTROL).is_empty() => {
            let control =
                json!({"system": format!("7{:018}", seed()), "timeline": 1, "databases": []});
            save(&control)
        }
        ["init"] => Ok(()),
        ["primary", database] => {
            let mut control = control();
            if let Some(control) = control.as_object_mut() {
                control.insert("databases".to_owned(), json!([database]));
            }
            crate::remove(STANDBY).and_then(|()| save(&control))
        }
        ["clone", primary] => clone(primary),
        _ => return Answer::fail(64, "pg: init, primary DATABASE or clone ADDRESS\n"),
    };
    done.err().map_or_else(Answer::default, |error| {
        Answer::fail(1, format!("pg: {error}\n"))
    })
}

/// Differs from machine to machine: a digest of its name.
fn seed() -> u64 {
    let digest = host().bytes().fold(0xcbf2_9ce4_8422_2325_u64, |all, byte| {
        (all ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    digest % 1_000_000_000_000_000_000
}

fn save(control: &Value) -> std::io::Result<()> {
    write(&format!("{DATA}/PG_VERSION"), "17\n")?;
    write(CONTROL, &control.to_string())
}

fn clone(primary: &str) -> std::io::Result<()> {
    let backup = http::get(primary, PORT, "/backup");
    let backup =
        backup.ok_or_else(|| std::io::Error::other(format!("{primary} gives no backup")))?;
    if std::fs::metadata(DATA).is_ok() {
        fs_err::remove_dir_all(DATA)?;
    }
    let control: Value = serde_json::from_str(&backup)?;
    save(&control)?;
    write(STANDBY, &format!("{primary}\n"))
}
