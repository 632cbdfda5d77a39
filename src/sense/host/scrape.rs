//! Fetches one host's metrics over HTTP(S), bounded in time and size.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use graviola::util::is_cpu_supported;
use ureq::http::StatusCode;
use ureq::tls::{RootCerts, TlsConfig};
use ureq::unversioned::transport::DefaultConnector;
use ureq::Agent;

use super::names::Names;
use super::secrets::{authorization, certificates, client_certificate};
use super::spec::HostSpec;

/// node_exporter's answer has some 100 kB on a small host and some MB on the largest.
const ANSWER_BYTES_MAX: u64 = 4 << 20;

/// CPU features that graviola needs on x86_64. Physical CPUs have them since Broadwell (2014) and Zen (2017); QEMU's
/// models up to Haswell, and x86-64-v3, lack some.
#[cfg(target_arch = "x86_64")]
const CPU_FEATURES: &str = "adx, aes, avx, avx2, bmi1, pclmulqdq";
/// CPU features that graviola needs on other architectures.
#[cfg(not(target_arch = "x86_64"))]
const CPU_FEATURES: &str = "aes, neon, pmull, sha2";

/// Why a scrape failed.
#[derive(Debug, thiserror::Error)]
pub enum ScrapeError {
    /// The connection or the TLS handshake failed, or the answer was late or incomplete.
    #[error("{0}")]
    Http(ureq::Error),
    /// The answer's status is not 200.
    #[error("the answer has status {0} instead of 200")]
    Status(StatusCode),
    /// The answer is larger than that of any node_exporter.
    #[error(
        "the answer is larger than 4 MiB; add ?collect[]=cpu to the URL, and node_exporter answers with its CPU metrics \
         alone (&collect[]=pressure adds PSI)"
    )]
    TooLarge,
    /// The TLS library doesn't support this CPU.
    #[error(
        "https needs CPU features that this CPU lacks ({CPU_FEATURES}); give the guest a newer CPU model, or use http"
    )]
    NoTls,
    /// The answer is not UTF-8.
    #[error("the answer is not text")]
    NotText,
    /// A local file can't be used.
    #[error("{} of --hosts: {cause}", path.display())]
    File {
        /// The file with a password, a token or certificates.
        path: PathBuf,
        /// Why it can't be used.
        cause: io::Error,
    },
}

impl From<ureq::Error> for ScrapeError {
    fn from(err: ureq::Error) -> Self {
        match err {
            ureq::Error::BodyExceedsLimit(_) => ScrapeError::TooLarge,
            err => ScrapeError::Http(err),
        }
    }
}

/// A host's answer.
#[derive(Debug)]
pub struct Answer {
    /// The metrics in Prometheus's text format.
    pub text: String,
    /// When the request was sent: the host read its counters after this.
    pub asked: Instant,
    /// When the answer was complete: the host read its counters before this.
    pub answered: Instant,
}

/// Asks one host. The connection stays open from one scrape to the next.
#[derive(Debug)]
pub struct Scraper {
    spec: HostSpec,
    agent: Agent,
}

impl Scraper {
    /// Read the files that `spec` names, so that bad ones are refused at once. A scrape takes at most `timeout`. `names`
    /// looks up the host.
    pub fn new(spec: HostSpec, timeout: Duration, names: Names) -> Result<Self, ScrapeError> {
        let root_certs = match &spec.ca_file {
            Some(path) => RootCerts::from(certificates(path)?),
            None => RootCerts::PlatformVerifier,
        };
        authorization(spec.auth.as_ref())?;
        let tls_config = if spec.url.starts_with("https:") {
            tls_config(&spec, root_certs, is_cpu_supported())?
        } else {
            TlsConfig::default()
        };
        let config = Agent::config_builder()
            .timeout_global(Some(timeout))
            .http_status_as_error(false)
            // A redirect must not send a password elsewhere, and the guest reaches its host without a proxy.
            .max_redirects(0)
            .proxy(None)
            .tls_config(tls_config)
            .user_agent(concat!("scx_vnuma/", env!("CARGO_PKG_VERSION")))
            .accept("text/plain; version=0.0.4")
            .build();
        Ok(Scraper { spec, agent: Agent::with_parts(config, DefaultConnector::default(), names) })
    }

    /// The host that it asks.
    pub fn spec(&self) -> &HostSpec {
        &self.spec
    }

    /// Send one request and read its answer.
    pub fn scrape(&self) -> Result<Answer, ScrapeError> {
        let mut request = self.agent.get(&self.spec.url);
        if let Some(value) = authorization(self.spec.auth.as_ref())? {
            request = request.header("Authorization", value);
        }
        let asked = Instant::now();
        let mut response = request.call()?;
        if response.status() != StatusCode::OK {
            return Err(ScrapeError::Status(response.status()));
        }
        let body = response.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_to_vec()?;
        let answered = Instant::now();
        let text = String::from_utf8(body).map_err(|_| ScrapeError::NotText)?;
        Ok(Answer { text, asked, answered })
    }
}

/// TLS with graviola. On an unsupported CPU graviola would panic at its first use.
fn tls_config(spec: &HostSpec, root_certs: RootCerts, is_cpu_supported: bool) -> Result<TlsConfig, ScrapeError> {
    if !is_cpu_supported {
        return Err(ScrapeError::NoTls);
    }
    let provider = Arc::new(rustls_graviola::default_provider());
    let client_cert = spec.client.as_ref().map(|files| client_certificate(files, &provider)).transpose()?;
    let config = TlsConfig::builder().root_certs(root_certs).client_cert(client_cert);
    Ok(config.unversioned_rustls_crypto_provider(provider).build())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cpu_without_the_instructions_for_tls_is_refused_with_their_names() {
        let spec: HostSpec = "0=https://a".parse().unwrap();
        let message = tls_config(&spec, RootCerts::PlatformVerifier, false).unwrap_err().to_string();
        assert!(message.contains(CPU_FEATURES), "{message}");
        assert!(tls_config(&spec, RootCerts::PlatformVerifier, true).is_ok());
    }
}
