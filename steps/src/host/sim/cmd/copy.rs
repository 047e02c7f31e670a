//! `cp`, `install` and `ln`.

use super::super::entity::{Data, File};
use super::super::files::{self, DENIED, NO_ENTRY};
use super::super::state::Draft;
use super::{Call, QUICK_MS, Reply, option, options};

/// What a disk copies in a millisecond.
const BYTES_PER_MS: u64 = 900_000;

pub(super) fn run(draft: &mut Draft<'_>, call: &Call<'_>) -> Reply {
    let done = match call.program {
        "cp" => copy(draft, call),
        "ln" => link(draft, call),
        _ => install(draft, call),
    };
    match done {
        Ok(bytes) => Reply::ok("").took(QUICK_MS + bytes / BYTES_PER_MS),
        Err(why) => call.complain(1, &why),
    }
}

/// A file of which only the first half was copied.
pub(super) fn half_of(file: &File) -> File {
    let mut half = file.clone();
    half.data = match &file.data {
        Data::Text(text) => Data::of(text.as_bytes().get(..text.len() / 2).unwrap_or_default()),
        Data::Base64(_) => Data::Text(String::new()),
        Data::Blob { seed, len, whole } => Data::Blob {
            seed: seed.clone(),
            len: len / 2,
            whole: *whole,
        },
    };
    if let Some(image) = &mut half.image {
        image.whole = false;
    }
    half.seed = None;
    half
}

fn source(draft: &Draft<'_>, call: &Call<'_>, path: &str) -> Result<File, String> {
    if path == "/dev/stdin" {
        return Ok(File::new(call.stdin, 0o644, ""));
    }
    let file = files::at(draft, &call.path(draft, path))
        .ok_or_else(|| format!("cannot stat '{path}': {NO_ENTRY}"))?;
    if file.dir {
        return Err(format!("-r not specified; omitting directory '{path}'"));
    }
    if !files::readable(draft, &file, call.root) {
        return Err(format!("cannot open '{path}' for reading: {DENIED}"));
    }
    Ok(file)
}

fn target(draft: &Draft<'_>, call: &Call<'_>, from: &str, to: &str) -> Result<String, String> {
    let mut full = call.path(draft, to);
    if files::at(draft, &full).is_some_and(|file| file.dir) {
        let name = from.rsplit('/').next().unwrap_or_default();
        full = format!("{}/{name}", full.trim_end_matches('/'));
    }
    match files::refuses(draft, &full, call.root) {
        Some(why) => Err(format!("cannot create regular file '{to}': {why}")),
        None => Ok(full),
    }
}

fn copy(draft: &mut Draft<'_>, call: &Call<'_>) -> Result<u64, String> {
    let (flags, operands) = options(&call.args, &[]);
    let [from, to] = operands.as_slice() else {
        return Err("missing file operand".to_owned());
    };
    let mut file = source(draft, call, from)?;
    let full = target(draft, call, from, to)?;
    let has = |names: &[&str]| option(&flags, names).is_some();
    if has(&["-n", "--no-clobber"]) && files::at(draft, &full).is_some() {
        return Ok(0);
    }
    if !has(&["-a", "-p", "--preserve", "--archive"]) {
        let kept = files::at(draft, &full);
        file.owner = kept
            .as_ref()
            .map_or_else(|| files::actor(draft, call.root), |old| old.owner.clone());
        file.mode = kept.map_or(file.mode & 0o755, |old| old.mode);
    }
    let half = half_of(&file);
    draft.half_only(|draft| draft.put(&full, &half));
    draft.put(&full, &file);
    Ok(file.data.len())
}

fn install(draft: &mut Draft<'_>, call: &Call<'_>) -> Result<u64, String> {
    let (flags, operands) = options(
        &call.args,
        &["-m", "-o", "-g", "--mode", "--owner", "--group"],
    );
    let mode = option(&flags, &["-m", "--mode"]).unwrap_or("755");
    let mode = u32::from_str_radix(mode, 8).map_err(|_| format!("invalid mode '{mode}'"))?;
    let actor = files::actor(draft, call.root);
    let (user, group) = actor.split_once(':').unwrap_or(("root", "root"));
    let wanted = (
        option(&flags, &["-o", "--owner"]),
        option(&flags, &["-g", "--group"]),
    );
    if !call.root && wanted != (None, None) {
        return Err("cannot change ownership: Operation not permitted".to_owned());
    }
    let owner = format!("{}:{}", wanted.0.unwrap_or(user), wanted.1.unwrap_or(group));
    if option(&flags, &["-d", "--directory"]).is_some() {
        for path in operands {
            let full = call.path(draft, path);
            files::make_dirs(draft, &full, call.root, mode)
                .map_err(|why| format!("cannot create directory '{path}': {why}"))?;
            draft.put(&full, &File::dir(mode, &owner));
        }
        return Ok(0);
    }
    let [from, to] = operands.as_slice() else {
        return Err("missing file operand".to_owned());
    };
    let mut file = source(draft, call, from)?;
    let full = target(draft, call, from, to)?;
    (file.mode, file.owner) = (mode, owner);
    let half = half_of(&file);
    draft.half_only(|draft| draft.put(&full, &half));
    draft.put(&full, &file);
    Ok(file.data.len())
}

/// Hard links behave as copies: nobody writes into one of them.
fn link(draft: &mut Draft<'_>, call: &Call<'_>) -> Result<u64, String> {
    let (flags, operands) = options(&call.args, &[]);
    let [from, to] = operands.as_slice() else {
        return Err("missing file operand".to_owned());
    };
    let file = source(draft, call, from)?;
    let full = call.path(draft, to);
    let force = flags.iter().any(|(name, _)| name.contains('f'));
    if files::at(draft, &full).is_some() && !force {
        return Err(format!("failed to create hard link '{to}': File exists"));
    }
    if let Some(why) = files::refuses(draft, &full, call.root) {
        return Err(format!("failed to create hard link '{to}': {why}"));
    }
    draft.put(&full, &file);
    Ok(0)
}
