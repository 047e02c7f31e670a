//! The simulated cluster, as kubectl and helm show it from inside the tool container.

use std::sync::Arc;

use serde_json::{Value, json};
use wiab_engine::id::{RunId, StepId};
use wiab_engine::ports::{Cancel, Clock};
use wiab_steps::host::sim::{ClusterPreset, Machine, SimHost};
use wiab_steps::host::{Cmd, Host, HostError, JobId};

use super::{bad, block, good, root_with, sim};

const DEPLOY: &str = "/home/demo/deploy";
const TREE: &str = "/home/demo/deploy.d/1";

fn preset() -> ClusterPreset {
    ClusterPreset {
        image: "quay.io/wire/wire-server-deploy:1".to_owned(),
        deploy: DEPLOY.to_owned(),
        tree: TREE.to_owned(),
        version: "5.23.0".to_owned(),
        password: "pg-password".to_owned(),
    }
}

fn cluster() -> Machine {
    let secrets = "pgPassword: pg-password";
    let config = format!("brig: {{secrets: {{{secrets}}}}}\ngalley: {{secrets: {{{secrets}}}}}\n");
    Machine::fresh()
        .with_cluster(&preset())
        .with_file(
            &format!("{DEPLOY}/external.yaml"),
            "IPs: [192.168.122.31]\nRWIPs: [192.168.122.31]\nROIPs: [192.168.122.32]\n",
            0o644,
            "demo:demo",
        )
        .with_file(&format!("{DEPLOY}/wire.yaml"), &config, 0o600, "demo:demo")
}

fn inside(line: &str) -> String {
    format!(
        "docker run --rm --init -i --network host -v {TREE}:/wire-server-deploy:ro \
         -v {DEPLOY}/ansible/inventory/offline:/wire-server-deploy/ansible/inventory/offline -v {DEPLOY}:/wiab \
         quay.io/wire/wire-server-deploy:1 {}",
        line.split_whitespace().collect::<Vec<_>>().join(" ")
    )
}

async fn json_of(host: &dyn Host, line: &str) -> Value {
    serde_json::from_str(&good(host, &inside(line)).await).unwrap()
}

fn install(chart: &str, values: &str) -> String {
    format!(
        "helm upgrade --install {chart} /wire-server-deploy/charts/{chart} --wait --timeout 15m0s {values}"
    )
}

const EXTERNALS: [&str; 5] = [
    "cassandra-external",
    "elasticsearch-external",
    "minio-external",
    "rabbitmq-external",
    "postgresql-external",
];

/// Everything that wire-server needs.
async fn grown() -> Arc<SimHost> {
    let host = sim(cluster());
    for chart in EXTERNALS {
        good(&*host, &inside(&install(chart, "-f /wiab/external.yaml"))).await;
    }
    for chart in ["fake-aws", "databases-ephemeral"] {
        good(&*host, &inside(&install(chart, ""))).await;
    }
    host
}

#[test]
fn without_a_cluster_the_tools_say_so() {
    block(async {
        let bare = Machine::fresh()
            .with_cluster(&preset())
            .without_file(&format!(
                "{DEPLOY}/ansible/inventory/offline/artifacts/admin.conf"
            ));
        let host = sim(bare);
        let (_, said) = bad(&*host, &inside("kubectl get nodes")).await;
        assert!(said.contains("localhost:8080 was refused"), "{said}");
        let (_, said) = bad(&*host, &inside("helm list -A -o json")).await;
        assert!(said.contains("Kubernetes cluster unreachable"), "{said}");
        assert!(
            good(&*host, &inside("kubectl version --client"))
                .await
                .contains("v1.29.10")
        );
    });
}

