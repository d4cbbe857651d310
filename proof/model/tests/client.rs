//! A consumer: what it knows, and what it concludes from responses and failures, by the library's own functions.

use std::{
    sync::LazyLock,
    time::{Duration, Instant},
};

use queues::{
    Lease, LeaseId, Settlement,
    acker::Confirmation,
    fuzzing::{self, Failure, Operation},
};

use crate::service::{Leases, MESSAGES, Request, Response, longest};

/// Longer than any wait between two attempts.
const TICK: Duration = Duration::from_secs(60);
pub(crate) const ATTEMPTS: u8 = 2;

/// How a client could go wrong: the model has to see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Careless {
    /// It counts a lease from when the response came.
    CountsFromResponse,
    /// It extends a lease for longer than it can last.
    ExtendsTooLong,
    /// It believes the end of an extension that was sent again too late.
    BelievesLateExtensions,
    /// It takes every success for a confirmation.
    BelievesEverySuccess,
    /// It takes a count of as many leases as have no warning for a confirmation of these.
    BelievesWarnings,
    /// It acknowledges what a handler hands back.
    AcksEverything,
    /// It sends a pull again that may have been carried out.
    PullsAgain,
    /// It sends a settlement again, however often it failed.
    SendsForEver,
    /// It gives up nothing when it is told to stop.
    NeverStops,
}

