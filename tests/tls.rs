//! Destinations on https, over HTTP/2, and with a user and password in the URL.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test may fail loudly"
)]

mod outside;

use std::fs;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Instant;

use outside::{PATIENCE, Ran, Receiver, free_port, present, run, run_with_input};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, SanType, date_time_ymd,
};
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig, ServerConnection, StreamOwned};

/// An authority of our own, in a folder with what it issues.
struct Authority {
    folder: tempfile::TempDir,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Authority {
        let mut params = CertificateParams::new([]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let authority = Authority {
            folder: tempfile::tempdir().unwrap(),
            issuer,
        };
        fs::write(authority.path("ca.pem"), authority.issuer.pem()).unwrap();
        authority
    }

    fn path(&self, file: &str) -> String {
        self.folder.path().join(file).display().to_string()
    }

    fn ca(&self) -> String {
        self.path("ca.pem")
    }

    /// Writes NAME.pem and NAME.key.
    fn issue(&self, name: &str, change: impl FnOnce(&mut CertificateParams)) {
        let mut params = CertificateParams::new([]).unwrap();
        params.subject_alt_names = vec![SanType::IpAddress(IpAddr::V4(Ipv4Addr::LOCALHOST))];
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        fs::write(self.path(&format!("{name}.pem")), certificate.pem()).unwrap();
        fs::write(self.path(&format!("{name}.key")), key.serialize_pem()).unwrap();
    }

    /// A receiver on https with that certificate; gives its URL.
    fn receiver(&self, name: &str, clients: Clients, protocols: &[&str]) -> String {
        let mut roots = RootCertStore::empty();
        roots.add(self.issuer.der().clone()).unwrap();
        let provider = Arc::new(ring::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .unwrap();
        let builder = match clients {
            Clients::Anybody => builder.with_no_client_auth(),
            Clients::OfTheAuthority => builder.with_client_cert_verifier(
                WebPkiClientVerifier::builder_with_provider(roots.into(), provider)
                    .build()
                    .unwrap(),
            ),
        };
        let certificate = CertificateDer::from_pem_file(self.path(&format!("{name}.pem")));
        let key = PrivateKeyDer::from_pem_file(self.path(&format!("{name}.key")));
        let mut config = builder
            .with_single_cert(vec![certificate.unwrap()], key.unwrap())
            .unwrap();
        config.alpn_protocols = protocols
            .iter()
            .map(|name| name.as_bytes().to_vec())
            .collect();
        let config = Arc::new(config);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("https://{}/callbacks", listener.local_addr().unwrap());
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let connection = ServerConnection::new(Arc::clone(&config)).unwrap();
                std::thread::spawn(move || serve(stream, connection));
            }
        });
        url
    }
}

/// Whom a receiver lets in.
enum Clients {
    Anybody,
    OfTheAuthority,
}

/// Answers each request with 200, over HTTP/1.1.
fn serve(mut stream: TcpStream, mut connection: ServerConnection) {
    if connection.complete_io(&mut stream).is_err() {
        // Closing with something unread would overtake the alert that says why.
        let _ = std::io::copy(&mut stream, &mut std::io::sink());
        return;
    }
    let mut stream = StreamOwned::new(connection, stream);
    let (mut text, mut buffer) = (Vec::new(), [0; 4096]);
    while let Ok(read @ 1..) = stream.read(&mut buffer) {
        text.extend_from_slice(&buffer[..read]);
        if text.ends_with(b"}}}") {
            text.clear();
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
        }
    }
}

/// Fires one callback; failures are final.
fn fire(url: &str, more: &[&str]) -> Ran {
    let mut args = vec!["trigger", "carrier.sent", "--to", url, "--format", "json"];
    args.extend(["--retry", "none", "--timeout", "60s"]);
    args.extend(more);
    run(&args)
}

#[track_caller]
fn accepted(ran: Ran) -> Ran {
    let ran = ran.expect_code(0);
    assert_eq!(ran.json()["accepted"], 1, "{ran:?}");
    ran
}

/// The attempt failed, and the report says why in these words.
#[track_caller]
fn tls_failed(ran: Ran, words: &str) {
    let report = ran.expect_code(1).json();
    assert_eq!(report["errors"]["tls_failed"], 1, "{report}");
    let example = report["error_examples"]["tls_failed"].as_str().unwrap();
    assert!(example.contains(words), "{example}");
}

#[test]
fn an_authority_of_ones_own_is_trusted_when_it_is_named_and_not_else() {
    let authority = Authority::new();
    authority.issue("server", |_| ());
    let url = authority.receiver("server", Clients::Anybody, &[]);
    let ran = accepted(fire(&url, &["--ca", &authority.ca()]));
    assert_eq!(ran.json()["destination"], url.as_str());
    assert_eq!(ran.err, "");
    tls_failed(fire(&url, &[]), "UnknownIssuer");
}

