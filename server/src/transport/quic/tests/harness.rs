//! A server that echoes, on real sockets and one thread a shard; a client that pins; a relay that can hold packets.

use std::{
    collections::VecDeque,
    future::poll_fn,
    net::{SocketAddr, UdpSocket},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
        mpsc,
    },
    task::{Context, Poll},
    thread::JoinHandle,
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use parking_lot::Mutex;
use rustls::{
    DigitallySignedStruct, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, aws_lc_rs},
    pki_types::{CertificateDer, ServerName, UnixTime},
};
use syncbridge_codec::message::{Class, StreamOpen};
use tokio::sync::oneshot;

use crate::transport::{
    quic::{Accepted, Config, Gate, Keys, LinkError, QuicLink, Socket, Steering, bind},
    tls::{self, Fingerprint, Identity},
};

/// A wait that lasts longer than this has failed.
pub const PATIENCE: Duration = Duration::from_secs(20);
/// Silence after which connections end; far beyond what a test takes.
pub const IDLE: Duration = Duration::from_mins(1);

/// What the server knows of a link.
#[derive(Debug, Clone)]
pub struct Seen {
    pub shard: usize,
    /// `confirmed()` when the first chunk came.
    pub confirmed_at_first: Option<bool>,
    pub confirmed: bool,
    pub ended: Option<Result<(), LinkError>>,
}

/// One thread a shard. Dropping it ends the server as a crash would: clients are not told.
pub struct Server {
    pub address: SocketAddr,
    pub fingerprint: Fingerprint,
    pub steering: Arc<Steering>,
    pub gates: Vec<Gate>,
    pub links: Arc<Mutex<Vec<Seen>>>,
    threads: Vec<(oneshot::Sender<()>, JoinHandle<()>)>,
}

pub struct Setup {
    pub address: SocketAddr,
    pub shards: usize,
    pub kernel_steering: bool,
    pub gate: fn() -> Gate,
}

impl Default for Setup {
    fn default() -> Self {
        Self { address: "127.0.0.1:0".parse().unwrap(), shards: 2, kernel_steering: true, gate: Gate::default }
    }
}

impl Server {
    pub fn start(folder: &Path, setup: &Setup) -> Self {
        let (config, fingerprint) = config(folder, setup.kernel_steering);
        let sockets = bind(setup.address, setup.shards, &config).unwrap();
        let (address, steering) = (sockets[0].local_addr().unwrap(), sockets[0].steering());
        let links = Arc::new(Mutex::new(Vec::new()));
        let gates: Vec<_> = sockets.iter().map(|_| (setup.gate)()).collect();
        let shards = sockets.into_iter().zip(&gates);
        let threads = shards.map(|(socket, gate)| shard(socket, gate.clone(), Arc::clone(&links))).collect();
        Self { address, fingerprint, steering, gates, links, threads }
    }

    pub fn hops(&self) -> u64 {
        self.steering.handovers().iter().map(|figures| figures.hops).sum()
    }

    pub fn last(&self) -> Seen {
        self.links.lock().last().unwrap().clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        for (stop, thread) in self.threads.drain(..) {
            let _ = stop.send(());
            thread.join().unwrap();
        }
    }
}

/// What `bind` takes, and the fingerprint that clients pin.
pub fn config(folder: &Path, kernel_steering: bool) -> (Config, Fingerprint) {
    let identity = Identity::load_or_create(folder, None).unwrap();
    let keys = Keys::load_or_create(folder).unwrap();
    let tls = tls::quic_config(&identity, None, 1000).unwrap();
    (Config { keys, tls, idle_timeout: IDLE, kernel_steering }, identity.fingerprint())
}

fn shard(socket: Socket, gate: Gate, links: Arc<Mutex<Vec<Seen>>>) -> (oneshot::Sender<()>, JoinHandle<()>) {
    let (stop, mut stopped) = oneshot::channel();
    let (ready, is_ready) = mpsc::channel();
    let thread = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let shard = socket.shard();
            let endpoint = socket.into_endpoint().unwrap();
            ready.send(()).unwrap();
            loop {
                let incoming = tokio::select! {
                    incoming = endpoint.accept() => incoming.unwrap(),
                    _ = &mut stopped => return,
                };
                let Some(handshake) = gate.admit(incoming) else { continue };
                let links = Arc::clone(&links);
                tokio::spawn(async move {
                    let Ok(Accepted::Native(link)) = handshake.await else { return };
                    let at = {
                        let mut links = links.lock();
                        links.push(Seen { shard, confirmed_at_first: None, confirmed: false, ended: None });
                        links.len() - 1
                    };
                    echo(link, |change| change(&mut links.lock()[at])).await;
                });
            }
        });
    });
    is_ready.recv().unwrap();
    (stop, thread)
}

/// Sends back what comes, on the stream that it came on; what follows `session:` on the control stream goes out on the
/// session stream.
async fn echo(mut link: QuicLink, note: impl Fn(&mut dyn FnMut(&mut Seen))) {
    let mut out = [VecDeque::new(), VecDeque::new()];
    let mut ended = poll_fn(|cx| poll_echo(&mut link, &mut out, &note, cx)).await;
    if ended.is_ok() {
        // What was read last may still wait for the client to take what came before.
        for (class, queue) in [Class::Control, Class::Session].into_iter().zip(out.iter_mut()) {
            ended = ended.and(poll_fn(|cx| link.poll_send(cx, class, queue)).await);
        }
        link.finish(0).await;
    }
    link.close(0, "done");
    note(&mut |seen| seen.ended = Some(ended.clone()));
}

