//! A consumer of another make at the same queue: Cloudflare's own client for Python.

use std::{
    collections::HashSet,
    env,
    process::{Command, Stdio},
    sync::{Arc, Mutex},
    time::Duration,
};

use cloudflare_queues::{
    Consumer, Message, PushMessage, Verdict,
    emulator::{EmulatedQueue, Emulator, Fault},
};
use serde::Deserialize;
use tokio::{
    task::spawn_blocking,
    time::{sleep, timeout},
};

use super::world::Random;

const MESSAGES: usize = 500;

/// A line of `consumer.py`.
#[derive(Deserialize)]
struct Settled {
    asked: Vec<String>,
    is_confirmed: bool,
}

/// The interpreter, if it has the package. `PYTHON` names another one, which must have it, such as that of a virtual
/// environment.
fn python() -> Option<String> {
    let named = env::var("PYTHON").ok();
    let python = named.as_deref().unwrap_or("python3");
    let output = Command::new(python).args(["-c", "import cloudflare"]).output();
    if output.is_ok_and(|output| output.status.success()) {
        return Some(python.to_owned());
    }
    let text = format!("`{python}` has no package `cloudflare`");
    assert!(named.is_none(), "{text}");
    println!("skipped: {text}");
    None
}

#[tokio::test(flavor = "multi_thread")]
async fn the_official_python_client_can_consume_the_same_queue() {
    let Some(python) = python() else { return };
    let emulator = Emulator::builder().real_time().start().await.unwrap();
    let lease = Duration::from_secs(2);
    emulator.configure_queue(emulator.queue_id(), |settings: EmulatedQueue| settings.max_retries(u32::MAX));
    let queue = emulator.queue().unwrap();
    let all: HashSet<String> = (0..MESSAGES).map(|number| number.to_string()).collect();
    queue.push_all(&all.iter().cloned().map(PushMessage::text).collect::<Vec<_>>()).await.unwrap();
    let mut random = Random::new(1);
    for _ in 0..MESSAGES / 5 {
        let fault = (random.below(4) == 0).then(|| Box::new(random.fault()));
        let [before, after] = [(); 2].map(|()| Duration::from_millis(random.below(20)));
        emulator.inject(Fault::Slow { before, after, fault });
    }

    let mut command = Command::new(python);
    command.args(["-c", include_str!("consumer.py"), &emulator.base_url(), &emulator.api_token()]);
    command.args([emulator.account_id().as_str(), emulator.queue_id().as_str()]);
    let other = spawn_blocking(move || command.stderr(Stdio::inherit()).output().unwrap());
    let asked = Arc::new(Mutex::new(HashSet::new()));
    let ours = Arc::clone(&asked);
    let handler = move |message: Message| {
        ours.lock().unwrap().insert(message.body.text().unwrap().into_owned());
        async {
            // Slow, so that the other one has its share.
            sleep(Duration::from_millis(20)).await;
            Verdict::Ack
        }
    };
    let stop = async {
        let is_over = async {
            while !emulator.messages(emulator.queue_id()).is_empty() {
                sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(Duration::from_secs(600), is_over).await.unwrap();
    };
    let mut consumed = 0;
    // A fault may refuse the credentials, which ends a run.
    let mut stop = std::pin::pin!(stop);
    loop {
        let consumer = Consumer::new(queue.clone()).batch_size(10).visibility_timeout(lease).concurrency(4);
        let report = consumer.run_until(&mut stop, handler.clone()).await.unwrap();
        consumed += report.stats.acknowledged;
        if report.error.is_none() {
            break;
        }
    }

    let output = other.await.unwrap();
    assert!(output.status.success());
    let lines = String::from_utf8(output.stdout).unwrap();
    let settled: Vec<Settled> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let confirmed = settled.iter().filter(|settled| settled.is_confirmed).flat_map(|settled| &settled.asked).count();
    assert!(consumed > 0 && confirmed > 0, "{consumed} here, {confirmed} there");
    // The queue is empty, and each message was handled by one of the two at least.
    let mut asked = asked.lock().unwrap().clone();
    asked.extend(settled.into_iter().flat_map(|settled| settled.asked));
    assert_eq!(asked, all);
    println!("{consumed} acknowledged here, {confirmed} by the official client");
}