#[test]
fn many_callbacks_over_several_connections() {
    let authority = Authority::new();
    authority.issue("server", |_| ());
    let url = authority.receiver("server", Clients::Anybody, &["http/1.1"]);
    let scenario =
        format!("seed: 1\ndestination: {{url: '{url}'}}\nevents: [{{event_type: a, count: 50}}]");
    let ca = authority.ca();
    let args = ["run", "-", "--speed", "max", "--format", "json"];
    let more = ["--connections", "4", "--timeout", "60s", "--ca", &ca];
    let ran = run_with_input(&[&args[..], &more[..]].concat(), &scenario).expect_code(0);
    assert_eq!(ran.json()["accepted"], 200);
    assert_eq!(ran.json()["attempts"], 200);
}

#[test]
fn a_certificate_that_signs_itself_is_trusted_when_it_is_named_but_only_for_its_names() {
    let authority = Authority::new();
    let mut params = CertificateParams::new(["localhost".to_owned()]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let certificate = params.self_signed(&key).unwrap();
    fs::write(authority.path("own.pem"), certificate.pem()).unwrap();
    fs::write(authority.path("own.key"), key.serialize_pem()).unwrap();
    let url = authority.receiver("own", Clients::Anybody, &[]);
    let own = authority.path("own.pem");
    tls_failed(fire(&url, &["--ca", &own]), "not valid for name");
    let by_name = url.replace("127.0.0.1", "localhost");
    accepted(fire(&by_name, &["--ca", &own]));
    tls_failed(
        fire(&by_name, &["--ca", &authority.ca()]),
        "CaUsedAsEndEntity",
    );
}

#[test]
fn wrong_and_expired_certificates_are_refused_and_taken_with_insecure() {
    let authority = Authority::new();
    authority.issue("elsewhere", |params| {
        params.subject_alt_names = vec![SanType::DnsName("example.com".try_into().unwrap())];
    });
    authority.issue("old", |params| params.not_after = date_time_ymd(2020, 1, 1));
    for (name, words) in [("elsewhere", "not valid for name"), ("old", "expired")] {
        let url = authority.receiver(name, Clients::Anybody, &[]);
        tls_failed(fire(&url, &["--ca", &authority.ca()]), words);
        for more in [&["--insecure"][..], &["--insecure", "--quiet"]] {
            let ran = accepted(fire(&url, more));
            assert!(ran.err.contains("WARNING: --insecure"), "{ran:?}");
        }
    }
}

#[test]
fn a_client_certificate_is_shown_to_a_receiver_that_wants_one() {
    let authority = Authority::new();
    authority.issue("server", |_| ());
    authority.issue("client", |_| ());
    let (ca, cert, key) = (
        authority.ca(),
        authority.path("client.pem"),
        authority.path("client.key"),
    );
    let trust = ["--ca", ca.as_str()];
    let url = authority.receiver("server", Clients::OfTheAuthority, &[]);
    let identity = [&trust[..], &["--cert", &cert, "--key", &key]].concat();
    accepted(fire(&url, &identity));
    tls_failed(fire(&url, &trust), "CertificateRequired");
    // The receiver says no before any HTTP/2 is spoken, so one that speaks HTTP/1.1 will do.
    let url = authority.receiver("server", Clients::OfTheAuthority, &["h2"]);
    tls_failed(fire(&url, &trust), "CertificateRequired");
    let stranger = Authority::new();
    stranger.issue("client", |_| ());
    let (cert, key) = (stranger.path("client.pem"), stranger.path("client.key"));
    let identity = [&trust[..], &["--cert", &cert, "--key", &key]].concat();
    tls_failed(fire(&url, &identity), "received fatal alert");
}

#[test]
fn a_receiver_that_speaks_no_tls_or_not_that_http_is_named_as_such() {
    // A server for mail speaks first.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mail = format!("https://{}/", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let _ = stream.write_all(b"220 mail.example.com ESMTP\r\n");
            let _ = std::io::copy(&mut stream, &mut std::io::sink());
        }
    });
    tls_failed(fire(&mail, &[]), "does not speak TLS");
    let authority = Authority::new();
    authority.issue("server", |_| ());
    let url = authority.receiver("server", Clients::Anybody, &[]);
    tls_failed(
        fire(&url, &["--ca", &authority.ca(), "--http", "2"]),
        "HTTP/2",
    );
}

