//! From evidence to cause and remedy: a table, first match first. What is not in it stays unknown, with its evidence.

use wiab_engine::outcome::Failure;

use super::evidence::{Case, Evidence};
use crate::release::{Chart, POSTGRES_SECRET};

/// Longest quoted line, in characters.
const QUOTE_MAX: usize = 300;

/// What was found, and what to do about it.
struct Verdict {
    code: &'static str,
    why: String,
    hint: String,
    /// Whether it goes away by itself.
    passes: bool,
}

/// A known cause that shows by a sign in a log, an event or helm's own words.
struct Known {
    code: &'static str,
    signs: &'static [&'static str],
    /// The cause. `{chart}` stands for the chart.
    why: &'static str,
    /// The remedy.
    hint: &'static str,
    passes: bool,
}

const fn known(
    code: &'static str,
    signs: &'static [&'static str],
    why: &'static str,
    hint: &'static str,
) -> Known {
    Known {
        code,
        signs,
        why,
        hint,
        passes: false,
    }
}

const KNOWN: &[Known] = &[
    known(
        "helm.pg-password",
        &["password authentication failed for user"],
        "PostgreSQL refuses the password that the values of {chart} hold: it is not that of the secret {secret}",
        "write the values from the secret's password again and install: wiab apply --only pg.secrets,sec.render-helm,helm.{chart}",
    ),
    known(
        "helm.cassandra",
        &[
            "Cannot achieve consistency level",
            "Unavailable {",
            "NoHostAvailable",
        ],
        "the migration of Cassandra's schema needs all three nodes, and not all of them are up",
        "see which node is not UN: wiab apply --only data.verify:cassandra; start cassandra there, then wiab apply --resume",
    ),
    known(
        "helm.cassandra-schema",
        &[
            "Column family ID mismatch",
            "SchemaDisagreement",
            "schema versions",
        ],
        "the nodes of Cassandra have different versions of the schema; a migration may have been interrupted, or their clocks differ",
        "wait until `nodetool describecluster` shows one version and compare the clocks of datanode1-3: wiab apply --only data.verify:cassandra; then wiab apply --resume",
    ),
    known(
        "helm.rabbitmq",
        &["Handshake failed", "ACCESS_REFUSED"],
        "RabbitMQ refuses the credentials that the values of {chart} hold",
        "compare `rabbitmqctl list_users` on datanode1 with the sealed set, and set them alike: wiab apply --only rmq.install,sec.render-helm,helm.{chart}",
    ),
    known(
        "helm.elasticsearch-mapping",
        &["illegal_argument_exception", "illegal_argument"],
        "the index of Elasticsearch has a mapping that this release cannot change (400 illegal_argument)",
        "create a new index and reindex into it, or delete the index `directory`, which wire-server fills again; then wiab apply --resume",
    ),
    Known {
        code: "helm.webhook",
        signs: &["failed calling webhook"],
        why: "a webhook that checks the objects of {chart} does not answer yet",
        hint: "it needs up to a minute after its installation; see its pods: wiab apply --only helm.cert-manager,cm.webhook-ready,helm.ingress-nginx-controller; then wiab apply --resume",
        passes: true,
    },
    known(
        "helm.service-missing",
        &["Name or service not known", "no such host"],
        "a service that {chart} needs does not exist or leads nowhere",
        "install the chart that brings it (the line names it), with addresses in its values; then wiab apply --resume",
    ),
    known(
        "helm.kinds-missing",
        &["no matches for kind"],
        "kinds that {chart} uses are not known to the cluster: cert-manager brings them",
        "install cert-manager first: wiab apply --only helm.cert-manager; then wiab apply --resume",
    ),
    Known {
        code: "helm.pending",
        signs: &["another operation (install/upgrade/rollback) is in progress"],
        why: "somebody else's helm works on {chart}, or was killed in the middle",
        hint: "make sure that no helm runs; then wiab apply --resume, which recovers the release",
        passes: true,
    },
];

/// The failure that evidence makes.
pub(super) fn failure(chart: Chart, evidence: &Evidence) -> Failure {
    let verdict = images(evidence)
        .or_else(|| signs(chart, evidence))
        .or_else(|| placement(chart, evidence))
        .unwrap_or_else(|| unknown(chart, evidence));
    let failure = Failure::dirty(verdict.why)
        .code(verdict.code)
        .hint(verdict.hint);
    if verdict.passes {
        failure.retry()
    } else {
        failure
    }
}

