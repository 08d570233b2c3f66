//! The streams that a client opens, one after the other, as the link waits for them all the time.

use std::pin::Pin;

use futures_util::{Stream, stream};
use quinn::{Connection, ConnectionError, RecvStream, SendStream};

/// What a client has opened.
pub enum Opened {
    /// A stream for frames of ours.
    Stream(SendStream, RecvStream),
    /// What may not be; what is wrong with it.
    Unwanted(&'static str),
}

/// One after the other; an error is the end of the connection.
pub type Arrivals = Pin<Box<dyn Stream<Item = Result<Opened, ConnectionError>> + Send>>;

/// All streams of a client that speaks nothing but frames.
pub(super) fn plain(connection: &Connection) -> Arrivals {
    Box::pin(stream::unfold(connection.clone(), |connection| async move {
        let opened = tokio::select! {
            biased;
            both_ways = connection.accept_bi() => both_ways.map(|(send, recv)| Opened::Stream(send, recv)),
            one_way = connection.accept_uni() => one_way.map(|_| Opened::Unwanted("a one-way stream was opened")),
        };
        Some((opened, connection))
    }))
}
