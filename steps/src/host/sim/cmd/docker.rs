//! `docker`: commands inside containers, and the way to its other verbs.

use super::super::container::Container;
use super::super::entity::{DockerImage, Unit};
use super::super::state::Draft;
use super::{
    Call, Handler, Mount, Reply, ansible, coreutils, docker_image, docker_ps, helm, kubectl,
};

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
        "ansible-playbook" => ansible::run as Handler,
        "helm" => helm::run,
        "kubectl" => kubectl::run,
        "true" | "cat" | "test" | "ls" | "sleep" => coreutils::read,
        _ => return None,
    })
}

pub(super) fn run(draft: &mut Draft<'_>, call: &Call<'_>) -> Reply {
    let words = call.args.as_slice();
    if let ["--version" | "version", ..] = words {
        return Reply::ok("Docker version 24.0.5, build 24.0.5-0ubuntu1\n");
    }
    if !draft.get::<Unit>("docker").is_some_and(|unit| unit.active) {
        let text = "Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon running?\n";
        return Reply::fail(1, text).took(CONTAINER_MS);
    }
    match words {
        ["run", rest @ ..] => container(draft, call, rest),
        ["load", rest @ ..] => docker_image::load(draft, call, rest),
        ["images", ..] => docker_image::images(draft),
        ["image", rest @ ..] => docker_image::image(draft, call, rest),
        ["tag", rest @ ..] => docker_image::tag(draft, call, rest),
        ["ps", rest @ ..] | ["container", "ls", rest @ ..] => docker_ps::ps(draft, call, rest),
        ["inspect", rest @ ..] => docker_ps::inspect(draft, call, rest),
        ["logs", rest @ ..] => docker_ps::logs(draft, rest),
        ["wait", rest @ ..] => docker_ps::wait(draft, rest),
        [verb @ ("stop" | "kill" | "rm"), rest @ ..] => docker_ps::end(draft, verb, rest),
        [verb, ..] => call.complain(1, &format!("'{verb}' is not a docker command.")),
        [] => call.complain(1, "no command"),
    }
}

/// The name of the container that `docker run` with these words starts, and whether it goes with its end.
pub(in super::super) fn container_named(words: &[&str]) -> Option<(String, bool)> {
    let (flags, _) = split(words);
    let name = flags.iter().find(|(flag, _)| *flag == "--name")?.1;
    let rm = flags.iter().any(|(flag, _)| *flag == "--rm");
    Some((name.to_owned(), rm))
}

/// The options of `docker run`, and what follows them.
pub(super) fn split<'a>(words: &[&'a str]) -> (Vec<(&'a str, &'a str)>, Vec<&'a str>) {
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
    let Some((image, command)) = rest.split_first() else {
        return call.complain(125, "\"docker run\" requires at least 1 argument.");
    };
    if draft.get::<DockerImage>(image).is_none() {
        let text = format!("Unable to find image '{image}' locally\n");
        return Reply::fail(125, text).took(CONTAINER_MS);
    }
    let name = flags.iter().find(|(flag, _)| *flag == "--name");
    if let Some((_, name)) = name
        && draft
            .get::<Container>(name)
            .is_some_and(|container| container.is_there())
    {
        let text = format!(
            "docker: Error response from daemon: Conflict. The container name \"/{name}\" is already in use by container \"{}\". You have to remove (or rename) that container to be able to reuse that name.\nSee 'docker run --help'.\n",
            super::uuid_of(name)
        );
        return Reply::fail(125, text).took(CONTAINER_MS);
    }
    let volumes = flags
        .iter()
        .filter(|(flag, _)| matches!(*flag, "-v" | "--volume"));
    let mounts: Vec<Mount> = volumes.filter_map(|(_, text)| mount(text)).collect();
    let Some((program, args)) = command.split_first() else {
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