/// A message in a handler, until its settlement is sent, or in a settlement that is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Hold {
    pub(crate) lease: u8,
    pub(crate) first: u8,
    /// Until when the handler is told that the lease lasts.
    pub(crate) believed: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Call {
    pub(crate) request: Request,
    pub(crate) attempt: u8,
    pub(crate) sent_at: u8,
    /// Once it was carried out.
    pub(crate) response: Option<Response>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Phase {
    Running,
    Stopping,
    /// Or crashed.
    Ended,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Client {
    pub(crate) phase: Phase,
    pub(crate) holds: [Option<Hold>; MESSAGES],
    pub(crate) call: Option<Call>,
    /// How long it leases messages for.
    lasts: u8,
}

fn at(tick: u8) -> Instant {
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    *START + TICK * u32::from(tick)
}

fn tick(instant: Instant) -> u8 {
    (instant.duration_since(at(0)).as_secs() / TICK.as_secs()) as u8
}

fn id(message: usize, lease: u8) -> LeaseId {
    format!("{message}-{lease}").as_str().into()
}

impl Client {
    pub(crate) fn new(lasts: u8) -> Self {
        Self { phase: Phase::Running, holds: [None; MESSAGES], call: None, lasts }
    }

    fn timeout(&self) -> Duration {
        TICK * u32::from(self.lasts)
    }

    /// What handlers can decide on the messages that they have: which are done, and which are to be retried.
    pub(crate) fn decisions(&self) -> Vec<[Leases; 2]> {
        let held = self.holds.map(|hold| hold.map_or(0, |hold| hold.lease));
        let chosen = subsets(held).into_iter().flat_map(|all| subsets(all).into_iter().map(move |acks| (all, acks)));
        let settled = chosen.filter(|(all, _)| *all != Leases::default());
        settled.map(|(all, acks)| [acks, std::array::from_fn(|message| all[message] - acks[message])]).collect()
    }

    /// The request for these decisions.
    pub(crate) fn settle(&self, decisions: [Leases; 2], careless: Option<Careless>) -> Request {
        let [done, handed_back] = decisions.map(|leases| self.requested(leases).into_iter().map(|(_, lease)| lease));
        let retry = |lease| match careless {
            Some(Careless::AcksEverything) => Settlement::ack(lease),
            _ => Settlement::retry(lease),
        };
        let settlements: Vec<_> = done.map(Settlement::ack).chain(handed_back.map(retry)).collect();
        let lease = |message: usize| decisions[0][message].max(decisions[1][message]);
        let [acks, retries] = fuzzing::acks_and_retries(&settlements).map(|ids| {
            let sent = |message| ids.contains(&id(message, lease(message))).then(|| lease(message));
            std::array::from_fn(|message| sent(message).unwrap_or_default())
        });
        Request::Settle { acks, retries }
    }

    /// Extensions of the leases that are extended now; of some, as handlers may have decided on the others.
    pub(crate) fn extensions(&self, now: u8, careless: Option<Careless>) -> Vec<Request> {
        let is_extended = |hold: &Hold| hold.believed > now && self.until(hold, careless)[0] > at(now);
        let leases = self.holds.map(|hold| hold.filter(is_extended).map_or(0, |hold| hold.lease));
        let some = subsets(leases).into_iter().filter(|leases| *leases != Leases::default());
        some.map(Request::Extend).collect()
    }

    /// Until when a lease is extended, and when it ends at the latest.
    fn until(&self, hold: &Hold, careless: Option<Careless>) -> [Instant; 2] {
        let longer = if careless == Some(Careless::ExtendsTooLong) { self.lasts } else { 0 };
        let longest = TICK * u32::from(longest(self.lasts) + longer);
        [longest - self.timeout(), longest].map(|most| fuzzing::is_extended_until(at(hold.first), self.timeout(), most))
    }

    /// Until when the handler of a message is told that its lease lasts, if there is a handler.
    pub(crate) fn told(&self, message: usize) -> Option<Hold> {
        let is_settled = self.call.is_some_and(|call| call.request.settles(message));
        self.holds[message].filter(|_| !is_settled)
    }

    fn lease(&self, message: usize, lease: u8) -> Lease {
        let deadline = self.holds[message].map_or(0, |hold| hold.believed);
        Lease::new(id(message, lease), at(deadline))
    }

    fn requested(&self, leases: Leases) -> Vec<(usize, Lease)> {
        let requested = leases.into_iter().enumerate().filter(|(_, lease)| *lease > 0);
        requested.map(|(message, lease)| (message, self.lease(message, lease))).collect()
    }

    pub(crate) fn reverse(&mut self) {
        self.holds.reverse();
        if let Some(call) = &mut self.call {
            call.request.reverse();
            call.response.iter_mut().for_each(Response::reverse);
        }
    }

    /// What follows from the failure of an attempt: another one, or the end of the call.
    pub(crate) fn fail(&mut self, failure: Failure, now: u8, careless: Option<Careless>) {
        let Some(call) = self.call.take() else { return };
        let (operation, leases) = match call.request {
            Request::Pull => (Operation::PullMessages, Vec::new()),
            Request::Settle { acks, retries } => {
                let all = [acks, retries].map(|leases| self.requested(leases)).concat();
                (Operation::AckMessages, all)
            }
            Request::Extend(leases) => (Operation::ExtendMessages, self.requested(leases)),
        };
        let leases: Vec<_> = leases.into_iter().map(|(_, lease)| lease).collect();
        let end = fuzzing::deadline(&leases, at(now)).unwrap_or(at(now) + 2 * TICK);
        let left = end.saturating_duration_since(at(now));
        let again = fuzzing::is_sent_again(operation, failure, call.attempt.into(), ATTEMPTS.into(), left);
        let is_careless = match careless {
            Some(Careless::PullsAgain) => call.request == Request::Pull && call.attempt < ATTEMPTS,
            Some(Careless::SendsForEver) => call.request != Request::Pull && failure != Failure::Refused,
            _ => false,
        };
        if again || is_careless {
            self.call = Some(Call { attempt: call.attempt + 1, sent_at: now, response: None, ..call });
            return;
        }
        if let Request::Settle { .. } = call.request {
            // They are reported as not confirmed.
            self.holds = std::array::from_fn(|message| self.holds[message].filter(|_| !call.request.settles(message)));
        }
    }

    /// Takes a response. Returns for each message whether it was confirmed as acknowledged.
    pub(crate) fn take(&mut self, now: u8, careless: Option<Careless>) -> [bool; MESSAGES] {
        let mut confirmed = [false; MESSAGES];
        let Some(Call { request, sent_at, response: Some(response), .. }) = self.call else { return confirmed };
        if response == Response::Rejected {
            self.fail(Failure::Refused, now, careless);
            assert_eq!(self.call, None, "a refusal is final");
            return confirmed;
        }
        self.call = None;
        match (request, response) {
            (Request::Pull, Response::Pulled(leases)) => {
                let from = if careless == Some(Careless::CountsFromResponse) { now } else { sent_at };
                for (hold, lease) in self.holds.iter_mut().zip(leases).filter(|(_, lease)| *lease > 0) {
                    let until = from + self.lasts;
                    *hold = Some(Hold { lease, first: until, believed: until });
                }
            }
            (Request::Settle { acks, retries }, Response::Counted { counts, warned, is_named }) => {
                let [acked, retried] = [acks, retries].map(|leases| self.requested(leases));
                let acked = acked.into_iter().map(|(message, lease)| (message, Settlement::ack(lease)));
                let retried = retried.into_iter().map(|(message, lease)| (message, Settlement::retry(lease)));
                let (asked, settlements): (Vec<_>, Vec<_>) = acked.chain(retried).unzip();
                let [first, second] = [counts.map(|(first, _)| first.into()), counts.map(|(_, second)| second.into())];
                let warned = warnings(warned, |message| acks[message].max(retries[message]), is_named);
                let confirmations = fuzzing::confirmations(&settlements, first, second, warned);
                for ((message, settlement), confirmation) in asked.into_iter().zip(settlements).zip(confirmations) {
                    let is_ack = settlement.decision == queues::Decision::Ack;
                    let believes = match careless {
                        Some(Careless::BelievesEverySuccess) => true,
                        Some(Careless::BelievesWarnings) if counts.is_some() => !confirmation.is_doubtful(),
                        _ => confirmation == Confirmation::Confirmed,
                    };
                    confirmed[message] = is_ack && believes;
                    self.holds[message] = None;
                }
            }
            (Request::Extend(leases), Response::Counted { counts, warned, is_named }) => {
                let (asked, requested): (Vec<_>, Vec<_>) = self.requested(leases).into_iter().unzip();
                let warned = warnings(warned, |message| leases[message], is_named);
                let count = counts.map(|(first, _)| f64::from(first));
                let extended = fuzzing::extended(requested, count, warned, at(sent_at), self.timeout());
                for (message, until) in asked.into_iter().zip(extended) {
                    let Some(mut hold) = self.holds[message] else { continue };
                    let [_, last] = self.until(&hold, careless);
                    let is_careless = careless == Some(Careless::BelievesLateExtensions);
                    hold.believed = tick(if is_careless { until } else { until.min(last) });
                    self.holds[message] = Some(hold);
                }
            }
            other => unreachable!("{other:?}"),
        }
        confirmed
    }
}

/// Some of these leases, or all, or none.
fn subsets(leases: Leases) -> Vec<Leases> {
    let all: Vec<Leases> = (0..1 << MESSAGES)
        .map(|set: u8| std::array::from_fn(|message| if set & (1 << message) == 0 { 0 } else { leases[message] }))
        .collect();
    all.iter().enumerate().filter(|(at, some)| !all[..*at].contains(some)).map(|(_, some)| *some).collect()
}

fn warnings(warned: [bool; MESSAGES], lease: impl Fn(usize) -> u8, is_named: bool) -> Vec<Option<LeaseId>> {
    let warned = (0..MESSAGES).filter(|message| warned[*message]);
    warned.map(|message| is_named.then(|| id(message, lease(message)))).collect()
}
