//! Whose the rules are, and what becomes of new connections when the relay is killed.

use super::fail_closed;
use super::own::{OwnError, Owned};
use super::plan::Plan;

/// Who puts rules and routes in place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RulesMode {
    /// The relay does, and they go with it.
    #[default]
    Own,
    /// Somebody else does: the relay prints the plan and touches nothing.
    Print,
    /// Somebody else did: the relay touches nothing and prints nothing.
    None,
}

/// What becomes of new connections when the relay is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Fail {
    /// They flow unrelayed.
    #[default]
    Open,
    /// They are dropped, see [`fail_closed`].
    Closed,
}

/// Rules that are in place for as long as the relay lives, whosever they are.
#[derive(Debug)]
pub struct InPlace(Option<Ours>);

#[derive(Debug)]
struct Ours {
    owned: Owned,
    fail: Fail,
}

// === impl InPlace ===

impl InPlace {
    /// Puts the relay's own rules in place. What a killed relay left to fail closed is replaced, or
    /// removed if this one fails open.
    ///
    /// # Errors
    /// Nothing is left behind when this fails, except what was there before.
    pub async fn own(plan: Plan, fail: Fail) -> Result<Self, OwnError> {
        let owned = Owned::apply(plan.clone()).await?;
        let settled = match fail {
            Fail::Closed => fail_closed::install(&plan),
            Fail::Open => fail_closed::remove().map(drop).map_err(OwnError::from),
        };
        match settled {
            Ok(()) => Ok(Self(Some(Ours { owned, fail }))),
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

    /// Takes no new connection from now on, which then flow unrelayed: this is an orderly stop.
    ///
    /// # Errors
    /// As for [`Owned::drain`]; nothing keeps new connections from flowing all the same.
    pub async fn drain(&mut self) -> Result<(), OwnError> {
        let Some(Ours { owned, fail }) = &mut self.0 else {
            return Ok(());
        };
        let drained = owned.drain().await;
        if *fail == Fail::Closed {
            fail_closed::remove()?;
        }
        drained
    }

    /// Waits until the table has lost its owner; for ever if it is somebody else's.
    pub async fn lost(&mut self) {
        match &mut self.0 {
            Some(ours) => ours.owned.lost().await,
            None => std::future::pending().await,
        }
    }

    /// Puts the table in place again after [`InPlace::lost`].
    ///
    /// # Errors
    /// As for [`Owned::restore`].
    pub async fn restore(&mut self) -> Result<(), OwnError> {
        match &mut self.0 {
            Some(ours) => ours.owned.restore().await,
            None => Ok(()),
        }
    }

    /// Takes everything away that is ours, and waits until it is gone.
    pub async fn remove(self) {
        let Some(Ours { owned, fail }) = self.0 else {
            return;
        };
        if fail == Fail::Closed
            && let Err(error) = fail_closed::remove()
        {
            tracing::warn!(%error, "fail closed: the table stays, and drops new connections");
        }
        owned.remove().await;
    }
}