#[test]
fn objects_are_applied_shown_marked_and_deleted() {
    block(async {
        let host = sim(cluster());
        let apply = inside("kubectl apply -f -");
        let secret =
            "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\nstringData: {password: hunter2}\n";
        assert!(
            root_with(&*host, &apply, secret)
                .await
                .text()
                .contains("secret/s created")
        );
        assert!(
            root_with(&*host, &apply, secret)
                .await
                .text()
                .contains("unchanged")
        );
        let path = inside("kubectl get secret s -o jsonpath={.data.password}");
        assert_eq!(good(&*host, &path).await, "aHVudGVyMg==");
        let names = good(&*host, &inside("kubectl get nodes -o name")).await;
        assert_eq!(names, "node/kubenode1\nnode/kubenode2\nnode/kubenode3\n");
        good(
            &*host,
            &inside("kubectl annotate node kubenode3 wire.com/external-ip=203.0.113.7"),
        )
        .await;
        let (_, said) = bad(
            &*host,
            &inside("kubectl annotate node kubenode3 wire.com/external-ip=203.0.113.8"),
        )
        .await;
        assert!(said.contains("already has a value"), "{said}");
        let node = json_of(&*host, "kubectl get node kubenode3 -o json").await;
        assert_eq!(
            node["metadata"]["annotations"]["wire.com/external-ip"],
            "203.0.113.7"
        );
        good(
            &*host,
            &inside("kubectl annotate node kubenode3 wire.com/external-ip-"),
        )
        .await;
        good(&*host, &inside("kubectl create namespace x")).await;
        good(&*host, &inside("kubectl delete namespace x")).await;
        good(&*host, &inside("kubectl delete secret s")).await;
        let (_, said) = bad(&*host, &inside("kubectl get secret s")).await;
        assert!(said.contains("NotFound"), "{said}");
    });
}

#[test]
fn a_release_comes_up_in_time_and_goes_without_a_trace() {
    block(async {
        let host = grown().await;
        let before = (host.canonical_state(), host.clock().mono_ms());
        good(
            &*host,
            &inside(&install("wire-server", "-f /wiab/wire.yaml")),
        )
        .await;
        assert!(host.clock().mono_ms() - before.1 > 100_000);
        let list = json_of(&*host, "helm list -A -o json --filter ^wire-server$").await;
        assert_eq!(list[0]["chart"], "wire-server-5.23.0");
        assert_eq!(list[0]["status"], "deployed");
        let values = json_of(&*host, "helm get values wire-server -o json").await;
        assert_eq!(values["brig"]["secrets"]["pgPassword"], "pg-password");
        let brig = json_of(&*host, "kubectl get deployment brig -o json").await;
        assert_eq!(brig["status"]["readyReplicas"], 3);
        // Again, with other values, and back.
        good(
            &*host,
            &inside(&install(
                "wire-server",
                "-f /wiab/wire.yaml -f /wiab/external.yaml",
            )),
        )
        .await;
        let deployed = host.canonical_state();
        good(
            &*host,
            &inside("helm rollback wire-server 1 --wait --timeout 15m"),
        )
        .await;
        assert_ne!(host.canonical_state(), deployed);
        let history = json_of(&*host, "helm history wire-server -o json").await;
        assert_eq!(history[2]["description"], "Rollback to 1");
        good(&*host, &inside("helm uninstall wire-server --wait")).await;
        assert_eq!(host.canonical_state(), before.0);
    });
}

fn job(label: &str) -> JobId {
    JobId::new(RunId([7; 16]), &StepId::new("helm.x").unwrap(), 1, label)
}

fn cmd(line: &str) -> Cmd {
    Cmd::new(inside(line).split(' '))
        .root()
        .timeout_ms(3_600_000)
}

#[test]
fn what_is_killed_in_the_middle_stays_pending() {
    block(async {
        let host = grown().await;
        let id = job("kill");
        host.job_start(&id, &cmd(&install("wire-server", "-f /wiab/wire.yaml")))
            .await
            .unwrap();
        host.clock().sleep(70_000).await;
        let pods = json_of(&*host, "kubectl get pods -l app=brig -o json").await;
        assert_eq!(
            pods["items"][0]["status"]["containerStatuses"][0]["ready"],
            json!(false)
        );
        let cancel = Cancel::default();
        cancel.cancel();
        let ended = host.job_wait(&id, 0, 0, &cancel, &|_| {}).await;
        assert!(
            matches!(
                ended,
                Err(HostError::Cancelled | HostError::TimedOut { .. })
            ),
            "{ended:?}"
        );
        let list = json_of(&*host, "helm list -a -o json --filter ^wire-server$").await;
        assert_eq!(list[0]["status"], "pending-install");
        let (_, said) = bad(&*host, &inside(&install("wire-server", ""))).await;
        assert!(said.contains("another operation"), "{said}");
        good(&*host, &inside("helm uninstall wire-server")).await;
        let end = job("end");
        host.job_start(&end, &cmd(&install("wire-server", "-f /wiab/wire.yaml")))
            .await
            .unwrap();
        let ended = host
            .job_wait(&end, 0, 3_600_000, &Cancel::default(), &|_| {})
            .await
            .unwrap();
        assert_eq!(ended.code, 0, "{}", ended.text());
    });
}

