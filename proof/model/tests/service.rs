//! The service, as far as it is known, with a switch for each thing that is not.
//!
//! Taken for granted, and not tried otherwise: a retry by a lease that has ended changes nothing, a known lease for
//! which nothing is done has a warning, and a response informs about all that is done, or about nothing.

/// How many messages there are, and how often each is delivered at most.
pub(crate) const MESSAGES: usize = 2;
pub(crate) const DELIVERIES: u8 = 2;

/// How long a lease can be made to last in all.
pub(crate) fn longest(lasts: u8) -> u8 {
    2 * lasts
}

/// What is not known of the service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Question {
    /// Whether a message can be acknowledged by a lease that has ended.
    LateAcks,
    /// Whether a retry by such a lease is counted.
    LateRetries,
    /// Whether responses have counts.
    Counts,
    /// Whether a lease id acknowledges, and extends again, after its lease was extended.
    AcksAfterExtend,
    RepeatedExtends,
    /// Whether a lease that has ended can be extended.
    LateExtends,
    /// Whether a lease can be made to end earlier.
    ShorteningExtends,
    ExtendsFromEnd,
    /// Whether an extension beyond the longest lease is cut, rather than refused.
    Cuts,
    /// Whether warnings name their leases.
    Named,
    /// Whether a request with an unknown lease is refused; and if not, whether there is a warning.
    RejectsUnknown,
    WarnsOfUnknown,
    /// Whether there are warnings about what is done and counted.
    Informs,
}

/// The answers to one request: each question is answered when it first arises, in both ways.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Answers {
    known: u16,
    yes: u16,
}

impl Answers {
    pub(crate) fn with(self, question: Question, answer: bool) -> Self {
        let bit = 1 << question as u16;
        Self { known: self.known | bit, yes: if answer { self.yes | bit } else { self.yes & !bit } }
    }

