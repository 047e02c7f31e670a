//! The whole plan on the simulated machine: forth, once more, and back.

use std::collections::BTreeMap;
use std::sync::Arc;

use wiab_engine::id::{RunId, StepId};
use wiab_engine::inputs::resolve;
use wiab_engine::outcome::{Before, Probe, Receipt};
use wiab_engine::plan::{Plan, StepSpec};
use wiab_engine::ports::{Step, StepCx, Steps as _};
use wiab_plans::{Hairpin, HairpinPolicy, Settings, wiab_staging};
use wiab_steps::catalogue::Catalogue;
use wiab_steps::host::Host;
use wiab_steps::host::sim::{Machine, SimHost, SimOptions};

/// The steps in an order that respects `after`.
pub(crate) fn ordered(plan: &Plan) -> Vec<&StepSpec> {
    let mut rest: Vec<&StepSpec> = plan.steps.iter().collect();
    let mut done: Vec<&StepSpec> = Vec::new();
    while !rest.is_empty() {
        let ready = |step: &StepSpec| {
            step.after
                .iter()
                .all(|id| done.iter().any(|other| other.id == *id))
        };
        let at = rest.iter().position(|step| ready(step)).expect("no cycle");
        done.push(rest.remove(at));
    }
    done
}

struct Rehearsal {
    host: Arc<SimHost>,
    catalogue: Catalogue,
    receipts: BTreeMap<StepId, Receipt>,
}

impl Rehearsal {
    fn new(machine: Machine) -> Self {
        let host = SimHost::in_memory(machine, SimOptions::default());
        let shared: Arc<dyn Host> = host.clone();
        Self {
            host,
            catalogue: Catalogue::new(shared),
            receipts: BTreeMap::new(),
        }
    }

    fn build(&self, spec: &StepSpec) -> Arc<dyn Step> {
        let lookup = |id: &StepId, name: &str| self.receipts.get(id)?.outputs.get(name).cloned();
        let inputs = resolve(spec, &lookup).expect("outputs of earlier steps");
        self.catalogue.build(spec, inputs).expect("a known kind")
    }

    fn cx(&self, spec: &StepSpec) -> StepCx {
        let clock = Arc::new(self.host.clock());
        StepCx::new(RunId([3; 16]), spec.id.clone(), clock)
    }

    /// Applies a step; `None` when it was satisfied already.
    async fn apply(&mut self, spec: &StepSpec) -> Option<Before> {
        let (step, cx) = (self.build(spec), self.cx(spec));
        let found = step
            .probe(&cx)
            .await
            .unwrap_or_else(|failure| panic!("{}: {failure:?}", spec.id));
        if let Probe::Satisfied(receipt) = found {
            self.receipts.insert(spec.id.clone(), receipt);
            return None;
        }
        let before = step
            .capture(&cx)
            .await
            .unwrap_or_else(|failure| panic!("{}: {failure:?}", spec.id));
        let receipt = step
            .apply(&cx, &before)
            .await
            .unwrap_or_else(|failure| panic!("{}: {failure:?}", spec.id));
        self.receipts.insert(spec.id.clone(), receipt);
        Some(before)
    }
}

/// The whole installation, finished.
pub(crate) async fn built(settings: &Settings) -> (Plan, Arc<SimHost>) {
    let plan = wiab_staging(settings).expect("good settings");
    let mut rehearsal = Rehearsal::new(Machine::fresh());
    for spec in ordered(&plan) {
        rehearsal.apply(spec).await;
    }
    (plan, rehearsal.host)
}

async fn forth_and_back(settings: &Settings, machine: Machine) {
    let plan = wiab_staging(settings).expect("good settings");
    let steps = ordered(&plan);
    let mut rehearsal = Rehearsal::new(machine);
    let fresh = rehearsal.host.canonical_state();
    let mut changed = Vec::new();
    for spec in &steps {
        if let Some(before) = rehearsal.apply(spec).await {
            changed.push((*spec, before));
        }
    }
    let built = rehearsal.host.canonical_state();
    for spec in &steps {
        let before = rehearsal.apply(spec).await;
        assert!(before.is_none(), "{} is not satisfied in the end", spec.id);
    }
    assert_eq!(
        rehearsal.host.canonical_state(),
        built,
        "looking changes nothing"
    );
    for (spec, before) in changed.iter().rev() {
        let (step, cx) = (rehearsal.build(spec), rehearsal.cx(spec));
        step.undo(&cx, before)
            .await
            .unwrap_or_else(|failure| panic!("{}: {failure:?}", spec.id));
    }
    let (found, wanted) = (rehearsal.host.canonical_state(), fresh);
    let (found, wanted) = (found.as_object().unwrap(), wanted.as_object().unwrap());
    for key in found.keys().chain(wanted.keys()) {
        assert_eq!(found.get(key), wanted.get(key), "{key} after going back");
    }
}

#[tokio::test]
async fn the_whole_plan_goes_forth_and_back_on_a_fresh_host() {
    forth_and_back(&Settings::rehearsal(), Machine::fresh()).await;
}

#[tokio::test]
async fn two_small_vms_without_kvm_go_forth_and_back() {
    let mut settings = Settings {
        hairpin: Hairpin {
            policy: HairpinPolicy::Remove,
            ..Hairpin::default()
        },
        ..Settings::rehearsal()
    };
    settings.vms.only = vec!["assethost".to_owned(), "datanode1".to_owned()];
    settings.vms.scale = 12;
    settings.vms.virt_type = wiab_plans::VirtType::Qemu;
    settings.vms.tb_cache_mib = Some(64);
    forth_and_back(&settings, Machine::fresh().without_kvm()).await;
}

#[tokio::test]
async fn existing_vms_go_forth_and_back_and_are_left_as_they_are() {
    let machine = Machine::fresh()
        .with_existing_vms()
        .with_existing_vm_login("kubenode2", "ubuntu", 2_222)
        .with_vm_fact("datanode1", "mtu", serde_json::json!(1_500));
    forth_and_back(&super::shape::existing(), machine).await;
}
