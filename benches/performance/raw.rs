//! The yardstick: append a record to a file and sync its data, as fast as this disk can.

use std::io::Write;
use std::path::Path;

use crate::Outcome;
use crate::watch::Watch;

/// About as much as the outcome and the next intent of a step take.
const RECORD_BYTES: usize = 512;

/// Microseconds of one durable append.
pub(crate) fn append_us(dir: &Path, count: usize) -> Outcome<f64> {
    let path = dir.join("raw");
    let mut file = fs_err::File::create(&path)?;
    let record = [0x5a_u8; RECORD_BYTES];
    let watch = Watch::start();
    for _ in 0..count {
        file.write_all(&record)?;
        file.sync_data()?;
    }
    let us = watch.us_each(count);
    fs_err::remove_file(path)?;
    Ok(us)
}
