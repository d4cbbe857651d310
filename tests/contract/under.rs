//! The contract under every switch of the emulator.

use std::{collections::HashMap, thread, time::Duration};

use cloudflare_queues::{
    AckError, AckOutcome, ClientBuilder, DeleteOutcome, ErrorKind,
    emulator::{Behavior, Emulator, EmulatorBuilder},
};
use serde_json::{Map, Value, json};
use tokio::runtime::Builder;

use super::Service;

/// The behavior that a contract is tested under.
pub(crate) struct Under {
    behavior: Behavior,
    switches: Map<String, Value>,
    /// For what a failure prints.
    what: String,
    over_http: bool,
}

/// Every value of every switch but the defaults. A number or a time has one here.
fn switches() -> Vec<(String, Value)> {
    let values = |(name, default): (String, Value)| {
        let values = match (&default, name.as_str()) {
            (Value::Bool(_), _) => vec![json!(true), json!(false)],
            (Value::String(_), _) => words(&name),
            (_, "max_lease") => vec![json!(90)],
            (_, "largest_pull") => vec![json!(1)],
            (_, "largest_extend") => vec![json!(2)],
            (_, "messages_per_second") => vec![json!(100)],
            (_, "pushes_per_second") => vec![json!(5000)],
            (_, "consumer_start") => vec![json!(5)],
            (_, "purge_time") => vec![json!(10)],
            _ => panic!("give the switch `{name}` a value here, other than its default"),
        };
        values.into_iter().filter(move |value| *value != default).map(move |value| (name.clone(), value))
    };
    of(&Behavior::new()).into_iter().flat_map(values).collect()
}

fn of(behavior: &Behavior) -> Map<String, Value> {
    let Ok(Value::Object(switches)) = serde_json::to_value(behavior) else { panic!("a map of switches") };
    switches
}

/// The values of a switch, as the error lists them.
fn words(name: &str) -> Vec<Value> {
    let error = Behavior::new().set(name, "no such value").unwrap_err().to_string();
    let (_, listed) = error.split_once("expected ").unwrap();
    listed.split('`').skip(1).step_by(2).map(Value::from).collect()
}

/// Tests a contract in process, without waiting, under every value of each switch.
pub(crate) fn under_every_switch(contract: impl AsyncFn(&Under)) {
    Under::new(Behavior::new(), "the default", false).test(&contract);
    for (name, value) in switches() {
        Under::the(&name, value, false).test(&contract);
    }
}

/// Tests a contract over HTTP as the emulator is by default, and in process under every value of each switch.
pub(crate) fn over_http_and_under_every_switch(contract: impl AsyncFn(&Under)) {
    Under::new(Behavior::new(), "the default", true).test(&contract);
    under_every_switch(contract);
}

/// Tests a contract over HTTP under every value of each switch, for what a client in process cannot do.
pub(crate) fn over_http_under_every_switch(contract: impl AsyncFn(&Under)) {
    for (name, value) in switches() {
        Under::the(&name, value, true).test(&contract);
    }
}

impl Under {
    fn new(behavior: Behavior, what: &str, over_http: bool) -> Self {
        let by = if over_http { "over HTTP" } else { "in process" };
        Self { switches: of(&behavior), behavior, what: format!("{what}, {by}"), over_http }
    }

    fn the(name: &str, value: Value, over_http: bool) -> Self {
        let what = format!("{name}={value}");
        Self::new(Behavior::new().set(name, value).unwrap(), &what, over_http)
    }

    fn test(&self, contract: impl AsyncFn(&Self)) {
        // The clock cannot be paused while a socket is waited for.
        let runtime = Builder::new_current_thread().enable_all().start_paused(!self.over_http).build().unwrap();
        runtime.block_on(contract(self));
    }

    pub(crate) fn builder(&self) -> EmulatorBuilder {
        Emulator::builder().behavior(self.behavior.clone())
    }

    /// An emulator on tokio's clock.
    pub(crate) fn emulator_in_process(&self) -> Emulator {
        self.builder().in_process()
    }

    /// An emulator with a clock that stands still.
    pub(crate) async fn service(&self) -> Service {
        let emulator = match self.over_http {
            true => self.builder().start().await.unwrap(),
            false => self.builder().frozen().in_process(),
        };
        Service::of(emulator, self.answers())
    }

