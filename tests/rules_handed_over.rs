//! Rules go over to another process and nothing of them changes; whoever has them then can do what their first owner
//! could.
//!
//! These tests need root, and without it are skipped except in CI.

mod site;

use std::io::{BufRead, BufReader};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use rustix::process::{Pid, Signal, kill_process};
use tokio::sync::mpsc::unbounded_channel;
use tokio::time::timeout;
use unmangle::config::{Fail, Mark};
use unmangle::lab::Host;
use unmangle::rules::{
    Change, Handed, HandedNote, InPlace, Lock, Misfit, OwnError, Plan, fail_closed, nft,
};

use site::rules::{Rules, plan};
use site::{PATIENCE, Site, inside, until};

/// Does something on the relay host, where a runtime runs.
fn on_relay_host(site: &Site, act: impl AsyncFnOnce() + Send) {
    inside(site.lab.relay(), || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        runtime.unwrap().block_on(act());
    });
}

async fn own(fail: Fail) -> InPlace {
    let lock = Lock::relay().unwrap();
    InPlace::own(plan(), fail, lock).await.unwrap()
}

/// As it comes out of a socket at the other process.
fn sent(handed: Handed<BorrowedFd<'_>>) -> Handed<OwnedFd> {
    let (note, descriptors) = handed.into_parts();
    let text = serde_json::to_string(&note).unwrap();
    let note: HandedNote = serde_json::from_str(&text).unwrap();
    let copies = descriptors.map(|fd| fd.try_clone_to_owned().unwrap());
    Handed::from_parts(note, copies)
}

fn hand(rules: &InPlace) -> Handed<OwnedFd> {
    sent(rules.hand().unwrap().unwrap())
}

async fn adopt(from: &InPlace, fail: Fail) -> InPlace {
    InPlace::adopt(hand(from), plan(), fail).await.unwrap()
}

fn misfit(refused: Result<InPlace, OwnError>) -> Misfit {
    match refused.unwrap_err() {
        OwnError::Misfit(misfit) => misfit,
        other => panic!("{other}"),
    }
}

/// A table with its rules' handles and counters: one that was made anew has others.
fn table(host: &Host, name: &str) -> String {
    host.run("nft", &["-a", "list", "table", "inet", name])
        .unwrap()
}

fn has_table(host: &Host, name: &str) -> bool {
    let tables = host.run("nft", &["list", "tables"]).unwrap();
    let line = format!("table inet {name}");
    tables.lines().any(|table| table.trim() == line)
}

/// One that was let go may live on for a moment, in a child that another test's thread has forked and that has not come
/// to its `exec` yet.
fn is_lock_free() -> bool {
    match Lock::relay() {
        Ok(_) => true,
        Err(OwnError::Taken { .. }) => false,
        Err(error) => panic!("{error}"),
    }
}

/// Every change of nftables' rules, as the kernel tells it.
struct Monitor<'a> {
    host: &'a Host,
    nft: Child,
    lines: BufReader<ChildStdout>,
}

impl<'a> Monitor<'a> {
    fn start(host: &'a Host) -> Self {
        let mut command = host.command("nft");
        let mut nft = command
            .arg("monitor")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(nft.stdout.take().unwrap());
        let mut monitor = Self { host, nft, lines };
        monitor.listen();
        monitor
    }

    /// Nobody says when it has begun to listen: a table comes and goes until it tells.
    fn listen(&mut self) {
        let (host, heard) = (self.host, AtomicBool::new(false));
        let begun = Instant::now();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !heard.load(Ordering::Relaxed) && begun.elapsed() < PATIENCE {
                    mark(host, "begins");
                }
            });
            self.until("begins");
            heard.store(true, Ordering::Relaxed);
        });
    }

    /// What has changed since it started.
    fn changes(mut self) -> Vec<String> {
        mark(self.host, "ends");
        let told = self.until("ends");
        self.nft.kill().unwrap();
        self.nft.wait().unwrap();
        told.into_iter()
            .filter(|line| line.contains("unmangle"))
            .collect()
    }

    fn until(&mut self, name: &str) -> Vec<String> {
        let mut told = Vec::new();
        loop {
            let mut line = String::new();
            assert_ne!(self.lines.read_line(&mut line).unwrap(), 0, "{told:?}");
            if line.contains(name) {
                return told;
            }
            told.push(line);
        }
    }
}

