//! Whose the rules are, and what becomes of new connections when the relay is killed.

use std::convert::Infallible;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::time::Duration;

use tokio::time::sleep;

use super::fail_closed::{self, Guard};
use super::hand::{Handed, Lasting, same};
use super::lock::Lock;
use super::own::{OwnError, Owned};
use super::part::{Gone, Part, parts};
use super::plan::Plan;
use crate::config::Fail;

/// Rules that are in place for as long as the relay lives, whosever they are.
#[derive(Debug)]
pub struct InPlace(Option<Ours>);

#[derive(Debug)]
struct Ours {
    owned: Owned,
    /// What fails closed, until the relay drains.
    guard: Option<Guard>,
    /// What was told as lost, until everything is in place again.
    lost: Option<Gone>,
}

/// What becomes of rules that are kept in place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Something is gone.
    Lost {
        /// What, or why it cannot be put back.
        why: String,
        /// All that there ought to be, with marks of what is there.
        parts: Vec<Part>,
    },
    /// Everything is in place again.
    Restored,
}

/// Pause between attempts to put back what is lost.
pub(super) const RESTORE_EVERY: Duration = Duration::from_secs(1);

// === impl InPlace ===

impl InPlace {
    /// Puts the relay's own rules in place. What a killed relay left to fail closed is replaced, or
    /// removed if this one fails open.
    ///
    /// # Errors
    /// Nothing is left behind when this fails, except what was there before.
    pub async fn own(plan: Plan, fail: Fail, lock: Lock) -> Result<Self, OwnError> {
        let owned = Owned::apply(plan.clone(), lock).await?;
        let settled = match fail {
            Fail::Closed => Guard::install(&plan).map(Some),
            Fail::Open => fail_closed::remove().map(|_| None).map_err(OwnError::from),
        };
        match settled {
            Ok(guard) => Ok(Self(Some(Ours {
                owned,
                guard,
                lost: None,
            }))),
            Err(error) => {
                owned.remove().await;
                Err(error)
            }
        }
    }

    /// Leaves them to somebody else.
    pub fn foreign() -> Self {
        Self(None)
    }

