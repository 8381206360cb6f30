//! The image that deploy/container/Containerfile makes, without a registry: its bases are a Debian of debootstrap's, and what
//! its first stage would build is the package of this test's own program. `make acceptance` runs it, as root, over the network.

mod site;

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;
use unmangle::lab::{OpenedFrom, Process, Role};

use site::machine::debootstrap;
use site::package::Package;
use site::{FAMILIES, PATIENCE, Site, talk};

/// Images and containers of nobody else.
struct Store(TempDir);

// === impl Store ===

impl Store {
    fn arguments(&self) -> Vec<String> {
        let at = |name: &str| self.0.path().join(name).display().to_string();
        vec![
            "--storage-driver=vfs".to_owned(),
            format!("--root={}", at("root")),
            format!("--runroot={}", at("run")),
        ]
    }

    fn buildah(&self, arguments: &[&str]) -> String {
        let mut command = Command::new("buildah");
        command.args(self.arguments()).args(arguments);
        let output = command.env("BUILDAH_ISOLATION", "chroot").output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {stderr}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }
}

#[test]
#[ignore = "makes a Debian and an image, over the network: two minutes"]
fn the_image_of_the_containerfile_relays() {
    let Some(site) = Site::put_up() else { return };
    let store = Store(tempfile::tempdir().unwrap());
    let debian = store.0.path().join("debian");
    debootstrap(&debian, &["--variant=minbase", "--include=make"]);
    let scratch = store.buildah(&["from", "scratch"]);
    store.buildah(&["add", "-q", &scratch, debian.to_str().unwrap(), "/"]);
    store.buildah(&["commit", "-q", "--rm", &scratch, "localhost/debian"]);

    // `make deb` of this context makes a package that is there already.
    let context = store.0.path().join("context");
    fs::create_dir(&context).unwrap();
    fs::copy(Package::make().first, context.join("unmangle_0.deb")).unwrap();
    let deb = "deb:\n\tmkdir -p target/debian && cp unmangle_0.deb target/debian/\n";
    fs::write(context.join("Makefile"), deb).unwrap();
    let recipe = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/container/Containerfile");
    store.buildah(&[
        "build",
        "--build-arg=RUST=localhost/debian",
        "--build-arg=BASE=localhost/debian",
        "--tag=localhost/unmangle",
        "--file",
        recipe.to_str().unwrap(),
        context.to_str().unwrap(),
    ]);

    // What the image says is to be run, on the gateway, with the capabilities that docs/install.md gives it.
    let told = store.buildah(&["inspect", "--type=image", "localhost/unmangle"]);
    let told: Value = serde_json::from_str(&told).unwrap();
    let words = |name: &str| -> Vec<String> {
        let words = told["OCIv1"]["config"][name].as_array().unwrap();
        words
            .iter()
            .map(|word| word.as_str().unwrap().to_owned())
            .collect()
    };
    let etc = store.0.path().join("etc");
    fs::create_dir(&etc).unwrap();
    let config =
        "[[listener]]\nmangled-side = \"fw0\"\nintercept = [22]\nprofile = \"cisco-pix\"\n";
    fs::write(etc.join("unmangle.toml"), config).unwrap();
    let container = store.buildah(&["from", "localhost/unmangle"]);
    let mut command = site.lab.host(Role::Relay).command("buildah");
    command.args(store.arguments());
    command.args(["run", "--isolation=chroot", "--cap-add=CAP_NET_ADMIN"]);
    // "all" would take away what is added, too: these are the others that buildah gives by itself.
    for capability in [
        "AUDIT_WRITE",
        "CHOWN",
        "DAC_OVERRIDE",
        "FOWNER",
        "FSETID",
        "KILL",
        "MKNOD",
        "NET_RAW",
        "SETFCAP",
        "SYS_CHROOT",
    ] {
        command.arg(format!("--cap-drop=CAP_{capability}"));
    }
    command.arg(format!("--volume={}:/etc/unmangle:ro", etc.display()));
    command.args([&container, "--"]);
    command.args(words("Entrypoint")).args(words("Cmd"));
    let log = store.0.path().join("relay.log");
    let mut relay = Process::start("container", &mut command, &log).unwrap();
    relay.ready("relaying", PATIENCE).unwrap();
    assert!(site.has_table());
    for family in FAMILIES {
        talk(&site.connect(OpenedFrom::Client, family));
    }
    let ended = relay.log().matches("session ended").count();
    assert!(ended > 0, "nothing was relayed: {}", relay.log());
}
