//! `ssh` to a virtual machine of the simulated host.

use super::super::files;
use super::super::state::Draft;
use super::domain::{Guest, guests};
use super::{Call, Reply, elsewhere, guest_run, option, options, sshkey};

pub(super) fn ssh(draft: &mut Draft<'_>, call: &Call<'_>) -> Reply {
    let with_value = ["-i", "-o", "-p", "-l", "-F", "-J", "-E"];
    let at = destination(&call.args, &with_value);
    let Some((target, command)) = call.args.get(at..).and_then(<[&str]>::split_first) else {
        return Reply::fail(255, "usage: ssh [-options] destination [command]\n");
    };
    let (flags, _) = options(call.args.get(..at).unwrap_or_default(), &with_value);
    let setting = |name: &str| {
        flags.iter().find_map(|(flag, value)| {
            let pair = if *flag == "-o" {
                (*value).to_owned()
            } else {
                format!("{}={value}", flag.strip_prefix("-o")?)
            };
            let (key, value) = pair.split_once('=')?;
            key.eq_ignore_ascii_case(name).then(|| value.to_owned())
        })
    };
    let (user, host) = if let Some((user, host)) = target.split_once('@') {
        (user.to_owned(), host)
    } else {
        let user = option(&flags, &["-l"]).map(str::to_owned);
        (user.unwrap_or_else(|| files::user_of(draft)), *target)
    };
    let patience_ms = setting("ConnectTimeout")
        .and_then(|text| text.parse::<u64>().ok())
        .map_or(127_000, |seconds| seconds * 1_000);
    let found = guests(draft)
        .into_iter()
        .find(|guest| guest.address == host || guest.hostname == host);
    let port = option(&flags, &["-p"]).unwrap_or("22");
    let found = found.filter(|guest| elsewhere::port(draft, guest).to_string() == port);
    let guest = match found {
        Some(guest) if guest.reachable => guest,
        Some(guest) if guest.leased => return refused(host, "Connection refused", 10),
        Some(_) => return refused(host, "No route to host", patience_ms.min(3_060)),
        None => return refused(host, "Connection timed out", patience_ms),
    };
    if let Some(why) = unknown_host(draft, call, (host, port), &guest, &setting) {
        return Reply::fail(255, why).took(100);
    }
    if let Err(why) = admitted(draft, call, &guest, &user, option(&flags, &["-i"])) {
        return Reply::fail(255, why.replace("TARGET", &format!("{user}@{host}"))).took(150);
    }
    let line = command.join(" ");
    elsewhere::answer(draft, &guest, &line)
        .unwrap_or_else(|| guest_run::remote(draft, &guest, &line, call.stdin))
}

/// Index of the first operand.
fn destination(args: &[&str], with_value: &[&str]) -> usize {
    let mut at = 0;
    while let Some(word) = args.get(at) {
        match *word {
            word if with_value.contains(&word) => at += 2,
            word if word.starts_with('-') => at += 1,
            _ => break,
        }
    }
    at
}

fn refused(host: &str, why: &str, took_ms: u64) -> Reply {
    Reply::fail(255, format!("ssh: connect to host {host} port 22: {why}\n")).took(took_ms)
}

/// Strict host key checking wants the address in the known-hosts file.
fn unknown_host(
    draft: &Draft<'_>,
    call: &Call<'_>,
    (host, port): (&str, &str),
    guest: &Guest,
    setting: &dyn Fn(&str) -> Option<String>,
) -> Option<String> {
    let lenient = setting("StrictHostKeyChecking")
        .is_some_and(|value| matches!(value.as_str(), "no" | "off" | "accept-new"));
    if lenient {
        return None;
    }
    let path = setting("UserKnownHostsFile").unwrap_or_else(|| ".ssh/known_hosts".to_owned());
    let name = match port {
        "22" => host.to_owned(),
        port => format!("[{host}]:{port}"),
    };
    let text = files::at(draft, &call.path(draft, &path)).map(|file| file.text());
    let lines = text.unwrap_or_default();
    let lines = lines.lines().filter_map(|line| line.split_once(' '));
    let pinned = lines
        .filter(|(names, _)| names.split(',').any(|other| other == name))
        .map(|(_, key)| key.to_owned())
        .next();
    // A guest whose seed gives it no key makes one that nobody knows beforehand.
    let offered = elsewhere::host_key(draft, guest);
    match pinned {
        Some(pinned) if offered.is_none_or(|offered| offered == pinned) => None,
        Some(_) => Some(
            "@    WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!     @\nHost key verification failed.\n"
                .to_owned(),
        ),
        None => Some("Host key verification failed.\n".to_owned()),
    }
}

fn admitted(
    draft: &Draft<'_>,
    call: &Call<'_>,
    guest: &Guest,
    user: &str,
    key: Option<&str>,
) -> Result<(), String> {
    let denied = "TARGET: Permission denied (publickey).\n".to_owned();
    let key = key.unwrap_or(".ssh/id_ed25519");
    let Some(file) = files::at(draft, &call.path(draft, key)) else {
        return Err(format!(
            "Warning: Identity file {key} not accessible: No such file or directory.\n{denied}"
        ));
    };
    if !files::readable(draft, &file, call.root) {
        return Err(format!("Load key \"{key}\": Permission denied\n{denied}"));
    }
    if file.mode & 0o077 != 0 {
        return Err(format!(
            "Permissions {:#05o} for '{key}' are too open.\nThis private key will be ignored.\n{denied}",
            file.mode
        ));
    }
    match elsewhere::admits(draft, guest, user) {
        Some(true) => return Ok(()),
        Some(false) => return Err(denied),
        None => {}
    }
    let line = sshkey::public_line(&file.text()).unwrap_or_default();
    let blob = sshkey::public_blob(&line).unwrap_or("\0");
    let seed = guest.seed.as_ref().map_or("", |seed| seed.user.as_str());
    let names = [format!("name: {user}"), format!("name: \"{user}\"")];
    let invited = seed.contains(blob) && names.iter().any(|name| seed.contains(name.as_str()));
    if invited { Ok(()) } else { Err(denied) }
}