    /// What another process needs to [`InPlace::adopt`] them, if they are ours. They stay this one's, until
    /// [`InPlace::forget`]; what is changed here meanwhile the other one does not know of.
    ///
    /// # Errors
    /// [`OwnError::Misfit`] while they are not in place.
    pub fn hand(&self) -> Result<Option<Handed<BorrowedFd<'_>>>, OwnError> {
        let Some(Ours { owned, guard, .. }) = &self.0 else {
            return Ok(None);
        };
        owned.hand(guard.is_some()).map(Some)
    }

    /// Takes on the rules that another process has put in place, as they are. It may still change its mind: nothing is
    /// changed here, and nothing when this is dropped, for as long as the other process holds them. Whoever holds
    /// them last keeps them in place.
    ///
    /// # Errors
    /// [`OwnError::Misfit`] if they are not what was promised, or differ from the plan in what may not change.
    pub async fn adopt(handed: Handed<OwnedFd>, plan: Plan, fail: Fail) -> Result<Self, OwnError> {
        let note = &handed.note;
        let before = match note.fail_closed {
            true => Fail::Closed,
            false => Fail::Open,
        };
        if !note.draining {
            same("fail", &before, &fail)?;
        }
        let owned = Owned::take_on(handed, plan).await?;
        let guard = (before == Fail::Closed).then(|| Guard::of(owned.plan()));
        Ok(Self(Some(Ours {
            owned,
            guard,
            lost: None,
        })))
    }

    /// Puts the rules in place that this process would have written itself, in the stead of those that it has
    /// adopted: it may be of another version. To be called once they are nobody else's. In the drain they stay.
    ///
    /// # Errors
    /// [`OwnError::Misfit`] if the plan differs in what may not change; nothing was changed then. Else as for
    /// [`InPlace::replace`].
    pub async fn renew(&mut self, plan: Plan) -> Result<(), OwnError> {
        let Some(Ours { owned, guard, .. }) = &mut self.0 else {
            return Ok(());
        };
        Lasting::of(owned.plan()).is_kept_by(&Lasting::of(&plan))?;
        if owned.is_draining() {
            return Ok(());
        }
        let plan = plan.as_patient_as(owned.plan());
        owned.replace(plan).await?;
        if let Some(guard) = guard {
            *guard = Guard::of(owned.plan());
            guard.renew()?;
        }
        Ok(())
    }

    /// Leaves everything as it is to the process that has adopted it: nothing is taken away and nobody is stopped.
    /// Without such a process the table goes, because nobody is left who holds it.
    pub fn forget(self) {
        if let Some(Ours { owned, .. }) = self.0 {
            owned.forget();
        }
    }

    /// Takes no new connection from now on, which then flow unrelayed: this is an orderly stop.
    ///
    /// # Errors
    /// As for [`Owned::drain`]; nothing keeps new connections from flowing all the same.
    pub async fn drain(&mut self) -> Result<(), OwnError> {
        let Some(Ours { owned, guard, .. }) = &mut self.0 else {
            return Ok(());
        };
        let drained = owned.drain().await;
        if guard.is_some() {
            fail_closed::remove()?;
            *guard = None;
        }
        drained
    }

    /// What is in place, if it is ours.
    pub fn plan(&self) -> Option<&Plan> {
        self.0.as_ref().map(|ours| ours.owned.plan())
    }

    /// What they consist of, if they are ours, and whether it is there.
    pub fn parts(&self) -> Vec<Part> {
        self.0.as_ref().map_or_else(Vec::new, |ours| ours.parts())
    }

    /// Changes the rules, and nothing that leads to them, in one transaction: no packet meets half of them.
    ///
    /// # Errors
    /// As for [`Owned::replace`]: the rules are what they were, or about to be.
    pub async fn replace(&mut self, plan: Plan) -> Result<(), OwnError> {
        match &mut self.0 {
            Some(Ours { owned, .. }) => owned.replace(plan).await,
            None => Ok(()),
        }
    }

    /// Puts back whatever is lost, for as long as it is waited for; it may be given up at any time and
    /// begun anew. Sessions wait for what is lost: ending the relay would reset them. Each change is told.
    pub async fn keep(&mut self, tell: impl Fn(Change)) -> Infallible {
        let Some(ours) = &mut self.0 else {
            return std::future::pending().await;
        };
        loop {
            // What was told lost may be there by now: this was given up halfway, or somebody else has put it back.
            if ours.lost.is_none() {
                let gone = ours.is_lost().await;
                tracing::error!("{gone}: putting it in place again");
                let why = gone.to_string();
                ours.lost = Some(gone);
                let parts = ours.parts();
                tell(Change::Lost { why, parts });
            }
            match ours.restore().await {
                Ok(()) => {
                    ours.lost = None;
                    tell(Change::Restored);
                    tracing::info!("it is in place again");
                }
                Err(error) => {
                    tell(Change::Lost {
                        why: error.to_string(),
                        parts: ours.parts(),
                    });
                    tracing::error!(%error, "it is not in place, trying again");
                    sleep(RESTORE_EVERY).await;
                }
            }
        }
    }

    /// Takes everything away that is ours, and waits until it is gone.
    pub async fn remove(self) {
        let Some(Ours { owned, guard, .. }) = self.0 else {
            return;
        };
        if guard.is_some()
            && let Err(error) = fail_closed::remove()
        {
            tracing::warn!(%error, "fail closed: the table stays, and drops new connections");
        }
        owned.remove().await;
    }
}

// === impl Ours ===

impl Ours {
    fn parts(&self) -> Vec<Part> {
        parts(self.owned.plan(), self.guard.is_some(), self.lost.as_ref())
    }

    /// Waits until something is lost, and says what. May be given up and begun anew.
    async fn is_lost(&mut self) -> Gone {
        let Self { owned, guard, .. } = self;
        let opened = async {
            match guard {
                Some(guard) => guard.lost().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            lost = owned.lost() => Gone::Owned(lost),
            () = opened => Gone::Guard,
        }
    }

    /// Puts back what is lost.
    async fn restore(&mut self) -> Result<(), OwnError> {
        // One does not wait for the other: while its own table is lost, only this keeps connections back.
        let guarded = match &self.guard {
            Some(guard) => guard.restore().await,
            None => Ok(()),
        };
        self.owned.restore().await?;
        guarded
    }
}
