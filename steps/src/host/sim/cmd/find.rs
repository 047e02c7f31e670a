//! `find DIR -type f -printf FORMAT`: the files below a directory.

use super::super::files::{self, NO_ENTRY};
use super::super::state::Draft;
use super::{Call, Reply};

pub(super) fn run(draft: &mut Draft<'_>, call: &Call<'_>) -> Reply {
    let (dir, kind, format) = match call.args.as_slice() {
        [dir, "-type", kind, "-printf", format] => (*dir, Some(*kind), *format),
        [dir, "!", "-type", "d", "-printf", format] => (*dir, Some("f"), *format),
        [dir, "-printf", format] => (*dir, None, *format),
        _ => {
            return call.complain(
                1,
                "only `find DIR [[!] -type T] -printf FORMAT` is simulated",
            );
        }
    };
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
        let below = path.strip_prefix(&full).unwrap_or_default();
        let bytes = if file.dir { 4_096 } else { file.data.len() };
        let line = format
            .replace("%y", letter)
            .replace("%s", &bytes.to_string())
            .replace("%P", below.trim_start_matches('/'))
            .replace("%p", &path)
            .replace("\\t", "\t")
            .replace("\\n", "\n");
        text.push_str(&line);
    }
    Reply::ok(text).took(10)
}
