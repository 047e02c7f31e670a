//! `find DIR [-type T] [-maxdepth N] -printf FORMAT`: what is below a directory.

use super::super::files::{self, NO_ENTRY};
use super::super::state::Draft;
use super::{Call, Reply, option, options};

pub(super) fn run(draft: &mut Draft<'_>, call: &Call<'_>) -> Reply {
    let (flags, dirs) = options(&call.args, &["-mindepth", "-maxdepth", "-type", "-printf"]);
    let (Some(dir), Some(format)) = (dirs.first(), option(&flags, &["-printf"])) else {
        return call.complain(1, "only `find DIR … -printf FORMAT` is simulated");
    };
    let kind = option(&flags, &["-type"]);
    let depth_max = option(&flags, &["-maxdepth"]).and_then(|text| text.parse::<usize>().ok());
    let full = call.path(draft, dir);
    if files::at(draft, &full).is_none() {
        return call.complain(1, &format!("‘{dir}’: {NO_ENTRY}"));
    }
    let mut text = String::new();
    for path in files::inside(draft, &full) {
        let Some(file) = files::at(draft, &path) else {
            continue;
        };
        let letter = if file.dir { "d" } else { "f" };
        if kind.is_some_and(|kind| kind != letter) {
            continue;
        }
        let below = path
            .strip_prefix(&full)
            .unwrap_or_default()
            .trim_start_matches('/');
        if depth_max.is_some_and(|max| below.split('/').count() > max) {
            continue;
        }
        let bytes = if file.dir { 4_096 } else { file.data.len() };
        let line = format
            .replace("%y", letter)
            .replace("%s", &bytes.to_string())
            .replace("%P", below)
            .replace("%f", below.rsplit('/').next().unwrap_or_default())
            .replace("%p", &path)
            .replace("\\n", "\n");
        text.push_str(&line);
    }
    Reply::ok(text).took(10)
}
