//! The cluster and its certificate, looked at with tools other than wiab's own.

use serde_json::{Value, json};

use crate::bench::Bench;
use crate::cmd::Cmd;
use crate::error::{LabError, Result, ensure};
use crate::inside::MACHINE_IP;
use crate::kube::Control;
use crate::say::{say, took};
use crate::sys::{self, Watch};

/// The names of the certificate.
const NAMES: [&str; 6] = [
    "nginz-https",
    "nginz-ssl",
    "webapp",
    "assets",
    "account",
    "teams",
];
/// Below this domain.
const DOMAIN: &str = "wire.test";
/// The certificate.
const CERTIFICATE: &str = "wire-test-csr";
/// How long the cluster may take for what it is asked, in seconds.
const CLUSTER_S: u64 = 180;

/// A machine with a cluster, and wiab outside of it.
pub(super) struct Scene<'a> {
    pub(super) bench: Bench<'a>,
    pub(super) cluster: &'a Control<'a>,
}

impl Scene<'_> {
    fn kubectl(&self, args: &str) -> Cmd {
        let words: Vec<&str> = args.split(' ').collect();
        self.cluster.kubectl(&words)
    }

    /// What a question of kubectl answers, once `good` holds.
    fn until(&self, what: &str, args: &str, good: impl Fn(&str) -> bool) -> Result<String> {
        let watch = Watch::start();
        let mut last = String::new();
        let found = sys::wait_for(what, CLUSTER_S, || {
            let done = self.kubectl(args).done()?;
            last = format!("{}{}", done.stdout, done.stderr);
            Ok((done.status.success() && good(&done.stdout)).then_some(done.stdout))
        });
        let found =
            found.map_err(|error| LabError::check(format!("{error}; last seen: {last}")))?;
        took(&format!("certs: {what}"), watch);
        Ok(found)
    }

    pub(super) fn nodes_are_ready(&self) -> Result<()> {
        self.until("three nodes are ready", "get nodes --no-headers", |text| {
            text.lines().filter(|line| line.contains(" Ready ")).count() == 3
        })
        .map(drop)
    }

    /// The host's rules without their counters, and without those that follow the health of the nodes: a node that is busy for
    /// a moment gets no share until the next look at it.
    pub(super) fn rules(&self) -> Result<String> {
        let rules = "nft --stateless list ruleset | grep -v 'ingress LB'";
        self.bench.machine.text(rules)
    }

    /// Whether wiab's hairpin rule is on the host.
    pub(super) fn rule_is_there(&self) -> Result<bool> {
        let table = ["nft", "list", "table", "ip", "wiab_hairpin"];
        self.bench.machine.cmd(table).succeeds()
    }

    /// A question of the outside by a name of the installation.
    fn outside(&self, host: &str, more: &[&str]) -> Cmd {
        let resolve = format!("{host}:443:{MACHINE_IP}");
        let curl = [
            "curl",
            "-sS",
            "-m",
            "10",
            "-o",
            "/dev/null",
            "--noproxy",
            "*",
        ];
        let cmd = self.bench.machine.outside(curl);
        cmd.args(["--resolve", &resolve])
            .args(more.iter().copied())
            .arg(format!("https://{host}/"))
    }

    /// What the outside is shown: a certificate of this root for each name, or the controller's own.
    pub(super) fn shown(&self, root: Option<&str>) -> Result<()> {
        let file = self.bench.machine.dir().join("root.pem");
        let path = file.display().to_string();
        fs_err::write(&file, root.unwrap_or_default())?;
        for name in NAMES {
            let host = format!("{name}.{DOMAIN}");
            if root.is_some() {
                let good = self.outside(&host, &["--cacert", &path]);
                // The ingress controller loads a new certificate a moment after it is there.
                sys::wait_for(&format!("the certificate of {host}"), 30, || {
                    Ok(good.succeeds()?.then_some(()))
                })?;
                continue;
            }
            let done = self.outside(&host, &["-k", "-v"]).done()?;
            let fake = done
                .stderr
                .contains("Kubernetes Ingress Controller Fake Certificate");
            ensure(fake, || {
                format!("{host} shows another certificate:\n{}", done.stderr)
            })?;
        }
        let whose = if root.is_some() {
            "the authority's"
        } else {
            "the controller's own"
        };
        say(&format!(
            "certs: from outside, {} names show {whose} certificate",
            NAMES.len()
        ));
        Ok(())
    }

    /// The cluster has the certificate, the outside sees it, and nothing of its making is left.
    pub(super) fn issued(&self) -> Result<()> {
        let line = format!(
            "get certificate {CERTIFICATE} -o jsonpath={{.status.conditions[?(@.type==\"Ready\")].status}}"
        );
        self.until("the certificate is issued", &line, |text| text == "True")?;
        let root = self.cluster.root()?;
        self.shown(Some(&root))?;
        ensure(!self.rule_is_there()?, || {
            "the hairpin rule is still there".to_owned()
        })?;
        self.nothing_left_of_challenges()
    }

    fn nothing_left_of_challenges(&self) -> Result<()> {
        let made = "get challenges,pods,services,ingresses -l acme.cert-manager.io/http01-solver=true -o name";
        self.until("nothing is left of the challenges", made, |text| {
            text.trim().is_empty()
        })?;
        let challenges = "get challenges.acme.cert-manager.io -o name";
        self.until("no challenge is left", challenges, |text| {
            text.trim().is_empty()
        })
        .map(drop)
    }

    /// Takes the certificate away and asks for it anew, as after a new installation.
    pub(super) fn afresh(&self) -> Result<()> {
        let get = format!("get certificate {CERTIFICATE} -o json");
        let text = self.kubectl(&get).output()?;
        let old: Value =
            serde_json::from_str(&text).map_err(|source| LabError::Json { what: get, source })?;
        let part = |place: &str| old.pointer(place).cloned().unwrap_or_default();
        let anew = json!({
            "apiVersion": part("/apiVersion"), "kind": part("/kind"), "spec": part("/spec"),
            "metadata": {
                "name": CERTIFICATE, "namespace": "default", "labels": part("/metadata/labels"),
                "annotations": part("/metadata/annotations"),
            },
        });
        self.kubectl(&format!("delete certificate {CERTIFICATE}"))
            .run()?;
        let chain = "get certificaterequests.cert-manager.io,orders.acme.cert-manager.io,challenges.acme.cert-manager.io -o name";
        self.until("the chain of the old certificate is gone", chain, |text| {
            text.trim().is_empty()
        })?;
        let secret = part("/spec/secretName");
        let secret = secret.as_str().unwrap_or_default();
        self.kubectl(&format!("delete secret {secret}")).run()?;
        self.kubectl("create -f -").stdin(anew.to_string()).run()?;
        let fake = self.outside(&format!("webapp.{DOMAIN}"), &["-k", "-v"]);
        sys::wait_for("the controller's own certificate", 30, || {
            let shown = fake.done()?.stderr;
            Ok(shown
                .contains("Kubernetes Ingress Controller Fake Certificate")
                .then_some(()))
        })
    }
}
