//! A rotated password of PostgreSQL's: from the sealed set into the database, and nowhere else.

use tokio::sync::OnceCell;
use wiab_engine::outcome::RetryAdvice;
use wiab_steps::host::sim::{Action, Fault, Machine};
use wiab_steps::kind::Input;
use wiab_steps::kinds::postgresql_password::PostgresqlPassword;
use wiab_steps::secrets::{Found, Name, SealedSet, SeededEntropy, generate};

use super::cluster::{played, site, small};
use super::scenarios::{Scenario, deploy, scenario};
use super::world::{World, same};

/// What the playbook gives to the role where no secret was there.
const OLD: &str = "abcdefghijklmnopqrstuvwxyz012345";
const NEW: &str = "it's-a:new\\password";

fn set(password: &str) -> SealedSet {
    let mut found = Found::default();
    found.offer(Name::PostgresqlWire, password, "test").unwrap();
    generate(&mut SeededEntropy::new("rotation"), found, "2026-01-01").unwrap()
}

/// A primary and a replica, and the sets before and after a rotation.
async fn ground(before: &str) -> Machine {
    static BUILT: OnceCell<Machine> = OnceCell::const_new();
    let build = || async { played(small().await, &[0, 1, 2, 3, 4, 8]).await };
    let machine = BUILT.get_or_init(build).await.clone();
    let file = |machine: Machine, name: &str, password: &str| {
        machine.with_file(&deploy(name), &set(password).encode(), 0o600, "demo:demo")
    };
    file(
        file(machine, "secrets.toml", NEW),
        "secrets.before-x.toml",
        before,
    )
}

fn kind() -> PostgresqlPassword {
    PostgresqlPassword {
        site: site(2),
        sealed: Input::Value(deploy("secrets.toml")),
        before: Input::Value(deploy("secrets.before-x.toml")),
    }
}

pub(crate) async fn scenarios() -> Vec<Scenario> {
    let machine = ground(OLD).await;
    vec![scenario(
        "secrets",
        "a new password for the database",
        &machine,
        &kind(),
    )]
}

#[tokio::test]
async fn the_password_goes_through_standard_input_and_is_said_nowhere() {
    let world = World::new(ground(OLD).await);
    let step = world.bind(&kind());
    let before = step.capture().await.unwrap();
    step.apply(1, false, &before).await.unwrap();
    step.undo(1, &before).await.unwrap();
    let said = world.said.lock().unwrap().join("\n");
    assert!(said.contains("psql"));
    for secret in [OLD, NEW, "new\\password"] {
        assert!(!said.contains(secret), "{said}");
    }
}

#[tokio::test]
async fn a_password_of_somebody_else_is_a_question_and_stays() {
    let world = World::new(ground("not-that-of-the-database").await);
    let start = world.state();
    let step = world.bind(&kind());
    let before = step.capture().await.unwrap();
    let failure = step.apply(1, false, &before).await.unwrap_err();
    assert_eq!(failure.advice, RetryAdvice::AskOperator, "{failure:?}");
    assert!(failure.why.contains("neither"), "{failure:?}");
    assert!(failure.hint.unwrap().contains("secrets.before-x.toml"));
    step.undo(1, &before).await.unwrap();
    same(&world.state(), &start, "nothing was done");
}

#[tokio::test]
async fn a_lost_answer_of_the_change_is_asked_of_the_database() {
    let world = World::new(ground(OLD).await);
    let step = world.bind(&kind());
    let before = step.capture().await.unwrap();
    world
        .host
        .arm(Fault::once("*ON_ERROR_STOP*", Action::LostAfter));
    let failure = step.apply(1, false, &before).await.unwrap_err();
    assert_eq!(failure.advice, RetryAdvice::Retry, "{failure:?}");
    let changed = world.state();
    step.apply(2, false, &before).await.unwrap();
    same(&world.state(), &changed, "not set twice");
}
