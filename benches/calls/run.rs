//! One run of a client, in a process of its own.

use std::{rc::Rc, time::Duration};

use benches::cpu_time;
use tokio::task::{JoinSet, LocalSet};

use crate::load::{Load, Provider, Result};

/// The HTTP client of a user. Ours has the same settings but for redirects, where it is made here for TLS's sake.
pub(crate) fn http(load: &Load) -> Result<reqwest::ClientBuilder> {
    let builder = reqwest::Client::builder().timeout(Duration::from_secs(30));
    let Some(provider) = load.tls else { return Ok(builder) };
    let provider = match provider {
        Provider::AwsLc => rustls::crypto::aws_lc_rs::default_provider(),
        Provider::Ring => rustls::crypto::ring::default_provider(),
    };
    provider.install_default().map_err(|_| "there is a provider")?;
    let digits = |at: usize| u8::from_str_radix(load.site.issuer.get(at..at + 2).unwrap_or_default(), 16);
    let issuer = (0..load.site.issuer.len()).step_by(2).map(digits).collect::<std::result::Result<Vec<_>, _>>()?;
    Ok(builder.tls_certs_only([reqwest::Certificate::from_der(&issuer)?]))
}

/// Makes the calls, and prints what they took: nanoseconds of the processor, and connections.
pub(crate) async fn drive(load: Load, call: impl AsyncFn(usize) -> Result<()> + 'static) -> Result<()> {
    if load.calls == 0 {
        call(0).await?;
        println!("{} 1", cpu_time()?.as_nanos());
        return Ok(());
    }
    let (call, site) = (Rc::new(call), load.site.http.clone());
    connections(&site).await?;
    // What is done once is done here.
    call(0).await?;
    let start = cpu_time()?;
    let local = LocalSet::new();
    let mut tasks = JoinSet::new();
    for task in 0..load.in_flight {
        let (call, calls) = (Rc::clone(&call), load.calls / load.in_flight);
        tasks.spawn_local_on(
            async move {
                for _ in 0..calls {
                    call(task).await?;
                }
                Ok::<(), Box<dyn std::error::Error + Send + Sync>>(())
            },
            &local,
        );
    }
    local
        .run_until(async {
            while let Some(task) = tasks.join_next().await {
                task??;
            }
            Result::Ok(())
        })
        .await?;
    let cpu_time = cpu_time()? - start;
    println!("{} {}", cpu_time.as_nanos(), connections(&site).await?);
    Ok(())
}

/// How many connections the server was asked for since the last question.
async fn connections(url: &str) -> Result<u64> {
    let response: serde_json::Value = reqwest::get(url).await?.json().await?;
    // This question has one of its own.
    Ok(response.get("result").and_then(|count| count.as_u64()).ok_or("no count")? - 1)
}
