//! The playbooks, under the names of the release's own.

use super::Text;

/// Name below `ansible`, text.
const BOOKS: [(&str, &str); 12] = [
    (
        "setup-offline-sources.yml",
        include_str!("../../release/ansible/setup-offline-sources.yml"),
    ),
    (
        "kubernetes.yml",
        include_str!("../../release/ansible/kubernetes.yml"),
    ),
    (
        "seed-offline-containerd.yml",
        include_str!("../../release/ansible/seed-offline-containerd.yml"),
    ),
    (
        "roles-external/kubespray/reset.yml",
        include_str!("../../release/ansible/reset.yml"),
    ),
    (
        "sync_time.yml",
        include_str!("../../release/ansible/sync_time.yml"),
    ),
    (
        "cassandra.yml",
        include_str!("../../release/ansible/cassandra.yml"),
    ),
    (
        "elasticsearch.yml",
        include_str!("../../release/ansible/elasticsearch.yml"),
    ),
    ("minio.yml", include_str!("../../release/ansible/minio.yml")),
    (
        "postgresql-deploy.yml",
        include_str!("../../release/ansible/postgresql-deploy.yml"),
    ),
    (
        "roles/rabbitmq-cluster/tasks/configure_dns.yml",
        include_str!("../../release/ansible/configure_dns.yml"),
    ),
    (
        "rabbitmq.yml",
        include_str!("../../release/ansible/rabbitmq.yml"),
    ),
    (
        "helm_external.yml",
        include_str!("../../release/ansible/helm_external.yml"),
    ),
];

/// All of them.
pub(super) fn all() -> Vec<Text> {
    let book = |(name, text): (&str, &str)| (format!("ansible/{name}"), text.to_owned());
    BOOKS.map(book).to_vec()
}
