//! Certificates with a real cluster, a real authority and real packets: without the hairpin rule the self-check hangs, with it
//! the certificate is issued and shown to the outside, and nothing is left of the rule.

mod objects;

use crate::cache::Cache;
use crate::cmd::Cmd;
use crate::error::{LabError, Result, ensure};
use crate::hairpin::ground::Ground;
use crate::inside::MACHINE_IP;
use crate::kube::Control;
use crate::machine::Machine;
use crate::say::{say, took};
use crate::scenario::Scenario;
use crate::step;
use crate::sys::{self, Watch};

/// Pause after a failed issuance, in seconds: an hour in reality.
const BACKOFF_S: u64 = 30;
/// How long the cluster may take for what it is asked, in seconds.
const CLUSTER_S: u64 = 180;
/// How long issuance may take once packets find their way: the self-check is repeated five times first. In seconds.
const ISSUE_S: u64 = 240;

/// Proves it on a machine whose nodes are network namespaces. With `keep`, a machine on which it failed stays.
pub(crate) fn run(cache: &Cache, keep: bool) -> Result<()> {
    Scenario {
        name: "certs",
        cache,
        binds: &[step::share()?],
        keep,
    }
    .prove(|machine| prove(machine, cache))
}

fn prove(machine: &Machine, cache: &Cache) -> Result<()> {
    let mut cluster = Control::start(machine, cache)?;
    cluster.start_hub(BACKOFF_S)?;
    let ground = Ground::with_agents(machine)?;
    ground.set_bridge_nf(0)?;
    ground.firewall()?;
    let scene = Scene {
        ground,
        cluster: &cluster,
    };
    let result = scene.story();
    if result.is_err() {
        say(&format!("certs: the hub said:\n{}", cluster.log("hub")));
    }
    cluster.stop()?;
    result
}

struct Scene<'a> {
    ground: Ground<'a>,
    cluster: &'a Control<'a>,
}

