//! The secrets: made once, adopted from what runs already, written where ansible and helm look for them.

use wiab_steps::kind::{Handle, Input};
use wiab_steps::kinds::dirs::Dirs;
use wiab_steps::kinds::secrets_rendered::SecretsRendered;
use wiab_steps::kinds::secrets_rotated::SecretsRotated;
use wiab_steps::kinds::secrets_sealed::{AdoptFile, SecretsSealed};
use wiab_steps::kinds::secrets_target::Target;
use wiab_steps::kinds::tool::Toolbox;
use wiab_steps::release::Chart;
use wiab_steps::secrets::{Cluster, Form, Kubectl};

use super::Staging;

/// Ansible's file of secrets.
const ANSIBLE: &str = "ansible/inventory/offline/group_vars/all/secrets.yaml";
/// The namespace of the charts.
const NAMESPACE: &str = "default";
/// What wire-server gets. A release that does not know a value ignores it.
const WIRE_SERVER: Form = Form::WireServer {
    sms: true,
    background_worker_postgresql: true,
};

/// The charts that get secrets.
const HELM: [(Chart, Form); 3] = [
    (Chart::WireServer, WIRE_SERVER),
    (Chart::Coturn, Form::Coturn),
    (Chart::TeamSettings, Form::TeamSettings),
];

/// The files that carry secrets.
pub(super) struct SecretFiles {
    /// Ansible's.
    pub(super) ansible: Handle<SecretsRendered>,
    /// Those of the charts, by chart.
    pub(super) helm: Vec<(Chart, Input<String>)>,
    /// The rotation, if one is asked for.
    pub(super) rotated: Option<Handle<SecretsRotated>>,
}

impl Staging<'_> {
    /// The file with a chart's secrets.
    pub(super) fn secrets_of(&self, chart: &str) -> String {
        self.in_deploy(&format!(".wiab/values/{chart}.secrets.yaml"))
    }

    /// Values that an earlier installation by hand already uses are adopted, those of a running cluster first.
    pub(super) fn secrets(
        &mut self,
        dirs: &Handle<Dirs>,
        toolbox: Option<&Toolbox>,
    ) -> Handle<SecretsSealed> {
        let file = |path: &str, form: Form| AdoptFile {
            path: self.in_deploy(path),
            form,
        };
        let sealed = SecretsSealed {
            path: self.settings.sealed_path(),
            adopt: vec![
                file(ANSIBLE, Form::Ansible),
                file("values/wire-server/secrets.yaml", WIRE_SERVER),
                file("values/coturn/secrets.yaml", Form::Coturn),
            ],
            cluster: toolbox.map(|toolbox| Cluster {
                kubectl: Kubectl::Toolbox(toolbox.clone()),
                kubeconfig: self.in_deploy("ansible/inventory/offline/artifacts/admin.conf"),
                namespace: NAMESPACE.to_owned(),
            }),
        };
        self.plan.add("sec.generate", &[dirs], &sealed)
    }

    /// The rotation, if one is asked for.
    fn rotated(&mut self, sealed: &Handle<SecretsSealed>) -> Option<Handle<SecretsRotated>> {
        let rotation = self.settings.rotation.as_ref()?;
        let rotated = SecretsRotated {
            sealed: self.settings.sealed_path(),
            label: rotation.label.clone(),
            names: rotation.secrets.clone(),
        };
        Some(self.plan.add("rot.seal", &[sealed], &rotated))
    }

    pub(super) fn secret_files(&mut self, sealed: &Handle<SecretsSealed>) -> SecretFiles {
        let rotated = self.rotated(sealed);
        let path = match &rotated {
            Some(rotated) => rotated.output(&SecretsRotated::PATH),
            None => sealed.output(&SecretsSealed::PATH),
        };
        let ansible = SecretsRendered {
            sealed: path.clone(),
            targets: vec![Target {
                path: self.in_deploy(ANSIBLE),
                form: Form::Ansible,
            }],
        };
        let ansible = self.plan.add("sec.render-ansible", &[], &ansible);
        let helm = HELM.map(|(chart, form)| {
            let rendered = SecretsRendered {
                sealed: path.clone(),
                targets: vec![Target {
                    path: self.secrets_of(chart.name()),
                    form,
                }],
            };
            let id = format!("sec.render-helm:{chart}");
            let handle = self.plan.add(&id, &[], &rendered);
            (chart, handle.output(&SecretsRendered::PATH))
        });
        SecretFiles {
            ansible,
            helm: helm.into(),
            rotated,
        }
    }
}
