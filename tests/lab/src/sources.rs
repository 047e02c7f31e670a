//! Reads the package sources that the outer machine is configured with, so that the lab installs from the same place.

/// One package source: one suite at one address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Source {
    /// Options as they stand in a one-line entry, such as `signed-by=/path`.
    pub(crate) options: Vec<String>,
    /// The archive's address.
    pub(crate) uri: String,
    /// The suite, such as `bookworm-updates`.
    pub(crate) suite: String,
    /// The components, such as `main`.
    pub(crate) components: Vec<String>,
}

impl Source {
    /// The one-line form that `sources.list` and mmdebstrap take.
    pub(crate) fn line(&self) -> String {
        let options = if self.options.is_empty() {
            String::new()
        } else {
            format!("[{}] ", self.options.join(" "))
        };
        format!(
            "deb {options}{} {} {}",
            self.uri,
            self.suite,
            self.components.join(" ")
        )
    }
}

/// Reads a file in the one-line format.
pub(crate) fn one_line(text: &str) -> Vec<Source> {
    text.lines().filter_map(one_entry).collect()
}

fn one_entry(line: &str) -> Option<Source> {
    let line = line.split('#').next()?.trim();
    let rest = line.strip_prefix("deb")?;
    if !rest.starts_with([' ', '\t', '[']) {
        return None;
    }
    let rest = rest.trim_start();
    let (options, rest) = match rest.strip_prefix('[') {
        Some(bracket) => bracket.split_once(']')?,
        None => ("", rest),
    };
    let mut words = rest.split_whitespace().map(str::to_owned);
    Some(Source {
        options: options.split_whitespace().map(str::to_owned).collect(),
        uri: words.next()?,
        suite: words.next()?,
        components: words.collect(),
    })
}

/// Reads a file in the deb822 format: stanzas of fields.
pub(crate) fn deb822(text: &str) -> Vec<Source> {
    let mut found = Vec::new();
    let plain: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
    for stanza in plain.split(|line| line.trim().is_empty()) {
        found.extend(stanza_sources(stanza));
    }
    found
}

fn stanza_sources(stanza: &[&str]) -> Vec<Source> {
    let mut fields: Vec<(String, String)> = Vec::new();
    for line in stanza {
        if line.starts_with([' ', '\t']) {
            if let Some((_, value)) = fields.last_mut() {
                value.push(' ');
                value.push_str(line.trim());
            }
        } else if let Some((name, value)) = line.split_once(':') {
            fields.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
    }
    let words = |wanted: &str| -> Vec<String> {
        let value = fields
            .iter()
            .find(|(name, _)| name == wanted)
            .map_or("", |(_, value)| value);
        value.split_whitespace().map(str::to_owned).collect()
    };
    let types = words("types");
    if !types.iter().any(|kind| kind == "deb") || words("enabled").iter().any(|word| word == "no") {
        return Vec::new();
    }
    let mut options = Vec::new();
    // A key that is written into the stanza itself has no one-line form; apt's own trusted keys then decide.
    options.extend(
        words("signed-by")
            .first()
            .filter(|key| key.starts_with('/'))
            .map(|key| format!("signed-by={key}")),
    );
    options.extend(
        words("trusted")
            .first()
            .map(|word| format!("trusted={word}")),
    );
    let mut found = Vec::new();
    for uri in words("uris") {
        for suite in words("suites") {
            found.push(Source {
                options: options.clone(),
                uri: uri.clone(),
                suite,
                components: words("components"),
            });
        }
    }
    found
}

/// Of everything configured, the distribution's own archives of the release `codename`: main component only.
pub(crate) fn of_release(all: &[Source], codename: &str) -> Vec<Source> {
    let wanted = |suite: &str| {
        let suite = suite.trim_end_matches('/');
        suite == codename
            || ["-updates", "-security", "/updates"]
                .iter()
                .any(|end| suite == format!("{codename}{end}"))
    };
    let mut found: Vec<Source> = Vec::new();
    for source in all {
        if wanted(&source.suite) && source.components.iter().any(|name| name == "main") {
            let source = Source {
                components: vec!["main".to_owned()],
                ..source.clone()
            };
            if !found
                .iter()
                .any(|other| other.uri == source.uri && other.suite == source.suite)
            {
                found.push(source);
            }
        }
    }
    found
}

/// The backports archive that belongs to the release's main archive.
pub(crate) fn backports(release: &[Source], codename: &str) -> Option<Source> {
    let main = release.iter().find(|source| source.suite == codename)?;
    Some(Source {
        suite: format!("{codename}-backports"),
        ..main.clone()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEB822: &str = "Types: deb
# a comment inside
URIs: http://archive.example/debian
Suites: bookworm bookworm-updates
Components: main contrib
Signed-By: /usr/share/keyrings/a.gpg

Types: deb-src
URIs: http://archive.example/debian
Suites: bookworm
Components: main

Enabled: no
Types: deb
URIs: http://off.example/
Suites: bookworm
Components: main

Types: deb
URIs: http://other.example/
Suites: nodistro
Components: main
";

    #[test]
    fn reads_both_formats_to_the_same_sources() {
        let listed = one_line(
            "# deb http://no.example x main\ndeb-src http://no.example bookworm main\n\
             deb [signed-by=/usr/share/keyrings/a.gpg] http://archive.example/debian bookworm main contrib # why\n\
             deb [signed-by=/usr/share/keyrings/a.gpg] http://archive.example/debian bookworm-updates main contrib\n\
             deb http://other.example/ nodistro main\n",
        );
        let stanzas = deb822(DEB822);
        let lines = |all: &[Source]| all.iter().map(Source::line).collect::<Vec<_>>();
        let release = of_release(&listed, "bookworm");
        assert_eq!(release, of_release(&stanzas, "bookworm"));
        assert_eq!(
            lines(&release),
            [
                "deb [signed-by=/usr/share/keyrings/a.gpg] http://archive.example/debian bookworm main",
                "deb [signed-by=/usr/share/keyrings/a.gpg] http://archive.example/debian bookworm-updates main",
            ]
        );
        assert_eq!(
            backports(&release, "bookworm")
                .map(|source| source.line())
                .unwrap(),
            "deb [signed-by=/usr/share/keyrings/a.gpg] http://archive.example/debian bookworm-backports main"
        );
    }

    #[test]
    fn drops_an_embedded_key() {
        let text = "Types: deb\nURIs: http://a.example\nSuites: s\nComponents: main\nSigned-By:\n -----BEGIN PGP\n .\n x\n";
        assert_eq!(deb822(text)[0].line(), "deb http://a.example s main");
    }
}
