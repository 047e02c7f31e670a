//! The table of what each measured fact says about each cause.

use super::cause::Cause;
use super::findings::{Answer, End, Findings, Part, View};

/// What a fact says about a cause.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Says {
    /// It shows it, also where nobody complains.
    Shows,
    /// It fits a complaint, and chooses this cause among its like.
    Fits,
    /// It speaks against it.
    Against,
}

/// A row of the table.
pub(super) struct Proof {
    pub(super) cause: Cause,
    pub(super) says: Says,
    /// The fact in words, if it is one here.
    pub(super) look: fn(&Findings) -> Option<String>,
}

const fn shows(cause: Cause, look: fn(&Findings) -> Option<String>) -> Proof {
    let says = Says::Shows;
    Proof { cause, says, look }
}

const fn fits(cause: Cause, look: fn(&Findings) -> Option<String>) -> Proof {
    let says = Says::Fits;
    Proof { cause, says, look }
}

const fn against(cause: Cause, look: fn(&Findings) -> Option<String>) -> Proof {
    let says = Says::Against;
    Proof { cause, says, look }
}

pub(super) static PROOFS: &[Proof] = &[
    shows(Cause::Hairpin, hairpin_shown),
    against(Cause::Hairpin, address_elsewhere),
    against(Cause::Hairpin, rule_never_met),
    against(Cause::Hairpin, rule_is_there),
    against(Cause::Hairpin, nodes_reach),
    shows(Cause::BridgedHairpin, bridged_shown),
    fits(Cause::BridgedHairpin, bridged_fits),
    against(Cause::BridgedHairpin, nodes_reach),
    shows(Cause::RouterLoopback, router_shown),
    fits(Cause::RouterLoopback, router_fits),
    against(Cause::RouterLoopback, nodes_reach),
    shows(Cause::Filtered, filter_shown),
    fits(Cause::Filtered, ruled_and_lost),
    against(Cause::Filtered, nodes_reach),
    shows(Cause::Refused, nothing_listens),
    against(Cause::Refused, no_forwarding),
    shows(Cause::NotForwarded, no_forwarding),
    against(Cause::NotForwarded, nodes_reach),
    against(Cause::Refused, nodes_reach),
    shows(Cause::NoRoute, node_is_lost),
    shows(Cause::NoSuchName, name_is_missing),
    against(Cause::NoSuchName, name_is_there),
    shows(Cause::AuthorityDns, name_is_missing_outside),
    shows(Cause::ClusterDns, cluster_dns_is_silent),
    shows(Cause::ClusterDns, dns_pods_are_sick),
    against(Cause::ClusterDns, cluster_dns_answers),
    fits(Cause::NotFound, address_is_another),
    against(Cause::NotFound, addresses_are_right),
    fits(Cause::OtherSite, address_is_another),
    shows(Cause::AuthorityUnauthorized, address_is_another_outside),
    shows(Cause::AuthorityCannotConnect, six_is_there),
    fits(Cause::AuthorityCannotConnect, nothing_arrived),
    fits(Cause::Ipv6Record, six_is_there),
    shows(Cause::Caa, caa_forbids),
    shows(Cause::SolverDown, solver_pods_are_sick),
    fits(Cause::SolverDown, image_is_missing),
    against(Cause::SolverDown, solver_pods_are_ready),
    shows(Cause::Egress, authority_is_lost),
    against(Cause::Egress, authority_is_reached),
    against(Cause::Egress, others_drop),
    shows(Cause::ManagerDown, manager_is_sick),
    shows(Cause::BrokenOff, ingress_is_sick),
    fits(Cause::IngressWebhook, ingress_is_sick),
];

fn lost(findings: &Findings) -> Vec<&str> {
    let mut from: Vec<&str> = findings
        .ways
        .iter()
        .filter(|way| way.end == End::Lost)
        .map(|way| way.from.as_str())
        .collect();
    from.dedup();
    from
}

