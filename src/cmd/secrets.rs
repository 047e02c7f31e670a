//! `wiab secrets`: new values for secrets, as a plan of its own.

use wiab_plans::Rotation;
use wiab_steps::kinds::secrets_rotated::rotatable;
use wiab_steps::secrets::Name;

use crate::app::App;
use crate::cli::SecretsCommand;
use crate::exit::Code;
use crate::problem::Problem;
use crate::ui::time;
use crate::{clock, setup};

/// What is rotated unless secrets are named: what changes without anybody noticing.
const USUAL: [Name; 1] = [Name::Zrest];

/// Works on secrets.
pub(crate) fn run(app: &App, command: &SecretsCommand) -> Result<Code, Problem> {
    let SecretsCommand::Rotate { secrets, plan, yes } = command;
    let names = names(secrets)?;
    let config = app.config(&[])?;
    let rotation = Rotation {
        label: time::label(clock::wall_ms()),
        secrets: names.iter().map(|name| name.as_str().to_owned()).collect(),
    };
    let whole = setup::rotation(&config, rotation)?;
    if names.contains(&Name::ZauthPrivate) {
        app.printer.warn(
            "a new zauth key makes every token invalid: all users, devices and bots must log in again",
        );
    }
    if names.contains(&Name::PostgresqlWire) {
        app.printer.warn(
            "from PostgreSQL's new password until wire-server's pods are replaced, some minutes later, its old ones cannot open new connections to the database",
        );
    }
    if *plan {
        return super::plan::only_show(app, &config, &whole);
    }
    super::apply::begin(app, &config, whole, *yes)
}

fn names(words: &[String]) -> Result<Vec<Name>, Problem> {
    if words.is_empty() {
        return Ok(USUAL.to_vec());
    }
    let mut names = Vec::new();
    for word in words {
        let Some(name) = Name::parse(word) else {
            let known = Name::ALL
                .into_iter()
                .filter(|name| rotatable(*name).is_ok());
            let known: Vec<&str> = known.map(Name::as_str).collect();
            return Err(
                Problem::new(Code::Usage, format!("there is no secret `{word}`"))
                    .hint(format!("these can be rotated: {}", known.join(", "))),
            );
        };
        rotatable(name)
            .map_err(|why| Problem::new(Code::Usage, format!("`{word}` is not rotated: {why}")))?;
        if !names.contains(&name) {
            names.push(name);
        }
    }
    Ok(names)
}
