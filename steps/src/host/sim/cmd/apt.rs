//! dpkg and apt.

use std::fmt::Write as _;

use super::super::entity::{File, Group, Network, Package, Unit, User};
use super::super::state::Draft;
use super::super::surroundings::Surroundings;
use super::catalog::{self, Entry};
use super::{Call, QUICK_MS, Reply, network, option, options};

const INTERRUPTED: &str = "E: dpkg was interrupted, you must manually run 'dpkg --configure -a' to correct the problem. \n";
const NOT_ROOT: &str = "E: Could not open lock file /var/lib/dpkg/lock-frontend - open (13: Permission denied)\nE: Unable to acquire the dpkg frontend lock (/var/lib/dpkg/lock-frontend), are you root?\n";

pub(super) fn run(draft: &mut Draft<'_>, call: &Call<'_>) -> Reply {
    match call.program {
        "dpkg-query" => query(draft, call).took(8),
        "dpkg" => dpkg(draft, call),
        _ => apt_get(draft, call),
    }
}

fn query(draft: &Draft<'_>, call: &Call<'_>) -> Reply {
    let (flags, mut names) = options(&call.args, &["-f", "--showformat"]);
    let format = option(&flags, &["-f", "--showformat"])
        .or_else(|| flags.iter().find_map(|(flag, _)| flag.strip_prefix("-f")))
        .unwrap_or("${Package}\\t${Version}\\n");
    if let Some((_, "")) = flags.iter().find(|(flag, _)| *flag == "-f=") {
        names.clear();
    }
    let all = draft.list::<Package>();
    let mut reply = Reply::ok("");
    let known: Vec<(String, Package)> = match names.as_slice() {
        [] => all,
        names => names
            .iter()
            .filter_map(|name| {
                let found = draft.get::<Package>(name);
                if found.is_none() {
                    reply.code = 1;
                    reply.stderr.extend_from_slice(
                        format!("dpkg-query: no packages found matching {name}\n").as_bytes(),
                    );
                }
                found.map(|package| ((*name).to_owned(), package))
            })
            .collect(),
    };
    for (name, package) in known {
        let wide = match package.status.as_str() {
            "installed" => "install ok installed".to_owned(),
            status => format!("install ok {status}"),
        };
        let line = format
            .replace("${Package}", &name)
            .replace("${binary:Package}", &name)
            .replace("${db:Status-Status}", &package.status)
            .replace("${Status}", &wide)
            .replace("${Version}", "1.0-1")
            .replace("\\n", "\n")
            .replace("\\t", "\t");
        reply.stdout.extend_from_slice(line.as_bytes());
    }
    reply
}

fn dpkg(draft: &mut Draft<'_>, call: &Call<'_>) -> Reply {
    if !call.args.contains(&"--configure") {
        return Reply::fail(2, "dpkg: error: only --configure -a is simulated\n");
    }
    if !call.root {
        return Reply::fail(
            2,
            "dpkg: error: requested operation requires superuser privilege\n",
        );
    }
    let mut text = String::new();
    for (name, mut package) in draft.list::<Package>() {
        if package.status == "unpacked" {
            "installed".clone_into(&mut package.status);
            draft.put(&name, &package);
            arrive(draft, &name);
            draft.mark_half();
            let _ = writeln!(text, "Setting up {name} (1.0-1) ...");
        }
    }
    Reply::ok(text).took(1_500)
}

fn apt_get(draft: &mut Draft<'_>, call: &Call<'_>) -> Reply {
    let (flags, words) = options(&call.args, &["-o", "-t", "--option"]);
    let Some((verb, names)) = words.split_first() else {
        return Reply::ok("apt 2.4.12 (amd64)\n");
    };
    if !call.root {
        return Reply::fail(100, NOT_ROOT).took(200);
    }
    if *verb == "update" {
        return Reply::ok(
            "Hit:1 http://archive.ubuntu.com/ubuntu jammy InRelease\nReading package lists...\n",
        )
        .took(6_000);
    }
    let broken = draft
        .list::<Package>()
        .iter()
        .any(|(_, package)| package.status == "unpacked");
    if broken && !matches!(*verb, "clean" | "update") {
        return Reply::fail(100, INTERRUPTED).took(300);
    }
    if let Some(unknown) = names.iter().find(|name| catalog::find(name).is_none()) {
        let text = format!("E: Unable to locate package {unknown}\n");
        return Reply::fail(100, text).took(400);
    }
    if flags
        .iter()
        .any(|(flag, _)| matches!(*flag, "-s" | "--simulate" | "--dry-run"))
    {
        let mut text = "NOTE: This is only a simulation!\n".to_owned();
        if *verb == "install" {
            for (entry, _) in missing(draft, names) {
                let _ = writeln!(text, "Inst {} (1.0-1 Ubuntu:22.04 [amd64])", entry.name);
            }
        }
        if *verb == "dist-upgrade" {
            for name in Surroundings::of(draft).upgrades {
                let _ = writeln!(text, "Inst {name} [1.0-1] (1.0-2 Ubuntu:22.04 [amd64])");
            }
        }
        return Reply::ok(text).took(400);
    }
    let wait_s = option(&flags, &["-o", "--option"])
        .and_then(|text| text.strip_prefix("DPkg::Lock::Timeout="))
        .and_then(|text| text.parse::<u64>().ok())
        .unwrap_or(0);
    let around = Surroundings::of(draft);
    let mut waited_ms = 0;
    if let Some(holder) = around.holder(draft.now_ms()) {
        waited_ms = holder.until_ms.saturating_sub(draft.now_ms());
        if waited_ms > wait_s * 1_000 {
            let text = format!(
                "E: Could not get lock /var/lib/dpkg/lock-frontend. It is held by process {} ({})\nE: Unable to acquire the dpkg frontend lock (/var/lib/dpkg/lock-frontend), is another process using it?\n",
                holder.pid, holder.name
            );
            return Reply::fail(100, text).took(wait_s * 1_000);
        }
    }
    let mut reply = changing(draft, verb, names);
    reply.took_ms += waited_ms;
    reply
}

