//! What is on the command line of `ceilings`.

use std::path::PathBuf;

use clap::Args;

use super::CeilingsSettings;
use crate::media::CameraSettings;

#[derive(Args)]
pub(crate) struct CeilingsArgs {
    /// Numbers of viewers, each of which has a socket
    #[arg(long, value_name = "N", value_delimiter = ',', default_value = "200,500",
          value_parser = clap::value_parser!(u32).range(1..=20_000))]
    viewers: Vec<u32>,

    /// Length of an RTP packet before encryption, in bytes
    #[arg(long, value_name = "N", default_value_t = 1200,
          value_parser = clap::value_parser!(u32).range(29..=1400))]
    bytes: u32,

    /// Bursts of each way of sending, of 16 packets to each viewer
    #[arg(long, value_name = "N", default_value_t = 25,
          value_parser = clap::value_parser!(u32).range(1..))]
    bursts: u32,

    /// Video bits per second of a stream with sound, as in `load`, whose packets are sent as a
    /// server that gathers for 4 ms has them
    #[arg(long, value_name = "N", default_value_t = 2_000_000,
          value_parser = clap::value_parser!(u32).range(8000..=20_000_000))]
    bitrate: u32,

    /// Video frames per second of it
    #[arg(long, value_name = "N", default_value_t = 30,
          value_parser = clap::value_parser!(u32).range(1..=240))]
    fps: u32,

    /// Write the result as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

impl CeilingsArgs {
    /// The settings of the run.
    pub(crate) fn settings(self) -> CeilingsSettings {
        CeilingsSettings {
            viewers: self.viewers.into_iter().map(|n| n as usize).collect(),
            bytes: self.bytes as usize,
            bursts: self.bursts as usize,
            camera: CameraSettings {
                fps: self.fps,
                video_bitrate: self.bitrate,
            },
            json: self.json,
        }
    }
}
