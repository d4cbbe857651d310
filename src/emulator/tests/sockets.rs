use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{Duration, Instant, timeout},
};

use super::*;

async fn connect() -> (Emulator, TcpStream) {
    let emulator = Emulator::start().await.unwrap();
    let address = emulator.base_url().replace("http://", "").replace("/client/v4", "");
    (emulator, TcpStream::connect(address).await.unwrap())
}

/// What the emulator sends on a connection after receiving only this.
async fn exchange(sent: &[u8]) -> String {
    let (_emulator, mut stream) = connect().await;
    stream.write_all(sent).await.unwrap();
    read_to_end(stream).await
}

async fn read_to_end(mut stream: TcpStream) -> String {
    let mut received = Vec::new();
    let read = timeout(Duration::from_secs(3600), stream.read_to_end(&mut received)).await;
    read.expect("the emulator waits for ever").unwrap();
    String::from_utf8(received).unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_head_that_does_not_come_in_time_ends_the_connection() {
    for sent in ["", "POST /client/v4 HTTP/1.1\r\nhost: x\r\n"] {
        let started = Instant::now();
        assert_eq!(exchange(sent.as_bytes()).await, "");
        assert!(started.elapsed() >= Duration::from_secs(100), "an idle connection of a client's pool");
    }
}

#[tokio::test]
async fn a_body_that_does_not_come_in_time_is_refused() {
    let (_emulator, mut stream) = connect().await;
    let head = "POST /client/v4 HTTP/1.1\r\nhost: x\r\nauthorization: Bearer emulator-token\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(b"expect: 100-continue\r\ncontent-length: 9\r\n\r\n").await.unwrap();
    // The clock is paused once the emulator waits for the body.
    let mut interim = [0; 25];
    stream.read_exact(&mut interim).await.unwrap();
    assert_eq!(&interim, b"HTTP/1.1 100 Continue\r\n\r\n");
    tokio::time::pause();
    let received = read_to_end(stream).await;
    let (head, body) = received.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 408 "), "{head}");
    assert_eq!(serde_json::from_str::<Value>(body).unwrap()["errors"][0]["code"], 10026);
}

#[tokio::test]
async fn a_client_that_sends_too_much_gets_to_see_the_response() {
    let mut sent = b"POST /client/v4 HTTP/1.1\r\nhost: x\r\nauthorization: Bearer emulator-token\r\n".to_vec();
    sent.extend_from_slice(b"connection: close\r\ncontent-length: 9000000\r\n\r\n");
    sent.resize(sent.len() + 9_000_000, b'x');
    assert!(exchange(&sent).await.starts_with("HTTP/1.1 413 "));
}
