//! The simulated download server, and the tools that open what it has.

use std::sync::Arc;

use wiab_engine::ports::Cancel;
use wiab_steps::host::sim::{Action, Fault, Machine, SimHost, SimOptions};
use wiab_steps::host::{Cmd, Host, Output};

const HASH: &str = "5b01f250e128db689715558bad6b5e532cf4a7a0";
const FILE: &str = "/home/demo/a.tgz";

fn url(hash: &str) -> String {
    format!("https://bucket.example/artifacts/wire-server-deploy-static-{hash}.tgz")
}

fn host(machine: Machine) -> Arc<SimHost> {
    SimHost::in_memory(machine.with_packages(&["curl"]), SimOptions::default())
}

async fn run(host: &SimHost, line: &str) -> Output {
    let cmd = Cmd::new(line.split(' ')).timeout_ms(1 << 40);
    host.run(&cmd, &Cancel::default(), &|_| {}).await.unwrap()
}

#[tokio::test]
async fn artifacts_come_by_hash_and_unknown_ones_are_forbidden() {
    let host = host(Machine::fresh());
    let head = run(&host, &format!("curl -fsSI {}", url(HASH)))
        .await
        .text();
    let len: u64 = head
        .lines()
        .find_map(|line| line.strip_prefix("Content-Length: "))
        .and_then(|text| text.parse().ok())
        .unwrap();
    assert!(head.contains("ETag: ") && len > 11 << 30, "{head}");
    let got = run(&host, &format!("curl -fsSL -o {FILE} {}", url(HASH))).await;
    assert!(got.ok());
    assert_eq!(host.stat(FILE).await.unwrap().unwrap().bytes, len);
    assert!(run(&host, &format!("gzip -t {FILE}")).await.ok());
    for hash in ["missing", "0000000000000000000000000000000000000000"] {
        let refused = run(&host, &format!("curl -fsSL -o {FILE} {}", url(hash))).await;
        assert_eq!(refused.code, 22);
        assert!(refused.error_text().contains("403"));
    }
}

#[tokio::test]
async fn a_download_is_resumed_and_equal_content_has_an_equal_digest() {
    let host = host(Machine::fresh());
    let line = format!("curl -fsSL -C - -o {FILE} {}", url(HASH));
    host.arm(Fault::once("curl*", Action::Half));
    run(&host, &line).await;
    assert!(!run(&host, &format!("gzip -t {FILE}")).await.ok());
    let broken = run(&host, &format!("tar -tzf {FILE}")).await;
    assert_eq!(broken.code, 2);
    assert!(broken.error_text().contains("Unexpected EOF"));
    run(&host, &line).await;
    run(&host, &format!("curl -fsSL -o /tmp/b.tgz {}", url(HASH))).await;
    let digests = run(&host, &format!("sha256sum {FILE} /tmp/b.tgz"))
        .await
        .text();
    let digests: Vec<&str> = digests.lines().map(|line| &line[..64]).collect();
    assert_eq!(digests[0], digests[1]);
    let other = self::host(Machine::fresh().with_published(HASH, 1, &[]));
    run(&other, &line).await;
    let other = run(&other, &format!("sha256sum {FILE}")).await.text();
    assert_ne!(digests[0], &other[..64]);
}

#[tokio::test]
async fn an_artifact_is_listed_and_unpacked_and_can_be_left_in_the_middle() {
    let host = host(Machine::fresh().with_artifact(FILE, HASH, None));
    let listed = run(&host, &format!("tar -tzf {FILE}")).await.text();
    run(&host, "mkdir /home/demo/x").await;
    let unpack = format!("tar -xzf {FILE} -C /home/demo/x");
    host.arm(Fault::once("tar*", Action::Half));
    run(&host, &unpack).await;
    let there = |path: &str| format!("/home/demo/x/{path}");
    for (path, after) in [
        ("containers-helm.tar", true),
        ("values", false),
        ("versions", false),
    ] {
        assert_eq!(
            host.stat(&there(path)).await.unwrap().is_some(),
            after,
            "{path}"
        );
    }
    run(&host, &unpack).await;
    for path in listed.lines() {
        let stat = host.stat(&there(path)).await.unwrap().unwrap();
        assert_eq!(stat.dir, path.ends_with('/'), "{path}");
    }
    let found = run(&host, "find /home/demo/x -type f -printf %s\\t%P\\n")
        .await
        .text();
    let files = listed.lines().filter(|path| !path.ends_with('/')).count();
    assert_eq!(found.lines().count(), files);
    let elsewhere = self::host(Machine::fresh().with_release("/home/demo/x", HASH));
    let again = run(&elsewhere, "find /home/demo/x -type f -printf %s\\t%P\\n")
        .await
        .text();
    assert_eq!(again, found);
}

#[tokio::test]
async fn inner_archives_open_and_the_key_tells_its_end() {
    let tree = "/home/demo/x";
    let host = host(Machine::fresh().with_release(tree, HASH));
    let index = format!("tar -xOf {tree}/containers-helm.tar containers-helm/index.txt");
    assert!(
        run(&host, &index)
            .await
            .text()
            .contains("quay.io_wire_brig_5.32.0.tar\n")
    );
    let manifest = format!(
        "tar -xOzf {tree}/containers-adminhost/container-wire-server-deploy.tgz manifest.json"
    );
    assert!(
        run(&host, &manifest)
            .await
            .text()
            .contains("quay.io/wire/wire-server-deploy:")
    );
    let missing = run(&host, &format!("tar -xOf {tree}/debs-jammy.tar public/gpg")).await;
    assert_eq!(missing.code, 2);
    let key = run(
        &host,
        &format!("tar -xOf {tree}/debs-jammy.tar debs-jammy/public/gpg"),
    )
    .await;
    let show = Cmd::new("gpg --batch --no-options --homedir /dev/null --no-keyring --trust-model always --show-keys --with-colons".split(' '));
    let show = show.stdin(key.stdout);
    let shown = host
        .run(&show, &Cancel::default(), &|_| {})
        .await
        .unwrap()
        .text();
    let first: Vec<&str> = shown.lines().next().unwrap().split(':').collect();
    assert_eq!((first[0], first[1], first[6]), ("pub", "-", "1783814400"));
    let junk = run(&host, "gpg --show-keys --with-colons").await;
    assert_eq!(junk.code, 2);
}
