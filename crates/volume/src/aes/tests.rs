use std::io::{self, Read, Write};

use proptest::prelude::*;

use super::*;
use crate::HashAlgorithm;
use crate::measure::timed;

const PASSWORD: &str = "pass";

fn seed() -> AesSeed {
    let counting = |start: u8| std::array::from_fn(|index| start + u8::try_from(index).unwrap());
    AesSeed {
        public_iv: counting(0),
        session_iv: counting(0x10),
        session_key: std::array::from_fn(|i| 0x20 + i as u8),
    }
}

fn standard() -> AesHeader {
    AesHeader::standard("SharpAESCrypt v3.0.0.0", "2026-01-02", "03-04-05")
}

fn v3(iterations: u32) -> AesHeader {
    AesHeader {
        version: AesVersion::V3 { iterations },
        extensions: Vec::new(),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn stream(plain: &[u8], header: &AesHeader) -> Vec<u8> {
    // A hash of the same kind as the authentication code is computed in step with it, others by themselves.
    let [bytes, again] = [HashAlgorithm::Sha256, HashAlgorithm::Md5].map(|algorithm| {
        let mut writer =
            AesWriter::create(Vec::new(), PASSWORD, header, &seed(), algorithm).unwrap();
        writer.write_all(plain).unwrap();
        writer.flush().unwrap();
        let (bytes, hash) = writer.finish().unwrap();
        assert_eq!(hash, algorithm.digest(&bytes));
        bytes
    });
    assert_eq!(bytes, again);
    bytes
}

fn read(bytes: &[u8], password: &str) -> Result<Vec<u8>> {
    let whole = decrypt_to_vec(bytes, password, AesReadOptions::default());
    let mut streamed = Vec::new();
    let result = AesReader::open(bytes, password)
        .map_err(|error| error.to_string())
        .and_then(|mut reader| {
            reader
                .read_to_end(&mut streamed)
                .map_err(|error| error.to_string())
        });
    let mut in_place = bytes.to_vec();
    let result_in_place = decrypt_in_place(&mut in_place, password, AesReadOptions::default());
    match &whole {
        Ok(plain) => assert_eq!((&in_place, result_in_place.is_ok()), (plain, true)),
        Err(error) => assert_eq!(result_in_place.unwrap_err().to_string(), error.to_string()),
    }
    match &whole {
        Ok(plain) => assert_eq!((&streamed, result.is_ok()), (plain, true)),
        Err(error) => assert_eq!(result.unwrap_err(), error.to_string()),
    }
    whole
}

#[test]
fn the_version_2_vector() {
    // docs/format/vectors.md
    let key = key::header_key(AesVersion::V2, PASSWORD, &seed().public_iv);
    assert_eq!(
        hex(key.as_slice()),
        "963ae8c8100e43904e00055b5670b58b51f2e4fe0da5d01b7210a58107adf9db"
    );

    let bytes = stream(b"hello\n", &standard());
    assert_eq!(bytes.len(), 365);
    let start = "41455302000021435245415445445f42590053686172704145534372797074207";
    assert_eq!(hex(&bytes)[..start.len()], *start);
    for (range, wanted) in [
        (220..236, "000102030405060708090a0b0c0d0e0f"),
        (
            236..284,
            "43c669ec1e71bdb34c3675b878c0fa9d1a9752d703224f842da83aeb6226a9f2a1ee6c8b9fc205bc05eedc4cf3b23477",
        ),
        (
            284..316,
            "48f7a12ab6c45df42b2699542d3eabf857caccf3ab41075ae611b943645b4899",
        ),
        (316..332, "ea92b0071c600d82346b3d65fdcc1901"),
        (332..333, "06"),
        (
            333..365,
            "d515dd981f1e5ee807ea567840c86b9c6d76631977d45e26a5992b4de86e586c",
        ),
    ] {
        assert_eq!(hex(&bytes[range.clone()]), wanted, "{range:?}");
    }
    assert_eq!(read(&bytes, PASSWORD).unwrap(), b"hello\n");

    let aligned = stream(b"0123456789abcdef", &standard());
    assert_eq!((aligned.len(), aligned[332]), (365, 0));
    assert_eq!(read(&aligned, PASSWORD).unwrap(), b"0123456789abcdef");
    let empty = stream(b"", &standard());
    assert_eq!(empty.len(), 349);
    assert_eq!(read(&empty, PASSWORD).unwrap(), b"");
    assert_eq!(stream(b"", &AesHeader::minimal()).len(), 349 - 213);
}

#[test]
fn the_version_3_vector() {
    // docs/format/vectors.md
    let key = key::header_key(
        AesVersion::V3 { iterations: 1000 },
        PASSWORD,
        &seed().public_iv,
    );
    assert_eq!(
        hex(key.as_slice()),
        "827c811ce5346812d95651ab6937eb656b99751861a1442b3adc75ebf8c4c99b"
    );
    let bytes = stream(b"hello\n", &v3(1000));
    let wanted = concat!(
        "41455303000000000003e8",
        "000102030405060708090a0b0c0d0e0f",
        "b726e03008357e0705ebbe033a51abfa0c55da10572ac0f17a8795ffbb537152fae0e7053d89efc2fd4666f169972875",
        "c0b364fb2a5e79c7d83d092cbdbabe5da8c84a41f003d90db6aeef0fc4847777",
        "ea92b0071c600d82346b3d65fdcc1901",
        "d515dd981f1e5ee807ea567840c86b9c6d76631977d45e26a5992b4de86e586c",
    );
    assert_eq!(hex(&bytes), wanted);
    assert_eq!(bytes.len(), 155);
    assert_eq!(read(&bytes, PASSWORD).unwrap(), b"hello\n");
    // A full block of padding on aligned data.
    assert_eq!(stream(&[7; 16], &v3(1)).len(), 155 + 16);
    assert_eq!(stream(b"", &v3(1)).len(), 155);
}

#[test]
fn all_lengths_round_trip() {
    let data: Vec<u8> = (0..3 * CHUNK)
        .map(|index| (index * 7 % 256) as u8)
        .collect();
    let edges = [
        CHUNK - 1,
        CHUNK,
        CHUNK + 1,
        CHUNK + HELD,
        2 * CHUNK - 16,
        2 * CHUNK,
        3 * CHUNK,
    ];
    for header in [AesHeader::minimal(), v3(1)] {
        for len in [0, 1, 15, 16, 17, 31, 32, 33, 47, 48, 49]
            .into_iter()
            .chain(edges)
        {
            let plain = &data[..len];
            let bytes = stream(plain, &header);
            assert_eq!(
                bytes,
                encrypt_to_vec(plain, PASSWORD, &header, &seed()).unwrap(),
                "{len}"
            );
            assert_eq!(read(&bytes, PASSWORD).unwrap(), plain, "{len}");
        }
    }
}

#[test]
fn non_ascii_passphrases() {
    for header in [AesHeader::minimal(), v3(1)] {
        let bytes = encrypt_to_vec(b"x", "correct horse ünd battery 😀", &header, &seed()).unwrap();
        assert_eq!(read(&bytes, "correct horse ünd battery 😀").unwrap(), b"x");
        assert!(matches!(
            read(&bytes, "correct horse und battery 😀"),
            Err(Error::WrongPassword)
        ));
    }
}

#[test]
fn errors_tell_what_is_wrong() {
    for header in [AesHeader::minimal(), v3(1)] {
        let bytes = stream(&[5; 100], &header);
        assert!(matches!(read(&bytes, "other"), Err(Error::WrongPassword)));
        assert!(matches!(read(&bytes, ""), Err(Error::WrongPassword)));
        let header_len =
            stream(b"", &AesHeader::minimal()).len() - 33 + if header == v3(1) { 4 } else { 0 };
        for at in 0..bytes.len() {
            if header == v3(1) && (8..10).contains(&at) {
                // A number of rounds that is allowed and takes seconds.
                continue;
            }
            let mut damaged = bytes.clone();
            damaged[at] ^= 0x40;
            let error = read(&damaged, PASSWORD).unwrap_err();
            let fits = match at {
                0..3 => matches!(error, Error::Malformed { .. }),
                3 => matches!(error, Error::Unsupported(_)),
                4 => matches!(error, Error::Malformed { .. }),
                // A length of extensions, a number of rounds.
                5..11 => matches!(
                    error,
                    Error::Malformed { .. } | Error::WrongPassword | Error::TooLarge { .. }
                ),
                _ if at < header_len => matches!(error, Error::WrongPassword),
                _ => matches!(error, Error::Tampered(_)),
            };
            assert!(fits, "byte {at}: {error}");
        }
        for len in 0..bytes.len() {
            let error = read(&bytes[..len], PASSWORD).unwrap_err();
            assert!(
                matches!(error, Error::Malformed { .. } | Error::Tampered(_)),
                "{len}: {error}"
            );
        }
    }
    assert!(matches!(
        read(b"AES\x01\0more", PASSWORD),
        Err(Error::Unsupported(_))
    ));
    assert!(matches!(
        read(b"AES\x00\0more", PASSWORD),
        Err(Error::Unsupported(_))
    ));
    assert!(matches!(
        read(b"PK\x03\x04\0", PASSWORD),
        Err(Error::Malformed { .. })
    ));
}

#[test]
fn a_failed_reader_stays_failed() {
    let mut bytes = stream(&[5; 100], &AesHeader::minimal());
    *bytes.last_mut().unwrap() ^= 1;
    let mut reader = AesReader::open(bytes.as_slice(), PASSWORD).unwrap();
    let error = reader.read(&mut [0; 10]).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    assert!(error.get_ref().unwrap().downcast_ref::<Error>().is_some());
    assert!(reader.read(&mut [0; 10]).is_err());
}

/// Makes a version 2 stream of one block with padding of the test's choice.
fn with_padding(block: [u8; 16], length_byte: u8) -> Vec<u8> {
    let mut bytes = header::encode(PASSWORD, &AesHeader::minimal(), &seed()).unwrap();
    let session = Session::of(&seed());
    let mut encrypted = block;
    session.encryptor().apply(&mut encrypted);
    let mut mac = session.mac();
    mac.update(&encrypted);
    bytes.extend_from_slice(&encrypted);
    bytes.push(length_byte);
    bytes.extend_from_slice(&mac.finalize().into_bytes());
    bytes
}

#[test]
fn foreign_padding_is_an_option() {
    let bytes = with_padding([b'x'; 16], 3);
    assert!(matches!(read(&bytes, PASSWORD), Err(Error::Tampered(_))));
    let options = AesReadOptions {
        ignore_padding: true,
        ..AesReadOptions::default()
    };
    assert_eq!(decrypt_to_vec(&bytes, PASSWORD, options).unwrap(), b"xxx");
    let mut streamed = Vec::new();
    AesReader::open_with(bytes.as_slice(), PASSWORD, options)
        .unwrap()
        .read_to_end(&mut streamed)
        .unwrap();
    assert_eq!(streamed, b"xxx");
    assert_eq!(
        read(&with_padding([b'x'; 16], 0), PASSWORD).unwrap(),
        [b'x'; 16]
    );
    assert_eq!(read(&with_padding([1; 16], 15), PASSWORD).unwrap(), [1; 15]);
    for length_byte in [16, 17, 255] {
        let bytes = with_padding([1; 16], length_byte);
        assert!(matches!(
            decrypt_to_vec(&bytes, PASSWORD, options),
            Err(Error::Tampered(_))
        ));
    }
}

#[test]
fn extensions_are_passed_over_within_bounds() {
    let mut header = standard();
    header.extensions.push(("x".repeat(60_000), vec![]));
    assert_eq!(read(&stream(b"hi", &header), PASSWORD).unwrap(), b"hi");
    header.extensions = vec![(String::new(), vec![0; 65_534]); 16];
    assert_eq!(read(&stream(b"hi", &header), PASSWORD).unwrap(), b"hi");
    header.extensions.push((String::new(), vec![0; 65_534]));
    assert!(matches!(
        read(&stream(b"hi", &header), PASSWORD),
        Err(Error::TooLarge { .. })
    ));
}

#[test]
fn what_cannot_be_written() {
    let refused = |header: &AesHeader, password: &str| {
        AesWriter::create(Vec::new(), password, header, &seed(), HashAlgorithm::Sha256).is_err()
            && encrypt_to_vec(b"", password, header, &seed()).is_err()
    };
    assert!(refused(&AesHeader::minimal(), ""));
    assert!(refused(&v3(0), PASSWORD));
    let with = |name: &str, value: Vec<u8>| AesHeader {
        version: AesVersion::V2,
        extensions: vec![(name.to_owned(), value)],
    };
    assert!(refused(&with("", vec![0; 65_535]), PASSWORD));
    assert!(refused(&with("a\0b", vec![]), PASSWORD));
}

#[test]
fn iterations_are_bounded() {
    let bytes = stream(b"hi", &v3(50));
    let options = |max_iterations| AesReadOptions {
        max_iterations,
        ..AesReadOptions::default()
    };
    assert_eq!(
        decrypt_to_vec(&bytes, PASSWORD, options(50)).unwrap(),
        b"hi"
    );
    assert!(matches!(
        decrypt_to_vec(&bytes, PASSWORD, options(49)),
        Err(Error::TooLarge { .. })
    ));
}

#[test]
fn secrets_are_not_shown() {
    assert_eq!(format!("{:?}", seed()), "AesSeed(***)");
    let writer = AesWriter::create(
        Vec::new(),
        PASSWORD,
        &AesHeader::minimal(),
        &seed(),
        HashAlgorithm::Sha256,
    )
    .unwrap();
    assert_eq!(format!("{writer:?}"), "AesWriter");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn round_trip(plain: Vec<u8>, pieces in proptest::collection::vec(1..50usize, 1..5), is_v3: bool) {
        let header = if is_v3 { v3(1) } else { AesHeader::minimal() };
        let mut writer = AesWriter::create(Vec::new(), PASSWORD, &header, &seed(), HashAlgorithm::Sha256).unwrap();
        let mut rest = plain.as_slice();
        for len in pieces.iter().cycle() {
            let (now, later) = rest.split_at((*len).min(rest.len()));
            writer.write_all(now).unwrap();
            rest = later;
            if rest.is_empty() {
                break;
            }
        }
        let (bytes, hash) = writer.finish().unwrap();
        prop_assert_eq!(hash, HashAlgorithm::Sha256.digest(&bytes));
        prop_assert_eq!(read(&bytes, PASSWORD).unwrap(), plain);
    }

    #[test]
    fn damage_is_survived(bytes in proptest::collection::vec(any::<u8>(), 0..300), version in 2u8..4) {
        let mut data = vec![b'A', b'E', b'S', version, 0];
        data.extend_from_slice(&bytes);
        let options = AesReadOptions { max_iterations: 100, ..AesReadOptions::default() };
        prop_assert!(decrypt_to_vec(&data, PASSWORD, options).is_err());
    }
}

/// What the reader holds back at most, for lengths around its refills.
const HELD: usize = 65;

#[test]
#[ignore = "a measurement: cargo test -p larder-volume --release -- --ignored --nocapture speed_of_encryption"]
fn speed_of_encryption() {
    let data = vec![7u8; 64 << 20];
    let header = AesHeader::minimal();
    let mut bytes = Vec::new();
    for _ in 0..2 {
        timed("encrypt_to_vec", || {
            bytes = encrypt_to_vec(&data, PASSWORD, &header, &seed()).unwrap();
            bytes.len()
        });
        timed("decrypt_to_vec", || {
            decrypt_to_vec(&bytes, PASSWORD, AesReadOptions::default())
                .unwrap()
                .len()
        });
        timed("decrypt_in_place", || {
            let len = bytes.len();
            decrypt_in_place(&mut bytes, PASSWORD, AesReadOptions::default()).unwrap();
            len
        });
        bytes = encrypt_to_vec(&data, PASSWORD, &header, &seed()).unwrap();
        timed("hmac only", || {
            let mut mac = Session::of(&seed()).mac();
            mac.update(&data);
            std::hint::black_box(mac.finalize());
            data.len()
        });
        timed("AesReader", || {
            let mut reader = AesReader::open(bytes.as_slice(), PASSWORD).unwrap();
            usize::try_from(io::copy(&mut reader, &mut io::sink()).unwrap()).unwrap()
        });
        timed("500 keys of version 2", || {
            for index in 0..500u16 {
                let iv = [index.to_le_bytes()[0]; 16];
                let password = "correct horse battery";
                std::hint::black_box(key::header_key(AesVersion::V2, password, &iv));
            }
            0
        });
    }
}

/// What is wrong is answered, and everything but the damaged blocks is given out.
#[test]
fn damaged_data_are_kept_when_asked() {
    let plain: Vec<u8> = (0..200_003_u32).map(|n| (n % 251) as u8).collect();
    let options = AesReadOptions {
        keep_damaged: true,
        ..AesReadOptions::default()
    };
    let kept = |bytes: &[u8]| {
        let mut reader = AesReader::open_with(bytes, PASSWORD, options).unwrap();
        let mut out = Vec::new();
        reader.read_to_end(&mut out).unwrap();
        (out, reader.damage().map(ToString::to_string))
    };
    for header in [AesHeader::minimal(), v3(10)] {
        let whole = stream(&plain, &header);
        assert_eq!(kept(&whole), (plain.clone(), None));
        let mut flipped = whole.clone();
        flipped[70_000] ^= 4;
        let (out, damage) = kept(&flipped);
        assert!(damage.is_some_and(|damage| damage.contains("authentication")));
        let wrong = out.iter().zip(&plain).filter(|(a, b)| a != b).count();
        assert!(
            out.len() == plain.len() && (1..=17).contains(&wrong),
            "{wrong}"
        );
        for len in [
            whole.len() - 1,
            whole.len() - 40,
            100_000,
            65_700,
            180,
            150,
            130,
        ] {
            let Some(cut) = whole.get(..len).filter(|_| len > 140) else {
                continue;
            };
            let (out, damage) = kept(cut);
            assert!(damage.is_some(), "{len}");
            assert!(out.len() + 250 > len.min(plain.len()) && out.len() <= plain.len());
            // Behind the last whole block of the data stands what was never data.
            let sure = out.len().saturating_sub(48);
            assert_eq!(out.get(..sure), plain.get(..sure), "{len}");
        }
        let mut reader = AesReader::open(&*flipped, PASSWORD).unwrap();
        assert!(reader.read_to_end(&mut Vec::new()).is_err() && reader.damage().is_none());
    }
}
