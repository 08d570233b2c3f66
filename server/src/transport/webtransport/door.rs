//! Who gets a session: reads a client's SETTINGS and its CONNECT, and answers it. Every wait ends at one limit, and no
//! input is kept that is larger than `web-transport-proto` allows (a field section of 16 KiB, a frame of 64 KiB).

use std::{sync::Arc, time::Duration};

use bytes::BytesMut;
use hyper::{StatusCode, header};
use quinn::{Connection, ConnectionError, ReadExactError, SendStream, VarInt, WriteError};
use syncbridge_codec::WEBSOCKET_SUBPROTOCOL;
use tokio::{io::AsyncReadExt as _, time::timeout};
use web_transport_proto::{ConnectError, ConnectRequest, ConnectResponse, Settings, SettingsError};

use super::{
    H3_MESSAGE_ERROR, H3_MISSING_SETTINGS, H3_NO_ERROR, H3_REQUEST_INCOMPLETE, H3_STREAM_CREATION_ERROR, PATH, Session,
    arrivals::{self, CONTROL, Held},
    varint,
};
use crate::transport::{
    origin::Pages,
    quic::{Http3Arrival, QuicLink},
};

/// Sessions that a connection may have.
const SESSIONS: u32 = 1;

/// Why a client got no session.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// The connection is gone.
    #[error("{0}")]
    Lost(#[from] ConnectionError),
    /// Its request was read and turned down.
    #[error("{status}: {why}")]
    Answered {
        /// What it was answered.
        status: StatusCode,
        /// Why.
        why: &'static str,
    },
    /// It does not speak HTTP/3 as it should.
    #[error("{text}")]
    Broken {
        /// RFC 9114 §8.1.
        code: VarInt,
        /// What is wrong.
        text: String,
    },
    /// It took too long.
    #[error("there was no CONNECT within {0:?}")]
    Late(Duration),
}

/// Why a client got no session, in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// The connection ended on the way.
    Lost,
    /// It took too long.
    Late,
    /// It does not speak HTTP/3 as it should.
    Broken,
    /// It asked for what there is not.
    Request,
    /// It is a page of an origin that may not.
    Origin,
}

impl Refused {
    fn broken(code: VarInt, what: &str, error: &dyn std::fmt::Display) -> Self {
        Self::Broken { code, text: format!("{what}: {error}") }
    }

    /// The same in one word, for counting.
    pub const fn reason(&self) -> Refusal {
        match self {
            Self::Lost(_) => Refusal::Lost,
            Self::Late(_) => Refusal::Late,
            Self::Broken { .. } => Refusal::Broken,
            Self::Answered { status: StatusCode::FORBIDDEN, .. } => Refusal::Origin,
            Self::Answered { .. } => Refusal::Request,
        }
    }

    fn code(&self) -> VarInt {
        match self {
            Self::Lost(_) | Self::Answered { .. } => H3_NO_ERROR,
            Self::Broken { code, .. } => *code,
            Self::Late(_) => H3_REQUEST_INCOMPLETE,
        }
    }
}

/// See the file's head.
#[derive(Debug, Clone)]
pub struct Door {
    pages: Arc<Pages>,
    limit: Duration,
}

impl Door {
    /// For these pages; who has said nothing by `limit` goes.
    pub const fn new(pages: Arc<Pages>, limit: Duration) -> Self {
        Self { pages, limit }
    }

    /// Lets a client in that speaks HTTP/3. Its handshake is complete then, and a session open.
    ///
    /// # Errors
    /// [`Refused`]; the client was told, and the connection is closed.
    pub async fn admit(&self, arrival: Http3Arrival) -> Result<QuicLink, Refused> {
        let connection = arrival.connection().clone();
        let admitted = timeout(self.limit, self.establish(arrival)).await;
        admitted.unwrap_or(Err(Refused::Late(self.limit))).inspect_err(|refused| {
            connection.close(refused.code(), refused.to_string().as_bytes());
        })
    }

