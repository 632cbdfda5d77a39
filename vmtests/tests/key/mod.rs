//! Keys and certificates for tests.

use base64::prelude::{Engine, BASE64_STANDARD};
use graviola::hashing::Sha256;
use graviola::signing::ecdsa::{SigningKey, P256};
use rcgen::CertificateParams;

/// A key that signs its own certificate, made by the cryptography that the daemon uses.
pub struct Key {
    key: SigningKey<P256>,
    point: Vec<u8>,
}

impl Key {
    pub fn generate() -> Self {
        let key = SigningKey::<P256>::generate().expect("a key");
        let mut spki = [0; 256];
        // The uncompressed point is the last field of the key's SubjectPublicKeyInfo.
        const POINT_BYTES: usize = 65;
        let spki = key.to_spki_der(&mut spki).expect("the public key");
        let point = spki[spki.len() - POINT_BYTES..].to_vec();
        Key { key, point }
    }

    pub fn pem(&self) -> String {
        format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", BASE64_STANDARD.encode(self.pkcs8()))
    }

    pub fn pkcs8(&self) -> Vec<u8> {
        self.key.to_pkcs8_der(&mut [0; 512]).expect("the private key").to_vec()
    }
}

impl rcgen::PublicKeyData for Key {
    fn der_bytes(&self) -> &[u8] {
        &self.point
    }

    fn algorithm(&self) -> &'static rcgen::SignatureAlgorithm {
        &rcgen::PKCS_ECDSA_P256_SHA256
    }
}

impl rcgen::SigningKey for Key {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        let mut signature = [0; 128];
        let signature = self.key.sign_asn1::<Sha256>(&[message], &mut signature);
        Ok(signature.map_err(|_| rcgen::Error::RemoteKeyError)?.to_vec())
    }
}

/// Its certificate, for a server or client of this name.
pub fn certificate(name: &str, key: &Key) -> rcgen::Certificate {
    let mut params = CertificateParams::new([name.into()]).expect("a name");
    params.serial_number = Some(1.into());
    params.self_signed(key).expect("a certificate")
}
