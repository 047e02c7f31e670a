//! Situations of the kinds of secrets: fresh, adopted from files and a cluster, open to others, and older files in the way.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use wiab_steps::host::sim::Machine;
use wiab_steps::kind::{Input, Kind};
use wiab_steps::kinds::postgresql_secrets::PostgresqlSecrets;
use wiab_steps::kinds::secrets_rendered::SecretsRendered;
use wiab_steps::kinds::secrets_rotated::SecretsRotated;
use wiab_steps::kinds::secrets_sealed::{AdoptFile, SecretsSealed};
use wiab_steps::kinds::secrets_target::Target;
use wiab_steps::secrets::{
    Cluster, Form, Found, Kubectl, Name, SealedSet, SeededEntropy, generate,
};

use super::charts;
use super::scenarios::{Scenario, deploy, dirs};
use super::world::World;

pub(crate) const WIRE: Form = Form::WireServer {
    sms: false,
    background_worker_postgresql: true,
};

/// Another installation's secrets, by seed.
pub(crate) fn other(seed: &str) -> SealedSet {
    generate(
        &mut SeededEntropy::new(seed),
        Found::default(),
        "2025-01-01",
    )
    .unwrap()
}

pub(crate) fn ansible_file() -> String {
    deploy("group_vars/secrets.yaml")
}

pub(crate) fn wire_file() -> String {
    deploy("values/wire-server-secrets.yaml")
}

pub(crate) fn coturn_file() -> String {
    deploy("values/coturn-secrets.yaml")
}

pub(crate) fn files() -> [(String, Form); 3] {
    [
        (ansible_file(), Form::Ansible),
        (wire_file(), WIRE),
        (coturn_file(), Form::Coturn),
    ]
}

/// A cluster that `command` of `sh` answers for.
pub(crate) fn cluster(command: &str) -> Cluster {
    Cluster {
        kubectl: Kubectl::Words(["sh", "-c", command].map(str::to_owned).to_vec()),
        kubeconfig: deploy("admin.conf"),
        namespace: "default".to_owned(),
    }
}

pub(crate) fn sealed(command: &str) -> SecretsSealed {
    let adopt = files().map(|(path, form)| AdoptFile { path, form });
    SecretsSealed {
        path: deploy("secrets.toml"),
        adopt: adopt.to_vec(),
        cluster: Some(cluster(command)),
    }
}

pub(crate) fn rendered() -> SecretsRendered {
    let targets = files().map(|(path, form)| Target { path, form });
    SecretsRendered {
        sealed: Input::Value(deploy("secrets.toml")),
        targets: targets.to_vec(),
    }
}

/// What kubectl says of a cluster that uses `set`.
pub(crate) fn live(set: &SealedSet) -> Value {
    let encoded = |name: Name| STANDARD.encode(set.get(name));
    let secret = |name: &str, data: Value| json!({"kind": "Secret", "metadata": {"name": name}, "data": data});
    json!({"kind": "List", "items": [
        secret("brig", json!({
            "turn-secret.txt": encoded(Name::Zrest),
            "secretkey.txt": encoded(Name::ZauthPrivate),
            "publickey.txt": encoded(Name::ZauthPublic),
        })),
        secret("nginz", json!({"zauth.conf": STANDARD.encode(format!("{}\n", set.get(Name::ZauthPublic)))})),
        secret("galley", json!({"removal_ecdsa_secp521r1_sha512.pem": encoded(Name::MlsP521)})),
        secret("repmgr-postgresql-secret", json!({"password": encoded(Name::PostgresqlRepmgr), "username": ""})),
    ]})
}

/// The directories, as other steps make them.
pub(crate) async fn ground() -> Machine {
    let keep = |machine: Machine, dir: &str| {
        let path = deploy(&format!("{dir}/.keep"));
        machine
            .with_file(&path, "", 0o644, "demo:demo")
            .without_file(&path)
    };
    let world = World::new(Machine::fresh());
    let mut dirs = dirs();
    for name in ["group_vars", "values"] {
        let mut dir = dirs.dirs[0].clone();
        dir.path = deploy(name);
        dirs.dirs.push(dir);
    }
    world.done(&dirs).await;
    let machine = keep(world.host.machine(), "group_vars");
    keep(machine, "values")
}

/// The ground with files of `set`, as an older installation has left them.
pub(crate) async fn older(set: &SealedSet, mode: u32, owner: &str) -> Machine {
    let world = World::new(ground().await);
    let mut sealing = sealed("false");
    sealing.cluster = None;
    let text = set.encode();
    let machine = world
        .host
        .machine()
        .with_file(&sealing.path, &text, 0o600, "demo:demo");
    let world = World::new(machine);
    world.done(&rendered()).await;
    let mut machine = world.host.machine().without_file(&sealing.path);
    for (path, _) in files() {
        let text = world.text_of(&path).await.unwrap();
        // Without the line by which wiab knows its own files.
        let text = text.split_once('\n').unwrap().1.to_owned();
        machine = machine.with_file(&path, &text, mode, owner);
    }
    machine
}

fn scenario<K: Kind>(name: &'static str, machine: &Machine, kind: &K) -> Scenario {
    Scenario {
        group: "secrets",
        name,
        kind: K::NAME,
        inputs: serde_json::to_value(kind).unwrap(),
        machine: machine.clone(),
        undo_acts_alone: true,
        only_looks: false,
        one_way: false,
    }
}

