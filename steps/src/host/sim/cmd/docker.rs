//! `docker`: images that are loaded, and commands inside their containers.

use super::super::entity::DockerImage;
use super::super::state::Draft;
use super::{Call, Handler, Mount, Reply, coreutils, helm, kubectl};

/// Working directory of the tool image.
pub(super) const WORKDIR: &str = "/wire-server-deploy";

/// What starting and removing a container takes.
const CONTAINER_MS: u64 = 400;

/// Options of `docker run` that take the next word.
const WITH_VALUE: [&str; 14] = [
    "-v",
    "--volume",
    "-e",
    "--env",
    "-w",
    "--workdir",
    "--network",
    "--name",
    "--label",
    "-l",
    "--pull",
    "--user",
    "-u",
    "--entrypoint",
];

/// The programs of the tool image.
fn contained(program: &str) -> Option<Handler> {
    Some(match program {
        "true" | "cat" | "test" | "ls" => coreutils::read as Handler,
        "helm" => helm::run,
        "kubectl" => kubectl::run,
        _ => return None,
    })
}

pub(super) fn run(draft: &mut Draft<'_>, call: &Call<'_>) -> Reply {
    match call.args.as_slice() {
        ["run", rest @ ..] => container(draft, call, rest),
        ["--version" | "version", ..] => {
            Reply::ok("Docker version 24.0.5, build 24.0.5-0ubuntu1\n")
        }
        [verb, ..] => call.complain(1, &format!("'{verb}' is not a docker command.")),
        [] => call.complain(1, "no command"),
    }
}

/// The options of `docker run`, and what follows them.
fn split<'a>(words: &[&'a str]) -> (Vec<(&'a str, &'a str)>, Vec<&'a str>) {
    let (mut flags, mut at) = (Vec::new(), 0);
    while let Some(word) = words.get(at) {
        if !word.starts_with('-') {
            break;
        }
        if WITH_VALUE.contains(word) {
            flags.push((*word, words.get(at + 1).copied().unwrap_or_default()));
            at += 2;
        } else {
            flags.push(word.split_once('=').unwrap_or((word, "")));
            at += 1;
        }
    }
    (flags, words.get(at..).unwrap_or_default().to_vec())
}

fn mount(text: &str) -> Option<Mount> {
    let mut parts = text.split(':');
    let (outside, inside) = (parts.next()?, parts.next()?);
    Some(Mount {
        inside: inside.to_owned(),
        outside: outside.to_owned(),
        read_only: parts.next() == Some("ro"),
    })
}

fn container(draft: &mut Draft<'_>, call: &Call<'_>, words: &[&str]) -> Reply {
    let (flags, rest) = split(words);
    let Some((image, argv)) = rest.split_first() else {
        return call.complain(125, "\"docker run\" requires at least 1 argument.");
    };
    if draft.get::<DockerImage>(image).is_none() {
        let text = format!("Unable to find image '{image}' locally\n");
        return Reply::fail(125, text).took(CONTAINER_MS);
    }
    let volumes = flags
        .iter()
        .filter(|(flag, _)| matches!(*flag, "-v" | "--volume"));
    let mounts: Vec<Mount> = volumes.filter_map(|(_, text)| mount(text)).collect();
    let Some((program, args)) = argv.split_first() else {
        return Reply::ok("").took(CONTAINER_MS);
    };
    let Some(handler) = contained(program) else {
        let text = format!(
            "docker: Error response from daemon: exec: \"{program}\": executable file not found in $PATH: unknown.\n"
        );
        return Reply::fail(127, text).took(CONTAINER_MS);
    };
    let inner = Call {
        program,
        args: args.to_vec(),
        stdin: call.stdin,
        root: true,
        mounts: &mounts,
    };
    let reply = handler(draft, &inner);
    let took_ms = reply.took_ms + CONTAINER_MS;
    reply.took(took_ms)
}
