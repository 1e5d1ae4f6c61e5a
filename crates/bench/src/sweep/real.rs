//! Real browsers in a sweep: a script publishes and watches with one of them, and does what it is
//! told a line at a time. It ends, with its browsers and its server, when its standard input does.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::Broadcast;
use super::result::Reading;
use crate::browser::{check, node_error, reason};
use crate::error::BenchError;
use crate::scenario::Arm;
use crate::stop::Stop;
use crate::{Browser, Settings, children};

const SCRIPT: &str = "bench-sweep.js";
/// Starting browsers, and one kill with all that belongs to it, may take so long besides the down
/// time.
const PATIENCE: Duration = Duration::from_secs(90);
/// The script gets so long to close its browsers.
const CLOSING: Duration = Duration::from_secs(8);
const LOOK: Duration = Duration::from_millis(20);

pub(super) struct Real {
    name: &'static str,
    child: Child,
    to: Option<ChildStdin>,
    said: mpsc::Receiver<Value>,
    complaints: mpsc::Receiver<String>,
    steady: Duration,
    version: Option<String>,
    kills: u32,
}

impl Real {
    /// Opens the browser, publishes and watches; `None` where the run was asked to end meanwhile.
    pub(super) fn open(
        settings: &Settings,
        browser: Browser,
        rtt: u64,
        arm: Arm,
        seed: u64,
        stop: &Stop,
    ) -> Result<Option<Self>, BenchError> {
        check(&settings.browser_scripts, SCRIPT)?;
        let options = json!({
            "browser": browser.name(),
            "args": arm.server_options(),
            "rttMs": rtt,
            "seed": seed >> 32,
        });
        let mut command = Command::new("node");
        command
            .current_dir(&settings.browser_scripts)
            .arg(SCRIPT)
            .arg(options.to_string())
            .env("REKINDLE_BIN", settings.server())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = children::spawn(&mut command, true).map_err(|error| node_error(&error))?;
        let (say, said) = mpsc::channel();
        let (complain, complaints) = mpsc::channel();
        if let (Some(out), Some(mut err)) = (child.stdout.take(), child.stderr.take()) {
            std::thread::spawn(move || {
                let lines = BufReader::new(out).lines().map_while(Result::ok);
                for value in lines.filter_map(|line| serde_json::from_str(&line).ok()) {
                    if say.send(value).is_err() {
                        return;
                    }
                }
            });
            std::thread::spawn(move || {
                let mut text = String::new();
                let _ = err.read_to_string(&mut text);
                let _ = complain.send(text);
            });
        }
        let mut real = Self {
            name: browser.name(),
            to: child.stdin.take(),
            child,
            said,
            complaints,
            steady: settings.steady,
            version: None,
            kills: 0,
        };
        let Some(ready) = real.hear(PATIENCE, stop)? else {
            return Ok(None);
        };
        real.version = ready["version"].as_str().map(ToOwned::to_owned);
        Ok(Some(real))
    }

    fn say(&mut self, line: &str) {
        // A script that is gone is found by what it does not say.
        if let Some(to) = &mut self.to {
            let _ = writeln!(to, "{line}");
        }
    }

    /// The next thing that the script says.
    fn hear(&mut self, patience: Duration, stop: &Stop) -> Result<Option<Value>, BenchError> {
        let deadline = Instant::now() + patience;
        loop {
            if stop.is_asked() {
                return Ok(None);
            }
            match self.said.recv_timeout(LOOK) {
                Ok(value) => return Ok(Some(value)),
                Err(mpsc::RecvTimeoutError::Timeout) if Instant::now() < deadline => {}
                Err(_) => {
                    self.close();
                    let text = self.complaints.recv_timeout(CLOSING).unwrap_or_default();
                    let why = reason(&text).unwrap_or("no result");
                    return Err(BenchError::Browser(format!(
                        "{} cannot be measured: {why}",
                        self.name
                    )));
                }
            }
        }
    }

    /// Ends the script, which closes what it has opened.
    fn close(&mut self) {
        self.to = None;
        let deadline = Instant::now() + CLOSING;
        // Its output ends with it.
        while let Ok(_) | Err(mpsc::RecvTimeoutError::Timeout) = self.said.recv_timeout(LOOK)
            && Instant::now() < deadline
        {}
        children::kill(&mut self.child);
    }
}

impl Drop for Real {
    fn drop(&mut self) {
        self.close();
    }
}

impl Broadcast for Real {
    fn calm(&mut self, stop: &Stop) -> Result<Option<Vec<f64>>, BenchError> {
        self.say(&format!("calm {}", self.steady.as_millis().max(1000)));
        let said = self.hear(PATIENCE, stop)?;
        Ok(said.map(|said| vec![said["calm"].as_f64().unwrap_or_default()]))
    }

    fn kill(&mut self, down: u64, stop: &Stop) -> Result<Option<Vec<Reading>>, BenchError> {
        self.say(&format!("kill {down}"));
        let Some(said) = self.hear(PATIENCE + Duration::from_millis(down), stop)? else {
            return Ok(None);
        };
        self.kills += 1;
        let gap = said["gap"].as_f64();
        Ok(Some(vec![Reading {
            kill: self.kills,
            down_measured_ms: said["down"].as_f64(),
            gap_ms: gap,
            over_ms: gap.map(|gap| gap - down as f64),
            new_sessions: said["sessions"]
                .as_u64()
                .and_then(|n| u32::try_from(n).ok())
                .unwrap_or_default(),
            ..Reading::default()
        }]))
    }

    fn version(&self) -> Option<String> {
        self.version.clone()
    }
}
