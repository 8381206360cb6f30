//! Payload that is lost, doubled, changed or cut off on its way is noticed, and what a stream has carried is counted.

mod site;

use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use site::bench::{Ended, Serve, number, part, run};
use site::faulty::{Tamper, greet, proxy, reset, server};

const SHORT: &str = "--duration 300ms --warmup 50ms --grace 300ms";
/// With time for what is under way to come to its end.
const PATIENT: &str = "--duration 300ms --warmup 50ms --grace 20s";

fn load(to: impl std::fmt::Display, words: &str) -> Ended {
    run(&format!("--to {to} {SHORT} {words}"))
}

const AT: usize = 5000;

#[test]
fn responses_that_were_changed_on_the_way_are_corrupt() {
    for tamper in [Tamper::Flip(AT), Tamper::Double(AT), Tamper::Drop(AT)] {
        let serve = Serve::start_one("");
        let to = proxy(serve.address(), Tamper::Nothing, tamper);
        for words in [
            "rr",
            "stream --direction download",
            "stream --direction both",
        ] {
            let ended = load(to, &format!("--mode {words} --verify"));
            ended.faults(&[("corrupt", "wrong payload near byte 4992")]);
        }
        assert_eq!(serve.stop(), "");
    }
}

#[test]
fn requests_that_were_changed_on_the_way_are_reset_by_the_server() {
    for tamper in [Tamper::Flip(AT), Tamper::Double(AT), Tamper::Drop(AT)] {
        let serve = Serve::start_one("");
        let to = proxy(serve.address(), tamper, Tamper::Nothing);
        for words in ["rr", "stream"] {
            let ended = load(to, &format!("--mode {words} --verify"));
            ended.faults(&[("reset", "reset, ")]);
        }
        assert!(serve.stop().contains("wrong payload near byte 4968"));
    }
}

#[test]
fn an_upload_that_did_not_arrive_whole_is_noticed_without_looking_at_it() {
    let serve = Serve::start_one("");
    let to = proxy(serve.address(), Tamper::Drop(AT), Tamper::Nothing);
    load(to, "--mode stream").faults(&[("short", "bytes were sent, the server received")]);
    let to = proxy(serve.address(), Tamper::Double(AT), Tamper::Nothing);
    load(to, "--mode stream").faults(&[("corrupt", "bytes were sent, the server received")]);
    assert_eq!(serve.stop(), "");
}

#[test]
fn a_download_that_did_not_arrive_whole_is_noticed_without_looking_at_it() {
    let serve = Serve::start_one("");
    for (tamper, kind, words) in [
        (Tamper::Drop(AT), "short", "were received"),
        (Tamper::Double(AT), "corrupt", "were received"),
        (Tamper::LoseLast(1), "closed_early", "without having said"),
        (Tamper::LoseLast(AT), "closed_early", "without having said"),
    ] {
        let to = proxy(serve.address(), Tamper::Nothing, tamper);
        for words_of_load in [
            "download",
            "download --connections 3",
            "both",
            "both --connections 3",
        ] {
            let load = format!("--to {to} {PATIENT} --mode stream --direction {words_of_load}");
            run(&load).faults(&[(kind, words)]);
        }
    }
    // What is compared byte by byte is missed at the end, too.
    let to = proxy(serve.address(), Tamper::Nothing, Tamper::LoseLast(AT));
    let load = format!("--to {to} {PATIENT} --mode stream --direction download --verify");
    run(&load).faults(&[("closed_early", "without having said")]);
    assert_eq!(serve.stop(), "");
}

#[test]
fn what_a_stream_had_carried_when_it_was_reset_is_counted() {
    const EACH: usize = 1 << 20;
    // What waits to be read is acknowledged, too.
    const UNREAD: u64 = 1 << 19;
    let whole = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&whole);
    let to = server(move |mut stream| {
        let socket = socket2::SockRef::from(&stream);
        socket.set_recv_buffer_size(1 << 16).unwrap();
        if greet(&mut stream) && stream.read_exact(&mut vec![0; EACH]).is_ok() {
            count.fetch_add(1, Ordering::Relaxed);
        }
        reset(stream);
    });
    let words = "--duration 1s --warmup 0s --grace 300ms --mode stream";
    let ended = run(&format!("--to {to} {words}"));
    ended.faults(&[("reset", "reset, ")]);
    let whole = whole.load(Ordering::Relaxed);
    let up = number(part(&ended.report()), "/bytes_up");
    assert!(whole >= 2, "{ended:?}");
    // One may have been whole after the time was over, one may never have been.
    assert!(up >= (whole - 1) * EACH as u64, "{whole}: {ended:?}");
    assert!(
        up <= (whole + 1) * (EACH as u64 + UNREAD),
        "{whole}: {ended:?}"
    );
}

#[test]
fn a_proxy_that_changes_nothing_is_no_fault() {
    let serve = Serve::start_one("");
    let to = proxy(serve.address(), Tamper::Nothing, Tamper::Nothing);
    for mode in [
        "stream",
        "stream --direction download",
        "stream --direction both",
        "rr --connections 3",
        "crr",
    ] {
        run(&format!("--to {to} {PATIENT} --mode {mode} --verify")).faultless();
    }
}