#[test]
fn troubles_follow_from_the_state() {
    block(async {
        let host = grown().await;
        let id = job("crash");
        host.job_start(&id, &cmd(&install("wire-server", "")))
            .await
            .unwrap();
        host.clock().sleep(200_000).await;
        let pods = json_of(&*host, "kubectl get pods -l app=brig -o json").await;
        let status = &pods["items"][0]["status"]["containerStatuses"][0];
        assert_eq!(status["state"]["waiting"]["reason"], "CrashLoopBackOff");
        assert!(status["restartCount"].as_u64().unwrap() >= 3, "{status}");
        let name = pods["items"][0]["metadata"]["name"].as_str().unwrap();
        let log = good(&*host, &inside(&format!("kubectl logs {name} --tail=30"))).await;
        assert!(
            log.contains("password authentication failed for user \"wire-server\""),
            "{log}"
        );
        let ended = host
            .job_wait(&id, 0, 3_600_000, &Cancel::default(), &|_| {})
            .await
            .unwrap();
        assert!(
            ended.text().contains("timed out waiting"),
            "{}",
            ended.text()
        );
        // Ingress needs the webhook of cert-manager, which answers some time after its installation.
        good(&*host, &inside("kubectl create namespace cert-manager-ns")).await;
        good(
            &*host,
            &inside(&install("ingress-nginx-controller", "--dry-run=none").replace("--wait", "")),
        )
        .await;
        let install_cm = install("cert-manager", "-n cert-manager-ns").replace(" --wait", "");
        good(&*host, &inside(&install_cm)).await;
        let ingress = inside(&install("nginx-ingress-services", ""));
        let (_, said) = bad(&*host, &ingress).await;
        assert!(
            said.contains("failed calling webhook \"webhook.cert-manager.io\""),
            "{said}"
        );
    });
}

#[test]
fn a_status_is_replaced_only_as_it_was_read() {
    block(async {
        let certificate = json!({
            "apiVersion": "cert-manager.io/v1", "kind": "Certificate",
            "metadata": {"name": "a", "namespace": "default", "uid": "1"},
            "spec": {"dnsNames": ["a.example.org"], "secretName": "s"},
        });
        let machine = cluster().with_chart("cert-manager", json!({}));
        let host = sim(machine.with_object(certificate));
        let get = "kubectl get certificates.cert-manager.io a -n default -o json";
        let path = "/apis/cert-manager.io/v1/namespaces/default/certificates/a/status";
        let replace = inside(&format!("kubectl replace --raw {path} -f -"));
        // It settles first.
        json_of(&*host, get).await;
        let read = json_of(&*host, get).await;
        let mut change = read.clone();
        change["status"]["conditions"] = json!([{"type": "Issuing", "status": "False"}]);
        change["spec"]["secretName"] = json!("other");
        let changed = root_with(&*host, &replace, &change.to_string()).await;
        assert!(changed.ok(), "{}", changed.error_text());
        let shown: Value = serde_json::from_str(&changed.text()).unwrap();
        assert_eq!(shown["status"], change["status"]);
        assert_eq!(
            shown["spec"], read["spec"],
            "only the status is written there"
        );
        let now = json_of(&*host, get).await;
        for (version, said) in [
            (&shown["metadata"]["resourceVersion"], "(Conflict)"),
            (&Value::Null, "must be specified for an update"),
        ] {
            let mut stale = now.clone();
            stale["metadata"]["resourceVersion"] = version.clone();
            let refused = root_with(&*host, &replace, &stale.to_string()).await;
            assert!(
                !refused.ok() && refused.error_text().contains(said),
                "{said}"
            );
        }
        let newer =
            "kubectl patch certificates.cert-manager.io a --subresource=status --type=merge -p {}";
        bad(&*host, &inside(newer)).await;
    });
}