/// `kubenode1 → kubenode2, …`: which pairs lose their packets.
fn pairs(findings: &Findings) -> String {
    let mut all: Vec<String> = Vec::new();
    let tried = match findings.flows.as_slice() {
        [] => &findings.ways,
        _ => &findings.flows,
    };
    for way in tried.iter().filter(|way| way.end == End::Lost) {
        let pair = match way.to.as_str() {
            "" => way.from.clone(),
            to => format!("{} → {to}", way.from),
        };
        if !all.contains(&pair) {
            all.push(pair);
        }
    }
    all.truncate(9);
    all.join(", ")
}

fn lost_packets(findings: &Findings) -> Option<String> {
    let tries = findings.ways.len();
    let lost = findings
        .ways
        .iter()
        .filter(|way| way.end == End::Lost)
        .count();
    (lost > 0).then(|| {
        format!(
            "{lost} of {tries} connections from the nodes to {}:80 get no answer ({})",
            findings.host_ip,
            pairs(findings)
        )
    })
}

fn hairpin_shown(f: &Findings) -> Option<String> {
    let ground = f.owned() == Some(true) && f.bridged == Some(false) && f.snat == Some(false);
    let interface = f.owner.clone().flatten().unwrap_or_default();
    let lost = lost_packets(f).filter(|_| ground && f.dnat != Some(false))?;
    Some(format!(
        "{lost}; {} belongs to {interface} of this machine, bridged packets are not translated on the bridge, and no hairpin rule is there",
        f.host_ip
    ))
}

fn address_elsewhere(f: &Findings) -> Option<String> {
    (f.owned() == Some(false)).then(|| {
        format!(
            "{} is no address of this machine: its rules never see these packets",
            f.host_ip
        )
    })
}

fn rule_never_met(f: &Findings) -> Option<String> {
    (f.bridged == Some(true)).then(|| {
        "net.bridge.bridge-nf-call-iptables is 1: packets are translated on the bridge and never meet the rule".to_owned()
    })
}

fn rule_is_there(f: &Findings) -> Option<String> {
    (f.snat == Some(true) && f.bridged == Some(false))
        .then(|| "the hairpin rule is in force".to_owned())
}

fn nodes_reach(f: &Findings) -> Option<String> {
    let all = !f.ways.is_empty() && f.ways.iter().all(|way| way.end == End::Answered);
    all.then(|| {
        let tries = f.ways.len();
        format!(
            "all {tries} connections from the nodes to {}:80 are answered now",
            f.host_ip
        )
    })
}

fn bridged_shown(f: &Findings) -> Option<String> {
    let ground = f.owned() == Some(true) && f.bridged == Some(true);
    lost_packets(f)
        .filter(|_| ground)
        .map(|lost| format!("{lost}, and net.bridge.bridge-nf-call-iptables is 1"))
}

fn bridged_fits(f: &Findings) -> Option<String> {
    let ground = f.owned() == Some(true) && f.bridged == Some(true);
    ground.then(|| "net.bridge.bridge-nf-call-iptables is 1".to_owned())
}

fn router_shown(f: &Findings) -> Option<String> {
    lost_packets(f)
        .filter(|_| f.owned() == Some(false))
        .map(|lost| format!("{lost}, and no interface of this machine has {}", f.host_ip))
}

fn router_fits(f: &Findings) -> Option<String> {
    (f.owned() == Some(false)).then(|| format!("no interface of this machine has {}", f.host_ip))
}

fn filter_shown(f: &Findings) -> Option<String> {
    let chain = f.droppers.first()?;
    (!lost(f).is_empty()).then(|| format!("{chain} drops what no rule of it lets through"))
}

fn others_drop(f: &Findings) -> Option<String> {
    let chain = f.droppers.first()?;
    Some(format!(
        "{chain} drops what no rule of it lets through, whatever else is open"
    ))
}

fn ruled_and_lost(f: &Findings) -> Option<String> {
    let ruled = f.owned() == Some(true) && f.snat == Some(true) && f.bridged == Some(false);
    lost_packets(f).filter(|_| ruled)
}

