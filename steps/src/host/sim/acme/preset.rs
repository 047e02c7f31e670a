//! Surroundings in which certificates are issued, or not.

use serde_json::json;

use super::super::entity::{Inside, KubeObject};
use super::super::kube::{self, release::Release};
use super::super::state::{Draft, Machine};
use super::{Issued, MANAGER, Outside, outside};

/// The pods of a release.
fn pods(draft: &Draft<'_>, release: &Release) -> Vec<(String, KubeObject)> {
    let all = draft.list::<KubeObject>();
    let own = all.into_iter().filter(|(name, object)| {
        name.starts_with("Pod/")
            && kube::text(&object.json, "/metadata/labels/release") == release.name
    });
    own.collect()
}

impl Machine {
    fn beyond(mut self, change: impl FnOnce(&mut Outside)) -> Self {
        self.edit(|draft| {
            let mut beyond = Outside::of(draft);
            change(&mut beyond);
            draft.put("", &beyond);
        });
        self
    }

    /// The same behind a router that leads its own public address back in.
    #[must_use]
    pub fn with_loopback(self) -> Self {
        self.beyond(|beyond| beyond.loopback = true)
    }

    /// The same behind a firewall that keeps port 80 from the internet.
    #[must_use]
    pub fn with_closed_port_80(self) -> Self {
        self.beyond(|beyond| beyond.open = false)
    }

    /// The same with a domain that the authority does not issue for.
    #[must_use]
    pub fn with_forbidden_domain(self, domain: &str) -> Self {
        self.beyond(|beyond| beyond.forbidden.push(domain.to_owned()))
    }

    /// The same with another web server at an address.
    #[must_use]
    pub fn with_other_site(self, address: &str) -> Self {
        self.beyond(|beyond| beyond.elsewhere.push(address.to_owned()))
    }

    /// The same where self-checks of a name end with an error of Go's library: `EOF`; or with an answer that was not
    /// expected: `wrong status code '502', expected '200'`.
    #[must_use]
    pub fn with_check_error(self, name: &str, error: &str) -> Self {
        self.beyond(|beyond| {
            beyond.checks.insert(name.to_owned(), error.to_owned());
        })
    }

    /// The same without such errors.
    #[must_use]
    pub fn without_check_errors(self) -> Self {
        self.beyond(|beyond| beyond.checks.clear())
    }

    /// The same where the authority refuses the challenge of a name: `400 urn:ietf:params:acme:error:dns`, and why.
    #[must_use]
    pub fn with_refusal(self, name: &str, kind: &str, detail: &str) -> Self {
        self.beyond(|beyond| {
            let refusal = (kind.to_owned(), detail.to_owned());
            beyond.refusals.insert(name.to_owned(), refusal);
        })
    }

    /// The same where the authority registers no account, and why.
    #[must_use]
    pub fn with_account_error(self, error: &str) -> Self {
        self.beyond(|beyond| beyond.account = Some(error.to_owned()))
    }

    /// The same with that many certificates that the authority has issued for these names a moment ago.
    #[must_use]
    pub fn with_issued(mut self, names: &[&str], count: usize) -> Self {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let wall_ms = self.epoch_ms + self.now_ms;
        let mut issued = self.get::<Issued>("").unwrap_or_default();
        for _ in 0..count {
            issued.all.push((outside::joined(&names), wall_ms));
        }
        self.put("", &issued);
        self
    }

    /// The same with exactly these images on a node.
    #[must_use]
    pub fn with_node_images(mut self, node: &str, images: &[&str]) -> Self {
        let value = json!(images);
        self.put(&format!("{node}/images"), &Inside { value });
        self
    }

    /// Virtual milliseconds since the machine's birth.
    pub fn now_ms(&self) -> u64 {
        self.now_ms
    }

    /// The same with images on a node, besides those that it has.
    #[must_use]
    pub fn with_node_image(mut self, node: &str, image: &str) -> Self {
        let key = format!("{node}/images");
        let mut images = self
            .get::<Inside>(&key)
            .map_or_else(|| json!([]), |inside| inside.value);
        if let Some(list) = images.as_array_mut() {
            list.push(json!(image));
        }
        self.put(&key, &Inside { value: images });
        self
    }

    /// The same with a release of that chart, installed with those values long ago.
    #[must_use]
    pub fn with_chart(mut self, chart: &str, config: serde_json::Value) -> Self {
        let namespace = if chart == "cert-manager" {
            MANAGER
        } else {
            "default"
        };
        let version = "5.23.0";
        self.edit(|draft| {
            let release = Release {
                name: chart.to_owned(),
                namespace: namespace.to_owned(),
                revision: 1,
                status: "deployed".to_owned(),
                description: "Install complete".to_owned(),
                chart: chart.to_owned(),
                version: version.to_owned(),
                app_version: version.to_owned(),
                images: kube::objects::images(chart, version, &[], &config),
                config,
                begun_ms: 0,
            };
            release.put(draft);
            kube::objects::set(draft, &release, 0);
            for (_, mut pod) in pods(draft, &release) {
                pod.ready_ms = Some(0);
                kube::put_ready(draft, pod.json, pod.ready_ms);
            }
            kube::after::installed(draft, &release);
        });
        self
    }

    /// The same without an object of the cluster: `Pod`, `default`, `brig-0`.
    #[must_use]
    pub fn without_object(mut self, kind: &str, namespace: &str, name: &str) -> Self {
        self.edit(|draft| {
            kube::del(draft, kind, namespace, name);
        });
        self
    }

    /// The same with an object of the cluster as it is given.
    #[must_use]
    pub fn with_object(mut self, json: serde_json::Value) -> Self {
        self.edit(|draft| kube::put(draft, json));
        self
    }

    /// An object of the cluster as it is stored.
    pub fn object(&self, kind: &str, namespace: &str, name: &str) -> Option<serde_json::Value> {
        let key = kube::key(kind, namespace, name);
        self.get::<KubeObject>(&key).map(|object| object.json)
    }

    /// Names of the cluster's objects that begin so: `Pod/default/brig`.
    pub fn objects(&self, prefix: &str) -> Vec<String> {
        let names = Draft::new(self).names::<KubeObject>(prefix);
        let names = names.iter().filter_map(|key| key.rsplit('/').next());
        names.map(str::to_owned).collect()
    }
}
