//! A connection that was accepted: what its client wants to speak, which ALPN says, and when its handshake is complete.
//! Reads no stream.

use std::fmt;

use quinn::{Connection, ConnectionError, Incoming, VarInt, ZeroRttAccepted, crypto::rustls::HandshakeData};
use syncbridge_codec::ErrorCode;

use super::{
    admission::Place,
    link::{LinkError, QuicLink},
};
use crate::transport::webtransport;

/// A connection that was accepted, by what the client wants to speak on it.
#[expect(clippy::large_enum_variant, reason = "one a connection, and taken apart where it comes")]
#[derive(Debug)]
pub enum Accepted {
    /// Frames, and nothing around them.
    Native(QuicLink),
    /// HTTP/3: whether it gets a session of WebTransport is for [`webtransport::Door`] to say.
    Http3(Http3Arrival),
}

/// A connection that speaks HTTP/3, whose handshake may not be complete.
pub struct Http3Arrival {
    connection: Connection,
    handshake: ZeroRttAccepted,
    place: Option<Place>,
}

impl fmt::Debug for Http3Arrival {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Http3Arrival").field("remote", &self.connection.remote_address()).finish_non_exhaustive()
    }
}

impl Http3Arrival {
    /// What has come is not to be trusted before [`Http3Arrival::confirmed`].
    pub const fn connection(&self) -> &Connection {
        &self.connection
    }

    /// Waits until the handshake is complete, and gives its place back.
    ///
    /// # Errors
    /// It failed.
    pub async fn confirmed(self) -> Result<(), ConnectionError> {
        self.handshake.await;
        drop(self.place);
        if is_complete(&self.connection) { Ok(()) } else { Err(self.connection.closed().await) }
    }
}

/// Accepts a connection. Ready as soon as the client's first flight is read: what came as 0-RTT data can be read at
/// once, answers may be sent, and [`QuicLink::confirmed`] says when the client has proved that it is no replay.
///
/// # Errors
/// [`LinkError::Lost`] when the handshake fails.
pub fn accept(incoming: Incoming) -> impl Future<Output = Result<Accepted, LinkError>> + Send + use<> {
    handshake(incoming, None)
}

/// As [`accept`]; `place` is given back with the end of the handshake. Begins at once: an `Incoming` is large, and the
/// future should not be, because it lies in the link's task for good.
pub(super) fn handshake(
    incoming: Incoming,
    place: Option<Place>,
) -> impl Future<Output = Result<Accepted, LinkError>> + Send + use<> {
    let connecting = incoming.accept();
    async move {
        let mut connecting = connecting?;
        let data = connecting.handshake_data().await?;
        let protocol = data.downcast::<HandshakeData>().ok().and_then(|data| data.protocol);
        match connecting.into_0rtt() {
            Ok((connection, handshake)) => match protocol.as_deref() {
                Some(syncbridge_codec::ALPN) => Ok(Accepted::Native(QuicLink::native(connection, handshake, place))),
                Some(webtransport::ALPN) => Ok(Accepted::Http3(Http3Arrival { connection, handshake, place })),
                _ => Err(refuse(&connection, ErrorCode::UnsupportedVersion, "this is not spoken here".to_owned())),
            },
            // quinn lets a server go on before the end of the handshake, always.
            Err(connecting) => {
                drop(connecting);
                Err(LinkError::Lost(ConnectionError::LocallyClosed))
            }
        }
    }
}

/// Whether the handshake is whole: it resolves when the connection is lost as well, but keying material is there only
/// after all of it.
pub(super) fn is_complete(connection: &Connection) -> bool {
    connection.close_reason().is_none()
        || connection.export_keying_material(&mut [0; 32], b"syncbridge handshake", &[]).is_ok()
}

fn refuse(connection: &Connection, code: ErrorCode, text: String) -> LinkError {
    connection.close(VarInt::from_u32(code as u32), text.as_bytes());
    LinkError::Refused { code, text }
}