fn nothing_listens(f: &Findings) -> Option<String> {
    let refused: Vec<&str> = f
        .ingress
        .iter()
        .filter(|way| way.end == End::Refused)
        .map(|way| way.to.as_str())
        .collect();
    let from = f.ways.iter().find(|way| way.end == End::Refused);
    match (refused.as_slice(), from) {
        ([], None) => None,
        ([], Some(way)) => Some(format!(
            "from {}, nothing listens at {}:80",
            way.from, f.host_ip
        )),
        (nodes, _) => Some(format!(
            "the ingress controller does not listen on {}",
            nodes.join(", ")
        )),
    }
}

fn no_forwarding(f: &Findings) -> Option<String> {
    (f.dnat == Some(false)).then(|| "no rule forwards port 80 to the nodes".to_owned())
}

fn node_is_lost(f: &Findings) -> Option<String> {
    let mut nodes: Vec<&str> = f
        .ingress
        .iter()
        .filter(|way| way.end == End::Lost)
        .map(|way| way.to.as_str())
        .collect();
    nodes.dedup();
    (!nodes.is_empty()).then(|| format!("this machine does not reach {}", nodes.join(", ")))
}

fn told<'a>(f: &'a Findings, views: &'a dyn Fn(&View) -> bool) -> impl Iterator<Item = &'a Answer> {
    f.answers.iter().filter(move |answer| views(&answer.view))
}

fn missing(f: &Findings, views: &dyn Fn(&View) -> bool) -> Option<String> {
    let found = told(f, views).find(|answer| answer.a.is_empty())?;
    Some(format!(
        "{} knows no A record of {}",
        found.view, found.name
    ))
}

fn name_is_missing(f: &Findings) -> Option<String> {
    missing(f, &|_| true)
}

fn name_is_missing_outside(f: &Findings) -> Option<String> {
    missing(f, &|view| matches!(view, View::Public(_)))
}

fn name_is_there(f: &Findings) -> Option<String> {
    let complained = f.names_of(Cause::NoSuchName);
    let here = |view: &View| *view == View::Cluster;
    let all = !complained.is_empty()
        && complained
            .iter()
            .all(|name| told(f, &here).any(|answer| answer.name == *name && !answer.a.is_empty()));
    all.then(|| "the cluster's name server knows the name now".to_owned())
}

fn cluster_dns_is_silent(f: &Findings) -> Option<String> {
    let (view, why) = f.silent.iter().find(|(view, _)| *view == View::Cluster)?;
    Some(format!("{view} does not answer: {why}"))
}

fn cluster_dns_answers(f: &Findings) -> Option<String> {
    let answers = told(f, &|view| *view == View::Cluster).any(|answer| !answer.a.is_empty());
    answers.then(|| "the cluster's name server answers now".to_owned())
}

fn sick(f: &Findings, part: Part) -> Option<String> {
    let (_, pod, why) = f.sick.iter().find(|(known, _, _)| *known == part)?;
    Some(format!("{pod}: {why}"))
}

fn dns_pods_are_sick(f: &Findings) -> Option<String> {
    sick(f, Part::Dns)
}

fn another(f: &Findings, views: &dyn Fn(&View) -> bool) -> Option<String> {
    let wrong = |answer: &&Answer| !answer.a.is_empty() && answer.a != [f.host_ip.clone()];
    let found = told(f, views).find(wrong)?;
    Some(format!(
        "to {}, {} is {}, not {}",
        found.view,
        found.name,
        found.a.join(" and "),
        f.host_ip
    ))
}

fn address_is_another(f: &Findings) -> Option<String> {
    another(f, &|_| true)
}

fn address_is_another_outside(f: &Findings) -> Option<String> {
    another(f, &|view| matches!(view, View::Public(_)))
}

