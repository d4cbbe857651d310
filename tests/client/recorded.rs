//! Responses that were recorded, in `tests/fixtures/recorded`.

use std::{collections::BTreeSet, time::Duration};

use cloudflare_queues::{Error, ErrorKind, PullOptions, Queue};
use serde_json::Value;

use support::{
    Act, Op, Server,
    recorded::{self, Exchange},
};

fn act(exchange: &Exchange) -> Act {
    let headers = exchange.fields["headers"].as_object().unwrap();
    let headers: Vec<_> = headers.iter().map(|(name, value)| (name.as_str(), value.as_str().unwrap())).collect();
    Act::Respond(support::response(exchange.status(), &headers, exchange.fields["response"].to_string()))
}

/// The leases of a request, if the client can send it as it is.
fn leases(request: &Value, name: &str) -> Option<Vec<String>> {
    let entries = request[name].as_array()?;
    let leases: Option<Vec<_>> = entries.iter().map(|entry| Some(entry["lease_id"].as_str()?.to_owned())).collect();
    let leases = leases.filter(|leases| (1..=100).contains(&leases.len()) && !leases.contains(&String::new()))?;
    (leases.iter().collect::<BTreeSet<_>>().len() == leases.len()).then_some(leases)
}

/// Calls the recorded operation. A request that the client does not send is replaced by one that it does.
async fn call(queue: &Queue, exchange: &Exchange) -> Result<(), Error> {
    let Exchange { fields, .. } = exchange;
    let request = &fields["request"];
    match fields["path"].as_str().unwrap().rsplit('/').next().unwrap() {
        "ack" => match leases(request, "acks").filter(|_| request.get("retries").is_none()) {
            Some(leases) => {
                let outcome =
                    queue.ack(support::acks(leases.iter().map(String::as_str))).await.map_err(|failed| failed.error)?;
                assert_eq!(outcome.acks.confirmed, fields["response"]["result"]["ackCount"].as_u64(), "{outcome:?}");
                Ok(())
            }
            None => Op::Ack.call(queue).await,
        },
        "extend" => match leases(request, "extend") {
            Some(leases) => {
                let outcome = queue.extend(leases, Duration::from_secs(30)).await.map_err(|failed| failed.error)?;
                let confirmed = fields["response"]["result"]["extendCount"].as_u64();
                assert_eq!(outcome.extensions.confirmed, confirmed, "{outcome:?}");
                Ok(())
            }
            None => Op::Extend.call(queue).await,
        },
        "pull" => {
            let batch = queue.pull(PullOptions::new().batch_size(100)).await?;
            let recorded = fields["response"]["result"]["messages"].as_array().map_or(0, Vec::len);
            assert_eq!(batch.messages.len(), recorded);
            Ok(())
        }
        "messages" => Op::Push.call(queue).await,
        "batch" => Op::PushBatch.call(queue).await,
        "peek" => Op::Peek.call(queue).await,
        "purge" => Op::Delete.call(queue).await,
        other => panic!("an operation that is not known: {other}"),
    }
}

#[tokio::test]
async fn the_client_reads_every_recorded_response() {
    for folder in support::recordings() {
        let server = Server::playing([support::bare_success()]);
        let queue = support::queue(&server.url);
        for exchange in recorded::read(&folder) {
            server.play(act(&exchange));
            let (result, at) = (call(&queue, &exchange).await, folder.join(&exchange.file));
            let is_success = exchange.status() == 200 && exchange.fields["response"]["success"] == true;
            match result {
                Ok(()) => assert!(is_success, "{}", at.display()),
                Err(error) => {
                    assert!(!is_success, "{}: {error}", at.display());
                    assert_ne!(error.kind(), ErrorKind::UnexpectedResponse, "{}: {error}", at.display());
                    assert_eq!(error.status(), Some(exchange.status()), "{}: {error}", at.display());
                }
            }
        }
    }
}
