//! Stands between a server and its database, and makes the database slow, deaf or gone.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::{mpsc, watch},
    task::JoinHandle,
    time::Instant,
};

/// What becomes of what is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// It gets there.
    Through,
    /// The database's answers get there so much later.
    Slow(Duration),
    /// The database hears everything, and nobody hears the database: its connections end.
    Deaf,
    /// Connections end, and none is taken.
    Gone,
}

/// See the file's head.
pub struct Proxy {
    pub address: SocketAddr,
    way: Arc<watch::Sender<Way>>,
    accepting: JoinHandle<()>,
}

impl Proxy {
    /// In front of the database at this address.
    pub async fn before(database: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        let (way, database) = (Arc::new(watch::Sender::new(Way::Through)), database.to_owned());
        let ways = Arc::clone(&way);
        let accepting = tokio::spawn(async move {
            loop {
                let Ok((client, _)) = listener.accept().await else { return };
                if *ways.borrow() == Way::Gone {
                    continue;
                }
                // The database may be dead.
                let Ok(server) = TcpStream::connect(&database).await else { continue };
                let way = ways.subscribe();
                let (from, to) = (client.into_split(), server.into_split());
                let there = tokio::spawn(carry(from.0, to.1, way.clone(), false));
                let back = tokio::spawn(carry(to.0, from.1, way.clone(), true));
                tokio::spawn(async move {
                    let (there_ends, back_ends) = (there.abort_handle(), back.abort_handle());
                    let mut way = way;
                    tokio::select! {
                        _ = there => {}
                        _ = back => {}
                        _ = way.wait_for(|way| *way == Way::Gone) => {}
                    }
                    there_ends.abort();
                    back_ends.abort();
                });
            }
        });
        Self { address, way, accepting }
    }

    /// From here on.
    pub fn goes(&self, way: Way) {
        self.way.send_replace(way);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// One direction of a connection, until it ends; `back`: that of the answers.
async fn carry(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, way: watch::Receiver<Way>, back: bool) {
    let (sender, mut receiver) = mpsc::unbounded_channel::<(Instant, Bytes)>();
    let writing = async move {
        while let Some((at, bytes)) = receiver.recv().await {
            tokio::time::sleep_until(at).await;
            if to.write_all(&bytes).await.is_err() {
                return;
            }
        }
    };
    let reading = async move {
        let mut bytes = BytesMut::with_capacity(64 << 10);
        while matches!(from.read_buf(&mut bytes).await, Ok(1..)) {
            let now = *way.borrow();
            let at = match now {
                Way::Slow(by) if back => Instant::now() + by,
                // It was done, and the answer is lost.
                Way::Deaf if back => return,
                _ => Instant::now(),
            };
            if sender.send((at, bytes.split().freeze())).is_err() {
                return;
            }
            bytes.reserve(64 << 10);
        }
    };
    tokio::join!(writing, reading);
}
