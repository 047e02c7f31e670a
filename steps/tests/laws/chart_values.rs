//! Situations of chart values: a small release, unpacked.

use wiab_steps::host::sim::Machine;
use wiab_steps::kind::Input;
use wiab_steps::kinds::chart_values::{CallingServices, ChartValues};
use wiab_steps::kinds::dirs::{Dir, Dirs};
use wiab_steps::release::Chart;

use super::scenarios::{DEPLOY, Scenario, deploy, dirs, scenario};
use super::world::World;

/// The unpacked release.
const TREE: &str = "/home/demo/deploy.d/1";

/// The template of sftd.
pub(crate) fn template_path() -> String {
    format!("{TREE}/{}", Chart::Sftd.template())
}

/// Values of sftd over the template of a small release.
pub(crate) fn chart_values() -> ChartValues {
    let ip = |text: &str| Input::Value(text.parse().unwrap());
    ChartValues {
        chart: Chart::Sftd,
        tree: Input::Value(TREE.to_owned()),
        deploy: DEPLOY.to_owned(),
        artifact: "test".to_owned(),
        domain: "wire.example.org".parse().unwrap(),
        host_ip: ip("203.0.113.7"),
        cert_email: "admin@example.org".parse().unwrap(),
        acme_test: false,
        calling: Some(CallingServices {
            node: "kubenode3".parse().unwrap(),
            ip: ip("192.168.122.23"),
        }),
        data_nodes: Vec::new(),
        overlay: Some("allowOrigin: https://chat.example.org\n".to_owned()),
    }
}

const SFTD: &str = "# template\nallowOrigin: https://webapp.example.com # change\nhost: sftd.example.com\ntls:\n  issuerRef:\n    name: x\n";

/// A machine with the template, and room for the values.
pub(crate) async fn released() -> Machine {
    let own = World::new(Machine::fresh());
    own.done(&dirs()).await;
    own.done(&Dirs {
        root: false,
        dirs: [".wiab", ".wiab/values"]
            .map(|path| Dir {
                path: deploy(path),
                mode: 0o700,
            })
            .to_vec(),
    })
    .await;
    own.host
        .machine()
        .with_file(&template_path(), SFTD, 0o644, "demo:demo")
}

pub(crate) async fn all() -> Vec<Scenario> {
    let released = released().await;
    let older = released.clone().with_file(
        &chart_values().file(),
        "# Written by wiab, long ago\n",
        0o644,
        "demo:demo",
    );
    vec![
        scenario("files", "chart values", &released, &chart_values()),
        scenario(
            "files",
            "chart values over older ones",
            &older,
            &chart_values(),
        ),
    ]
}
