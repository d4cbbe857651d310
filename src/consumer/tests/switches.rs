//! Whatever the service does where its behavior is open, a consumer works at full speed.

use std::collections::HashSet;

use serde_json::json;

use super::*;

/// Every switch of the emulator, with the values that it is given.
fn switches() -> Vec<(&'static str, Vec<Value>)> {
    let both = || vec![json!(true), json!(false)];
    vec![
        ("warnings", vec![json!("map"), json!("list")]),
        ("json_bodies", vec![json!("text"), json!("base64")]),
        ("missing_content_type", vec![json!("by_body"), json!("json")]),
        ("unknown_leases", vec![json!("warn"), json!("ignore"), json!("reject")]),
        ("results", vec![json!("full"), json!("empty"), json!("null"), json!("absent")]),
        ("extend_from", vec![json!("now"), json!("lease_end")]),
        ("late_acks", both()),
        ("late_retries", both()),
        ("counts", both()),
        ("informing_warnings", both()),
        ("empty_requests", both()),
        ("large_requests", both()),
        ("acks_after_extend", both()),
        ("repeated_extends", both()),
        ("late_extends", both()),
        ("shortening_extends", both()),
        ("empty_bodies", both()),
        ("nulls", both()),
        ("fractions", both()),
        ("patch_resets", both()),
        ("max_lease", vec![json!(43_200), json!(90)]),
        ("largest_pull", vec![json!(100), json!(50)]),
        ("largest_extend", vec![json!(100), json!(3)]),
        ("messages_per_second", vec![json!(5000), json!(100_000)]),
        ("pushes_per_second", vec![json!(100_000), json!(u32::MAX)]),
        ("consumer_start", vec![json!(0), json!(1)]),
        ("purge_time", vec![json!(0), json!(10)]),
    ]
}

/// A choice of a value for each switch.
type Choice = Vec<usize>;

/// Choices in which every pair of values occurs, found by taking for each switch the value with most new pairs.
fn pairwise(counts: &[usize]) -> Vec<Choice> {
    let all = 0..counts.len();
    let values = || all.clone().flat_map(|switch| (0..counts[switch]).map(move |value| (switch, value)));
    let pairs = values().flat_map(|one| values().filter(move |two| one.0 < two.0).map(move |two| (one, two)));
    let mut open: HashSet<_> = pairs.collect();
    let mut choices = Vec::new();
    while let Some(((first, value), (second, other))) = open.iter().min().copied() {
        let mut chosen: Vec<Option<usize>> = vec![None; counts.len()];
        (chosen[first], chosen[second]) = (Some(value), Some(other));
        for switch in all.clone().filter(|switch| ![first, second].contains(switch)) {
            let others: Vec<_> = all.clone().filter_map(|other| Some((other, chosen[other]?))).collect();
            let news = |value: usize| {
                let pair = |other: (usize, usize)| (other.min((switch, value)), other.max((switch, value)));
                others.iter().filter(|other| open.contains(&pair(**other))).count()
            };
            chosen[switch] = (0..counts[switch]).max_by_key(|value| news(*value));
        }
        let choice: Choice = chosen.into_iter().map(Option::unwrap).collect();
        let has = |(switch, value): (usize, usize)| choice[switch] == value;
        open.retain(|(one, two)| !(has(*one) && has(*two)));
        choices.push(choice);
    }
    choices
}

/// How many messages ten handlers work off in a second.
async fn handled(behavior: Behavior) -> (u64, Stats) {
    let world = World::of(behavior);
    world.push(399).await;
    // What is seeded passes no switch of pushes.
    world.direct.push(&PushMessage::json(&399).unwrap()).await.unwrap();
    world.takes(20 * MILLI);
    let consumer = world.consumer();
    // Pulls may be refused for a second after the queue's consumer was created.
    world.emulator.advance(2 * SECOND);
    let report = run(&consumer, sleep(SECOND), |message| async move {
        assert_eq!(message.attempts, Some(1));
        sleep(40 * MILLI).await;
    })
    .await;
    (400 - world.left() as u64, report.stats)
}