#[test]
fn what_cannot_be_meant_is_refused_before_anything_is_sent() {
    let authority = Authority::new();
    authority.issue("a", |_| ());
    authority.issue("b", |_| ());
    let path = |name: &str| authority.path(name);
    fs::write(path("empty.pem"), "").unwrap();
    fs::write(
        path("bad.pem"),
        "-----BEGIN CERTIFICATE-----\n%%%\n-----END CERTIFICATE-----\n",
    )
    .unwrap();
    let https = format!("https://127.0.0.1:{}/", free_port());
    let http = format!("http://127.0.0.1:{}/", free_port());
    let cases: &[(&str, &[&str], &str)] = &[
        (&https, &["--ca", &path("none.pem")], "cannot read"),
        (
            &https,
            &["--ca", &path("empty.pem")],
            "no certificate in PEM",
        ),
        (&https, &["--ca", &path("bad.pem")], "no certificate in PEM"),
        (&https, &["--ca", &path("a.key")], "no certificate in PEM"),
        (&https, &["--cert", &path("a.pem")], "--key"),
        (&https, &["--key", &path("a.key")], "--cert"),
        (
            &https,
            &["--cert", &path("a.pem"), "--key", &path("a.pem")],
            "no key in PEM",
        ),
        (
            &https,
            &["--cert", &path("a.pem"), "--key", &path("b.key")],
            "does not belong",
        ),
        (
            &https,
            &["--insecure", "--ca", &path("ca.pem")],
            "--insecure",
        ),
        (&https, &["--http", "3"], "1 or 2"),
        (&http, &["--ca", &path("ca.pem")], "is for https"),
        (&http, &["--insecure"], "is for https"),
        (
            &http,
            &["--cert", &path("a.pem"), "--key", &path("a.key")],
            "is for https",
        ),
    ];
    for (url, more, words) in cases {
        let ran = fire(url, more).expect_code(2);
        assert_eq!(ran.out, "", "{more:?}");
        assert!(ran.err.contains(words), "{more:?}: {}", ran.err);
    }
    // The built-in receiver is on http as well.
    let ran = run(&["run", "happy-path", "--insecure"]).expect_code(2);
    assert!(ran.err.contains("is for https"), "{}", ran.err);
}

/// nginx, ended when dropped.
struct Nginx {
    process: Child,
    folder: tempfile::TempDir,
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Nginx {
    /// Listens on `port` as `listen` says; a visible line and none if nginx is not there.
    fn start(port: u16, listen: &str) -> Option<Nginx> {
        let places = [
            "/usr/sbin/nginx",
            "/usr/bin/nginx",
            "/opt/homebrew/bin/nginx",
        ];
        let Some(nginx) = places.iter().find(|place| Path::new(place).exists()) else {
            present(false, "nginx");
            return None;
        };
        let folder = tempfile::tempdir().unwrap();
        let config = format!(
            "daemon off; master_process off; pid nginx.pid; error_log errors.log; worker_rlimit_nofile 1024;
             events {{ worker_connections 512; }}
             http {{
               log_format short '$request_method $server_protocol $host $content_length';
               client_body_temp_path a; proxy_temp_path b; fastcgi_temp_path c; uwsgi_temp_path d; scgi_temp_path e;
               server {{ listen 127.0.0.1:{port} {listen}; access_log log short; return 204; }}
             }}"
        );
        fs::write(folder.path().join("nginx.conf"), config).unwrap();
        let mut command = Command::new(nginx);
        command
            .arg("-p")
            .arg(folder.path())
            .args(["-c", "nginx.conf", "-e", "errors.log"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let process = command.spawn().unwrap();
        let mut server = Nginx { process, folder };
        let began = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            let ended = server.process.try_wait().unwrap();
            assert!(
                ended.is_none() && began.elapsed() < PATIENCE,
                "nginx does not begin: {}",
                server.read("errors.log")
            );
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        Some(server)
    }

    fn read(&self, file: &str) -> String {
        fs::read_to_string(self.folder.path().join(file)).unwrap_or_default()
    }

    /// What stands in the log once there are so many lines.
    fn log(&self, lines: usize) -> Vec<String> {
        let began = Instant::now();
        loop {
            let log = self.read("log");
            if log.lines().count() >= lines {
                return log.lines().map(str::to_owned).collect();
            }
            assert!(began.elapsed() < PATIENCE, "{lines} lines wanted: {log}");
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
    }
}

#[test]
fn nginx_gets_http_2_on_https_unless_it_is_said_otherwise() {
    let authority = Authority::new();
    authority.issue("server", |_| ());
    let port = free_port();
    let (certificate, key) = (authority.path("server.pem"), authority.path("server.key"));
    let listen = format!("ssl http2; ssl_certificate {certificate}; ssl_certificate_key {key}");
    let Some(nginx) = Nginx::start(port, &listen) else {
        return;
    };
    let url = format!("https://127.0.0.1:{port}/callbacks");
    let ca = authority.ca();
    for (more, protocol) in [
        (&[][..], "HTTP/2.0"),
        (&["--http", "2"], "HTTP/2.0"),
        (&["--http", "1"], "HTTP/1.1"),
    ] {
        let before = nginx.read("log").lines().count();
        accepted(fire(&url, &[&["--ca", &ca][..], more].concat()));
        let line = nginx.log(before + 1).pop().unwrap();
        let expected = format!("POST {protocol} 127.0.0.1 ");
        assert!(line.starts_with(&expected), "{more:?}: {line}");
    }
}

#[test]
fn nginx_gets_http_2_by_prior_knowledge() {
    let port = free_port();
    let Some(nginx) = Nginx::start(port, "http2") else {
        return;
    };
    let url = format!("http://127.0.0.1:{port}/callbacks");
    let args = ["run", "-", "--speed", "max", "--format", "json", "--to"];
    let more = [url.as_str(), "--http", "2", "--timeout", "60s"];
    // More than nginx takes over one connection, so it ends one on the way.
    let connections = ["--connections", "1"];
    let events = "seed: 1\nevents: [{event_type: a, count: 300}]";
    let args = [&args[..], &more[..], &connections[..]].concat();
    let report = run_with_input(&args, events).expect_code(0).json();
    assert_eq!(report["accepted"], 1200, "{report}");
    assert_eq!(report["attempts"], 1200, "{report}");
    let log = nginx.log(1200);
    let of_two = log.iter().filter(|line| line.contains("HTTP/2.0"));
    assert_eq!(of_two.count(), 1200);
}

#[test]
fn http_2_by_prior_knowledge_with_a_receiver_that_has_none_fails() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
            let _ = std::io::copy(&mut stream, &mut std::io::sink());
        }
    });
    let report = fire(&url, &["--http", "2"]).expect_code(1).json();
    assert_eq!(report["errors"]["not_http"], 1, "{report}");
}

