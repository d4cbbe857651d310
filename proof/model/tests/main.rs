//! Two consumers of two messages, in every reachable state, for every combination of what is not known about the
//! service. It may answer each request differently: that is more than it can do, and far fewer states.
//!
//! Requests and responses are lost, delayed or refused; consumers crash or stop; leases expire and messages are
//! redelivered. How a consumer reacts is decided by the library's own functions: see `client.rs`.

mod client;
mod service;

use std::time::Instant;

use queues::fuzzing::Failure;
use stateright::{Checker, Model, Property};

use crate::{
    client::{Call, Careless, Client, Phase},
    service::{Answers, MESSAGES, Message, Place, Request, carry_out},
};

const CLIENTS: usize = 2;

struct World {
    careless: Option<Careless>,
    /// A lease ends at the second tick, if it is not extended.
    ticks: u8,
    /// How many failures there are in all: of requests, of responses, and of consumers.
    failures: u8,
    /// Whether consumers are told to stop.
    stops: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct State {
    now: u8,
    failures: u8,
    messages: [Message; MESSAGES],
    clients: [Client; CLIENTS],
    /// A request that nobody waits for any more, and that may still arrive.
    adrift: Option<Request>,
    /// Whether a handler decided that a message is done, and whether one was told that the service confirmed it.
    decided: [bool; MESSAGES],
    confirmed: [bool; MESSAGES],
    /// A pull was sent again after it had been carried out.
    has_stranded: bool,
}

#[derive(Clone, Debug, PartialEq)]
enum Action {
    Tick,
    /// A request that was given up arrives after all.
    Drift(Answers),
    Pull(usize),
    Decide(usize, usize, bool),
    Settle(usize),
    Extend(usize),
    Arrive(usize, Answers),
    Take(usize),
    Fail(usize, Failure),
    Stop(usize),
    End(usize),
    Crash(usize),
}

impl Model for World {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let mut clients = [Client::new(); CLIENTS];
        if self.careless.is_some() {
            // One alone is enough to go wrong.
            clients[1].phase = Phase::Ended;
        }
        vec![State {
            now: 0,
            failures: 0,
            messages: [Message::new(); MESSAGES],
            clients,
            adrift: None,
            decided: [false; MESSAGES],
            confirmed: [false; MESSAGES],
            has_stranded: false,
        }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        if state.now < self.ticks {
            actions.push(Action::Tick);
        }
        if let Some(request) = state.adrift {
            actions.extend(state.answered(request, Answers::default()).into_iter().map(Action::Drift));
        }
        for (number, client) in state.clients.iter().enumerate() {
            self.actions_of(state, number, client, actions);
        }
    }

