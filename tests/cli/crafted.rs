//! Journals written event by event: what a run on a real machine left, without that machine.

use std::path::Path;
use std::sync::Arc;

use wiab_engine::event::{
    CureOutcome, CureTried, Diagnosed, Event, Evidence, EvidenceTaken, Limits, ObligationOpened,
    OnFailure, RetryPlanned, RunEnded, RunOpened, StepCaptured, StepFailed, StepStarted, Suspect,
};
use wiab_engine::id::{RunId, StepId};
use wiab_engine::outcome::{Before, Failure, Outcome, Probe, UndoClass};
use wiab_engine::plan::{Plan, RetryPolicy, StepSpec};
use wiab_engine::record::{EventRender, batch};
use wiab_journal::{Journal, Options};

use super::harness::Site;

/// The run that is written.
pub(super) const RUN: RunId = RunId([
    1, 0x9a, 0, 0, 0, 0, 0x70, 0, 0xa1, 0xb2, 0xc3, 0xd4, 0xe5, 0xf6, 7, 8,
]);
/// 2026-11-24 12:00:00Z.
const BEGAN_MS: u64 = 1_795_521_600_000;

fn id(text: &str) -> StepId {
    StepId::new(text).unwrap()
}

fn spec(name: &str, kind: &str, after: &[&str]) -> StepSpec {
    StepSpec {
        id: id(name),
        kind: kind.to_owned(),
        summary: format!("{name} as wanted"),
        undo_summary: String::new(),
        after: after.iter().map(|name| id(name)).collect(),
        lanes: vec![],
        undo: UndoClass::NothingToUndo,
        idempotent: true,
        retry: RetryPolicy::NEVER,
        timeout_ms: 1,
        usual_ms: 1,
        inputs: "{}".to_owned(),
    }
}

fn suspect(cause: &str, meaning: &str, facts: [&[&str]; 2], cure: (Option<&str>, &str)) -> Suspect {
    let texts = |facts: &[&str]| facts.iter().map(|text| (*text).to_owned()).collect();
    Suspect {
        cause: cause.to_owned(),
        meaning: meaning.to_owned(),
        facts_for: texts(facts[0]),
        facts_against: texts(facts[1]),
        step: cure.0.map(str::to_owned),
        cure: cure.1.to_owned(),
    }
}

/// Writes events with seconds since the beginning.
pub(super) struct Scribe {
    journal: Journal,
}

impl Scribe {
    pub(super) fn at(dir: &Path) -> Self {
        fs_err::create_dir_all(dir).unwrap();
        let options = Options::new(Arc::new(EventRender));
        Self {
            journal: Journal::open(dir, options).unwrap(),
        }
    }

    fn event(&self, at_s: u64, event: impl Into<Event>) {
        let time_ms = BEGAN_MS + at_s * 1_000;
        let batch = batch(RUN, time_ms, "op@adminhost 4711", &[event.into()]).unwrap();
        self.journal.append(batch).unwrap();
    }

    fn evidence(&self, at_s: u64, topic: &str, summary: &str, body: &str) {
        let blob = self.journal.blobs().put(body.as_bytes()).unwrap();
        let taken = EvidenceTaken {
            step: id("cert.wait:web"),
            attempt: 1,
            topic: topic.to_owned(),
            summary: summary.to_owned(),
            body: Evidence {
                hash: blob.hash,
                bytes: blob.bytes,
            },
        };
        self.event(at_s, taken);
    }

    /// A run whose certificate fails for the hairpin, is cured, fails again for DNS, and falls over while a rule is owed.
    pub(super) fn certificates(self) {
        self.begin();
        self.first_trouble();
        self.cure();
        let wait = id("cert.wait:web");
        self.event(
            190,
            StepFailed {
                step: wait,
                attempt: 1,
                failure: Failure::dirty(
                    "the authority finds no address for webapp.example.org: NXDOMAIN looking up A for webapp.example.org",
                )
                .hint("create the record  webapp.example.org. A 203.0.113.10  and resume")
                .code("cert.ca.dns"),
                evidence: None,
                took_ms: 188_000,
            },
        );
        self.event(
            190,
            RunEnded {
                outcome: Outcome::FailedKept,
            },
        );
        self.journal.close().unwrap();
    }

    fn begin(&self) {
        let plan = Plan {
            name: "wiab-staging".to_owned(),
            steps: vec![
                spec("hc:cert-manager", "helm.release/1", &[]),
                spec("cert.wait:web", "cert.ready/1", &["hc:cert-manager"]),
                spec("e2e.https:webapp", "https.answers/1", &["cert.wait:web"]),
            ],
        };
        let opened = RunOpened {
            plan,
            limits: Limits {
                width: 8,
                on_failure: OnFailure::Keep,
                fail_fast: false,
            },
            host: "local".to_owned(),
            tool: "0.1.0".to_owned(),
            command_line: "wiab apply".to_owned(),
        };
        self.event(0, opened);
        self.release();
        self.wait_begins();
    }

