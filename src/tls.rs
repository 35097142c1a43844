//! Owns pinned TLS between server and agents: identities made on the spot, and verifiers that know one certificate.
//!
//! There is no authority: an agent was told the server's certificate by its installation, the server remembers the
//! agent's certificate from when it joined. Names and validity times are not looked at, so a changed address or a
//! wrong clock does not lock anybody out.

use crate::base::Sha256;
use crate::disk;
use crate::problem::Problem;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{ClientConfig, DigitallySignedStruct, DistinguishedName, Error, ServerConfig, SignatureScheme};
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::sync::Arc;

/// A certificate and its key.
#[derive(Clone, Serialize, Deserialize)]
pub struct Identity {
    /// DER, as hexadecimal digits in the file.
    certificate: Hex,
    key: Hex,
}

#[derive(Clone)]
struct Hex(Vec<u8>);

impl Serialize for Hex {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let text: String = self.0.iter().map(|b| format!("{b:02x}")).collect();
        s.serialize_str(&text)
    }
}
impl<'de> Deserialize<'de> for Hex {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Hex, D::Error> {
        let text = String::deserialize(d)?;
        let digits: Vec<u8> = text.bytes().collect();
        digits
            .chunks(2)
            .map(|pair| std::str::from_utf8(pair).ok().and_then(|t| u8::from_str_radix(t, 16).ok()))
            .collect::<Option<Vec<u8>>>()
            .map(Hex)
            .ok_or_else(|| serde::de::Error::custom("not hexadecimal digits"))
    }
}

impl Identity {
    /// A new key and its self-signed certificate. `name` is for people only.
    pub fn make(name: &str) -> Result<Identity, Problem> {
        let made = || -> Result<Identity, rcgen::Error> {
            let key = rcgen::KeyPair::generate()?;
            let params = rcgen::CertificateParams::new(vec![name.to_string()])?;
            let certificate = params.self_signed(&key)?;
            Ok(Identity { certificate: Hex(certificate.der().to_vec()), key: Hex(key.serialize_der()) })
        };
        made().map_err(|e| Problem::fault(format!("cannot make a TLS key: {e}")))
    }

    /// The identity in this file (JSON, mode 0600), made once.
    pub fn load_or_make(path: &Path, name: &str) -> Result<Identity, Problem> {
        if path.exists() {
            let text = disk::read_text(path)?;
            // serde's own error would show a part of the key.
            return serde_json::from_str(&text).map_err(|_| {
                Problem::environment(format!("{} is damaged: it holds no TLS key", path.display()))
                    .help("restore it from a backup; without it every agent has to join anew")
            });
        }
        let identity = Identity::make(name)?;
        let text = serde_json::to_string(&identity).map_err(|e| Problem::fault(e.to_string()))?;
        disk::write(path, text.as_bytes(), 0o600)?;
        Ok(identity)
    }

    /// SHA-256 of the certificate: what the other side pins.
    pub fn fingerprint(&self) -> Sha256 {
        Sha256::of(&self.certificate.0)
    }

    fn parts(&self) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
        let certificate = CertificateDer::from(self.certificate.0.clone());
        (vec![certificate], PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.key.0.clone())))
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn fault(e: Error) -> Problem {
    Problem::fault(format!("TLS cannot be prepared: {e}"))
}

/// The server's side: every client shows a certificate; who it is is judged by the fingerprint afterwards.
pub fn server(identity: &Identity) -> Result<Arc<ServerConfig>, Problem> {
    let provider = provider();
    let verifier = Arc::new(AnyClient(provider.signature_verification_algorithms));
    let (chain, key) = identity.parts();
    let config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(fault)?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)
        .map_err(fault)?;
    Ok(Arc::new(config))
}

/// The agent's side: it shows its own certificate, and talks only to the server of this fingerprint.
pub fn client(identity: &Identity, pin: Sha256) -> Result<Arc<ClientConfig>, Problem> {
    let provider = provider();
    let verifier = Arc::new(Pinned { pin, algorithms: provider.signature_verification_algorithms });
    let (chain, key) = identity.parts();
    let config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(fault)?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_client_auth_cert(chain, key)
        .map_err(fault)?;
    Ok(Arc::new(config))
}

/// Takes any certificate whose key the client proves to have.
#[derive(Debug)]
struct AnyClient(WebPkiSupportedAlgorithms);

impl ClientCertVerifier for AnyClient {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }
    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        Ok(ClientCertVerified::assertion())
    }
    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General("TLS 1.2 is not spoken".to_string()))
    }
    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.0)
    }
    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
    }
}

/// Takes one certificate.
#[derive(Debug)]
struct Pinned {
    pin: Sha256,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if Sha256::of(certificate) == self.pin {
            return Ok(ServerCertVerified::assertion());
        }
        Err(Error::General("this is not the server that installed this node".to_string()))
    }
    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General("TLS 1.2 is not spoken".to_string()))
    }
    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.algorithms)
    }
    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
