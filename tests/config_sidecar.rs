//! Settings of sidecars: what is refused, where it stood, and what `--check` makes of the rest.

use std::process::Command;

/// Runs `--check` with this file: what it printed, or the one line by which it was refused.
fn checked(text: &str) -> Result<String, String> {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("u.toml");
    std::fs::write(&file, text).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_unmangle"))
        .args(["run", "--check", "--config"])
        .arg(&file)
        .output()
        .unwrap();
    let path = format!("{}/", directory.path().display());
    let said = |bytes| String::from_utf8(bytes).unwrap().replace(&path, "");
    match output.status.code() {
        Some(0) => Ok(said(output.stdout)),
        Some(2) => {
            let line = said(output.stderr);
            assert_eq!(line.lines().count(), 1, "{line}");
            Err(line.trim_end().trim_start_matches("unmangle: ").to_owned())
        }
        code => panic!("{code:?}"),
    }
}

fn sidecar(mode: &str, more: &str) -> Result<String, String> {
    checked(&format!(
        "[[listener]]\nmode = \"{mode}\"\nmangled-side = \"eth0\"\nprofile = \"cisco-pix\"\n{more}\n"
    ))
}

#[test]
fn what_is_in_force_is_printed_as_a_file_that_says_the_same() {
    for (mode, more) in [
        ("server-sidecar", "intercept = 22\nfrom = \"10.0.0.0/8\""),
        (
            "server-sidecar",
            "intercept = 22\nservice-leg = \"own-address\"",
        ),
        (
            "server-sidecar",
            "intercept = 22\nservice-leg = \"transparent\"\nto = [\"192.0.2.7\", \"2001:db8::7\"]",
        ),
        ("client-sidecar", "intercept = [22, 873]"),
        ("client-sidecar", "user = 1000"),
        (
            "client-sidecar",
            "cgroup = \"system.slice/backup.service\"\nintercept = 22",
        ),
    ] {
        let first = sidecar(mode, more).unwrap();
        assert!(first.contains(&format!("mode = \"{mode}\"")), "{first}");
        assert_eq!(checked(&first).unwrap(), first);
    }
}

#[test]
fn what_is_missing_is_named() {
    for (mode, more, expected) in [
        (
            "server-sidecar",
            "",
            "u.toml:2: listener 1: intercept is missing: which destination ports? 22, for ssh",
        ),
        (
            "client-sidecar",
            "",
            "u.toml:2: listener 1: intercept is missing: which destination ports? 22, for ssh",
        ),
        (
            "server-sidecar",
            "intercept = 22\nservice-leg = \"transparent\"",
            "u.toml:2: listener 1: service-leg transparent needs the service's own address: give it with to, at most one for each family",
        ),
        (
            "server-sidecar",
            "intercept = 22\nservice-leg = \"transparent\"\nto = \"192.0.2.0/24\"",
            "u.toml:7: listener 1: to: service-leg transparent needs the service's own address: give it with to, at most one for each family",
        ),
    ] {
        assert_eq!(sidecar(mode, more).unwrap_err(), expected);
    }
}

#[test]
fn what_is_of_no_use_is_refused() {
    for (mode, more) in [
        ("server-sidecar", "user = \"root\""),
        ("server-sidecar", "clean-port = 1"),
        ("client-sidecar", "service-leg = \"loopback\""),
        ("client-sidecar", "mangled-port = 1"),
        ("client-sidecar", "listen = \"127.0.0.1:1\""),
        ("server-sidecar", "accept-proxy = \"192.0.2.1\""),
        ("server-sidecar", "dial-from = \"client\""),
        ("client-sidecar", "send-proxy = \"v2\""),
        ("client-sidecar", "proxy-timeout = \"1s\""),
        ("gateway", "cgroup = \"a\""),
    ] {
        let error = sidecar(mode, &format!("intercept = 22\n{more}")).unwrap_err();
        let expected = format!("this is of no use to a {mode} listener");
        assert!(
            error.starts_with("u.toml:6: ") && error.ends_with(&expected),
            "{error}"
        );
    }
}

#[test]
fn what_cannot_be_together_is_refused() {
    let listener = |mode: &str, port: u16, more: &str| {
        format!(
            "[[listener]]\nmode = \"{mode}\"\nintercept = {port}\nmangled-side = \"eth0\"\nprofile = \"clean\"\n{more}\n"
        )
    };
    let both = |one: String, two: String| checked(&(one + &two)).unwrap_err();
    let error = both(
        listener("gateway", 22, ""),
        listener("client-sidecar", 23, ""),
    );
    assert!(
        error.contains("a host is a router or has sidecars"),
        "{error}"
    );
    let error = both(
        listener("client-sidecar", 22, ""),
        listener("client-sidecar", 22, ""),
    );
    assert!(
        error.contains("on one interface a port belongs to one of them"),
        "{error}"
    );
    // Everybody has the backup's connections, too, and every user can be in a group.
    for (one, other) in [
        ("", "user = \"backup\""),
        ("user = \"backup\"", "cgroup = \"system.slice\""),
        (
            "cgroup = \"system.slice\"",
            "cgroup = \"system.slice/backup.service\"",
        ),
    ] {
        let error = both(
            listener("client-sidecar", 22, one),
            listener("client-sidecar", 22, other),
        );
        assert!(
            error.contains("listener 2 collides with listener 1"),
            "{error}"
        );
    }
    for (one, other) in [
        ("user = \"backup\"", "user = \"mail\""),
        (
            "cgroup = \"system.slice/a\"",
            "cgroup = \"system.slice/ab\"",
        ),
    ] {
        let [one, other] = [one, other].map(|more| listener("client-sidecar", 22, more));
        checked(&(one + &other)).unwrap();
    }
    let transparent = |port, to: &str| {
        let more = format!("service-leg = \"transparent\"\nto = \"{to}\"");
        listener("server-sidecar", port, &more)
    };
    let error = both(transparent(22, "192.0.2.7"), transparent(23, "192.0.2.8"));
    assert!(error.contains("collides"), "{error}");
    let error =
        checked(&("dial-mark = 0x02000000\n".to_owned() + &listener("client-sidecar", 22, "")))
            .unwrap_err();
    assert_eq!(
        error,
        "u.toml:1: dial-mark: mark 0x02000000 and dial-mark 0x02000000 share bits"
    );
    let error =
        checked(&("track = \"notrack\"\n".to_owned() + &listener("server-sidecar", 22, "")))
            .unwrap_err();
    assert!(
        error.ends_with("a sidecar has no zones and needs conntrack; leave track notrack out"),
        "{error}"
    );
    // These can.
    let both_kinds = listener("server-sidecar", 22, "") + &listener("client-sidecar", 22, "");
    checked(&both_kinds).unwrap();
}

#[test]
fn there_are_no_rules_of_iptables_for_a_sidecar() {
    let output = Command::new(env!("CARGO_BIN_EXE_unmangle"))
        .args([
            "rules",
            "--mode",
            "client-sidecar",
            "--intercept",
            "22",
            "--mangled-side",
            "eth0",
        ])
        .args(["--profile", "clean", "--format", "iptables"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(
        error.contains("a sidecar has rules for nftables only"),
        "{error}"
    );
}
