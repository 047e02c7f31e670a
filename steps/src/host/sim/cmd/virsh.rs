//! `virsh`: which command, and how libvirt complains.

use super::super::entity::{Group, Unit};
use super::super::files;
use super::super::state::Draft;
use super::{Call, Reply, domain, network};

/// What a command takes, the connection included.
const VIRSH_MS: u64 = 30;

/// A failure in libvirt's words.
pub(super) fn error(lines: &[&str]) -> Reply {
    let text = lines
        .iter()
        .fold(String::new(), |text, line| text + "error: " + line + "\n");
    Reply::fail(1, text).took(VIRSH_MS)
}

/// Success; virsh ends its messages with an empty line.
pub(super) fn done(text: &str) -> Reply {
    Reply::ok(format!("{text}\n\n")).took(VIRSH_MS)
}

/// Output that is not a message.
pub(super) fn shows(text: String) -> Reply {
    Reply::ok(text).took(VIRSH_MS)
}

pub(super) fn run(draft: &mut Draft<'_>, call: &Call<'_>) -> Reply {
    let mut args = call.args.as_slice();
    loop {
        args = match args {
            ["-c" | "--connect", _, rest @ ..] | ["-q" | "--quiet", rest @ ..] => rest,
            _ => break,
        };
    }
    let active = draft
        .get::<Unit>("libvirtd")
        .is_some_and(|unit| unit.active);
    if !active {
        return error(&[
            "failed to connect to the hypervisor",
            "Failed to connect socket to '/var/run/libvirt/libvirt-sock': No such file or directory",
        ]);
    }
    let user = files::user_of(draft);
    let member = draft
        .get::<Group>("libvirt")
        .is_some_and(|group| group.members.contains(&user));
    if !call.root && !member {
        return error(&[
            "failed to connect to the hypervisor",
            "authentication unavailable: no polkit agent available to authenticate action 'org.libvirt.unix.manage'",
        ]);
    }
    let Some((verb, rest)) = args.split_first() else {
        return error(&["no command"]);
    };
    let call = Call {
        args: rest.to_vec(),
        ..call.clone()
    };
    match verb.strip_prefix("net-") {
        Some(verb) => network::run(draft, &call, verb),
        None => domain::run(draft, &call, verb),
    }
}