fn addresses_are_right(f: &Findings) -> Option<String> {
    let complained = f.names_of(Cause::NotFound);
    let here = |view: &View| *view == View::Cluster;
    let right = |name: &&str| {
        told(f, &here).any(|answer| answer.name == **name && answer.a == [f.host_ip.clone()])
    };
    let all = !complained.is_empty() && complained.iter().all(right);
    (all && f.owned() == Some(false)).then(|| "the names lead to the right address".to_owned())
}

fn six_is_there(f: &Findings) -> Option<String> {
    let found = f.answers.iter().find(|answer| !answer.aaaa.is_empty())?;
    Some(format!(
        "{} has the AAAA record {}, which is preferred and not forwarded",
        found.name,
        found.aaaa.join(" and ")
    ))
}

fn nothing_arrived(f: &Findings) -> Option<String> {
    (f.arrived == Some(0)).then(|| {
        "no packet from outside for port 80 has arrived since the rules were loaded".to_owned()
    })
}

/// Whether records leave Let's Encrypt out, as RFC 8659 reads them.
fn forbids(records: &[String]) -> bool {
    let mut issuers = records.iter().filter(|record| {
        let tag = record.split_whitespace().nth(1);
        tag.is_some_and(|tag| tag.eq_ignore_ascii_case("issue"))
    });
    let named = |record: &String| {
        let value = record.split('"').nth(1).unwrap_or_default();
        value.split(';').next().map(str::trim) == Some("letsencrypt.org")
    };
    let all: Vec<&String> = issuers.by_ref().collect();
    !all.is_empty() && !all.into_iter().any(named)
}

fn caa_forbids(f: &Findings) -> Option<String> {
    let found = f.answers.iter().find(|answer| forbids(&answer.caa))?;
    Some(format!(
        "the CAA records of {} are {}",
        found.name,
        found.caa.join(", ")
    ))
}

fn solver_pods_are_sick(f: &Findings) -> Option<String> {
    sick(f, Part::Solver)
}

fn solver_pods_are_ready(f: &Findings) -> Option<String> {
    let ready = f
        .parts
        .iter()
        .any(|(part, ready)| *part == Part::Solver && *ready > 0);
    (ready && sick(f, Part::Solver).is_none()).then(|| "the solver's pods are ready".to_owned())
}

fn image_is_missing(f: &Findings) -> Option<String> {
    let nodes: Vec<&str> = f
        .images
        .iter()
        .filter(|(_, there)| !there)
        .map(|(node, _)| node.as_str())
        .collect();
    (!nodes.is_empty()).then(|| {
        format!(
            "the image cert-manager-acmesolver is missing on {}",
            nodes.join(", ")
        )
    })
}

fn authority_is_lost(f: &Findings) -> Option<String> {
    let nodes: Vec<&str> = f
        .egress
        .iter()
        .filter(|way| way.from != HERE && matches!(way.end, End::Lost | End::Refused))
        .map(|way| way.from.as_str())
        .collect();
    (!nodes.is_empty()).then(|| {
        let here = f
            .egress
            .iter()
            .any(|way| way.from == HERE && way.end == End::Answered);
        let more = if here {
            ", which this machine does"
        } else {
            ""
        };
        format!("{} cannot reach the authority{more}", nodes.join(", "))
    })
}

/// How this machine is named among those that try something.
pub(crate) const HERE: &str = "this machine";

fn authority_is_reached(f: &Findings) -> Option<String> {
    let mut nodes = f.egress.iter().filter(|way| way.from != HERE).peekable();
    let all = nodes.peek().is_some() && nodes.all(|way| way.end == End::Answered);
    all.then(|| "the nodes reach the authority now".to_owned())
}

fn manager_is_sick(f: &Findings) -> Option<String> {
    let none = f
        .parts
        .iter()
        .any(|(part, ready)| *part == Part::Manager && *ready == 0);
    sick(f, Part::Manager).or_else(|| none.then(|| "no pod of cert-manager is ready".to_owned()))
}

fn ingress_is_sick(f: &Findings) -> Option<String> {
    sick(f, Part::Ingress)
}
