//! Consumers of two messages, in every reachable state, for every combination of what is not known about the service.
//! It may answer each request differently, which is more than it can do, and far fewer states; but it treats all leases
//! of a request alike.
//!
//! Requests and responses are lost, delayed or refused; consumers crash or stop; leases expire and messages are
//! redelivered. How a consumer reacts is decided by the library's own functions: see `client.rs`.

mod client;
mod service;

use std::time::Instant;

use queues::fuzzing::Failure;
use stateright::{Checker, Model, Property};

use crate::{
    client::{ATTEMPTS, Call, Careless, Client, Phase},
    service::{Answers, Leases, MESSAGES, Message, Place, Request, Response, carry_out},
};

const CLIENTS: usize = 2;

#[derive(Clone, Copy)]
struct World {
    careless: Option<Careless>,
    /// Whether there is one consumer, rather than two.
    is_alone: bool,
    /// How many ticks a lease lasts, if it is not extended, and how many there are.
    lasts: u8,
    ticks: u8,
    /// How many failures there are in all: of requests, of responses, and of consumers.
    failures: u8,
    /// Whether consumers are told to stop.
    stops: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct State {
    now: u8,
    /// How many may still come.
    failures: u8,
    messages: [Message; MESSAGES],
    clients: [Client; CLIENTS],
    /// A request that nobody waits for any more, and that may still arrive.
    adrift: Option<Request>,
    /// Whether a handler decided that a message is done, and whether one was told that the service confirmed it.
    decided: [bool; MESSAGES],
    confirmed: [bool; MESSAGES],
    /// A pull was sent again that may have been carried out.
    has_stranded: bool,
}

#[derive(Clone, Debug, PartialEq)]
enum Action {
    Tick,
    /// A request that was given up arrives after all.
    Drift(Answers),
    Send(usize, Request),
    /// Handlers decide on messages, and the decisions are sent.
    Settle(usize, [Leases; 2]),
    /// It is carried out, and a response is on its way.
    Arrive(usize, Answers),
    /// It is carried out, and the response will be lost.
    Lose(usize, Answers),
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
        let mut clients = [Client::new(self.lasts); CLIENTS];
        if self.is_alone {
            clients[1].phase = Phase::Ended;
        }
        vec![State {
            now: 0,
            failures: self.failures,
            messages: [Message::new(self.lasts); MESSAGES],
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
            Action::Send(number, request) => next.send(number, request),
            Action::Settle(number, decisions) => {
                next.decided = std::array::from_fn(|message| state.decided[message] || decisions[0][message] > 0);
                next.send(number, next.clients[number].settle(decisions, self.careless));
            }
            Action::Arrive(number, answers) => {
                let call = next.clients[number].call.as_mut()?;
                call.response = Some(carry_out(&mut next.messages, call.request, now, &answers).ok()?);
                if self.is_taken_at_any_time(&next.clients[number], now) {
                    next.take(number, now, self.careless);
                }
            }
            Action::Lose(number, answers) => {
                let call = next.clients[number].call.as_mut()?;
                carry_out(&mut next.messages, call.request, now, &answers).ok()?;
                call.response = Some(Response::Lost);
                next.failures -= 1;
            }
            Action::Take(number) => next.take(number, now, self.careless),
            Action::Fail(number, failure) => {
                let client = &mut next.clients[number];
                let call = client.call?;
                client.fail(failure, now, self.careless);
                let may_be_done = failure != Failure::NotSent;
                next.has_stranded |= may_be_done && call.request == Request::Pull && client.call.is_some();
                if failure == Failure::Late && call.response.is_none() {
                    next.adrift = Some(call.request);
                }
                next.failures -= u8::from(call.response.is_none());
            }
            Action::Stop(number) => next.clients[number].phase = Phase::Stopping,
            Action::End(number) => next.clients[number].phase = Phase::Ended,
            Action::Crash(number) => {
                let call = next.clients[number].call;
                next.clients[number] = Client::new(self.lasts);
                next.clients[number].phase = Phase::Ended;
                if let Some(Call { request, response: None, .. }) = call {
                    next.adrift = Some(request);
                }
                next.failures -= u8::from(call.is_none_or(|call| call.response != Some(Response::Lost)));
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
                    let told = (0..MESSAGES).filter_map(|message| Some((client.told(message)?, message)));
                    let mut told = told.filter(|(hold, _)| hold.believed > state.now);
                    told.all(|(hold, message)| {
                        let message = state.messages[message];
                        message.place == Place::Gone || message.is_held_by(hold.lease)
                    })
                })
            }),
            Property::always("no batch is stranded by a second pull", |_, state: &State| !state.has_stranded),
            Property::always("no request is sent more often than is allowed", |_, state: &State| {
                state.clients.iter().filter_map(|client| client.call).all(|call| call.attempt <= ATTEMPTS)
            }),
            Property::always("a consumer that stops is never stuck", |world: &Self, state: &State| {
                let mut actions = Vec::new();
                world.actions(state, &mut actions);
                !actions.is_empty() || state.clients.iter().all(|client| client.phase != Phase::Stopping)
            }),
            Property::sometimes(CONFIRMED, |_, state: &State| state.confirmed == [true; MESSAGES]),
            Property::sometimes(STOPPED, |world: &Self, state: &State| {
                !world.stops
                    || state.clients.iter().any(|client| client.phase == Phase::Stopping && client.call.is_some())
            }),
        ]
    }
}

