//! The release's package repository: signed, with real packages that bring the names of the programs that the stand-in for
//! the machines answers to, and their units.

use std::fmt::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use super::{make_parent, put};
use crate::cache::Scratch;
use crate::cmd::Cmd;
use crate::error::Result;
use crate::tools;

const SUITE: &str = "jammy";
const PROGRAM: &str = "/usr/local/lib/wiab-guest";
const OWNER: &str = "wiab-lab stand-in <lab@example.org>";

/// A package.
#[derive(Debug)]
struct Package {
    name: &'static str,
    /// Names of the program.
    links: &'static [&'static str],
    /// Unit and service.
    units: &'static [(&'static str, &'static str)],
    /// Files that belong to the administrator.
    settings: &'static [(&'static str, &'static str)],
    /// Run when it is installed.
    script: &'static str,
}

impl Package {
    const fn plain(name: &'static str) -> Self {
        Self {
            name,
            links: &[],
            units: &[],
            settings: &[],
            script: "",
        }
    }
}

const PACKAGES: [Package; 13] = [
    Package {
        links: &["usr/bin/ntpq"],
        units: &[("ntp", "ntp")],
        settings: &[("etc/ntp.conf", "pool 0.ubuntu.pool.ntp.org iburst\n")],
        ..Package::plain("ntp")
    },
    Package::plain("libjemalloc2"),
    Package::plain("openjdk-8-jre-headless"),
    Package {
        units: &[("elasticsearch", "elasticsearch")],
        settings: &[
            (
                "etc/elasticsearch/elasticsearch.yml",
                "discovery.seed_hosts: []\n",
            ),
            ("etc/default/elasticsearch", "ES_HEAP_SIZE=1g\n"),
        ],
        ..Package::plain("elasticsearch-oss")
    },
    Package {
        links: &["usr/sbin/rabbitmqctl"],
        units: &[("rabbitmq-server", "rabbitmq")],
        settings: &[
            ("etc/rabbitmq/rabbitmq.config", "[].\n"),
            ("etc/default/rabbitmq-server", "ulimit -n 65536\n"),
        ],
        ..Package::plain("rabbitmq-server")
    },
    Package::plain("postgresql-client-common"),
    Package {
        script: "getent passwd postgres > /dev/null || useradd --system --home-dir /var/lib/postgresql --shell /bin/bash postgres",
        ..Package::plain("postgresql-common")
    },
    Package {
        links: &["usr/bin/psql"],
        ..Package::plain("postgresql-client-17")
    },
    Package {
        units: &[("postgresql@", "postgresql")],
        settings: &[(
            "etc/postgresql/17/main/postgresql.conf",
            "wal_level = replica\n",
        )],
        ..Package::plain("postgresql-17")
    },
    Package::plain("python3-psycopg2"),
    Package::plain("repmgr-common"),
    Package::plain("postgresql-17-repmgr"),
    Package::plain("repmgr"),
];

/// What decides the repository's content.
pub(super) fn recipe() -> String {
    format!("{PACKAGES:?}{SUITE}{PROGRAM}{OWNER}")
}

/// Builds it and packs it.
pub(super) fn repository(scratch: &Scratch, to: &Path) -> Result<()> {
    let work = scratch.dir().join("repository");
    let public = work.join("debs-jammy/public");
    let mut index = String::new();
    for package in &PACKAGES {
        index += &one(&work, &public, package)?;
    }
    let list = "main/binary-amd64/Packages";
    let dist = public.join("dists").join(SUITE);
    put(&dist, list, &index)?;
    let digest = tools::sha256(&dist.join(list))?;
    let release = format!(
        "Origin: wiab-lab\nSuite: {SUITE}\nCodename: {SUITE}\nArchitectures: amd64\nComponents: main\n\
         Date: Thu, 01 Jan 2026 00:00:00 UTC\nSHA256:\n {digest} {} {list}\n",
        index.len()
    );
    put(&dist, "Release", &release)?;
    sign(&work, &dist, &public.join("gpg"))?;
    tools::tar(&work, to, &["debs-jammy"])
}

/// Builds one package; its paragraph in the list.
fn one(work: &Path, public: &Path, package: &Package) -> Result<String> {
    let name = package.name;
    let root = work.join(name);
    for link in package.links {
        let link = root.join(link);
        make_parent(&link)?;
        fs_err::os::unix::fs::symlink(PROGRAM, link)?;
    }
    for (unit, service) in package.units {
        let text = format!(
            "[Unit]\nDescription={name}\n[Service]\nType=notify\nExecStart={PROGRAM} serve {service}\nRestart=on-failure\n\
             [Install]\nWantedBy=multi-user.target\n"
        );
        put(
            &root,
            &format!("usr/lib/systemd/system/{unit}.service"),
            &text,
        )?;
    }
    let mut settings = String::new();
    for (path, text) in package.settings {
        put(&root, path, text)?;
        let _ = writeln!(settings, "/{path}");
    }
    let control = format!(
        "Package: {name}\nVersion: 1.0-lab1\nArchitecture: all\nMaintainer: {OWNER}\nSection: misc\nPriority: optional\n\
         Description: stands in for {name} on the lab's machines\n"
    );
    put(&root, "DEBIAN/control", &control)?;
    if !settings.is_empty() {
        put(&root, "DEBIAN/conffiles", &settings)?;
    }
    if !package.script.is_empty() {
        let script = format!("#!/bin/sh\nset -e\n{}\n", package.script);
        put(&root, "DEBIAN/postinst", &script)?;
        let path = root.join("DEBIAN/postinst");
        fs_err::set_permissions(path, std::fs::Permissions::from_mode(0o755))?;
    }
    let path = format!("pool/{name}_1.0-lab1_all.deb");
    let file = public.join(&path);
    make_parent(&file)?;
    Cmd::new(["dpkg-deb", "--root-owner-group", "-Zgzip", "-b"])
        .arg(root.display().to_string())
        .arg(file.display().to_string())
        .run()?;
    let size = fs_err::metadata(&file)?.len();
    let digest = tools::sha256(&file)?;
    Ok(format!(
        "{control}Filename: {path}\nSize: {size}\nSHA256: {digest}\n\n"
    ))
}

/// Signs the repository with a new key and writes the key's public half. The key's agent ends with its namespace.
fn sign(work: &Path, dist: &Path, public: &Path) -> Result<()> {
    let home = work.join("keys");
    fs_err::create_dir_all(&home)?;
    fs_err::set_permissions(&home, std::fs::Permissions::from_mode(0o700))?;
    let script = "set -e; g='gpg --batch --yes --quiet --pinentry-mode loopback'; export GNUPGHOME=\"$1\"; \
        $g --passphrase '' --quick-gen-key \"$4\" ed25519 sign 10y; \
        $g --clearsign --output \"$2/InRelease\" \"$2/Release\"; $g --armor --export > \"$3\"";
    Cmd::isolated()
        .args(["sh", "-c", script, "sh"])
        .arg(home.display().to_string())
        .arg(dist.display().to_string())
        .arg(public.display().to_string())
        .arg(OWNER)
        .run()
}
