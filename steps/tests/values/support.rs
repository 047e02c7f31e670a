//! The release's files, inputs, and a comparison of two texts that knows nothing of YAML.

use std::net::Ipv4Addr;
use std::path::PathBuf;

use wiab_steps::release::{Chart, Release, Tree};
use wiab_steps::values::{CallingNode, Inputs, Rendered, render};
use wiab_steps::yaml::{Document, Origin, YamlPath};

/// A file of the release that lies beside the repository; without it these tests prove nothing.
pub(crate) fn artifact(path: &str) -> String {
    let file = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../../shared/wire-artifact")
        .join(path);
    let file = if file.exists() {
        file
    } else {
        // A worktree lies one level deeper than a clone.
        PathBuf::from(env!("CARGO_MANIFEST_DIR"))
            .join("../../../shared/wire-artifact")
            .join(path)
    };
    fs_err::read_to_string(&file)
        .unwrap_or_else(|error| panic!("the tests need the release's files: {error}"))
}

/// The release that lies beside the repository. It has no charts, so versions are made up.
pub(crate) fn tree() -> Tree {
    let mut tree = Tree::default();
    for chart in Chart::ALL.into_iter().filter(|chart| !chart.bare()) {
        tree.files
            .insert(chart.template(), artifact(&chart.template()));
        tree.files.insert(
            chart.description(),
            format!("apiVersion: v1\nname: {chart}\nversion: 5.23.0\n"),
        );
    }
    for path in [
        "values/wire-server/prod-secrets.example.yaml",
        "ansible/inventory/demo/wiab-staging.yml",
    ] {
        tree.files.insert(path.to_owned(), artifact(path));
    }
    tree
}

pub(crate) fn inputs() -> Inputs {
    Inputs {
        domain: "wire.example.org".parse().unwrap(),
        host_ip: Ipv4Addr::new(203, 0, 113, 7),
        cert_email: "admin@example.org".parse().unwrap(),
        acme_test: false,
        calling: Some(CallingNode {
            name: "kubenode3".parse().unwrap(),
            ip: Ipv4Addr::new(192, 168, 122, 23),
        }),
        data_nodes: [31, 32, 33]
            .map(|end| Ipv4Addr::new(192, 168, 122, end))
            .to_vec(),
    }
}

pub(crate) fn overlay(text: &str) -> Document {
    Document::parse(text, Origin::file("values.d/test.yaml")).unwrap()
}

/// Renders a chart of a tree.
pub(crate) fn of(tree: &Tree, chart: Chart) -> Rendered {
    let release = Release::detect(tree, "test").unwrap();
    render(
        chart,
        tree.text(&chart.template()),
        &inputs(),
        &release,
        None,
    )
    .unwrap_or_else(|error| panic!("{error}"))
}

pub(crate) fn shown(paths: &[YamlPath]) -> Vec<String> {
    paths.iter().map(YamlPath::to_string).collect()
}

/// The lines that were removed and those that came, by their longest common subsequence.
pub(crate) fn line_diff<'a>(before: &'a str, after: &'a str) -> (Vec<&'a str>, Vec<&'a str>) {
    let old: Vec<_> = before.split('\n').collect();
    let new: Vec<_> = after.split('\n').collect();
    let mut common = vec![vec![0_u32; new.len() + 1]; old.len() + 1];
    for i in (0..old.len()).rev() {
        for j in (0..new.len()).rev() {
            common[i][j] = if old[i] == new[j] {
                common[i + 1][j + 1] + 1
            } else {
                common[i + 1][j].max(common[i][j + 1])
            };
        }
    }
    let (mut i, mut j) = (0, 0);
    let (mut gone, mut come) = (Vec::new(), Vec::new());
    while i < old.len() || j < new.len() {
        if i < old.len() && j < new.len() && old[i] == new[j] {
            (i, j) = (i + 1, j + 1);
        } else if j == new.len() || (i < old.len() && common[i + 1][j] >= common[i][j + 1]) {
            gone.push(old[i]);
            i += 1;
        } else {
            come.push(new[j]);
            j += 1;
        }
    }
    (gone, come)
}

/// The comment of a line, and what stands before its value.
pub(crate) fn frame(line: &str) -> (String, String) {
    let comment = line.find(" #").map_or("", |at| &line[at..]);
    let head = line.split_inclusive(": ").next().unwrap_or_default();
    let head = if line.contains(": ") {
        head.trim_end()
    } else {
        line.trim_end()
    };
    (head.to_owned(), comment.to_owned())
}
