//! What is somebody else's stays, and the defects of the scripts that people use today are gone.

use wiab_engine::outcome::{Before, Failure, Probe, Residue, RetryAdvice};
use wiab_steps::host::Host;
use wiab_steps::host::sim::{Action, Fault, Machine, Points};
use wiab_steps::kind::{Input, Kind};
use wiab_steps::kinds::apt_packages::AptPackages;
use wiab_steps::kinds::command::Command;
use wiab_steps::kinds::file::File;
use wiab_steps::kinds::host_groups::HostGroups;
use wiab_steps::kinds::image_base::ImageBase;
use wiab_steps::kinds::libvirt_network_removed::LibvirtNetworkRemoved;
use wiab_steps::kinds::nft_hairpin_removed::NftHairpinRemoved;

use super::scenarios::{
    self, HAIRPIN, POOL, deploy, dirs, domain, growth, hairpin, hosts_block, image, keypair,
    libvirt, nat, network, overlay, ready, rp_filter, running, sysctl, vm_env, without_default,
};
use super::world::{World, same};

/// The step fails, asks with a remedy, and nothing has changed; undo changes nothing either.
pub(crate) async fn asks<K: Kind>(machine: Machine, kind: &K, why: &str) {
    let world = World::new(machine);
    let start = world.state();
    let step = world.bind(kind);
    assert!(
        !matches!(step.probe(false).await.unwrap(), Probe::Satisfied(_)),
        "{why}"
    );
    let before = step.capture().await.unwrap();
    let failure = step.apply(1, false, &before).await.unwrap_err();
    assert!(failure.why.contains(why), "{failure:?}");
    assert_eq!(
        (failure.residue, failure.advice),
        (Residue::Clean, RetryAdvice::AskOperator),
        "{failure:?}"
    );
    assert!(failure.hint.is_some(), "{failure:?}");
    same(&world.state(), &start, why);
    step.undo(1, &before).await.unwrap();
    same(&world.state(), &start, &format!("{why}: undone"));
}

async fn fails<K: Kind>(machine: Machine, kind: &K) -> (World, Before, Failure) {
    let world = World::new(machine);
    let (before, failure) = {
        let step = world.bind(kind);
        let before = step.capture().await.unwrap();
        let failure = step.apply(1, false, &before).await.unwrap_err();
        (before, failure)
    };
    (world, before, failure)
}

fn default_removed() -> LibvirtNetworkRemoved {
    LibvirtNetworkRemoved {
        name: "default".to_owned(),
    }
}

#[tokio::test]
async fn every_probe_copes_with_a_host_that_has_nothing() {
    for scenario in scenarios::all().await {
        let world = World::new(Machine::fresh());
        let found = world
            .step(scenario.kind, &scenario.inputs)
            .probe(false)
            .await;
        assert!(found.is_ok(), "{}: {found:?}", scenario.name);
    }
}

#[tokio::test]
async fn the_stock_network_stays_while_any_domain_uses_it() {
    let running = libvirt().with_domain("other", "default", true);
    asks(running, &default_removed(), "used by other").await;
    let off = libvirt().with_domain("off", "default", false);
    asks(off, &default_removed(), "used by off").await;
}

#[tokio::test]
async fn names_are_compared_whole() {
    let similar = "<network><name>default-old</name><bridge name='virbr9'/><ip address='10.9.9.1' netmask='255.255.255.0'/></network>";
    let world = World::new(without_default().await.with_network(similar, true, true));
    let found = world.bind(&default_removed()).probe(false).await.unwrap();
    assert!(matches!(found, Probe::Satisfied(_)), "{found:?}");

    let growth = growth().await;
    let machine = growth
        .before_domain
        .with_domain("kubenode10", "wirebox", false)
        .with_domain("old-kubenode1", "wirebox", false);
    let world = World::new(machine);
    assert_eq!(
        world.bind(&domain()).probe(false).await.unwrap(),
        Probe::Absent
    );
    world.done(&domain()).await;
    world.done(&running()).await;
    assert!(matches!(
        world.bind(&domain()).probe(false).await.unwrap(),
        Probe::Satisfied(_)
    ));
}

