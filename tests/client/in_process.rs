//! A call in process sees the same results as over a socket.

use std::time::Duration;

use cloudflare_queues::{
    Client, ClientBuilder, Credentials, ErrorKind,
    emulator::{Emulator, Fault},
};

use support::Op;

/// What the caller of an operation sees when both of its attempts meet a fault. The status is left out: over a socket,
/// a reset may overtake the head of a truncated response.
async fn call(emulator: &Emulator, builder: ClientBuilder, op: Op, fault: &Fault) -> Option<(ErrorKind, bool, u32)> {
    let builder = builder.retry(support::quick(2));
    let queue = builder.build().unwrap().queue(emulator.account_id(), emulator.queue_id()).unwrap();
    (0..2).for_each(|_| emulator.inject(fault.clone()));
    let error = op.call(&queue).await.err()?;
    Some((error.kind(), error.may_have_arrived(), error.attempts()))
}

#[tokio::test]
async fn every_fault_looks_the_same_in_process_and_over_a_socket() {
    let moment = Duration::from_millis(1);
    let slow = |fault| Fault::Slow { before: moment, after: moment, fault: Some(Box::new(fault)) };
    let faults = [
        Fault::RateLimited { code: 10250, retry_after: Some(Duration::ZERO) },
        Fault::RateLimited { code: 10252, retry_after: Some(Duration::from_secs(1)) },
        Fault::ServerError(502),
        Fault::NotSuccess,
        Fault::CutOff,
        Fault::ResetBefore,
        Fault::ResetAfter,
        slow(Fault::CutOff),
        slow(Fault::ResetAfter),
    ];
    for fault in faults {
        for op in [Op::Ack, Op::Push] {
            let (near, far) = (Emulator::start().await.unwrap(), Emulator::start().await.unwrap());
            let socket = Client::builder(far.credentials().unwrap()).base_url(far.base_url());
            let expected = call(&far, socket, op, &fault).await;
            let told = call(&near, near.in_process_builder().unwrap(), op, &fault).await;
            assert_eq!(told, expected, "{op:?}, {fault:?}");
            let left = [near, far].map(|emulator| (emulator.requests(), emulator.messages(emulator.queue_id())));
            assert_eq!(left[0], left[1], "{op:?}, {fault:?}");
        }
    }
}

#[tokio::test]
async fn credentials_can_be_replaced_in_process() {
    let emulator = Emulator::in_process();
    let given = Credentials::api_token("another").unwrap();
    let client = emulator.in_process_builder().unwrap().credentials(given).build().unwrap();
    let queue = client.queue(emulator.account_id(), emulator.queue_id()).unwrap();
    assert_eq!(queue.peek(1).await.unwrap_err().kind(), ErrorKind::Unauthorized);
    emulator.set_api_token("another");
    queue.peek(1).await.unwrap();
}
