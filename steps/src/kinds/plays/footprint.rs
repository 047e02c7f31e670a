//! What a playbook leaves on the machines of one role: remembered before it runs, taken away in undo.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use wiab_engine::outcome::Failure;

use super::super::login::SSH_FAILED;
use super::look::{must_ask, question, unreachable};
use super::{Role, Site, SiteHost};
use crate::host::shell::Shell;
use crate::host::{Cmd, Output};

/// Longest single command of undo on a machine, in milliseconds: purging packages is the slowest.
const UNDO_MS: u64 = 10 * 60_000;
/// Where copies of replaced files are kept on the machines.
const KEPT: &str = "/var/lib/wiab";

/// What a playbook brings to every machine of a role.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Footprint {
    /// Whose machines.
    pub(crate) roles: &'static [Role],
    /// Units, in the order in which they are stopped.
    pub(crate) units: &'static [&'static str],
    /// Packages.
    pub(crate) packages: &'static [&'static str],
    /// Packages that it removes.
    pub(crate) removes: &'static [&'static str],
    /// Files and directories, with everything in them.
    pub(crate) paths: &'static [&'static str],
    /// Directories, and how the names begin that appear in them.
    pub(crate) starts: &'static [(&'static str, &'static str)],
    /// Existing files and directories that it changes; a copy is kept on the machine itself, since they may hold secrets.
    pub(crate) keeps: &'static [&'static str],
}

impl Footprint {
    /// Nothing, on the machines of no role.
    pub(crate) const NONE: Self = Self {
        roles: &[],
        units: &[],
        packages: &[],
        removes: &[],
        paths: &[],
        starts: &[],
        keeps: &[],
    };
}

/// What one machine had before, and the digests of what is kept of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct HostBefore {
    units: BTreeSet<String>,
    packages: BTreeSet<String>,
    paths: BTreeSet<String>,
    kept: BTreeMap<String, String>,
    /// Whether a copy of an earlier run lies there: it is not this step's to restore from.
    archived: bool,
}

impl HostBefore {
    /// Whether a path of the footprint was there.
    pub(crate) fn path(&self, path: &str) -> bool {
        self.paths.contains(path)
    }
}

/// By machine.
pub(crate) type Before = BTreeMap<String, HostBefore>;

fn hosts<'a>(print: &Footprint, site: &'a Site) -> Vec<&'a SiteHost> {
    let ours = |host: &&SiteHost| print.roles.contains(&host.role);
    site.hosts.iter().filter(ours).collect()
}

/// What of the footprint a machine has now.
async fn present(
    sh: Shell<'_>,
    site: &Site,
    host: &SiteHost,
    print: &Footprint,
) -> Result<HostBefore, Failure> {
    let packages: Vec<&str> = print
        .packages
        .iter()
        .chain(print.removes)
        .copied()
        .collect();
    let mut questions = Vec::new();
    for unit in print.units {
        questions.push((
            format!("unit {unit}"),
            vec!["systemctl", "is-enabled", unit],
        ));
        questions.push((format!("runs {unit}"), vec!["systemctl", "is-active", unit]));
    }
    for package in &packages {
        let format = "${Package} ${db:Status-Status}\\n";
        let argv = vec!["dpkg-query", "-W", "-f", format, package];
        questions.push((format!("package {package}"), argv));
    }
    for path in print.paths {
        questions.push((format!("path {path}"), vec!["test", "-e", path]));
    }
    for (dir, _) in print.starts {
        questions.push((format!("list {dir}"), vec!["ls", dir]));
    }
    let asked: Vec<_> = questions
        .iter()
        .map(|(name, argv)| question(name, argv))
        .collect();
    let told = must_ask(sh, site, host, &asked).await?;
    let mut now = HostBefore::default();
    for unit in print.units {
        let known = !told.text(&format!("unit {unit}")).is_empty();
        if known || told.yes(&format!("runs {unit}")) {
            now.units.insert((*unit).to_owned());
        }
    }
    for package in packages {
        let status = told.text(&format!("package {package}"));
        if status == format!("{package} installed") {
            now.packages.insert(package.to_owned());
        }
    }
    for path in print.paths {
        if told.yes(&format!("path {path}")) {
            now.paths.insert((*path).to_owned());
        }
    }
    for (dir, start) in print.starts {
        let names = told.text(&format!("list {dir}"));
        let ours = names.lines().filter(|name| name.starts_with(start));
        now.paths.extend(ours.map(|name| format!("{dir}/{name}")));
    }
    Ok(now)
}

