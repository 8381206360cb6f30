//! Whom the relay runs as, once it has been started by root.

use std::fmt;
use std::str::FromStr;

/// A user and perhaps a group, each by name or number; whether there are such is for the start to find out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunAs {
    /// The user.
    pub user: String,
    /// The group; the user's own if `None`.
    pub group: Option<String>,
}

/// Not a user, or not a group.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is neither USER nor USER:GROUP; give names or numbers, such as unmangle or nobody:nogroup"
)]
pub struct NoRunAs(String);

impl FromStr for RunAs {
    type Err = NoRunAs;

    fn from_str(text: &str) -> Result<Self, NoRunAs> {
        let (user, group) = match text.split_once(':') {
            Some((user, group)) => (user, Some(group)),
            None => (text, None),
        };
        let is_name = |name: &str| {
            // To the kernel that number means that nothing is to change.
            let nobody = name.parse() == Ok(u32::MAX);
            !name.is_empty()
                && !nobody
                && !name.contains(|c: char| c == ':' || c.is_control() || c.is_whitespace())
        };
        if is_name(user) && group.is_none_or(is_name) {
            Ok(Self {
                user: user.to_owned(),
                group: group.map(str::to_owned),
            })
        } else {
            Err(NoRunAs(text.to_owned()))
        }
    }
}

impl fmt::Display for RunAs {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(&self.user)?;
        match &self.group {
            Some(group) => write!(f, ":{group}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_that_would_change_nothing_is_no_user_and_no_group() {
        for wrong in ["4294967295", "nobody:4294967295", "04294967295:0"] {
            assert!(wrong.parse::<RunAs>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_user_may_be_given_with_a_group_and_without() {
        let read = |text: &str| text.parse::<RunAs>().unwrap();
        assert_eq!(
            (read("unmangle").user.as_str(), read("unmangle").group),
            ("unmangle", None)
        );
        assert_eq!(read("65534:65534").group.as_deref(), Some("65534"));
        assert_eq!(read("nobody:nogroup").to_string(), "nobody:nogroup");
    }

    #[test]
    fn what_lacks_a_part_or_has_one_too_many_is_neither() {
        for text in ["", ":", "a:", ":b", "a:b:c", "a b", "a\n"] {
            assert_eq!(text.parse::<RunAs>(), Err(NoRunAs(text.to_owned())));
        }
    }
}
