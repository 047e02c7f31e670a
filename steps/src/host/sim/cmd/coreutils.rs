//! Small tools: looking at files and changing them.

use super::super::entity::{Data, Facts, File};
use super::super::files::{self, DENIED, NO_ENTRY};
use super::super::inside;
use super::super::sha256::sha256;
use super::super::state::Draft;
use super::super::surroundings::{Surroundings, inode};
use super::{Call, QUICK_MS, Reply, option, options};

/// Tools that change nothing.
pub(super) fn read(draft: &mut Draft<'_>, call: &Call<'_>) -> Reply {
    let reply = match call.program {
        "true" | "sync" => Reply::ok(""),
        "false" => Reply::fail(1, ""),
        "sleep" => return sleep(call),
        "echo" => echo(call),
        "printf" => Reply::ok(printf(&call.args)),
        "cat" => cat(draft, call),
        "test" | "[" => test(draft, call),
        "sha256sum" => digest(draft, call),
        "stat" => stat(draft, call),
        "ls" => list(draft, call),
        "readlink" => Reply::ok(format!(
            "{}\n",
            call.path(draft, call.args.last().copied().unwrap_or_default())
        )),
        _ => system(draft, call),
    };
    reply.took(QUICK_MS)
}

fn sleep(call: &Call<'_>) -> Reply {
    let text = call.args.first().copied().unwrap_or_default();
    let (number, unit_ms) = match text.strip_suffix('m') {
        Some(number) => (number, 60_000.0),
        None => (text.trim_end_matches('s'), 1_000.0),
    };
    match number.parse::<f64>() {
        Ok(value) if value >= 0.0 && value.is_finite() => {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "checked to be finite and not negative; the cast saturates"
            )]
            let ms = (value * unit_ms) as u64;
            Reply::ok("").took(ms)
        }
        _ => call.complain(1, &format!("invalid time interval '{text}'")),
    }
}

fn echo(call: &Call<'_>) -> Reply {
    match call.args.split_first() {
        Some((first, rest)) if *first == "-n" => Reply::ok(rest.join(" ")),
        _ => Reply::ok(format!("{}\n", call.args.join(" "))),
    }
}

fn printf(args: &[&str]) -> String {
    let (format, rest) = args.split_first().unwrap_or((&"", &[]));
    let format = format.replace("\\n", "\n");
    let mut rest = rest.iter();
    let mut text = String::new();
    loop {
        let mut parts = format.split("%s");
        text.push_str(parts.next().unwrap_or_default());
        let before = rest.len();
        for part in parts {
            text.push_str(rest.next().copied().unwrap_or_default());
            text.push_str(part);
        }
        if rest.len() == 0 || rest.len() == before {
            return text;
        }
    }
}

fn cat(draft: &Draft<'_>, call: &Call<'_>) -> Reply {
    let mut reply = Reply::ok("");
    if call.args.is_empty() {
        reply.stdout = call.stdin.to_vec();
    }
    for path in &call.args {
        if let Some(text) = call.content(draft, path) {
            reply.stdout.extend_from_slice(text.as_bytes());
        } else {
            let there = files::at(draft, &call.path(draft, path)).is_some();
            let why = if there { DENIED } else { NO_ENTRY };
            reply.code = 1;
            reply
                .stderr
                .extend_from_slice(format!("cat: {path}: {why}\n").as_bytes());
        }
    }
    reply
}

fn test(draft: &Draft<'_>, call: &Call<'_>) -> Reply {
    let words = match call.args.split_last() {
        Some((last, rest)) if call.program == "[" && *last == "]" => rest,
        _ => call.args.as_slice(),
    };
    let entry = |path: &str| files::at(draft, &call.path(draft, path));
    let truth = match words {
        ["!", rest @ ..] => {
            let inner = Call {
                program: "test",
                args: rest.to_vec(),
                ..call.clone()
            };
            test(draft, &inner).code != 0
        }
        ["-e", path] => *path == "/dev/kvm" && kvm(draft) || entry(path).is_some(),
        ["-f", path] => entry(path).is_some_and(|file| !file.dir),
        ["-d", path] => entry(path).is_some_and(|file| file.dir),
        ["-s", path] => entry(path).is_some_and(|file| file.data.len() > 0),
        ["-r" | "-w" | "-c", "/dev/kvm"] => kvm(draft),
        ["-r", path] => entry(path).is_some_and(|file| files::readable(draft, &file, call.root)),
        ["-n", text] => !text.is_empty(),
        ["-z", text] => text.is_empty(),
        [left, "=" | "==", right] => left == right,
        [left, "!=", right] => left != right,
        _ => return call.complain(2, "syntax error"),
    };
    Reply::fail(i32::from(!truth), "")
}

