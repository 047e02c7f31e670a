//! The playbooks of the data nodes, but for that of `PostgreSQL`.

use super::super::super::files;
use super::super::super::inside::{self, Entry, GuestUnit};
use super::super::super::state::Draft;
use super::super::guest_data::{CASSANDRA, ELASTIC, MINIO, RABBIT};
use super::super::guest_units::install;
use super::{Run, TaskFailure, apt, failed, unit};

const SCHEMA: &str = "e84b6a60-24cf-30ca-9b58-452d92911703\n";
const SECRETS: &str = "/wire-server-deploy/ansible/inventory/offline/group_vars/all/secrets.yaml";

/// Writes a file that later runs leave as it is.
fn once(draft: &mut Draft<'_>, vm: &str, path: &str, text: &str) {
    if inside::file(draft, vm, path).is_none() {
        inside::write(draft, vm, path, text);
    }
}

pub(super) fn sync_time(draft: &mut Draft<'_>, run: &Run<'_>) -> Result<(), TaskFailure> {
    apt(draft, run, "install ntp")?;
    let first = run
        .of("datanode")
        .next()
        .map_or("", |host| host.ip.as_str());
    for host in run.of("datanode") {
        let vm = &host.name;
        inside::put_package(draft, vm, "systemd-timesyncd", false);
        inside::put_unit(draft, vm, "systemd-timesyncd", None);
        install(draft, vm, "ntp");
        let server = if host.ip == first {
            String::new()
        } else {
            format!("server {first} prefer\n")
        };
        inside::write(
            draft,
            vm,
            "/etc/ntp.conf",
            &format!("pool 0.ubuntu.pool.ntp.org iburst\n{server}"),
        );
        inside::put_unit(draft, vm, "ntp", Some(GuestUnit::ON));
        inside::del(draft, vm, "clock/skew_ms");
        draft.mark_half();
    }
    Ok(())
}

pub(super) fn cassandra(draft: &mut Draft<'_>, run: &Run<'_>) -> Result<(), TaskFailure> {
    apt(draft, run, "Install java")?;
    for host in run.of("datanode") {
        let vm = &host.name;
        install(draft, vm, "libjemalloc2");
        install(draft, vm, "openjdk-8-jre-headless");
        inside::write(
            draft,
            vm,
            "/opt/apache-cassandra-3.11.19/bin/nodetool",
            "nodetool\n",
        );
        inside::write(
            draft,
            vm,
            "/opt/cassandra",
            "-> /opt/apache-cassandra-3.11.19\n",
        );
        let sysctl = inside::text(draft, vm, "/etc/sysctl.conf").unwrap_or_default();
        if !sysctl.contains("max_map_count") {
            inside::write(
                draft,
                vm,
                "/etc/sysctl.conf",
                &(sysctl + "vm.max_map_count=1048575\n"),
            );
        }
        once(draft, vm, CASSANDRA, SCHEMA);
        once(
            draft,
            vm,
            "/var/spool/cron/crontabs/cassandra",
            "0 0 * * 0 nodetool repair\n",
        );
        unit(draft, vm, "cassandra");
        draft.mark_half();
    }
    Ok(())
}

pub(super) fn elasticsearch(draft: &mut Draft<'_>, run: &Run<'_>) -> Result<(), TaskFailure> {
    apt(draft, run, "Ensure Elasticsearch package is installed")?;
    for host in run.of("datanode") {
        let vm = &host.name;
        install(draft, vm, "elasticsearch-oss");
        inside::write(
            draft,
            vm,
            "/etc/elasticsearch/elasticsearch.yml",
            "cluster.name: elasticsearch-directory\n",
        );
        inside::write(draft, vm, "/etc/default/elasticsearch", "ES_HEAP_SIZE=1g\n");
        inside::put_file(draft, vm, "/var/log/elasticsearch", &Entry::Dir);
        once(draft, vm, ELASTIC, "0\n");
        draft.mark_half();
    }
    Ok(())
}

