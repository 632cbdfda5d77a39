//! What a server needs beside its URL: credentials and certificates, as the fields of an entry of a file.

use std::path::{Path, PathBuf};

/// Credentials and certificates for one URL. By default there are none, and the guest's own store says whom to trust.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Access {
    /// Credentials to send, if any.
    pub auth: Option<Auth>,
    /// PEM file with the certificates that an HTTPS server must be signed by; the guest's own store if `None`.
    pub ca_file: Option<PathBuf>,
    /// The certificate that the guest shows to an HTTPS server, if any.
    pub client: Option<ClientFiles>,
}

/// A client certificate for mutual TLS. The files are read once, at the start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientFiles {
    /// PEM file with the certificate and those that lead to its CA.
    pub cert_file: PathBuf,
    /// PEM file with the certificate's private key.
    pub key_file: PathBuf,
}

/// Credentials. The files are read before every request, so that secrets may change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Auth {
    /// HTTP basic authentication.
    Basic {
        /// The user name.
        user: String,
        /// File that holds the password on a single line.
        password_file: PathBuf,
    },
    /// `Authorization: Bearer …`.
    Bearer {
        /// File that holds the token on a single line.
        token_file: PathBuf,
    },
}

/// The fields of a file's entry that make an [`Access`]. Entries list them beside their own: serde can't refuse unknown fields
/// of a flattened struct.
#[derive(Debug, Default)]
pub(in crate::sense) struct AccessFields {
    pub user: Option<String>,
    pub password_file: Option<PathBuf>,
    pub bearer_token_file: Option<PathBuf>,
    pub ca_file: Option<PathBuf>,
    pub cert_file: Option<PathBuf>,
    pub key_file: Option<PathBuf>,
}

impl AccessFields {
    /// The access to `url`. Relative paths start from `folder`.
    pub fn check(self, url: &str, folder: &Path) -> Result<Access, String> {
        let auth = match (self.user, self.password_file, self.bearer_token_file) {
            (None, None, None) => None,
            (Some(user), Some(_), None) if user.contains(':') => return Err("user must not contain a ':'".into()),
            (Some(user), Some(file), None) => Some(Auth::Basic { user, password_file: folder.join(file) }),
            (None, None, Some(file)) => Some(Auth::Bearer { token_file: folder.join(file) }),
            _ => return Err("set both user and password_file, or bearer_token_file alone".into()),
        };
        let client = match (self.cert_file, self.key_file) {
            (None, None) => None,
            (Some(cert), Some(key)) => Some(ClientFiles { cert_file: folder.join(cert), key_file: folder.join(key) }),
            _ => return Err("set both cert_file and key_file".into()),
        };
        if client.is_some() && !url.starts_with("https:") {
            return Err("cert_file needs an https:// url".into());
        }
        if self.ca_file.is_some() && !url.starts_with("https:") {
            return Err("ca_file needs an https:// url".into());
        }
        Ok(Access { auth, ca_file: self.ca_file.map(|file| folder.join(file)), client })
    }
}