    fn release(&self) {
        let release = id("hc:cert-manager");
        for attempt in 1..=2 {
            self.event(
                attempt.into(),
                StepStarted {
                    step: release.clone(),
                    attempt,
                },
            );
            if attempt == 1 {
                let failure = Failure::clean("the API did not answer").retry();
                self.event(
                    1,
                    StepFailed {
                        step: release.clone(),
                        attempt,
                        failure,
                        evidence: None,
                        took_ms: 900,
                    },
                );
                self.event(
                    1,
                    RetryPlanned {
                        step: release.clone(),
                        attempt: 2,
                        delay_ms: 1_000,
                    },
                );
            }
        }
        self.event(
            2,
            wiab_engine::event::StepSucceeded {
                step: release,
                attempt: 2,
                how: wiab_engine::outcome::How::Adopted,
                receipt: wiab_engine::outcome::Receipt::default(),
                evidence: None,
                took_ms: 100,
            },
        );
    }

    fn wait_begins(&self) {
        let wait = id("cert.wait:web");
        self.event(
            2,
            StepStarted {
                step: wait.clone(),
                attempt: 1,
            },
        );
        self.event(
            3,
            StepCaptured {
                step: wait,
                attempt: 1,
                before: Before::Nothing,
                found: Probe::Partial {
                    what: "example-org-csr is being issued".to_owned(),
                },
            },
        );
    }

    fn first_trouble(&self) {
        self.evidence(
            40,
            "challenge",
            "webapp.example.org pending: self check timed out",
            "Waiting for HTTP-01 challenge propagation: failed to perform self check GET request\n\
             context deadline exceeded (Client.Timeout exceeded while awaiting headers)\n",
        );
        self.evidence(
            41,
            "nft",
            "DNAT to 3 nodes, no hairpin rule",
            "table ip nat {\n}\n",
        );
        self.evidence(
            42,
            "connect",
            "kubenode1 cannot reach 203.0.113.10:80, the host can",
            "kubenode1 time-out\nhost open\n",
        );
        let ranking = vec![
            suspect(
                "hairpin",
                "packets of a node to the public address do not come back",
                [
                    &[
                        "the self-check timed out",
                        "a node cannot reach 203.0.113.10:80",
                        "the machine owns the address",
                    ],
                    &[],
                ],
                (Some("hp.snat"), "wiab apply --only hp.snat"),
            ),
            suspect(
                "dns.nxdomain",
                "a record is missing",
                [
                    &["one resolver answers NXDOMAIN"],
                    &["the cluster resolves the name"],
                ],
                (None, "create the record"),
            ),
        ];
        self.event(
            43,
            Diagnosed {
                step: id("cert.wait:web"),
                attempt: 1,
                ranking,
                unknown: vec!["a log line that fits no signature: \"quux\"".to_owned()],
                chosen: Some("hairpin".to_owned()),
            },
        );
    }

    fn cure(&self) {
        let wait = id("cert.wait:web");
        self.event(
            44,
            ObligationOpened {
                step: wait.clone(),
                attempt: 1,
                id: "nat.wire-hairpin-dnat-virbr0".to_owned(),
                what: "a temporary rule in ip nat POSTROUTING, comment wire-hairpin-dnat-virbr0"
                    .to_owned(),
                settle: "wiab apply --resume, or delete the rule by hand".to_owned(),
            },
        );
        self.event(
            44,
            CureTried {
                step: wait.clone(),
                attempt: 1,
                cause: "hairpin".to_owned(),
                what: "insert the hairpin rule and renew".to_owned(),
                by: Some("hp.snat".to_owned()),
            },
        );
        self.event(
            60,
            wiab_engine::event::CureEnded {
                step: wait,
                attempt: 1,
                cause: "hairpin".to_owned(),
                outcome: CureOutcome::Worked,
                seen: "the self-check of all names passes".to_owned(),
            },
        );
        self.evidence(
            185,
            "order",
            "the authority: NXDOMAIN looking up A for webapp.example.org",
            "DNS problem: NXDOMAIN looking up A for webapp.example.org\n",
        );
        let dns = suspect(
            "ca.dns",
            "the authority finds no address for webapp.example.org",
            [
                &[
                    "the challenge is invalid: dns",
                    "a public resolver answers NXDOMAIN",
                ],
                &[],
            ],
            (
                None,
                "create the record  webapp.example.org. A 203.0.113.10",
            ),
        );
        self.event(
            186,
            Diagnosed {
                step: id("cert.wait:web"),
                attempt: 1,
                ranking: vec![dns],
                unknown: vec![],
                chosen: Some("ca.dns".to_owned()),
            },
        );
    }
}

/// A site whose journal holds that run.
pub(super) fn site() -> Site {
    let site = Site::with("host = \"sim\"\nplan = \"steps\"\n");
    Scribe::at(&site.path("state/wiab-sim/journal")).certificates();
    site
}
