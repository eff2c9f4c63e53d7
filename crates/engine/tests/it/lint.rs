//! What is written keeps the writer's checklist, by the judgement of a linter that shares no code with the engine.

use larder_testkit::MemoryDestination;
use larder_testkit::linter::{IndexRule, Rules, lint};

use crate::support::{Fixture, fixtures};

/// What a set made by Duplicati may be like.
pub fn rules_of(set: &Fixture) -> Rules {
    Rules {
        index: if set.has("--index-file-policy=None") {
            IndexRule::None
        } else if set.has("--index-file-policy=Lookup") {
            IndexRule::Lookup
        } else {
            IndexRule::Full
        },
        // Compaction leaves some waste, a killed run leaves what it had sent.
        unused_blocks: ["compacted", "interrupted"].contains(&set.name.as_str()),
    }
}

/// What the linter rightly finds in sets of Duplicati; no reader is disturbed.
const FAULTS_OF_DUPLICATI: [(&str, &str); 2] = [
    // The metadata of the link that leads nowhere was stored, and then the link was left out.
    ("follow-links", "1 blocks are used by no version"),
    // The list that it wrote for the killed run: the file's row of one run with the metadata of the other.
    (
        "interrupted",
        "\"/srv/fixture/home/media/big.bin\": 20240802T230653Z is not the time in its metadata",
    ),
];

/// Faults of a set, or of what it became, other than those it came with.
pub fn new_faults(set: &Fixture, destination: &MemoryDestination) -> Vec<String> {
    let files = destination.files();
    let mut faults = lint(&files, set.passphrase.as_deref(), rules_of(set));
    for (name, fault) in FAULTS_OF_DUPLICATI {
        if name == set.name {
            let before = faults.len();
            faults.retain(|found| !found.ends_with(fault));
            assert_eq!(before - faults.len(), 1, "{name}: {fault}");
        }
    }
    faults
}

#[test]
fn sets_made_by_duplicati_have_no_other_faults() {
    let mut faults = Vec::new();
    for set in fixtures() {
        let found = new_faults(&set, &set.destination());
        faults.extend(
            found
                .into_iter()
                .map(|fault| format!("{}: {fault}", set.name)),
        );
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}
