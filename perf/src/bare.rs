//! The bare axum server: one route, one answer, always the same bytes. What HTTP itself costs on this machine with the
//! same framework, so that the server's own share shows. On one thread, which is the fastest on one core.

use std::{fs, net::SocketAddr, path::Path};

use axum::{Router, extract::State, http::HeaderMap, routing::get};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;

use crate::{
    error::{Context, Error, Result},
    http::Answer,
};

/// What it answers, as a file carries it to the server's process.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Same {
    headers: Vec<(String, String)>,
    body: String,
}

impl Same {
    /// The very bytes of an answer, but for the headers that every HTTP server writes itself.
    pub fn of(answer: &Answer<'_>) -> Self {
        let own = ["content-length", "date", "connection"];
        let headers = answer.head.lines().skip(1).filter_map(|line| line.split_once(':'));
        Self {
            headers: headers
                .filter(|(name, _)| !own.contains(&name.to_ascii_lowercase().as_str()))
                .map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
                .collect(),
            body: String::from_utf8_lossy(answer.body).into_owned(),
        }
    }
}

/// Serves until it is killed.
///
/// # Errors
/// When the file is not as [`Same`] is written, or the system's.
pub fn serve(listen: SocketAddr, file: &Path) -> Result<()> {
    let text = fs::read(file).context(format!("reading {}", file.display()))?;
    let Same { headers, body } = serde_json::from_slice(&text).context("reading the answer")?;
    let mut head = HeaderMap::new();
    for (name, value) in headers {
        let invalid = || Error::Unsupported(format!("{name}: {value} is no header"));
        let name = axum::http::HeaderName::from_bytes(name.as_bytes()).map_err(|_| invalid())?;
        head.append(name, value.parse().map_err(|_| invalid())?);
    }
    let same = (head, Bytes::from(body));
    let app = Router::new()
        .route("/health", get(|| async {}))
        .route("/{*path}", get(|State(same): State<(HeaderMap, Bytes)>| async { same }))
        .with_state(same);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("starting a runtime")?;
    runtime.block_on(async {
        let listener = TcpListener::bind(listen).await.context(format!("listening on {listen}"))?;
        let listener = axum::serve::ListenerExt::tap_io(listener, |stream| {
            // Without it the answers of a busy connection wait for each other; a broken one fails when it is written.
            let _ = stream.set_nodelay(true);
        });
        axum::serve(listener, app).await.context("serving")
    })
}
