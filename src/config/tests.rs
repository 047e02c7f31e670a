//! What configuration files may say, and what is answered when they are wrong.

use super::*;

fn problem_of(text: &str) -> String {
    let source = Source {
        name: "wiab.toml".to_owned(),
        text: text.to_owned(),
    };
    let content = file::read(text, true);
    source
        .problem(Code::BadConfig, content.diags)
        .lines()
        .join("\n")
}

#[test]
fn every_mistake_names_its_place_and_its_remedy() {
    let cases = [
        (
            "hots = \"sim\"\n",
            "error: unknown key `hots`\n --> wiab.toml:1:1\n  |\n1 | hots = \"sim\"\n  | ^^^^\nhint: did you mean `host`?",
        ),
        (
            "name = \"a\"\n[run]\nwidth = 0\n",
            "error: `run.width` must be a whole number from 1 to 256\n --> wiab.toml:3:9\n  |\n3 | width = 0\n  |         ^\nhint: for example: width = 8",
        ),
        (
            "[run\nwidth = 1\n",
            "error: this is not TOML: unclosed table, expected `]`\n --> wiab.toml:1:5\n  |\n1 | [run\n  |     ^\nhint: correct this line; `wiab init` in another directory writes an example",
        ),
        (
            "[[step]]\nid = \"a\"\nrun = \"true\"\nunod = \"true\"\n",
            "error: unknown key `unod` in [[step]]\n --> wiab.toml:4:1\n  |\n4 | unod = \"true\"\n  | ^^^^\nhint: did you mean `undo`?",
        ),
        (
            "[[step]]\nid = \"a\"\nrun = [\"true\"]\ntimeout = 5\n",
            "error: `timeout` of a step must be a duration with its unit, such as \"90s\" or \"1h 30m\"\n --> wiab.toml:4:11\n  |\n4 | timeout = 5\n  |           ^\nhint: write it as a duration with its unit, such as \"90s\" or \"1h 30m\"",
        ),
        (
            "run = 3\n",
            "error: `run` is a section, not a value\n --> wiab.toml:1:7\n  |\n1 | run = 3\n  |       ^\nhint: write [run] on a line of its own and its keys below",
        ),
    ];
    for (text, want) in cases {
        assert_eq!(problem_of(text), want, "{text}");
    }
}

#[test]
fn all_mistakes_are_reported_at_once() {
    let text = "[[step]]\nrun = \"a\"\n\n[[step]]\nid = \"b c\"\nrun = []\n";
    let shown = problem_of(text);
    assert_eq!(shown.matches("error: ").count(), 3, "{shown}");
    assert!(shown.ends_with("hint: correct these 3 places, then run the command again"));
}

#[test]
fn a_nearer_layer_wins_and_says_where_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let system = dir.path().join("system.toml");
    let project = dir.path().join("wiab.toml");
    let user = dir.path().join("xdg/wiab/config.toml");
    fs_err::create_dir_all(user.parent().unwrap()).unwrap();
    fs_err::write(&system, "user = \"system\"\n[run]\nwidth = 2\n").unwrap();
    fs_err::write(&user, "[run]\nwidth = 3\nfail_fast = true\n").unwrap();
    fs_err::write(&project, "name = \"lab\"\n\n[run]\nwidth = 4\n").unwrap();
    let xdg = dir.path().join("xdg");
    let mut vars = vec![("XDG_CONFIG_HOME", xdg.to_str().unwrap())];
    let mut asked = Asked {
        file: Some(project.clone()),
        system_file: Some(system.clone()),
        ..Asked::default()
    };
    let width = |asked: &Asked, vars: &[(&str, &str)]| {
        let env = Environment::from_pairs(vars.iter().copied());
        let config = Config::load(asked, &env).unwrap();
        let (_, value, origin) = config
            .all()
            .find(|(path, ..)| *path == "run.width")
            .unwrap();
        assert_eq!(config.text("user"), "system");
        assert!(config.flag("run.fail_fast"));
        format!("{value} {origin}")
    };
    assert_eq!(width(&asked, &vars), format!("4 {}:4", project.display()));
    vars.push(("WIAB_RUN_WIDTH", "5"));
    assert_eq!(width(&asked, &vars), "5 environment WIAB_RUN_WIDTH");
    asked.flags = vec![("run.width".into(), "6".into(), "--width".into())];
    assert_eq!(width(&asked, &vars), "6 --width");
    asked.flags.clear();
    vars.pop();
    fs_err::write(&project, "").unwrap();
    assert_eq!(width(&asked, &vars), format!("3 {}:2", user.display()));
}

#[test]
fn ten_thousand_steps_are_read() {
    let mut text = String::from("name = \"a\"\n");
    for number in 0..10_000 {
        text.extend([format!(
            "[[step]]\nid = \"s{number}\"\nafter = []\nrun = [\"true\"]\n"
        )]);
    }
    let content = file::read(&text, true);
    assert_eq!((content.steps.len(), content.diags.len()), (10_000, 0));
}

#[test]
fn every_sample_and_default_fits_its_kind() {
    for key in KEYS {
        assert!(key.kind.of_text(key.sample).is_some(), "{}", key.path);
        if let Some(default) = key.default {
            assert!(key.kind.of_text(default).is_some(), "{}", key.path);
        }
    }
}