    fn next_state(&self, state: &State, action: Action) -> Option<State> {
        let mut next = state.clone();
        let now = state.now;
        match action {
            Action::Tick => {
                next.now += 1;
                next.messages.iter_mut().for_each(|message| message.expire(next.now));
            }
            Action::Drift(answers) => {
                carry_out(&mut next.messages, next.adrift.take()?, now, &answers).ok()?;
            }
            Action::Pull(number) => next.send(number, Request::Pull),
            Action::Settle(number) => next.send(number, state.clients[number].settlement()?),
            Action::Extend(number) => next.send(number, state.clients[number].extension(now, self.careless)?),
            Action::Decide(number, message, is_ack) => {
                next.clients[number].holds[message].as_mut()?.decision = Some(is_ack);
                next.decided[message] |= is_ack;
            }
            Action::Arrive(number, answers) => {
                let call = next.clients[number].call.as_mut()?;
                call.response = Some(carry_out(&mut next.messages, call.request, now, &answers).ok()?);
            }
            Action::Take(number) => {
                let confirmed = next.clients[number].take(now, self.careless);
                next.confirmed = std::array::from_fn(|message| state.confirmed[message] || confirmed[message]);
            }
            Action::Fail(number, failure) => {
                let client = &mut next.clients[number];
                let call = client.call?;
                client.fail(failure, now, self.careless);
                let is_done = call.response.is_some();
                next.has_stranded |= is_done && call.request == Request::Pull && client.call.is_some();
                if failure == Failure::Late && !is_done {
                    next.adrift = Some(call.request);
                }
                next.failures += 1;
            }
            Action::Stop(number) => next.clients[number].phase = Phase::Stopping,
            Action::End(number) => next.clients[number].phase = Phase::Ended,
            Action::Crash(number) => {
                let client = std::mem::replace(&mut next.clients[number], Client::new());
                next.clients[number].phase = Phase::Crashed;
                if let Some(Call { request, response: None, .. }) = client.call {
                    next.adrift = Some(request);
                }
                next.failures += 1;
            }
        }
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("no message is lost", |_, state: &State| {
                (0..MESSAGES).all(|message| state.messages[message].place != Place::Gone || state.decided[message])
            }),
            Property::always("no confirmation is untrue", |_, state: &State| {
                (0..MESSAGES).all(|message| !state.confirmed[message] || state.messages[message].place == Place::Gone)
            }),
            Property::always("no handler is told that it holds a lease that has ended", |_, state: &State| {
                state.clients.iter().all(|client| {
                    let held = client
                        .holds
                        .iter()
                        .zip(&state.messages)
                        .filter_map(|(hold, message)| Some(((*hold)?, message)));
                    let mut told = held.filter(|(hold, _)| hold.decision.is_none() && hold.believed > state.now);
                    told.all(|(hold, message)| message.place == Place::Gone || message.is_held_by(hold.lease))
                })
            }),
            Property::always("no batch is stranded by a second pull", |_, state: &State| !state.has_stranded),
            Property::always("a shutdown ends", |world: &Self, state: &State| {
                let mut actions = Vec::new();
                world.actions(state, &mut actions);
                !actions.is_empty() || state.clients.iter().all(|client| client.phase != Phase::Stopping)
            }),
            Property::sometimes(CONFIRMED, |_, state: &State| state.confirmed == [true; MESSAGES]),
            Property::sometimes(STOPPED, |_, state: &State| {
                state.clients.iter().any(|client| client.phase == Phase::Stopping && client.call.is_some())
            }),
        ]
    }
}

impl World {
    fn actions_of(&self, state: &State, number: usize, client: &Client, actions: &mut Vec<Action>) {
        let (is_running, may_fail) = (client.phase == Phase::Running, state.failures < self.failures);
        if matches!(client.phase, Phase::Ended | Phase::Crashed) {
            return;
        }
        if let Some(call) = client.call {
            match call.response {
                None => {
                    let answered = state.answered(call.request, Answers::default()).into_iter();
                    actions.extend(answered.map(|answers| Action::Arrive(number, answers)));
                }
                Some(_) => actions.push(Action::Take(number)),
            }
            if may_fail {
                // What was carried out fails only by its response.
                let failures: &[_] = match call.response {
                    Some(_) => &[Failure::Broken],
                    None if state.adrift.is_none() => &[Failure::NotSent, Failure::Late, Failure::Failed],
                    None => &[Failure::NotSent, Failure::Failed],
                };
                actions.extend(failures.iter().map(|failure| Action::Fail(number, *failure)));
            }
        } else {
            if client.settlement().is_some() {
                actions.push(Action::Settle(number));
            }
            // The heartbeat goes on while handlers work, also after a stop.
            if state.now < self.ticks && client.extension(state.now, self.careless).is_some() {
                actions.push(Action::Extend(number));
            }
            self.decisions(number, client, actions);
            let is_empty = client.holds.iter().all(Option::is_none);
            if is_running && is_empty && state.messages.iter().any(|message| message.place == Place::Visible) {
                actions.push(Action::Pull(number));
            }
            if client.phase == Phase::Stopping && is_empty && self.careless != Some(Careless::NeverStops) {
                actions.push(Action::End(number));
            }
        }
        if is_running {
            if self.stops {
                actions.push(Action::Stop(number));
            }
            if may_fail && state.adrift.is_none() {
                actions.push(Action::Crash(number));
            }
        }
    }
}