fn quoted(line: &str) -> String {
    line.trim().chars().take(QUOTE_MAX).collect()
}

/// There is no registry: an image that is not on its node never comes.
fn images(evidence: &Evidence) -> Option<Verdict> {
    let missing: Vec<&Case> = evidence
        .cases
        .iter()
        .filter(|case| {
            matches!(
                case.sick.reason.as_str(),
                "ImagePullBackOff" | "ErrImagePull" | "ErrImageNeverPull" | "InvalidImageName"
            )
        })
        .collect();
    let first = missing.first()?;
    let (image, node) = (&first.sick.image, &first.sick.node);
    let others = match missing.len() {
        1 => String::new(),
        count => format!(" (and {} more containers lack theirs)", count - 1),
    };
    let hint = if image.contains("@sha256:") {
        "the archive of images keeps names and tags, no digests: name the image with repository and tag in values.d, as the release's own image list has it; then wiab apply --resume".to_owned()
    } else {
        format!(
            "bring it onto the node: wiab apply --only k8s.seed-helm:{node}; then wiab apply --resume"
        )
    };
    Some(Verdict {
        code: "helm.image-missing",
        why: format!(
            "{node} does not have image {image} of pod {}, and there is no registry{others}",
            first.sick.pod
        ),
        hint,
        passes: false,
    })
}

/// Signs in the words of containers, of the cluster, of helm.
fn signs(chart: Chart, evidence: &Evidence) -> Option<Verdict> {
    let said = evidence.cases.iter().flat_map(|case| {
        let lines = case.log.lines().rev();
        let lines = lines.chain(case.events.iter().map(String::as_str));
        lines.map(move |line| (Some(case), line))
    });
    let helm = evidence.helm.lines().map(|line| (None, line));
    let lines: Vec<(Option<&Case>, &str)> = said.chain(helm).collect();
    for known in KNOWN {
        let hit = lines
            .iter()
            .find(|(_, line)| known.signs.iter().any(|sign| line.contains(sign)));
        let Some((case, line)) = hit else {
            continue;
        };
        let place = case.map_or_else(
            || "helm".to_owned(),
            |case| format!("pod {}", case.sick.pod),
        );
        let fill = |text: &str| {
            text.replace("{chart}", chart.name())
                .replace("{secret}", POSTGRES_SECRET)
        };
        return Some(Verdict {
            code: known.code,
            why: format!("{}. {place} says: {}", fill(known.why), quoted(line)),
            hint: fill(known.hint),
            passes: known.passes,
        });
    }
    None
}

/// Pods without a node, services without a load balancer.
fn placement(chart: Chart, evidence: &Evidence) -> Option<Verdict> {
    if let Some(name) = evidence.balanced.first() {
        return Some(Verdict {
            code: "helm.load-balancer",
            why: format!(
                "service {name} is of type LoadBalancer, and there is none: it never becomes ready"
            ),
            hint: format!(
                "remove the service's type from values.d/{chart}.yaml: NodePort is what the host forwards to; then wiab apply --resume"
            ),
            passes: false,
        });
    }
    let unplaced = evidence
        .cases
        .iter()
        .find(|case| case.sick.reason == "Unschedulable")?;
    Some(Verdict {
        code: "helm.unschedulable",
        why: format!(
            "no node takes pod {}: {}",
            unplaced.sick.pod,
            quoted(&unplaced.sick.message)
        ),
        hint: format!(
            "compare the node that the values of {chart} name with `kubectl get nodes`, and the memory it asks for with theirs; then wiab apply --resume"
        ),
        passes: false,
    })
}

