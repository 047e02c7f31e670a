//! Unit files, as far as the small service manager understands them.

use crate::text;

/// Where units are looked for; the first wins.
pub(crate) const DIRS: [&str; 3] = [
    "/etc/systemd/system",
    "/usr/lib/systemd/system",
    "/lib/systemd/system",
];

/// A unit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Unit {
    /// Its whole name: `minio-server1.service`.
    pub(crate) name: String,
    /// The lines of its file and of what is laid over it.
    lines: Vec<String>,
}

/// The whole name of a unit.
pub(crate) fn whole(name: &str) -> String {
    let known = [".service", ".timer", ".target"];
    if known.iter().any(|end| name.ends_with(end)) {
        name.to_owned()
    } else {
        format!("{name}.service")
    }
}

/// The file of a unit; that of its template for an instance.
pub(crate) fn file(name: &str) -> Option<String> {
    let name = whole(name);
    let mut names = vec![name.clone()];
    if let (Some((base, rest)), Some((_, end))) = (name.split_once('@'), name.rsplit_once('.'))
        && rest.contains('.')
    {
        names.push(format!("{base}@.{end}"));
    }
    let paths = names
        .iter()
        .flat_map(|name| DIRS.iter().map(move |dir| format!("{dir}/{name}")));
    paths
        .into_iter()
        .find(|path| std::fs::metadata(path).is_ok_and(|meta| meta.is_file()))
}

impl Unit {
    /// The unit of that name.
    pub(crate) fn load(name: &str) -> Option<Self> {
        let (name, path) = (whole(name), file(name)?);
        let mut lines: Vec<String> = text(&path).lines().map(str::to_owned).collect();
        for dir in DIRS {
            let entries = std::fs::read_dir(format!("{dir}/{name}.d"));
            let mut over: Vec<_> = entries.into_iter().flatten().flatten().collect();
            over.sort_by_key(std::fs::DirEntry::file_name);
            for entry in over {
                lines.extend(
                    text(&entry.path().display().to_string())
                        .lines()
                        .map(str::to_owned),
                );
            }
        }
        Some(Self { name, lines })
    }

    /// The last value of a key.
    pub(crate) fn value(&self, key: &str) -> Option<&str> {
        let mut lines = self.lines.iter().rev();
        lines.find_map(|line| {
            line.trim()
                .strip_prefix(key)?
                .strip_prefix('=')
                .map(str::trim)
        })
    }

    /// Program and arguments.
    pub(crate) fn command(&self) -> Vec<String> {
        let line = self.value("ExecStart").unwrap_or_default();
        line.split_whitespace().map(str::to_owned).collect()
    }

    /// Whether it comes back when it ends.
    pub(crate) fn comes_back(&self) -> bool {
        matches!(self.value("Restart"), Some("always" | "on-failure"))
    }

    /// The target that starts it, if it can be enabled.
    pub(crate) fn target(&self) -> Option<&str> {
        self.value("WantedBy")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_of_a_key_counts() {
        let unit = Unit {
            name: "x.service".to_owned(),
            lines: [
                "[Service]",
                "ExecStart=/bin/x a b",
                "Restart=no",
                "Restart=always",
            ]
            .map(str::to_owned)
            .to_vec(),
        };
        assert_eq!(unit.command(), ["/bin/x", "a", "b"]);
        assert!(unit.comes_back());
        assert_eq!(unit.target(), None);
        assert_eq!(whole("ntp"), "ntp.service");
        assert_eq!(whole("a.timer"), "a.timer");
    }
}
