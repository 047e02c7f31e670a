//! `docs/steps.md` is the catalogue of step kinds as the code has it.

use wiab_steps::catalogue::KINDS;

const HEAD: &str = "\
# Step kinds

Made from the catalogue in the code; a test holds it to that. A kind is named with the version of its parameters: a stored
plan of another version is refused, never guessed at.

";

fn expected() -> String {
    let mut text = HEAD.to_owned();
    for kind in KINDS {
        let about = kind.about;
        text.push_str(&["## `", kind.name, "`\n\n", about.purpose, "\n\n"].concat());
        let parts = [
            ("probe", about.probe),
            ("effect", about.effect),
            ("undo", about.undo),
        ];
        for (name, what) in parts {
            text.push_str(&["* ", name, ": ", what, "\n"].concat());
        }
        text.push('\n');
    }
    text.truncate(text.trim_end().len());
    text.push('\n');
    text
}

#[test]
fn every_step_kind_is_documented() {
    let path = super::tree::root().join("docs/steps.md");
    let found = fs_err::read_to_string(&path).unwrap_or_default();
    if found != expected() {
        let fresh = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("steps.md");
        fs_err::write(&fresh, expected()).unwrap();
        panic!(
            "docs/steps.md differs from the catalogue; as it should be: {}",
            fresh.display()
        );
    }
}
