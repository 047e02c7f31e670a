//! The control plane, running in the outside's network; it ends with the machine.

use std::path::{Path, PathBuf};
use std::process::Child;

use super::{API_PORT, CLUSTER_IP, acme, build, pki, tools};
use crate::cache::Cache;
use crate::cmd::{self, Cmd};
use crate::error::{LabError, Result};
use crate::hub;
use crate::inside::OUTSIDE_IP;
use crate::machine::Machine;
use crate::say::took;
use crate::sys::{self, Watch};

/// How long each part may take to be ready, in seconds.
const READY_LIMIT_S: u64 = 120;

/// The outside, as an address.
const OUTSIDE: std::net::Ipv4Addr = std::net::Ipv4Addr::new(198, 51, 100, 1);

/// A running control plane.
#[derive(Debug)]
pub(crate) struct Control<'a> {
    machine: &'a Machine,
    /// Its keys.
    pki: PathBuf,
    /// Its data and what its parts say.
    dir: PathBuf,
    programs: PathBuf,
    tools: PathBuf,
    parts: Vec<(&'static str, Child)>,
}

impl<'a> Control<'a> {
    /// Starts etcd, API server, controller manager and scheduler, and waits until they serve.
    pub(crate) fn start(machine: &'a Machine, cache: &Cache) -> Result<Self> {
        let watch = Watch::start();
        let dir = machine.dir().join("cluster");
        fs_err::create_dir_all(&dir)?;
        let mut control = Self {
            machine,
            pki: pki::built(cache)?,
            dir,
            programs: build::built(cache)?,
            tools: tools::bin(cache)?,
            parts: Vec::new(),
        };
        control.etcd()?;
        control.api_server()?;
        control.rest()?;
        took("cluster: the control plane serves", watch);
        Ok(control)
    }

    /// The directory of its data.
    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// A command in the outside's network.
    pub(super) fn outside(&self, argv: &[&str]) -> Cmd {
        self.machine.outside(argv.iter().copied())
    }

    /// The directory of the other programs: kubectl, lego, pebble.
    pub(super) fn tools(&self) -> &Path {
        &self.tools
    }

    /// The keys of the cluster.
    pub(super) fn pki(&self) -> &Path {
        &self.pki
    }

    fn key(&self, name: &str) -> String {
        self.pki.join(name).display().to_string()
    }

    /// The administrator's configuration of kubectl, as the release leaves it: it names the first node.
    pub(crate) fn admin(&self) -> Result<String> {
        Ok(fs_err::read_to_string(self.pki.join("admin.conf"))?)
    }

    /// Starts a part whose output goes to a file of its name.
    pub(super) fn part(
        &mut self,
        name: &'static str,
        program: &Path,
        args: &[String],
        env: &[(&str, &str)],
    ) -> Result<()> {
        let log = self.dir.join(format!("{name}.log"));
        let mut cmd = self.machine.service([program.display().to_string()]);
        for (name, value) in env {
            cmd = cmd.env(name, value);
        }
        let child = cmd
            .args(args.iter().map(String::as_str))
            .spawn_logged(&log)?;
        self.parts.push((name, child));
        Ok(())
    }

