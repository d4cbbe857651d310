//! Serves the emulator on a port, for programs in any language, until ctrl-c or SIGTERM.
//!
//! `cargo run --example emulator -- --port 8787` prints what such a program needs, as lines that a shell can evaluate.

use std::{error::Error, io};

use cloudflare_queues::emulator::Emulator;
use tokio::signal;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let port = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => 0,
        ["--port", port] => port.parse().map_err(|_| format!("--port: {port} is no port"))?,
        _ => return Err("usage: emulator [--port PORT]".into()),
    };
    serve(port).await
}

async fn serve(port: u16) -> Result<(), Box<dyn Error>> {
    let stop = stop()?;
    let emulator = Emulator::builder().port(port).real_time().start().await?;
    println!("CLOUDFLARE_BASE_URL={}", emulator.base_url());
    println!("CLOUDFLARE_API_TOKEN={}", emulator.api_token());
    println!("CLOUDFLARE_ACCOUNT_ID={}", emulator.account_id());
    println!("CLOUDFLARE_QUEUE_ID={}", emulator.queue_id());
    stop.await;
    Ok(())
}

/// Ends when the process is to end. As process 1, in a container, it would get no signal that it has not asked for.
#[cfg(unix)]
fn stop() -> io::Result<impl Future<Output = ()>> {
    use signal::unix::{SignalKind, signal};

    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}

#[cfg(not(unix))]
fn stop() -> io::Result<impl Future<Output = ()>> {
    Ok(async {
        let _ = signal::ctrl_c().await;
    })
}

#[cfg(all(test, unix))]
mod tests {
    use std::{
        env,
        error::Error,
        io::{BufRead, BufReader},
        process::{Command, Stdio},
    };

    const CHILD: &str = "EMULATOR_SERVES";

    #[test]
    fn it_ends_at_once_on_sigterm_and_on_ctrl_c() -> Result<(), Box<dyn Error>> {
        for signal in ["TERM", "INT"] {
            let mut command = Command::new(env::current_exe()?);
            command.args(["--exact", "tests::child", "--nocapture"]).env(CHILD, "1").stdout(Stdio::piped());
            let mut child = command.spawn()?;
            let mut lines = BufReader::new(child.stdout.take().ok_or("no output")?).lines().map_while(Result::ok);
            assert!(lines.any(|line| line.starts_with("CLOUDFLARE_QUEUE_ID=")));
            assert!(Command::new("kill").args(["-s", signal, &child.id().to_string()]).status()?.success());
            assert_eq!(child.wait()?.code(), Some(0), "{signal}");
        }
        Ok(())
    }

    /// Not a test but the process that the other one ends.
    #[tokio::test]
    async fn child() -> Result<(), Box<dyn Error>> {
        if env::var_os(CHILD).is_some() { super::serve(0).await } else { Ok(()) }
    }
}