fn unknown(chart: Chart, evidence: &Evidence) -> Verdict {
    let mut parts = Vec::new();
    let last = evidence
        .helm
        .lines()
        .rev()
        .find(|line| !line.trim().is_empty());
    parts.extend(last.map(|line| format!("helm says: {}", quoted(line))));
    if !evidence.waiting.is_empty() {
        parts.push(format!("not ready: {}", evidence.waiting));
    }
    for case in &evidence.cases {
        let last = case.log.lines().rev().find(|line| !line.trim().is_empty());
        let words = last
            .or(case.events.last().map(String::as_str))
            .unwrap_or(&case.sick.message);
        parts.push(format!(
            "pod {} ({}): {}",
            case.sick.pod,
            case.sick.reason,
            quoted(words)
        ));
    }
    Verdict {
        code: "helm.failed",
        why: format!("chart {chart} did not come up; {}", parts.join("; ")),
        hint: "the step's evidence has the events and the last lines of each failing pod; correct the cause, then wiab apply --resume".to_owned(),
        passes: false,
    }
}

#[cfg(test)]
mod tests {
    use super::super::pods::Sick;
    use super::*;

    fn case(reason: &str, image: &str, log: &str) -> Evidence {
        let sick = Sick {
            pod: "brig-1".to_owned(),
            container: "brig".to_owned(),
            node: "kubenode2".to_owned(),
            image: image.to_owned(),
            reason: reason.to_owned(),
            message: String::new(),
            restarts: 3,
        };
        let log = log.to_owned();
        Evidence {
            cases: vec![Case {
                sick,
                events: Vec::new(),
                log,
            }],
            ..Evidence::default()
        }
    }

    fn helm(text: &str) -> Evidence {
        Evidence {
            helm: text.to_owned(),
            ..Evidence::default()
        }
    }

    #[test]
    #[expect(clippy::too_many_lines, reason = "a table")]
    fn every_cause_has_one_verdict() {
        let crash = |log: &str| case("CrashLoopBackOff", "quay.io/wire/brig:1", log);
        let table = [
            (
                case("ImagePullBackOff", "quay.io/wire/brig:1", ""),
                "helm.image-missing",
                "k8s.seed-helm:kubenode2",
            ),
            (
                case("ErrImagePull", "x/nginx@sha256:00", ""),
                "helm.image-missing",
                "values.d",
            ),
            (
                crash("a\nFATAL:  password authentication failed for user \"wire-server\"\n"),
                "helm.pg-password",
                "pg.secrets",
            ),
            (
                crash("Cannot achieve consistency level ALL"),
                "helm.cassandra",
                "data.verify",
            ),
            (
                crash("ConfigurationException: Column family ID mismatch (found x; expected y)"),
                "helm.cassandra-schema",
                "describecluster",
            ),
            (
                crash("ConnectionClosedException Abnormal \"Handshake failed\""),
                "helm.rabbitmq",
                "list_users",
            ),
            (
                crash("{\"error\":{\"type\":\"illegal_argument_exception\"},\"status\":400}"),
                "helm.elasticsearch-mapping",
                "reindex",
            ),
            (
                helm(
                    "Error: failed calling webhook \"webhook.cert-manager.io\": connection refused",
                ),
                "helm.webhook",
                "cm.webhook-ready",
            ),
            (
                helm("Error: no matches for kind \"Certificate\""),
                "helm.kinds-missing",
                "cert-manager",
            ),
            (
                helm("Error: another operation (install/upgrade/rollback) is in progress"),
                "helm.pending",
                "recovers",
            ),
            (
                crash("getAddrInfo: does not exist (Name or service not known)"),
                "helm.service-missing",
                "addresses",
            ),
            (
                case("Unschedulable", "", ""),
                "helm.unschedulable",
                "get nodes",
            ),
            (crash("something else entirely"), "helm.failed", "evidence"),
            (helm(""), "helm.failed", "evidence"),
        ];
        for (evidence, code, hint) in table {
            let failure = failure(Chart::WireServer, &evidence);
            assert_eq!(failure.code, code, "{failure:?}");
            assert!(
                failure.hint.as_deref().unwrap().contains(hint),
                "{failure:?}"
            );
            assert!(
                !failure.why.contains('{') || failure.why.contains("says: {"),
                "{failure:?}"
            );
        }
    }

    #[test]
    fn the_unknown_keeps_its_evidence() {
        let evidence = case("CrashLoopBackOff", "i", "line 1\nthe last word\n\n");
        let failure = failure(Chart::Webapp, &evidence);
        assert!(
            failure
                .why
                .contains("brig-1 (CrashLoopBackOff): the last word"),
            "{failure:?}"
        );
    }
}