/// PostgreSQL's passwords in a cluster that holds one of them already, or one from before a rotation.
fn passwords() -> Vec<Scenario> {
    let with_wire = |seed: &str, password: &str| {
        let mut found = Found::default();
        found
            .offer(Name::PostgresqlWire, password, "the cluster")
            .unwrap();
        generate(&mut SeededEntropy::new(seed), found, "2025-01-01").unwrap()
    };
    let old = with_wire("passwords", charts::PASSWORD);
    let path = |name: &str| Input::Value(deploy(name));
    let machine =
        charts::cluster().with_file(&deploy("secrets.toml"), &old.encode(), 0o600, "demo:demo");
    let kept = machine
        .clone()
        .with_file(
            &deploy("secrets.before-x.toml"),
            &old.encode(),
            0o600,
            "demo:demo",
        )
        .with_file(
            &deploy("secrets.toml"),
            &with_wire("passwords", "another-password-of-postgresql").encode(),
            0o600,
            "demo:demo",
        );
    let handed = |rotated_from| PostgresqlSecrets {
        kubectl: Kubectl::Toolbox(charts::toolbox()),
        sealed: path("secrets.toml"),
        rotated_from,
    };
    vec![
        scenario("passwords for the cluster", &machine, &handed(None)),
        scenario(
            "rotated passwords for the cluster",
            &kept,
            &handed(Some(path("secrets.before-x.toml"))),
        ),
    ]
}

fn rotated() -> SecretsRotated {
    SecretsRotated {
        sealed: deploy("secrets.toml"),
        label: "2026-01".to_owned(),
        names: vec!["zrest".to_owned()],
    }
}

#[tokio::test]
async fn a_rotation_changes_what_is_named_once_and_nothing_else() {
    let set = other("set");
    let machine =
        ground()
            .await
            .with_file(&deploy("secrets.toml"), &set.encode(), 0o600, "demo:demo");
    let world = World::new(machine);
    world.done(&rotated()).await;
    let text = world.text_of(&deploy("secrets.toml")).await.unwrap();
    let new = SealedSet::parse("f", text.as_bytes()).unwrap();
    for name in Name::ALL {
        let named = rotated().names.iter().any(|text| text == name.as_str());
        assert_eq!(set.get(name) != new.get(name), named, "{name}");
    }
    let kept = world.text_of(&rotated().before()).await.unwrap();
    assert_eq!(kept, *set.encode());
}

#[tokio::test]
async fn what_must_not_change_is_refused_with_its_reason() {
    let machine = ground().await.with_file(
        &deploy("secrets.toml"),
        &other("set").encode(),
        0o600,
        "demo:demo",
    );
    for (name, why) in [
        ("mls_ed25519", "existing MLS groups"),
        ("minio_secret_key", "command line"),
        ("postgresql_repmgr", "re-clones the replicas"),
        ("nonsense", "there is no secret"),
    ] {
        let world = World::new(machine.clone());
        let before = world.state();
        let kind = SecretsRotated {
            names: vec![name.to_owned()],
            ..rotated()
        };
        let step = world.step(SecretsRotated::NAME, &serde_json::to_value(&kind).unwrap());
        let image = step.capture().await.unwrap();
        let failure = step.apply(1, false, &image).await.unwrap_err();
        assert!(failure.why.contains(why), "{failure:?}");
        assert_eq!(world.state(), before);
    }
}

/// All situations of secrets.
pub(crate) async fn scenarios() -> Vec<Scenario> {
    let fresh = ground().await;
    let (old, set) = (other("old"), other("set"));
    let with_set = |machine: Machine, mode| {
        machine.with_file(&deploy("secrets.toml"), &set.encode(), mode, "demo:demo")
    };
    let in_use = older(&old, 0o644, "demo:demo")
        .await
        .with_file(&deploy("admin.conf"), "", 0o600, "root:root")
        .with_file("/cluster.json", &live(&set).to_string(), 0o644, "root:root");
    let replaced = with_set(older(&old, 0o640, "demo:demo").await, 0o600);
    let roots = with_set(older(&set, 0o644, "root:root").await, 0o600);
    let mixed = with_set(older(&set, 0o644, "demo:demo").await, 0o600)
        .without_file(&coturn_file())
        .with_file(&ansible_file(), &older_text(&old).await, 0o644, "root:root");
    let mut all = passwords();
    all.extend([
        scenario("secrets of a new installation", &fresh, &sealed("false")),
        scenario(
            "secrets of an older installation",
            &in_use,
            &sealed("cat /cluster.json"),
        ),
        scenario(
            "secrets that others could read",
            &with_set(fresh.clone(), 0o644),
            &sealed("false"),
        ),
        scenario("a rotation", &with_set(fresh.clone(), 0o600), &rotated()),
        scenario("secret files", &with_set(fresh, 0o600), &rendered()),
        scenario("secret files over older ones", &replaced, &rendered()),
        scenario("secret files that root has left", &roots, &rendered()),
        scenario("secret files, each in another state", &mixed, &rendered()),
    ]);
    all
}

async fn older_text(set: &SealedSet) -> String {
    let world = World::new(older(set, 0o644, "demo:demo").await);
    world.text_of(&ansible_file()).await.unwrap()
}
