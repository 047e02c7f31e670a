//! Hostile texts behind the validation drive the command builders of every kind: each arrives as one argument, or quoted as
//! one word of a line that a shell reads.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use wiab_engine::id::{RunId, StepId};
use wiab_engine::inputs::resolve;
use wiab_engine::outcome::{Before, Probe, Receipt};
use wiab_engine::plan::{Plan, StepSpec};
use wiab_engine::ports::{BoxFuture, StepCx, Steps};
use wiab_plans::{CommandLine, Hairpin, HairpinPolicy, Rotation, Settings, SiteStep, wiab_staging};
use wiab_steps::catalogue::{Catalogue, KINDS};
use wiab_steps::host::Cmd;
use wiab_steps::host::sim::{Machine, SimHost, SimOptions};

use crate::rehearsal::ordered;
use crate::shape::existing;
use crate::via::{Via, Way, What};

/// Where the deploy directory is in the plan, and what it is instead.
const PLAIN: &str = "/home/demo/wire-server-deploy";
const HOSTILE: &str = "/home/demo/it's $(touch pwned) `id` \"x\" & | ; > y * \\";
/// What tells that some of it is in a text.
const MARK: &str = "touch pwned";

/// Every command that the machine was given.
#[derive(Debug, Default)]
struct Recorded(Mutex<Vec<Cmd>>);

impl Way for Recorded {
    fn passes<'a>(&'a self, what: What<'a>) -> BoxFuture<'a, ()> {
        if let What::Cmd(cmd) = what {
            self.0.lock().unwrap().push(cmd.clone());
        }
        Box::pin(async {})
    }
}

/// Drives steps, whatever becomes of them.
struct Driver {
    host: Arc<Via<Recorded>>,
    catalogue: Catalogue,
    receipts: BTreeMap<StepId, Receipt>,
    built: BTreeSet<String>,
}

impl Driver {
    fn new(machine: Machine) -> Self {
        let host = Arc::new(Via {
            host: SimHost::in_memory(machine, SimOptions::default()),
            way: Recorded::default(),
        });
        Self {
            catalogue: Catalogue::new(host.clone()),
            host,
            receipts: BTreeMap::new(),
            built: BTreeSet::new(),
        }
    }

    /// Looks, remembers and acts; answers the before-image, and whether all went well.
    async fn forth(
        &mut self,
        spec: &StepSpec,
        known: &BTreeMap<StepId, Receipt>,
    ) -> (Before, bool) {
        let mut outputs = known.clone();
        outputs.extend(self.receipts.clone());
        let lookup = |id: &StepId, name: &str| outputs.get(id)?.outputs.get(name).cloned();
        // What a step that failed would have told is not known.
        let Ok(inputs) = resolve(spec, &lookup) else {
            return (Before::Nothing, false);
        };
        let step = self.catalogue.build(spec, inputs).unwrap();
        self.built.insert(spec.kind.clone());
        let cx = self.cx(spec);
        let found = step.probe(&cx).await;
        let before = step.capture(&cx).await.unwrap_or(Before::Nothing);
        if let Ok(Probe::Satisfied(receipt)) = found {
            self.receipts.insert(spec.id.clone(), receipt);
            return (before, true);
        }
        match step.apply(&cx, &before).await {
            Ok(receipt) => {
                self.receipts.insert(spec.id.clone(), receipt);
                (before, true)
            }
            Err(_) => (before, false),
        }
    }

    async fn back(&self, spec: &StepSpec, before: &Before, known: &BTreeMap<StepId, Receipt>) {
        let find = |id: &StepId| self.receipts.get(id).or_else(|| known.get(id));
        let lookup = |id: &StepId, name: &str| find(id)?.outputs.get(name).cloned();
        let Ok(inputs) = resolve(spec, &lookup) else {
            return;
        };
        let step = self.catalogue.build(spec, inputs).unwrap();
        // It may fail: what it says on the way counts.
        drop(step.undo(&self.cx(spec), before).await);
    }

    fn cx(&self, spec: &StepSpec) -> StepCx {
        let clock = Arc::new(self.host.host.clock());
        StepCx::new(RunId([3; 16]), spec.id.clone(), clock)
    }
}

/// The words of a line as a shell reads them. Operators end words; what a script of ours expands stays as it is.
fn words(line: &str) -> Vec<String> {
    let mut all = Vec::new();
    let mut word: Option<String> = None;
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        match c {
            '\'' => {
                let text = word.get_or_insert_default();
                text.extend(chars.by_ref().take_while(|c| *c != '\''));
            }
            '"' => {
                let text = word.get_or_insert_default();
                while let Some(c) = chars.next().filter(|c| *c != '"') {
                    text.push(c);
                    if c == '\\' {
                        text.pop();
                        text.extend(chars.next());
                    }
                }
            }
            '\\' => word.get_or_insert_default().extend(chars.next()),
            c if c.is_whitespace() || ";&|<>()`".contains(c) => all.extend(word.take()),
            c => word.get_or_insert_default().push(c),
        }
    }
    all.extend(word);
    all
}

