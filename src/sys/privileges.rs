//! Who this process is, and what it may do: one way down, and none up again.
//!
//! Two steps, both before there is a second thread. [`step_down`] takes another user and keeps what the start
//! needs; [`settle`] keeps what the running process needs. Children get nothing but what [`lending`] lends them.

use std::fs;
use std::io;

use nix::unistd::{Gid, Group, Uid, User, setgroups, setresgid, setresuid};
use rustix::io::Errno;
use rustix::process::{DumpableBehavior, set_dumpable_behavior};
use rustix::thread::{
    CapabilitiesSecureBits, CapabilitySet, CapabilitySets, capabilities, capabilities_secure_bits,
    capability_is_in_bounding_set, clear_ambient_capability_set,
    configure_capability_in_ambient_set, remove_capability_from_bounding_set, set_capabilities,
    set_capabilities_secure_bits, set_keep_capabilities, set_no_new_privs,
};

/// A user and a group of this host, by number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Account {
    /// The user.
    pub uid: u32,
    /// The one group.
    pub gid: u32,
}

/// Why there is no such account.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum AccountError {
    /// No such user.
    #[error("there is no user {0:?} here")]
    User(String),
    /// No such group.
    #[error("there is no group {0:?} here")]
    Group(String),
    /// A number without a name has no group of its own.
    #[error("user {0} has no entry here, and so no group; give {0}:GROUP")]
    NoGroup(u32),
    /// The host's user database cannot be read.
    #[error("the users of this host cannot be looked up: {0}")]
    Lookup(Errno),
}

/// Why this process cannot become somebody else.
#[derive(Debug, thiserror::Error)]
pub enum StepDownError {
    /// It is not root.
    #[error("only root can run as another user: CAP_SETUID and CAP_SETGID are missing")]
    NotRoot,
    /// Other threads would stay what they are.
    #[error("there are {0} threads already")]
    Threads(usize),
    /// The kernel refused.
    #[error("{0}: {1}")]
    Refused(&'static str, io::Error),
}

// === impl Account ===

impl Account {
    /// Looks up a user, by name or number, and the group: that of the user unless another is given.
    ///
    /// # Errors
    /// [`AccountError`] names what there is not.
    pub fn named(user: &str, group: Option<&str>) -> Result<Self, AccountError> {
        let by_name = User::from_name(user).map_err(lookup)?;
        let number = user.parse::<u32>().ok();
        let found = match (by_name, number) {
            (Some(found), _) => Some(found),
            (None, Some(number)) => User::from_uid(Uid::from_raw(number)).map_err(lookup)?,
            (None, None) => return Err(AccountError::User(user.to_owned())),
        };
        let uid = match (&found, number) {
            (Some(found), _) => found.uid.as_raw(),
            (None, Some(number)) => number,
            (None, None) => return Err(AccountError::User(user.to_owned())),
        };
        let gid = match group {
            Some(group) => group_id(group)?,
            None => match found {
                Some(found) => found.gid.as_raw(),
                None => return Err(AccountError::NoGroup(uid)),
            },
        };
        Ok(Self { uid, gid })
    }

    /// Whether it is root.
    #[must_use]
    pub fn is_root(self) -> bool {
        self.uid == 0
    }