#[tokio::test]
async fn somebody_elses_network_and_domain_are_asked_about() {
    asks(
        without_default().await.with_foreign_wirebox(),
        &network(),
        "of other content",
    )
    .await;
    let growth = growth().await;
    let foreign = growth.before_domain.with_domain("other", "wirebox", false);
    let mut other = domain();
    "other".clone_into(&mut other.name);
    asks(foreign, &other, "did not define").await;
}

#[tokio::test]
async fn a_network_with_guests_of_others_is_not_taken_away() {
    let world = World::new(without_default().await);
    let step = world.bind(&network());
    let before = step.capture().await.unwrap();
    step.apply(1, false, &before).await.unwrap();
    world
        .host
        .meddle(|machine| machine.with_domain("guest", "wirebox", true))
        .unwrap();
    let standing = world.state();
    let failure = step.undo(1, &before).await.unwrap_err();
    assert!(failure.why.contains("used by guest"), "{failure:?}");
    same(&world.state(), &standing, "refused");
}

#[tokio::test]
async fn a_disk_is_never_overwritten() {
    let growth = growth().await;
    let path = format!("{POOL}/kubenode1.qcow2");
    let foreign = growth.before_disk.clone().with_disk(&path, 150 << 30);
    asks(foreign, &overlay(&growth.base), "is another one").await;
    let mut larger = overlay(&growth.base);
    larger.size_bytes += 1 << 30;
    asks(growth.before_domain.clone(), &larger, "is another one").await;
    // The domain is gone, its disk with all data is there: it is adopted.
    let world = World::new(growth.before_domain);
    let found = world
        .bind(&overlay(&growth.base))
        .probe(false)
        .await
        .unwrap();
    assert!(matches!(found, Probe::Satisfied(_)), "{found:?}");
}

#[tokio::test]
async fn a_disk_smaller_than_its_base_is_refused() {
    let growth = growth().await;
    let mut tiny = overlay(&growth.base);
    tiny.size_bytes = 1 << 30;
    let (world, _, failure) = fails(growth.before_disk.clone(), &tiny).await;
    assert_eq!(failure.residue, Residue::Clean);
    same(
        &world.state(),
        &World::new(growth.before_disk).state(),
        "too small",
    );
}

#[tokio::test]
async fn a_domain_is_not_undefined_while_it_runs() {
    let growth = growth().await;
    let world = World::new(growth.before_domain);
    let step = world.bind(&domain());
    let before = step.capture().await.unwrap();
    step.apply(1, false, &before).await.unwrap();
    world.done(&running()).await;
    let failure = step.undo(1, &before).await.unwrap_err();
    assert!(failure.why.contains("is running"), "{failure:?}");
}

#[tokio::test]
async fn the_base_image_stays_while_a_disk_uses_it() {
    let world = World::new(growth().await.before_image);
    let step = world.bind(&image());
    let before = step.capture().await.unwrap();
    let base = step.apply(1, false, &before).await.unwrap().outputs["path"].clone();
    let disk = world.bind(&overlay(&base));
    let no_disk = disk.capture().await.unwrap();
    disk.apply(1, false, &no_disk).await.unwrap();
    let failure = step.undo(1, &before).await.unwrap_err();
    assert!(failure.why.contains("kubenode1.qcow2"), "{failure:?}");
    assert!(world.host.stat(&base).await.unwrap().is_some());
    disk.undo(1, &no_disk).await.unwrap();
    step.undo(1, &before).await.unwrap();
    assert!(world.host.stat(&base).await.unwrap().is_none());
}

#[tokio::test]
async fn a_wrong_image_is_not_kept() {
    let machine = growth().await.before_image;
    let wrong = ImageBase {
        sha256: Some("0".repeat(64)),
        ..image()
    };
    let missing = ImageBase {
        source: "https://images.example/missing.img".to_owned(),
        ..image()
    };
    let page = ImageBase {
        source: "https://images.example/index.html".to_owned(),
        ..image()
    };
    for (kind, why) in [
        (wrong, "wanted is 000"),
        (missing, "curl code 22"),
        (page, "not a self-contained qcow2"),
    ] {
        let (world, before, failure) = fails(machine.clone(), &kind).await;
        assert!(failure.why.contains(why), "{failure:?}");
        world.bind(&kind).undo(1, &before).await.unwrap();
        same(&world.state(), &World::new(machine.clone()).state(), why);
    }
}

