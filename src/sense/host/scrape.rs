//! Fetches one page over HTTP(S), bounded in time and size.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use graviola::util::is_cpu_supported;
use ureq::http::StatusCode;
use ureq::tls::{RootCerts, TlsConfig};
use ureq::unversioned::transport::DefaultConnector;
use ureq::Agent;

use super::access::Access;
use super::names::Names;
use super::secrets::{authorization, certificates, client_certificate};

/// node_exporter's answer has some 100 kB on a small host and some MB on the largest.
const ANSWER_BYTES_MAX: u64 = 4 << 20;
/// What a server has to say about a refusal.
const REFUSAL_BYTES_MAX: u64 = 4 << 10;

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
    #[error("the answer has status {status} instead of 200")]
    Status {
        /// The answer's status.
        status: StatusCode,
        /// The answer; empty if it is long.
        text: String,
    },
    /// The answer is larger than that of any node_exporter.
    #[error(
        "the answer is larger than 4 MiB; ask for less: with ?collect[]=cpu in the URL node_exporter answers with its CPU \
         metrics alone (&collect[]=pressure adds PSI)"
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
    #[error("{}: {cause}", path.display())]
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

/// An answer.
#[derive(Debug)]
pub struct Answer {
    /// The metrics in Prometheus's text format, or what else the URL has.
    pub text: String,
    /// When the request was sent: what it says was read after this.
    pub asked: Instant,
    /// When the answer was complete: what it says was read before this.
    pub answered: Instant,
}

/// Asks one URL. The connection stays open from one scrape to the next.
#[derive(Debug)]
pub struct Scraper {
    url: String,
    access: Access,
    agent: Agent,
}

impl Scraper {
    /// Read the files that `access` names, so that bad ones are refused at once. A scrape
    /// takes at most `timeout`. `names` looks up the host.
    pub fn new(url: &str, access: &Access, timeout: Duration, names: Names) -> Result<Self, ScrapeError> {
        let root_certs = match &access.ca_file {
            Some(path) => RootCerts::from(certificates(path)?),
            None => RootCerts::PlatformVerifier,
        };
        authorization(access.auth.as_ref())?;
        let tls_config = if url.starts_with("https:") {
            tls_config(access, root_certs, is_cpu_supported())?
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
        let agent = Agent::with_parts(config, DefaultConnector::default(), names);
        Ok(Scraper { url: url.to_owned(), access: access.clone(), agent })
    }

    /// The URL that it asks.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Send one request and read its answer.
    pub fn scrape(&self) -> Result<Answer, ScrapeError> {
        let mut request = self.agent.get(&self.url);
        if let Some(value) = authorization(self.access.auth.as_ref())? {
            request = request.header("Authorization", value);
        }
        let asked = Instant::now();
        let mut response = request.call()?;
        if response.status() != StatusCode::OK {
            let text = response.body_mut().with_config().limit(REFUSAL_BYTES_MAX).read_to_string().unwrap_or_default();
            return Err(ScrapeError::Status { status: response.status(), text });
        }
        let body = response.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_to_vec()?;
        let answered = Instant::now();
        let text = String::from_utf8(body).map_err(|_| ScrapeError::NotText)?;
        Ok(Answer { text, asked, answered })
    }
}

/// TLS with graviola. On an unsupported CPU graviola would panic at its first use.
fn tls_config(access: &Access, root_certs: RootCerts, is_cpu_supported: bool) -> Result<TlsConfig, ScrapeError> {
    if !is_cpu_supported {
        return Err(ScrapeError::NoTls);
    }
    let provider = Arc::new(rustls_graviola::default_provider());
    let client_cert = access.client.as_ref().map(|files| client_certificate(files, &provider)).transpose()?;
    let config = TlsConfig::builder().root_certs(root_certs).client_cert(client_cert);
    Ok(config.unversioned_rustls_crypto_provider(provider).build())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cpu_without_the_instructions_for_tls_is_refused_with_their_names() {
        let access = Access::default();
        let message = tls_config(&access, RootCerts::PlatformVerifier, false).unwrap_err().to_string();
        assert!(message.contains(CPU_FEATURES), "{message}");
        assert!(tls_config(&access, RootCerts::PlatformVerifier, true).is_ok());
    }
}