#[test]
fn user_and_password_of_the_url_become_a_header_and_are_never_shown() {
    let receiver = Receiver::answering("200 OK");
    let at = format!("127.0.0.1:{}", receiver.port());
    let url = format!("http://ann:s%65cret%40%3A%zz@{at}/callbacks?a=b@c");
    for more in [
        &[][..],
        &["--verbose"],
        &["--format", "human"],
        &["--format", "jsonl"],
    ] {
        let ran = fire(&url, more).expect_code(0);
        for hidden in ["s%65cret", "secret", "ann"] {
            assert!(
                !ran.out.contains(hidden) && !ran.err.contains(hidden),
                "{ran:?}"
            );
        }
        let requests = receiver.requests();
        let request = requests.last().unwrap();
        // ann:secret@:%zz
        let basic = Some("Basic YW5uOnNlY3JldEA6JXp6");
        assert_eq!(request.header("authorization"), basic);
        assert_eq!(request.header("host"), Some(at.as_str()));
        assert_eq!(request.path, "/callbacks?a=b@c");
    }
    let report = fire(&url, &[]).json();
    assert_eq!(
        report["destination"],
        format!("http://{at}/callbacks?a=b@c")
    );
    fire(&url, &["--header", "Authorization: Bearer x"]).expect_code(0);
    let requests = receiver.requests();
    let own = requests.last().unwrap().header("authorization");
    assert_eq!(own, Some("Bearer x"));
}

#[test]
fn a_password_is_not_shown_by_errors_either() {
    let port = free_port();
    for url in [
        format!("http://ann:s3cret@127.0.0.1:{port}/"),
        format!("https://ann:s3cret@127.0.0.1:{port}/"),
        "http://ann:s3cret@127.0.0.1:0/".to_owned(),
        "http://ann:s3c/s3cret@127.0.0.1/".to_owned(),
        "http://ann:s3cret@/".to_owned(),
        "http://ann%3Ab:s3cret@127.0.0.1/".to_owned(),
        "ftp://ann:s3cret@127.0.0.1/".to_owned(),
        "http://ann:s3cret wörd@127.0.0.1/".to_owned(),
    ] {
        let ran = fire(&url, &["--verbose"]);
        assert_ne!(ran.code, Some(0), "{url}");
        let scenario =
            format!("destination: {{url: '{url}', metod: POST}}\nevents: [{{event_type: a}}]");
        let checked = run_with_input(&["check", "-"], &scenario).expect_code(2);
        for shown in [ran.out, ran.err, checked.out, checked.err] {
            assert!(!shown.contains("s3c"), "{url}: {shown}");
        }
    }
    let ran = fire("ann:s3cret@127.0.0.1/", &[]).expect_code(2);
    assert!(!ran.err.contains("s3c"), "{}", ran.err);
    // What only looks like one stays.
    for url in ["http://[::1]:8080/a@b", "http://127.0.0.1:8080/a@b?c@d"] {
        let scenario =
            format!("destination: {{url: '{url}', metod: POST}}\nevents: [{{event_type: a}}]");
        let checked = run_with_input(&["check", "-"], &scenario).expect_code(2);
        assert!(checked.out.contains(url), "{}", checked.out);
    }
}