/// Checks an argument vector; answers how often the hostile text was found whole.
fn intact<S: AsRef<str>>(argv: &[S]) -> Result<usize, String> {
    let mut found = 0;
    for (at, text) in argv.iter().enumerate() {
        let text = text.as_ref();
        if !text.contains(MARK) {
            continue;
        }
        let before = |by: usize| at.checked_sub(by).map_or("", |at| argv[at].as_ref());
        let script =
            before(1).starts_with('-') && before(1).ends_with('c') && before(2).ends_with("sh");
        let remote = argv[0].as_ref() == "ssh" && at + 1 == argv.len();
        if script || remote {
            let inner = intact(&words(text))?;
            // However it is quoted, the mark is in the line once for each time that it is in a word.
            if inner != text.matches(MARK).count() {
                return Err(format!("torn apart: {text:?}"));
            }
            found += inner;
        } else if text.contains(HOSTILE) {
            found += text.matches(MARK).count();
        } else {
            return Err(format!("torn apart: {text:?}"));
        }
    }
    Ok(found)
}

fn hostile(plan: &Plan) -> Plan {
    let escaped = serde_json::to_string(HOSTILE).unwrap();
    let mut plan = plan.clone();
    for spec in &mut plan.steps {
        spec.inputs = spec.inputs.replace(PLAIN, escaped.trim_matches('"'));
    }
    plan
}

fn hostile_receipts(receipts: &BTreeMap<StepId, Receipt>) -> BTreeMap<StepId, Receipt> {
    let mut receipts = receipts.clone();
    for receipt in receipts.values_mut() {
        for value in receipt.outputs.values_mut() {
            *value = value.replace(PLAIN, HOSTILE);
        }
    }
    receipts
}

/// Settings that together have every kind in their plans.
fn all_settings() -> [Settings; 3] {
    let mut most = Settings::rehearsal();
    most.host.dist_upgrade = true;
    most.traffic.private_deployment = true;
    most.certs.rehearse = true;
    most.vms.pool = format!("{PLAIN}/pool");
    most.rotation = Some(Rotation {
        label: "x".to_owned(),
        secrets: vec!["postgresql_wire".to_owned()],
    });
    most.steps.push(SiteStep {
        id: "site.own".to_owned(),
        after: Vec::new(),
        run: CommandLine::Argv(vec!["touch".to_owned(), format!("{PLAIN}/own")]),
        probe: Some(CommandLine::Argv(vec![
            "test".to_owned(),
            "-e".to_owned(),
            format!("{PLAIN}/own"),
        ])),
        undo: Some(CommandLine::Argv(vec![
            "rm".to_owned(),
            "-f".to_owned(),
            format!("{PLAIN}/own"),
        ])),
        timeout: None,
        root: false,
        idempotent: true,
        lanes: Vec::new(),
    });
    let removed = Settings {
        hairpin: Hairpin {
            policy: HairpinPolicy::Remove,
            ..Hairpin::default()
        },
        ..Settings::rehearsal()
    };
    [most, removed, existing()]
}

#[tokio::test]
async fn hostile_texts_stay_whole_in_every_command() {
    let (mut seen, mut whole, mut failed) = (BTreeSet::new(), 0, Vec::new());
    let machine = Machine::fresh();
    for settings in all_settings() {
        let plan = wiab_staging(&settings).unwrap();
        // What the outputs are without anything hostile.
        let mut usual = Driver::new(machine.clone());
        for spec in ordered(&plan) {
            usual.forth(spec, &BTreeMap::new()).await;
        }
        let known = hostile_receipts(&usual.receipts);
        let plan = hostile(&plan);
        let mut driver = Driver::new(machine.clone());
        let mut done = Vec::new();
        for spec in ordered(&plan) {
            let (before, well) = driver.forth(spec, &known).await;
            if !well {
                failed.push(spec.id.to_string());
            }
            done.push((spec, before));
        }
        for (spec, before) in done.iter().rev() {
            driver.back(spec, before, &known).await;
        }
        for cmd in driver.host.way.0.lock().unwrap().iter() {
            whole += intact(&cmd.argv).unwrap_or_else(|why| panic!("{why} in {:?}", cmd.argv));
            assert!(!cmd.env.values().any(|value| value.contains(MARK)));
        }
        let touched = driver.host.host.canonical_state();
        assert!(
            !touched
                .as_object()
                .unwrap()
                .keys()
                .any(|key| key.ends_with("/pwned"))
        );
        seen.extend(driver.built);
    }
    println!("{whole} hostile arguments; steps that failed: {failed:?}");
    assert!(whole > 500, "only {whole} were found");
    let all: BTreeSet<String> = KINDS.iter().map(|entry| entry.name.to_owned()).collect();
    let missing: Vec<&String> = all.difference(&seen).collect();
    assert_eq!(
        missing,
        Vec::<&String>::new(),
        "kinds that no plan here has"
    );
}

#[test]
fn a_torn_text_is_noticed() {
    let quoted = format!("cat '{}' 2>/dev/null", HOSTILE.replace('\'', "'\\''"));
    assert_eq!(intact(&["ssh", "--", "demo@1.2.3.4", &quoted]), Ok(1));
    assert_eq!(intact(&["sh", "-c", "cat \"$1\"", "sh", HOSTILE]), Ok(1));
    let nested = format!("sudo sh -c '{}'", quoted.replace('\'', "'\\''"));
    assert_eq!(intact(&["ssh", "demo@1.2.3.4", &nested]), Ok(1));
    for torn in [
        format!("cat {HOSTILE}"),
        format!("cat \"{HOSTILE}\""),
        format!("cat '{HOSTILE}'"),
    ] {
        assert!(intact(&["ssh", "demo@1.2.3.4", &torn]).is_err(), "{torn}");
        assert!(intact(&["sh", "-c", &torn]).is_err(), "{torn}");
    }
}
