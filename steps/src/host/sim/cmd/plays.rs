//! What the release's playbooks say while they run: plays, tasks, and how long they take.

const MINUTE_MS: u64 = 60_000;

/// A playbook.
#[derive(Debug)]
pub(super) struct Book {
    name: &'static str,
    /// One of the tags that it must be limited to; `None` for a run without `--tags`.
    tag: Option<&'static str>,
    pub(super) plays: &'static [PlayText],
    pub(super) took_ms: u64,
}

/// A play: the beginning of the names of its machines, and its tasks.
#[derive(Debug)]
pub(super) struct PlayText {
    pub(super) name: &'static str,
    hosts: &'static [&'static str],
    pub(super) tasks: &'static [&'static str],
}

impl PlayText {
    /// Whether a machine is one of the play's.
    pub(super) fn aims_at(&self, host: &str) -> bool {
        self.hosts.iter().any(|start| host.starts_with(start))
    }
}

/// The playbook of that name, run with these tags.
pub(super) fn book(name: &str, tags: Option<&str>) -> Option<&'static Book> {
    BOOKS.iter().find(|book| {
        let tagged = match (book.tag, tags) {
            (None, None) => true,
            (Some(tag), Some(tags)) => tags.split(',').any(|one| one == tag),
            _ => false,
        };
        book.name == name && tagged
    })
}

const KUBE: &[&str] = &["kubenode"];
const DATA: &[&str] = &["datanode"];

const BOOKS: &[Book] = &[
    Book {
        name: "setup-offline-sources.yml",
        tag: None,
        plays: &[
            PlayText {
                name: "assethost",
                hosts: &["assethost"],
                tasks: &[
                    "Copy debs jammy",
                    "Copy binaries",
                    "Copy system containers",
                    "Copy helm containers",
                    "Install assethost service",
                    "RUNNING HANDLER Restart assethost",
                ],
            },
            PlayText {
                name: "k8s-cluster:etcd:cassandra:elasticsearch:minio:rmq-cluster:postgresql",
                hosts: &["kubenode", "datanode"],
                tasks: &[
                    "Bail if GPG is not installed",
                    "Remove /etc/apt/sources.list",
                    "Add offline repo key",
                    "Set up offline repo",
                    "Apt update",
                ],
            },
        ],
        took_ms: 6 * MINUTE_MS,
    },
    Book {
        name: "kubernetes.yml",
        tag: Some("container-engine"),
        plays: &[PlayText {
            name: "Prepare for etcd install",
            hosts: KUBE,
            tasks: &[
                "bootstrap-os : Assign inventory name to unconfigured hostnames",
                "kubernetes/preinstall : Disable swap",
                "kubernetes/preinstall : Ensure kube-bench parameters are set",
                "container-engine/runc : Download runc",
                "container-engine/containerd : Copy containerd config file",
                "RUNNING HANDLER container-engine/containerd : Containerd | restart containerd",
            ],
        }],
        took_ms: 6 * MINUTE_MS,
    },
    Book {
        name: "kubernetes.yml",
        tag: None,
        plays: &[
            PlayText {
                name: "Install etcd",
                hosts: KUBE,
                tasks: &[
                    "etcd : Gen_certs | write masters certs",
                    "etcd : Configure etcd",
                    "RUNNING HANDLER etcd : Reload etcd",
                ],
            },
            PlayText {
                name: "Install the control plane",
                hosts: KUBE,
                tasks: &[
                    "kubernetes/control-plane : Kubeadm | Initialize first master",
                    "kubernetes/control-plane : Joining control plane node to the cluster",
                    "network_plugin/calico : Start Calico resources",
                    "kubernetes-apps/ansible : Kubernetes Apps | Start Resources",
                    "kubernetes/client : Copy admin kubeconfig to ansible host",
                ],
            },
        ],
        took_ms: 16 * MINUTE_MS,
    },
    Book {
        name: "roles-external/kubespray/reset.yml",
        tag: None,
        plays: &[PlayText {
            name: "Reset cluster",
            hosts: KUBE,
            tasks: &[
                "reset : Reset | stop services",
                "reset : Reset | remove services",
            ],
        }],
        took_ms: 3 * MINUTE_MS,
    },
    Book {
        name: "seed-offline-containerd.yml",
        tag: None,
        plays: &[PlayText {
            name: "Seed system containers",
            hosts: KUBE,
            tasks: &["load containers", "load helm containers"],
        }],
        took_ms: 14 * MINUTE_MS,
    },
    Book {
        name: "sync_time.yml",
        tag: None,
        plays: &[PlayText {
            name: "cassandra",
            hosts: DATA,
            tasks: &[
                "install ntp",
                "configure the authoritative server",
                "restart ntp",
                "print date",
            ],
        }],
        took_ms: MINUTE_MS / 3,
    },
    Book {
        name: "cassandra.yml",
        tag: None,
        plays: &[PlayText {
            name: "cassandra",
            hosts: DATA,
            tasks: &[
                "ansible-cassandra : Install java",
                "ansible-cassandra : Download Cassandra",
                "ansible-cassandra : Configure Cassandra",
                "ansible-cassandra : Start Cassandra",
                "ansible-cassandra : Wait for port 9042",
            ],
        }],
        took_ms: 9 * MINUTE_MS / 2,
    },
    Book {
        name: "elasticsearch.yml",
        tag: None,
        plays: &[PlayText {
            name: "elasticsearch",
            hosts: DATA,
            tasks: &[
                "ansible-elasticsearch : Ensure Elasticsearch package is installed",
                "ansible-elasticsearch : Copy configuration",
                "RUNNING HANDLER ansible-elasticsearch : restart elasticsearch",
            ],
        }],
        took_ms: 3 * MINUTE_MS,
    },
    Book {
        name: "minio.yml",
        tag: None,
        plays: &[PlayText {
            name: "minio",
            hosts: DATA,
            tasks: &[
                "ansible-minio : Download the Minio server",
                "ansible-minio : Configure minio",
                "ansible-minio : Start minio",
                "Create buckets",
                "Add service accounts",
            ],
        }],
        took_ms: 5 * MINUTE_MS / 2,
    },
    Book {
        name: "postgresql-deploy.yml",
        tag: None,
        plays: &[PlayText {
            name: "postgresql",
            hosts: DATA,
            tasks: &[
                "postgresql : Install PostgreSQL packages",
                "postgresql : Configure primary",
                "postgresql : Register primary with repmgr",
                "postgresql : Clone standby from primary",
                "postgresql : Create the wire database",
            ],
        }],
        took_ms: 25 * MINUTE_MS / 2,
    },
    Book {
        name: "roles/rabbitmq-cluster/tasks/configure_dns.yml",
        tag: None,
        plays: &[PlayText {
            name: "rmq-cluster",
            hosts: DATA,
            tasks: &["Add hosts of the cluster to /etc/hosts"],
        }],
        took_ms: MINUTE_MS / 3,
    },
    Book {
        name: "rabbitmq.yml",
        tag: None,
        plays: &[PlayText {
            name: "rmq-cluster",
            hosts: DATA,
            tasks: &[
                "rabbitmq-cluster : Install RabbitMQ",
                "rabbitmq-cluster : Set the erlang cookie",
                "rabbitmq-cluster : Join the cluster",
                "rabbitmq-cluster : Add the user",
            ],
        }],
        took_ms: 4 * MINUTE_MS,
    },
];
