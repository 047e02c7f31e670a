//! `wiab help TOPIC`: what is true for all commands.

use clap::CommandFactory;

use crate::app::App;
use crate::cli::Cli;
use crate::config::OTHER_VARIABLES;
use crate::config::schema::KEYS;
use crate::exit::{self, Code};
use crate::problem::Problem;

const TOPICS: [&str; 4] = ["exit-codes", "environment", "files", "json"];

/// Shows a topic or a command's help.
pub(crate) fn run(app: &App, topic: Option<&str>) -> Result<Code, Problem> {
    let mut command = Cli::command();
    let text = match topic {
        None => command.render_long_help().to_string(),
        Some("exit-codes") => exit_codes(),
        Some("environment") => environment(),
        Some("files") => FILES.to_owned(),
        Some("json") => JSON.to_owned(),
        Some(name) => {
            command.build();
            match command.find_subcommand_mut(name) {
                Some(found) => found.render_long_help().to_string(),
                None => return Err(unknown(name)),
            }
        }
    };
    app.printer
        .json(&serde_json::json!({"type": "help", "schema": crate::ui::printer::JSON_SCHEMA, "text": text}));
    for line in text.lines() {
        app.printer.line(line);
    }
    Ok(Code::Ok)
}

fn unknown(name: &str) -> Problem {
    let command = Cli::command();
    let known = command
        .get_subcommands()
        .map(clap::Command::get_name)
        .chain(TOPICS);
    let near = wiab_engine::text::nearest(name, known);
    Problem::new(Code::Usage, format!("there is no help about `{name}`")).hint(near.map_or_else(
        || format!("topics: {}; or the name of a command", TOPICS.join(", ")),
        |near| format!("did you mean `wiab help {near}`?"),
    ))
}

fn exit_codes() -> String {
    let mut text = String::from("Exit codes of wiab. They are stable.\n\n");
    for code in exit::ALL {
        text.extend([
            format!("{:>5}  ", code.number()),
            format!("{:<12} ", code.name()),
            format!("{}\n", code.meaning()),
        ]);
    }
    text
}

fn environment() -> String {
    let mut text =
        String::from("Variables that wiab reads. Flags win over them; they win over files.\n\n");
    for (name, about) in OTHER_VARIABLES {
        text.extend([format!("  {name:<24} {about}\n")]);
    }
    for key in KEYS {
        if let Some(name) = key.variable() {
            text.extend([format!("  {name:<24} {}\n", key.about)]);
        }
    }
    text.push_str(
        "\n  NO_COLOR, CLICOLOR_FORCE, TERM   whether to colour\n  \
         LC_ALL, LC_CTYPE, LANG           whether glyphs beyond ASCII are shown\n  \
         SSH_AUTH_SOCK                    the agent whose keys log in to host `ssh`\n  \
         COLUMNS                          width of the plan and of the live block\n  \
         CI                               progress is plain\n  \
         XDG_STATE_HOME, XDG_CONFIG_HOME  where state and configuration are\n",
    );
    text
}

const FILES: &str = "\
Files of wiab.

Configuration, the nearer wins:
  wiab.toml                          this directory, or --config FILE
  $XDG_CONFIG_HOME/wiab/config.toml  the user's (default ~/.config)
  /etc/wiab/config.toml              the machine's

State, one directory per installation and host, readable by its owner only:
  STATE/NAME-HOST/journal/           the record: database, plain copies (events.jsonl), captured output, socket
  STATE/NAME-HOST/runs/RUN/          the debug log of a run
  STATE/NAME-HOST/sim/               the simulated machine
  STATE/NAME-HOST/crash/             crash reports

With host `ssh` all of this is here, and HOST is ssh-USER@ADDRESS-PORT; on the machine, detached jobs lie
in ~/.wiab/jobs of who logs in, and go when they are collected. New host keys are added to ~/.ssh/known_hosts.

STATE is --state-dir, or WIAB_STATE_DIR, or /var/lib/wiab (root with host `local`), or
$XDG_STATE_HOME/wiab (default ~/.local/state/wiab).
";

const JSON: &str = "\
JSON output: --json replaces the text on stdout, --json-into FILE writes it beside the text.

apply, rollback, decide, status --follow and journal show --follow write JSON Lines. The first is
  {\"type\":\"version\",\"wiab\":\"...\",\"schema\":\"1.0\"}
then, from apply and rollback, what is about to be done: {\"type\":\"plan\",...} or {\"type\":\"rollback\",...}
then one object per event of the run (`run_seq` is its place in the run; in the journal, `seq` its place there):
  {\"type\":\"event\",\"run_seq\":7,\"run\":\"...\",\"time\":\"...\",\"actor\":\"...\",\"event\":\"StepStarted\",\"body\":{...}}
then, for a command that fails before or beside the run,
  {\"type\":\"error\",\"message\":\"...\",\"detail\":[],\"hint\":[],\"exit\":{\"code\":78,\"name\":\"bad-config\"}}
when a run is done with: {\"type\":\"end\",\"run\":\"...\",\"outcome\":\"completed\",\"exit\":{...}}
and last
  {\"type\":\"exit\",\"exit\":{\"code\":0,\"name\":\"ok\"}}

While something temporary is on the host that a step has not removed yet, every object but events has
  \"owed\":[{\"id\":\"...\",\"what\":\"...\",\"settle\":\"...\",\"step\":\"...\",\"run\":\"...\",\"since\":\"...\"}]

All other commands write one document with a `schema` of its own line.
A reader must ignore fields and types it does not know. A new minor number of the schema only adds; a new
major number changes.
";
