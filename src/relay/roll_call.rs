//! Whether every thread of a relay still turns its loop.

use tokio::sync::oneshot;
use tokio::sync::oneshot::error::TryRecvError;

/// Threads that were asked whether they are there, and have not all answered.
#[derive(Debug, Default)]
pub struct RollCall(Vec<(String, oneshot::Receiver<()>)>);

// === impl RollCall ===

impl RollCall {
    /// Asks one by its name; `ask` tells whether there is such a thread.
    pub(super) fn ask(&mut self, name: String, ask: impl FnOnce(oneshot::Sender<()>) -> bool) {
        let (answer, answered) = oneshot::channel();
        // One that is gone is no one that hangs: its result tells why, and ends the relay.
        if ask(answer) {
            self.0.push((name, answered));
        }
    }

    /// Waits until all have answered; whoever gives up may wait again.
    pub async fn complete(&mut self) {
        while let Some((_, answered)) = self.0.last_mut() {
            // One that has ended since is gone.
            let _ = answered.await;
            self.0.pop();
        }
    }

    /// The names of those that have not answered.
    pub fn missing(&mut self) -> Vec<&str> {
        self.0
            .retain_mut(|(_, answered)| matches!(answered.try_recv(), Err(TryRecvError::Empty)));
        self.0.iter().map(|(name, _)| name.as_str()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_not_answered_is_named_and_who_has_or_is_gone_is_not() {
        let mut call = RollCall::default();
        let mut kept = Vec::new();
        for name in ["answers", "hangs", "ends"] {
            call.ask(name.to_owned(), |answer| {
                kept.push(answer);
                true
            });
        }
        call.ask("is gone".to_owned(), |_| false);
        drop(kept.pop());
        let hangs = kept.pop().unwrap();
        kept.pop().unwrap().send(()).unwrap();
        assert_eq!(call.missing(), ["hangs"]);
        hangs.send(()).unwrap();
        assert!(call.missing().is_empty());
    }

    #[test]
    fn it_can_be_given_up_and_waited_for_again() {
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        runtime.unwrap().block_on(async {
            let mut call = RollCall::default();
            let mut kept = Vec::new();
            for name in ["one", "two"] {
                call.ask(name.to_owned(), |answer| {
                    kept.push(answer);
                    true
                });
            }
            tokio::select! {
                biased;
                () = call.complete() => panic!("nobody has answered"),
                () = std::future::ready(()) => {}
            }
            assert_eq!(call.missing(), ["one", "two"]);
            kept.into_iter().for_each(|answer| answer.send(()).unwrap());
            call.complete().await;
            assert!(call.missing().is_empty());
        });
    }
}
