//! The streams that a client of HTTP/3 opens: those of its session are handed on, those that HTTP/3 wants are held,
//! requests are turned down.

use futures_util::stream;
use quinn::{Connection, ConnectionError, ReadError, ReadExactError, RecvStream, SendStream};

use super::{H3_REQUEST_REJECTED, H3_STREAM_CREATION_ERROR, WT_BUFFERED_STREAM_REJECTED, varint};
use crate::transport::quic::arrivals::{Arrivals, Opened};

/// Kinds of unidirectional streams (RFC 9114 §6.2, RFC 9204 §4.2, draft-ietf-webtrans-http3 §4.2).
pub(super) const CONTROL: u64 = 0x00;
const PUSH: u64 = 0x01;
const QPACK_ENCODER: u64 = 0x02;
const QPACK_DECODER: u64 = 0x03;
const SESSION_ONE_WAY: u64 = 0x54;
/// What a bidirectional stream of a session begins with (draft-ietf-webtrans-http3 §4.3).
const SESSION_STREAM: u64 = 0x41;

/// The client's streams that must stay open and say nothing that matters here: we have no dynamic table, and no pushes.
/// What is sent on them all the same stays unread, within the connection's window.
#[derive(Debug, Default)]
pub(super) struct Held {
    control: Option<RecvStream>,
    encoder: Option<RecvStream>,
    decoder: Option<RecvStream>,
}

impl Held {
    /// Takes a stream of this kind; what is wrong with it, if it may not be.
    pub(super) fn take(&mut self, kind: u64, mut stream: RecvStream) -> Result<(), &'static str> {
        let place = match kind {
            CONTROL => &mut self.control,
            QPACK_ENCODER => &mut self.encoder,
            QPACK_DECODER => &mut self.decoder,
            PUSH | SESSION_ONE_WAY => return Err("a one-way stream was opened"),
            _ => {
                // RFC 9114 §6.2: a kind that is not known is not an error. It may be over already.
                let _over = stream.stop(H3_STREAM_CREATION_ERROR);
                return Ok(());
            }
        };
        if place.is_some() {
            return Err("a stream of HTTP/3 was opened twice");
        }
        *place = Some(stream);
        Ok(())
    }
}

/// What comes after the CONNECT stream of this id.
pub(super) fn arrivals(connection: Connection, session: u64, held: Held) -> Arrivals {
    Box::pin(stream::unfold((connection, held), move |(connection, mut held)| async move {
        let next = next(&connection, session, &mut held).await;
        Some((next, (connection, held)))
    }))
}

async fn next(connection: &Connection, session: u64, held: &mut Held) -> Result<Opened, ConnectionError> {
    loop {
        let opened = tokio::select! {
            biased;
            both_ways = connection.accept_bi() => both_ways_stream(both_ways?, session).await,
            one_way = connection.accept_uni() => one_way_stream(one_way?, held).await,
        };
        match opened {
            Ok(Some(opened)) => return Ok(opened),
            Err(ReadExactError::ReadError(ReadError::ConnectionLost(error))) => return Err(error),
            // Nothing of ours, or given up before it said what it is.
            Ok(None) | Err(_) => {}
        }
    }
}

async fn both_ways_stream(
    (mut send, mut recv): (SendStream, RecvStream),
    session: u64,
) -> Result<Option<Opened>, ReadExactError> {
    let code = if varint(&mut recv).await? == SESSION_STREAM {
        if varint(&mut recv).await? == session {
            return Ok(Some(Opened::Stream(send, recv)));
        }
        WT_BUFFERED_STREAM_REJECTED
    } else {
        H3_REQUEST_REJECTED
    };
    // Who has given the stream up need not be told.
    let _over = (send.reset(code), recv.stop(code));
    Ok(None)
}

async fn one_way_stream(mut recv: RecvStream, held: &mut Held) -> Result<Option<Opened>, ReadExactError> {
    let kind = varint(&mut recv).await?;
    Ok(held.take(kind, recv).err().map(Opened::Unwanted))
}