fn poll_echo(
    link: &mut QuicLink,
    out: &mut [VecDeque<Bytes>; 2],
    note: &impl Fn(&mut dyn FnMut(&mut Seen)),
    cx: &mut Context<'_>,
) -> Poll<Result<(), LinkError>> {
    loop {
        let mut blocked = false;
        for (class, queue) in [Class::Control, Class::Session].into_iter().zip(out.iter_mut()) {
            match link.poll_send(cx, class, queue) {
                Poll::Ready(sent) => sent?,
                Poll::Pending => blocked |= queue.len() > 16,
            }
        }
        if blocked {
            return Poll::Pending;
        }
        let received = link.poll_recv(cx);
        let confirmed = link.confirmed();
        note(&mut |seen| seen.confirmed = confirmed);
        match received {
            Poll::Ready(Ok(Some((class, chunk)))) => {
                note(&mut |seen| seen.confirmed_at_first = seen.confirmed_at_first.or(Some(confirmed)));
                let to_session = class == Class::Session || chunk.starts_with(b"session:");
                out[usize::from(to_session)].push_back(chunk);
            }
            Poll::Ready(Ok(None)) => return Poll::Ready(Ok(())),
            Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
            Poll::Pending => return Poll::Pending,
        }
    }
}

/// Takes the server whose certificate has this fingerprint, and no other.
#[derive(Debug)]
struct Pinned {
    fingerprint: Fingerprint,
    provider: CryptoProvider,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if Fingerprint::of(certificate) == self.fingerprint {
            Ok(ServerCertVerified::assertion())
        } else {
            Err(rustls::CertificateError::ApplicationVerificationFailure.into())
        }
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::PeerIncompatible::Tls13RequiredForQuic.into())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// A client's settings; tickets for 0-RTT live in them.
pub fn client_config(fingerprint: Fingerprint, protocol: &[u8]) -> quinn::ClientConfig {
    let provider = aws_lc_rs::default_provider();
    let mut tls = rustls::ClientConfig::builder_with_provider(Arc::new(provider.clone()))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Pinned { fingerprint, provider }))
        .with_no_client_auth();
    tls.alpn_protocols = vec![protocol.to_vec()];
    tls.enable_early_data = true;
    let crypto = quinn::crypto::rustls::QuicClientConfig::try_from(tls).unwrap();
    quinn::ClientConfig::new(Arc::new(crypto))
}

/// A client's endpoint on a port of its own.
pub fn client(fingerprint: Fingerprint) -> quinn::Endpoint {
    let mut endpoint = quinn::Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
    endpoint.set_default_client_config(client_config(fingerprint, syncbridge_codec::ALPN));
    endpoint
}

pub async fn connect(endpoint: &quinn::Endpoint, address: SocketAddr) -> quinn::Connection {
    endpoint.connect(address, "localhost").unwrap().await.unwrap()
}

/// The frame that begins the session stream.
pub fn stream_open(class: u8) -> Bytes {
    let mut frame = BytesMut::new();
    StreamOpen { class }.write_frame(&mut frame);
    frame.freeze()
}

pub async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.expect("it takes too long")
}

/// Waits until `condition` holds, for what is seen only from outside.
pub async fn until(condition: impl Fn() -> bool) {
    within(async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    })
    .await;
}

/// Sends `text` and reads as much back.
pub async fn exchange(send: &mut quinn::SendStream, recv: &mut quinn::RecvStream, text: &[u8]) {
    send.write_all(text).await.unwrap();
    let mut echoed = vec![0; text.len()];
    within(recv.read_exact(&mut echoed)).await.unwrap();
    assert_eq!(echoed, text);
}

/// Stands between one client and the server, and can hold the server's packets back.
pub struct Relay {
    pub address: SocketAddr,
    hold: Arc<AtomicBool>,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Relay {
    pub fn start(server: SocketAddr) -> Self {
        let front = UdpSocket::bind("127.0.0.1:0").unwrap();
        let back = UdpSocket::bind("127.0.0.1:0").unwrap();
        back.connect(server).unwrap();
        for socket in [&front, &back] {
            socket.set_read_timeout(Some(Duration::from_millis(5))).unwrap();
        }
        let address = front.local_addr().unwrap();
        let (hold, stop) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let client = Arc::new(Mutex::new(None));
        let up = {
            let (front, back) = (front.try_clone().unwrap(), back.try_clone().unwrap());
            let (stop, client) = (Arc::clone(&stop), Arc::clone(&client));
            move || {
                let mut buf = [0; 2048];
                while !stop.load(SeqCst) {
                    if let Ok((len, from)) = front.recv_from(&mut buf) {
                        *client.lock() = Some(from);
                        back.send(&buf[..len]).unwrap();
                    }
                }
            }
        };
        let down = {
            let (stop, hold) = (Arc::clone(&stop), Arc::clone(&hold));
            move || {
                let mut buf = [0; 2048];
                let mut waiting: VecDeque<Vec<u8>> = VecDeque::new();
                while !stop.load(SeqCst) {
                    if let Ok(len) = back.recv(&mut buf) {
                        waiting.push_back(buf[..len].to_vec());
                    }
                    if !hold.load(SeqCst)
                        && let Some(client) = *client.lock()
                    {
                        waiting.drain(..).for_each(|packet| {
                            front.send_to(&packet, client).unwrap();
                        });
                    }
                }
            }
        };
        let threads = vec![std::thread::spawn(up), std::thread::spawn(down)];
        Self { address, hold, stop, threads }
    }

    /// Whether what the server sends waits in the relay.
    pub fn hold(&self, hold: bool) {
        self.hold.store(hold, SeqCst);
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.stop.store(true, SeqCst);
        self.threads.drain(..).for_each(|thread| thread.join().unwrap());
    }
}
