//! The asset host's content server, and the machines that use nothing else.

use serde_json::{Value, json};
use wiab_engine::outcome::Failure;

use super::footprint::{self, Before, Footprint, must};
use super::look::{Found, Told, ask, must_ask, question};
use super::{Role, Site, SiteHost};
use crate::host::shell::Shell;
use crate::kinds::known;

const ROOT: &str = "/opt/assets";
const UNIT: &str = "/etc/systemd/system/serve-assets.service";
const DROP_IN: &str = "/etc/systemd/system/serve-assets.service.d";
/// The unit has no `[Install]` section, so that enabling it does nothing: this link starts it with the machine.
const WANTS: &str = "/etc/systemd/system/multi-user.target.wants/serve-assets.service";
const RESTART: &str = "# Written by wiab: the content server comes back by itself.\n[Service]\nRestart=always\nRestartSec=2\n";

/// The tars that the playbook unpacks, below the release's directory.
const TARS: [&str; 4] = [
    "debs-jammy.tar",
    "binaries.tar",
    "containers-system.tar",
    "containers-helm.tar",
];
/// What stays free on the asset host, in bytes.
const SPARE_BYTES: u64 = 2 << 30;

/// What the server must answer.
const SERVED: [&str; 4] = [
    "containers-helm/index.txt",
    "containers-system/index.txt",
    "binaries/",
    "debs-jammy/public/gpg",
];

const SOURCES: [&str; 2] = ["/etc/apt/sources.list", "/etc/apt/sources.list.d"];

/// A key that every Ubuntu machine trusts already. Ansible's `apt_key` takes an expired key for one that it could not add,
/// and ends; where the repository is trusted unsigned, no key of it is needed, and this one changes nothing.
const KNOWN_KEY: &str = "/etc/apt/trusted.gpg.d/ubuntu-keyring-2018-archive.gpg";
/// Where the playbook gets it from while it runs, in and below [`ROOT`].
const STAND_IN: &str = ".wiab-ubuntu.gpg";

/// The variables of the playbook with which it writes the options into the `deb` line.
pub(super) fn vars(apt: &str) -> Option<Value> {
    (!apt.is_empty()).then(|| {
        json!({
            "ubuntu_repo_base_url": format!("{apt} {{{{ ubuntu_repos }}}}"),
            "ubuntu_repo_gpgkey": format!("http://{{{{ assethost_host }}}}/{STAND_IN}"),
        })
    })
}

pub(super) const PRINTS: &[Footprint] = &[
    Footprint {
        roles: &[Role::Assethost],
        units: &["serve-assets"],
        paths: &[ROOT, WANTS, DROP_IN, UNIT],
        ..Footprint::NONE
    },
    Footprint {
        roles: &[Role::Kubenode, Role::Datanode],
        paths: &["/etc/apt/trusted.gpg"],
        keeps: &SOURCES,
        ..Footprint::NONE
    },
];

/// Where the release's content is known from: the directory is named after the artifact's digest.
fn marker(site: &Site) -> Result<String, Failure> {
    let tree = known(&site.toolbox.tree, "tree")?;
    let id = tree
        .trim_end_matches('/')
        .rsplit('/')
        .next()
        .unwrap_or("release");
    Ok(format!("{ROOT}/.wiab-{id}"))
}

