//! Looks for byte strings in files and in the memory of processes.
#![allow(dead_code)] // Not every test file needs all of it.

use std::fs;
use std::os::unix::fs::FileExt;

/// Byte strings to look for, each with a name.
#[derive(Default)]
pub struct Needles {
    all: Vec<(String, Vec<u8>)>,
    /// Whether any begins with these two bytes.
    begins: Vec<bool>,
}

impl Needles {
    /// Adds one of at least 8 bytes: shorter ones are found by chance.
    pub fn add(&mut self, name: impl Into<String>, bytes: &[u8]) {
        assert!(bytes.len() >= 8, "too short to mean anything");
        self.begins.resize(1 << 16, false);
        self.begins[usize::from(u16::from_be_bytes([bytes[0], bytes[1]]))] = true;
        self.all.push((name.into(), bytes.to_vec()));
    }

    pub fn len(&self) -> usize {
        self.all.len()
    }

    pub fn bytes(&self, index: usize) -> &[u8] {
        &self.all[index].1
    }

    /// The names of those that are in the haystack, once for each place.
    pub fn find<'a>(&'a self, haystack: &[u8]) -> Vec<&'a str> {
        let mut found = Vec::new();
        let mut last = 0_u8;
        for (at, &byte) in haystack.iter().enumerate() {
            let begin = usize::from(u16::from_be_bytes([last, byte]));
            last = byte;
            if at == 0 || !self.begins[begin] {
                continue;
            }
            let rest = &haystack[at - 1..];
            let here = self
                .all
                .iter()
                .filter(|(_, needle)| rest.starts_with(needle));
            found.extend(here.map(|(name, _)| name.as_str()));
        }
        found
    }
}

/// All of a process's writable memory with the kernel's line about each part, if we may look at it:
/// what a core dump would have, less the program itself.
pub fn memory(pid: &str) -> Option<Vec<(String, Vec<u8>)>> {
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).ok()?;
    let memory = fs::File::open(format!("/proc/{pid}/mem")).ok()?;
    let mut all = Vec::new();
    for line in maps.lines() {
        let mut words = line.split(' ');
        let (bounds, access) = (words.next()?, words.next()?);
        if !access.starts_with("rw") {
            continue;
        }
        let (start, end) = bounds.split_once('-')?;
        let [start, end] =
            [start, end].map(|text| u64::from_str_radix(text, 16).expect("hexadecimal"));
        let mut part = vec![0; usize::try_from(end - start).expect("it fits")];
        // Some mappings are the kernel's own.
        if memory.read_exact_at(&mut part, start).is_ok() {
            all.push((line.to_owned(), part));
        }
    }
    Some(all)
}