/// Something that a monitor sees.
fn mark(host: &Host, name: &str) {
    for verb in ["add", "delete"] {
        host.run("nft", &[verb, "table", "inet", name]).unwrap();
    }
}

#[test]
fn the_table_is_the_same_one_before_and_after_and_the_lock_is_never_free() {
    let Some(site) = Site::put_up() else { return };
    let host = site.lab.relay();
    let untouched = Rules::of(&site);
    on_relay_host(&site, async || {
        let old = own(Fail::Closed).await;
        let monitor = Monitor::start(host);
        let rules = Rules::of(&site);
        let before = [nft::TABLE, fail_closed::TABLE].map(|name| table(host, name));
        let new = adopt(&old, Fail::Closed).await;
        old.forget();
        assert!(!is_lock_free());
        // And on to a third: what was taken on can be handed on.
        let newest = adopt(&new, Fail::Closed).await;
        new.forget();
        assert!(!is_lock_free());
        let after = [nft::TABLE, fail_closed::TABLE].map(|name| table(host, name));
        assert_eq!(after, before);
        assert_eq!(Rules::of(&site), rules);
        assert_eq!(monitor.changes(), [""; 0]);

        newest.remove().await;
        until("the lock is free", PATIENCE, is_lock_free);
    });
    assert_eq!(Rules::of(&site), untouched);
}

#[test]
fn who_has_taken_them_on_changes_renews_and_drains_them() {
    let Some(site) = Site::put_up() else { return };
    let host = site.lab.relay();
    on_relay_host(&site, async || {
        let mut old = own(Fail::Closed).await;
        let mut stripped = plan();
        stripped.interceptions[0].mss = Some(1234);
        old.replace(stripped.clone()).await.unwrap();
        assert!(table(host, nft::TABLE).contains("settings_1"));

        let mut new = adopt(&old, Fail::Closed).await;
        old.forget();
        // What the new one would not have written is there until it says so.
        assert!(table(host, nft::TABLE).contains("1234"));
        new.renew(plan()).await.unwrap();
        let renewed = table(host, nft::TABLE);
        assert!(!renewed.contains("1234"), "{renewed}");
        assert!(renewed.contains("settings_2"), "{renewed}");
        assert!(!renewed.contains("settings_1"), "{renewed}");
        new.replace(stripped).await.unwrap();
        assert!(table(host, nft::TABLE).contains("1234"));

        let before = Rules::of(&site);
        let mut marked = plan();
        marked.mark = Mark(0x0100_0000);
        let error = new.renew(marked).await.unwrap_err();
        assert!(
            matches!(
                &error,
                OwnError::Misfit(Misfit::Differs { what: "mark", .. })
            ),
            "{error}"
        );
        assert_eq!(Rules::of(&site), before);

        assert!(site.is_intercepting() && has_table(host, fail_closed::TABLE));
        new.drain().await.unwrap();
        assert!(!site.is_intercepting() && !has_table(host, fail_closed::TABLE));
        // So it stays, whoever has them next.
        let mut last = adopt(&new, Fail::Closed).await;
        new.forget();
        last.renew(plan()).await.unwrap();
        assert!(site.has_table() && !site.is_intercepting());
        last.remove().await;
        assert!(!site.has_table());
    });
}

