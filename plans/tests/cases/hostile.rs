//! Hostile texts in the settings: they are refused, or nothing in them means anything to a shell or an option parser.

use proptest::prelude::*;
use wiab_plans::{MachineSettings, Settings, wiab_staging};

type Set = fn(&mut Settings, String);

/// Settings that reach command lines, and how each is set.
const SETTINGS: [(&str, Set); 17] = [
    ("name", |all, text| all.name = text),
    ("domain", |all, text| all.domain = text),
    ("cert_email", |all, text| all.cert_email = text),
    ("host_ip", |all, text| all.host_ip = text),
    ("user", |all, text| all.user = text),
    ("deploy_dir", |all, text| all.deploy_dir = Some(text)),
    ("packages", |all, text| all.host.extra_packages = vec![text]),
    ("groups", |all, text| all.host.groups = vec![text]),
    ("resolvers", |all, text| {
        all.preflight.resolvers = vec![text];
    }),
    ("network", |all, text| all.network.name = text),
    ("bridge", |all, text| all.network.bridge = text),
    ("vm domain", |all, text| all.network.domain = text),
    ("pool", |all, text| all.vms.pool = text),
    ("mac", |all, text| {
        let own = MachineSettings {
            mac: Some(text),
            ..MachineSettings::default()
        };
        all.vms.machines.insert("datanode1".to_owned(), own);
    }),
    ("artifact", |all, text| all.artifact.source = Some(text)),
    ("wan", |all, text| all.traffic.wan = Some(text)),
    ("comment", |all, text| all.traffic.comment = text),
];

/// Something harmless with something hostile in it.
fn hostile() -> impl Strategy<Value = String> {
    let part = prop::sample::select(vec![
        "'", "\"", " ", "\n", "$(id)", "`id`", ";id", "&", "|", ">x", "\\", "\0", "\t", "ö", "*",
        "{a,b}", "~", "#", "!",
    ]);
    let base = prop::sample::select(vec![
        "",
        "wire",
        "wire.example.org",
        "a@wire.example.org",
        "203.0.113.10",
        "/srv/wire",
        "https://a.example/b.tgz",
        "eth0",
        "52:54:00:57:00:10",
    ]);
    let based = base.clone();
    let broken = (base, part, any::<prop::sample::Index>()).prop_map(|(base, part, at)| {
        let at = at.index(base.len() + 1);
        format!("{}{part}{}", &base[..at], &base[at..])
    });
    prop_oneof![4 => broken, 1 => based.prop_map(|base| format!("-{base}")), 1 => options()]
}

fn options() -> impl Strategy<Value = String> {
    prop::sample::select(vec!["--help", "-oProxyCommand=id", "-", "--"]).prop_map(str::to_owned)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_hostile_text_is_refused_or_means_nothing(at in 0..SETTINGS.len(), text in hostile()) {
        let (name, set) = SETTINGS[at];
        let mut settings = Settings::rehearsal();
        set(&mut settings, text.clone());
        if settings.problems().is_empty() {
            prop_assert!(wiab_staging(&settings).is_ok());
            let plain = |c: char| c.is_ascii_alphanumeric() || "._-+:/@".contains(c);
            // Comment and interface are quoted texts of nft, an URL one argument of curl.
            let quoted = |c: char| !c.is_control() && !matches!(c, '"' | '\\');
            let good = match name {
                "wan" => text.chars().all(quoted) && !text.starts_with('-'),
                "comment" => text.chars().all(quoted),
                "artifact" if text.starts_with("https://") => !text.chars().any(char::is_whitespace),
                _ => text.chars().all(plain) && !text.starts_with('-'),
            };
            prop_assert!(good, "{name} = {text:?} is accepted");
        }
    }
}