    /// A builder of clients of the emulator.
    pub(crate) fn client(&self, emulator: &Emulator) -> ClientBuilder {
        match self.over_http {
            true => cloudflare_queues::Client::builder(emulator.credentials().unwrap()).base_url(emulator.base_url()),
            false => emulator.in_process_builder().unwrap(),
        }
    }

    /// Whether a switch has a value.
    pub(crate) fn is(&self, name: &str, value: impl Into<Value>) -> bool {
        self.switches[name] == value.into()
    }

    /// How long a new consumer does not give anything.
    pub(crate) fn consumer_start(&self) -> Duration {
        Duration::from_secs_f64(self.switches["consumer_start"].as_f64().unwrap())
    }

    pub(crate) fn has_results(&self) -> bool {
        self.is("results", "full")
    }

    pub(crate) fn answers(&self) -> Answers {
        let has_result = self.has_results();
        Answers {
            has_counts: Some(has_result && self.is("counts", true)),
            informs: Some(has_result && self.is("informing_warnings", true)),
            takes_late_acks: self.is("late_acks", true),
        }
    }
}

/// Says under which switch a test failed.
impl Drop for Under {
    fn drop(&mut self) {
        if thread::panicking() {
            println!("failed under {}", self.what);
        }
    }
}

/// What responses have. On Cloudflare, that is not known.
#[derive(Clone, Copy)]
pub(crate) struct Answers {
    pub(crate) has_counts: Option<bool>,
    /// With warnings alongside what was done.
    pub(crate) informs: Option<bool>,
    /// Whether an expired lease acknowledges, as is documented.
    pub(crate) takes_late_acks: bool,
}

impl Answers {
    pub(crate) const UNKNOWN: Self = Self { has_counts: None, informs: None, takes_late_acks: true };

    /// Everything was carried out, as far as a response says that.
    pub(crate) fn assert_done(self, outcome: &AckOutcome) {
        for counts in [outcome.acks, outcome.retries].iter().filter(|counts| counts.requested > 0) {
            let is_confirmed = counts.confirmed == Some(counts.requested);
            let is_accepted = counts.confirmed.is_none() && counts.accepted == counts.requested;
            match self.has_counts {
                Some(true) => assert!(is_confirmed, "{outcome:?}"),
                Some(false) => assert!(is_accepted, "{outcome:?}"),
                None => assert!(is_confirmed || is_accepted, "{outcome:?}"),
            }
        }
        assert_eq!(outcome.is_complete(), outcome.acks.is_complete() && outcome.retries.is_complete());
    }

    /// A lease is used, and nothing says that it was acknowledged.
    pub(crate) fn assert_not_done(self, result: Result<AckOutcome, AckError>) {
        match result {
            Ok(outcome) => {
                assert!(!outcome.is_complete(), "{outcome:?}");
                assert!(self.has_counts != Some(true) || outcome.acks.doubtful() > 0, "{outcome:?}");
            }
            Err(failed) => assert_eq!(failed.error.kind(), ErrorKind::Rejected),
        }
    }

    /// Messages were deleted, against which at most a warning speaks that only informs.
    pub(crate) fn assert_deleted(self, outcome: &DeleteOutcome) {
        assert!(outcome.errors.is_empty(), "{outcome:?}");
        if let Some(informs) = self.informs {
            assert_eq!(outcome.is_complete(), !informs, "{outcome:?}");
        }
    }
}

#[test]
fn every_value_of_every_switch_is_tested() {
    let mut tested: HashMap<_, Vec<_>> = HashMap::new();
    for (name, value) in switches() {
        tested.entry(name).or_default().push(value);
    }
    let defaults = of(&Behavior::new());
    assert!(defaults.keys().all(|name| tested.contains_key(name)), "{tested:?}");
    assert_eq!(tested["results"], ["empty", "null", "absent"]);
    assert_eq!(tested["late_acks"], [false]);
    // Both as the emulator writes it.
    assert!(defaults.iter().all(|(name, default)| !tested[name].contains(default)), "{tested:?}");
}