    /// Who this process is now.
    #[must_use]
    pub fn current() -> Self {
        Self {
            uid: Uid::effective().as_raw(),
            gid: Gid::effective().as_raw(),
        }
    }
}

/// Sees that there is a user of this name; a number needs no name.
///
/// # Errors
/// [`AccountError`] if there is none, or nobody can tell.
pub fn user_exists(user: &str) -> Result<(), AccountError> {
    if user.parse::<u32>().is_ok() || User::from_name(user).map_err(lookup)?.is_some() {
        return Ok(());
    }
    Err(AccountError::User(user.to_owned()))
}

fn group_id(group: &str) -> Result<u32, AccountError> {
    if let Some(found) = Group::from_name(group).map_err(lookup)? {
        return Ok(found.gid.as_raw());
    }
    let number = group.parse();
    number.map_err(|_| AccountError::Group(group.to_owned()))
}

fn lookup(errno: nix::errno::Errno) -> AccountError {
    AccountError::Lookup(Errno::from_raw_os_error(errno as i32))
}

// === down ===

/// What this thread may do.
#[must_use]
pub fn held() -> CapabilitySet {
    capabilities(None).map_or(CapabilitySet::empty(), |sets| sets.effective)
}

/// Becomes this account, if one is given, without supplementary groups, and gives up every capability but
/// `keep` and CAP_SETPCAP, which [`settle`] needs. Nothing that is executed from now on gains any privilege by its
/// own file. What is not held is not kept.
///
/// # Errors
/// If there are other threads, or the kernel refuses; the process must end then.
pub fn step_down(account: Option<Account>, keep: CapabilitySet) -> Result<(), StepDownError> {
    let threads = fs::read_dir("/proc/self/task").map_or(1, Iterator::count);
    if threads != 1 {
        return Err(StepDownError::Threads(threads));
    }
    let keep = keep | CapabilitySet::SETPCAP;
    match account.filter(|account| *account != Account::current()) {
        Some(account) => become_account(account)?,
        // A user's own groups may be all it has: only who may change them has them taken away.
        None if account.is_some() && held().contains(CapabilitySet::SETGID) => {
            setgroups(&[]).map_err(refused("setgroups"))?;
        }
        None => {}
    }
    keep_only(keep, keep).map_err(|error| StepDownError::Refused("capset", error))?;
    set_no_new_privs(true)
        .map_err(|error| StepDownError::Refused("no new privileges", error.into()))
}

fn become_account(Account { uid, gid }: Account) -> Result<(), StepDownError> {
    if !held().contains(CapabilitySet::SETUID | CapabilitySet::SETGID) {
        return Err(StepDownError::NotRoot);
    }
    let kernel =
        |what: &'static str| move |error: Errno| StepDownError::Refused(what, error.into());
    let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
    // Permitted capabilities outlive the change of user; effective ones are set anew afterwards.
    set_keep_capabilities(true).map_err(kernel("keep capabilities"))?;
    setgroups(&[]).map_err(refused("setgroups"))?;
    setresgid(gid, gid, gid).map_err(refused("setresgid"))?;
    setresuid(uid, uid, uid).map_err(refused("setresuid"))?;
    set_keep_capabilities(false).map_err(kernel("keep capabilities"))
}

fn refused(what: &'static str) -> impl Fn(nix::errno::Errno) -> StepDownError {
    move |errno| StepDownError::Refused(what, io::Error::from_raw_os_error(errno as i32))
}

/// Gives up every capability but `keep`, for good: the bounding set shrinks to it, and being root gives none back.
/// Without CAP_SETPCAP the bounding set stays, which without new privileges gives nothing.
///
/// What holds a capability can be neither traced by its user nor dumped, as what has changed its user.
///
/// # Errors
/// If the kernel refuses; the process must end then.
pub fn settle(keep: CapabilitySet) -> io::Result<()> {
    if held().contains(CapabilitySet::SETPCAP) {
        shrink_bounding_set(keep)?;
        // Neither `exec` as root nor a change of user gives a capability, now or later.
        let bits = CapabilitiesSecureBits::NO_ROOT
            | CapabilitiesSecureBits::NO_ROOT_LOCKED
            | CapabilitiesSecureBits::NO_SETUID_FIXUP
            | CapabilitiesSecureBits::NO_SETUID_FIXUP_LOCKED
            | CapabilitiesSecureBits::KEEP_CAPS_LOCKED;
        set_capabilities_secure_bits(capabilities_secure_bits()? | bits)?;
    }
    keep_only(keep, keep)?;
    if !held().is_empty() {
        set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    }
    Ok(())
}

fn shrink_bounding_set(keep: CapabilitySet) -> io::Result<()> {
    for number in 0..u64::BITS {
        let one = CapabilitySet::from_bits_retain(1 << number);
        match capability_is_in_bounding_set(one) {
            Ok(true) if !keep.contains(one) => remove_capability_from_bounding_set(one)?,
            Ok(_) => {}
            // The kernel knows no more.
            Err(_) => break,
        }
    }
    Ok(())
}

/// Children inherit nothing from now on.
fn keep_only(effective: CapabilitySet, permitted: CapabilitySet) -> io::Result<()> {
    let sets = capabilities(None)?;
    clear_ambient_capability_set()?;
    set_capabilities(
        None,
        CapabilitySets {
            effective: sets.permitted & effective,
            permitted: sets.permitted & permitted,
            inheritable: CapabilitySet::empty(),
        },
    )?;
    Ok(())
}

// === what children get ===

/// What `nft`, `ip` and iptables need, of what this process has.
const LENT: CapabilitySet = CapabilitySet::NET_ADMIN.union(CapabilitySet::NET_RAW);

/// Starts a child that has CAP_NET_ADMIN (and CAP_NET_RAW) if this thread has it, and nothing else. The thread's own
/// inheritable and ambient sets are as they were when this returns.
///
/// # Errors
/// Those of `start`, and of the kernel that does not lend.
pub fn lending<T>(start: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    let _loan = Loan::of(LENT)?;
    start()
}

/// Starts a child that has every capability that this process has: another one of this program, to take its place.
///
/// # Errors
/// As for [`lending`].
pub fn passing_on<T>(start: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    let _loan = Loan::of(CapabilitySet::all())?;
    start()
}

/// Capabilities that children inherit, until it is dropped.
struct Loan {
    before: CapabilitySets,
    raised: CapabilitySet,
}

impl Loan {
    /// Those of these that this process has.
    fn of(these: CapabilitySet) -> io::Result<Self> {
        let before = capabilities(None)?;
        let mut loan = Self {
            before,
            raised: CapabilitySet::empty(),
        };
        let lent = before.permitted & these;
        if lent.is_empty() {
            return Ok(loan);
        }
        set_capabilities(
            None,
            CapabilitySets {
                inheritable: before.inheritable | lent,
                ..before
            },
        )?;
        for one in lent.iter() {
            if !rustix::thread::capability_is_in_ambient_set(one)? {
                configure_capability_in_ambient_set(one, true)?;
                loan.raised |= one;
            }
        }
        Ok(loan)
    }
}

impl Drop for Loan {
    fn drop(&mut self) {
        // To give up what one has is never refused.
        for one in self.raised.iter() {
            let _ = configure_capability_in_ambient_set(one, false);
        }
        let _ = set_capabilities(None, self.before);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn an_account_is_found_by_name_and_by_number_with_its_own_group_or_another() {
        let root = Account { uid: 0, gid: 0 };
        assert_eq!(Account::named("root", None), Ok(root));
        assert_eq!(Account::named("0", None), Ok(root));
        let odd = Account {
            uid: 4_000_000_001,
            gid: 0,
        };
        assert_eq!(Account::named("4000000001", Some("root")), Ok(odd));
        assert_eq!(Account::named("4000000001", Some("0")), Ok(odd));
    }

    #[test]
    fn what_there_is_not_is_named() {
        let error = |user, group| Account::named(user, group).unwrap_err().to_string();
        assert_eq!(
            error("no such user", None),
            "there is no user \"no such user\" here"
        );
        assert_eq!(
            error("root", Some("nosuch")),
            "there is no group \"nosuch\" here"
        );
        assert_eq!(
            error("4000000001", None),
            "user 4000000001 has no entry here, and so no group; give 4000000001:GROUP"
        );
    }

    #[test]
    fn nothing_is_lent_beyond_the_start_of_a_child() {
        let before = capabilities(None).unwrap();
        let during = lending(|| {
            let output = Command::new("true").status()?;
            assert!(output.success());
            Ok(capabilities(None)?)
        })
        .unwrap();
        assert!(during.inheritable.contains(before.permitted & LENT));
        assert_eq!(capabilities(None).unwrap(), before);
        let ambient = rustix::thread::capability_is_in_ambient_set(CapabilitySet::NET_ADMIN);
        assert!(!ambient.unwrap());
    }

    #[test]
    fn a_process_with_threads_does_not_step_down_in_part() {
        let error = step_down(None, CapabilitySet::empty()).unwrap_err();
        assert!(matches!(error, StepDownError::Threads(2..)), "{error}");
    }
}
