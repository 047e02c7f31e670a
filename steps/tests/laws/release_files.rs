//! Steps beside the files of a release: what they take over, what they refuse, what they leave.

use wiab_engine::outcome::{Before, Probe, Residue};
use wiab_steps::kinds::chart_values::ChartValues;
use wiab_steps::kinds::libvirt_network::Reservation;
use wiab_steps::release::Chart;

use super::chart_values::{chart_values, released, template_path};
use super::scenarios::{deploy, network, without_default};
use super::world::World;
use crate::values::support::artifact;

/// The network that the release defines is the one that wiab wants, apart from the fixed addresses.
#[tokio::test]
async fn the_releases_network_is_taken_over() {
    let xml = artifact("ansible/files/wiab_server_libvirt_default_net.xml");
    let world = World::new(without_default().await.with_network(&xml, true, true));
    let mut wanted = network();
    let with_addresses = world.bind(&wanted).probe(false).await.unwrap();
    let said = format!("{with_addresses:?}");
    assert!(!matches!(with_addresses, Probe::Satisfied(_)), "{said}");
    for other in ["forward", "netmask", "range", "stp"] {
        assert!(!said.contains(other), "{said}");
    }
    wanted.reservations = Vec::<Reservation>::new();
    let bare = world.bind(&wanted).probe(false).await.unwrap();
    assert!(matches!(bare, Probe::Satisfied(_)), "{bare:?}");
}

#[tokio::test]
async fn chart_values_leave_the_template_and_carry_the_overlay() {
    let world = World::new(released().await);
    let template = world.text_of(&template_path()).await;
    let receipt = world.done(&chart_values()).await;
    let text = world.text_of(&chart_values().file()).await.unwrap();
    assert!(
        text.starts_with("# Written by wiab from values/sftd/"),
        "{text}"
    );
    assert!(
        text.contains("allowOrigin: https://chat.example.org # change\n"),
        "{text}"
    );
    assert!(text.contains("host: sftd.wire.example.org\n"), "{text}");
    assert_eq!(world.text_of(&template_path()).await, template);
    assert_eq!(
        receipt.outputs[ChartValues::PATH.name()],
        chart_values().file()
    );
    assert_eq!(receipt.outputs[ChartValues::DIGEST.name()].len(), 64);
}

#[tokio::test]
async fn chart_values_refuse_what_they_cannot_do() {
    let machine = released().await;
    let template = template_path();
    let foreign =
        machine
            .clone()
            .with_file(&chart_values().file(), "mine: 1\n", 0o644, "demo:demo");
    let strange = machine
        .clone()
        .with_file(&template, "host: x\n", 0o644, "demo:demo");
    let mut unclear = chart_values();
    unclear.overlay = Some("a: yes\n".to_owned());
    let mut huge = chart_values();
    huge.overlay = Some(format!("a: {}\n", "x".repeat(300_000)));
    let cases = [
        (
            machine.clone().without_file(&template),
            chart_values(),
            "prod-values.example.yaml is missing in artifact test",
        ),
        (foreign, chart_values(), "was not written by wiab"),
        (
            strange,
            chart_values(),
            "`allowOrigin` (of artifact test): not there",
        ),
        (
            machine.clone(),
            unclear,
            "values.d/sftd.yaml, line 1, `a`: `yes` means different things",
        ),
        (machine, huge, "values.d/sftd.yaml has more than"),
    ];
    for (machine, kind, says) in cases {
        let world = World::new(machine);
        let start = world.state();
        let step = world.bind(&kind);
        let failure = step.apply(1, false, &Before::Nothing).await.unwrap_err();
        assert!(failure.why.contains(says), "{failure:?}");
        assert_eq!(failure.residue, Residue::Clean);
        assert_eq!(world.state(), start);
    }
}

#[tokio::test]
async fn chart_values_are_taken_back_without_the_template() {
    let world = World::new(released().await);
    let start = world.text_of(&chart_values().file()).await;
    world.done(&chart_values()).await;
    let gone = world.host.machine().without_file(&template_path());
    let world = World::new(gone);
    world
        .bind(&chart_values())
        .undo(1, &Before::Nothing)
        .await
        .unwrap();
    assert_eq!(world.text_of(&chart_values().file()).await, start);

    // Somebody else's file in its place stays.
    let mine =
        world
            .host
            .machine()
            .with_file(&chart_values().file(), "mine: 1\n", 0o644, "demo:demo");
    let world = World::new(mine);
    let failure = world
        .bind(&chart_values())
        .undo(1, &Before::Nothing)
        .await
        .unwrap_err();
    assert!(
        failure.why.contains("was changed after wiab wrote it"),
        "{failure:?}"
    );
}
