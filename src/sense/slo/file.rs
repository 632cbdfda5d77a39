//! Latency objectives with credentials: the file of `--slos`.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::spec::spec;
use super::SloSpec;
use crate::cell::NodeId;
use crate::sense::host::access::AccessFields;
use crate::sense::host::spec::{what_is_wrong, without_password};

/// Why objectives were refused: one sentence with the file, the entry and the remedy.
#[derive(Debug, thiserror::Error)]
pub enum SloFileError {
    /// The file can't be read.
    #[error("--slos {}: it must be a readable file: {cause}", path.display())]
    Unreadable {
        /// The path that was given.
        path: PathBuf,
        /// The system's error.
        cause: std::io::Error,
    },
    /// The file isn't TOML of the expected form, or one of its objectives is refused.
    #[error("--slos {}: {reason}", path.display())]
    File {
        /// The path that was given.
        path: PathBuf,
        /// What is wrong, and the remedy.
        reason: String,
    },
    /// The guest has no node of this id.
    #[error("no node {node} for --slo '{spec}': the guest's nodes are {}", join(known))]
    UnknownNode {
        /// The id that was given.
        node: NodeId,
        /// The objective.
        spec: String,
        /// The ids that exist.
        known: Vec<NodeId>,
    },
}

fn join(nodes: &[NodeId]) -> String {
    nodes.iter().map(NodeId::to_string).collect::<Vec<_>>().join(", ")
}

/// A `--slos` file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    slo: Vec<Entry>,
}

/// One `[[slo]]` of the file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    node: Option<u32>,
    url: String,
    query: String,
    limit: Limit,
    user: Option<String>,
    password_file: Option<PathBuf>,
    bearer_token_file: Option<PathBuf>,
    ca_file: Option<PathBuf>,
    cert_file: Option<PathBuf>,
    key_file: Option<PathBuf>,
}

/// `"5ms"`, or a number in the query's unit.
#[derive(Deserialize)]
#[serde(untagged, expecting = "limit takes a time such as \"5ms\", or a number")]
enum Limit {
    Text(String),
    Number(f64),
}

impl Entry {
    /// Relative paths start from `folder`.
    fn into_spec(self, folder: &Path) -> Result<SloSpec, String> {
        let limit = match self.limit {
            Limit::Text(text) => text,
            Limit::Number(number) => number.to_string(),
        };
        let shown = without_password(&self.url);
        if self.url.contains('#') {
            return Err(format!("url = \"{shown}\": what comes after the '#' belongs into query"));
        }
        if self.query.trim().is_empty() {
            return Err("query is empty: it takes a series of a page, or a query of Prometheus".into());
        }
        let objective = spec(self.node.map(NodeId), &self.url, &self.query, &limit);
        let mut objective = objective.map_err(|reason| format!("url = \"{shown}\": {reason}"))?;
        let fields = AccessFields {
            user: self.user,
            password_file: self.password_file,
            bearer_token_file: self.bearer_token_file,
            ca_file: self.ca_file,
            cert_file: self.cert_file,
            key_file: self.key_file,
        };
        objective.access =
            fields.check(&objective.url, folder).map_err(|reason| format!("url = \"{shown}\": {reason}"))?;
        Ok(objective)
    }
}

/// Parse the text of the `--slos` file at `path`. Paths in it are relative to the file's folder.
pub(super) fn parse_file(path: &Path, text: &str) -> Result<Vec<SloSpec>, SloFileError> {
    let refused = |reason: String| SloFileError::File { path: path.to_path_buf(), reason };
    let file: File = toml::from_str(text).map_err(|err| refused(what_is_wrong(text, &err)))?;
    if file.slo.is_empty() {
        return Err(refused("it has no [[slo]]: add one for each objective, with url, query and limit".into()));
    }
    let folder = path.parent().unwrap_or(Path::new(""));
    let entries = file.slo.into_iter().zip(1..);
    let specs =
        entries.map(|(entry, nr)| entry.into_spec(folder).map_err(|reason| refused(format!("[[slo]] {nr}: {reason}"))));
    specs.collect()
}

