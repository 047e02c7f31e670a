//! The operator's values: `values.d/NAME.yaml` beside `wiab.toml`, one file per chart and one for the inventory.

use std::collections::BTreeMap;
use std::path::Path;

use wiab_engine::text::nearest;
use wiab_steps::release::Chart;

use super::read_file;
use crate::exit::Code;
use crate::problem::Problem;

/// The directory's name.
const DIR: &str = "values.d";
/// The file for the ansible inventory.
const INVENTORY: &str = "inventory";

/// The texts beside a configuration file, by name. Other files than `*.yaml` are not looked at.
pub(crate) fn beside(config: &Path) -> Result<BTreeMap<String, String>, Problem> {
    let dir = config.parent().unwrap_or_else(|| Path::new("")).join(DIR);
    let cannot = |error: &std::io::Error| {
        Problem::from_error(
            Code::BadConfig,
            &format!("{} cannot be read", dir.display()),
            error,
        )
    };
    let entries = match fs_err::read_dir(&dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
        Err(error) => return Err(cannot(&error)),
    };
    let mut texts = BTreeMap::new();
    for entry in entries {
        let path = entry.map_err(|error| cannot(&error))?.path();
        if path.extension().is_none_or(|extension| extension != "yaml") {
            continue;
        }
        let name = path
            .file_stem()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let known = || {
            Chart::ALL
                .iter()
                .map(|chart| chart.name())
                .chain([INVENTORY])
        };
        if !known().any(|other| other == name) {
            let near = nearest(&name, known());
            let hint = near.map_or_else(
                || format!("name it after a chart, or {INVENTORY}.yaml"),
                |near| format!("did you mean {near}.yaml?"),
            );
            let what = format!("{} belongs to no chart", path.display());
            return Err(Problem::new(Code::BadConfig, what).hint(hint));
        }
        if let Some(text) = read_file(&path)? {
            texts.insert(name, text);
        }
    }
    Ok(texts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_charts_and_of_the_inventory_are_read_and_others_refused() {
        let dir = tempfile::tempdir().unwrap();
        let config = dir.path().join("wiab.toml");
        assert!(beside(&config).unwrap().is_empty());
        let values = dir.path().join(DIR);
        fs_err::create_dir(&values).unwrap();
        for (name, text) in [
            ("inventory.yaml", "all: {}\n"),
            ("sftd.yaml", "a: 1\n"),
            ("notes.txt", "x"),
        ] {
            fs_err::write(values.join(name), text).unwrap();
        }
        let texts = beside(&config).unwrap();
        assert_eq!(texts.keys().collect::<Vec<_>>(), ["inventory", "sftd"]);
        fs_err::write(values.join("inventry.yaml"), "").unwrap();
        let problem = format!("{:?}", beside(&config).unwrap_err());
        assert!(
            problem.contains("did you mean inventory.yaml?"),
            "{problem}"
        );
    }
}