    async fn establish(&self, arrival: Http3Arrival) -> Result<QuicLink, Refused> {
        let connection = arrival.connection().clone();
        // Goes out with our side of the handshake: a browser asks for a session only when it has read them.
        let settings = open_control(&connection).await?;
        arrival.confirmed().await?;
        let held = read_settings(&connection).await?;
        let (mut send, mut recv) = connection.accept_bi().await?;
        let answer = match ConnectRequest::read(&mut recv).await {
            Ok(request) => self.answer(&request),
            Err(error) => Err(not_ours(error)?),
        };
        let response = match answer {
            Ok(protocol) => {
                let response = ConnectResponse::OK;
                if let Some(protocol) = protocol { response.with_protocol(protocol) } else { response }
            }
            Err((status, _)) => ConnectResponse::new(status),
        };
        if let Err(error) = response.write(&mut send).await {
            return Err(Refused::broken(H3_MESSAGE_ERROR, "the answer", &error));
        }
        if let Err((status, why)) = answer {
            // What was not acknowledged would be lost with the connection. Stopped or lost: nobody wants it.
            let _unread = (send.finish(), send.stopped().await);
            return Err(Refused::Answered { status, why });
        }
        let id = VarInt::from(send.id()).into_inner();
        let arrivals = arrivals::arrivals(connection.clone(), id, held);
        Ok(QuicLink::webtransport(connection, arrivals, Session::new(send, recv, settings)))
    }

    /// The subprotocol of a session that may be, if the client has named any.
    fn answer(&self, request: &ConnectRequest) -> Result<Option<&'static str>, (StatusCode, &'static str)> {
        if request.url.path() != PATH {
            return Err((StatusCode::NOT_FOUND, "there is no session at this path"));
        }
        // A client that is no page names no origin.
        let origin = request.headers.get(header::ORIGIN).map(|origin| origin.to_str().unwrap_or_default());
        if origin.is_some_and(|origin| !self.pages.may(origin, request.url.authority())) {
            return Err((StatusCode::FORBIDDEN, "pages of this origin may not"));
        }
        if request.protocols.is_empty() {
            return Ok(None);
        }
        let known = request.protocols.iter().any(|protocol| protocol == WEBSOCKET_SUBPROTOCOL);
        if known { Ok(Some(WEBSOCKET_SUBPROTOCOL)) } else { Err((StatusCode::BAD_REQUEST, "no subprotocol of ours")) }
    }
}

/// Opens our control stream with our SETTINGS on it.
async fn open_control(connection: &Connection) -> Result<SendStream, Refused> {
    let mut settings = Settings::default();
    settings.enable_webtransport(SESSIONS);
    let mut bytes = BytesMut::new();
    settings.encode(&mut bytes);
    let mut control = connection.open_uni().await?;
    control.write_all(&bytes).await.map_err(|error| match error {
        WriteError::ConnectionLost(error) => Refused::Lost(error),
        error => Refused::broken(H3_STREAM_CREATION_ERROR, "our control stream", &error),
    })?;
    Ok(control)
}

/// Waits for the client's control stream and reads its SETTINGS, of which none matters here; the streams that it opened
/// meanwhile.
async fn read_settings(connection: &Connection) -> Result<Held, Refused> {
    let mut held = Held::default();
    loop {
        let mut stream = connection.accept_uni().await?;
        let kind = match varint(&mut stream).await {
            Ok(kind) => kind,
            Err(ReadExactError::ReadError(quinn::ReadError::ConnectionLost(error))) => return Err(error.into()),
            // Given up before it said what it is.
            Err(_) => continue,
        };
        if kind == CONTROL {
            // `Settings` reads the stream's kind as well, which is one byte.
            let mut whole = [CONTROL as u8].as_slice().chain(&mut stream);
            Settings::read(&mut whole).await.map_err(|error| settings_broken(connection, &error))?;
        }
        let unwanted = |text: &str| Refused::Broken { code: H3_STREAM_CREATION_ERROR, text: text.to_owned() };
        held.take(kind, stream).map_err(unwanted)?;
        if kind == CONTROL {
            return Ok(held);
        }
    }
}

fn settings_broken(connection: &Connection, error: &SettingsError) -> Refused {
    connection.close_reason().map_or_else(|| Refused::broken(H3_MISSING_SETTINGS, "the SETTINGS", error), Refused::Lost)
}

/// The answer to a request that is well made and asks for something else; an error, where it is not well made.
fn not_ours(error: ConnectError) -> Result<(StatusCode, &'static str), Refused> {
    match error {
        ConnectError::WrongMethod(_) | ConnectError::WrongProtocol(_) => {
            Ok((StatusCode::NOT_IMPLEMENTED, "only WebTransport is spoken over HTTP/3 here"))
        }
        ConnectError::FieldSectionTooLarge => {
            Ok((StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "the head of the request is too long"))
        }
        error => Err(Refused::broken(H3_MESSAGE_ERROR, "the CONNECT", &error)),
    }
}
