//! One request by REST's routes over a link of its own, for who wants nothing else of a server, or is nobody there yet:
//! signing up, completing a handoff. Never subscribes, never tries again.

use bytes::Bytes;
use bytestring::ByteString;
use syncbridge_codec::{
    Decoder, ErrorCode, Message,
    handshake::Client as Handshake,
    message::{self, Class, Direction, Request, Response, Scope},
};

use crate::{
    client::{check_device, draw},
    config::Config,
    error::{Error, ServerError},
    transport::{Batch, Connector, Incoming, Link},
};

/// Who makes a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum As {
    /// The user and device of the [`Config`].
    Device,
    /// Nobody, or whom the request's own `authorization` names.
    Nobody,
}

/// Has the server answer one request, and ends the link. What goes wrong with the request itself is a problem in the
/// answer; what was lost on the way may have been carried out all the same, so give a request that is to be asked again
/// an `idempotency-key`. Its `id` may be anything. Waits for as long as the link lives.
///
/// # Errors
/// [`Error::Config`], [`Error::Connect`], and [`Error::Server`] when the server does not take the device, or leaves.
pub async fn ask(config: Config, who: As, request: Request) -> Result<Response, Error> {
    let target =
        config.server.parse().map_err(|error: crate::transport::TargetError| Error::Config(error.to_string()))?;
    check_device(&config.device)?;
    let max_frame = config.limits.max_server_frame;
    let mut link = Connector::new(target, config.transport, config.trust, max_frame).connect(None).await?;
    let mut frames = Vec::with_capacity(2);
    if who == As::Device {
        let (incarnation, _) = draw()?;
        let (token, device) = (ByteString::from(config.token), ByteString::from(config.device));
        frames
            .push(Message::from(Handshake::hello(token, device, incarnation, Scope::default(), Vec::new())).to_frame());
    }
    frames.push(Message::from(request).to_frame());
    let answer = match say(&link, frames).await {
        Ok(()) => hear(&mut link, max_frame).await,
        Err(error) => Err(error),
    };
    link.end(Message::from(message::Close::default()).to_frame(), 0, ByteString::new()).await;
    answer
}

async fn say(link: &Link, frames: Vec<Bytes>) -> Result<(), Error> {
    link.control.send(Batch::Frames(frames)).await.map_err(|_| left(None, "the link is closed".into()))
}

async fn hear(link: &mut Link, max_frame: usize) -> Result<Response, Error> {
    let broken =
        |error: syncbridge_codec::ProtocolError| Error::Server(ServerError::of(error.code(), error.to_string()));
    let mut decoder = Decoder::new(max_frame);
    loop {
        match link.incoming.recv().await {
            // Answers come by the control stream; there is no other.
            Some(Incoming::Bytes(Class::Control, bytes)) => decoder.push(bytes),
            Some(Incoming::Bytes(..)) => continue,
            Some(Incoming::Closed { code, text }) => return Err(left(code, text)),
            None => return Err(left(None, "the link is closed".into())),
        }
        while let Some(frame) = decoder.next_frame().map_err(broken)? {
            let Some(message) = Message::decode(frame).map_err(broken)? else { continue };
            message.expect_from(Direction::ToClient).map_err(broken)?;
            match message {
                Message::Response(response) => return Ok(response),
                Message::Ping(ping) => {
                    say(link, vec![Message::from(message::Pong { nonce: ping.nonce }).to_frame()]).await?;
                }
                Message::Refused(refused) => {
                    let message::Refused { code: number, name, text, retryable, .. } = refused;
                    return Err(Error::Server(ServerError { number, name, text, retryable }));
                }
                Message::Error(error) => {
                    let message::Error { code: number, name, text, retryable, .. } = error;
                    return Err(Error::Server(ServerError { number, name, text, retryable }));
                }
                Message::Close(close) => return Err(left(Some(close.code), close.text)),
                // Welcome, and what the server may say to any connection.
                _ => {}
            }
        }
    }
}

fn left(code: Option<u32>, text: ByteString) -> Error {
    let code = code.and_then(ErrorCode::from_number).unwrap_or(ErrorCode::TimedOut);
    Error::Server(ServerError::of(code, text))
}