impl World {
    /// A handler ends when it likes. Nothing else is under way then: a heartbeat that is, goes unnoticed.
    fn decisions(&self, number: usize, client: &Client, actions: &mut Vec<Action>) {
        for (message, hold) in client.holds.iter().enumerate() {
            if hold.is_some_and(|hold| hold.decision.is_none()) {
                actions.extend([true, false].map(|is_ack| Action::Decide(number, message, is_ack)));
            }
        }
    }
}

impl State {
    /// The answers by which a request can be carried out now. None is kept for the next request.
    fn answered(&self, request: Request, answers: Answers) -> Vec<Answers> {
        match carry_out(&mut self.messages.clone(), request, self.now, &answers) {
            Ok(_) => vec![answers],
            Err(question) => {
                let both = [true, false].map(|answer| self.answered(request, answers.with(question, answer)));
                both.concat()
            }
        }
    }

    fn send(&mut self, number: usize, request: Request) {
        self.clients[number].call = Some(Call { request, attempt: 1, sent_at: self.now, response: None });
    }

    /// The same state, whichever consumer is which.
    fn ordered(&self) -> Self {
        let mut ordered = self.clone();
        ordered.clients.sort_unstable_by_key(fingerprint);
        ordered
    }
}

fn fingerprint(client: &Client) -> u64 {
    use std::hash::{DefaultHasher, Hash, Hasher};

    let mut hasher = DefaultHasher::new();
    client.hash(&mut hasher);
    hasher.finish()
}

const CONFIRMED: &str = "all is acknowledged";
const STOPPED: &str = "a consumer stops with work in hand";

/// Checks every state, and gives the properties that do not hold.
fn check(world: World) -> Vec<&'static str> {
    let (started, is_careless, stops) = (Instant::now(), world.careless.is_some(), world.stops);
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let checker = world.checker().threads(threads).symmetry_fn(State::ordered).spawn_dfs().join();
    let mut broken = Vec::new();
    for property in checker.model().properties() {
        let found = checker.discovery(property.name);
        let is_expected = property.expectation == stateright::Expectation::Always;
        if found.is_some() == is_expected && (property.name != STOPPED || stops) {
            if !is_careless {
                println!("{}: {:#?}", property.name, found.map(|path| path.into_actions()));
            }
            broken.push(property.name);
        }
    }
    if !is_careless {
        println!("{} states in {:.1?}", checker.unique_state_count(), started.elapsed());
    }
    broken
}

fn world(ticks: u8, failures: u8) -> World {
    World { careless: None, ticks, failures, stops: false }
}

/// Leases end and messages come again.
#[test]
fn every_answer_is_safe_while_leases_end() {
    assert_eq!(check(world(2, 0)), [""; 0]);
}

/// Requests and responses are lost or late, or a consumer crashes.
#[test]
fn every_answer_is_safe_while_something_fails() {
    assert_eq!(check(world(1, 1)), [""; 0]);
}

#[test]
fn a_shutdown_ends_whatever_the_answers() {
    assert_eq!(check(World { stops: true, ..world(1, 0) }), [""; 0]);
}

#[test]
#[ignore = "takes long"]
fn every_answer_is_safe_in_all_of_this_at_once() {
    assert_eq!(check(World { stops: true, ..world(2, 1) }), [""; 0]);
}

#[test]
fn a_careless_client_is_found_out() {
    let held = "no handler is told that it holds a lease that has ended";
    for (careless, broken, ticks) in [
        (Careless::CountsFromResponse, held, 3),
        (Careless::ExtendsTooLong, held, 4),
        (Careless::BelievesEverySuccess, "no confirmation is untrue", 3),
        (Careless::PullsAgain, "no batch is stranded by a second pull", 2),
        (Careless::NeverStops, "a shutdown ends", 1),
    ] {
        let stops = careless == Careless::NeverStops;
        let world = World { careless: Some(careless), stops, ..world(ticks, u8::from(ticks < 3)) };
        assert!(finds(world, broken), "{careless:?}");
    }
}

/// Whether a property is found not to hold, in the end.
fn finds(world: World, property: &'static str) -> bool {
    let finish = stateright::HasDiscoveries::AnyOf([property].into_iter().collect());
    let checker = world.checker().symmetry_fn(State::ordered).finish_when(finish).spawn_dfs().join();
    checker.discovery(property).is_some()
}