fn changing(draft: &mut Draft<'_>, verb: &str, names: &[&str]) -> Reply {
    match verb {
        "dist-upgrade" => upgrade(draft),
        "install" => install_verb(draft, names),
        "purge" | "remove" => {
            let gone = closure_up(draft, names);
            remove_all(draft, &gone)
        }
        "autoremove" => {
            let unneeded = unneeded(draft);
            remove_all(draft, &unneeded)
        }
        _ => Reply::ok("").took(500),
    }
}

/// A new kernel only counts after a restart.
fn ask_for_restart(draft: &mut Draft<'_>, upgraded: &[String]) {
    if upgraded.iter().any(|name| name.starts_with("linux-")) {
        let flag = File::new(b"*** System restart required ***\n", 0o644, "root:root");
        draft.put("/var/run/reboot-required", &flag);
    }
}

/// Upgrades everything of which there is a newer version. Interrupted, it leaves the first half of that done, and the last of
/// them unpacked.
fn upgrade(draft: &mut Draft<'_>) -> Reply {
    let mut around = Surroundings::of(draft);
    let all = std::mem::take(&mut around.upgrades);
    let (done, rest) = all.split_at(all.len().div_ceil(2));
    let mut left = around.clone();
    left.upgrades = rest.to_vec();
    draft.half_only(|draft| {
        let torn = done.last();
        if let Some((name, mut package)) =
            torn.and_then(|name| Some((name, draft.get::<Package>(name)?)))
        {
            "unpacked".clone_into(&mut package.status);
            draft.put(name, &package);
        }
        ask_for_restart(draft, done);
        draft.put("", &left);
    });
    draft.put("", &around);
    ask_for_restart(draft, &all);
    let mut text = format!(
        "{} upgraded, 0 newly installed, 0 to remove and 0 not upgraded.\n",
        all.len()
    );
    for name in &all {
        let _ = writeln!(text, "Setting up {name} (1.0-2) ...");
    }
    Reply::ok(text).took(2_000 + 30_000 * all.len() as u64)
}

/// Everything that must be installed with `names` and is not yet, dependencies first.
fn missing(draft: &Draft<'_>, names: &[&str]) -> Vec<(Entry, bool)> {
    let mut found: Vec<(Entry, bool)> = Vec::new();
    for name in names {
        add_missing(draft, name, false, &mut found);
    }
    found
}

fn add_missing(draft: &Draft<'_>, name: &str, auto: bool, found: &mut Vec<(Entry, bool)>) {
    let Some(entry) = catalog::find(name) else {
        return;
    };
    if let Some(known) = found.iter_mut().find(|(known, _)| known.name == name) {
        known.1 &= auto;
        return;
    }
    if draft.has::<Package>(name) {
        return;
    }
    for dependency in entry.depends {
        add_missing(draft, dependency, true, found);
    }
    found.push((entry, auto));
}

fn install_verb(draft: &mut Draft<'_>, names: &[&str]) -> Reply {
    let new = missing(draft, names);
    let list: Vec<&str> = new.iter().map(|(entry, _)| entry.name).collect();
    let mut text = "Reading package lists...\nBuilding dependency tree...\n".to_owned();
    if !new.is_empty() {
        let _ = write!(
            text,
            "The following NEW packages will be installed:\n  {}\n",
            list.join(" ")
        );
    }
    let _ = writeln!(
        text,
        "0 upgraded, {} newly installed, 0 to remove and 0 not upgraded.",
        new.len()
    );
    for name in &list {
        let _ = writeln!(text, "Unpacking {name} (1.0-1) ...");
    }
    for name in &list {
        let _ = writeln!(text, "Setting up {name} (1.0-1) ...");
    }
    install(draft, names);
    let took_ms = if new.is_empty() {
        900
    } else {
        4_000 + 3_000 * new.len() as u64
    };
    Reply::ok(text).took(took_ms)
}