async fn server(
    sh: Shell<'_>,
    site: &Site,
    host: &SiteHost,
    found: &mut Found,
) -> Result<(), Failure> {
    let marker = marker(site)?;
    let urls: Vec<String> = SERVED
        .iter()
        .map(|path| format!("http://localhost:8080/{path}"))
        .collect();
    let mut questions = vec![
        question("marker", &["test", "-e", &marker]),
        question("wants", &["test", "-e", WANTS]),
        question("restart", &["test", "-e", DROP_IN]),
        question("runs", &["systemctl", "is-active", "serve-assets"]),
    ];
    for url in &urls {
        let argv = ["curl", "-fsS", "-o", "/dev/null", "--max-time", "10", url];
        questions.push(question(url, &argv));
    }
    let told = ask(sh, site, host, &questions).await?;
    if found.silent(host, &told) {
        return Ok(());
    }
    let name = &host.name;
    found.part(
        told.yes("runs"),
        format!("{name} serves"),
        format!("the content server of {name} does not run"),
    );
    for (url, path) in urls.iter().zip(SERVED) {
        if !told.yes(url) {
            found.missing.push(format!("{name} does not serve {path}"));
        }
    }
    let kept = told.yes("wants") && told.yes("restart");
    found.part(
        kept,
        format!("{name} serves after a restart"),
        format!("{name} does not serve after a restart"),
    );
    found.part(
        told.yes("marker"),
        "content of this release",
        "content of this release",
    );
    Ok(())
}

fn address(site: &Site) -> String {
    let host = site.of(Role::Assethost).next();
    host.map(|host| host.ip.clone()).unwrap_or_default()
}

/// The package sources of a machine.
enum Sources {
    /// Somebody else's, too.
    Others,
    /// The asset host's alone, but its line is not as this release needs it.
    OtherOptions,
    /// The asset host's alone.
    Ours,
}

fn sources(told: &Told, address: &str, apt: &str) -> Sources {
    let text = told.text("sources");
    let ours = format!(" http://{address}:8080/");
    if text.is_empty() || !text.lines().all(|line| line.contains(&ours)) {
        return Sources::Others;
    }
    // Trust without a signature is neither missing where it was asked for nor left where it was not.
    let plain = format!("deb{ours}");
    let wanted = match apt {
        "" => plain,
        options => format!("deb {options}{ours}"),
    };
    if text.lines().all(|line| line.starts_with(&wanted)) {
        Sources::Ours
    } else {
        Sources::OtherOptions
    }
}

async fn client(
    sh: Shell<'_>,
    site: &Site,
    host: &SiteHost,
    apt: &str,
    found: &mut Found,
) -> Result<(), Failure> {
    let address = address(site);
    let url = format!("http://{address}:8080/debs-jammy/public/gpg");
    let argv = ["grep", "-rhsE", "^(deb|URIs:)", SOURCES[0], SOURCES[1]];
    let questions = [
        question("sources", &argv),
        question(
            "served",
            &["curl", "-fsS", "-o", "/dev/null", "--max-time", "10", &url],
        ),
    ];
    let told = ask(sh, site, host, &questions).await?;
    if found.silent(host, &told) {
        return Ok(());
    }
    let name = &host.name;
    let (ours, missing) = match sources(&told, &address, apt) {
        Sources::Ours => (true, String::new()),
        Sources::Others => (false, format!("{name} uses other package sources")),
        Sources::OtherOptions if apt.is_empty() => (
            false,
            format!("{name} has options at its source that it does not need"),
        ),
        Sources::OtherOptions => (false, format!("{name} has no {apt} at its source")),
    };
    found.part(ours, format!("sources of {name}"), missing);
    if ours && !told.yes("served") {
        found.missing.push(format!("{name} cannot fetch {url}"));
    }
    Ok(())
}

/// Looks at server and clients.
pub(super) async fn look(sh: Shell<'_>, site: &Site, apt: &str) -> Result<Found, Failure> {
    let mut found = Found::default();
    for host in site.of(Role::Assethost) {
        server(sh, site, host, &mut found).await?;
    }
    for role in [Role::Kubenode, Role::Datanode] {
        for host in site.of(role) {
            client(sh, site, host, apt, &mut found).await?;
        }
    }
    found.notes.push(format!(
        "http://{}:8080 serves {} machines",
        address(site),
        site.hosts.len().saturating_sub(1)
    ));
    Ok(found)
}

