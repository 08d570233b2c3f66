//! The first lines a person reads: what listens where, which storage, what to try next.

use std::io::Write as _;

use super::Server;
use crate::config::Engine;

/// Prints them on stdout.
pub fn print(server: &Server) {
    let config = server.config();
    let storage = match config.storage.engine {
        Engine::Embedded => format!("embedded, in {} (epoch {})", config.data.display(), server.epoch),
        Engine::Memory => "memory: everything ends with this process".to_owned(),
        Engine::Scylla => {
            let of = &config.storage.cassandra;
            format!("keyspace {} at {} (epoch {})", of.keyspace, of.contact_points.list().join(", "), server.epoch)
        }
    };
    let tls = if config.tls.cert.is_some() { "TLS" } else { "plain" };
    let (scheme, pages) = if config.tls.cert.is_some() { ("wss", "https") } else { ("ws", "http") };
    let admin = server.admin;
    let mut lines = vec![
        format!("SyncBridge {}", env!("CARGO_PKG_VERSION")),
        format!("  clients    {} (TCP, {tls}: {scheme}://{0}/ws, HTTP; UDP: QUIC, WebTransport: /wt)", server.listen),
        format!("  pages      {pages}://{}/", server.listen),
        format!("  operators  http://{admin}/ (console), /metrics /healthz /readyz"),
        format!("  storage    {storage}"),
        format!("  pin        {}", server.fingerprint),
    ];
    let program = program();
    let server_flag =
        if server.listen == crate::defaults::LISTEN { String::new() } else { format!(" --server {}", server.listen) };
    if config.open {
        lines.push("  open       clients are let in without tokens (development)".to_owned());
        lines.push(format!("\nTry next, in another terminal:\n  {program} watch demo{server_flag}"));
    } else {
        let data = if config.data == std::path::Path::new(crate::defaults::DATA) {
            String::new()
        } else {
            format!(" --data {}", config.data.display())
        };
        lines.push(format!(
            "\nTry next, in another terminal:\n  export SYNCBRIDGE_TOKEN=$({program} token ann{data})\n  \
             {program} create demo --state '{{\"n\":1}}'{server_flag}\n  {program} watch demo{server_flag}"
        ));
    }
    // Nobody reads: nobody is told.
    let _unheard = writeln!(std::io::stdout().lock(), "{}", lines.join("\n"));
}

/// How this program was called, so that the next command can be copied.
fn program() -> String {
    let path = std::env::args().next().unwrap_or_default();
    if path.is_empty() { "syncbridge".to_owned() } else { path }
}
