//! Surroundings in which certificates are issued, or not.

use serde_json::json;

use super::super::entity::{Inside, KubeObject};
use super::super::kube;
use super::super::state::Machine;
use super::{Issued, Outside, outside};

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

    /// The same without an object of the cluster: `Pod`, `default`, `brig-0`.
    #[must_use]
    pub fn without_object(mut self, kind: &str, namespace: &str, name: &str) -> Self {
        self.edit(|draft| drop(kube::del(draft, kind, namespace, name)));
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
}
