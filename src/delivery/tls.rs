//! What lies below HTTP: TLS or not, whom it trusts, and which HTTP is spoken over it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::client::danger::{
    HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier,
};
use tokio_rustls::rustls::client::{WantsClientCert, WebPkiServerVerifier, verify_server_name};
use tokio_rustls::rustls::crypto::{CryptoProvider, ring};
use tokio_rustls::rustls::pki_types::pem::{self, PemObject};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use tokio_rustls::rustls::server::ParsedCertificate;
use tokio_rustls::rustls::{
    self, CertificateError, ClientConfig, ConfigBuilder, DigitallySignedStruct, RootCertStore,
    SignatureScheme,
};

use super::answer::{Failure, FailureKind};

/// A version of HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HttpVersion {
    /// HTTP/1.1.
    One,
    /// HTTP/2; on an `http://` URL by prior knowledge.
    Two,
}

/// How a destination is reached, as far as its URL does not say.
#[derive(Clone, Debug, Default)]
pub struct Transport {
    /// A PEM file of certificates that are trusted instead of the platform's.
    pub ca: Option<PathBuf>,
    /// Whether any certificate will do.
    pub insecure: bool,
    /// Who the client is.
    pub identity: Option<Identity>,
    /// The version of HTTP; if absent, what both sides prefer on https, else HTTP/1.1.
    pub http: Option<HttpVersion>,
}

/// A client certificate.
#[derive(Clone, Debug)]
pub struct Identity {
    /// A PEM file with the certificate and those that lead to its issuer.
    pub certificate: PathBuf,
    /// A PEM file with its key.
    pub key: PathBuf,
}

impl Transport {
    /// Whether a URL can be reached like this.
    ///
    /// # Errors
    ///
    /// Something is for https alone; after a line break, how to mend it.
    pub fn check(&self, url: &hyper::Uri) -> Result<(), String> {
        let for_https = [
            ("--ca", self.ca.is_some()),
            ("--insecure", self.insecure),
            ("--cert", self.identity.is_some()),
        ];
        match for_https.into_iter().find(|(_, asked)| *asked) {
            Some((option, _)) if url.scheme_str() != Some("https") => Err(format!(
                "`{option}` is for https, and the destination is an http URL\nleave `{option}` out, or write `https://`"
            )),
            _ => Ok(()),
        }
    }
}

/// TLS with one host; all of a run's connections share it, and so resume each other's sessions.
#[derive(Clone, Debug)]
pub(super) struct Tls {
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
    http: Option<HttpVersion>,
}

impl Tls {
    /// Reads the files; errors have a line break before how to mend it.
    pub(super) fn new(host: &str, transport: &Transport) -> Result<Tls, String> {
        let name = ServerName::try_from(host.to_owned()).map_err(|_| {
            format!("`{host}` is not a name that a certificate can be for\nuse a DNS name or an IP address")
        })?;
        let mut config = identify(trusting(transport)?, transport.identity.as_ref())?;
        config.alpn_protocols = match transport.http {
            Some(HttpVersion::One) => vec![b"http/1.1".to_vec()],
            Some(HttpVersion::Two) => vec![b"h2".to_vec()],
            None => vec![b"h2".to_vec(), b"http/1.1".to_vec()],
        };
        Ok(Tls {
            config: Arc::new(config),
            name,
            http: transport.http,
        })
    }

    /// Makes a connection secure, and settles which HTTP is spoken over it.
    pub(super) async fn secure(
        &self,
        stream: TcpStream,
    ) -> Result<(TlsStream<TcpStream>, HttpVersion), Failure> {
        let stream = TlsConnector::from(Arc::clone(&self.config))
            .connect(self.name.clone(), stream)
            .await
            .map_err(|error| Failure::new(FailureKind::TlsFailed, in_words(&error)))?;
        let agreed = match stream.get_ref().1.alpn_protocol() {
            Some(b"h2") => HttpVersion::Two,
            _ => HttpVersion::One,
        };
        if self.http == Some(HttpVersion::Two) && agreed != HttpVersion::Two {
            let words = "the receiver does not offer HTTP/2 over TLS (ALPN)";
            return Err(Failure::new(FailureKind::TlsFailed, words));
        }
        Ok((stream, agreed))
    }
}

/// The library's words, with what they leave open.
fn in_words(error: &std::io::Error) -> String {
    let of_tls = error.get_ref().and_then(|error| error.downcast_ref());
    match of_tls {
        Some(rustls::Error::InvalidMessage(_)) => {
            format!("the receiver does not speak TLS at this port: {error}")
        }
        Some(_) => error.to_string(),
        None => format!("the connection ended while TLS was being set up: {error}"),
    }
}