/// Room for the content and for the largest tar beside it, and copies of the sources that the playbook deletes.
pub(super) async fn ready(
    sh: Shell<'_>,
    site: &Site,
    apt: &str,
    before: &Before,
) -> Result<bool, Failure> {
    for host in site.of(Role::Assethost) {
        room(sh, site, host).await?;
    }
    for print in PRINTS {
        footprint::keep(sh, site, print, "offline-sources", before).await?;
    }
    let found = look(sh, site, apt).await?;
    // Only what `finish` adds is missing: the content is there and served.
    let only_ours = found
        .missing
        .iter()
        .all(|what| what.ends_with("does not serve after a restart"));
    if !only_ours && !apt.is_empty() {
        let stand_in = format!("{ROOT}/{STAND_IN}");
        for host in site.of(Role::Assethost) {
            must(sh, site, host, &["mkdir", "-p", ROOT]).await?;
            must(sh, site, host, &["cp", "--", KNOWN_KEY, &stand_in]).await?;
        }
    }
    Ok(!only_ours)
}

async fn room(sh: Shell<'_>, site: &Site, host: &SiteHost) -> Result<(), Failure> {
    let marker = marker(site)?;
    let questions = [
        question("marker", &["test", "-e", &marker]),
        question("free", &["df", "-B1", "--output=avail", "/opt"]),
    ];
    let told = must_ask(sh, site, host, &questions).await?;
    let free = told.text("free");
    let free = free
        .lines()
        .next_back()
        .and_then(|line| line.trim().parse::<u64>().ok());
    let Some(free) = free.filter(|_| !told.yes("marker")) else {
        return Ok(());
    };
    let tree = known(&site.toolbox.tree, "tree")?;
    let (mut all, mut largest) = (0_u64, 0_u64);
    for tar in TARS {
        let bytes = sh
            .stat(&format!("{tree}/{tar}"))
            .await?
            .map_or(0, |stat| stat.bytes);
        all = all.saturating_add(bytes);
        largest = largest.max(bytes);
    }
    let need = all.saturating_add(largest).saturating_add(SPARE_BYTES);
    if free >= need {
        return Ok(());
    }
    Err(Failure::clean(format!(
        "the disk of {} is too small: the release's content needs {} GiB while it is unpacked, {} GiB are free",
        host.name,
        need.div_ceil(1 << 30),
        free >> 30
    ))
    .ask()
    .hint(format!(
        "remove what an earlier release left (ssh -i {} {}@{} sudo rm -rf {ROOT}/containers-helm {ROOT}/containers-system), or give the VM a larger disk (`disk_gib` of [vms.machines.{}]); then decide `retry`",
        site.login.key_path, site.login.user, host.ip, host.name
    ))
    .code("cluster.assethost-full"))
}

/// The playbook leaves a server that nobody starts again: that is mended, and the content is marked.
pub(super) async fn finish(sh: Shell<'_>, site: &Site) -> Result<(), Failure> {
    let marker = marker(site)?;
    for host in site.of(Role::Assethost) {
        let file = format!("{DROP_IN}/50-wiab.conf");
        let script = "mkdir -p \"$1\" && tee \"$2.part\" > /dev/null && mv -f \"$2.part\" \"$2\"";
        let cmd = site
            .on(host, &["sh", "-c", script, "sh", DROP_IN, &file])
            .stdin(RESTART);
        sh.ok(&cmd).await?;
        must(sh, site, host, &["systemctl", "daemon-reload"]).await?;
        must(
            sh,
            site,
            host,
            &[
                "systemctl",
                "add-wants",
                "multi-user.target",
                "serve-assets.service",
            ],
        )
        .await?;
        must(sh, site, host, &["systemctl", "start", "serve-assets"]).await?;
        let stand_in = format!("{ROOT}/{STAND_IN}");
        must(sh, site, host, &["rm", "-f", "--", &stand_in]).await?;
        must(sh, site, host, &["touch", &marker]).await?;
    }
    Ok(())
}