    /// The answer, or the question if there is none so far.
    fn is(&self, question: Question) -> Result<bool, Question> {
        let bit = 1 << question as u16;
        if self.known & bit == 0 { Err(question) } else { Ok(self.yes & bit != 0) }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Place {
    Visible,
    Leased { from: u8, until: u8 },
    Gone,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Use {
    Not,
    Extended,
    HandedBack,
}

/// A message; its leases are numbered by its deliveries, from one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Message {
    pub(crate) deliveries: u8,
    pub(crate) place: Place,
    used: [Use; DELIVERIES as usize],
    /// How long a lease lasts.
    lasts: u8,
}

/// Of each message the number of a lease; zero is none.
pub(crate) type Leases = [u8; MESSAGES];

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Request {
    Pull,
    Settle { acks: Leases, retries: Leases },
    Extend(Leases),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Response {
    Pulled(Leases),
    /// How many were acknowledged or extended, and retried, if it says so; and which leases have a warning, with their
    /// names or without.
    Counted {
        counts: Option<(u8, u8)>,
        warned: [bool; MESSAGES],
        is_named: bool,
    },
    Rejected,
    /// It was carried out, and its response is lost.
    Lost,
}

impl Request {
    /// The lease of a message that it names, or zero.
    pub(crate) fn lease(&self, message: usize) -> u8 {
        match self {
            Self::Pull => 0,
            Self::Settle { acks, retries } => acks[message].max(retries[message]),
            Self::Extend(leases) => leases[message],
        }
    }

    pub(crate) fn settles(&self, message: usize) -> bool {
        matches!(self, Self::Settle { .. }) && self.lease(message) > 0
    }

    pub(crate) fn reverse(&mut self) {
        match self {
            Self::Pull => {}
            Self::Settle { acks, retries } => [acks, retries].into_iter().for_each(|leases| leases.reverse()),
            Self::Extend(leases) => leases.reverse(),
        }
    }
}

impl Response {
    pub(crate) fn reverse(&mut self) {
        match self {
            Self::Pulled(leases) => leases.reverse(),
            Self::Counted { warned, .. } => warned.reverse(),
            Self::Rejected | Self::Lost => {}
        }
    }
}

impl Message {
    pub(crate) fn new(lasts: u8) -> Self {
        Self { deliveries: 0, place: Place::Visible, used: [Use::Not; DELIVERIES as usize], lasts }
    }

    pub(crate) fn expire(&mut self, now: u8) {
        if matches!(self.place, Place::Leased { until, .. } if until <= now) {
            self.place = Place::Visible;
        }
    }

    /// Drops what makes no difference any more: all but the place of a message that is gone, and what was done with
    /// leases that no request can name again.
    pub(crate) fn forget(&mut self, is_named: impl Fn(u8) -> bool) {
        if self.place == Place::Gone {
            *self = Self { place: Place::Gone, ..Self::new(self.lasts) };
        }
        let unnamed = (1..).zip(&mut self.used).filter(|(lease, _)| !is_named(*lease));
        unnamed.for_each(|(_, used)| *used = Use::Not);
        if let Place::Leased { from, .. } = &mut self.place
            && !is_named(self.deliveries)
        {
            *from = 0;
        }
    }

    pub(crate) fn is_held_by(&self, lease: u8) -> bool {
        self.deliveries == lease && matches!(self.place, Place::Leased { .. })
    }

    fn is_known(&self, lease: u8, answers: &Answers, extended: Question) -> Result<bool, Question> {
        if self.place == Place::Gone {
            return Ok(false);
        }
        match self.used[usize::from(lease) - 1] {
            Use::Not => Ok(true),
            Use::Extended => answers.is(extended),
            Use::HandedBack => Ok(false),
        }
    }

    /// Whether it was extended.
    fn extend(&mut self, lease: u8, now: u8, answers: &Answers) -> Result<bool, Question> {
        let (mut from, mut until) = (now, now);
        if let (true, Place::Leased { from: since, until: end }) = (self.deliveries == lease, self.place) {
            (from, until) = (since, end);
        } else if self.deliveries != lease || self.place != Place::Visible || !answers.is(Question::LateExtends)? {
            return Ok(false);
        }
        let start = if now < until && answers.is(Question::ExtendsFromEnd)? { until } else { now };
        let (wanted, cap) = (start + self.lasts, from + longest(self.lasts));
        if wanted > cap && !answers.is(Question::Cuts)? {
            return Ok(false);
        }
        let end = wanted.min(cap);
        let is_shorter = end < until && !answers.is(Question::ShorteningExtends)?;
        self.place = Place::Leased { from, until: if is_shorter { until } else { end } };
        self.used[usize::from(lease) - 1] = Use::Extended;
        self.expire(now);
        Ok(true)
    }
}

/// Carries out a request, or asks a question that has no answer so far.
pub(crate) fn carry_out(
    messages: &mut [Message; MESSAGES],
    request: Request,
    now: u8,
    answers: &Answers,
) -> Result<Response, Question> {
    let (extended, leases) = match request {
        Request::Pull => return Ok(pull(messages, now)),
        Request::Settle { acks, retries } => {
            (Question::AcksAfterExtend, std::array::from_fn(|index| acks[index].max(retries[index])))
        }
        Request::Extend(leases) => (Question::RepeatedExtends, leases),
    };
    let mut known = [true; MESSAGES];
    for index in (0..MESSAGES).filter(|index| leases[*index] > 0) {
        known[index] = messages[index].is_known(leases[index], answers, extended)?;
    }
    if known != [true; MESSAGES] && answers.is(Question::RejectsUnknown)? {
        return Ok(Response::Rejected);
    }
    let (mut counts, mut warned) = ((0, 0), [false; MESSAGES]);
    for (index, message) in messages.iter_mut().enumerate().filter(|(index, _)| leases[*index] > 0) {
        let lease = leases[index];
        if !known[index] {
            warned[index] = answers.is(Question::WarnsOfUnknown)?;
            continue;
        }
        let is_held = message.is_held_by(lease);
        let (is_done, count) = match request {
            Request::Settle { acks, .. } if acks[index] > 0 => {
                let is_done = is_held || answers.is(Question::LateAcks)?;
                if is_done {
                    message.place = Place::Gone;
                }
                (is_done, &mut counts.0)
            }
            Request::Settle { .. } if is_held => {
                message.place = Place::Visible;
                message.used[usize::from(lease) - 1] = Use::HandedBack;
                (true, &mut counts.1)
            }
            Request::Settle { .. } => (answers.is(Question::LateRetries)?, &mut counts.1),
            _ => (message.extend(lease, now, answers)?, &mut counts.0),
        };
        *count += u8::from(is_done);
        warned[index] = !is_done || answers.is(Question::Informs)?;
    }
    let is_named = warned != [false; MESSAGES] && answers.is(Question::Named)?;
    let counts = answers.is(Question::Counts)?.then_some(counts);
    Ok(Response::Counted { counts, warned, is_named })
}

fn pull(messages: &mut [Message; MESSAGES], now: u8) -> Response {
    let mut pulled = [0; MESSAGES];
    for (message, lease) in messages.iter_mut().zip(&mut pulled) {
        if message.place == Place::Visible && message.deliveries < DELIVERIES {
            message.deliveries += 1;
            message.place = Place::Leased { from: now, until: now + message.lasts };
            *lease = message.deliveries;
        }
    }
    Response::Pulled(pulled)
}
