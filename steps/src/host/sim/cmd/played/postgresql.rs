//! `postgresql-deploy.yml`, with what it does to a cluster that is there: the first node becomes the primary, whatever it
//! was, and the others are cloned from it.

use base64::Engine as _;
use serde_json::{Value, json};

use super::super::super::entity::{KubeApi, KubeObject};
use super::super::super::inside::{self, Entry, GuestUnit};
use super::super::super::state::Draft;
use super::super::guest_data::{PG_CONTROL, PG_DIR, PG_STANDBY, PG_UNIT, set_password};
use super::super::guest_units::install;
use super::{Run, TaskFailure, apt, failed};

const PACKAGES: [&str; 8] = [
    "postgresql-client-common",
    "postgresql-common",
    "postgresql-client-17",
    "postgresql-17",
    "python3-psycopg2",
    "repmgr-common",
    "postgresql-17-repmgr",
    "repmgr",
];
const SECRETS: [&str; 2] = [
    "repmgr-postgresql-secret",
    "wire-postgresql-external-secret",
];

pub(super) fn play(draft: &mut Draft<'_>, run: &Run<'_>) -> Result<(), TaskFailure> {
    apt(draft, run, "Install PostgreSQL packages")?;
    let Some(first) = run.of("datanode").next() else {
        return Ok(());
    };
    if !draft.has::<KubeApi>("") {
        return Err(failed(
            "Configure primary",
            &first.name,
            "Unable to connect to the server: dial tcp: connection refused",
        ));
    }
    for host in run.of("datanode") {
        packages(draft, &host.name);
        draft.mark_half();
    }
    secrets(draft);
    primary(draft, &first.name);
    password(draft, &first.name);
    draft.mark_half();
    let control = inside::text(draft, &first.name, PG_CONTROL).unwrap_or_default();
    for host in run.of("datanode").filter(|host| host.name != first.name) {
        replica(draft, &host.name, &control);
        draft.mark_half();
    }
    Ok(())
}

fn packages(draft: &mut Draft<'_>, vm: &str) {
    for package in PACKAGES {
        install(draft, vm, package);
    }
    inside::write(
        draft,
        vm,
        "/etc/postgresql/17/main/postgresql.conf",
        "wal_level = replica\n",
    );
    inside::write(
        draft,
        vm,
        "/etc/repmgr/17-main/repmgr.conf",
        "node_name = x\n",
    );
    inside::put_file(draft, vm, "/opt/repmgr/scripts", &Entry::Dir);
    inside::write(
        draft,
        vm,
        "/etc/sudoers.d/postgres",
        "postgres ALL = NOPASSWD: systemctl\n",
    );
    inside::write(
        draft,
        vm,
        "/usr/local/bin/detect_rogue_primary.sh",
        "#!/bin/bash\n",
    );
    inside::write(
        draft,
        vm,
        "/etc/systemd/system/repmgrd@.service",
        "[Service]\n",
    );
    for unit in ["detect-rogue-primary.timer", "postgres_exporter"] {
        let file = if unit.contains('.') {
            unit.to_owned()
        } else {
            format!("{unit}.service")
        };
        inside::write(
            draft,
            vm,
            &format!("/etc/systemd/system/{file}"),
            "[Unit]\n",
        );
        inside::put_unit(draft, vm, unit, Some(GuestUnit::ON));
    }
    inside::put_unit(draft, vm, "repmgrd@17-main", Some(GuestUnit::ON));
    inside::put_unit(draft, vm, PG_UNIT, Some(GuestUnit::ON));
    if inside::file(draft, vm, PG_CONTROL).is_none() {
        // As the package makes it: a system of its own on every node.
        let control = json!({"system": format!("70-{vm}"), "timeline": 1, "writes": 0});
        inside::write(draft, vm, &format!("{PG_DIR}/PG_VERSION"), "17\n");
        inside::write(draft, vm, PG_CONTROL, &control.to_string());
    }
}

fn secrets(draft: &mut Draft<'_>) {
    for secret in SECRETS {
        let name = format!("Secret/default/{secret}");
        if draft.has::<KubeObject>(&name) {
            continue;
        }
        let labels = json!({"app": "postgresql", "managed-by": "ansible"});
        let json = json!({
            "apiVersion": "v1", "kind": "Secret", "type": "Opaque",
            "metadata": {"name": secret, "namespace": "default", "labels": labels},
            "data": {"password": "YWJjZGVmZ2hpamtsbW5vcHFyc3R1dnd4eXowMTIzNDU="},
        });
        draft.put(
            &name,
            &KubeObject {
                json,
                ready_ms: Some(0),
            },
        );
    }
}

/// Wire's role gets the password of the cluster's secret, whenever the playbook runs.
fn password(draft: &mut Draft<'_>, vm: &str) {
    let secret = draft.get::<KubeObject>("Secret/default/wire-postgresql-external-secret");
    let encoded = secret.and_then(|secret| {
        let password = secret.json.pointer("/data/password")?;
        password.as_str().map(str::to_owned)
    });
    let decoded = base64::engine::general_purpose::STANDARD.decode(encoded.unwrap_or_default());
    let text = String::from_utf8_lossy(&decoded.unwrap_or_default()).into_owned();
    set_password(draft, vm, "wire-server", &text);
}

fn control_of(draft: &Draft<'_>, vm: &str) -> Value {
    let text = inside::text(draft, vm, PG_CONTROL).unwrap_or_default();
    serde_json::from_str(&text).unwrap_or_default()
}

/// A standby loses its mark and becomes a primary of whatever it had.
fn primary(draft: &mut Draft<'_>, vm: &str) {
    if inside::file(draft, vm, PG_STANDBY).is_some() {
        inside::remove(draft, vm, PG_STANDBY);
        inside::count(draft, vm, "standby-forced-primary");
    }
    let mut control = control_of(draft, vm);
    if let Some(control) = control.as_object_mut() {
        control.insert("system".to_owned(), json!("7432100000000000001"));
    }
    inside::write(draft, vm, PG_CONTROL, &control.to_string());
}

/// Deletes the data directory and clones it anew.
fn replica(draft: &mut Draft<'_>, vm: &str, control: &str) {
    let streams = inside::file(draft, vm, PG_STANDBY).is_some();
    if streams || control_of(draft, vm).get("writes") != Some(&json!(0)) {
        inside::count(draft, vm, "data-wiped");
    }
    inside::remove(draft, vm, PG_DIR);
    inside::write(draft, vm, &format!("{PG_DIR}/PG_VERSION"), "17\n");
    inside::write(draft, vm, PG_CONTROL, control);
    inside::write(draft, vm, PG_STANDBY, "");
}
