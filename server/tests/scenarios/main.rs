//! What the server promises, each promise a sentence, kept over every link: QUIC, WebTransport, WebSocket, WebSocket over
//! TLS, memory, and with two devices on different ones. The server runs in this process; nothing here knows what is inside it.
#![allow(clippy::unwrap_used, missing_docs)]

mod net;
mod replica;
mod wire;

/// Makes a test of each scenario and each link, or pair of links.
macro_rules! scenarios {
    // Scenarios of two devices run over every link and over pairs of different ones, the others over every link.
    // Those that mostly wait run over all links at once, as one test.
    (pairs: [$($pair:ident)*] links: [$($single:ident)*] together: [$($waiting:ident)*]) => {
        mod all_links {
            $(
                #[test]
                fn $waiting() {
                    crate::net::run_together(|one, other| crate::net::run(one, other, super::$waiting));
                }
            )*
        }
        scenarios! { pairs: [$($pair)*] links: [$($single)*] }
    };
    (pairs: [$($pair:ident)*] links: [$($single:ident)*]) => {
        scenarios! {
            @each [$($pair)* $($single)*]
            quic: Quic Quic, webtransport: WebTransport WebTransport, websocket: WebSocket WebSocket, tls: Tls Tls,
            memory: Memory Memory,
        }
        scenarios! {
            @each [$($pair)*]
            quic_and_webtransport: Quic WebTransport, webtransport_and_websocket: WebTransport WebSocket,
            quic_and_websocket: Quic WebSocket, websocket_and_quic: WebSocket Quic, tls_and_quic: Tls Quic,
            memory_and_quic: Memory Quic, quic_and_memory: Quic Memory,
            memory_and_websocket: Memory WebSocket, websocket_and_memory: WebSocket Memory,
        }
    };
    (@each $scenarios:tt $($name:ident: $one:ident $other:ident,)*) => {
        $(scenarios! { @links $name $one $other $scenarios })*
    };
    (@links $name:ident $one:ident $other:ident [$($scenario:ident)*]) => {
        mod $name {
            $(
                #[test]
                fn $scenario() {
                    crate::net::run(crate::wire::Via::$one, crate::wire::Via::$other, super::$scenario);
                }
            )*
        }
    };
}

mod access;
mod asking;
mod client;
mod conflicts;
mod crowd;
mod dedup;
mod documents;
mod early;
mod echo;
mod ending;
mod http;
mod lagging;
mod presence;
mod resuming;
mod updating;
mod webtransport;
