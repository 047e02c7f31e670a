//! The stand-in release for those who make a real archive of it: its files, and what its archives and charts must hold.

use serde_json::Value;

use super::super::kube::charts::{self, Runs};
use super::super::kube::objects;
use super::{Release, archive_name};
use crate::release::Chart;

/// Longest text of a file that is handed out, in bytes.
const TEXT_MAX: u64 = 1 << 20;

/// A release in the layout of Wire's artifacts, without anything of Wire in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StandIn {
    release: Release,
}

/// A file of the release.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StandInFile {
    /// Path in the artifact.
    pub path: String,
    /// Its permissions.
    pub mode: u32,
    /// Its text; `None` for an archive, which has to be made.
    pub text: Option<String>,
}

/// A workload of a chart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StandInPart {
    /// Name of the workload.
    pub name: String,
    /// `Deployment`, `StatefulSet`, `DaemonSet`, or `Job` for one that runs before the others.
    pub kind: &'static str,
    /// How many pods, where the chart says so.
    pub replicas: Option<u32>,
    /// The image that it runs.
    pub image: String,
}

/// A chart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StandInChart {
    /// Its name.
    pub name: &'static str,
    /// Its version.
    pub version: &'static str,
    /// Its workloads.
    pub parts: Vec<StandInPart>,
    /// Services besides one of the name of each workload.
    pub services: &'static [&'static str],
}

impl StandIn {
    /// The release that an artifact of this hash holds.
    pub fn of(hash: &str) -> Self {
        Self {
            release: Release::usual(hash),
        }
    }

    /// The files, in the order of the artifact.
    pub fn files(&self) -> Vec<StandInFile> {
        let members = self.release.members().into_iter();
        let files = members.filter(|member| !member.is_dir());
        let file = files.map(|member| StandInFile {
            text: member
                .data
                .bytes(TEXT_MAX)
                .map(|bytes| String::from_utf8_lossy(&bytes).into_owned()),
            path: member.path,
            mode: member.mode,
        });
        file.collect()
    }

    /// The images of an archive: `containers-system`, `containers-helm` or, besides the tools, `containers-adminhost`.
    pub fn images(&self, archive: &str) -> Vec<String> {
        match archive {
            "containers-system" => self.release.system_images(),
            "containers-helm" => self.release.helm_images(),
            "containers-adminhost" => vec![self.release.zauth_image()],
            _ => Vec::new(),
        }
    }

    /// How an image's archive is called.
    pub fn archive_name(image: &str) -> String {
        archive_name(image)
    }

    /// The name of the image with the tools.
    pub fn tool_image(&self) -> String {
        self.release.tool_image().0
    }

    /// Names of what the machines download.
    pub fn binaries(&self) -> Vec<String> {
        let members = self.release.binaries().into_iter();
        let names = members.filter_map(|member| Some(member.path.rsplit('/').next()?.to_owned()));
        names.filter(|name| !name.is_empty()).collect()
    }

    /// The charts.
    pub fn charts(&self) -> Vec<StandInChart> {
        let there: Vec<String> = self.files().into_iter().map(|file| file.path).collect();
        let charts = Chart::ALL.iter().copied();
        let ours = charts.filter(|chart| there.contains(&chart.description()));
        ours.map(|chart| self.chart(chart)).collect()
    }

    fn chart(&self, chart: Chart) -> StandInChart {
        let (name, version) = (chart.name(), self.release.chart_version(chart));
        let listed = self.release.chart_images().into_iter();
        let listed: Vec<String> = listed
            .filter(|(of, _)| *of == name)
            .flat_map(|(_, images)| images)
            .collect();
        let images = objects::images(name, version, &listed, &Value::Null);
        let parts = charts::parts(name).iter().map(|part| StandInPart {
            name: part.name.to_owned(),
            kind: part.runs.kind(),
            replicas: match part.runs {
                Runs::Deployment(count) | Runs::StatefulSet(count) => Some(count),
                Runs::DaemonSet | Runs::PreHook => None,
            },
            image: images.get(part.name).cloned().unwrap_or_default(),
        });
        StandInChart {
            name,
            version,
            parts: parts.collect(),
            services: charts::services(name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_archives_and_charts_belong_together() {
        let release = StandIn::of("5b01f250e128db689715558bad6b5e532cf4a7a0");
        let files = release.files();
        let archives: Vec<&str> = files
            .iter()
            .filter(|file| file.text.is_none())
            .map(|file| file.path.as_str())
            .collect();
        assert_eq!(
            archives,
            [
                "binaries.tar",
                "containers-adminhost/container-wire-server-deploy.tgz",
                "containers-adminhost/quay.io_wire_zauth_5.32.0.tar",
                "containers-helm.tar",
                "containers-system.tar",
                "debs-jammy.tar",
            ]
        );
        assert!(release.binaries().contains(&"kubelet".to_owned()));
        assert!(release.images("containers-system").len() > 10);
        let charts = release.charts();
        let server = charts.iter().find(|chart| chart.name == "wire-server");
        let parts = &server.unwrap().parts;
        assert!(parts.iter().any(|part| part.kind == "Job"));
        assert!(parts.iter().all(|part| part.image.contains(':')));
    }
}
