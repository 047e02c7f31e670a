//! Certificates with the real binary, a real cluster, a real authority and real packets: the hairpin rule is missing, wiab says so,
//! adds it, the certificate is issued, the rule goes; the same with wiab killed on the way, again and again.

mod journal;
mod kills;
mod scene;

use std::path::Path;

use self::scene::Scene;
use crate::artifact;
use crate::bench::Bench;
use crate::cache::Cache;
use crate::error::{Result, ensure};
use crate::hairpin::ground::Ground;
use crate::kube::Control;
use crate::machine::Machine;
use crate::say::say;
use crate::scenario::Scenario;
use crate::step;

const CONFIG: &str = include_str!("../../machine/certs.toml");
/// Pause after a failed issuance, in seconds: an hour in reality.
const BACKOFF_S: u64 = 20;
/// Longest time that one wiab command may take, in seconds.
const LIMIT_S: u64 = 1_800;
/// What lets the nodes out to their cluster, and the tools.
const GROUND: &str = "apply --yes --only dl,art,img.wsd,fw.docker-user,fw.check,fw.apply";
/// Everything else that certificates need, and the chart that asks for them.
const INSTALL: &str = "apply --yes --only fw.health,ns,helm.values:cert-manager,helm.values:ingress-nginx-controller,\
                       helm.values:nginx-ingress-services,helm.cert-manager,helm.ingress-nginx-controller,\
                       helm.nginx-ingress-services";
/// What the stories run. The checks from end to end want an authority that the world trusts; curl checks instead.
const APPLY: &str = "apply --yes --set plan=certificates --skip e2e";

/// Proves the binary at `wiab` on a machine whose nodes are network namespaces. With `keep`, a machine on which it failed stays.
pub(crate) fn run(cache: &Cache, wiab: &Path, keep: bool) -> Result<()> {
    Scenario {
        name: "certs",
        cache,
        binds: &[step::share()?, artifact::share(cache)?],
        keep,
    }
    .prove(|machine| {
        let mut cluster = Control::start(machine, cache)?;
        let result = prove(machine, &mut cluster, wiab);
        if result.is_err() {
            say(&format!("certs: the hub said:\n{}", cluster.log("hub")));
            if keep {
                return result;
            }
        }
        cluster.stop()?;
        result
    })
}

fn prove(machine: &Machine, cluster: &mut Control<'_>, wiab: &Path) -> Result<()> {
    cluster.start_hub(BACKOFF_S)?;
    machine.let_in()?;
    let ground = Ground::with_agents(machine)?;
    ground.set_bridge_nf(0)?;
    ground.lend_keys("/home/demo/wire-server-deploy", &cluster.admin()?)?;
    let scene = Scene {
        bench: Bench::new(machine, wiab, CONFIG, LIMIT_S)?,
        cluster,
    };
    scene.bench.expect(GROUND, 0)?;
    scene.nodes_are_ready()?;
    scene.bench.expect(INSTALL, 0)?;
    scene.shown(None)?;
    let before = scene.rules()?;
    let stories: [fn(&Scene<'_>) -> Result<()>; 3] =
        [|scene| scene.cured(), |scene| scene.probed(), kills::killed];
    for story in stories {
        story(&scene)?;
        scene.issued()?;
        let after = scene.rules()?;
        ensure(after == before, || {
            format!("the rules were:\n{before}\nand are:\n{after}")
        })?;
        scene.afresh()?;
    }
    scene.bench.expect("journal verify", 0)
}

impl Scene<'_> {
    /// Nothing adds the rule beforehand: the step that waits finds out, adds it for the time of issuance, and says so.
    fn cured(&self) -> Result<()> {
        let base = journal::last(&self.bench.state())?;
        self.bench.expect(APPLY, 0)?;
        let events = journal::since(&self.bench.state(), base)?;
        for wanted in [
            "EvidenceTaken",
            "Diagnosed",
            "CureTried hairpin",
            "ObligationOpened cert.hairpin-rule",
            "CureEnded hairpin",
            "ObligationSettled cert.hairpin-rule",
        ] {
            let there = events.iter().any(|event| event.name.starts_with(wanted));
            ensure(there, || format!("the journal has no {wanted}"))?;
        }
        let told = self.tells("journal why certs latest")?;
        for part in ["hairpin", "until the certificate is issued"] {
            ensure(told.contains(part), || {
                format!("`wiab journal why certs` does not tell of {part:?}:\n{told}")
            })?;
        }
        say("certs: found out, cured, and told");
        let shown = self.tells("certs")?;
        ensure(shown.contains("wire-test-csr"), || {
            format!("`wiab certs` shows:\n{shown}")
        })
    }

    /// The usual way: packets show beforehand that the rule is needed; it is added, and goes afterwards.
    fn probed(&self) -> Result<()> {
        let base = journal::last(&self.bench.state())?;
        let args = format!("{APPLY} --set hairpin.policy=auto --set hairpin.after=remove");
        self.bench.expect(&args, 0)?;
        let events = journal::since(&self.bench.state(), base)?;
        let cured = events
            .iter()
            .any(|event| event.name.starts_with("CureTried"));
        ensure(!cured, || {
            "the rule was there, and something had to be cured all the same".to_owned()
        })?;
        say("certs: found out beforehand, and nothing had to be cured");
        Ok(())
    }

    /// What a command of wiab's prints.
    fn tells(&self, args: &str) -> Result<String> {
        let text = self.bench.wiab(args).output()?;
        say(&format!("$ wiab {args}\n{text}"));
        // A screen breaks its lines where the width ends.
        Ok(text.split_whitespace().collect::<Vec<_>>().join(" "))
    }
}
