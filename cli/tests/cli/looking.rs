//! `ls`, `peek`, `info` and `tail`.

use cloudflare_queues::PushMessage;

use crate::world::World;

#[test]
fn what_is_pushed_is_seen() {
    let world = World::new();
    let queues = world.objects(&["ls"]);
    assert_eq!(queues[0]["id"], world.id());
    let name = queues[0]["name"].as_str().unwrap();
    world.run(&["push", name, "hello"]);
    assert_eq!(world.objects(&["peek", name, "--bodies"])[0]["body"], "hello");
}

#[test]
fn a_body_is_shown_only_if_asked_for() {
    let world = World::new();
    world.push(&[PushMessage::text("s3cret")]);
    for format in ["table", "ndjson"] {
        assert!(!world.run(&["peek", world.id(), "--output", format]).contains("s3cret"));
        assert!(world.run(&["peek", world.id(), "--output", format, "--bodies"]).contains("s3cret"));
    }
}
