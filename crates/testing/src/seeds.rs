//! The seeds of the fuzz targets, the corpus that fuzzing has found, and mutations of both that are
//! the same in every run: a short form of `cargo fuzz`.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::Command;

/// Mutations of all seeds together, a target.
const MUTATIONS: usize = 1_000;

/// xorshift64* (Vigna, 2016).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() >> 16) as usize % limit.max(1)
    }
}

/// Some changes: bits, special bytes, pieces that are removed, repeated, or taken from another
/// seed.
fn mutate(random: &mut Random, seeds: &[Vec<u8>]) -> Vec<u8> {
    let mut data = seeds[random.below(seeds.len())].clone();
    for _ in 0..=random.below(6) {
        let at = random.below(data.len());
        let length = random.below(1 + (data.len() - at.min(data.len())).min(32));
        match random.below(6) {
            0 if !data.is_empty() => data[at] ^= 1 << random.below(8),
            1 if !data.is_empty() => {
                data[at] = [0, 1, 0x7f, 0x80, 0xff, b'\n', b' ', b':'][random.below(8)]
            }
            2 => drop(data.drain(at..at + length)),
            3 => {
                let piece = data[at..at + length].to_vec();
                data.splice(at..at, piece);
            }
            4 => data.truncate(at),
            _ => {
                let other = &seeds[random.below(seeds.len())];
                let from = random.below(other.len());
                let end = other.len().min(from + random.below(64));
                data.splice(at..at, other[from..end].iter().copied());
            }
        }
    }
    data
}

/// The files of a folder, in a fixed order.
fn inputs(folder: &Path) -> Vec<Vec<u8>> {
    let mut files: Vec<_> = fs::read_dir(folder)
        .unwrap_or_else(|e| panic!("{}: {e}", folder.display()))
        .map(|entry| entry.expect("an entry").path())
        .collect();
    files.sort();
    files
        .iter()
        .map(|path| fs::read(path).expect("an input"))
        .collect()
}

/// What hours of `cargo fuzz` have found to reach code that nothing else reaches.
fn corpus(name: &str) -> Vec<Vec<u8>> {
    let archive = crate::file(&format!("fuzz/minimised/{name}.tar.gz"));
    let folder = tempfile::tempdir().expect("a folder");
    let mut tar = Command::new("tar");
    tar.arg("-xzf").arg(&archive).arg("-C").arg(folder.path());
    assert!(
        tar.status().expect("tar runs").success(),
        "{}",
        archive.display()
    );
    inputs(folder.path())
}

/// Runs a target over all of these.
///
/// # Panics
/// With the input at which the target does.
pub fn run(name: &str, target: fn(&[u8])) {
    let folder = crate::file("fuzz/seeds").join(name);
    let mut seeds = inputs(&folder);
    assert!(!seeds.is_empty(), "no seeds in {}", folder.display());
    let found = corpus(name);
    assert!(found.len() > 50, "{} inputs", found.len());
    seeds.extend(found);
    let check = |data: &[u8]| {
        if catch_unwind(AssertUnwindSafe(|| target(data))).is_err() {
            panic!(
                "{name} fails with the input {:?}",
                data.escape_ascii().to_string()
            );
        }
    };
    check(&[]);
    seeds.iter().for_each(|seed| check(seed));
    let mut random = Random(0x5eed);
    for _ in 0..MUTATIONS {
        check(&mutate(&mut random, &seeds));
    }
}
