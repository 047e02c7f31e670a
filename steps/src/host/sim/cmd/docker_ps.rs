//! `docker ps`, `logs`, `wait`, `stop` and what else is done to containers that have a name.

use super::super::container::{self, Container, Ended};
use super::super::state::Draft;
use super::{Call, QUICK_MS, Reply, docker, option, options};

/// What a container takes to stop when it is asked to.
const STOP_MS: u64 = 1_200;

fn no_such(name: &str) -> Reply {
    let text = format!("Error response from daemon: No such container: {name}\n");
    Reply::fail(1, text).took(QUICK_MS)
}

fn state(container: &Container) -> &'static str {
    if container.end.is_none() {
        "running"
    } else {
        "exited"
    }
}

/// The value of a label in the command that made a container.
fn label(container: &Container, key: &str) -> Option<String> {
    let words: Vec<&str> = container.cmd.argv.iter().map(String::as_str).collect();
    let (flags, _) = docker::split(words.get(2..).unwrap_or_default());
    let mut labels = flags
        .iter()
        .filter(|(flag, _)| matches!(*flag, "-l" | "--label"))
        .filter_map(|(_, text)| text.split_once('='));
    labels
        .find(|(name, _)| *name == key)
        .map(|(_, value)| value.to_owned())
}

pub(super) fn ps(draft: &Draft<'_>, call: &Call<'_>, words: &[&str]) -> Reply {
    let (flags, _) = options_of(words);
    let all = option(&flags, &["-a", "--all"]).is_some();
    let filters: Vec<&str> = flags
        .iter()
        .filter(|(flag, _)| matches!(*flag, "-f" | "--filter"))
        .map(|(_, text)| *text)
        .collect();
    let format = option(&flags, &["--format"]).unwrap_or("{{.Names}}");
    let mut text = String::new();
    for (name, container) in draft.list::<Container>() {
        let shown = container.is_there() && (all || container.end.is_none());
        let fits = |filter: &&str| match filter.split_once('=') {
            Some(("name", pattern)) => name.contains(pattern.trim_matches(['^', '$'])),
            Some(("status", status)) => state(&container) == status,
            Some(("label", wanted)) => match wanted.split_once('=') {
                Some((key, value)) => label(&container, key).as_deref() == Some(value),
                None => label(&container, wanted).is_some(),
            },
            _ => false,
        };
        if shown && filters.iter().all(fits) {
            match render(format, &name, &container) {
                Some(line) => text.push_str(&line),
                None => return call.complain(1, "this format is not simulated"),
            }
            text.push('\n');
        }
    }
    Reply::ok(text).took(QUICK_MS)
}

fn options_of<'a>(words: &[&'a str]) -> (Vec<(&'a str, &'a str)>, Vec<&'a str>) {
    options(words, &["-f", "--filter", "--format"])
}

/// A line of a Go template with these placeholders.
fn render(format: &str, name: &str, container: &Container) -> Option<String> {
    let (mut line, mut rest) = (String::new(), format);
    while let Some((before, after)) = rest.split_once("{{") {
        let (placeholder, after) = after.split_once("}}")?;
        line.push_str(before);
        line.push_str(&match placeholder.trim() {
            ".Names" | ".Name" => name.to_owned(),
            ".State" | ".State.Status" => state(container).to_owned(),
            ".State.ExitCode" => {
                let code = container.end.as_ref().map_or(0, |end| end.output.code);
                code.to_string()
            }
            other => {
                let key = other.strip_prefix(".Label \"")?.strip_suffix('"')?;
                label(container, key).unwrap_or_default()
            }
        });
        rest = after;
    }
    Some(line + rest)
}

pub(super) fn inspect(draft: &Draft<'_>, call: &Call<'_>, words: &[&str]) -> Reply {
    let (flags, names) = options_of(words);
    let name = names.first().copied().unwrap_or_default();
    let Some(container) = draft.get::<Container>(name).filter(Container::is_there) else {
        return no_such(name);
    };
    let format = option(&flags, &["-f", "--format"]).unwrap_or_default();
    match render(format, name, &container) {
        Some(line) => Reply::ok(line + "\n").took(QUICK_MS),
        None => call.complain(1, "this format is not simulated"),
    }
}

/// How a container ends: known, or foreseen after this time.
fn end_of(draft: &Draft<'_>, container: &Container, name: &str) -> (Ended, u64) {
    if let Some(end) = &container.end {
        return (end.clone(), 0);
    }
    let output = container::foresee(draft, name, container);
    let at_ms = container.ends_ms;
    (
        Ended { at_ms, output },
        at_ms.saturating_sub(draft.now_ms()),
    )
}

pub(super) fn wait(draft: &Draft<'_>, words: &[&str]) -> Reply {
    let name = words.first().copied().unwrap_or_default();
    let found = draft.get::<Container>(name);
    match found.filter(|container| container.answers(draft.now_ms())) {
        None => no_such(name),
        Some(container) => {
            let (end, left_ms) = end_of(draft, &container, name);
            Reply::ok(format!("{}\n", end.output.code)).took(left_ms + QUICK_MS)
        }
    }
}

pub(super) fn logs(draft: &Draft<'_>, words: &[&str]) -> Reply {
    let (flags, names) = options(words, &["-n", "--tail"]);
    let name = names.first().copied().unwrap_or_default();
    let found = draft.get::<Container>(name);
    let Some(container) = found.filter(|container| container.answers(draft.now_ms())) else {
        return no_such(name);
    };
    let (end, left_ms) = end_of(draft, &container, name);
    let follow = option(&flags, &["-f", "--follow"]).is_some();
    if left_ms > 0 && !follow {
        return Reply::ok("").took(QUICK_MS);
    }
    let reply = Reply {
        code: 0,
        stdout: end.output.stdout,
        stderr: end.output.stderr,
        took_ms: 0,
    };
    reply.took(left_ms + QUICK_MS)
}

/// `stop`, `kill` and `rm`.
pub(super) fn end(draft: &mut Draft<'_>, verb: &str, words: &[&str]) -> Reply {
    let (flags, names) = options(words, &["-t", "--time", "-s", "--signal"]);
    let force = option(&flags, &["-f", "--force"]).is_some();
    let mut all = Reply::ok("").took(QUICK_MS);
    for name in names {
        let there = draft.get::<Container>(name).filter(Container::is_there);
        let Some(found) = there else {
            all.code = 1;
            all.stderr.extend(no_such(name).stderr);
            continue;
        };
        let runs = found.end.is_none();
        if verb == "rm" && runs && !force {
            let text = format!(
                "Error response from daemon: cannot remove container \"/{name}\": container is running: stop the container before removing or force remove\n"
            );
            return Reply::fail(1, text).took(QUICK_MS);
        }
        if runs {
            container::stop(draft, name, if verb == "stop" { 143 } else { 137 });
            all.took_ms = STOP_MS;
        }
        if verb == "rm" {
            draft.del::<Container>(name);
        }
        all.stdout.extend(format!("{name}\n").into_bytes());
    }
    all
}
