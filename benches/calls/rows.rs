//! What the table has a row for.

use crate::{
    clients::SUBMITTED,
    load::{Call, Form, Load, Provider, Result, Site},
    measure::{Row, What},
    payload,
};

const TEXT: Form = Form { is_base64: false, is_last: false };
const TEXT_LAST: Form = Form { is_base64: false, is_last: true };
const BASE64: Form = Form { is_base64: true, is_last: false };
const BASE64_LAST: Form = Form { is_base64: true, is_last: true };
/// So many messages of 128 KB take seconds to count, not minutes.
const LARGE: usize = 20;
/// What an entry of a request takes besides the lease in it: `{"lease_id":""},`.
const ENTRY_BYTES: f64 = 16.0;

const PAIR: &[&str] = &["by hand", "ours"];
const ALL: &[&str] = &["by hand", "ours", "bare", "hyper"];

/// One call at a time.
fn load(site: &Site, call: Call) -> Load {
    Load { client: String::new(), site: site.clone(), tls: None, call, calls: 0, in_flight: 1 }
}

fn row(name: impl Into<String>, what: What, goal: &'static str, clients: &[&str], load: &Load) -> Row {
    let mut clients = clients.iter().map(|client| Load { client: (*client).to_owned(), ..load.clone() });
    let loads = [(); 4].map(|()| clients.next());
    Row { name: name.into(), what, unit: 1.0, goal, loads }
}

pub(crate) fn rows(site: &Site) -> Result<Vec<Row>> {
    let mut rows = acks(site);
    rows.extend(pulls(site)?);
    rows.push(row("push of 10,000, 1 KB of JSON", What::Instructions, "1.00", PAIR, &load(site, Call::Push(10_000))));
    let push = load(site, Call::Push(10_000));
    let mut pusher = row("pusher of 10,000, 1 KB of JSON", What::Instructions, "1.00", PAIR, &push);
    pusher.loads[1] = Some(Load { client: "pusher".into(), ..push });
    rows.push(pusher);
    rows.extend(scale(site));
    rows.extend(first(site));
    Ok(rows)
}

fn acks(site: &Site) -> Vec<Row> {
    let mut rows = Vec::new();
    for (leases, goal) in [(1, "1.03"), (10, "0.85"), (100, "0.42")] {
        let load = load(site, Call::Ack(leases));
        rows.push(row(format!("ack of {leases}"), What::Instructions, goal, ALL, &load));
        rows.push(row(format!("ack of {leases}"), What::Allocations, "1.10", ALL, &load));
    }
    let mut stored = row("ack of 100 stored ids", What::Instructions, "0.60", PAIR, &load(site, Call::Ack(100)));
    stored.loads[1] = Some(Load { client: "stored".into(), ..load(site, Call::Ack(100)) });
    rows.push(stored);
    rows.push(row("ack of 10,000", What::Instructions, "", PAIR, &load(site, Call::Ack(10_000))));
    // A call of the acker is of many leases.
    let mut acker = row("acker, each byte sent", What::Instructions, "60 each", &[], &load(site, Call::Ack(SUBMITTED)));
    acker.unit = SUBMITTED as f64 * (payload::lease(0).len() as f64 + ENTRY_BYTES);
    acker.loads[1] = Some(Load { client: "acker".into(), ..load(site, Call::Ack(SUBMITTED)) });
    rows.push(acker);
    rows
}

fn pulls(site: &Site) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    let forms = [
        (TEXT, "text"),
        (TEXT_LAST, "text, `success` last"),
        (BASE64, "base64"),
        (BASE64_LAST, "base64, `success` last"),
    ];
    for (messages, size, bytes) in [(100, 1000, "1 KB"), (LARGE, 128_000, "128 KB")] {
        for (form, words) in forms {
            let name = format!("pull of {messages}, {bytes} of JSON as {words}");
            let load = load(site, Call::Pull(form, messages, size));
            rows.push(row(&name, What::Instructions, "0.90", PAIR, &load));
            if messages == LARGE {
                let response = payload::enveloped(&payload::pulled(form.is_base64, messages, size)?, form.is_last);
                let peak = row(&name, What::HeapPeak, "", PAIR, &load);
                rows.push(Row { unit: response.len() as f64, ..peak });
            } else {
                rows.push(row(&name, What::Allocations, "", PAIR, &load));
            }
        }
    }
    Ok(rows)
}

fn scale(site: &Site) -> Vec<Row> {
    let mut rows = Vec::new();
    let calls = [
        ("ack of 1", Call::Ack(1), 8192),
        ("pull of 10, 1 KB", Call::Pull(TEXT, 10, 1000), 2048),
        ("push of 10, 1 KB", Call::Push(10), 2048),
    ];
    for tls in [None, Some(Provider::AwsLc)] {
        for (name, call, calls) in calls.clone() {
            for in_flight in [1, 64, 1024] {
                let name = format!("{name}, {in_flight} in flight{}", if tls.is_some() { ", TLS" } else { "" });
                let load = Load { tls, calls, in_flight, ..load(site, call.clone()) };
                let goal = if (tls, in_flight) == (None, 64) { "1.00" } else { "" };
                rows.push(row(&name, What::Time, goal, PAIR, &load));
                if in_flight == 1024 {
                    rows.push(row(
                        format!("{name}, `max_in_flight(64)`"),
                        What::Time,
                        "",
                        &["by hand", "bounded"],
                        &load,
                    ));
                }
            }
        }
    }
    let load = Load { calls: 8192, in_flight: 64, ..load(site, Call::Ack(10)) };
    rows.push(row("ack of 10, 64 in flight", What::Time, "1.00", PAIR, &load));
    rows
}

fn first(site: &Site) -> Vec<Row> {
    let mut rows = Vec::new();
    for (tls, words) in [(Provider::AwsLc, "aws-lc"), (Provider::Ring, "ring")] {
        let load = Load { tls: Some(tls), ..load(site, Call::Ack(1)) };
        let name = format!("a process with one ack over TLS by {words}");
        rows.push(row(&name, What::FirstInstructions, "", PAIR, &load));
        rows.push(row(&name, What::FirstTime, "", PAIR, &load));
    }
    rows
}
