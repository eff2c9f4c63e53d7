//! How much a run unpacks from tars that became far shorter than data do.
//!
//! A tar may be 1,024 times as long as its volume (`larder_volume`), and it is unpacked anew each time the volume is
//! opened. Whoever owns the destination could let a run write a thousand times what it fetches (docs/threat-model.md).

use std::fmt;
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use larder_volume::{ReadAt, Scratch};

use crate::data::Sink;

/// What one run has unpacked beyond what is usual, and may.
#[derive(Debug)]
pub(crate) struct Unpacking {
    unusual: Arc<AtomicU64>,
    most: u64,
}

impl Default for Unpacking {
    fn default() -> Self {
        Self::up_to(MOST_UNUSUAL)
    }
}

impl Unpacking {
    /// With another bound.
    pub(crate) fn up_to(most: u64) -> Self {
        Self {
            unusual: Arc::default(),
            most,
        }
    }

    /// Puts a sink for a tar out of `packed` bytes under the bound. `volume_len` is that of volumes as they are written.
    pub(crate) fn bounded(&self, sink: Sink, packed: u64, volume_len: u64) -> Box<dyn Scratch> {
        let usual = packed.saturating_mul(USUAL_EXPANSION);
        Box::new(Bounded {
            sink,
            usual: usual.max(ALWAYS).max(volume_len.saturating_add(ENDING)),
            unusual: Arc::clone(&self.unusual),
            most: self.most,
        })
    }
}

struct Bounded {
    sink: Sink,
    /// Bytes of this tar that do not count.
    usual: u64,
    unusual: Arc<AtomicU64>,
    most: u64,
}

impl Write for Bounded {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let len = buffer.len() as u64;
        let beyond = (self.sink.len() + len).saturating_sub(self.usual).min(len);
        if beyond > 0 {
            let before = self.unusual.fetch_add(beyond, Ordering::Relaxed);
            if before.saturating_add(beyond) > self.most {
                return Err(io::Error::other(TooMuch { most: self.most }));
            }
        }
        self.sink.write(buffer)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Scratch for Bounded {
    fn finish(self: Box<Self>) -> io::Result<Box<dyn ReadAt>> {
        Box::new(self.sink).finish()
    }
}

/// Why a tar is not unpacked any more.
#[derive(Debug)]
struct TooMuch {
    most: u64,
}

impl fmt::Display for TooMuch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "it unpacks to more than {USUAL_EXPANSION} times its length, and so did others of together {} in this run; say --{}=… if this backup was made with such large volumes",
            larder_options::value::format_size(self.most),
            larder_options::engine::DBLOCK_SIZE.decl.name,
        )
    }
}

impl std::error::Error for TooMuch {}

/// Texts and logs become 50 times shorter at best, but for what repeats itself over and over.
const USUAL_EXPANSION: u64 = 64;
/// What a tar may have in any case, as in `larder_volume`.
const ALWAYS: u64 = 64 << 20;
/// What a tar has beyond the size of its volume: the last block, its directory.
const ENDING: u64 = 16 << 20;
/// What may be unpacked beyond that in a run: some minutes of writing to a slow disk.
const MOST_UNUSUAL: u64 = 16 << 30;

#[cfg(test)]
mod tests {
    use larder_destination::{FixedClock, SystemRandom};
    use larder_options::{Origin, Values};
    use larder_volume::{ArchiveWriter, Compression, PackMethod, Packer, VolumeName, VolumeTime};

    use super::*;
    use crate::data::VolumeData;
    use crate::error::Reach;
    use crate::{Cancel, Repository, Run, Setup, Silent, network_runtime};

    /// A tar of 80 MiB that is some 800 times shorter as a volume.
    fn trap() -> VolumeData {
        let mut packer = Packer::new(PackMethod::Stored);
        let kind = Compression::TarZstd;
        let mut tar = ArchiveWriter::create(Vec::new(), kind, None, VolumeTime(0)).unwrap();
        let noise = larder_testkit::Rng::new(1).bytes(100_000);
        tar.add("noise", &noise, &mut packer).unwrap();
        tar.add("zeros", &vec![0; 80 << 20], &mut packer).unwrap();
        VolumeData::Memory(tar.finish().unwrap().into())
    }

    /// How often such a volume is opened in a run, of four times.
    fn opened(options: &[(&str, &str)]) -> usize {
        let mut values = Values::new();
        for (name, value) in options {
            values.set(name, Some(value), Origin::CommandLine);
        }
        let temp = tempfile::tempdir().unwrap();
        let runtime = network_runtime().unwrap();
        let setup = Setup {
            destination: larder_testkit::MemoryDestination::new().shared(),
            values,
            passphrase: None,
            state_path: temp.path().join("catalog"),
            clock: Arc::new(FixedClock::new(0)),
            random: Arc::new(SystemRandom),
            runtime: runtime.handle().clone(),
            writes: false,
            foreign_database: None,
        };
        let repository = Repository::open(setup).unwrap();
        let mut run: Run = repository.run(Arc::new(Silent), Cancel::new()).unwrap();
        run.unpacking = Unpacking::up_to(40 << 20);
        let (name, data) = (VolumeName::parse("p-b0.dblock.tzstd", false), trap());
        let name = name.unwrap();
        let mut opened = 0;
        for _ in 0..4 {
            match run.open_archive(&name, data.clone()) {
                Ok(archive) => opened += archive.entries().len() / 2,
                Err(error) => {
                    assert_eq!(error.reach(), Reach::Volume);
                    let source = std::error::Error::source(&error).unwrap().to_string();
                    assert!(source.contains("more than 64 times"), "{source}");
                }
            }
        }
        opened
    }

    /// It was unpacked as often as it was opened, however often that was.
    #[test]
    fn what_packs_too_well_is_unpacked_a_few_times_only() {
        // 16 MiB of each count.
        assert_eq!(opened(&[]), 2);
        // Such volumes may be a user's own.
        assert_eq!(opened(&[("dblock-size", "100mb")]), 4);
    }
}
