//! What is on the command line of `load`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::affinity::Cores;
use super::arm::{Other, Subject};
use super::{LoadSettings, watcher};
use crate::error::BenchError;
use crate::media::{CameraSettings, Packets};
use crate::program;
use crate::target::Target;
use crate::{Browser, Manner};

/// Payload of a video packet that has 1,200 bytes with its header and extensions.
const LONGEST: usize = 1172;

#[derive(Args)]
pub(crate) struct LoadArgs {
    /// A server's program, or NAME=PATH; several take turns [default: `rekindle` beside this
    /// program, unless there is --against]
    #[arg(long, value_name = "PATH")]
    server: Vec<String>,

    /// An option for each of these servers, such as --server-option=--resume-window=10s; several
    /// times for several
    #[arg(long, value_name = "OPTION", allow_hyphen_values = true)]
    server_option: Vec<String>,

    /// Numbers of media threads, passed on to servers that have --threads; each takes turns
    #[arg(long, value_name = "N", value_delimiter = ',')]
    threads: Vec<usize>,

    /// A server that runs already, as the URL of its WHEP or WHIP endpoint; several take turns,
    /// with each --server too
    #[arg(long, value_name = "URL")]
    against: Vec<String>,

    /// Its process, whose CPU time and memory are read; of several, each in the order of --against
    #[arg(long, value_name = "PID", requires = "against")]
    server_pid: Vec<u32>,

    /// What it is called in the result, likewise [default: the URL]
    #[arg(long, value_name = "NAME", requires = "against")]
    name: Vec<String>,

    /// Bearer token for these
    #[arg(
        long,
        value_name = "TOKEN",
        env = "REKINDLE_BENCH_TOKEN",
        hide_env_values = true,
        requires = "against"
    )]
    token: Option<String>,

    /// Numbers of viewers, each measured by itself
    #[arg(long, value_name = "N", value_delimiter = ',', default_value = "200,500",
          value_parser = clap::value_parser!(u32).range(1..=20_000))]
    viewers: Vec<u32>,

    /// Video bits per second
    #[arg(long, value_name = "N", default_value_t = 2_000_000,
          value_parser = clap::value_parser!(u32).range(8000..=50_000_000))]
    bitrate: u32,

    /// Video frames per second
    #[arg(long, value_name = "N", default_value_t = 30,
          value_parser = clap::value_parser!(u32).range(1..=240))]
    fps: u32,

    /// Sound alone: a packet of 100 bytes every 20 ms
    #[arg(long)]
    sound_only: bool,

    /// Time between two packets of a frame, in microseconds; 0 for all at once
    #[arg(long, value_name = "US", default_value_t = 500)]
    pace: u64,

    /// Cut frames into packets of nearly the same length, as libwebrtc does, in place of full ones
    /// and a rest
    #[arg(long)]
    even: bool,

    /// How long each turn is measured, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 10,
          value_parser = clap::value_parser!(u64).range(1..=3600))]
    seconds: u64,

    /// Turns of each server; of several, the medians are told
    #[arg(long, value_name = "N", default_value_t = 3,
          value_parser = clap::value_parser!(u32).range(1..))]
    turns: u32,

    /// Datagrams lost on the way to the viewers, in percent
    #[arg(long, value_name = "PERCENT", default_value_t = 0.0, value_parser = crate::args::percent)]
    loss: f64,

    /// Datagrams lost on the way from the publisher, in percent
    #[arg(long, value_name = "PERCENT", default_value_t = 0.0, value_parser = crate::args::percent)]
    publisher_loss: f64,

    /// Cores for the server [default: three quarters, where there are four; else all]
    #[arg(long, value_name = "CORE", value_delimiter = ',')]
    server_cores: Option<Vec<usize>>,

    /// Cores for the clients, which run a thread on each [default: the rest, where there are four;
    /// else all, with one thread]
    #[arg(long, value_name = "CORE", value_delimiter = ',')]
    client_cores: Option<Vec<usize>>,

    /// Seed of all that is random in the clients and on the way
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,

    /// Folder in which the servers' folders are made [default: the system's place for temporary
    /// files]
    #[arg(long, value_name = "DIR")]
    folder: Option<PathBuf>,

    /// Write the result as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,

    /// Write the result as one self-contained page
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
}

/// A name and a path. A path without a name is called by its place among the servers: A, B, C.
fn named(text: &str, place: usize) -> (String, PathBuf) {
    match text.split_once('=') {
        Some((name, path)) if !name.is_empty() && !name.contains('/') => {
            (name.to_owned(), path.into())
        }
        _ => {
            let letter = char::from(b'A' + u8::try_from(place % 26).unwrap_or_default());
            (letter.to_string(), text.into())
        }
    }
}

impl LoadArgs {
    /// What the run goes by.
    ///
    /// # Errors
    /// Where it cannot be told which server is meant.
    pub(crate) fn settings(self) -> Result<LoadSettings, BenchError> {
        let mut programs = Vec::new();
        if self.server.is_empty() && self.against.is_empty() {
            programs.push(("rekindle".to_owned(), program::path(None)?));
        }
        for (place, text) in self.server.iter().enumerate() {
            let (name, path) = named(text, place);
            programs.push((name, program::path(Some(path))?));
        }
        let others = self.against.iter().enumerate().map(|(place, url)| {
            Ok(Other {
                name: self.name.get(place).unwrap_or(url).clone(),
                target: Target::other(url, self.token.clone())?,
                url: url.clone(),
                process: self.server_pid.get(place).copied(),
            })
        });
        let subject = Subject {
            programs,
            threads: self.threads,
            options: self.server_option,
            others: others.collect::<Result<_, BenchError>>()?,
        };
        Ok(LoadSettings {
            subject,
            viewers: self.viewers.into_iter().map(|n| n as usize).collect(),
            camera: CameraSettings {
                fps: self.fps,
                video_bitrate: self.bitrate,
            },
            packets: Packets {
                video: !self.sound_only,
                longest: LONGEST,
                even: self.even,
                pace: Duration::from_micros(self.pace),
                stamp: Some(watcher::unix_ns),
            },
            time: Duration::from_secs(self.seconds),
            turns: self.turns,
            loss: self.loss,
            publisher_loss: self.publisher_loss,
            manner: Manner::of(Browser::default()),
            cores: Cores::plan(self.server_cores, self.client_cores),
            seed: self.seed,
            folder: self.folder,
            json: self.json,
            html: self.html,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_have_the_name_that_was_given_or_a_letter() {
        assert_eq!(named("old=a/b", 0), ("old".into(), "a/b".into()));
        assert_eq!(named("/x=y/z", 1), ("B".into(), "/x=y/z".into()));
    }
}