fn kvm(draft: &Draft<'_>) -> bool {
    draft.get::<Facts>("").is_some_and(|facts| facts.kvm)
}

/// The digest that `sha256sum` prints. Blobs have an invented one that depends on their content alone.
pub(super) fn digest_of(data: &Data) -> String {
    match data {
        Data::Blob { seed, len, .. } => blake3::hash(format!("sha256 {seed} {len}").as_bytes())
            .to_hex()
            .to_string(),
        Data::Text(_) | Data::Base64(_) => sha256(&data.bytes(u64::MAX).unwrap_or_default()),
    }
}

fn digest(draft: &Draft<'_>, call: &Call<'_>) -> Reply {
    let (_, paths) = options(&call.args, &[]);
    if paths.is_empty() {
        return Reply::ok(format!("{}  -\n", sha256(call.stdin)));
    }
    let mut reply = Reply::ok("");
    for path in paths {
        match files::at(draft, &call.path(draft, path)) {
            Some(file) if !file.dir && files::readable(draft, &file, call.root) => reply
                .stdout
                .extend_from_slice(format!("{}  {path}\n", digest_of(&file.data)).as_bytes()),
            other => {
                let why = match other {
                    Some(file) if file.dir => "Is a directory",
                    Some(_) => DENIED,
                    None => NO_ENTRY,
                };
                reply.code = 1;
                reply
                    .stderr
                    .extend_from_slice(format!("sha256sum: {path}: {why}\n").as_bytes());
            }
        }
    }
    reply
}

fn stat(draft: &Draft<'_>, call: &Call<'_>) -> Reply {
    let (found, paths) = options(&call.args, &["-c", "--format"]);
    let format = option(&found, &["-c", "--format"]).unwrap_or("%n %s %a %U:%G");
    let mut text = String::new();
    let around = Surroundings::of(draft);
    for path in paths {
        let full = call.path(draft, path);
        let Some(file) = files::at(draft, &full) else {
            return call.complain(1, &format!("cannot statx '{path}': {NO_ENTRY}"));
        };
        if found.iter().any(|(flag, _)| *flag == "-f") {
            let facts = draft.get::<Facts>("");
            let kind = facts.map(|facts| around.filesystem(&facts, &full).kind);
            text.push_str(&format.replace("%T", &kind.unwrap_or_default()));
            text.push('\n');
            continue;
        }
        let (user, group) = file.owner.split_once(':').unwrap_or((&file.owner, ""));
        let bytes = if file.dir { 4096 } else { file.data.len() };
        let kind = if around.links.contains(&full) {
            "symbolic link"
        } else if file.dir {
            "directory"
        } else {
            "regular file"
        };
        let line = format
            .replace("%n", path)
            .replace("%s", &bytes.to_string())
            .replace("%a", &format!("{:o}", file.mode))
            .replace("%i", &inode(&full).to_string())
            .replace("%U", user)
            .replace("%G", group)
            .replace("%F", kind);
        text.push_str(&line);
        text.push('\n');
    }
    Reply::ok(text)
}

fn list(draft: &Draft<'_>, call: &Call<'_>) -> Reply {
    let (_, paths) = options(&call.args, &[]);
    let path = paths.first().copied().unwrap_or(".");
    let full = call.path(draft, path);
    match files::at(draft, &full) {
        None => call.complain(2, &format!("cannot access '{path}': {NO_ENTRY}")),
        Some(file) if !file.dir => Reply::ok(format!("{path}\n")),
        Some(_) => Reply::ok(
            files::inside(draft, &full)
                .iter()
                .filter(|inner| files::parent(inner) == full)
                .filter_map(|inner| inner.rsplit('/').next())
                .filter(|name| !name.starts_with('.'))
                .fold(String::new(), |text, name| text + name + "\n"),
        ),
    }
}