/// All objectives of the command line and the file. Nodes must exist in the guest.
pub fn slo_specs(given: &[SloSpec], file: Option<&Path>, known: &[NodeId]) -> Result<Vec<SloSpec>, SloFileError> {
    let mut specs = given.to_vec();
    if let Some(path) = file {
        let unreadable = |cause| SloFileError::Unreadable { path: path.to_path_buf(), cause };
        specs.extend(parse_file(path, &std::fs::read_to_string(path).map_err(unreadable)?)?);
    }
    for spec in &specs {
        if let Some(node) = spec.node.filter(|node| !known.contains(node)) {
            return Err(SloFileError::UnknownNode { node, spec: spec.to_string(), known: known.to_vec() });
        }
    }
    Ok(specs)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sense::host::{Auth, ClientFiles};

    const PATH: &str = "/etc/scx_vnuma/slos.toml";

    fn parsed(text: &str) -> Result<Vec<SloSpec>, String> {
        parse_file(Path::new(PATH), text).map_err(|err| err.to_string())
    }

    #[test]
    fn an_entry_is_the_option_with_access() {
        let specs = parsed(
            "[[slo]]\nnode = 1\nurl = 'https://db:9104'\nquery = 'p99{job=\"db\"}'\nlimit = '5ms'\nuser = 'me'\n\
             password_file = 'pw'\nca_file = '/ca.pem'\ncert_file = 'guest.pem'\nkey_file = '/guest.key'\n\
             [[slo]]\nurl = 'http://p/api/v1/query'\nquery = 'max(a < 3)'\nlimit = 250\nbearer_token_file = '/token'\n\
             [[slo]]\nurl = 'http://c'\nquery = 'p99'\nlimit = 0.5",
        )
        .unwrap();
        for (spec, option) in specs.iter().zip([
            "1=https://db:9104#p99{job=\"db\"}<5ms",
            "http://p/api/v1/query#max(a < 3)<250",
            "http://c#p99<0.5",
        ]) {
            let mut given: SloSpec = option.parse().unwrap();
            given.access = spec.access.clone();
            assert_eq!(given, *spec);
        }
        let auth = Auth::Basic { user: "me".into(), password_file: "/etc/scx_vnuma/pw".into() };
        let client = ClientFiles { cert_file: "/etc/scx_vnuma/guest.pem".into(), key_file: "/guest.key".into() };
        assert_eq!((&specs[0].access.auth, &specs[0].access.client), (&Some(auth), &Some(client)));
        assert_eq!(specs[1].access.auth, Some(Auth::Bearer { token_file: "/token".into() }));
        assert_eq!(specs[2].access, crate::sense::host::Access::default());
    }

    #[test]
    fn the_example_file_is_valid() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/slos.toml");
        let specs = slo_specs(&[], Some(&path), &[NodeId(0), NodeId(1)]).unwrap();
        assert_eq!(specs[0].access.ca_file, Some(path.with_file_name("ca.pem")));
        let unknown = slo_specs(&[], Some(&path), &[NodeId(0)]).unwrap_err().to_string();
        assert!(unknown.contains("no node 1 for --slo '1=http") && unknown.contains("nodes are 0"), "{unknown}");
    }

    #[test]
    fn mistakes_are_named_with_file_entry_and_remedy_and_no_password_is_shown() {
        let slo = |more: &str| format!("[[slo]]\nurl = 'http://db'\nquery = 'p99'\nlimit = '5ms'\n{more}\n");
        for (text, part) in [
            (String::new(), "it has no [[slo]]: add one"),
            ("[[slo]]\nurl = 'http://db'\nlimit = '5ms'".into(), "missing field `query`"),
            (slo("pasword_file = 'x'"), "unknown field `pasword_file`"),
            (slo("user = 'me'"), "[[slo]] 1: url = \"http://db\": set both user and password_file"),
            (slo("") + &slo("ca_file = 'x'"), "[[slo]] 2: url = \"http://db\": ca_file needs an https:// url"),
            ("[[slo]]\nurl = 'http://db'\nquery = 'rate(p99[1m])'\nlimit = '5ms'".into(), "give Prometheus's API"),
            ("[[slo]]\nurl = 'http://db'\nquery = ' '\nlimit = '5ms'".into(), "query is empty"),
            ("[[slo]]\nurl = 'http://db'\nquery = 'p99'\nlimit = 'soon'".into(), "'soon' is no limit"),
            ("[[slo]]\nurl = 'http://db'\nquery = 'p99'\nlimit = true".into(), "limit takes a time such as"),
            ("[[slo]]\nurl = 'http://db'\nquery = 'p99'\nlimit = -1".into(), "'-1' is no limit"),
            ("[[slo]]\nurl = 'http://db#p99'\nquery = 'p99'\nlimit = 1".into(), "after the '#' belongs into query"),
            ("[[slo]]\nurl = '1=http://db'\nquery = 'p99'\nlimit = 1".into(), "the URL"),
            ("[[slo]]\nurl = 'http://me:secret@db'\nquery = 'p99'\nlimit = 1".into(), "set user and password_file in"),
            ("[[slo]]\nurl = 'http://me:secret#@db'\nquery = 'p99'\nlimit = 1".into(), "belongs into query"),
            ("[[slo]]\nurl = 'http://me:secret@db' node = 1".into(), "line 2: "),
        ] {
            let message = parsed(&text).unwrap_err();
            assert!(message.starts_with(&format!("--slos {PATH}: ")) && message.contains(part), "{text}: {message}");
            assert!(!message.contains("secret"), "{message}");
        }
        let missing = slo_specs(&[], Some(Path::new("/nonexistent.toml")), &[]).unwrap_err().to_string();
        assert!(missing.starts_with("--slos /nonexistent.toml: it must be a readable file"), "{missing}");
    }
}