impl Scene<'_> {
    fn story(&self) -> Result<()> {
        self.cluster_works()?;
        self.apply(&objects::services())?;
        self.shown(None)?;
        self.hangs()?;
        let rule = Ground::rule();
        let told = step::apply(self.ground.machine, &rule)?;
        told.receipt()?;
        say("certs: the hairpin rule is there");
        self.issued()?;
        step::undo(self.ground.machine, &rule, &told)?;
        let root = self.cluster.root()?;
        self.shown(Some(&root))?;
        let left = self
            .ground
            .machine
            .cmd(["nft", "list", "table", "ip", "wiab_hairpin"]);
        ensure(!left.succeeds()?, || "the rule is still there".to_owned())?;
        self.nothing_left_of_challenges()
    }

    fn kubectl(&self, args: &str) -> Cmd {
        let words: Vec<&str> = args.split(' ').collect();
        self.cluster.kubectl(&words)
    }

    fn apply(&self, objects: &str) -> Result<()> {
        self.kubectl("apply -f -")
            .stdin(objects.as_bytes().to_vec())
            .run()
    }

    /// What a question of kubectl answers, once `good` holds.
    fn until(
        &self,
        what: &str,
        limit_s: u64,
        args: &str,
        good: impl Fn(&str) -> bool,
    ) -> Result<String> {
        let watch = Watch::start();
        let mut last = String::new();
        let found = sys::wait_for(what, limit_s, || {
            let done = self.kubectl(args).done()?;
            last = format!("{}{}", done.stdout, done.stderr);
            Ok((done.status.success() && good(&done.stdout)).then_some(done.stdout))
        });
        let found =
            found.map_err(|error| LabError::check(format!("{error}; last seen: {last}")))?;
        took(&format!("certs: {what}"), watch);
        Ok(found)
    }

    /// Nodes register, pods run, the controller's log can be read, and the ports are closed until the controller runs.
    fn cluster_works(&self) -> Result<()> {
        let nodes = "get nodes --no-headers";
        self.until("three nodes are ready", CLUSTER_S, nodes, |text| {
            text.lines().filter(|line| line.contains(" Ready ")).count() == 3
        })?;
        let node =
            self.ground
                .machine
                .cmd(["curl", "-s", "-m", "3", "http://192.168.122.21:31772/"]);
        let refused = node.done()?.status.code() == Some(7);
        ensure(refused, || {
            "a node answers web traffic without a controller".to_owned()
        })?;
        self.apply(&objects::manager())?;
        self.apply(&objects::ingress())?;
        for (what, line) in [
            (
                "cert-manager runs",
                "-n cert-manager-ns rollout status deployment/cert-manager --timeout=5s",
            ),
            (
                "the ingress controller runs",
                "rollout status daemonset/ingress-nginx-controller --timeout=5s",
            ),
        ] {
            self.until(what, CLUSTER_S, line, |_| true)?;
        }
        let answers = self.outside("http", "webapp.nowhere.test", &[]);
        sys::wait_for("the ports of the nodes", 30, || {
            Ok(answers.succeeds()?.then_some(()))
        })
    }

    /// A question of the outside by a name of the installation.
    fn outside(&self, scheme: &str, host: &str, more: &[&str]) -> Cmd {
        let port = if scheme == "https" { 443 } else { 80 };
        let resolve = format!("{host}:{port}:{MACHINE_IP}");
        let curl = [
            "curl",
            "-sS",
            "-m",
            "10",
            "--noproxy",
            "*",
            "--resolve",
            &resolve,
        ];
        let cmd = self.ground.machine.outside(curl).args(more.iter().copied());
        cmd.arg(format!("{scheme}://{host}/"))
    }

    /// What the outside is shown: a certificate of this root for each name, or the controller's own.
    fn shown(&self, root: Option<&str>) -> Result<()> {
        let file = self.ground.machine.dir().join("root.pem");
        let path = file.display().to_string();
        fs_err::write(&file, root.unwrap_or_default())?;
        for host in objects::hosts() {
            if root.is_some() {
                let answer = self
                    .outside("https", &host, &["--cacert", &path])
                    .output()?;
                ensure(answer.contains("webapp"), || {
                    format!("{host} answers {answer:?}")
                })?;
                continue;
            }
            let done = self
                .outside("https", &host, &["-k", "-v", "-o", "/dev/null"])
                .done()?;
            let fake = done
                .stderr
                .contains("Kubernetes Ingress Controller Fake Certificate");
            ensure(fake, || {
                format!("{host} shows another certificate:\n{}", done.stderr)
            })?;
        }
        let what = if root.is_some() {
            "the authority's"
        } else {
            "the controller's own"
        };
        say(&format!(
            "certs: from outside, {} names show {what} certificate",
            objects::NAMES.len()
        ));
        Ok(())
    }

    /// Without the rule the self-check gets no answer, and cert-manager says so in object and log.
    fn hangs(&self) -> Result<()> {
        let sign = "context deadline exceeded (Client.Timeout exceeded while awaiting headers)";
        let reasons = "get challenges -o jsonpath={.items[*].status.reason}";
        self.until("the self-check hangs", 60, reasons, |text| {
            text.contains(sign)
        })?;
        let log = "-n cert-manager-ns logs -l app=cert-manager --tail=50";
        self.until("the controller's log tells", 30, log, |text| {
            text.contains("propagation check failed") && text.contains(sign)
        })?;
        Ok(())
    }

    fn issued(&self) -> Result<()> {
        let line = format!(
            "get certificate {} -o jsonpath={{.status.conditions[?(@.type==\"Ready\")].status}}",
            objects::CERTIFICATE
        );
        self.until("the certificate is issued", ISSUE_S, &line, |text| {
            text == "True"
        })
        .map(drop)
    }

    fn nothing_left_of_challenges(&self) -> Result<()> {
        let line = "get challenges,pods,services,ingresses -l acme.cert-manager.io/http01-solver=true -o name";
        self.until("nothing is left of the challenges", 60, line, |text| {
            text.trim().is_empty()
        })
        .map(drop)
    }
}
