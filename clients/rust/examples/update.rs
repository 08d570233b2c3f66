//! Appends a text to a session's `items`, made if need be, and waits until that is on the server's disk:
//! `cargo run -p syncbridge-client --example update -- SESSION TEXT [HOST:PORT]`.

use serde::{Deserialize, Serialize};
use syncbridge_client::{Client, Config, Error, ErrorCode};

#[derive(Default, Serialize, Deserialize)]
struct List {
    items: Vec<String>,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let id = arguments.next().ok_or("which session?")?;
    let text = arguments.next().ok_or("which text?")?;
    let server = arguments.next().unwrap_or_else(|| "127.0.0.1:7400".to_owned());
    let token = std::env::var("SYNCBRIDGE_TOKEN").unwrap_or_default();

    let client = Client::connect(Config::new(server, "example-update").token(token)).await?;
    let session = match client.session::<List>(&id).await {
        Err(Error::Server(error)) if error.code() == Some(ErrorCode::NotFound) => {
            client.create(Some(&id), &List::default()).await?
        }
        session => session?,
    };
    let update = session.update_with(|list| list.items.push(text))?;
    println!("here at once: {} items", session.state()?.items.len());
    println!("accepted as version {}", update.accepted().await?.version);
    update.durable().await?;
    println!("on the server's disk");
    client.close().await;
    Ok(())
}