/// A configuration that knows whom it trusts.
fn trusting(transport: &Transport) -> Result<ConfigBuilder<ClientConfig, WantsClientCert>, String> {
    let provider = Arc::new(ring::default_provider());
    let verifier = verifier(transport, &provider)?;
    Ok(ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| format!("TLS cannot be set up: {error}"))?
        .dangerous()
        .with_custom_certificate_verifier(verifier))
}

fn verifier(
    transport: &Transport,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn ServerCertVerifier>, String> {
    if transport.insecure {
        return Ok(Arc::new(AnyCertificate(Arc::clone(provider))));
    }
    let Some(file) = &transport.ca else {
        let verifier = rustls_platform_verifier::Verifier::new(Arc::clone(provider));
        return match verifier {
            Ok(verifier) => Ok(Arc::new(verifier)),
            Err(error) => Err(format!(
                "the system's trusted certificates cannot be had: {error}\n\
                 install them (on Linux often the package ca-certificates), or name a file with `--ca`"
            )),
        };
    };
    let listed = certificates(file)?;
    let mut roots = RootCertStore::empty();
    for certificate in &listed {
        roots
            .add(certificate.clone())
            .map_err(|error| unusable(file, "a certificate", &error))?;
    }
    let issuers =
        WebPkiServerVerifier::builder_with_provider(roots.into(), Arc::clone(provider)).build();
    let issuers = issuers.map_err(|error| unusable(file, "a certificate", &error))?;
    Ok(Arc::new(Listed { issuers, listed }))
}

/// Adds who the client is, if it is anybody.
fn identify(
    builder: ConfigBuilder<ClientConfig, WantsClientCert>,
    identity: Option<&Identity>,
) -> Result<ClientConfig, String> {
    let Some(Identity { certificate, key }) = identity else {
        return Ok(builder.with_no_client_auth());
    };
    let chain = certificates(certificate)?;
    let secret =
        PrivateKeyDer::from_pem_slice(&read(key)?).map_err(|error| not_pem(key, "key", &error))?;
    builder
        .with_client_auth_cert(chain, secret)
        .map_err(|error| match error {
            rustls::Error::InconsistentKeys(_) => format!(
                "the key in {} does not belong to the certificate in {}\nname the key that the certificate was made for",
                key.display(),
                certificate.display()
            ),
            error => unusable(key, "a key", &error),
        })
}

/// The certificates of a PEM file, at least one.
fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let text = read(file)?;
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    match all {
        Ok(none) if none.is_empty() => Err(not_pem(file, "certificate", &pem::Error::NoItemsFound)),
        Ok(all) => Ok(all),
        Err(error) => Err(not_pem(file, "certificate", &error)),
    }
}

fn read(file: &Path) -> Result<Vec<u8>, String> {
    std::fs::read(file).map_err(|error| {
        format!(
            "cannot read {}: {}\nname a PEM file that is there",
            file.display(),
            crate::scenario::source::plain_words(&error)
        )
    })
}

fn not_pem(file: &Path, what: &str, error: &pem::Error) -> String {
    let label = match what {
        "key" => "PRIVATE KEY",
        _ => "CERTIFICATE",
    };
    let why = match error {
        pem::Error::NoItemsFound => String::new(),
        error => format!(": {error}"),
    };
    format!(
        "{} holds no {what} in PEM{why}\nsuch a file has a line `-----BEGIN {label}-----`",
        file.display()
    )
}

fn unusable(file: &Path, what: &str, error: &dyn std::error::Error) -> String {
    format!(
        "{} holds {what} that cannot be used: {error}\nmake it anew; ECDSA P-256, Ed25519 and RSA of 2048 bits or more are understood",
        file.display()
    )
}

/// Trusts what the certificates of a file have issued, and these themselves: one that a development server
/// has signed itself says that it is an authority, and as such could not be a server's.
#[derive(Debug)]
struct Listed {
    issuers: Arc<WebPkiServerVerifier>,
    listed: Vec<CertificateDer<'static>>,
}

impl ServerCertVerifier for Listed {
    fn verify_server_cert(
        &self,
        of_server: &CertificateDer<'_>,
        between: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let verified = self
            .issuers
            .verify_server_cert(of_server, between, name, ocsp, now);
        match verified {
            Err(rustls::Error::InvalidCertificate(CertificateError::Other(_)))
                if self.listed.contains(of_server) =>
            {
                verify_server_name(&ParsedCertificate::try_from(of_server)?, name)?;
                Ok(ServerCertVerified::assertion())
            }
            verified => verified,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.issuers
            .verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.issuers
            .verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.issuers.supported_verify_schemes()
    }
}

/// Takes every certificate, and so every receiver.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
