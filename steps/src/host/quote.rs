//! Quoting of argument vectors, for people to read and to paste into a POSIX shell.

/// The words as one line of shell: words of harmless characters as they are, others in single quotes.
pub fn quote(argv: &[String]) -> String {
    let words: Vec<String> = argv.iter().map(|word| quote_word(word)).collect();
    words.join(" ")
}

fn quote_word(word: &str) -> String {
    let harmless = |byte: u8| byte.is_ascii_alphanumeric() || b"_-./:=@%+,".contains(&byte);
    // A leading `=` or a word like `a=b` in front would not be read as a plain word by every shell.
    if !word.is_empty() && word.bytes().all(harmless) && !word.starts_with('=') {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::quote;

    fn through_sh(argv: &[String]) -> Vec<u8> {
        let line = format!("printf '%s\\n' {}", quote(argv));
        #[expect(clippy::disallowed_methods, reason = "the real shell is the judge")]
        let output = std::process::Command::new("sh")
            .args(["-c", &line])
            .output()
            .unwrap();
        assert!(output.status.success(), "{line}");
        output.stdout
    }

    #[test]
    fn known_words() {
        for (words, expected) in [
            (
                vec!["virsh", "net-info", "wirebox"],
                "virsh net-info wirebox",
            ),
            (vec!["a b", "", "it's"], r"'a b' '' 'it'\''s'"),
            (vec!["$(rm -rf /)", "~", "*"], "'$(rm -rf /)' '~' '*'"),
            (vec!["--x=1", "=ls"], "--x=1 '=ls'"),
        ] {
            let words: Vec<String> = words.into_iter().map(str::to_owned).collect();
            assert_eq!(quote(&words), expected);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn a_real_shell_reads_what_was_meant(
            words in proptest::collection::vec("[^\0]{0,12}|[ '\"$`\\\\\n;&|<>*?~!#(){}\\[\\]=-]{0,8}", 1..5)
        ) {
            let expected = words.iter().fold(String::new(), |all, word| all + word + "\n");
            prop_assert_eq!(through_sh(&words), expected.into_bytes());
        }
    }
}