#[tokio::test]
async fn keys_are_never_made_again() {
    let world = World::new(Machine::fresh());
    world.done(&dirs()).await;
    world.done(&keypair()).await;
    let mine = world
        .host
        .machine()
        .with_file(&keypair().path, "my own key\n", 0o600, "demo:demo");
    let world = World::new(mine);
    let found = world.bind(&keypair()).probe(false).await.unwrap();
    assert!(matches!(found, Probe::Satisfied(_)), "{found:?}");
    world.done(&keypair()).await;
    assert_eq!(
        world.text_of(&keypair().path).await.unwrap(),
        "my own key\n"
    );
    let only_public = world.host.machine().without_file(&keypair().path);
    asks(only_public, &keypair(), "without its private half").await;
}

#[tokio::test]
async fn files_of_others_are_not_replaced() {
    let world = World::new(Machine::fresh());
    world.done(&dirs()).await;
    let ground = world.host.machine();
    let careful = File {
        replace: false,
        ..vm_env()
    };
    let theirs = ground.with_file(&careful.path, "theirs\n", 0o644, "demo:demo");
    asks(theirs, &careful, "not written by wiab").await;
    let forward = sysctl("/etc/sysctl.d/60-wiab.conf", "net.ipv4.ip_forward", "1");
    let theirs = Machine::fresh().with_file(&forward.file, "kernel.x = 1\n", 0o644, "root:root");
    asks(theirs, &forward, "not written by wiab").await;
    let torn = Machine::fresh().with_file(
        "/etc/hosts",
        "# BEGIN wiab wiab\n1.2.3.4 x\n",
        0o644,
        "root:root",
    );
    asks(torn, &hosts_block(), "one pair").await;
}

#[tokio::test]
async fn a_failed_write_leaves_the_good_file() {
    let world = World::new(Machine::fresh());
    world.done(&dirs()).await;
    let good = "export kubenode1_ip=192.168.122.9\n";
    let machine = world
        .host
        .machine()
        .with_file(&vm_env().path, good, 0o644, "demo:demo");
    let world = World::new(machine);
    world
        .host
        .arm(Fault::once("file-write *", Action::DiskFull));
    let step = world.bind(&vm_env());
    let before = step.capture().await.unwrap();
    step.apply(1, false, &before).await.unwrap_err();
    assert_eq!(world.text_of(&vm_env().path).await.unwrap(), good);
}

#[tokio::test]
async fn lines_of_others_in_the_hosts_file_stay_even_when_they_change_later() {
    let first = "127.0.0.1 localhost\n10.0.0.9 my-assethost.example.org # assethost\n";
    let world = World::new(Machine::fresh().with_file("/etc/hosts", first, 0o644, "root:root"));
    let step = world.bind(&hosts_block());
    let before = step.capture().await.unwrap();
    step.apply(1, false, &before).await.unwrap();
    let made = world.text_of("/etc/hosts").await.unwrap();
    assert!(made.starts_with(first), "{made}");
    world
        .host
        .meddle(|machine| {
            machine.with_file(
                "/etc/hosts",
                &format!("{made}10.1.1.1 new\n"),
                0o644,
                "root:root",
            )
        })
        .unwrap();
    step.undo(1, &before).await.unwrap();
    assert_eq!(
        world.text_of("/etc/hosts").await.unwrap(),
        format!("{first}10.1.1.1 new\n")
    );
}

#[tokio::test]
async fn a_file_that_others_changed_since_is_not_removed() {
    let world = World::new(Machine::fresh());
    world.done(&dirs()).await;
    let step = world.bind(&vm_env());
    let before = step.capture().await.unwrap();
    step.apply(1, false, &before).await.unwrap();
    world
        .host
        .meddle(|machine| machine.with_file(&vm_env().path, "edited\n", 0o644, "demo:demo"))
        .unwrap();
    let failure = step.undo(1, &before).await.unwrap_err();
    assert_eq!(failure.advice, RetryAdvice::AskOperator);
    assert_eq!(world.text_of(&vm_env().path).await.unwrap(), "edited\n");
}

