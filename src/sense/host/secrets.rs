//! The files that an entry names: passwords, tokens, certificates and keys; and what endangers them.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use base64::prelude::{Engine, BASE64_STANDARD};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use ureq::tls::{parse_pem, Certificate, ClientCert, PemItem, PrivateKey};

use super::access::{Access, Auth, ClientFiles};
use super::scrape::ScrapeError;

/// The value of the Authorization header, from the files' current content.
pub(super) fn authorization(auth: Option<&Auth>) -> Result<Option<String>, ScrapeError> {
    Ok(match auth {
        None => None,
        Some(Auth::Bearer { token_file }) => Some(format!("Bearer {}", read_secret(token_file)?)),
        Some(Auth::Basic { user, password_file }) => {
            let credentials = format!("{user}:{}", read_secret(password_file)?);
            Some(format!("Basic {}", BASE64_STANDARD.encode(credentials)))
        }
    })
}

fn read_secret(path: &Path) -> Result<String, ScrapeError> {
    let text = String::from_utf8(read(path)?).map_err(|_| unusable(path, "it is not text"))?;
    let secret = text.trim_end_matches(['\r', '\n']);
    if secret.is_empty() || secret.contains(char::is_control) {
        return Err(unusable(path, "it must hold one line and nothing else"));
    }
    Ok(secret.to_string())
}

/// The certificates of a PEM file, at least one.
pub(super) fn certificates(path: &Path) -> Result<Vec<Certificate<'static>>, ScrapeError> {
    let mut certificates = Vec::new();
    for item in parse_pem(&read(path)?) {
        if let PemItem::Certificate(certificate) = item.map_err(|err| unusable(path, err))? {
            certificates.push(certificate);
        }
    }
    if certificates.is_empty() {
        return Err(unusable(path, "it has no certificate in PEM"));
    }
    Ok(certificates)
}

/// The certificate that the guest shows, and its key. They are checked here, since ureq would panic at the first request.
pub(super) fn client_certificate(files: &ClientFiles, provider: &CryptoProvider) -> Result<ClientCert, ScrapeError> {
    let chain = certificates(&files.cert_file)?;
    let pem = read(&files.key_file)?;
    let no_key = || unusable(&files.key_file, "it has no private key in PEM");
    let checked = PrivateKeyDer::from_pem_slice(&pem).map_err(|_| no_key())?;
    let chain_der = chain.iter().map(|certificate| CertificateDer::from(certificate.der().to_vec())).collect();
    CertifiedKey::from_der(chain_der, checked, provider)
        .map_err(|err| unusable(&files.key_file, format!("it is not the key of cert_file: {err}")))?;
    Ok(ClientCert::new_with_certs(&chain, PrivateKey::from_pem(&pem).map_err(|_| no_key())?))
}

fn read(path: &Path) -> Result<Vec<u8>, ScrapeError> {
    std::fs::read(path).map_err(|cause| ScrapeError::File { path: path.to_path_buf(), cause })
}

fn unusable(path: &Path, why: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> ScrapeError {
    ScrapeError::File { path: path.to_path_buf(), cause: io::Error::new(io::ErrorKind::InvalidData, why) }
}

/// What endangers the secrets of an entry, each a sentence with its remedy.
pub(in crate::sense) fn warnings(url: &str, access: &Access) -> Vec<String> {
    let mut warnings = Vec::new();
    let (secret, file) = match &access.auth {
        Some(Auth::Basic { password_file, .. }) => ("password", Some(password_file)),
        Some(Auth::Bearer { token_file }) => ("token", Some(token_file)),
        None => ("", None),
    };
    if file.is_some() && !url.starts_with("https:") {
        warnings.push(format!("{url}: the {secret} crosses the network unencrypted; use https://"));
    }
    let key = access.client.as_ref().map(|files| &files.key_file);
    for path in file.into_iter().chain(key).filter(|path| is_open_to_all(path)) {
        warnings.push(format!("{0}: every user can read or change this secret; chmod o= {0}", path.display()));
    }
    warnings
}

fn is_open_to_all(path: &PathBuf) -> bool {
    const READ_OR_WRITE_OF_OTHERS: u32 = 0o006;
    std::fs::metadata(path).is_ok_and(|file| file.permissions().mode() & READ_OR_WRITE_OF_OTHERS != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file with this mode, removed at the end.
    struct Secret(PathBuf);

    impl Secret {
        fn new(mode: u32) -> Self {
            let path = std::env::temp_dir().join(format!("vnuma-secret-{}-{mode:o}", std::process::id()));
            std::fs::write(&path, "secret\n").unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            Secret(path)
        }
    }

    impl Drop for Secret {
        fn drop(&mut self) {
            let _ = std::fs::remove_file(&self.0);
        }
    }

    #[test]
    fn a_secret_over_http_or_open_to_all_is_warned_of_by_name() {
        let (closed, open) = (Secret::new(0o640), Secret::new(0o644));
        let auth = |auth| Access { auth: Some(auth), ..Access::default() };
        let token = |file: &Secret| auth(Auth::Bearer { token_file: file.0.clone() });
        let password = |file: &Secret| auth(Auth::Basic { user: "me".into(), password_file: file.0.clone() });
        assert_eq!(warnings("https://a", &token(&closed)), [""; 0]);
        assert_eq!(warnings("http://a", &Access::default()), [""; 0]);
        let plain = warnings("http://a/metrics", &password(&closed));
        assert_eq!(plain, ["http://a/metrics: the password crosses the network unencrypted; use https://"]);
        let both = warnings("http://a", &token(&open));
        assert!(both[0].contains("the token crosses"), "{both:?}");
        assert!(both[1].starts_with(&format!("{}: every user can read", open.0.display())), "{both:?}");
        let client = Some(ClientFiles { cert_file: open.0.clone(), key_file: open.0.clone() });
        let key = warnings("https://a", &Access { client, ..Access::default() });
        assert!(key.len() == 1 && key[0].contains("chmod o= "), "{key:?}");
    }
}
