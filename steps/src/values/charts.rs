//! The computed layer of every chart, each forced value with its reason.

use serde_json::{Value, json};

use super::sheet::{Sheet, swap};
use super::{DomainName, RenderError};
use crate::release::{Chart, JoinCall, Mls, SmtpShape};
use crate::yaml::{Document, YamlError, YamlPath};

/// Where wire-server's template names the domain in every known release.
const WIRE_SERVER: [&str; 25] = [
    "brig.config.externalUrls.nginz",
    "brig.config.externalUrls.teamSettings",
    "brig.config.externalUrls.teamCreatorWelcome",
    "brig.config.externalUrls.teamMemberWelcome",
    "brig.config.optSettings.setFederationDomain",
    "brig.config.optSettings.setSftStaticUrl",
    "brig.config.emailSMS.general.emailSender",
    "brig.config.emailSMS.user.passwordResetUrl",
    "brig.config.emailSMS.user.activationUrl",
    "brig.config.emailSMS.user.smsActivationUrl",
    "brig.config.emailSMS.user.deletionUrl",
    "brig.config.emailSMS.user.invitationUrl",
    "cargohold.config.aws.s3DownloadEndpoint",
    "cargohold.config.settings.federationDomain",
    "galley.config.settings.conversationCodeURI",
    "galley.config.settings.federationDomain",
    "nginz.nginx_conf.external_env_domain",
    "nginz.nginx_conf.deeplink.endpoints.backendURL",
    "nginz.nginx_conf.deeplink.endpoints.backendWSURL",
    "nginz.nginx_conf.deeplink.endpoints.teamsURL",
    "nginz.nginx_conf.deeplink.endpoints.accountsURL",
    "spar.config.domain",
    "spar.config.appUri",
    "spar.config.ssoUri",
    "background-worker.config.federationDomain",
];

const FRONTEND: [&str; 3] = [
    "config.externalUrls.backendRest",
    "config.externalUrls.backendDomain",
    "config.externalUrls.appHost",
];

const INGRESS: [&str; 6] = [
    "config.dns.https",
    "config.dns.ssl",
    "config.dns.webapp",
    "config.dns.fakeS3",
    "config.dns.teamSettings",
    "config.dns.accountPages",
];

/// Name of the issuer that the chart nginx-ingress-services creates.
const ISSUER: &str = "letsencrypt-http01";
/// Name of the redis service that the chart databases-ephemeral creates.
const REDIS: &str = "databases-ephemeral-redis-ephemeral";

/// Computes a chart's values.
pub(super) fn compute(sheet: &mut Sheet<'_>) -> Result<(), RenderError> {
    match sheet.chart {
        Chart::WireServer => wire_server(sheet)?,
        Chart::Webapp | Chart::AccountPages | Chart::TeamSettings => sheet.domain(&FRONTEND)?,
        Chart::NginxIngressServices => nginx_ingress_services(sheet)?,
        Chart::IngressNginxController => ingress_nginx_controller(sheet)?,
        Chart::Sftd => sftd(sheet)?,
        Chart::Coturn => coturn(sheet)?,
        Chart::Smtp => smtp(sheet)?,
        Chart::CassandraExternal
        | Chart::ElasticsearchExternal
        | Chart::MinioExternal
        | Chart::RabbitmqExternal => external(sheet)?,
        Chart::PostgresqlExternal => postgresql_external(sheet)?,
        Chart::DatabasesEphemeral
        | Chart::Reaper
        | Chart::FakeAws
        | Chart::DemoSmtp
        | Chart::CertManager
        | Chart::SmallstepAccomp => {}
    }
    Ok(())
}

fn wire_server(sheet: &mut Sheet<'_>) -> Result<(), YamlError> {
    sheet.domain(&WIRE_SERVER)?;
    if sheet.inputs.calling.is_some() {
        let ip = sheet.inputs.host_ip;
        let turn = json!([
            format!("turn:{ip}:3478"),
            format!("turn:{ip}:3478?transport=tcp")
        ]);
        sheet.fill("brig.turnStatic.v2", turn)?;
    }
    // The chart's own default names a service that no chart of the artifact creates; gundeck crashes then.
    sheet.force("gundeck.config.redis.host", REDIS)?;
    // Galley offers MLS, brig refuses it: logins in the web client fail. Later releases switch the flags off, too.
    let contradiction = Mls {
        brig: false,
        galley: true,
    };
    if sheet.release.features.mls == Some(contradiction) {
        for flag in ["mls", "mlsMigration"] {
            let path = format!("galley.config.settings.featureFlags.{flag}.defaults.status");
            sheet.fill(&path, "disabled")?;
        }
    }
    Ok(())
}

