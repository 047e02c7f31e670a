//! Users and groups.

use super::super::entity::{Group, User};
use super::super::files;
use super::super::state::Draft;
use super::{Call, QUICK_MS, Reply, ask, option, options};

pub(super) fn run(draft: &mut Draft<'_>, call: &Call<'_>) -> Reply {
    match call.program {
        "id" => id(draft, call),
        "groups" => names(draft, call, call.args.first().copied()),
        "getent" => getent(draft, call),
        "usermod" => usermod(draft, call),
        _ => gpasswd(draft, call),
    }
    .took(QUICK_MS)
}

/// All groups of a user, the primary one first.
fn groups_of(draft: &Draft<'_>, name: &str, user: &User) -> Vec<String> {
    let mut found = vec![user.group.clone()];
    let others = draft.list::<Group>().into_iter().filter(|(group, entry)| {
        *group != user.group && entry.members.iter().any(|member| member == name)
    });
    let mut others: Vec<(u32, String)> = others.map(|(group, entry)| (entry.gid, group)).collect();
    others.sort();
    found.extend(others.into_iter().map(|(_, group)| group));
    found
}

fn actor(draft: &Draft<'_>, call: &Call<'_>) -> String {
    if call.root {
        "root".to_owned()
    } else {
        files::user_of(draft)
    }
}

fn names(draft: &Draft<'_>, call: &Call<'_>, user: Option<&str>) -> Reply {
    let name = user.map_or_else(|| actor(draft, call), str::to_owned);
    match draft.get::<User>(&name) {
        Some(user) => Reply::ok(format!("{}\n", groups_of(draft, &name, &user).join(" "))),
        None => call.complain(1, &format!("‘{name}’: no such user")),
    }
}

fn id(draft: &Draft<'_>, call: &Call<'_>) -> Reply {
    let (flags, operands) = options(&call.args, &[]);
    let name = match operands.first() {
        Some(name) => (*name).to_owned(),
        None => actor(draft, call),
    };
    let Some(user) = draft.get::<User>(&name) else {
        return call.complain(1, &format!("‘{name}’: no such user"));
    };
    let flag = flags.first().map_or("", |(flag, _)| flag);
    match flag {
        "-u" => Reply::ok(format!("{}\n", user.uid)),
        "-g" => Reply::ok(format!("{}\n", user.gid)),
        "-un" => Reply::ok(format!("{name}\n")),
        "-gn" => Reply::ok(format!("{}\n", user.group)),
        "-nG" | "-Gn" => names(draft, call, Some(&name)),
        _ => Reply::ok(format!(
            "uid={}({name}) gid={}({})\n",
            user.uid, user.gid, user.group
        )),
    }
}

fn getent(draft: &Draft<'_>, call: &Call<'_>) -> Reply {
    let line = match call.args.as_slice() {
        ["ahosts", name] => return ask::ahosts(draft, name),
        ["passwd", name] => draft.get::<User>(name).map(|user| {
            format!(
                "{name}:x:{}:{}::{}:{}\n",
                user.uid, user.gid, user.home, user.shell
            )
        }),
        ["group", name] => draft
            .get::<Group>(name)
            .map(|group| format!("{name}:x:{}:{}\n", group.gid, group.members.join(","))),
        _ => None,
    };
    line.map_or_else(|| Reply::fail(2, ""), Reply::ok)
}

fn usermod(draft: &mut Draft<'_>, call: &Call<'_>) -> Reply {
    if !call.root {
        return call.complain(1, "Permission denied.");
    }
    let (flags, operands) = options(&call.args, &["-aG", "-G", "-s", "-d"]);
    let (Some(wanted), Some(user)) = (option(&flags, &["-aG", "-G"]), operands.first()) else {
        return call.complain(2, "only -aG GROUPS USER is simulated");
    };
    if !draft.has::<User>(user) {
        return call.complain(6, &format!("user '{user}' does not exist"));
    }
    let wanted: Vec<&str> = wanted.split(',').collect();
    if let Some(missing) = wanted.iter().find(|group| !draft.has::<Group>(group)) {
        return call.complain(6, &format!("group '{missing}' does not exist"));
    }
    for (index, name) in wanted.iter().enumerate() {
        let Some(mut group) = draft.get::<Group>(name) else {
            continue;
        };
        if !group.members.iter().any(|member| member == user) {
            group.members.push((*user).to_owned());
            draft.put(name, &group);
        }
        if index + 1 < wanted.len() {
            draft.mark_half();
        }
    }
    Reply::ok("")
}

fn gpasswd(draft: &mut Draft<'_>, call: &Call<'_>) -> Reply {
    if !call.root {
        return call.complain(1, "Permission denied.");
    }
    let (verb, user, name) = match call.args.as_slice() {
        [verb @ ("-d" | "-a"), user, group] => (*verb, *user, *group),
        _ => return call.complain(2, "only -a|-d USER GROUP is simulated"),
    };
    let Some(mut group) = draft.get::<Group>(name) else {
        return call.complain(1, &format!("group '{name}' does not exist in /etc/group"));
    };
    let member = group.members.iter().any(|member| member == user);
    match verb {
        "-d" if !member => {
            return call.complain(3, &format!("user '{user}' is not a member of '{name}'"));
        }
        "-d" => group.members.retain(|member| member != user),
        _ if member => {}
        _ => group.members.push(user.to_owned()),
    }
    draft.put(name, &group);
    let text = match verb {
        "-d" => format!("Removing user {user} from group {name}\n"),
        _ => format!("Adding user {user} to group {name}\n"),
    };
    Reply::ok(text)
}
