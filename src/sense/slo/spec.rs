//! A latency objective as it is given: `[NODE=]URL#QUERY<LIMIT`.

use std::fmt;
use std::str::FromStr;

use crate::cell::NodeId;
use crate::sense::host::spec::plain_url;
use crate::sense::host::Access;

/// The end of the path of Prometheus's HTTP API for a query at one time.
const API_PATH: &str = "/api/v1/query";
/// How the names of counters end, those of histograms and summaries included.
const COUNTERS: [&str; 4] = ["_total", "_sum", "_count", "_bucket"];

/// A latency objective: where it is read, and what it must stay below.
#[derive(Clone, Debug, PartialEq)]
pub struct SloSpec {
    /// The node whose work makes room; all nodes if `None`.
    pub node: Option<NodeId>,
    /// The URL to fetch; with the query, for Prometheus's API.
    pub url: String,
    /// What is read there: a series of a page, or a query of the API.
    pub query: Query,
    /// The objective, in the query's unit; seconds if it was given with a unit of time.
    pub limit: f64,
    /// The objective as it was given, as `5ms`.
    pub limit_text: String,
    /// Credentials and certificates.
    pub access: Access,
    /// All of it as it was given; of a file's entry, as the option would have it.
    text: String,
}

/// What is read at the URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Query {
    /// The largest value of these series of a page in Prometheus's text format.
    Page {
        /// The metric's name.
        metric: String,
        /// Labels that a series must have.
        labels: Vec<(String, String)>,
    },
    /// The largest value of the answer to a query of Prometheus's HTTP API.
    Api,
}

/// Why an objective was refused: one sentence with the remedy.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[error("bad objective '{text}': {reason}")]
pub struct SloSpecError {
    text: String,
    reason: String,
}

impl fmt::Display for SloSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for SloSpec {
    type Err = SloSpecError;

    fn from_str(text: &str) -> Result<Self, SloSpecError> {
        parse(text).map_err(|reason| match text.split('#').next().unwrap_or_default().contains('@') {
            false => SloSpecError { text: text.to_owned(), reason },
            // Nothing before it is shown, and no piece of it in another message.
            true => SloSpecError {
                text: format!("…@{}", text.rsplit('@').next().unwrap_or_default()),
                reason: "a URL must not contain a password: set user and password_file in a --slos file".to_owned(),
            },
        })
    }
}

fn parse(text: &str) -> Result<SloSpec, String> {
    const FORM: &str = "expected URL#QUERY<LIMIT, as in http://db:9104/metrics#request_p99_seconds<5ms";

    let (address, rest) = text.split_once('#').ok_or(FORM)?;
    let (query, limit_text) = rest.rsplit_once('<').ok_or(FORM)?;
    if query.trim().is_empty() {
        return Err(format!("there is no query before the '<': {FORM}"));
    }
    let (node, url) = match address.split_once('=') {
        Some((node, url)) if node.bytes().all(|byte| byte.is_ascii_digit()) => {
            (Some(NodeId(node.parse().map_err(|_| format!("'{node}' is no node"))?)), url)
        }
        _ => (None, address),
    };
    let spec = spec(node, url, query, limit_text)?;
    Ok(SloSpec { text: text.to_owned(), ..spec })
}

/// The objective of these parts.
pub(super) fn spec(node: Option<NodeId>, url: &str, query: &str, limit_text: &str) -> Result<SloSpec, String> {
    let (text, limit_text) = (query.trim(), limit_text.trim().to_owned());
    let given = format!("{}{url}#{text}<{limit_text}", node.map(|node| format!("{node}=")).unwrap_or_default());
    let url = plain_url(url)?;
    let path = url.split('?').next().unwrap_or_default();
    let (url, query) = match path.ends_with(API_PATH) {
        true => {
            let sign = if url.contains('?') { '&' } else { '?' };
            (format!("{url}{sign}query={}", escaped(text)), Query::Api)
        }
        false => (url, page_query(text)?),
    };
    let limit = limit(&limit_text)?;
    Ok(SloSpec { node, url, query, limit, limit_text, access: Access::default(), text: given })
}

