//! The address of a node's host: `--host NODE=URL[?cpus=LIST]` and `--hosts FILE.toml`.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::Deserialize;
use ureq::http::Uri;

use super::access::{Access, AccessFields};
use crate::cell::NodeId;
use crate::linux::CpuSet;

/// node_exporter's own path, used if the URL has none.
const DEFAULT_PATH: &str = "/metrics";

/// How to ask one node's host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostSpec {
    /// The guest's node that runs on the host.
    pub node: NodeId,
    /// The URL to fetch, without `cpus=`.
    pub url: String,
    /// The host's CPUs that count; `None` for all. The server isn't sent this list.
    pub cpus: Option<CpuSet>,
    /// Credentials and certificates.
    pub access: Access,
}

/// Why hosts were refused: one sentence with the flag, the field and the remedy.
#[derive(Debug, thiserror::Error)]
pub enum HostSpecError {
    /// A `--host`, or a `[[host]]` of the file, is invalid.
    #[error("bad host '{text}': {reason}")]
    Spec {
        /// The value as it was given, without its password.
        text: String,
        /// What is wrong, and the remedy.
        reason: String,
    },
    /// The file can't be read.
    #[error("--hosts {}: it must be a readable file: {cause}", path.display())]
    Unreadable {
        /// The path that was given.
        path: PathBuf,
        /// The system's error.
        cause: std::io::Error,
    },
    /// The file isn't TOML of the expected form, or one of its hosts is refused.
    #[error("--hosts {}: {reason}", path.display())]
    File {
        /// The path that was given.
        path: PathBuf,
        /// What is wrong, and the remedy.
        reason: String,
    },
    /// A node has two hosts.
    #[error("node {0} has two hosts: give one --host or [[host]] per node")]
    Twice(NodeId),
    /// The guest has no node of this id.
    #[error("no node {node} for a --host or --hosts: the guest's nodes are {}", join(known))]
    UnknownNode {
        /// The id that was given.
        node: NodeId,
        /// The ids that exist.
        known: Vec<NodeId>,
    },
}

fn join(nodes: &[NodeId]) -> String {
    nodes.iter().map(NodeId::to_string).collect::<Vec<_>>().join(", ")
}

impl FromStr for HostSpec {
    type Err = HostSpecError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refused = |reason: String| HostSpecError::Spec { text: without_password(text), reason };
        let parsed = || {
            let (node, url) =
                text.split_once('=').ok_or("expected NODE=URL[?cpus=LIST], as in 0=http://host-a:9100?cpus=0-7")?;
            let not_a_node = |_| format!("'{node}' is not a node number, as in 0=http://host-a:9100");
            let node = node.parse().map_err(not_a_node).map_err(|reason| without_pieces(text, reason))?;
            let (url, cpus) = parse_url(url)?;
            Ok(HostSpec { node: NodeId(node), url, cpus, access: Access::default() })
        };
        parsed().map_err(refused)
    }
}

/// The text without what is in front of an `@`, for messages and logs.
pub(in crate::sense) fn without_password(text: &str) -> String {
    match (text.find("://"), text.rfind('@')) {
        (Some(scheme), Some(at)) if at > scheme => format!("{}://…{}", &text[..scheme], &text[at..]),
        _ => text.to_string(),
    }
}

const NO_PASSWORDS: &str =
    "a URL must not contain a password: set user and password_file in a file for --hosts or --slos";

/// The reason, unless it may show a piece of a password: one that has a '/', '?' or '=' is not where it should be.
fn without_pieces(text: &str, reason: String) -> String {
    if text.contains('@') {
        NO_PASSWORDS.into()
    } else {
        reason
    }
}

/// The URL to fetch, with node_exporter's path if it has none, and the value of its `cpus=`.
fn parse_url(text: &str) -> Result<(String, Option<CpuSet>), String> {
    url_and_cpus(text).map_err(|reason| without_pieces(text, reason))
}

/// The URL to fetch, with the default path if it has none, of something that has no CPUs.
pub(in crate::sense) fn plain_url(text: &str) -> Result<String, String> {
    match parse_url(text)? {
        (url, None) => Ok(url),
        (_, Some(_)) => Err("cpus= has no meaning here".into()),
    }
}

fn url_and_cpus(text: &str) -> Result<(String, Option<CpuSet>), String> {
    let uri: Uri = text.parse().map_err(|err| format!("the URL can't be read ({err})"))?;
    let scheme = uri.scheme_str().filter(|scheme| ["http", "https"].contains(scheme));
    let scheme = scheme.ok_or("the URL must begin with http:// or https://")?;
    let authority = uri.authority().map(|authority| authority.as_str()).unwrap_or_default();
    if authority.contains('@') {
        return Err(NO_PASSWORDS.into());
    }
    if uri.host().is_none_or(str::is_empty) {
        return Err("the URL has no host".into());
    }
    check_port(&uri)?;
    let (mut cpus, mut query) = (None, Vec::new());
    for pair in uri.query().unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
        match pair.strip_prefix("cpus=") {
            Some(list) if cpus.is_none() => cpus = Some(parse_cpus(list)?),
            Some(_) => return Err("cpus= is given twice".into()),
            None => query.push(pair),
        }
    }
    let path = if uri.path() == "/" { DEFAULT_PATH } else { uri.path() };
    let question = if query.is_empty() { "" } else { "?" };
    Ok((format!("{scheme}://{authority}{path}{question}{}", query.join("&")), cpus))
}