fn nginx_ingress_services(sheet: &mut Sheet<'_>) -> Result<(), YamlError> {
    sheet.domain(&INGRESS)?;
    sheet.fill("tls.useCertManager", true)?;
    sheet.fill(
        "certManager.certmasterEmail",
        sheet.inputs.cert_email.as_str(),
    )?;
    sheet.fill("certManager.inTestMode", sheet.inputs.acme_test)
}

fn ingress_nginx_controller(sheet: &mut Sheet<'_>) -> Result<(), YamlError> {
    // There is no load balancer: a service of that type never becomes ready, and the installation waits for it. Every
    // node must answer on the node ports that the host forwards to.
    sheet.force("ingress-nginx.controller.kind", "DaemonSet")?;
    sheet.force("ingress-nginx.controller.service.type", "NodePort")
}

fn sftd(sheet: &mut Sheet<'_>) -> Result<(), RenderError> {
    let node = calling(sheet)?.name.to_string();
    sheet.domain(&["allowOrigin", "host"])?;
    sheet.fill("tls.issuerRef.name", ISSUER)?;
    // All of them use the host's ports of one node: a second one never becomes ready.
    sheet.force("replicaCount", 1)?;
    sheet.force("joinCall.replicaCount", 1)?;
    if let Some(JoinCall::Brought { repository, tag }) = &sheet.release.features.join_call {
        // The chart's default image is not in the artifact, and there is no registry.
        sheet.force("joinCall.image.repository", repository.as_str())?;
        sheet.force("joinCall.image.tag", tag.as_str())?;
    }
    // The host forwards calls to this node alone.
    sheet.force(NODE_SELECTOR, node)?;
    Ok(())
}

const NODE_SELECTOR: &str = "nodeSelector.\"kubernetes.io/hostname\"";

fn calling<'a>(sheet: &Sheet<'a>) -> Result<&'a super::CallingNode, RenderError> {
    sheet
        .inputs
        .calling
        .as_ref()
        .ok_or_else(|| sheet.needs("the node of the calling services"))
}

fn coturn(sheet: &mut Sheet<'_>) -> Result<(), RenderError> {
    let node = calling(sheet)?.clone();
    sheet.fill("coturnTurnExternalIP", sheet.inputs.host_ip.to_string())?;
    sheet.fill("coturnTurnListenIP", node.ip.to_string())?;
    sheet.fill("coturnTurnRelayIP", node.ip.to_string())?;
    // One node has room for one: all use the same host ports.
    sheet.force("replicaCount", 1)?;
    // Without federation nothing may listen there; releases that set it hold a placeholder.
    sheet.drop("coturnFederationListeningIP")?;
    sheet.force(NODE_SELECTOR, node.name.as_str())?;
    Ok(())
}

fn smtp(sheet: &mut Sheet<'_>) -> Result<(), YamlError> {
    match sheet.release.features.smtp {
        // The chart reads everything below `smtp`. At the top the relay's networks are not applied: mail from pods is
        // refused, or the relay is open to all.
        Some(SmtpShape::Flat) => {
            for key in ["service", "config"] {
                if let Some(value) = sheet.get(key)? {
                    sheet.force(&format!("smtp.{key}"), value)?;
                }
            }
            Ok(())
        }
        Some(SmtpShape::Nested) | None => Ok(()),
    }
}

fn data_nodes(sheet: &Sheet<'_>) -> Result<Vec<Value>, RenderError> {
    let nodes = &sheet.inputs.data_nodes;
    if nodes.is_empty() {
        return Err(sheet.needs("the addresses of the data nodes"));
    }
    Ok(nodes.iter().map(|ip| json!(ip.to_string())).collect())
}

fn external(sheet: &mut Sheet<'_>) -> Result<(), RenderError> {
    let nodes = data_nodes(sheet)?;
    Ok(sheet.force("IPs", nodes)?)
}

fn postgresql_external(sheet: &mut Sheet<'_>) -> Result<(), RenderError> {
    let nodes = data_nodes(sheet)?;
    let (primary, replicas) = nodes.split_at(1);
    sheet.fill("RWIPs", primary.to_vec())?;
    Ok(sheet.fill("ROIPs", replicas.to_vec())?)
}

/// Where a document still holds what a template leaves for others to fill in.
pub(super) fn placeholders(document: &Document, domain: &DomainName) -> Vec<YamlPath> {
    document
        .texts(&YamlPath::root())
        .into_iter()
        .filter(|(_, text)| {
            let own = text.replace(domain.as_str(), "");
            swap(&own, "").is_some() || text.contains("__COTURN_")
        })
        .map(|(path, _)| path)
        .collect()
}