/// Installs packages with their dependencies. Interrupted, it leaves the first half of them unpacked.
pub(crate) fn install(draft: &mut Draft<'_>, names: &[&str]) {
    let new = missing(draft, names);
    let package = |status: &str, auto: bool| Package {
        status: status.to_owned(),
        auto,
    };
    draft.half_only(|draft| {
        for (entry, auto) in new.iter().take(new.len().div_ceil(2)) {
            draft.put(entry.name, &package("unpacked", *auto));
        }
    });
    for (entry, auto) in &new {
        draft.put(entry.name, &package("installed", *auto));
    }
    for (entry, _) in &new {
        arrive(draft, entry.name);
    }
}

/// What a package's scripts do when it is configured.
fn arrive(draft: &mut Draft<'_>, name: &str) {
    let Some(entry) = catalog::find(name) else {
        return;
    };
    for (unit, active, enabled) in entry.units {
        let state = Unit {
            active: *active,
            enabled: *enabled,
        };
        draft.put(unit, &state);
    }
    for (group, gid) in entry.groups {
        if !draft.has::<Group>(group) {
            let members = Vec::new();
            draft.put(group, &Group { gid: *gid, members });
        }
    }
    for (user, uid, group) in entry.users {
        let gid = draft.get::<Group>(group).map_or(109, |group| group.gid);
        let user_entry = User {
            uid: *uid,
            gid,
            group: (*group).to_owned(),
            home: "/nonexistent".to_owned(),
            shell: "/usr/sbin/nologin".to_owned(),
        };
        draft.put(user, &user_entry);
    }
    if name == "libvirt-daemon-system" && !draft.has::<Network>("default") {
        network::make_default(draft);
    }
}

fn leave(draft: &mut Draft<'_>, name: &str) {
    draft.del::<Package>(name);
    let Some(entry) = catalog::find(name) else {
        return;
    };
    for (unit, _, _) in entry.units {
        draft.del::<Unit>(unit);
    }
    for (user, _, _) in entry.users {
        draft.del::<User>(user);
    }
    for (group, _) in entry.groups {
        draft.del::<Group>(group);
    }
    if name == "libvirt-daemon-system" {
        network::forget_all(draft);
    }
}

/// Installed packages among `names`, and everything that depends on them.
fn closure_up(draft: &Draft<'_>, names: &[&str]) -> Vec<String> {
    let mut gone: Vec<String> = names
        .iter()
        .filter(|name| draft.has::<Package>(name))
        .map(|name| (*name).to_owned())
        .collect();
    loop {
        let more = draft.list::<Package>().into_iter().find(|(name, _)| {
            let depends = catalog::find(name).map_or(&[][..], |entry| entry.depends);
            !gone.contains(name) && depends.iter().any(|need| gone.iter().any(|g| g == need))
        });
        match more {
            Some((name, _)) => gone.push(name),
            None => return gone,
        }
    }
}

/// Removes packages and what needs them.
pub(crate) fn remove(draft: &mut Draft<'_>, names: &[&str]) {
    let gone = closure_up(draft, names);
    let _ = remove_all(draft, &gone);
}

/// Packages that came only as dependencies and that nothing needs any more.
fn unneeded(draft: &Draft<'_>) -> Vec<String> {
    let all = draft.list::<Package>();
    let mut needed: Vec<String> = all
        .iter()
        .filter(|(_, package)| !package.auto)
        .map(|(name, _)| name.clone())
        .collect();
    let mut at = 0;
    while let Some(name) = needed.get(at) {
        let depends = catalog::find(name).map_or(&[][..], |entry| entry.depends);
        for need in depends {
            if !needed.iter().any(|known| known == need) {
                needed.push((*need).to_owned());
            }
        }
        at += 1;
    }
    all.into_iter()
        .map(|(name, _)| name)
        .filter(|name| !needed.contains(name))
        .collect()
}

fn remove_all(draft: &mut Draft<'_>, names: &[String]) -> Reply {
    let mut text = format!(
        "Reading package lists...\n0 upgraded, 0 newly installed, {} to remove and 0 not upgraded.\n",
        names.len()
    );
    let took_ms = 1_000 + 1_500 * names.len() as u64;
    let half = names.len() / 2;
    for (index, name) in names.iter().enumerate() {
        leave(draft, name);
        let _ = writeln!(text, "Removing {name} (1.0-1) ...");
        if index + 1 == half {
            draft.mark_half();
        }
    }
    Reply::ok(text).took(took_ms.max(QUICK_MS))
}