#[test]
fn who_gives_up_before_they_are_its_own_changes_nothing() {
    let Some(site) = Site::put_up() else { return };
    let host = site.lab.relay();
    on_relay_host(&site, async || {
        let mut old = own(Fail::Open).await;
        let monitor = Monitor::start(host);
        let before = table(host, nft::TABLE);
        drop(adopt(&old, Fail::Open).await);
        // Received and not looked at.
        drop(hand(&old));
        assert_eq!(table(host, nft::TABLE), before);
        assert!(!is_lock_free());
        assert_eq!(monitor.changes(), [""; 0]);
        // It still does what it is told.
        old.replace(plan()).await.unwrap();
        assert!(table(host, nft::TABLE).contains("settings_1"));
        old.remove().await;
        assert!(!site.has_table());
    });
}

#[test]
fn an_nft_that_ends_after_it_was_taken_on_is_noticed_and_another_takes_its_place() {
    let Some(site) = Site::put_up() else { return };
    on_relay_host(&site, async || {
        let old = own(Fail::Open).await;
        let handed = hand(&old);
        let nft = i32::try_from(handed.note.nft_pid).unwrap();
        let mut new = InPlace::adopt(handed, plan(), Fail::Open).await.unwrap();
        old.forget();
        kill_process(Pid::from_raw(nft).unwrap(), Signal::KILL).unwrap();
        let (tell, mut told) = unbounded_channel();
        let mut changes = Vec::new();
        while changes.last() != Some(&Change::Restored) {
            let change = tokio::select! {
                change = timeout(PATIENCE, told.recv()) => change.expect("it is told").unwrap(),
                never = new.keep(|change| tell.send(change).unwrap()) => match never {},
            };
            changes.push(change);
        }
        assert!(matches!(changes[0], Change::Lost { .. }), "{changes:?}");
        assert!(site.is_intercepting());
        // The new one is its own child, and can be handed on as the old one was.
        let handed = hand(&new);
        assert_ne!(i32::try_from(handed.note.nft_pid).unwrap(), nft);
        drop(handed);
        new.remove().await;
        assert!(!site.has_table());
        until("the lock is free", PATIENCE, is_lock_free);
    });
}

#[test]
fn what_is_not_what_was_promised_is_refused_and_stays_whose_it_was() {
    let Some(site) = Site::put_up() else { return };
    let host = site.lab.relay();
    on_relay_host(&site, async || {
        let old = own(Fail::Open).await;
        let before = table(host, nft::TABLE);
        let adopt = |handed, plan| InPlace::adopt(handed, plan, Fail::Open);

        let mut wrong = plan();
        wrong.priority += 1;
        let refused = misfit(adopt(hand(&old), wrong).await);
        assert!(refused.to_string().contains("pref 21070"), "{refused}");

        let mut elsewhere: Plan = plan();
        elsewhere.interceptions[0].listen.mangled = 3;
        let refused = misfit(adopt(hand(&old), elsewhere).await);
        assert!(matches!(refused, Misfit::Table), "{refused}");

        let refused = misfit(InPlace::adopt(hand(&old), plan(), Fail::Closed).await);
        assert!(
            refused.to_string().starts_with("fail cannot change"),
            "{refused}"
        );

        let mut other = Command::new("cat");
        let mut other = other.stdin(Stdio::piped()).spawn().unwrap();
        let mut handed = hand(&old);
        handed.note.nft_pid = other.id();
        let refused = misfit(adopt(handed, plan()).await);
        assert!(matches!(refused, Misfit::Stranger(_)), "{refused}");
        drop(other.stdin.take());
        other.wait().unwrap();

        let Handed {
            note,
            lock,
            stdin,
            stderr,
        } = hand(&old);
        let swapped = Handed::from_parts(note, [stdin, lock, stderr]);
        let refused = misfit(adopt(swapped, plan()).await);
        assert!(matches!(refused, Misfit::Lock), "{refused}");

        assert_eq!(table(host, nft::TABLE), before);
        assert!(!is_lock_free());
        old.remove().await;
    });
}