/// Digests of the files that are kept, by path.
async fn digests(
    sh: Shell<'_>,
    site: &Site,
    host: &SiteHost,
    print: &Footprint,
) -> Result<BTreeMap<String, String>, Failure> {
    if print.keeps.is_empty() {
        return Ok(BTreeMap::new());
    }
    // Names of files first: directories have no digest.
    let mut questions = Vec::new();
    for path in print.keeps {
        questions.push((format!("f {path}"), vec!["test", "-f", path]));
        questions.push((format!("d {path}"), vec!["ls", path]));
    }
    let asked: Vec<_> = questions
        .iter()
        .map(|(name, argv)| question(name, argv))
        .collect();
    let told = must_ask(sh, site, host, &asked).await?;
    let mut files: Vec<String> = Vec::new();
    for path in print.keeps {
        if told.yes(&format!("f {path}")) {
            files.push((*path).to_owned());
        } else {
            let names = told.text(&format!("d {path}"));
            files.extend(names.lines().map(|name| format!("{path}/{name}")));
        }
    }
    if files.is_empty() {
        return Ok(BTreeMap::new());
    }
    let mut argv = vec!["sha256sum", "--"];
    argv.extend(files.iter().map(String::as_str));
    let told = must_ask(sh, site, host, &[question("sums", &argv)]).await?;
    let sums = told.text("sums");
    let pairs = sums.lines().filter_map(|line| line.split_once("  "));
    Ok(pairs
        .map(|(digest, path)| (path.to_owned(), digest.to_owned()))
        .collect())
}

/// Looks at all machines before the playbook.
pub(crate) async fn capture(
    sh: Shell<'_>,
    site: &Site,
    prints: &[Footprint],
    name: &str,
) -> Result<Before, Failure> {
    let mut before = Before::new();
    for print in prints {
        for host in hosts(print, site) {
            let mut had = present(sh, site, host, print).await?;
            if !print.keeps.is_empty() {
                had.kept = digests(sh, site, host, print).await?;
                let whole = archive(name);
                let asked = [question("kept", &["test", "-e", &whole])];
                had.archived = must_ask(sh, site, host, &asked).await?.yes("kept");
            }
            before.insert(host.name.clone(), had);
        }
    }
    Ok(before)
}

/// Runs a command on a machine that must succeed.
pub(crate) async fn must(
    sh: Shell<'_>,
    site: &Site,
    host: &SiteHost,
    argv: &[&str],
) -> Result<Output, Failure> {
    let cmd = site.on(host, argv).timeout_ms(UNDO_MS);
    done(site, host, &sh.run(&cmd).await?, &cmd)
}

fn done(site: &Site, host: &SiteHost, output: &Output, cmd: &Cmd) -> Result<Output, Failure> {
    if output.ok() {
        return Ok(output.clone());
    }
    let said = output.error_text();
    let last = said.lines().next_back().unwrap_or("it said nothing");
    if output.code == SSH_FAILED {
        return Err(Failure {
            residue: wiab_engine::outcome::Residue::Unknown,
            ..unreachable(site, host, last)
        });
    }
    let line = cmd.argv.last().map_or("", String::as_str);
    Err(Failure::dirty(format!(
        "on {}, `{line}` ended with code {}: {last}",
        host.name, output.code
    ))
    .retry())
}

fn archive(name: &str) -> String {
    format!("{KEPT}/before-{name}.tar")
}

/// Keeps a copy of what the playbook will replace, once: what is kept is from before the first attempt.
pub(crate) async fn keep(
    sh: Shell<'_>,
    site: &Site,
    print: &Footprint,
    name: &str,
    before: &Before,
) -> Result<(), Failure> {
    for host in hosts(print, site) {
        let known = before.get(&host.name);
        let files = known.map_or(0, |had| had.kept.len());
        if print.keeps.is_empty() || files == 0 {
            continue;
        }
        let (whole, part) = (archive(name), format!("{}.part", archive(name)));
        let told = must_ask(sh, site, host, &[question("kept", &["test", "-e", &whole])]).await?;
        if told.yes("kept") {
            continue;
        }
        let there: Vec<_> = print
            .keeps
            .iter()
            .map(|path| (*path, vec!["test", "-e", *path]))
            .collect();
        let told = must_ask(sh, site, host, &there).await?;
        let paths = print.keeps.iter().filter(|path| told.yes(path));
        must(sh, site, host, &["mkdir", "-p", KEPT]).await?;
        let mut tar = vec!["tar", "-C", "/", "-cf", &part];
        tar.extend(paths.map(|path| path.trim_start_matches('/')));
        must(sh, site, host, &tar).await?;
        must(sh, site, host, &["mv", "-n", &part, &whole]).await?;
    }
    Ok(())
}

