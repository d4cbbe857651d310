//! A server with TLS, and a client that trusts the issuer of its certificate.

use std::{
    io::{self, Read, Write},
    net::{TcpListener, TcpStream},
    sync::{
        Arc, LazyLock,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use rcgen::{BasicConstraints, Certificate, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::{ServerConfig, ServerConnection, StreamOwned, crypto::aws_lc_rs, pki_types::PrivateKeyDer};

/// Whom the client trusts.
static ISSUER: LazyLock<CertifiedIssuer<KeyPair>> = LazyLock::new(|| {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
});

/// A client with our settings that trusts only the issuer of the server's certificate.
pub(crate) fn client() -> reqwest::Client {
    let root = reqwest::Certificate::from_der(ISSUER.der()).unwrap();
    let builder = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none());
    builder.tls_certs_only([root]).build().unwrap()
}

/// Serves this response, with a certificate for `localhost`, on the returned port, and counts the requests.
pub(crate) fn serve(response: Vec<u8>) -> (u16, Arc<AtomicUsize>) {
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(["localhost".to_owned()]).unwrap().signed_by(&key, &*ISSUER).unwrap();
    let config = Arc::new(config(&certificate, &key));
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let heard = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&heard);
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let (config, response, counter) = (Arc::clone(&config), response.clone(), Arc::clone(&counter));
            thread::spawn(move || speak(stream, config, &response, &counter));
        }
    });
    (port, heard)
}

fn config(certificate: &Certificate, key: &KeyPair) -> ServerConfig {
    let builder = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
    let builder = builder.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    builder.with_single_cert(vec![certificate.der().clone()], key).unwrap()
}

fn speak(stream: TcpStream, config: Arc<ServerConfig>, response: &[u8], counter: &AtomicUsize) -> io::Result<()> {
    let mut stream = StreamOwned::new(ServerConnection::new(config).map_err(io::Error::other)?, stream);
    // What a client says before it has accepted the certificate is no HTTP, and does not come out here.
    stream.read_exact(&mut [0])?;
    counter.fetch_add(1, Ordering::SeqCst);
    stream.write_all(response)?;
    io::copy(&mut stream, &mut io::sink()).map(drop)
}
