//! Files that were damaged on purpose: where the file says what lies where, and anywhere else. Each is refused in words, or the queue
//! works; the process lives in any case.

use super::*;

/// So many files, unless `PROPTEST_CASES` says another number.
const FILES: usize = 300;

/// How many tasks wait in the file.
const WAITING: u8 = 12;

/// Bytes in which redb says what lies where.
const HEADER: usize = 320;

/// A file with tasks that wait, run and have ended; closed as it should be, or as a process leaves it that was killed.
async fn file(closed: bool) -> (File, Vec<u8>) {
    let rig = File::new(LIMITS).await;
    for seed in 0..WAITING + 2 {
        submit(rig.queue(), seed).await;
    }
    let ended = claim(rig.queue()).await.lease;
    rig.queue().settle(ended, success(1)).await.unwrap();
    claim(rig.queue()).await;
    if closed {
        rig.queue.close().await;
    }
    let bytes = fs::read(&rig.options.path).unwrap();
    rig.queue.close().await;
    (rig, bytes)
}

/// What came of the damage.
#[derive(Debug, Default)]
struct Tally {
    refused: usize,
    opened: usize,
}

/// Opens the file with these bytes. When that succeeds, all tasks are there, and the queue takes another one.
async fn open_with(rig: &File, bytes: &[u8], tally: &mut Tally, what: &str) {
    fs::write(&rig.options.path, bytes).unwrap();
    match open(&rig.options, &rig.clock, Box::new(store::open_file)) {
        Err(OpenError::Corrupt { path, .. } | OpenError::Format { path, .. }) => {
            assert_eq!(path, rig.options.path, "{what}");
            tally.refused += 1;
        }
        Err(other) => panic!("{what}: {other}"),
        Ok(queue) => {
            // Who was held when the process died is due again.
            let [waiting, running, ended, dead] = counts(&queue).await;
            assert_eq!([waiting + running, ended, dead], [u64::from(WAITING) + 1, 1, 0], "{what}");
            let id = submit(&queue, 99).await;
            assert_eq!(state(&queue, id).await, State::Pending, "{what}");
            claim(&queue).await;
            queue.close().await;
            tally.opened += 1;
        }
    }
}

#[tokio::test]
async fn every_byte_that_says_what_lies_where_may_be_wrong() {
    let changes: [fn(u8) -> u8; 3] = [|byte| byte ^ 1, |byte| byte ^ 0x80, |byte| !byte];
    for closed in [true, false] {
        let (rig, whole) = file(closed).await;
        let mut tally = Tally::default();
        open_with(&rig, &whole, &mut tally, "nothing is wrong").await;
        for at in 0..HEADER {
            for change in changes {
                let mut bytes = whole.clone();
                bytes[at] = change(bytes[at]);
                open_with(&rig, &bytes, &mut tally, &format!("byte {at} is {}", bytes[at])).await;
            }
        }
        println!("closed: {closed}, {tally:?}");
        // What a killed process leaves is looked through anyway, so that less depends on these bytes.
        assert!(tally.refused > 20 && tally.opened > 100, "{tally:?}");
    }
}

#[tokio::test]
async fn anything_may_be_cut_off_zeroed_moved_or_changed() {
    let mut state = 0x853C_49E6_748F_EA9B_u64;
    let mut random = move |bound: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as usize % bound
    };
    let files = std::env::var("PROPTEST_CASES").map_or(FILES, |asked| asked.parse().expect("a number of files"));
    let (rig, whole) = file(false).await;
    let mut tally = Tally::default();
    for number in 0..files {
        let mut bytes = whole.clone();
        // Where there is something: the rest of the file waits for what is to come.
        let used = bytes.iter().rposition(|byte| *byte != 0).unwrap() + 1;
        for _ in 0..=random(3) {
            let pages = used.div_ceil(4096);
            let page = random(pages) * 4096;
            let end = (page + 4096).min(bytes.len());
            match random(5) {
                0 => bytes.truncate(random(bytes.len())),
                1 if end <= bytes.len() && page < end => bytes[page..end].fill(0),
                2 => {
                    let from = random(pages) * 4096;
                    if from + 4096 <= bytes.len() && page + 4096 <= bytes.len() {
                        bytes.copy_within(from..from + 4096, page);
                    }
                }
                3 => bytes.resize(bytes.len() + random(10_000), 0),
                _ => {
                    let at = random(used);
                    if let Some(byte) = bytes.get_mut(at) {
                        *byte = random(256) as u8;
                    }
                }
            }
        }
        open_with(&rig, &bytes, &mut tally, &format!("damage {number}")).await;
    }
    println!("{tally:?}");
    assert!(tally.refused > 50, "{tally:?}");
}
