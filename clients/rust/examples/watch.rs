//! Prints every change of a session: `cargo run -p syncbridge-client --example watch -- SESSION [HOST:PORT]`.

use syncbridge_client::{ChangeKind, Client, Config, SessionHandle, Value};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let session = arguments.next().ok_or("which session?")?;
    let server = arguments.next().unwrap_or_else(|| "127.0.0.1:7400".to_owned());
    let token = std::env::var("SYNCBRIDGE_TOKEN").unwrap_or_default();

    let client = Client::connect(Config::new(server, "example-watch").token(token)).await?;
    let session: SessionHandle<Value> = client.session(&session).await?;
    println!("{}", String::from_utf8(session.document()?.to_json())?);
    let mut changes = session.changes()?;
    while let Some(change) = changes.next().await {
        let version = change.at.version;
        match change.kind {
            ChangeKind::Delta { patch, device, .. } => println!("{version} {device}: {patch:?}"),
            ChangeKind::Reset { reason, .. } => println!("{version} starts anew: {reason:?}"),
            ChangeKind::Ended { error } => return Err(error.into()),
            other => println!("{version} {other:?}"),
        }
    }
    Ok(())
}