impl World {
    fn actions_of(&self, state: &State, number: usize, client: &Client, actions: &mut Vec<Action>) {
        let may_fail = state.failures > 0;
        if client.phase == Phase::Ended {
            return;
        }
        let is_lost = client.call.is_some_and(|call| call.response == Some(Response::Lost));
        match client.call {
            Some(Call { response: Some(Response::Lost), .. }) => {
                let failures = [Failure::Broken, Failure::Late, Failure::Failed];
                actions.extend(failures.map(|failure| Action::Fail(number, failure)));
            }
            Some(Call { response: Some(_), .. }) => actions.push(Action::Take(number)),
            Some(Call { request, response: None, .. }) => {
                let answered = state.answered(request, Answers::default());
                actions.extend(answered.iter().map(|answers| Action::Arrive(number, *answers)));
                if may_fail {
                    actions.extend(answered.iter().map(|answers| Action::Lose(number, *answers)));
                    let failures = [Failure::NotSent, Failure::Broken, Failure::Failed];
                    actions.extend(failures.map(|failure| Action::Fail(number, failure)));
                    actions.extend(state.adrift.is_none().then_some(Action::Fail(number, Failure::Late)));
                }
            }
            None => self.idle(state, number, client, actions),
        }
        if self.stops && client.phase == Phase::Running {
            actions.push(Action::Stop(number));
        }
        if is_lost || may_fail && state.adrift.is_none() {
            actions.push(Action::Crash(number));
        }
    }

    /// A handler ends when its settlement is sent: that it ended before, nobody sees but a heartbeat, which may pass
    /// over any lease.
    fn idle(&self, state: &State, number: usize, client: &Client, actions: &mut Vec<Action>) {
        actions.extend(client.decisions().into_iter().map(|decisions| Action::Settle(number, decisions)));
        let mut requests = Vec::new();
        // The heartbeat goes on while handlers work, also after a stop.
        if state.now < self.ticks {
            requests.extend(client.extensions(state.now, self.careless));
        }
        let is_empty = client.holds.iter().all(Option::is_none);
        let is_visible = state.messages.iter().any(|message| message.place == Place::Visible);
        if client.phase == Phase::Running && is_empty && is_visible {
            requests.push(Request::Pull);
        }
        actions.extend(requests.into_iter().map(|request| Action::Send(number, request)));
        if client.phase == Phase::Stopping && is_empty && self.careless != Some(Careless::NeverStops) {
            actions.push(Action::End(number));
        }
    }

    /// Whether a response has the same effect whenever it comes, and no handler is told less by it. Then it comes at
    /// once: the client may still wait before it goes on, and no property holds by that which did not hold without.
    fn is_taken_at_any_time(&self, client: &Client, now: u8) -> bool {
        let taken = |now| {
            let mut client = *client;
            (client.take(now, self.careless), client)
        };
        let (confirmed, then) = taken(now);
        let is_told_more = (0..MESSAGES).all(|message| {
            let told = client.told(message).map_or(0, |hold| hold.believed);
            told <= then.told(message).map_or(0, |hold| hold.believed)
        });
        is_told_more && (now + 1..=self.ticks).all(|later| taken(later) == (confirmed, then))
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
        let call = Call { request, attempt: 1, sent_at: self.now, response: None };
        self.clients[number].call = Some(call);
    }

    fn take(&mut self, number: usize, now: u8, careless: Option<Careless>) {
        let mut reversed = self.clients[number];
        let confirmed = self.clients[number].take(now, careless);
        reversed.reverse();
        let mut reversed = (reversed.take(now, careless), reversed);
        reversed.0.reverse();
        reversed.1.reverse();
        assert_eq!(reversed, (confirmed, self.clients[number]), "it makes no difference which message is which");
        self.confirmed = std::array::from_fn(|message| self.confirmed[message] || confirmed[message]);
    }

