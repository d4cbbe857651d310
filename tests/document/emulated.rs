//! The emulator's responses have the published form, for every operation, in success and failure.

use std::{
    collections::BTreeSet,
    io::{BufRead, BufReader, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use cloudflare_queues::{
    AckRequest, Client, Lease, PullOptions, PushMessage, Queue, RetryPolicy,
    emulator::Emulator,
    manage::{ConsumerSettings, EventSource, NewSubscription, QueueSettings, SubscriptionChange},
};
use refresh::places;
use serde_json::Value;
use support::Op;

use super::{
    document,
    forms::{newer, validator},
    generate,
};

/// `GET /path`, the status, and the body of a response.
type Exchange = (String, u16, Value);

/// The first line, and the whole, of a request or a response.
fn read(stream: &mut impl BufRead) -> Option<(String, Vec<u8>)> {
    let (mut head, mut length) = (String::new(), 0);
    while !head.ends_with("\r\n\r\n") {
        let start = head.len();
        if stream.read_line(&mut head).ok()? == 0 {
            return None;
        }
        let line = head[start..].to_ascii_lowercase();
        length = line.strip_prefix("content-length:").map_or(length, |text| text.trim().parse().unwrap());
    }
    let line = head.lines().next().unwrap().to_owned();
    let (at, mut bytes) = (head.len(), head.into_bytes());
    bytes.resize(at + length, 0);
    stream.read_exact(&mut bytes[at..]).ok()?;
    Some((line, bytes))
}

/// Forwards requests and responses, and records them.
fn relay(client: TcpStream, service: SocketAddr, seen: &Mutex<Vec<Exchange>>) -> Option<()> {
    let service = TcpStream::connect(service).ok()?;
    let (mut from_client, mut from_service) = (BufReader::new(&client), BufReader::new(&service));
    loop {
        let (line, request) = read(&mut from_client)?;
        (&service).write_all(&request).ok()?;
        let (status, response) = read(&mut from_service)?;
        let body = response.windows(4).position(|end| end == b"\r\n\r\n").map(|at| &response[at + 4..]).unwrap();
        let (name, status) = (line.trim_end_matches(" HTTP/1.1"), status.split(' ').nth(1).unwrap().parse().unwrap());
        seen.lock().unwrap().push((name.replace("/client/v4", ""), status, serde_json::from_slice(body).unwrap()));
        (&client).write_all(&response).ok()?;
    }
}

/// The path and the method of a request in our document.
fn operation(document: &Value, name: &str) -> (String, String) {
    let (method, path) = name.split_once(' ').unwrap();
    let segments =
        |path: &str| path.split(['?', '#']).next().unwrap().split('/').map(str::to_owned).collect::<Vec<_>>();
    let wanted = segments(path);
    let fits = |path: &&String| {
        let template = segments(path);
        template.len() == wanted.len()
            && template.iter().zip(&wanted).all(|(part, is)| part.starts_with('{') || part == is)
    };
    let path = document["paths"].as_object().unwrap().keys().find(fits).unwrap_or_else(|| panic!("{name}"));
    (path.clone(), method.to_ascii_lowercase())
}

async fn everything(queue: &Queue) {
    // What needs no preparation; the rest follows, and what fails here or there is looked at, too.
    for op in Op::ALL.into_iter().filter(|op| *op != Op::DeleteQueue) {
        drop(op.call(queue).await);
    }
    let queues = queue.queues();
    let made = queues.create("more-jobs").await.unwrap();
    let described = made.describe().await.unwrap();
    let _ = queues.list().all().await.unwrap();
    let settings = QueueSettings::new().delivery_delay(Duration::ZERO);
    let _ = made.update_from(&described, settings.clone()).await.unwrap();
    let _ = made.replace_settings(&described, settings).await.unwrap();
    let consumer =
        made.create_consumer(&ConsumerSettings::pull().dead_letter_queue("failed")).await.unwrap().id().unwrap();
    let _ = made.update_consumer(&consumer, &ConsumerSettings::pull().max_retries(7)).await.unwrap();
    let _ = (made.consumer(&consumer).await.unwrap(), made.consumers().await.unwrap());
    let _ = (
        made.push(&PushMessage::text("text")).await.unwrap(),
        made.push_batch(&vec![PushMessage::text("text"); 3]).await.unwrap(),
    );
    let peeked = made.peek(1).await.unwrap();
    let _ = made.delete_messages(peeked.into_iter().filter_map(|peeked| peeked.message_ref)).await.unwrap();
    let batch = made.pull(PullOptions::new()).await.unwrap();
    let _ = made.extend(&batch, Duration::from_secs(60)).await.unwrap();
    let _ = made.ack(AckRequest::ack_all(&batch)).await.unwrap();
    // Of a lease that is not known.
    let _ = made.ack(AckRequest::retry_all(["lease"])).await;
    let _ = made.extend([Lease::from("lease")], Duration::from_secs(60)).await;
    let _ = (made.metrics().await.unwrap(), made.purge_all().await.unwrap(), made.purge_status().await.unwrap());
    let subscriptions = queues.subscriptions();
    let source = EventSource::new("workersAi.model").with("model_name", "model");
    let new = NewSubscription::new("events", source, made.id()).event("batch.queued");
    let subscription = subscriptions.create(&new).await.unwrap().id().unwrap();
    let _ = (
        subscriptions.get(&subscription).await.unwrap(),
        subscriptions.update(&subscription, SubscriptionChange::new().enabled(false)).await.unwrap(),
    );
    let _ = subscriptions.list().all().await.unwrap();
    subscriptions.delete(&subscription).await.unwrap();
    made.delete_consumer(&consumer).await.unwrap();
    made.delete().await.unwrap();
    for op in Op::ALL {
        drop(op.call(&made).await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn emulator_responses_have_the_published_form() {
    let emulator = Emulator::start().await.unwrap();
    let service: SocketAddr = emulator.base_url()["http://".len()..].trim_end_matches("/client/v4").parse().unwrap();
    let (listener, seen) = (TcpListener::bind("127.0.0.1:0").unwrap(), Arc::new(Mutex::new(Vec::new())));
    let url = format!("http://{}/client/v4", listener.local_addr().unwrap());
    let shared = Arc::clone(&seen);
    thread::spawn(move || {
        for client in listener.incoming() {
            let shared = Arc::clone(&shared);
            thread::spawn(move || relay(client.unwrap(), service, &shared));
        }
    });
    let client =
        Client::builder(emulator.credentials().unwrap()).base_url(url).retry(RetryPolicy::none()).build().unwrap();
    everything(&client.queue(emulator.account_id(), emulator.queue_id()).unwrap()).await;

    let (ours, newer) = (document(), newer());
    let (mut succeeded, mut failed) = (BTreeSet::new(), BTreeSet::new());
    for (name, status, body) in seen.lock().unwrap().iter() {
        let (path, method) = operation(&ours, name);
        let responses = &generate::operation(&newer, &path, &method)["responses"];
        let described = responses.get(status.to_string()).unwrap_or(&responses["4XX"]);
        let schema = generate::content(&newer, described);
        assert!(!schema.is_null(), "{name}, {status}: nothing is published");
        let validator = validator(&newer, &schema);
        let errors = validator.iter_errors(body).map(|error| error.to_string());
        // They have been seen, although they are not published.
        let seen = ["0 is less than the minimum of 1000", "404 is less than the minimum of 1000"];
        let errors: Vec<_> = errors.filter(|error| !seen.contains(&error.as_str())).collect();
        assert!(errors.is_empty(), "{name}, {status}: {errors:?} in {body}");
        let id = places::find(&ours, &path, &method).unwrap()["operationId"].to_string();
        if *status == 200 {
            succeeded.insert(id)
        } else {
            failed.insert(id)
        };
    }
    assert_eq!(succeeded.len(), Op::ALL.len(), "{succeeded:?}");
    assert!(failed.len() > 20, "{failed:?}");
}
