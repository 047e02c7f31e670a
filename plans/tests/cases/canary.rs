//! No secret and no private key is said anywhere in a run of the whole plan: not in the plan, a command line, an event, a
//! line of progress, or what is kept of the commands' output.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use serde_json::Value;
use wiab_engine::id::StepId;
use wiab_engine::outcome::Outcome;
use wiab_engine::ports::{ProgressSink, Tick};
use wiab_plans::{Settings, wiab_staging};
use wiab_steps::host::sim::{Machine, Points, SimHost, SimOptions, Tap};

use crate::world::{Goal, Log, Watch, driven, runner};

/// Shorter texts occur by chance.
const SECRET_CHARS_MIN: usize = 12;

#[derive(Debug, Default)]
struct Lines(Mutex<Vec<String>>);

impl ProgressSink for Lines {
    fn tick(&self, step: &StepId, tick: Tick) {
        self.0.lock().unwrap().push(format!("{step} {tick:?}"));
    }
}

/// The text of a file of the simulated machine.
fn text(state: &Value, path: &str) -> String {
    let file = &state[format!("file:{path}")];
    file["data"]["text"]
        .as_str()
        .unwrap_or_else(|| panic!("no {path}"))
        .to_owned()
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut all = String::new();
    for chunk in bytes.chunks(3) {
        let byte = |at: usize| u32::from(chunk.get(at).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for at in 0..4 {
            let digit = (bits >> (18 - 6 * at)) & 63;
            all.push(if at <= chunk.len() {
                char::from(DIGITS[digit as usize])
            } else {
                '='
            });
        }
    }
    all
}

/// Every secret by name: the sealed set's, the lines of private keys, the cluster's administrator's, the TLS keys.
fn secrets(settings: &Settings, machine: &Machine) -> BTreeMap<String, String> {
    let state = machine.canonical_state();
    let deploy = settings.deploy_dir();
    let mut all = BTreeMap::new();
    for (number, line) in text(&state, &settings.sealed_path()).lines().enumerate() {
        let value = line.split_once(" = ").map(|(_, value)| value);
        let quoted = value.and_then(|value| value.strip_prefix('"')?.strip_suffix('"'));
        let name = format!("secrets.toml:{number} {}", line.split(' ').next().unwrap());
        all.extend(quoted.map(|value| (name, value.to_owned())));
    }
    for (name, file) in state.as_object().unwrap() {
        let content = file["data"]["text"].as_str().unwrap_or_default();
        let private = content.contains("PRIVATE KEY-----");
        let admin = name.ends_with("/admin.conf");
        if !private && !admin {
            continue;
        }
        let mut inside = admin;
        for (number, line) in content.lines().enumerate() {
            if private && line.contains("-----") {
                inside = line.contains("-----BEGIN");
                continue;
            }
            let wanted = !admin || line.contains("key-data") || line.contains("token");
            if inside && wanted {
                let value = line.trim().rsplit(' ').next().unwrap_or_default();
                all.insert(
                    format!("{name}:{number}"),
                    value.trim_matches('"').to_owned(),
                );
            }
        }
    }
    let of_tls = machine.objects("Secret/");
    assert!(!of_tls.is_empty() && !deploy.is_empty());
    for name in of_tls {
        let secret = machine.object("Secret", "default", &name);
        let key = secret.and_then(|secret| secret["data"]["tls.key"].as_str().map(str::to_owned));
        all.extend(key.map(|key| (format!("tls {name}"), key)));
    }
    all.retain(|_, secret| secret.len() >= SECRET_CHARS_MIN && !secret.starts_with("-----"));
    all
}

#[test]
fn no_secret_is_said_in_a_whole_run() {
    let settings = Settings::rehearsal();
    let plan = wiab_staging(&settings).unwrap();
    let (log, points, lines) = (Log::keeping(), Points::record(), Arc::new(Lines::default()));
    let tap: Arc<dyn Tap> = Arc::new(points.clone());
    let options = SimOptions {
        tap: Some(tap),
        ..SimOptions::default()
    };
    let host = SimHost::in_memory(Machine::fresh(), options);
    let watch = Watch {
        progress: Some(lines.clone()),
        ..Watch::default()
    };
    let work = runner(&plan, &log, &host, Goal::Forward, watch, Vec::new());
    assert_eq!(driven(work, &host), Some(Outcome::Completed));

    let mut said = vec![("plan".to_owned(), serde_json::to_string(&plan).unwrap())];
    for event in log.events() {
        said.push((
            "event".to_owned(),
            wiab_engine::codec::to_json(&event).to_string(),
        ));
        said.push(("event".to_owned(), format!("{event:?}")));
    }
    for stored in log.stored() {
        said.push((
            "output".to_owned(),
            String::from_utf8_lossy(&stored).into_owned(),
        ));
    }
    said.extend(
        points
            .seen()
            .into_iter()
            .map(|point| ("command".to_owned(), point.what)),
    );
    said.extend(
        lines
            .0
            .lock()
            .unwrap()
            .iter()
            .map(|line| ("progress".to_owned(), line.clone())),
    );
    for kind in ["plan", "event", "output", "command", "progress"] {
        let of_kind = said.iter().filter(|(name, _)| name == kind);
        assert!(of_kind.count() > 0, "nothing was collected of {kind}");
    }

    let secrets = secrets(&settings, &host.machine());
    assert!(
        secrets.len() > 40,
        "a canary that sings: {:?}",
        secrets.keys()
    );
    let lines: Vec<String> = said
        .iter()
        .map(|(kind, text)| format!("{kind}: {text}"))
        .collect();
    assert_eq!(leaks(&secrets, &lines.join("\n")), Vec::<String>::new());
}

/// Where a secret is said, as it is or in base64.
fn leaks(secrets: &BTreeMap<String, String>, all: &str) -> Vec<String> {
    let mut leaks = Vec::new();
    for (name, secret) in secrets {
        for form in [
            secret.clone(),
            base64(secret.as_bytes()).trim_end_matches('=').to_owned(),
        ] {
            if let Some(at) = all.find(&form) {
                let before: String = all[..at].chars().rev().take(160).collect();
                let before: String = before.chars().rev().collect();
                leaks.push(format!("{name} ({form}) after `{before}`"));
            }
        }
    }
    leaks
}
