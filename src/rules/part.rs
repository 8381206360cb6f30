//! What the relay's own rules consist of, one by one, for whoever wants to see them. Pure.

use std::fmt;

use super::fail_closed;
use super::leads;
use super::nft::{self, Ownership};
use super::own::Lost;
use super::owner;
use super::plan::Plan;

/// A chain, an `ip rule` or a route of the relay's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// As somebody would look for it.
    pub rule: String,
    /// Whether it was there when it was last looked at.
    pub in_place: bool,
}

/// What is gone of them.
#[derive(Debug)]
pub(super) enum Gone {
    /// Of what is there for as long as the relay lives.
    Owned(Lost),
    /// The table that fails closed.
    Guard,
}

impl fmt::Display for Gone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Owned(lost) => lost.fmt(f),
            Self::Guard => {
                let table = fail_closed::TABLE;
                write!(f, "somebody changed or removed the table inet {table}")
            }
        }
    }
}

/// All that the plan wants, and the table that fails closed if there is one.
pub(super) fn parts(plan: &Plan, guarded: bool, gone: Option<&Gone>) -> Vec<Part> {
    let lost = match gone {
        Some(Gone::Owned(lost)) => Some(lost),
        _ => None,
    };
    let text = nft::table(plan, Ownership::Process);
    let chains = owner::chains(&text).map(|chain| Part {
        rule: format!("chain inet {} {chain}", nft::TABLE),
        in_place: !matches!(lost, Some(Lost::Table)),
    });
    let leads = leads::all(plan).into_iter().map(|lead| Part {
        rule: leads::text(plan, lead),
        in_place: !matches!(lost, Some(Lost::Routes(missing)) if missing.contains(&lead)),
    });
    let guard = guarded.then(|| Part {
        rule: format!("table inet {}", fail_closed::TABLE),
        in_place: !matches!(gone, Some(Gone::Guard)),
    });
    chains.chain(leads).chain(guard).collect()
}

#[cfg(test)]
mod tests {
    use super::super::leads::Lead;
    use super::super::routes::FAMILIES;
    use super::*;
    use crate::rules::plan::tests::plan;

    fn missing(gone: Option<Gone>) -> Vec<String> {
        let parts = parts(&plan(), true, gone.as_ref()).into_iter();
        parts
            .filter(|part| !part.in_place)
            .map(|part| part.rule)
            .collect()
    }

    #[test]
    fn what_is_gone_is_marked_and_nothing_else() {
        let all = parts(&plan(), true, None);
        assert!(all.iter().all(|part| part.in_place));
        assert!(missing(None).is_empty());
        let chains = missing(Some(Gone::Owned(Lost::Table)));
        assert!(chains.len() > 2, "{chains:?}");
        assert!(chains.iter().all(|rule| rule.starts_with("chain inet ")));
        let route = Lost::Routes(vec![Lead::Route(FAMILIES[1])]);
        let routes = missing(Some(Gone::Owned(route)));
        assert_eq!(routes.len(), 1, "{routes:?}");
        assert!(routes[0].starts_with("ip -6 route "), "{routes:?}");
        assert_eq!(
            missing(Some(Gone::Guard)),
            ["table inet unmangle_fail_closed"]
        );
    }
}