    /// What a part has said.
    pub(crate) fn log(&self, name: &str) -> String {
        let bytes = fs_err::read(self.dir.join(format!("{name}.log"))).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Waits until `ready` succeeds; fails at once when a part has ended.
    pub(super) fn wait(&mut self, what: &str, ready: &Cmd) -> Result<()> {
        sys::wait_for(what, READY_LIMIT_S, || {
            for (name, child) in &mut self.parts {
                if let Some(status) = child.try_wait()? {
                    let text = fs_err::read_to_string(self.dir.join(format!("{name}.log")))?;
                    let lines: Vec<&str> = text.lines().collect();
                    let tail = lines
                        .get(lines.len().saturating_sub(10)..)
                        .unwrap_or_default();
                    return Err(LabError::check(format!(
                        "{name} ended ({status}):\n{}",
                        tail.join("\n")
                    )));
                }
            }
            Ok(ready.succeeds()?.then_some(()))
        })
    }

    /// kubectl on the cluster, from outside the machine.
    pub(crate) fn kubectl(&self, args: &[&str]) -> Cmd {
        let program = self.tools.join("kubectl").display().to_string();
        let config = format!("--kubeconfig={}", self.key("cluster.conf"));
        self.machine
            .outside([program, config])
            .args(args.iter().copied())
    }

    fn etcd(&mut self) -> Result<()> {
        let args = [
            format!("--data-dir={}", self.dir.join("etcd").display()),
            "--listen-client-urls=http://127.0.0.1:2379".to_owned(),
            "--advertise-client-urls=http://127.0.0.1:2379".to_owned(),
            "--listen-peer-urls=http://127.0.0.1:2380".to_owned(),
            "--unsafe-no-fsync".to_owned(),
        ];
        let program = self.tools.join("etcd");
        self.part("etcd", &program, &args, &[])?;
        let health = self.machine.outside([
            "curl",
            "-sf",
            "-m",
            "2",
            "-o",
            "/dev/null",
            "http://127.0.0.1:2379/health",
        ]);
        self.wait("etcd", &health)
    }

    fn api_server(&mut self) -> Result<()> {
        let mut args = vec![
            "--etcd-servers=http://127.0.0.1:2379".to_owned(),
            format!("--bind-address={CLUSTER_IP}"),
            format!("--advertise-address={CLUSTER_IP}"),
            format!("--secure-port={API_PORT}"),
            format!("--cert-dir={}", self.dir.display()),
        ];
        for (option, file) in [
            ("client-ca-file", "ca.crt"),
            ("tls-cert-file", "apiserver.crt"),
            ("tls-private-key-file", "apiserver.key"),
            ("kubelet-certificate-authority", "ca.crt"),
            ("kubelet-client-certificate", "kubelet-client.crt"),
            ("kubelet-client-key", "kubelet-client.key"),
            ("service-account-key-file", "sa.key"),
            ("service-account-signing-key-file", "sa.key"),
        ] {
            args.push(format!("--{option}={}", self.key(file)));
        }
        args.extend(
            [
                "--service-account-issuer=https://kubernetes.default.svc",
                "--service-cluster-ip-range=10.233.0.0/18",
                "--service-node-port-range=30000-32767",
                "--authorization-mode=Node,RBAC",
                "--enable-admission-plugins=NodeRestriction",
                "--allow-privileged=true",
                // The nodes' own addresses are behind the machine; their stand-in tells one that is not.
                "--kubelet-preferred-address-types=ExternalIP,InternalIP",
            ]
            .map(str::to_owned),
        );
        let program = self.programs.join("kube-apiserver");
        self.part("kube-apiserver", &program, &args, &[])?;
        let ready = self.kubectl(&["get", "--raw", "/readyz"]);
        self.wait("the API server", &ready)
    }

    fn rest(&mut self) -> Result<()> {
        let config = format!("--kubeconfig={}", self.key("cluster.conf"));
        let common = [
            config,
            "--leader-elect=false".to_owned(),
            "--bind-address=127.0.0.1".to_owned(),
        ];
        let manager = [
            format!("--service-account-private-key-file={}", self.key("sa.key")),
            format!("--root-ca-file={}", self.key("ca.crt")),
            "--use-service-account-credentials=true".to_owned(),
            "--allocate-node-cidrs=true".to_owned(),
            "--cluster-cidr=10.233.64.0/18".to_owned(),
            "--service-cluster-ip-range=10.233.0.0/18".to_owned(),
            "--node-cidr-mask-size=24".to_owned(),
        ];
        let program = self.programs.join("kube-controller-manager");
        let args = [&common[..], &manager].concat();
        self.part("kube-controller-manager", &program, &args, &[])?;
        let program = self.programs.join("kube-scheduler");
        self.part("kube-scheduler", &program, &common, &[])?;
        // The controller manager has begun when the first namespace has its account.
        let account = self.kubectl(&["get", "serviceaccount", "default"]);
        self.wait("the controller manager", &account)
    }

    /// Starts what stands for kubelets, ingress controller and cert-manager, with a real authority beneath. A failed issuance
    /// is tried again after `backoff_s` seconds, then after twice that.
    pub(crate) fn start_hub(&mut self, backoff_s: u64) -> Result<()> {
        let watch = Watch::start();
        self.authority()?;
        let program = self.tools.join("kubectl");
        let (_, port) = hub::api::PROXY.split_once(':').unwrap_or_default();
        let args = [
            format!("--kubeconfig={}", self.key("cluster.conf")),
            "proxy".to_owned(),
            format!("--port={port}"),
        ];
        self.part("proxy", &program, &args, &[])?;
        let work = self.dir.join("hub");
        fs_err::create_dir_all(&work)?;
        let order = hub::Order {
            pki: self.pki.clone(),
            lego: self.tools.join("lego"),
            acme: format!("https://{OUTSIDE_IP}:{}/dir", acme::PORT),
            acme_ca: self.pki.join("ca.crt"),
            dns: std::net::SocketAddr::from((OUTSIDE, acme::DNS_PORT)),
            backoff_s,
            work,
        };
        let file = self.dir.join("hub.json");
        let text = serde_json::to_vec(&order).map_err(|source| LabError::Json {
            what: "the hub's order".to_owned(),
            source,
        })?;
        fs_err::write(&file, text)?;
        let own = fs_err::canonicalize("/proc/self/exe")?;
        self.part(
            "hub",
            &own,
            &["hub".to_owned(), file.display().to_string()],
            &[],
        )?;
        let answer = self.outside(&[
            "curl",
            "-s",
            "-m",
            "2",
            "-o",
            "/dev/null",
            &format!("http://{CLUSTER_IP}:41000/"),
        ]);
        self.wait("the hub", &answer)?;
        took("cluster: hub and certificate authority serve", watch);
        Ok(())
    }

    /// Ends it.
    pub(crate) fn stop(mut self) -> Result<()> {
        sys::cleaning(|| {
            for (_, child) in &mut self.parts {
                cmd::kill_group(child);
            }
            for (_, child) in &mut self.parts {
                child.wait()?;
            }
            Ok(())
        })
    }
}
