//! `wiab init`: a commented `wiab.toml`, made from the table of keys.

use std::io::Write;

use crate::app::App;
use crate::config::schema::{KEYS, Key};
use crate::exit::Code;
use crate::problem::Problem;

/// Writes the file; never over another one.
pub(crate) fn run(app: &App) -> Result<Code, Problem> {
    let path = app
        .global
        .config
        .clone()
        .unwrap_or_else(|| "wiab.toml".into());
    let shown = path.display().to_string();
    let created = fs_err::OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(&path)
        .and_then(|mut file| file.write_all(example().as_bytes()));
    match created {
        Ok(()) => {}
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            return Err(
                Problem::new(Code::Failure, format!("{shown} exists already"))
                    .hint("edit it, or move it away first"),
            );
        }
        Err(error) => {
            return Err(Problem::from_error(
                Code::Failure,
                "the file cannot be written",
                &error,
            ));
        }
    }
    app.printer
        .json(&serde_json::json!({"type": "init", "schema": crate::ui::printer::JSON_SCHEMA, "written": shown}));
    app.printer.line(&format!("Wrote {shown}."));
    app.printer
        .note("Next:  edit it, then  wiab plan   (changes nothing)");
    Ok(Code::Ok)
}

/// The commented example: every key with its default, or an example where it has none.
pub(crate) fn example() -> String {
    let mut text = String::from(
        "# Configuration of wiab for one installation. `wiab config show --origin` says where each value comes from;\n\
         # docs/configuration.md explains every key.\n",
    );
    let mut section = "";
    for key in KEYS {
        if key.section() != section {
            section = key.section();
            // A family is an example of one of its members.
            let lead = if key.is_family() { "# " } else { "" };
            let name = section.replace('*', "kubenode1");
            text.extend(["\n", lead, "[", &name, "]\n"]);
        }
        text.push_str(&entry(key));
    }
    text.push_str(STEPS);
    text
}

fn entry(key: &Key) -> String {
    let mut text = format!("# {} ({}).\n", capital(key.about), key.kind.describe());
    let value = key
        .default
        .and_then(|default| key.kind.of_text(default))
        .map_or_else(|| key.example(), |value| value.to_string());
    text.extend(["# ", key.leaf(), " = ", &value, "\n"]);
    text
}

fn capital(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| {
        first.to_uppercase().chain(chars).collect()
    })
}

const STEPS: &str = r#"
# Steps of your own. `run`, `probe` and `undo` are programs with arguments, or a text for the shell.
# [[step]]
# id = "site.motd"
# after = ["host.packages"]
# run = "echo 'Wire staging' > /etc/motd.d/wire"
# probe = ["grep", "-q", "Wire staging", "/etc/motd.d/wire"]
# undo = ["rm", "-f", "/etc/motd.d/wire"]
# timeout = "1m"
# idempotent = true
"#;

#[cfg(test)]
mod tests {
    use crate::config::file;

    #[test]
    fn the_example_is_accepted_with_and_without_its_comments() {
        let text = super::example();
        let lines: Vec<&str> = text
            .lines()
            .map(|line| {
                let bare = line.strip_prefix("# ").unwrap_or(line);
                let is_code = bare.contains(" = ") && !bare.ends_with('.') || bare.starts_with('[');
                if is_code { bare } else { line }
            })
            .collect();
        let uncommented = lines.join("\n");
        for text in [text, uncommented] {
            let content = file::read(&text, true);
            assert_eq!(content.diags, [], "{text}");
        }
    }
}