#[tokio::test(start_paused = true)]
async fn consumers_work_at_full_speed_under_every_pair_of_switches() {
    let switches = switches();
    let all = serde_json::to_value(Behavior::new()).unwrap();
    let named: HashSet<_> = switches.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(named, all.as_object().unwrap().keys().cloned().collect(), "every switch is listed");
    let counts: Vec<_> = switches.iter().map(|(_, values)| values.len()).collect();
    let set = |choice: &[usize]| {
        let chosen = switches.iter().zip(choice).map(|((name, values), value)| (*name, values[*value].clone()));
        chosen.fold(Behavior::new(), |behavior, (name, value)| behavior.set(name, value).unwrap())
    };
    let (most, _) = handled(Behavior::new()).await;
    let choices = pairwise(&counts);
    // Which includes every value of every switch.
    assert!((12..60).contains(&choices.len()), "{}", choices.len());
    for choice in choices {
        let (handled, stats) = handled(set(&choice)).await;
        let chosen: Vec<_> =
            switches.iter().zip(&choice).map(|((name, values), value)| (name, &values[*value])).collect();
        assert!(handled * 10 >= most * 9, "{handled} instead of {most}: {chosen:?}");
        let failed = (stats.panicked, stats.failed, stats.slowdown, stats.lost_leases);
        assert_eq!(failed, (0, 0, 0, 0), "{chosen:?}");
        // Without a count, a warning may say that its lease was not settled.
        let is_open =
            chosen.contains(&(&"counts", &json!(false))) && chosen.contains(&(&"informing_warnings", &json!(true)));
        assert!(stats.unconfirmed == 0 || is_open, "{chosen:?}");
    }
}

/// How many messages ten handlers work off in a quarter of an hour, and how many times they worked: two and a half
/// minutes each time, in which a lease has to be extended several times.
async fn handled_slowly(behavior: Behavior) -> (u64, u64, Stats) {
    let world = World::of(behavior);
    world.push(100).await;
    world.takes(20 * MILLI);
    let consumer = world.consumer();
    world.emulator.advance(2 * SECOND);
    let report = run(&consumer, sleep(15 * MINUTE + SECOND), |_| sleep(150 * SECOND)).await;
    (100 - world.left() as u64, report.stats.handler_times.count(), report.stats)
}

#[tokio::test(start_paused = true)]
async fn slow_handlers_work_at_full_speed_under_every_switch() {
    // With one of these, no lease lasts as long as the handlers do.
    let bounds = [("acks_after_extend", json!(false)), ("repeated_extends", json!(false)), ("max_lease", json!(90))];
    let is_bound = |name: &str| bounds.iter().any(|(bound, _)| *bound == name);
    let switches: Vec<_> = switches().into_iter().filter(|(name, _)| !is_bound(name)).collect();
    let counts: Vec<_> = switches.iter().map(|(_, values)| values.len()).collect();
    let (most, _, _) = handled_slowly(Behavior::new()).await;
    // Every pair of values takes long; here, every value.
    let most_values = counts.iter().copied().max().unwrap();
    let every = (0..most_values).map(|number| counts.iter().map(|count| number % count).collect()).collect();
    for choice in if is_every_case_wanted() { pairwise(&counts) } else { every } {
        let chosen: Vec<_> =
            switches.iter().zip(&choice).map(|((name, values), value)| (*name, values[*value].clone())).collect();
        let set = |behavior: Behavior, (name, value): &(&str, Value)| behavior.set(name, value.clone()).unwrap();
        let (done, _, stats) = handled_slowly(chosen.iter().fold(Behavior::new(), set)).await;
        assert!(done * 10 >= most * 9, "{done} instead of {most}: {chosen:?}");
        assert_eq!((stats.panicked, stats.failed, stats.slowdown), (0, 0, 0), "{chosen:?}");
    }
    for (name, value) in bounds {
        let (_, worked, stats) = handled_slowly(Behavior::new().set(name, value).unwrap()).await;
        // What refuses every acknowledgement is a failing service, and is asked less often.
        let is_refused = stats.unconfirmed == worked;
        assert!(worked * 10 >= most * 9 || is_refused, "{worked} instead of {most}: {name} {stats:?}");
        assert_eq!((stats.panicked, stats.failed), (0, 0), "{name}");
    }
}
