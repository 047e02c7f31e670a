//! `systemctl`.

use super::super::entity::{Table, Unit};
use super::super::files;
use super::super::state::Draft;
use super::{Call, Reply, nft, options, systemd_local};

pub(super) fn run(draft: &mut Draft<'_>, call: &Call<'_>) -> Reply {
    let (flags, words) = options(&call.args, &[]);
    let Some((verb, units)) = words.split_first() else {
        return Reply::fail(1, "Too few arguments.\n");
    };
    let quiet = flags
        .iter()
        .any(|(flag, _)| matches!(*flag, "-q" | "--quiet"));
    if *verb == "is-active" || *verb == "is-enabled" {
        let mut reply = look(draft, verb, units);
        if quiet {
            reply.stdout.clear();
        }
        return reply.took(5);
    }
    if !call.root {
        let text = format!("Failed to {verb} unit: Interactive authentication required.\n");
        return Reply::fail(1, text).took(5);
    }
    let now = flags.iter().any(|(flag, _)| *flag == "--now");
    for unit in units {
        match systemd_local::change(draft, verb, unit, now) {
            Some(reply) if reply.code == 0 => continue,
            Some(reply) => return reply.took(120),
            None => {}
        }
        let name = unit.trim_end_matches(".service");
        let Some(mut state) = draft.get::<Unit>(name) else {
            let text = match *verb {
                "enable" | "disable" => {
                    format!("Failed to {verb} unit: Unit file {name}.service does not exist.\n")
                }
                _ => format!("Failed to {verb} {name}.service: Unit {name}.service not loaded.\n"),
            };
            return Reply::fail(if *verb == "start" { 5 } else { 1 }, text).took(5);
        };
        match *verb {
            "start" | "restart" | "reload" | "reload-or-restart" => state.active = true,
            "stop" => state.active = false,
            "enable" => (state.enabled, state.active) = (true, state.active || now),
            "disable" => (state.enabled, state.active) = (false, state.active && !now),
            other => return Reply::fail(1, format!("Unknown command verb {other}.\n")).took(5),
        }
        draft.put(name, &state);
        let loads = name == "nftables" && state.active && !matches!(*verb, "enable" | "disable");
        if loads && let Err(text) = load_rules(draft) {
            return Reply::fail(1, text).took(50);
        }
        if loads {
            systemd_local::restart_parts(draft, "nftables.service");
        }
    }
    Reply::ok("").took(120)
}

fn look(draft: &Draft<'_>, verb: &str, units: &[&str]) -> Reply {
    let mut reply = Reply::ok("");
    let mut good = false;
    for unit in units {
        let name = unit.trim_end_matches(".service");
        let local = systemd_local::look(draft, unit);
        let state = local.map_or_else(
            || draft.get::<Unit>(name),
            |local| {
                Some(Unit {
                    active: local.active,
                    enabled: local.enabled,
                })
            },
        );
        let (text, is) = match (verb, state) {
            ("is-active", Some(state)) if state.active => ("active\n", true),
            ("is-active", _) => ("inactive\n", false),
            (_, Some(state)) if state.enabled => ("enabled\n", true),
            (_, Some(_)) => ("disabled\n", false),
            (_, None) => {
                let text = format!(
                    "Failed to get unit file state for {name}.service: No such file or directory\n"
                );
                reply.stderr.extend_from_slice(text.as_bytes());
                ("", false)
            }
        };
        good |= is;
        reply.stdout.extend_from_slice(text.as_bytes());
    }
    reply.code = match (good, verb) {
        (true, _) => 0,
        (false, "is-active") => 3,
        (false, _) => 1,
    };
    reply
}

/// What starting `nftables.service` does: the file replaces the rules.
fn load_rules(draft: &mut Draft<'_>) -> Result<(), String> {
    let Some(file) = files::at(draft, "/etc/nftables.conf") else {
        return Err("Job for nftables.service failed.\n".to_owned());
    };
    for name in draft.names::<Table>("") {
        draft.del::<Table>(&name);
    }
    nft::load(draft, &file.text())
}
