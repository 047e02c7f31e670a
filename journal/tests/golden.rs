//! Format version 1, kept for ever: golden bytes, and a decoder that shares no code with the crate.
//!
//! `WIAB_JOURNAL_GOLDEN=write` makes the fixtures of the newest version; those of a released version are never made again.

use std::path::{Path, PathBuf};

use wiab_journal::frame::{ACTOR_BYTES_MAX, VERSION};
use wiab_journal::{Frame, FrameError, Journal, Options, Reader, Source, verify};

use crate::common::{all, batch, copy_tree, hex, options, run, scratch};

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/v1")
}

/// What the independent decoder sees.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    kind: u16,
    seq: u64,
    run_seq: u64,
    time_ms: u64,
    run: String,
    prev: String,
    run_prev: String,
    actor: String,
    body: Vec<u8>,
    hash: String,
}

/// The decoder, from `docs/journal-format.md` alone.
fn see(bytes: &[u8]) -> Seen {
    let number = |from: usize, to: usize| {
        bytes[from..to]
            .iter()
            .fold(0_u64, |value, byte| value << 8 | u64::from(*byte))
    };
    assert_eq!(&bytes[0..4], b"WIAB");
    assert_eq!(number(4, 6), 1, "format version");
    let actor_end = 118 + usize::try_from(number(112, 114)).expect("length");
    let body_end = actor_end + usize::try_from(number(114, 118)).expect("length");
    assert_eq!(bytes.len(), body_end + 32);
    assert_eq!(
        blake3::hash(&bytes[..body_end]).as_bytes(),
        &bytes[body_end..]
    );
    Seen {
        kind: u16::try_from(number(6, 8)).expect("kind"),
        seq: number(8, 16),
        run_seq: number(16, 24),
        time_ms: number(24, 32),
        run: hex(&bytes[32..48]),
        prev: hex(&bytes[48..80]),
        run_prev: hex(&bytes[80..112]),
        actor: String::from_utf8(bytes[118..actor_end].to_vec()).expect("actor"),
        body: bytes[actor_end..body_end].to_vec(),
        hash: hex(&bytes[body_end..]),
    }
}

fn same(seen: &Seen, frame: &Frame) {
    let known = Seen {
        kind: frame.kind,
        seq: frame.seq,
        run_seq: frame.run_seq,
        time_ms: frame.time_ms,
        run: hex(&frame.run),
        prev: hex(&frame.prev),
        run_prev: hex(&frame.run_prev),
        actor: frame.actor.clone(),
        body: frame.body.clone(),
        hash: hex(&frame.hash),
    };
    assert_eq!(*seen, known);
}

/// Frames that exercise every field.
fn samples() -> Vec<(Frame, Vec<u8>)> {
    let plain = Frame {
        seq: 1,
        run_seq: 1,
        run: [0; 16],
        time_ms: 0,
        actor: String::new(),
        kind: 1,
        prev: [0; 32],
        run_prev: [0; 32],
        body: Vec::new(),
        hash: [0; 32],
    };
    let full = Frame {
        seq: 0x0102_0304_0506_0708,
        run_seq: 0x1112_1314_1516_1718,
        run: std::array::from_fn(|at| u8::try_from(at).expect("small") + 0x20),
        time_ms: 1_800_000_000_123,
        actor: "änna@machine 4711".to_owned(),
        kind: 0xabcd,
        prev: [0x33; 32],
        run_prev: [0x44; 32],
        body: (0..=255).collect(),
        hash: [0; 32],
    };
    let wide = Frame {
        actor: "a".repeat(ACTOR_BYTES_MAX),
        body: vec![0xff; 5_000],
        ..full.clone()
    };
    [plain, full, wide]
        .map(|frame| frame.sealed().expect("within bounds"))
        .to_vec()
}

fn writing() -> bool {
    std::env::var("WIAB_JOURNAL_GOLDEN").is_ok_and(|what| what == "write")
}

#[test]
fn frames_are_the_golden_bytes() {
    for (number, (frame, bytes)) in samples().into_iter().enumerate() {
        let path = fixtures().join(format!("frame-{number}.bin"));
        if writing() {
            std::fs::write(&path, &bytes).expect("write");
        }
        let golden = std::fs::read(&path).expect("fixture");
        assert!(
            golden == bytes,
            "{} differs: the format changed without a new version",
            path.display()
        );
        assert_eq!(Frame::decode(&golden).expect("decode"), frame);
        assert_eq!(frame.encode(), golden);
        same(&see(&golden), &frame);
    }
}