fn system(draft: &Draft<'_>, call: &Call<'_>) -> Reply {
    let Some(facts) = draft.get::<Facts>("") else {
        return Reply::fail(1, "");
    };
    match (call.program, call.args.as_slice()) {
        ("uname", ["-r"]) => Reply::ok(format!("{}\n", facts.kernel)),
        ("uname", ["-m"]) => Reply::ok("x86_64\n"),
        ("uname", ["-n"]) | ("hostname", _) => Reply::ok(format!("{}\n", facts.hostname)),
        ("uname", []) => Reply::ok("Linux\n"),
        ("uname", _) => Reply::ok(format!(
            "Linux {} {} #1 SMP x86_64 GNU/Linux\n",
            facts.hostname, facts.kernel
        )),
        ("nproc", _) => Reply::ok(format!("{}\n", facts.cpus)),
        ("whoami", _) if call.root => Reply::ok("root\n"),
        _ => Reply::ok(format!("{}\n", facts.user)),
    }
}

/// Programs of which only the version is asked.
pub(super) fn version(_: &mut Draft<'_>, call: &Call<'_>) -> Reply {
    match call.args.as_slice() {
        ["--version" | "-version"] => Reply::ok(format!("{} (simulated)\n", call.program)),
        _ => call.complain(1, "only --version is simulated"),
    }
    .took(QUICK_MS)
}

/// Tools that change files.
pub(super) fn change(draft: &mut Draft<'_>, call: &Call<'_>) -> Reply {
    let done = match call.program {
        "touch" => touch(draft, call),
        "rm" | "rmdir" => remove(draft, call),
        "mkdir" => mkdir(draft, call),
        "chmod" | "chown" => attributes(draft, call),
        "tee" => tee(draft, call),
        _ => rename(draft, call),
    };
    match done {
        Ok(text) => Reply::ok(text).took(QUICK_MS),
        Err(why) => call.complain(1, &why),
    }
}

type Done = Result<String, String>;

fn touch(draft: &mut Draft<'_>, call: &Call<'_>) -> Done {
    for path in options(&call.args, &[]).1 {
        let full = call.path(draft, path);
        if files::at(draft, &full).is_some() {
            continue;
        }
        if let Some(why) = files::refuses(draft, &full, call.root) {
            return Err(format!("cannot touch '{path}': {why}"));
        }
        let owner = files::actor(draft, call.root);
        draft.put(&full, &File::new(b"", 0o644, &owner));
        draft.mark_half();
    }
    Ok(String::new())
}

fn tee(draft: &mut Draft<'_>, call: &Call<'_>) -> Done {
    for path in options(&call.args, &[]).1 {
        let full = call.path(draft, path);
        if let Some(why) = files::refuses(draft, &full, call.root) {
            return Err(format!("{path}: {why}"));
        }
        let owner = files::actor(draft, call.root);
        draft.put(&full, &File::new(call.stdin, 0o644, &owner));
    }
    Ok(String::from_utf8_lossy(call.stdin).into_owned())
}

fn remove(draft: &mut Draft<'_>, call: &Call<'_>) -> Done {
    let (flags, paths) = options(&call.args, &[]);
    let flag = |letter: char| {
        flags
            .iter()
            .any(|(name, _)| !name.starts_with("--") && name.contains(letter))
    };
    for path in paths {
        let full = call.path(draft, path);
        let Some(file) = files::at(draft, &full) else {
            if flag('f') {
                continue;
            }
            return Err(format!("cannot remove '{path}': {NO_ENTRY}"));
        };
        if let Some(why) = files::refuses(draft, &full, call.root) {
            return Err(format!("cannot remove '{path}': {why}"));
        }
        let held = files::inside(draft, &full);
        let only_empty = call.program == "rmdir" || flag('d');
        if file.dir && only_empty && !held.is_empty() {
            return Err(format!("failed to remove '{path}': Directory not empty"));
        }
        if file.dir && !only_empty && !flag('r') {
            return Err(format!("cannot remove '{path}': Is a directory"));
        }
        for inner in held {
            if let Some(entry) = files::at(draft, &inner) {
                inside::forget_disk(draft, &inner, &entry);
            }
            draft.del::<File>(&inner);
            draft.mark_half();
        }
        inside::forget_disk(draft, &full, &file);
        draft.del::<File>(&full);
    }
    Ok(String::new())
}

