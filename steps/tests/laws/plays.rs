//! Every playbook in the state of the machines in which the plan runs it.

use wiab_steps::kinds::ansible_playbook::AnsiblePlaybook;
use wiab_steps::kinds::plays::Play;

use super::cluster::{played, small};
use super::scenarios::{Scenario, scenario};
use super::tools::playbook;

/// All situations.
pub(crate) async fn scenarios() -> Vec<Scenario> {
    let ground = small().await;
    let sources = played(ground.clone(), &[0]).await;
    let engine = played(sources.clone(), &[1]).await;
    let seeded = played(engine.clone(), &[2]).await;
    let cluster = played(seeded.clone(), &[4]).await;
    let names = played(sources.clone(), &[9]).await;
    let kube = |name, machine, play| scenario("kube plays", name, machine, &playbook(play));
    let data = |name, machine, play| scenario("data plays", name, machine, &playbook(play));
    vec![
        kube("offline sources", &ground, Play::OfflineSources),
        scenario(
            "kube plays",
            "offline sources after the key's end",
            &ground.clone().with_wall_ms(1_796_083_200_000),
            &AnsiblePlaybook {
                apt_options: Some("[trusted=yes]".to_owned().into()),
                ..playbook(Play::OfflineSources)
            },
        ),
        kube("container engine", &sources, Play::KubeEngine),
        kube("images by playbook", &engine, Play::SeedImages),
        kube("kubernetes", &seeded, Play::Kubernetes),
        data("cassandra", &sources, Play::Cassandra),
        data("elasticsearch", &sources, Play::Elasticsearch),
        data("minio", &sources, Play::Minio),
        data("postgresql", &cluster, Play::Postgresql),
        data("names of rabbitmq", &sources, Play::RabbitmqDns),
        data("rabbitmq", &names, Play::Rabbitmq),
    ]
}