#[test]
fn a_state_directory_of_version_1_opens() {
    let kept = fixtures().join("state");
    if writing() {
        let journal = Journal::open(
            &kept,
            Options {
                reserve: false,
                ..options()
            },
        )
        .expect("open");
        journal.append(batch(run(1), "golden", 2)).expect("append");
        journal
            .append(batch(run(2), &"large ".repeat(1_000), 1))
            .expect("append");
        journal.blobs().put(b"golden output").expect("blob");
        journal.close().expect("close");
    }
    let dir = scratch();
    copy_tree(&kept, dir.path());
    let reader = Reader::open(dir.path(), options()).expect("read");
    assert_eq!(*reader.source(), Source::Database);
    assert_eq!(reader.frames(1).count(), 4);
    drop(reader);
    let report = verify::verify(dir.path(), options()).expect("verify");
    assert!(report.ok() && report.blobs == 1, "{report:?}");
    let journal = Journal::open(dir.path(), options()).expect("open");
    for frame in all(&journal) {
        same(&see(&frame.encode()), &frame);
    }
    journal.append(batch(run(3), "new", 1)).expect("append");
}

#[test]
fn a_copy_can_be_verified_without_the_crate() {
    use base64::Engine as _;
    let (mut before, mut lines) = ((0, "0".repeat(64)), 0);
    let name = "1010101010101001".to_owned() + "1010101010101010";
    let text = std::fs::read_to_string(
        fixtures()
            .join("state/runs")
            .join(name)
            .join("events.jsonl"),
    )
    .expect("copy");
    for line in text.lines() {
        let value: serde_json::Value = serde_json::from_str(line).expect("json");
        let frame = value["frame"].as_str().expect("frame");
        let seen = see(&base64::engine::general_purpose::STANDARD
            .decode(frame)
            .expect("base64"));
        assert_eq!((seen.run_seq, &seen.run_prev), (before.0 + 1, &before.1));
        assert_eq!(value["hash"], seen.hash.as_str());
        assert_eq!(value["body"], String::from_utf8_lossy(&seen.body).as_ref());
        let (summed, sum) = line.split_once(",\"sum\":\"").expect("sum");
        assert_eq!(
            format!(
                "{}\"}}",
                &hex(blake3::hash(summed.as_bytes()).as_bytes())[..16]
            ),
            sum
        );
        before = (seen.run_seq, seen.hash);
        lines += 1;
    }
    assert_eq!(lines, 2);
}

#[test]
fn every_wrong_byte_and_length_of_a_frame_is_refused() {
    let (_, bytes) = samples().swap_remove(1);
    for at in 0..bytes.len() {
        let mut wrong = bytes.clone();
        wrong[at] ^= 1 << (at % 8);
        assert!(Frame::decode(&wrong).is_err(), "byte {at}");
        assert!(Frame::decode(&bytes[..at]).is_err(), "length {at}");
    }
    assert_eq!(
        Frame::decode(&[&bytes[..], b"x"].concat()).map_err(|error| error.to_string()),
        Err(format!(
            "the frame should have {} bytes and has {}",
            bytes.len(),
            bytes.len() + 1
        ))
    );
    let mut newer = bytes.clone();
    newer[5] = 2;
    assert_eq!(
        Frame::decode(&newer),
        Err(FrameError::Newer {
            found: 2,
            known: VERSION
        })
    );
    let mut zero = bytes;
    zero[5] = 0;
    assert_eq!(Frame::decode(&zero), Err(FrameError::VersionZero));
}

proptest::proptest! {
    #[test]
    fn no_bytes_make_the_decoder_panic(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..400)) {
        let _ = Frame::decode(&bytes);
        let _ = Frame::decode(&[&b"WIAB\0\x01"[..], &bytes].concat());
    }

    #[test]
    fn frames_come_back(seq: u64, run: [u8; 16], kind: u16, actor in ".{0,60}", body in proptest::collection::vec(proptest::num::u8::ANY, 0..9000)) {
        let frame = Frame { seq, run_seq: seq ^ 7, run, time_ms: seq / 3, actor, kind, prev: [1; 32], run_prev: [2; 32], body, hash: [0; 32] };
        let (frame, bytes) = frame.sealed().expect("within bounds");
        proptest::prop_assert_eq!(Frame::decode(&bytes).expect("decode"), frame);
    }
}
