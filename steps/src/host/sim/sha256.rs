//! SHA-256 (FIPS 180-4) for `sha256sum` on small files.

fn constants() -> ([u32; 64], [u32; 8]) {
    // Fractional parts of the cube and square roots of the first primes, from exact integer roots.
    let mut primes = Vec::with_capacity(64);
    let mut candidate: u128 = 2;
    while primes.len() < 64 {
        if primes.iter().all(|prime| !candidate.is_multiple_of(*prime)) {
            primes.push(candidate);
        }
        candidate += 1;
    }
    let root = |value: u128, power: u32| -> u128 {
        let (mut low, mut high) = (0_u128, 1 << 40);
        while high - low > 1 {
            let middle = u128::midpoint(low, high);
            if middle.checked_pow(power).is_some_and(|p| p <= value) {
                low = middle;
            } else {
                high = middle;
            }
        }
        low
    };
    let fraction = |value: u128| u32::try_from(value & 0xffff_ffff).unwrap_or_default();
    let mut k = [0; 64];
    let mut h = [0; 8];
    for (slot, prime) in k.iter_mut().zip(&primes) {
        *slot = fraction(root(prime << 96, 3));
    }
    for (slot, prime) in h.iter_mut().zip(&primes) {
        *slot = fraction(root(prime << 64, 2));
    }
    (k, h)
}

/// The digest in hexadecimal.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    let (k, mut state) = constants();
    let mut message = bytes.to_vec();
    message.push(0x80);
    while message.len() % 64 != 56 {
        message.push(0);
    }
    message.extend_from_slice(&(bytes.len() as u64 * 8).to_be_bytes());
    for block in message.chunks_exact(64) {
        compress(&mut state, &k, block);
    }
    state
        .iter()
        .fold(String::new(), |text, word| text + &format!("{word:08x}"))
}

#[expect(clippy::many_single_char_names, reason = "the standard's names")]
fn compress(state: &mut [u32; 8], k: &[u32; 64], block: &[u8]) {
    let mut w: Vec<u32> = block
        .chunks_exact(4)
        .map(|four| {
            four.iter()
                .fold(0, |word, byte| word << 8 | u32::from(*byte))
        })
        .collect();
    let at = |w: &[u32], i: usize| w.get(i).copied().unwrap_or_default();
    for i in 16..64 {
        let (x, y) = (at(&w, i - 15), at(&w, i - 2));
        let s0 = x.rotate_right(7) ^ x.rotate_right(18) ^ (x >> 3);
        let s1 = y.rotate_right(17) ^ y.rotate_right(19) ^ (y >> 10);
        w.push(
            at(&w, i - 16)
                .wrapping_add(s0)
                .wrapping_add(at(&w, i - 7))
                .wrapping_add(s1),
        );
    }
    let [mut a, mut b, mut c, mut d, mut e, mut f, mut g, mut h] = *state;
    for (ki, wi) in k.iter().zip(&w) {
        let s1 = e.rotate_right(6) ^ e.rotate_right(11) ^ e.rotate_right(25);
        let t1 = h
            .wrapping_add(s1)
            .wrapping_add((e & f) ^ (!e & g))
            .wrapping_add(*ki)
            .wrapping_add(*wi);
        let s0 = a.rotate_right(2) ^ a.rotate_right(13) ^ a.rotate_right(22);
        let t2 = s0.wrapping_add((a & b) ^ (a & c) ^ (b & c));
        (h, g, f, e) = (g, f, e, d.wrapping_add(t1));
        (d, c, b, a) = (c, b, a, t1.wrapping_add(t2));
    }
    for (slot, value) in state.iter_mut().zip([a, b, c, d, e, f, g, h]) {
        *slot = slot.wrapping_add(value);
    }
}

#[cfg(test)]
mod tests {
    use super::sha256;

    #[test]
    fn known_answers() {
        for (text, expected) in [
            (
                "",
                "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
            ),
            (
                "abc",
                "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
            ),
            (
                "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
                "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1",
            ),
        ] {
            assert_eq!(sha256(text.as_bytes()), expected);
        }
    }
}
