//! Serves the emulator on a port, for programs in any language, until ctrl-c.
//!
//! `cargo run --example emulator -- --port 8787` prints what such a program needs, as lines that a shell can evaluate.

use cloudflare_queues::emulator::Emulator;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let port = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => 0,
        ["--port", port] => port.parse().map_err(|_| format!("--port: {port} is no port"))?,
        _ => return Err("usage: emulator [--port PORT]".into()),
    };
    let emulator = Emulator::builder().port(port).real_time().start().await?;
    println!("CLOUDFLARE_BASE_URL={}", emulator.base_url());
    println!("CLOUDFLARE_API_TOKEN={}", emulator.api_token());
    println!("CLOUDFLARE_ACCOUNT_ID={}", emulator.account_id());
    println!("CLOUDFLARE_QUEUE_ID={}", emulator.queue_id());
    tokio::signal::ctrl_c().await?;
    Ok(())
}
