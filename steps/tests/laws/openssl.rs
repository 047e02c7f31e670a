//! The keys that wiab makes are those of the reference tool, and the other way round.

use std::io::Write as _;
use std::process::{Command, Stdio};

use wiab_steps::secrets::{Found, Name, Origin, SeededEntropy, generate};

use super::secrets::other;

/// Secret, its name in openssl, and its length in PKCS#8 and as `openssl pkey -outform DER` writes it.
const KEYS: [(Name, &str, usize); 4] = [
    (Name::MlsEd25519, "ED25519", 48),
    (Name::MlsP256, "P-256", 121),
    (Name::MlsP384, "P-384", 167),
    (Name::MlsP521, "P-521", 223),
];

#[expect(clippy::disallowed_methods, reason = "the reference tool, in a test")]
fn openssl(args: &[&str], stdin: &str) -> Vec<u8> {
    let mut child = Command::new("openssl")
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("this test needs the program `openssl`: {error}"));
    let mut input = child.stdin.take().unwrap();
    input.write_all(stdin.as_bytes()).unwrap();
    drop(input);
    let output = child.wait_with_output().unwrap();
    assert!(
        output.status.success(),
        "openssl {args:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    output.stdout
}

#[test]
fn openssl_reads_every_key_and_writes_the_same() {
    let set = other("openssl");
    for (name, called, bytes) in KEYS {
        let pem = set.get(name);
        let again = String::from_utf8(openssl(&["pkey"], pem)).unwrap();
        assert_eq!(again, pem, "{name}");
        let text = String::from_utf8(openssl(&["pkey", "-noout", "-text"], pem)).unwrap();
        assert!(text.contains(called), "{name}");
        let der = openssl(&["pkey", "-outform", "DER"], pem);
        assert_eq!(der.len(), bytes, "{name}");
        // Ed25519 keys pass no consistency check of openssl: they have no public half.
        if name != Name::MlsEd25519 {
            openssl(&["pkey", "-noout", "-check"], pem);
        }
    }
}

#[test]
fn keys_of_openssl_are_adopted_as_they_are() {
    let mut found = Found::default();
    let mut pems = Vec::new();
    for (name, called, _) in KEYS {
        let curve = format!("ec_paramgen_curve:{called}");
        let args: &[&str] = match name {
            Name::MlsEd25519 => &["genpkey", "-algorithm", "ed25519"],
            _ => &["genpkey", "-algorithm", "ec", "-pkeyopt", &curve],
        };
        let pem = String::from_utf8(openssl(args, "")).unwrap();
        found.offer(name, &pem, "openssl").unwrap();
        pems.push((name, pem));
    }
    let set = generate(&mut SeededEntropy::new("x"), found, "2026-01-01").unwrap();
    for (name, pem) in pems {
        assert_eq!(set.get(name), pem);
        let adopted = Origin::Adopted {
            from: "openssl".to_owned(),
        };
        assert_eq!(set.origin(name), Some(&adopted));
    }
}