fn mkdir(draft: &mut Draft<'_>, call: &Call<'_>) -> Done {
    let (flags, paths) = options(&call.args, &["-m", "--mode"]);
    let parents = flags.iter().any(|(name, _)| *name == "-p");
    let mode = option(&flags, &["-m", "--mode"]).and_then(|text| u32::from_str_radix(text, 8).ok());
    for path in paths {
        let full = call.path(draft, path);
        let there = files::at(draft, &full).is_some();
        let outcome = match there {
            true if !parents => Err("File exists"),
            false if !parents && files::at(draft, files::parent(&full)).is_none() => Err(NO_ENTRY),
            _ => files::make_dirs(draft, &full, call.root, mode.unwrap_or(0o755)),
        };
        outcome.map_err(|why| format!("cannot create directory '{path}': {why}"))?;
    }
    Ok(String::new())
}

fn attributes(draft: &mut Draft<'_>, call: &Call<'_>) -> Done {
    let (_, operands) = options(&call.args, &[]);
    let Some((value, paths)) = operands.split_first() else {
        return Err("missing operand".to_owned());
    };
    for path in paths {
        let full = call.path(draft, path);
        let mut file =
            files::at(draft, &full).ok_or_else(|| format!("cannot access '{path}': {NO_ENTRY}"))?;
        let user = files::user_of(draft);
        let mine = file.owner.split(':').next() == Some(user.as_str());
        if !call.root && (call.program == "chown" || !mine) {
            return Err(format!("changing '{path}': Operation not permitted"));
        }
        if call.program == "chmod" {
            file.mode =
                u32::from_str_radix(value, 8).map_err(|_| format!("invalid mode: '{value}'"))?;
        } else {
            let (old_user, old_group) = file.owner.split_once(':').unwrap_or((&file.owner, "root"));
            file.owner = match value.split_once(':') {
                Some(("", group)) => format!("{old_user}:{group}"),
                Some((owner, "")) => format!("{owner}:{owner}"),
                Some((owner, group)) => format!("{owner}:{group}"),
                None => format!("{value}:{old_group}"),
            };
        }
        draft.put(&full, &file);
    }
    Ok(String::new())
}

fn rename(draft: &mut Draft<'_>, call: &Call<'_>) -> Done {
    let (flags, operands) = options(&call.args, &[]);
    let [from, to] = operands.as_slice() else {
        return Err("missing file operand".to_owned());
    };
    let source = call.path(draft, from);
    let mut target = call.path(draft, to);
    let file =
        files::at(draft, &source).ok_or_else(|| format!("cannot stat '{from}': {NO_ENTRY}"))?;
    let exact = flags.iter().any(|(name, _)| name.contains('T'));
    if !exact && files::at(draft, &target).is_some_and(|file| file.dir) {
        let name = source.rsplit('/').next().unwrap_or_default();
        target = format!("{target}/{name}");
    }
    let keep = flags.iter().any(|(name, _)| {
        *name == "--no-clobber" || (!name.starts_with("--") && name.contains('n'))
    });
    if keep && files::at(draft, &target).is_some() {
        return Ok(String::new());
    }
    let refused = files::refuses(draft, &source, call.root)
        .or_else(|| files::refuses(draft, &target, call.root));
    if let Some(why) = refused {
        return Err(format!("cannot move '{from}' to '{to}': {why}"));
    }
    for inner in files::inside(draft, &source) {
        if let Some(entry) = files::at(draft, &inner) {
            let rest = inner.strip_prefix(&source).unwrap_or_default();
            draft.put(&format!("{target}{rest}"), &entry);
            draft.del::<File>(&inner);
        }
    }
    draft.put(&target, &file);
    draft.del::<File>(&source);
    Ok(String::new())
}
