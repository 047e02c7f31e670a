//! The charts, under the names of the release's own: the workloads, services and objects that they bring, with the real values
//! as their input.

use wiab_steps::host::sim::{StandIn, StandInChart, StandInPart};

use super::Text;

/// What a chart brings besides workloads and services: chart, file, text.
const MORE: [(&str, &str, &str); 4] = [
    (
        "cert-manager",
        "crds.yaml",
        include_str!("../../release/charts/cert-manager-crds.yaml"),
    ),
    (
        "nginx-ingress-services",
        "ingress.yaml",
        include_str!("../../release/charts/nginx-ingress-services.yaml"),
    ),
    (
        "sftd",
        "ingress.yaml",
        include_str!("../../release/charts/sftd.yaml"),
    ),
    (
        "ingress-nginx-controller",
        "nodeport.yaml",
        include_str!("../../release/charts/ingress-nginx-controller.yaml"),
    ),
];
/// The workload whose service a file of its own brings.
const CONTROLLER: &str = "ingress-nginx-controller";
/// Names that every workload has.
const LABELS: &str = "{app: NAME, release: {{ .Release.Name }}}";

/// All charts of the release.
pub(super) fn all(release: &StandIn) -> Vec<Text> {
    release.charts().iter().flat_map(files).collect()
}

fn files(chart: &StandInChart) -> Vec<Text> {
    let dir = format!("charts/{}", chart.name);
    let (name, version) = (chart.name, chart.version);
    let description = format!("apiVersion: v2\nname: {name}\nversion: {version}\n");
    let mut objects: Vec<String> = chart
        .parts
        .iter()
        .map(|part| workload(chart.name, part))
        .collect();
    let own = chart.parts.iter().filter(|part| part.kind != "Job");
    let own = own
        .map(|part| part.name.as_str())
        .filter(|name| *name != CONTROLLER);
    let named = chart.services.iter().copied();
    objects.extend(own.chain(named).map(service));
    objects.push(settings(chart.name));
    let mut files = vec![
        (format!("{dir}/Chart.yaml"), description),
        (format!("{dir}/values.yaml"), "{}\n".to_owned()),
        (
            format!("{dir}/templates/objects.yaml"),
            objects.join("---\n"),
        ),
    ];
    let more = MORE.iter().filter(|(of, ..)| *of == chart.name);
    files.extend(
        more.map(|(_, file, text)| (format!("{dir}/templates/{file}"), (*text).to_owned())),
    );
    files
}

/// How many pods: what the values say, of the part or of the whole chart.
fn replicas(chart: &str, part: &StandInPart) -> Option<String> {
    let usual = part.replicas?;
    let name = &part.name;
    let own = match (chart, name.as_str()) {
        ("wire-server", _) => format!("(index .Values \"{name}\" | default dict)"),
        ("sftd", "sftd-join-call") => "(index .Values \"joinCall\" | default dict)".to_owned(),
        _ => ".Values".to_owned(),
    };
    Some(format!("{{{{ ({own}).replicaCount | default {usual} }}}}"))
}

fn workload(chart: &str, part: &StandInPart) -> String {
    let StandInPart {
        name, kind, image, ..
    } = part;
    let labels = LABELS.replace("NAME", name);
    // Its own default is named by its digest, which no archive of images keeps: values name it by its tag.
    let image = match name.as_str() {
        "sftd-join-call" => format!(
            "{{{{- $i := (.Values.joinCall).image | default dict }}}}{{{{ if $i.tag }}}}{{{{ $i.repository }}}}:{{{{ $i.tag }}}}{{{{ else }}}}{image}{{{{ end }}}}"
        ),
        _ => image.clone(),
    };
    // Pods are made anew when a value changes.
    let pod = format!(
        "    metadata:\n      labels: {labels}\n      annotations: {{checksum/values: {{{{ toJson .Values | sha256sum }}}}}}\n\
         \x20   spec:\n      containers: [{{name: {name}, image: \"{image}\"}}]\n"
    );
    if *kind == "Job" {
        return format!(
            "apiVersion: batch/v1\nkind: Job\nmetadata:\n  name: {name}\n  labels: {labels}\n  annotations: {{\"helm.sh/hook\": \"pre-install,pre-upgrade\", \
             \"helm.sh/hook-delete-policy\": before-hook-creation}}\nspec:\n  template:\n{pod}      restartPolicy: Never\n"
        );
    }
    let count =
        replicas(chart, part).map_or_else(String::new, |count| format!("  replicas: {count}\n"));
    let headless = match *kind {
        "StatefulSet" => format!("  serviceName: {name}\n  podManagementPolicy: Parallel\n"),
        _ => String::new(),
    };
    format!(
        "apiVersion: apps/v1\nkind: {kind}\nmetadata:\n  name: {name}\n  labels: {labels}\nspec:\n{count}{headless}  selector:\n    \
         matchLabels: {labels}\n  template:\n{pod}"
    )
}

fn service(name: &str) -> String {
    let labels = LABELS.replace("NAME", name);
    let addresses = match name {
        "postgresql-external-rw" => "RWIPs",
        "postgresql-external-ro" => "ROIPs",
        name if name.ends_with("-external") => "IPs",
        _ => {
            return format!(
                "apiVersion: v1\nkind: Service\nmetadata: {{name: {name}, labels: {labels}}}\nspec:\n  selector: {labels}\n  \
                 ports: [{{name: main, port: 8080, protocol: TCP}}]\n"
            );
        }
    };
    // Machines outside the cluster.
    format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: {name}, labels: {labels}}}\nspec:\n  clusterIP: None\n  \
         ports: [{{name: main, port: 8080, protocol: TCP}}]\n---\n\
         apiVersion: v1\nkind: Endpoints\nmetadata: {{name: {name}, labels: {labels}}}\nsubsets:\n  - addresses:\n\
         {{{{- range .Values.{addresses} }}}}\n      - ip: {{{{ . | quote }}}}\n{{{{- end }}}}\n    \
         ports: [{{name: main, port: 8080, protocol: TCP}}]\n"
    )
}

/// The chart's values as pods would read them: secret ones apart.
fn settings(chart: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Secret\nmetadata: {{name: {chart}-values, labels: {{release: {{{{ .Release.Name }}}}}}}}\n\
         data: {{values.json: {{{{ toJson .Values | b64enc | quote }}}}}}\n"
    )
}
