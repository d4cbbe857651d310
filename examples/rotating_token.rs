//! Takes a new API token while the client runs: `cargo run --example rotating_token`.

use std::sync::{Arc, Mutex};

use cloudflare_queues::{Client, Credentials, PushMessage, emulator::Emulator};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let emulator = Emulator::start().await?;
    // Stands in for a file, or for a secret store.
    let stored = Arc::new(Mutex::new(emulator.api_token()));

    // The function is called before the first request, and again when the service refuses the credentials.
    let secret = Arc::clone(&stored);
    let credentials = Credentials::from_provider(move || {
        let token = secret.lock().map(|token| token.clone()).map_err(|error| error.to_string());
        async { Ok(Credentials::api_token(token?)?) }
    });
    let client = Client::builder(credentials).base_url(emulator.base_url()).build()?;
    let queue = client.queue(emulator.account_id(), emulator.queue_id())?;

    queue.push(&PushMessage::text("with the first token")).await?;
    emulator.set_api_token("second-token");
    *stored.lock().map_err(|error| error.to_string())? = "second-token".to_owned();
    queue.push(&PushMessage::text("with the second token")).await?;

    println!("the queue holds {} messages", queue.peek(100).await?.len());
    assert_eq!(emulator.messages(emulator.queue_id()).len(), 2);
    Ok(())
}