#[tokio::test]
async fn a_good_reverse_path_filter_is_left_alone() {
    for (all, own, good) in [
        ("0", "0", true),
        ("2", "1", true),
        ("1", "2", true),
        ("1", "0", false),
        ("0", "1", false),
    ] {
        let machine = libvirt()
            .with_sysctl("net.ipv4.conf.all.rp_filter", all)
            .with_sysctl("net.ipv4.conf.virbr0.rp_filter", own);
        let found = World::new(machine)
            .bind(&rp_filter())
            .probe(false)
            .await
            .unwrap();
        assert_eq!(
            matches!(found, Probe::Satisfied(_)),
            good,
            "all {all}, own {own}: {found:?}"
        );
    }
    // Without the bridge, the drop-in waits for it.
    let world = World::new(without_default().await);
    world.done(&rp_filter()).await;
    assert!(matches!(
        world.bind(&rp_filter()).probe(false).await.unwrap(),
        Probe::Satisfied(_)
    ));
}

#[tokio::test]
async fn exactly_one_hairpin_rule_and_then_none() {
    let bare = without_default().await;
    let own = |rules: &str| {
        format!(
            "table ip wiab_hairpin {{\nchain postrouting {{\ntype nat hook postrouting priority 99; policy accept;\n{rules}\n}}\n}}\n"
        )
    };
    let world = World::new(
        bare.clone()
            .with_nft(&own(&format!("{HAIRPIN}\n{HAIRPIN}"))),
    );
    world.done(&hairpin()).await;
    let count = |world: &World| {
        world
            .state()
            .to_string()
            .matches("wire-hairpin-dnat-virbr0")
            .count()
    };
    assert_eq!(count(&world), 1);
    world
        .host
        .meddle(|machine| {
            machine.with_nft(&nat(&[HAIRPIN, "oifname \"eth0\" masquerade", HAIRPIN]))
        })
        .unwrap();
    assert_eq!(count(&world), 3);
    world.done(&NftHairpinRemoved {}).await;
    assert_eq!(count(&world), 0);
    assert!(
        world.state().to_string().contains("masquerade"),
        "the host's own rule stays"
    );
    asks(
        bare.with_nft(&own("tcp dport 80 accept")),
        &hairpin(),
        "not wiab's",
    )
    .await;
}

/// A machine without hardware support lets a login wait for minutes while it boots.
#[tokio::test]
async fn a_login_without_an_answer_is_waited_out() {
    let world = World::new(growth().await.started);
    world.host.arm(Fault::once("ssh*cloud-init*", Action::Hang));
    world.host.arm(Fault::once("ssh*route*", Action::Hang));
    world.done(&ready()).await;
}

#[tokio::test]
async fn a_vm_that_does_not_come_says_where_it_hangs() {
    let growth = growth().await;
    let mut patience = ready();
    patience.deadline_ms = 60_000;
    let (_, _, off) = fails(growth.before_start.clone(), &patience).await;
    assert!(off.why.contains("ssh does not answer"), "{off:?}");
    assert_eq!(off.residue, Residue::Clean);
    let unknown =
        growth
            .started
            .clone()
            .with_file(&deploy("ssh/known_hosts"), "", 0o644, "demo:demo");
    let (_, _, stranger) = fails(unknown, &patience).await;
    assert!(stranger.why.contains("host key"), "{stranger:?}");
    patience.deadline_ms = 30_000;
    let (_, _, early) = fails(growth.started, &patience).await;
    assert!(early.why.contains("was not ready after 30 s"), "{early:?}");
}

#[tokio::test]
async fn packages_may_be_left_and_a_missing_user_is_named() {
    let packages = AptPackages {
        packages: vec!["cloud-image-utils".to_owned()],
        keep: true,
    };
    let world = World::new(Machine::fresh());
    let step = world.bind(&packages);
    let before = step.capture().await.unwrap();
    step.apply(1, false, &before).await.unwrap();
    let standing = world.state();
    step.undo(1, &before).await.unwrap();
    same(&world.state(), &standing, "kept");
    let groups = HostGroups {
        user: "nobody-here".to_owned(),
        groups: vec!["kvm".to_owned()],
    };
    let failure = world.bind(&groups).capture().await.unwrap_err();
    assert!(failure.hint.unwrap().contains("adduser nobody-here"));
}

fn plain_command() -> Command {
    Command {
        run: vec!["touch".to_owned(), "/tmp/mark".to_owned()],
        probe: None,
        undo: None,
        timeout_ms: 60_000,
        root: false,
        idempotent: false,
    }
}

