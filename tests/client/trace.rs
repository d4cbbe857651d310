//! What a trace shows, and that it costs nothing when it is off.

use std::{cell::RefCell, io, time::Duration};

use cloudflare_queues::{Consumer, PushMessage, emulator::Emulator};
use tracing_subscriber::{fmt::format::FmtSpan, util::SubscriberInitExt};

use support::{Act, Op, QUEUE, RAY, Server};

thread_local! {
    /// What was traced on this thread, if it is kept. Each test is a thread.
    static KEPT: RefCell<Option<Vec<u8>>> = const { RefCell::new(None) };
}

/// From now on, keeps everything traced on this thread, including what other crates write through `log`.
pub(crate) fn keep() {
    KEPT.replace(Some(Vec::new()));
    // Only one test of all is the first.
    let _ = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_span_events(FmtSpan::FULL)
        .with_ansi(false)
        .with_writer(|| Kept)
        .finish()
        .try_init();
}

pub(crate) fn kept() -> String {
    String::from_utf8(KEPT.take().unwrap()).unwrap()
}

struct Kept;

impl io::Write for Kept {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        KEPT.with_borrow_mut(|kept| kept.iter_mut().for_each(|kept| kept.extend(bytes)));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn a_call_is_one_span_and_each_retry_an_event() {
    keep();
    let failure = Act::Respond(support::response(503, &[("retry-after", "0")], ""));
    let server = Server::playing([failure.clone(), failure, support::ok(r#"{"success":true,"result":{}}"#)]);
    Op::Ack.call(&support::stubborn_queue(&server.url, 3)).await.unwrap();
    let text = kept();
    let ours =
        |what: &str| text.lines().filter(|line| line.contains("cloudflare_queues") && line.contains(what)).count();
    assert_eq!((ours(": new"), ours(": close"), ours("sending the request again")), (1, 1, 2), "{text}");
    let retry = text.lines().find(|line| line.contains("attempts=2")).unwrap();
    let wait = retry.split(" wait=").nth(1).and_then(|rest| rest.split(' ').next()).unwrap();
    assert!(wait.ends_with("s") && retry.contains("the service failed"), "{retry}");
    let end = text.lines().find(|line| line.contains(": close")).unwrap();
    for attribute in [
        "messaging.system=\"cloudflare_queues\"".to_owned(),
        "messaging.operation.name=\"ack_messages\"".to_owned(),
        format!("messaging.destination.name=\"{QUEUE}\""),
        "messaging.batch.message_count=1".to_owned(),
        "http.response.status_code=200".to_owned(),
        "http.request.resend_count=2".to_owned(),
        format!("cloudflare.ray_id={RAY}"),
    ] {
        assert!(end.contains(&attribute), "{attribute} in {end}");
    }
}

#[tokio::test]
async fn the_span_of_a_failed_call_has_the_kind() {
    for (act, kind) in [(support::refused(409, 0), "DeliveryPaused"), (support::ok(r#"{"success":false}"#), "Rejected")]
    {
        keep();
        let server = Server::playing([act]);
        Op::Pull.call(&support::queue(&server.url)).await.unwrap_err();
        let text = kept();
        let end = text.lines().rfind(|line| line.contains(": close")).unwrap();
        assert!(end.contains(&format!("error.type={kind}")), "{end}");
    }
}

#[tokio::test]
async fn entries_of_a_list_that_cannot_be_read_are_told() {
    for (list, told) in [(r#"[{"queue_id":"a"},7,8]"#, true), (r#"[{"queue_id":"a"}]"#, false)] {
        keep();
        let body = format!(r#"{{"success":true,"result":{list},"result_info":{{"total_pages":1}}}}"#);
        let server = Server::playing([support::ok(body)]);
        let queues = support::queue(&server.url).queues().list().all().await.unwrap();
        assert_eq!(queues.len(), 1);
        assert_eq!(kept().contains("entries=2"), told);
    }
}

#[tokio::test(start_paused = true)]
async fn pulls_are_receive_spans_and_handlers_process_spans() {
    let emulator = Emulator::in_process();
    let queue = emulator.queue().unwrap();
    queue.push(&PushMessage::text("hello")).await.unwrap();
    keep();
    let stop = tokio::time::sleep(Duration::from_secs(1));
    let _ = Consumer::new(queue).run_until(stop, |_| async {}).await.unwrap();
    let text = kept();
    let closed = |span: &str| {
        let mut spans = text.lines().filter(|line| line.contains(": close") && line.contains(span));
        spans.find(|line| line.contains("messaging.batch.message_count=1") || span == "process{").map(str::to_owned)
    };
    let receive = closed("receive{").unwrap_or_else(|| panic!("{text}"));
    for attribute in [
        "messaging.system=\"cloudflare_queues\"",
        "messaging.operation.name=\"receive\"",
        "messaging.destination.name=",
    ] {
        assert!(receive.contains(attribute), "{attribute} in {receive}");
    }
    assert!(closed("process{").is_some(), "{text}");
}