pub(super) fn minio(draft: &mut Draft<'_>, run: &Run<'_>) -> Result<(), TaskFailure> {
    let secrets = run.call.path(draft, SECRETS);
    let first = run
        .of("datanode")
        .next()
        .map_or("", |host| host.name.as_str());
    if files::at(draft, &secrets).is_none() {
        return Err(failed(
            "Configure minio",
            first,
            "The task includes an option with an undefined variable. The error was: 'minio_access_key' is undefined",
        ));
    }
    for host in run.of("datanode") {
        let vm = &host.name;
        for program in ["minio", "mc"] {
            inside::write(draft, vm, &format!("/usr/local/bin/{program}"), "program\n");
        }
        for index in [1, 2] {
            inside::write(
                draft,
                vm,
                &format!("/etc/default/minio-server{index}"),
                "MINIO_CI_CD=1\n",
            );
            inside::write(
                draft,
                vm,
                &format!("/etc/default/minio-server{index}.pre"),
                "",
            );
            once(
                draft,
                vm,
                &format!("/var/lib/minio-server{index}/.minio.sys/format.json"),
                "{\"format\": \"xl\"}\n",
            );
            unit(draft, vm, &format!("minio-server{index}"));
        }
        draft.mark_half();
    }
    for host in run.of("datanode") {
        once(draft, &host.name, MINIO, "{\"format\": \"xl\"}\n");
        for bucket in ["dummy-bucket", "assets", "public", "k8ssandra-backups"] {
            inside::put_file(
                draft,
                &host.name,
                &format!("/var/lib/minio-server1/{bucket}"),
                &Entry::Dir,
            );
        }
    }
    inside::write(
        draft,
        first,
        "/root/.mc/config.json",
        "{\"aliases\": {\"local\": {}}}\n",
    );
    Ok(())
}

pub(super) fn names(draft: &mut Draft<'_>, run: &Run<'_>) {
    for host in run.of("datanode") {
        let mut hosts = inside::text(draft, &host.name, "/etc/hosts").unwrap_or_default();
        for other in run.of("datanode").filter(|other| other.name != host.name) {
            let line = format!("{} {} rabbit@{}\n", other.ip, other.name, other.name);
            if !hosts.contains(&line) {
                hosts += &line;
            }
        }
        inside::write(draft, &host.name, "/etc/hosts", &hosts);
        draft.mark_half();
    }
}

pub(super) fn rabbitmq(draft: &mut Draft<'_>, run: &Run<'_>) -> Result<(), TaskFailure> {
    apt(draft, run, "Install RabbitMQ")?;
    let members: Vec<String> = run
        .of("datanode")
        .map(|host| format!("rabbit@{}", host.name))
        .collect();
    for host in run.of("datanode") {
        let vm = &host.name;
        install(draft, vm, "rabbitmq-server");
        inside::write(
            draft,
            vm,
            "/etc/rabbitmq/rabbitmq.config",
            "[{rabbit, [{loopback_users, []}]}].\n",
        );
        inside::write(
            draft,
            vm,
            "/etc/default/rabbitmq-server",
            "ulimit -n 65536\n",
        );
        inside::write(draft, vm, "/var/lib/rabbitmq/.erlang.cookie", "cookie\n");
        inside::put_unit(draft, vm, "rabbitmq-server", Some(GuestUnit::ON));
        once(draft, vm, RABBIT, &format!("rabbit@{vm}\n"));
        inside::count(draft, vm, "broker-restarts");
        draft.mark_half();
    }
    for host in run.of("datanode") {
        let vm = &host.name;
        let hosts = inside::text(draft, vm, "/etc/hosts").unwrap_or_default();
        let master = members.first().map_or("", String::as_str);
        if *master != format!("rabbit@{vm}") && !hosts.contains(master) {
            let msg = format!(
                "Error: unable to perform an operation on node '{master}': nodedown (hostname cannot be resolved)"
            );
            return Err(failed("Join the cluster", vm, &msg));
        }
        inside::write(draft, vm, RABBIT, &(members.join(" ") + "\n"));
    }
    Ok(())
}