/// Puts back what is kept, compares it with the journalled digests, and forgets the copy.
async fn restore(
    sh: Shell<'_>,
    site: &Site,
    host: &SiteHost,
    print: &Footprint,
    name: &str,
    had: &HostBefore,
) -> Result<(), Failure> {
    let (whole, part) = (archive(name), format!("{}.part", archive(name)));
    let asked = [
        question("kept", &["test", "-e", &whole]),
        question("dir", &["test", "-e", KEPT]),
    ];
    let told = must_ask(sh, site, host, &asked).await?;
    if !told.yes("dir") {
        return Ok(());
    }
    if told.yes("kept") && digests(sh, site, host, print).await? != had.kept {
        let mut remove = vec!["rm", "-rf", "--"];
        remove.extend(print.keeps);
        must(sh, site, host, &remove).await?;
        must(sh, site, host, &["tar", "-C", "/", "-xf", &whole]).await?;
        if digests(sh, site, host, print).await? != had.kept {
            return Err(Failure::dirty(format!(
                "on {}, {whole} does not hold the files that were there before: their digests differ",
                host.name
            ))
            .ask()
            .hint(format!(
                "look into it (`sudo tar -tf {whole}` on {}), put {} right by hand, then decide `accept`",
                host.name,
                print.keeps.join(", ")
            )));
        }
    }
    must(sh, site, host, &["rm", "-f", "--", &whole, &part]).await?;
    // Others may still keep something there.
    sh.run(&site.on(host, &["rmdir", "--", KEPT])).await?;
    Ok(())
}

/// Takes away what was not there before and puts back what is kept; tolerates that nothing is there.
pub(crate) async fn undo(
    sh: Shell<'_>,
    site: &Site,
    prints: &[Footprint],
    name: &str,
    before: &Before,
) -> Result<(), Failure> {
    let none = HostBefore::default();
    for print in prints {
        for host in hosts(print, site) {
            let had = before.get(&host.name).unwrap_or(&none);
            let now = present(sh, site, host, print).await?;
            remove(sh, site, host, print, (&now, had)).await?;
            if !print.keeps.is_empty() && !had.archived {
                restore(sh, site, host, print, name, had).await?;
            }
        }
    }
    Ok(())
}

async fn remove(
    sh: Shell<'_>,
    site: &Site,
    host: &SiteHost,
    print: &Footprint,
    (now, had): (&HostBefore, &HostBefore),
) -> Result<(), Failure> {
    let units: Vec<&str> = print
        .units
        .iter()
        .filter(|unit| now.units.contains(**unit) && !had.units.contains(**unit))
        .copied()
        .collect();
    if !units.is_empty() {
        must(
            sh,
            site,
            host,
            &[&["systemctl", "disable", "--now"], units.as_slice()].concat(),
        )
        .await?;
    }
    let apt = [
        "env",
        "DEBIAN_FRONTEND=noninteractive",
        "apt-get",
        "-y",
        "-o",
        "DPkg::Lock::Timeout=600",
    ];
    let packages: Vec<&str> = print
        .packages
        .iter()
        .filter(|package| now.packages.contains(**package) && !had.packages.contains(**package))
        .copied()
        .collect();
    if !packages.is_empty() {
        let purge = ["purge", "--allow-change-held-packages"];
        must(sh, site, host, &[&apt, &purge[..], &packages].concat()).await?;
    }
    let mut paths: Vec<&str> = now
        .paths
        .difference(&had.paths)
        .map(String::as_str)
        .collect();
    // Units go last, so that an interrupted undo still knows what to stop.
    paths.sort_by_key(|path| path.starts_with("/etc/systemd/"));
    if !paths.is_empty() {
        must(
            sh,
            site,
            host,
            &[&["rm", "-rf", "--"], paths.as_slice()].concat(),
        )
        .await?;
        must(sh, site, host, &["systemctl", "daemon-reload"]).await?;
    }
    let back: Vec<&str> = print
        .removes
        .iter()
        .filter(|package| had.packages.contains(**package) && !now.packages.contains(**package))
        .copied()
        .collect();
    if !back.is_empty() {
        // The release's own packages may lack it; the machine's own sources come back after this step.
        sh.run(
            &site
                .on(host, &[&apt, &["install"][..], &back].concat())
                .timeout_ms(UNDO_MS),
        )
        .await?;
    }
    Ok(())
}
