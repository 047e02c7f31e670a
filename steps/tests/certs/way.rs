//! The way from the VMs to the public address: measured, and mended only where that helps.

use wiab_engine::outcome::Probe;
use wiab_steps::host::sim::Machine;

use super::world::{self, HOST_IP, ground, probe, rule, tried};
use crate::laws::world::World;

async fn measured(machine: Machine, host_ip: &str) -> (String, String) {
    let world = World::new(machine);
    let receipt = tried(&world, &probe(host_ip), 1).await.unwrap();
    (
        receipt.outputs["needed"].clone(),
        receipt.outputs["reason"].clone(),
    )
}

#[tokio::test]
async fn the_rule_is_needed_without_bridge_nf_and_of_no_use_with_it() {
    let ground = ground().await;
    let (needed, reason) = measured(ground.clone(), HOST_IP).await;
    assert_eq!(needed, "yes");
    assert!(reason.contains("kubenode1"), "{reason}");
    // With bridge-nf the packets arrive, some after a repetition, and the rule would never be met.
    let bridged = ground
        .clone()
        .with_sysctl("net.bridge.bridge-nf-call-iptables", "1");
    let (needed, reason) = measured(bridged, HOST_IP).await;
    assert_eq!(needed, "no");
    assert!(reason.contains("bridge-nf-call-iptables = 1"), "{reason}");
    assert!(reason.contains("kubenode1 4 of 12"), "{reason}");
    // The reverse path filter changes nothing.
    for value in ["0", "1", "2"] {
        let machine = ground
            .clone()
            .with_sysctl("net.ipv4.conf.virbr0.rp_filter", value)
            .with_sysctl("net.ipv4.conf.all.rp_filter", value);
        assert_eq!(
            measured(machine, HOST_IP).await.0,
            "yes",
            "rp_filter {value}"
        );
    }
}

#[tokio::test]
async fn with_bridge_nf_a_node_alone_does_not_reach_itself_and_the_remedy_is_another() {
    let mut alone = crate::traffic::world::traffic();
    alone.nodes.truncate(1);
    let machine = ground()
        .await
        .with_nft(&alone.script("eth0").unwrap())
        .with_sysctl("net.bridge.bridge-nf-call-iptables", "1");
    let (needed, reason) = measured(machine, HOST_IP).await;
    assert_eq!(needed, "elsewhere");
    assert!(reason.contains("bridge-nf-call-iptables=0"), "{reason}");
}

#[tokio::test]
async fn an_address_of_the_router_is_the_routers_to_lead_back() {
    let machine = ground().await;
    let (needed, reason) = measured(machine.clone(), "198.51.100.7").await;
    assert_eq!(needed, "elsewhere");
    assert!(
        reason.contains("no address of this host") && reason.contains("NAT loopback"),
        "{reason}"
    );
    let (needed, _) = measured(machine.with_loopback(), "198.51.100.7").await;
    assert_eq!(needed, "no");
}

#[tokio::test]
async fn the_answer_stays_when_the_rule_is_there_and_the_rule_follows_the_answer() {
    let world = World::new(ground().await);
    for needed in ["no", "elsewhere"] {
        let kind = rule(Some(needed));
        let found = world.bind(&kind).probe(false).await.unwrap();
        assert!(matches!(found, Probe::Satisfied(_)), "{needed}: {found:?}");
        let start = world.state();
        tried(&world, &kind, 1).await.unwrap();
        assert_eq!(world.state(), start, "{needed}");
    }
    tried(&world, &rule(Some("yes")), 1).await.unwrap();
    let receipt = tried(&world, &probe(HOST_IP), 1).await.unwrap();
    assert_eq!(receipt.outputs["needed"], "yes");
    assert!(receipt.note.unwrap().contains("by the rule"));
}

#[tokio::test]
async fn what_is_not_the_hairpin_is_told_apart() {
    let ground = ground().await;
    let world = World::new(ground.clone().without_nft());
    let failure = tried(&world, &probe(HOST_IP), 1).await.unwrap_err();
    assert!(
        failure.why.contains("port forwarding is missing"),
        "{failure:?}"
    );
    assert!(failure.hint.unwrap().contains("fw.apply"));
    let world = World::new(world::without_ingress(ground));
    let failure = tried(&world, &probe(HOST_IP), 1).await.unwrap_err();
    assert!(
        failure.why.contains("does not answer on port 31772"),
        "{failure:?}"
    );
    assert!(
        failure
            .hint
            .unwrap()
            .contains("helm.ingress-nginx-controller")
    );
}
