//! Ctrl-c, SIGTERM and SIGHUP: the first one stops the program in an orderly way, the second one at once.

use std::{io, thread, time::Duration};

use tokio::{runtime, signal, sync::watch, time::sleep};

use crate::exit::Exit;

/// How long the program may take to exit after the second signal.
const MOST: Duration = Duration::from_secs(2);

/// How often the program was told to stop.
#[derive(Clone, Debug)]
pub(crate) struct Signals(watch::Receiver<u32>);

impl Signals {
    pub(crate) fn listen() -> io::Result<Self> {
        let (told, times) = watch::channel(0_u32);
        // A runtime of its own, since the program's tasks may block while nobody reads their output.
        let runtime = runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
        let mut source = {
            let _inside = runtime.enter();
            Source::new()?
        };
        let listen = async move {
            while source.next().await.is_some() {
                told.send_modify(|times| *times = times.saturating_add(1));
                if *told.borrow() > 1 {
                    sleep(MOST).await;
                    std::process::exit(Exit::Interrupted as i32);
                }
            }
        };
        thread::spawn(move || runtime.block_on(listen));
        Ok(Self(times))
    }

    /// Completes once the program was told to stop this many times.
    pub(crate) async fn told(mut self, times: u32) {
        if self.0.wait_for(|told| *told >= times).await.is_err() {
            // No signal can arrive any more.
            std::future::pending().await
        }
    }
}

#[cfg(unix)]
struct Source([Option<signal::unix::Signal>; 3]);

#[cfg(unix)]
impl Source {
    fn new() -> io::Result<Self> {
        use signal::unix::{SignalKind, signal};
        let hangup = if is_hangup_ignored() { None } else { Some(signal(SignalKind::hangup())?) };
        Ok(Self([Some(signal(SignalKind::interrupt())?), Some(signal(SignalKind::terminate())?), hangup]))
    }

    async fn next(&mut self) -> Option<()> {
        use std::{future::poll_fn, task::Poll};
        poll_fn(|context| {
            let told = self.0.iter_mut().flatten().any(|signal| signal.poll_recv(context).is_ready());
            if told { Poll::Ready(Some(())) } else { Poll::Pending }
        })
        .await
    }
}

/// Whether the program was started to outlive its terminal, as by `nohup`: a handler would end that. Only Linux tells.
#[cfg(unix)]
fn is_hangup_ignored() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_some_and(|mask| mask & 1 != 0)
}

#[cfg(not(unix))]
struct Source;

#[cfg(not(unix))]
impl Source {
    fn new() -> io::Result<Self> {
        Ok(Self)
    }

    async fn next(&mut self) -> Option<()> {
        signal::ctrl_c().await.ok()
    }
}