/// Check what follows the host. The library takes a port that it can't read for none, so that the request, with its
/// credentials, would go to the scheme's own port.
fn check_port(uri: &Uri) -> Result<(), String> {
    let authority = uri.authority().map(|authority| authority.as_str()).unwrap_or_default();
    let after_host = authority.strip_prefix(uri.host().unwrap_or_default()).unwrap_or(authority);
    let is_port =
        |text: &str| text.bytes().all(|byte| byte.is_ascii_digit()) && text.parse::<u16>().is_ok_and(|port| port > 0);
    match after_host.strip_prefix(':') {
        None if after_host.is_empty() => Ok(()),
        Some(port) if is_port(port) => Ok(()),
        _ => Err(format!("'{}' is not a port: ports are 1 to 65535", after_host.trim_start_matches(':'))),
    }
}

/// Parse a list of CPUs that has at least one.
fn parse_cpus(list: &str) -> Result<CpuSet, String> {
    let cpus = CpuSet::from_list(list).ok().filter(|cpus| !cpus.is_empty());
    cpus.ok_or_else(|| format!("cpus= takes a list of CPUs such as 0-7,16, not '{list}'"))
}

/// A `--hosts` file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    host: Vec<Entry>,
}

/// One `[[host]]` of the file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    node: u32,
    url: String,
    cpus: Option<String>,
    user: Option<String>,
    password_file: Option<PathBuf>,
    bearer_token_file: Option<PathBuf>,
    ca_file: Option<PathBuf>,
    cert_file: Option<PathBuf>,
    key_file: Option<PathBuf>,
}

impl Entry {
    /// Relative paths start from `folder`.
    fn into_spec(self, folder: &Path) -> Result<HostSpec, String> {
        let (url, cpus_of_url) =
            parse_url(&self.url).map_err(|reason| format!("url = \"{}\": {reason}", without_password(&self.url)))?;
        let cpus = self.cpus.as_deref().map(parse_cpus).transpose().map_err(|reason| format!("cpus: {reason}"))?;
        if cpus.is_some() && cpus_of_url.is_some() {
            return Err("cpus is also in the url: give it once".into());
        }
        let fields = AccessFields {
            user: self.user,
            password_file: self.password_file,
            bearer_token_file: self.bearer_token_file,
            ca_file: self.ca_file,
            cert_file: self.cert_file,
            key_file: self.key_file,
        };
        let access = fields.check(&url, folder)?;
        Ok(HostSpec { node: NodeId(self.node), url, cpus: cpus.or(cpus_of_url), access })
    }
}

/// The hosts of a `--hosts` file. Paths in it are relative to the file's folder.
fn read_file(path: &Path) -> Result<Vec<HostSpec>, HostSpecError> {
    let text =
        std::fs::read_to_string(path).map_err(|cause| HostSpecError::Unreadable { path: path.to_path_buf(), cause })?;
    parse_file(path, &text)
}

/// Parse the text of the `--hosts` file at `path`.
pub(super) fn parse_file(path: &Path, text: &str) -> Result<Vec<HostSpec>, HostSpecError> {
    let refused = |reason: String| HostSpecError::File { path: path.to_path_buf(), reason };
    let file: File = toml::from_str(text).map_err(|err| refused(what_is_wrong(text, &err)))?;
    if file.host.is_empty() {
        return Err(refused("it has no [[host]]: add one for each node, with node and url".into()));
    }
    let folder = path.parent().unwrap_or(Path::new(""));
    let specs = file.host.into_iter().map(|entry| {
        let node = entry.node;
        entry.into_spec(folder).map_err(|reason| refused(format!("host of node {node}: {reason}")))
    });
    specs.collect()
}

/// The library's message, which shows the line. If that may have a password, the line's number and the reason.
pub(in crate::sense) fn what_is_wrong(text: &str, err: &toml::de::Error) -> String {
    let whole = err.to_string();
    if !whole.contains('@') {
        return whole.trim_end().to_string();
    }
    let reason = match err.message() {
        value if value.contains('@') => "this value is not expected here",
        other => other,
    };
    let before = err.span().and_then(|span| text.get(..span.start));
    let line = before.map(|before| format!("line {}: ", before.matches('\n').count() + 1));
    format!("{}{}", line.unwrap_or_default(), reason.replace('\n', ", "))
}

/// All hosts of the command line and the file. Each node may have one host and must exist in the guest.
pub fn host_specs(given: &[HostSpec], file: Option<&Path>, known: &[NodeId]) -> Result<Vec<HostSpec>, HostSpecError> {
    let mut specs = given.to_vec();
    specs.extend(file.map(read_file).transpose()?.unwrap_or_default());
    let mut seen = BTreeSet::new();
    for spec in &specs {
        if !known.contains(&spec.node) {
            return Err(HostSpecError::UnknownNode { node: spec.node, known: known.to_vec() });
        }
        if !seen.insert(spec.node) {
            return Err(HostSpecError::Twice(spec.node));
        }
    }
    Ok(specs)
}

#[cfg(test)]
mod tests;
