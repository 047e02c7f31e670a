//! Validation of the settings of the charts.

use wiab_engine::text::nearest;
use wiab_steps::release::Chart;

use crate::check::Problems;
use crate::machines::{MACHINES, Role};
use crate::settings::Settings;

impl Settings {
    /// Names of charts and of the calling node.
    pub(crate) fn check_charts(&self, problems: &mut Problems) {
        let charts = &self.charts;
        let known = || Chart::ALL.iter().map(|chart| chart.name());
        for name in charts.skip.iter().chain(charts.overlays.keys()) {
            if known().any(|chart| chart == name) {
                continue;
            }
            let near = nearest(name, known());
            let remedy = near.map_or_else(
                || "use the name that the chart has in the release".to_owned(),
                |near| format!("did you mean `{near}`?"),
            );
            problems.add("charts.skip", format!("there is no chart `{name}`"), remedy);
        }
        problems.check(
            [Chart::Smtp, Chart::DemoSmtp]
                .map(Chart::name)
                .contains(&charts.smtp.as_str()),
            "charts.smtp",
            &charts.smtp,
            "use `smtp` or `demo-smtp`",
        );
        let mut nodes = MACHINES.iter().filter(|row| row.role == Role::Kube);
        problems.check(
            charts.calling_node.is_empty() || nodes.any(|row| row.name == charts.calling_node),
            "charts.calling_node",
            &charts.calling_node,
            "use kubenode1, kubenode2 or kubenode3, or an empty text for an installation without calls",
        );
        problems.check(
            (60..=7_200).contains(&charts.timeout_s),
            "charts.timeout_s",
            &format!("{}s", charts.timeout_s),
            "use 1 minute to 2 hours",
        );
    }
}
