//! Runs every target on mutated seeds for some seconds, without any fuzzing tool.
//!
//! `smoke [--seconds N] [--seed S] [--target NAME]`: N seconds for each target. The run is decided by the
//! seed, which is printed; an input that fails is written to `fuzz/artifacts/`.

use std::hash::{BuildHasher, RandomState};
use std::panic;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use larder_fuzz::{TARGETS, Target};

fn main() -> ExitCode {
    let options = match Options::read(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(message) => {
            eprintln!("{message}");
            return ExitCode::from(2);
        }
    };
    println!("seed {}", options.seed);
    let mut failed = false;
    for (name, target) in TARGETS {
        if options.target.as_ref().is_none_or(|wanted| wanted == name) {
            failed |= !run(name, *target, &options);
        }
    }
    if failed {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    }
}

struct Options {
    seconds: f64,
    seed: u64,
    target: Option<String>,
}

impl Options {
    fn read(mut words: impl Iterator<Item = String>) -> Result<Options, String> {
        let random = RandomState::new().hash_one("seed");
        let mut options = Options {
            seconds: 5.0,
            seed: random,
            target: None,
        };
        while let Some(word) = words.next() {
            let value = words
                .next()
                .ok_or_else(|| format!("{word} needs a value"))?;
            let wrong = || format!("wrong value of {word}: {value}");
            match word.as_str() {
                "--seconds" => options.seconds = value.parse().map_err(|_| wrong())?,
                "--seed" => options.seed = value.parse().map_err(|_| wrong())?,
                "--target" if TARGETS.iter().any(|(name, _)| *name == value) => {
                    options.target = Some(value)
                }
                _ => return Err(wrong()),
            }
        }
        Ok(options)
    }
}

/// Runs one target; false when an input failed.
fn run(name: &str, target: Target, options: &Options) -> bool {
    let seeds = read_seeds(&root().join("corpus").join(name));
    let mut mutator = Mutator {
        state: options.seed | 1,
    };
    let start = Instant::now();
    let mut runs: usize = 0;
    while runs < seeds.len() || start.elapsed().as_secs_f64() < options.seconds {
        // First every seed as it is.
        let input = seeds
            .get(runs)
            .cloned()
            .unwrap_or_else(|| mutator.mutated(&seeds));
        let begun = Instant::now();
        let result = panic::catch_unwind(|| target(&input));
        let took = begun.elapsed();
        if result.is_err() || took > SLOW {
            let kept = keep(name, &input);
            println!(
                "{name}: FAILED after {took:.1?} in run {runs} of seed {}: {}",
                options.seed,
                kept.display()
            );
            return false;
        }
        runs += 1;
    }
    println!("{name}: {runs} runs from {} seeds", seeds.len());
    true
}

fn read_seeds(folder: &Path) -> Vec<Vec<u8>> {
    let listing =
        std::fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut paths: Vec<PathBuf> = listing
        .map(|entry| entry.expect("listing").path())
        .collect();
    // The order of a listing differs between machines.
    paths.sort();
    let seeds: Vec<Vec<u8>> = paths
        .iter()
        .map(|path| std::fs::read(path).expect("reading a seed"))
        .collect();
    assert!(!seeds.is_empty(), "no seeds in {}", folder.display());
    seeds
}

fn keep(name: &str, input: &[u8]) -> PathBuf {
    let folder = root().join("artifacts");
    let path = folder.join(format!("{name}-{}.bin", input.len()));
    let written = std::fs::create_dir_all(&folder).and_then(|()| std::fs::write(&path, input));
    if let Err(error) = written {
        println!("{}: {error}", path.display());
    }
    path
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Changes seeds at random, decided by its state alone.
struct Mutator {
    state: u64,
}

impl Mutator {
    fn next(&mut self) -> u64 {
        // xorshift64*, G. Marsaglia 2003 and S. Vigna 2016.
        self.state ^= self.state >> 12;
        self.state ^= self.state << 25;
        self.state ^= self.state >> 27;
        self.state.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() >> 16) as usize % bound.max(1)
    }

    fn mutated(&mut self, seeds: &[Vec<u8>]) -> Vec<u8> {
        let mut input = seeds[self.below(seeds.len())].clone();
        for _ in 0..=self.below(6) {
            self.change(&mut input, seeds);
        }
        input.truncate(MAX_LEN);
        input
    }

    fn change(&mut self, input: &mut Vec<u8>, seeds: &[Vec<u8>]) {
        let at = self.below(input.len() + 1);
        let most = 1 << self.below(9);
        let end = (at + self.below(most)).min(input.len());
        match self.below(9) {
            0 => {
                let bit = self.below(8);
                if let Some(byte) = input.get_mut(at) {
                    *byte ^= 1 << bit;
                }
            }
            1 => {
                let value = self.next() as u8;
                if let Some(byte) = input.get_mut(at) {
                    *byte = value;
                }
            }
            2 => {
                let value = NUMBERS[self.below(NUMBERS.len())];
                let len = 1 << self.below(4);
                let is_big_endian = self.below(2) == 0;
                let little = value.to_le_bytes();
                let mut bytes = little[..len].to_vec();
                if is_big_endian {
                    bytes.reverse();
                }
                for (to, from) in input.iter_mut().skip(at).zip(bytes) {
                    *to = from;
                }
            }
            3 => drop(input.drain(at..end)),
            4 => {
                let part = input[at..end].to_vec();
                let to = self.below(input.len() + 1);
                input.splice(to..to, part);
            }
            5 => {
                let bytes: Vec<u8> = (0..end - at).map(|_| self.next() as u8).collect();
                input.splice(at..at, bytes);
            }
            6 => {
                let word = WORDS[self.below(WORDS.len())];
                input.splice(at..at, word.bytes());
            }
            7 => {
                let other = &seeds[self.below(seeds.len())];
                let from = self.below(other.len() + 1);
                input.truncate(at);
                input.extend_from_slice(&other[from..]);
            }
            _ => input.truncate(at),
        }
    }
}

/// Numbers at the edges of types and of tables.
const NUMBERS: &[u64] = &[
    0,
    1,
    2,
    16,
    0x7f,
    0x80,
    0xff,
    0x100,
    0x7fff,
    0x8000,
    0xffff,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_fffe,
    0xffff_ffff,
    0x7fff_ffff_ffff_ffff,
    u64::MAX,
];
/// Pieces of the texts that the targets read.
const WORDS: &[&str] = &[
    "\"",
    "\\",
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    "-",
    ".",
    "/",
    "=",
    "?",
    "&",
    "%",
    "@",
    "null",
    "true",
    "1e9",
    "-1",
    "9223372036854775808",
    "\\ud83d",
    "\\udcff",
    "\\u0000",
    "\u{feff}",
    "[[[[[[[[",
    "{\"a\":",
    "\0",
];
const MAX_LEN: usize = 1 << 16;
const SLOW: Duration = Duration::from_secs(10);