#[tokio::test]
async fn a_command_without_a_probe_costs_nothing_but_its_job() {
    let world = World::new(Machine::fresh());
    let step = world.bind(&plain_command());
    assert!(matches!(
        step.probe(false).await.unwrap(),
        Probe::Unknown { .. }
    ));
    assert_eq!(step.capture().await.unwrap(), Before::Nothing);
    assert_eq!(world.host.operations(), 0);
    step.apply(1, false, &Before::Nothing).await.unwrap();
    assert_eq!(world.host.operations(), 2, "start and wait");
    assert!(world.text_of("/tmp/mark").await.is_some());
}

#[tokio::test]
async fn a_command_is_found_again_after_a_crash() {
    let world = World::new(Machine::fresh());
    assert_eq!(
        world.bind(&plain_command()).probe(true).await.unwrap(),
        Probe::Absent
    );
    let record = Points::record();
    let world = World::tapped(Machine::fresh(), Some(std::sync::Arc::new(record.clone())));
    world
        .bind(&plain_command())
        .apply(1, false, &Before::Nothing)
        .await
        .unwrap();
    let begun = record
        .seen()
        .into_iter()
        .rfind(|point| point.what.starts_with("job-start"))
        .unwrap();
    let tap = Points::die_at(begun.index);
    let world = World::tapped(Machine::fresh(), Some(std::sync::Arc::new(tap)));
    let step = world.bind(&plain_command());
    tokio::select! {
        biased;
        () = world.host.died() => {}
        _ = step.apply(1, false, &Before::Nothing) => panic!("no death"),
    }
    let world = World::new(world.host.machine());
    let step = world.bind(&plain_command());
    assert_eq!(step.probe(true).await.unwrap(), Probe::Running);
    step.apply(1, true, &Before::Nothing).await.unwrap();
    assert!(world.text_of("/tmp/mark").await.is_some());
}

#[tokio::test]
async fn a_command_that_was_cut_off_is_unknown_and_a_failing_one_says_so() {
    let world = World::new(Machine::fresh());
    world.host.arm(Fault::once("touch*", Action::Half));
    let step = world.bind(&plain_command());
    step.apply(1, false, &Before::Nothing).await.unwrap_err();
    assert!(matches!(
        step.probe(true).await.unwrap(),
        Probe::Unknown { .. }
    ));
    let failing = Command {
        run: vec!["false".to_owned()],
        ..plain_command()
    };
    let failure = world
        .bind(&failing)
        .apply(2, false, &Before::Nothing)
        .await
        .unwrap_err();
    assert!(failure.why.contains("`false` ended with 1"), "{failure:?}");
    let lying = Command {
        probe: Some(vec!["false".to_owned()]),
        ..plain_command()
    };
    let failure = world
        .bind(&lying)
        .apply(3, false, &Before::Nothing)
        .await
        .unwrap_err();
    assert!(failure.why.contains("its probe still fails"), "{failure:?}");
}

#[tokio::test]
async fn inputs_that_a_kind_does_not_accept_are_named_in_one_sentence() {
    use wiab_engine::ports::Steps as _;
    let host: std::sync::Arc<dyn Host> = World::new(Machine::fresh()).host;
    let catalogue = wiab_steps::catalogue::Catalogue::new(host);
    let plan = |kind: &str| {
        let mut spec = wiab_steps::kind::spec_of("a.step", &[], &plain_command()).unwrap();
        kind.clone_into(&mut spec.kind);
        spec
    };
    let error = catalogue
        .build(&plan("comand/1"), serde_json::json!({}))
        .unwrap_err();
    assert!(error.contains("did you mean `command/1`?"), "{error}");
    let error = catalogue
        .build(&plan("command/1"), serde_json::json!({"run": []}))
        .unwrap_err();
    assert!(error.contains("missing field `timeout_ms`"), "{error}");
    let pending = Input::<String>::Output {
        output: (
            wiab_engine::id::StepId::new("img.base").unwrap(),
            "path".to_owned(),
        ),
    };
    let mut disk = overlay("/x");
    disk.base = pending;
    let world = World::new(libvirt());
    let failure = world
        .bind(&disk)
        .apply(1, false, &Before::Image("{\"existed\":false}".to_owned()))
        .await
        .unwrap_err();
    assert!(
        failure
            .why
            .contains("still refers to another step's output"),
        "{failure:?}"
    );
}
