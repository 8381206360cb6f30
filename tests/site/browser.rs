//! A headless Chromium with one page, driven by the DevTools protocol over a pair of pipes: no port is opened, and no crate
//! is needed for it.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{PATIENCE, until};

pub struct Browser {
    process: Child,
    commands: ChildStdin,
    messages: Receiver<Value>,
    number: u64,
    session: Option<String>,
    /// What it has told without being asked.
    events: Vec<Value>,
    _profile: TempDir,
}

/// As Debian calls it.
const PROGRAM: &str = "chromium";
/// What a page shows is this host's own, so the sandbox, which root cannot have, is not missed.
const FLAGS: [&str; 9] = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
    "--hide-scrollbars",
    "--remote-debugging-pipe",
];

// === impl Browser ===

impl Browser {
    /// Starts one, unless there is none here; in CI there must be.
    pub fn start() -> Option<Self> {
        let there = Command::new(PROGRAM)
            .arg("--version")
            .stderr(Stdio::null())
            .output()
            .is_ok_and(|output| output.status.success());
        if !there {
            let missing = "no chromium here: deploy/install-packages.sh browser installs it";
            assert!(std::env::var_os("CI").is_none(), "{missing}");
            println!("skipped: {missing}");
            return None;
        }
        let profile = tempfile::tempdir().unwrap();
        // It reads commands from its descriptor 3 and answers at 4.
        let mut process = Command::new("sh")
            .args(["-c", "exec \"$@\" 3<&0 4>&1 </dev/null >/dev/null", "sh"])
            .arg(PROGRAM)
            .args(FLAGS)
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .arg("about:blank")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let answers = BufReader::new(process.stdout.take().unwrap());
        let (told, messages) = mpsc::channel();
        thread::spawn(move || {
            for message in answers.split(0).map_while(Result::ok) {
                let Ok(message) = serde_json::from_slice(&message) else {
                    break;
                };
                if told.send(message).is_err() {
                    break;
                }
            }
        });
        let mut browser = Self {
            commands: process.stdin.take().unwrap(),
            process,
            messages,
            number: 0,
            session: None,
            events: Vec::new(),
            _profile: profile,
        };
        let target = browser.call("Target.createTarget", json!({"url": "about:blank"}));
        let to = json!({"targetId": target["targetId"], "flatten": true});
        let attached = browser.call("Target.attachToTarget", to);
        browser.session = Some(attached["sessionId"].as_str().unwrap().to_owned());
        for domain in ["Page", "Runtime", "Log", "Network"] {
            browser.call(&format!("{domain}.enable"), json!({}));
        }
        Some(browser)
    }

    fn call(&mut self, method: &str, parameters: Value) -> Value {
        self.number += 1;
        let mut command = json!({"id": self.number, "method": method, "params": parameters});
        if let Some(session) = &self.session {
            command["sessionId"] = json!(session);
        }
        self.commands
            .write_all(format!("{command}\0").as_bytes())
            .unwrap();
        loop {
            let message = self.messages.recv_timeout(PATIENCE);
            let message = message.unwrap_or_else(|error| panic!("{method}: {error}"));
            if message["id"] == self.number {
                assert!(message["error"].is_null(), "{method}: {message}");
                return message["result"].clone();
            }
            self.events.push(message);
        }
    }

    /// What an expression comes to, a promise once it is kept.
    pub fn eval(&mut self, expression: &str) -> Value {
        let wanted = json!({"expression": expression, "returnByValue": true, "awaitPromise": true});
        let result = self.call("Runtime.evaluate", wanted);
        assert!(
            result["exceptionDetails"].is_null(),
            "{expression}: {result}"
        );
        result["result"]["value"].clone()
    }

    /// The text of the one element that a selector finds.
    pub fn text(&mut self, selector: &str) -> String {
        let found = self.eval(&format!("document.querySelector('{selector}').textContent"));
        found.as_str().unwrap().to_owned()
    }

    /// Waits until an expression is true.
    pub fn until(&mut self, expression: &str) {
        until(expression, PATIENCE, || self.eval(expression) == true);
    }

    pub fn open(&mut self, url: &str) {
        self.call("Page.navigate", json!({"url": url}));
        self.until("document.readyState === 'complete'");
    }

    pub fn size(&mut self, width: u32, height: u32, scale: f64) {
        let size = json!({"width": width, "height": height, "deviceScaleFactor": scale, "mobile": width < 500});
        self.call("Emulation.setDeviceMetricsOverride", size);
    }

    /// Wants `light` or `dark`.
    pub fn scheme(&mut self, scheme: &str) {
        let features = json!([{"name": "prefers-color-scheme", "value": scheme}]);
        self.call("Emulation.setEmulatedMedia", json!({"features": features}));
    }

    /// Presses a key: its name, its number, and the text that it makes, if any.
    pub fn press(&mut self, key: &str, number: u32, text: &str) {
        let mut event = json!({"type": "keyDown", "key": key, "windowsVirtualKeyCode": number});
        if !text.is_empty() {
            event["text"] = json!(text);
        }
        self.call("Input.dispatchKeyEvent", event.clone());
        event["type"] = json!("keyUp");
        self.call("Input.dispatchKeyEvent", event);
    }

    pub fn write(&mut self, text: &str) {
        self.call("Input.insertText", json!({"text": text}));
    }

    /// Writes the whole page, or its first pixels, as PNG.
    pub fn picture(&mut self, file: &Path, most: f64) {
        let sizes = self.call("Page.getLayoutMetrics", json!({}))["cssContentSize"].clone();
        let height = sizes["height"].as_f64().unwrap().min(most);
        let clip = json!({"x": 0, "y": 0, "width": sizes["width"], "height": height, "scale": 1});
        let wanted = json!({"format": "png", "captureBeyondViewport": true, "clip": clip});
        let data = self.call("Page.captureScreenshot", wanted)["data"].clone();
        std::fs::write(file, STANDARD.decode(data.as_str().unwrap()).unwrap()).unwrap();
    }

    /// Errors and warnings that were told so far, of the console and of the browser itself.
    pub fn complaints(&mut self) -> Vec<Value> {
        self.eval("0");
        let of = [
            "Runtime.exceptionThrown",
            "Runtime.consoleAPICalled",
            "Log.entryAdded",
        ];
        let of = |event: &&Value| of.iter().any(|method| event["method"] == *method);
        self.events.iter().filter(of).cloned().collect()
    }

    /// The addresses of everything that it asked for so far.
    pub fn requests(&mut self) -> Vec<String> {
        self.eval("0");
        let sent = self.events.iter();
        let sent = sent.filter(|event| event["method"] == "Network.requestWillBeSent");
        sent.map(|event| {
            event["params"]["request"]["url"]
                .as_str()
                .unwrap()
                .to_owned()
        })
        .collect()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // It ends with its commands, and takes its own processes along.
        let _ = self
            .commands
            .write_all(b"{\"id\":0,\"method\":\"Browser.close\"}\0");
        let _ = self.process.wait();
    }
}
