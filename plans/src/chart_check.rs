//! Validation of the settings of the charts.

use wiab_engine::text::nearest;
use wiab_steps::release::Chart;

use crate::check::Problems;
use crate::settings::Settings;

impl Settings {
    /// Names of charts and of the calling node.
    pub(crate) fn check_charts(&self, problems: &mut Problems) {
        let charts = &self.charts;
        let overlays = self.overlays.keys().filter(|name| *name != "inventory");
        let known = || Chart::ALL.iter().map(|chart| chart.name());
        for name in charts.skip.iter().chain(overlays) {
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
        problems.check(
            (60..=7_200).contains(&charts.timeout_s),
            "charts.timeout_s",
            &format!("{}s", charts.timeout_s),
            "use 1 minute to 2 hours",
        );
        problems.check(
            !(self.certs.rehearse && self.certs.staging),
            "certs.rehearse",
            "true",
            "use it without certs.staging: test certificates need no rehearsal with test certificates",
        );
        problems.check(
            (60..=86_400).contains(&self.certs.wait_timeout_s),
            "certs.wait_timeout_s",
            &format!("{}s", self.certs.wait_timeout_s),
            "use 1 minute to 1 day",
        );
    }
}