/// `metric{label="value"}`: only equality, as a page is no database.
fn page_query(query: &str) -> Result<Query, String> {
    let refused = || {
        format!(
            "'{query}' is no series of a page, as request_p99_seconds{{job=\"db\"}}; for PromQL give Prometheus's API: \
             http://prometheus:9090{API_PATH}#QUERY<LIMIT"
        )
    };
    let (metric, labels) = match query.split_once('{') {
        None => (query, ""),
        Some((metric, labels)) => (metric, labels.strip_suffix('}').ok_or_else(refused)?),
    };
    let is_name = |name: &str| {
        !name.is_empty()
            && !name.starts_with(|c: char| c.is_ascii_digit())
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_:".contains(&byte))
    };
    let label = |text: &str| {
        let (name, value) = text.split_once('=')?;
        let value = value.trim().strip_prefix('"')?.strip_suffix('"')?;
        is_name(name.trim()).then(|| (name.trim().to_owned(), value.to_owned()))
    };
    let labels = labels.split(',').filter(|text| !text.trim().is_empty()).map(label);
    let labels = labels.collect::<Option<Vec<_>>>().ok_or_else(refused)?;
    if !is_name(metric) {
        return Err(refused());
    }
    if let Some(counter) = COUNTERS.iter().find(|end| metric.ends_with(*end)) {
        return Err(format!(
            "{metric} is a counter, by its end {counter}: it only grows, and is no latency; ask Prometheus for a rate of it: \
             http://prometheus:9090{API_PATH}#QUERY<LIMIT"
        ));
    }
    Ok(Query::Page { metric: metric.to_owned(), labels })
}

/// A number, or a time in seconds: `5ms`.
fn limit(text: &str) -> Result<f64, String> {
    let number = text.parse::<f64>().ok();
    let value = number.or_else(|| humantime::parse_duration(text).ok().map(|time| time.as_secs_f64()));
    let value = value.filter(|value| value.is_finite() && *value > 0.0);
    value.ok_or_else(|| format!("'{text}' is no limit: it is a time such as 5ms, or a number above 0"))
}

/// Percent-encoded, for a URL.
fn escaped(text: &str) -> String {
    let escape = |byte: u8| match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(escape).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> SloSpec {
        text.parse().unwrap()
    }

    #[test]
    fn a_series_of_a_page_and_a_query_of_the_api_are_told_apart_by_the_path() {
        let page = parsed(r#"http://db:9104#request_p99_seconds{job="db", quantile="0.99"}<5ms"#);
        assert_eq!((page.node, page.url.as_str(), page.limit), (None, "http://db:9104/metrics", 0.005));
        let labels = vec![("job".to_owned(), "db".to_owned()), ("quantile".to_owned(), "0.99".to_owned())];
        assert_eq!(page.query, Query::Page { metric: "request_p99_seconds".to_owned(), labels });
        let api = parsed("2=https://p:9090/api/v1/query#histogram_quantile(0.99, rate(x[1m])) < 250");
        assert_eq!((api.node, api.limit, api.query), (Some(NodeId(2)), 250.0, Query::Api));
        assert_eq!(api.url, "https://p:9090/api/v1/query?query=histogram_quantile%280.99%2C%20rate%28x%5B1m%5D%29%29");
        // A comparison within the query is part of it.
        assert!(parsed("http://p/api/v1/query#max(a < 3)<5ms").url.ends_with("?query=max%28a%20%3C%203%29"));
        assert_eq!(page.to_string(), r#"http://db:9104#request_p99_seconds{job="db", quantile="0.99"}<5ms"#);
    }

    #[test]
    fn mistakes_are_named_with_the_remedy() {
        for (text, reason) in [
            ("http://db:9104", "expected URL#QUERY<LIMIT"),
            ("http://db:9104#p99", "expected URL#QUERY<LIMIT"),
            ("http://db:9104#<5ms", "there is no query before the '<'"),
            ("db:9104#p99<5ms", "the URL"),
            ("http://db:99999#p99<5ms", "is not a port"),
            ("http://db#rate(p99[1m])<5ms", "give Prometheus's API"),
            ("http://db#p99{job=db}<5ms", "is no series of a page"),
            ("http://db#request_seconds_total<5ms", "is a counter, by its end _total"),
            ("http://db#request_seconds_bucket{le=\"1\"}<5ms", "ask Prometheus for a rate"),
            ("http://db#p99<soon", "'soon' is no limit"),
            ("http://db#p99<-1", "'-1' is no limit"),
            ("http://db#p99<0s", "'0s' is no limit"),
        ] {
            let message = text.parse::<SloSpec>().unwrap_err().to_string();
            assert!(message.contains(reason), "{text}: {message}");
        }
        let message = "http://me:secret@db#p99<5ms".parse::<SloSpec>().unwrap_err().to_string();
        assert!(message.contains("must not contain a password") && !message.contains("secret"), "{message}");
    }
}