    /// The same state, whichever consumer and whichever message is which, without what makes no difference any more.
    fn ordered(&self) -> Self {
        let mut state = self.clone();
        for (index, message) in state.messages.iter_mut().enumerate() {
            let calls = self.clients.iter().filter_map(|client| client.call.map(|call| call.request));
            let requested = calls.chain(self.adrift).map(|request| request.lease(index));
            let held = self.clients.iter().filter_map(|client| client.holds[index].map(|hold| hold.lease));
            let named: Vec<u8> = requested.chain(held).collect();
            message.forget(|lease| named.contains(&lease));
        }
        for call in state.clients.iter_mut().filter_map(|client| client.call.as_mut()) {
            if let Request::Settle { .. } = call.request {
                call.sent_at = 0;
            }
            // Only a failure and the bound ask for it, and a refusal is final.
            if state.failures == 0 && call.response != Some(Response::Lost) && call.attempt <= ATTEMPTS {
                call.attempt = 1;
            }
        }
        state.clients.sort_unstable();
        let mut reversed = state.clone();
        reversed.reverse();
        reversed.clients.sort_unstable();
        state.min(reversed)
    }

    /// Exchanges the messages.
    fn reverse(&mut self) {
        self.messages.reverse();
        self.decided.reverse();
        self.confirmed.reverse();
        self.adrift.iter_mut().for_each(Request::reverse);
        self.clients.iter_mut().for_each(Client::reverse);
    }
}

const CONFIRMED: &str = "all is acknowledged";
const STOPPED: &str = "a consumer stops with work in hand";

/// Checks every state, and gives the properties that do not hold.
fn check(world: World) -> Vec<&'static str> {
    let started = Instant::now();
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let checker = world.checker().threads(threads).symmetry_fn(State::ordered).spawn_dfs().join();
    let mut broken = Vec::new();
    for property in checker.model().properties() {
        let found = checker.discovery(property.name);
        if found.is_some() == (property.expectation == stateright::Expectation::Always) {
            println!("{}: {:#?}", property.name, found.map(|path| path.into_actions()));
            broken.push(property.name);
        }
    }
    println!("{} states in {:.1?}", checker.unique_state_count(), started.elapsed());
    broken
}

const CAREFUL: World = World { careless: None, is_alone: false, lasts: 2, ticks: 2, failures: 1, stops: true };

/// Leases end and messages come again; a request or a response is lost or late, or a consumer crashes; consumers stop.
#[test]
fn every_answer_is_safe_while_leases_end_and_something_fails() {
    assert_eq!(check(CAREFUL), [""; 0]);
}

#[test]
fn every_answer_is_safe_as_long_as_a_lease_can_last() {
    assert_eq!(check(World { is_alone: true, lasts: 3, ticks: 6, stops: false, ..CAREFUL }), [""; 0]);
}

#[test]
fn every_answer_is_safe_while_one_failure_follows_another() {
    assert_eq!(check(World { is_alone: true, failures: 3, ..CAREFUL }), [""; 0]);
}

#[test]
fn a_careless_client_is_found_out() {
    let held = "no handler is told that it holds a lease that has ended";
    // One alone is enough to go wrong.
    let calm = World { is_alone: true, ticks: 3, failures: 0, stops: false, ..CAREFUL };
    for (careless, broken, world) in [
        (Careless::CountsFromResponse, held, calm),
        (Careless::ExtendsTooLong, held, World { ticks: 4, ..calm }),
        (Careless::BelievesLateExtensions, held, World { lasts: 3, ticks: 6, failures: 1, ..calm }),
        (Careless::BelievesEverySuccess, "no confirmation is untrue", calm),
        (Careless::BelievesWarnings, "no confirmation is untrue", calm),
        (Careless::AcksEverything, "no message is lost", calm),
        (Careless::PullsAgain, "no batch is stranded by a second pull", World { failures: 1, ..calm }),
        (Careless::SendsForEver, "no request is sent more often than is allowed", World { failures: 2, ..calm }),
        (Careless::NeverStops, "a consumer that stops is never stuck", World { stops: true, ..calm }),
    ] {
        let world = World { careless: Some(careless), ..world };
        assert!(finds(world, broken), "{careless:?}");
    }
}

/// Whether a property is found not to hold, in the end.
fn finds(world: World, property: &'static str) -> bool {
    let finish = stateright::HasDiscoveries::AnyOf([property].into_iter().collect());
    let checker = world.checker().symmetry_fn(State::ordered).finish_when(finish).spawn_dfs().join();
    checker.discovery(property).is_some()
}
